"""Pictures of desktops, made by agents, kept for a moment so that many tiles of one desktop cost one.

Called by the console's routes through the registry; nothing here is kept beyond memory.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections import OrderedDict
from collections.abc import Callable

from app.agent_protocol import ThumbnailData, ThumbnailRequest
from app.contract import Thumbnail
from app.errors import Conflict, NoAnswer, Rejected, Unsupported
from app.server.fleet import schedule
from app.server.fleet.questions import Questions, request
from app.server.fleet.roster import Roster
from app.server.fleet.state import FleetState

ANSWER_WITHIN = 3.0
FRESH_FOR = 2.0
KEPT = 500
"""Pictures kept at most; the oldest goes first, and with the next picture whatever is no longer fresh."""
NARROWEST, WIDEST = 32, 1920
_LARGEST = 4 * 1024 * 1024


class Thumbnails:
    """See the module's docstring."""

    def __init__(self, state: FleetState, roster: Roster, questions: Questions, clock: Callable[[], float]) -> None:
        self._state = state
        self._roster = roster
        self._questions = questions
        self._clock = clock
        self._kept: OrderedDict[tuple[str, int], Thumbnail] = OrderedDict()
        self._asking: dict[tuple[str, int], asyncio.Lock] = {}

    async def get(self, session_id: str, width: int) -> Thumbnail:
        """A picture at most ``width`` wide.

        Raises ``NotFound``, ``Conflict`` (``session_not_running``), ``Unavailable`` (``agent_offline``),
        ``Unsupported``, ``NoAnswer`` and ``Rejected``.
        """
        key = (session_id, min(max(width, NARROWEST), WIDEST))
        asking = self._asking.setdefault(key, asyncio.Lock())
        try:
            async with asking:
                kept = self._fresh(key)
                return kept if kept is not None else await self._ask(*key)
        finally:
            if not asking.locked():
                self._asking.pop(key, None)

    def _fresh(self, key: tuple[str, int]) -> Thumbnail | None:
        kept = self._kept.get(key)
        running = self._state.desktop(key[0]).state == "running"
        return kept if kept is not None and running and self._is_fresh(kept) else None

    def _is_fresh(self, picture: Thumbnail) -> bool:
        """Also when the wall clock was set back since."""
        return 0.0 <= self._clock() - picture.at < FRESH_FOR

    async def _ask(self, session_id: str, width: int) -> Thumbnail:
        row = self._state.desktop(session_id)
        if row.state != "running":
            raise Conflict(f"The session is {row.state}", code="session_not_running")
        agent = self._state.online(row.agent_id)
        connection = self._roster.connection(row.agent_id)
        if agent is None or connection is None:
            raise schedule.offline(row.agent_id)
        if "thumbnail" not in agent.capabilities:
            raise Unsupported(f"Agent '{agent.id}' makes no pictures of desktops")
        question = self._questions.open(connection)
        try:
            connection.say(request(ThumbnailRequest, question, session_id, width=width))
            answer = await question.next(ANSWER_WITHIN)
        except TimeoutError:
            raise NoAnswer(f"Agent '{agent.id}' sent no picture within {ANSWER_WITHIN:g} s") from None
        finally:
            self._questions.close(question)
        if not isinstance(answer, ThumbnailData):
            raise schedule.offline(agent.id)
        return self._keep((session_id, width), answer)

    def _keep(self, key: tuple[str, int], answer: ThumbnailData) -> Thumbnail:
        if answer.error:
            raise Rejected(answer.error[:500])
        try:
            jpeg = base64.b64decode(answer.jpeg, validate=True)
        except (binascii.Error, ValueError) as error:
            raise Rejected("The agent's picture cannot be read", code="bad_reply") from error
        if not jpeg.startswith(b"\xff\xd8") or len(jpeg) > _LARGEST:
            raise Rejected("What the agent sent is no JPEG picture", code="bad_reply")
        picture = Thumbnail(
            session_id=key[0], at=self._clock(), width=answer.width, height=answer.height, jpeg=jpeg
        )  # fmt: skip
        self._kept[key] = picture
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT or not self._is_fresh(next(iter(self._kept.values()))):
            self._kept.popitem(last=False)
        return picture
