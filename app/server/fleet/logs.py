"""Logs of sessions: the agent's lines, the broker's own where the agent has none, the last ones of ended sessions.

Called by the registry; following stands in ``follow.py``. Serves the StreamSpace document (seed 001, "Session Logs"),
which has no message for logs: an agent that does not answer in time is one that cannot, and the broker tells what it
knows of the session itself.
"""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import UTC, datetime

from app.agent_protocol import LOG_LINES, LogsData, LogsRequest
from app.contract import DesktopRow
from app.errors import CallboardError
from app.logs import get_logger
from app.server.events import EventLog, Published
from app.server.fleet.connection import AgentConnection
from app.server.fleet.questions import Questions, request
from app.server.fleet.roster import Roster
from app.server.fleet.state import FleetState
from app.server.storage.fleet import DesktopLog, Put

log = get_logger("fleet")

ANSWER_WITHIN = 5.0
OWN_LINES = 100
LONGEST_LINE = 16 * 1024
MOST_TEXT = 1024 * 1024
"""Characters of a log that are answered, or kept of a session that has ended; the last ones, in whole lines."""
ENDED_WAITING = 10_000
"""Ended sessions whose log is still to be fetched; beyond that the oldest keeps only the broker's own lines."""


class Logs:
    """See the module's docstring."""

    def __init__(self, state: FleetState, roster: Roster, questions: Questions, events: EventLog) -> None:
        self._state = state
        self._roster = roster
        self._questions = questions
        self._own: dict[str, deque[str]] = {}
        self._ended: deque[DesktopRow] = deque(maxlen=ENDED_WAITING)
        self._news = asyncio.Event()
        self._mute: dict[AgentConnection, None] = {}
        self.stop = events.subscribe(self._on_event, "desktop.changed", "desktop.removed")
        state.on_left.append(self._on_left)

    async def read(self, session_id: str, tail: int) -> list[str]:
        """The last lines of a session. Raises ``NotFound``, ``Unavailable``."""
        row = self._state.desktop(session_id)
        tail = min(max(tail, 0), LOG_LINES)
        if row.state == "terminated":
            lines: list[str] | None = await self._state.store.log(session_id)
        else:
            lines = await self._ask(row, tail)
        lines = lines or self.own(row)
        return lines[-tail:] if tail else []

    def own(self, row: DesktopRow) -> list[str]:
        """What the broker itself knows of a session's life."""
        kept = self._own.get(row.id)
        if kept:
            return list(kept)
        lines = [_line(row.created_at, "session created")]
        if row.started_at is not None:
            lines.append(_line(row.started_at, "session started"))
        return [*lines, _line(row.updated_at, f"{row.phase}: {row.message}")]

    def source(self, row: DesktopRow) -> AgentConnection | None:
        """The connection to ask for lines, if its agent knows the question."""
        agent = self._state.online(row.agent_id)
        connection = self._roster.connection(row.agent_id)
        if agent is None or connection is None or "logs" not in agent.capabilities or connection in self._mute:
            return None
        return connection

    def silent(self, connection: AgentConnection) -> None:
        """It did not answer in time: on this connection it is not asked again."""
        self._mute = {each: None for each in self._mute if not each.over}
        self._mute[connection] = None

    async def keep_ended(self) -> None:
        """A task node: fetch the last lines of sessions that end, one after another."""
        while True:
            while not self._ended:
                self._news.clear()
                await self._news.wait()
            row = self._ended.popleft()
            lines = (await self._ask(row, LOG_LINES)) or self.own(row)
            try:
                if row.id in self._state.desktops:
                    await self._state.store.commit(Put("desktop_log", DesktopLog(id=row.id, lines=lines[-LOG_LINES:])))
            except CallboardError as error:
                log.error("a session's log is not kept", session=row.name, why=error.message)

    async def _ask(self, row: DesktopRow, tail: int) -> list[str] | None:
        connection = self.source(row)
        if connection is None or not tail:
            return None
        question = self._questions.open(connection)
        lines: list[str] = []
        try:
            data = {"tail": tail, "follow": False, "timestamps": True}
            connection.say(request(LogsRequest, question, row.id, data=data))
            async with asyncio.timeout(ANSWER_WITHIN):
                while True:
                    answer = await question.next(None)
                    if not isinstance(answer, LogsData) or answer.error:
                        return lines or None
                    lines = last([*lines, *clean(answer.lines)][-LOG_LINES:])
                    if answer.eof:
                        return lines
        except TimeoutError:
            if not lines:
                self.silent(connection)
            return lines or None
        finally:
            self._questions.close(question)

    def _on_event(self, event: Published) -> None:
        if event.kind == "desktop.changed" and isinstance(event.change, DesktopRow):
            row = event.change
            text = f"{row.phase}: {row.message}"
            kept = self._own.get(row.id)
            if kept is None:
                kept = self._own[row.id] = deque(maxlen=OWN_LINES)
            if not kept or not kept[-1].endswith(text):
                kept.append(_line(event.at, text))
        elif event.kind == "desktop.removed":
            self._own.pop(event.id, None)

    def _on_left(self, before: DesktopRow, after: DesktopRow) -> None:
        if after.state == "terminated":
            self._ended.append(before)
            self._news.set()


def clean(lines: list[str]) -> list[str]:
    """Lines as they may be shown: none endless."""
    return [line if len(line) <= LONGEST_LINE else line[:LONGEST_LINE] + "…" for line in lines]


def last(lines: list[str]) -> list[str]:
    """The last lines that are no longer than ``MOST_TEXT`` together."""
    left = MOST_TEXT
    for at in range(len(lines) - 1, -1, -1):
        left -= len(lines[at])
        if left < 0:
            return lines[at + 1 :]
    return lines


def _line(at: float, text: str) -> str:
    stamp = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"{stamp} [callboard] {text}"
