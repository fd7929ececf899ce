"""Following a session's log: one question to the agent however many follow, each with its own bounded queue.

A follower gets the last lines first, then what comes; one that reads too slowly loses the oldest lines and is told how
many. The agent's connection may end and come back in between: it is asked again, and lines known already are left out.
Called by the registry. Serves the StreamSpace document (seed 001, "Session Logs", ``follow``).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from app.agent_protocol import LOG_LINES, LogsCancel, LogsData, LogsRequest
from app.contract import DesktopRow
from app.errors import Unavailable
from app.server.events import EventLog, Published
from app.server.fleet.connection import AgentConnection
from app.server.fleet.logs import ANSWER_WITHIN, Logs, clean
from app.server.fleet.questions import Question, Questions, request
from app.server.fleet.state import FleetState
from app.server.tasks import TaskNode, TaskTree

QUEUE = 1000
"""Lines that wait for one follower."""
MOST_FOLLOWERS = 100
"""Of one session."""


class _Follower:
    def __init__(self, tail: int) -> None:
        self.tail = tail
        self.lines: deque[str] = deque()
        self.skipped = 0
        self.over = False
        self.begun = False
        self.news = asyncio.Event()

    def put(self, lines: list[str]) -> None:
        self.lines.extend(lines)
        while len(self.lines) > QUEUE:
            self.lines.popleft()
            self.skipped += 1
        self.news.set()

    def take(self) -> list[str]:
        lines = list(self.lines)
        self.lines.clear()
        if self.skipped:
            lines.insert(0, f"… {self.skipped} lines skipped")
            self.skipped = 0
        return lines


class Follows:
    """Every session whose log is being followed."""

    def __init__(
        self,
        state: FleetState,
        logs: Logs,
        questions: Questions,
        events: EventLog,
        tasks: TaskTree,
        parent: TaskNode,
    ) -> None:
        self._state = state
        self._logs = logs
        self._questions = questions
        self._tasks = tasks
        self._parent = parent
        self._of: dict[str, _Follow] = {}
        self.stop = events.subscribe(self._on_event, "desktop.changed", "desktop.removed", "agent.changed")

    async def follow(self, session_id: str, tail: int) -> AsyncIterator[list[str]]:
        """Lines of a session until it ends. Raises ``NotFound``, ``Unavailable`` when too many follow it."""
        row = self._state.desktop(session_id)
        if row.state == "terminated":
            yield await self._logs.read(session_id, tail)
            return
        follower = _Follower(min(max(tail, 0), LOG_LINES))
        follow = self._of.get(session_id)
        if follow is None:
            follow = self._of[session_id] = _Follow(self._state, self._logs, self._questions, session_id)
            follow.node = self._tasks.spawn(
                f"log of {row.name}", follow.run, parent=self._parent, restart="on_failure", kind="log"
            )
        if len(follow.followers) >= MOST_FOLLOWERS:
            raise Unavailable(f"{MOST_FOLLOWERS} clients follow this log already")
        follow.add(follower)
        try:
            while True:
                lines = follower.take()
                if lines:
                    yield lines
                elif follower.over:
                    return
                else:
                    follower.news.clear()
                    await follower.news.wait()
        finally:
            follow.followers.pop(follower, None)
            if not follow.followers and self._of.get(session_id) is follow:
                del self._of[session_id]
                follow.nobody()

    def _on_event(self, event: Published) -> None:
        if event.kind != "agent.changed":
            follow = self._of.get(event.id)
            if follow is not None:
                follow.changed.set()
        else:
            for follow in self._of.values():
                follow.changed.set()


class _Follow:
    """One session's log on its way to its followers."""

    def __init__(self, state: FleetState, logs: Logs, questions: Questions, session_id: str) -> None:
        self.followers: dict[_Follower, None] = {}
        self.changed = asyncio.Event()
        self.node: TaskNode | None = None
        self._state = state
        self._logs = logs
        self._questions = questions
        self._session_id = session_id
        self._known: deque[str] = deque(maxlen=LOG_LINES)
        self._ready = False
        self._spoken = False
        """Whether the agent ever answered; until then the broker's own lines stand in."""
        self._left = False
        self._question: Question | None = None

    def add(self, follower: _Follower) -> None:
        """One more; what is known already comes at once."""
        self.followers[follower] = None
        if self._ready:
            follower.put(list(self._known)[len(self._known) - min(follower.tail, len(self._known)) :])

    def nobody(self) -> None:
        """The last follower has gone."""
        self._left = True
        self.changed.set()
        if self._question is not None:
            self._question.end()

    async def run(self) -> None:
        """Until the session ends or nobody follows."""
        while not self._left:
            self.changed.clear()
            row = self._state.desktops.get(self._session_id)
            if row is None or row.state == "terminated":
                break
            connection = self._logs.source(row)
            if connection is not None:
                await self._listen(row, connection)
            elif not self._spoken:
                self._merge(self._logs.own(row))
            if self._followed() and self._still():
                await self.changed.wait()
        row = self._state.desktops.get(self._session_id)
        if row is not None and not self._spoken:
            self._merge(self._logs.own(row))
        for follower in self.followers:
            follower.over = True
            follower.news.set()

    def _followed(self) -> bool:
        return not self._left

    def _still(self) -> bool:
        row = self._state.desktops.get(self._session_id)
        return row is not None and row.state != "terminated"

    async def _listen(self, row: DesktopRow, connection: AgentConnection) -> None:
        """What the agent says, until it says no more or its connection ends."""
        question = self._question = self._questions.open(connection)
        try:
            data = {"tail": LOG_LINES, "follow": True, "timestamps": True}
            connection.say(request(LogsRequest, question, row.id, data=data))
            within: float | None = ANSWER_WITHIN
            while not self._left:
                answer = await question.next(within)
                if not isinstance(answer, LogsData) or answer.error:
                    return
                self._spoken = True
                if question.dropped:
                    self._feed([f"… {question.dropped} messages of the agent skipped"])
                    question.dropped = 0
                lines = clean(answer.lines)
                if within is not None:
                    self._merge(lines)
                    within = None
                else:
                    self._feed(lines)
                if answer.eof:
                    return
        except TimeoutError:
            self._logs.silent(connection)
            if not self._spoken:
                self._merge(self._logs.own(row))
        finally:
            self._question = None
            self._questions.close(question)
            if not connection.over:
                connection.say(LogsCancel(request_id=question.id))

    def _merge(self, lines: list[str]) -> None:
        """The last lines, of which some may be known from before."""
        known = self._known[-1] if self._known else None
        if known is not None:
            for at in range(len(lines) - 1, -1, -1):
                if lines[at] == known:
                    lines = lines[at + 1 :]
                    break
        if self._ready:
            self._feed(lines)
            return
        self._ready = True
        self._known.extend(lines)
        for follower in self.followers:
            follower.put(lines[len(lines) - min(follower.tail, len(lines)) :])

    def _feed(self, lines: list[str]) -> None:
        self._known.extend(lines)
        for follower in self.followers:
            follower.put(lines)
