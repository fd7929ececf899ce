"""Holds: Callboard beats a session on behalf of a consumer that does not.

One node of the task tree per hold, so that what keeps a session alive can be seen and stopped. The rows live in the
live state, which journals them; after a restart of the broker the nodes are made again from there. A hold
ends with its session (kick, withdraw, expiry) or by release.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable

from app.contract import HEARTBEAT_EVERY, HoldRow
from app.errors import Expired, NotFound, Unavailable
from app.server.events import EventLog, Published
from app.server.storage.state import LiveState
from app.server.tasks import TaskNode, TaskTree

RETRY_SECONDS = 1.0
"""Pause after a beat that the live state could not take."""


class Holder:
    """Makes, beats and ends holds."""

    def __init__(
        self,
        state: LiveState,
        events: EventLog,
        tasks: TaskTree,
        parent: TaskNode,
        *,
        clock: Callable[[], float] = time.time,
        every: float = HEARTBEAT_EVERY,
    ) -> None:
        self._state = state
        self._events = events
        self._tasks = tasks
        self._parent = parent
        self._clock = clock
        self._every = every
        self._released: dict[str, asyncio.Event] = {}

    def start(self) -> Callable[[], None]:
        """Beat what the live state has restored and listen for more; returns how to stop listening."""
        for hold in self._state.holds.values():
            self._spawn(hold)
        return self._events.subscribe(self._on_event, "hold.started", "hold.ended")

    async def hold(self, session_id: str, operator: str, preset_id: str | None = None) -> HoldRow:
        """Hold a session; raises ``Expired``, ``Conflict`` when it is held, ``Unavailable``."""
        session = self._state.sessions.get(session_id)
        if session is None:
            raise Expired("Session not found or expired")
        return await self._state.put_hold(
            HoldRow(
                id=str(uuid.uuid4()),
                session_id=session_id,
                stream_id=session.stream_id,
                operator=operator,
                preset_id=preset_id,
                since=self._clock(),
            )
        )

    async def release(self, hold_id: str, *, by: str = "") -> HoldRow:
        """End a hold; its session lives on its own TTL. Raises ``NotFound``, ``Unavailable``."""
        hold = await self._state.drop_hold(hold_id, by=by)
        if hold is None:
            raise NotFound("Hold not found or ended")
        return hold

    def _on_event(self, event: Published) -> None:
        if event.kind == "hold.started" and isinstance(event.change, HoldRow):
            self._spawn(event.change)
        elif event.kind == "hold.ended":
            released = self._released.get(event.id)
            if released is not None:
                released.set()

    def _spawn(self, hold: HoldRow) -> None:
        released = self._released[hold.id] = asyncio.Event()
        session = self._state.sessions.get(hold.session_id)
        what = f"{session.stream_name} for {session.consumer_id}" if session else hold.session_id
        self._tasks.spawn(
            f"hold {what}",
            lambda: self._beat(hold, released),
            parent=self._parent,
            restart="on_failure",
            kind="hold",
        )

    async def _beat(self, hold: HoldRow, released: asyncio.Event) -> None:
        """Beat at once and then every ``HEARTBEAT_EVERY`` until the hold ends or its session is gone."""
        pause = self._every
        while not released.is_set():
            try:
                alive = await self._state.heartbeat_session(hold.session_id, by_hold=True)
                pause = self._every
            except Unavailable:
                alive, pause = None, RETRY_SECONDS
            else:
                if alive is None:
                    break
            try:
                await asyncio.wait_for(released.wait(), pause)
            except TimeoutError:
                continue
        self._released.pop(hold.id, None)
