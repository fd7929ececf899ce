"""Sessions that nobody uses are hibernated: the idle time-out of the StreamSpace document (seed 001, "Create Session").

A connected viewer in control is use, whatever it sends; operators who only look are not. The clock runs from the last
such viewer's end, from input that the agent saw, or from the start of session or broker, whichever is latest; and anew
where the wall clock is set, since nobody knows then how long anything has been. Called by the viewers through the
registry, driven by the domain's clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from app.contract import DesktopRow
from app.errors import CallboardError
from app.logs import get_logger
from app.quantities import duration_seconds
from app.server.fleet import rules
from app.server.fleet.sessions import Sessions
from app.server.fleet.state import FleetState

log = get_logger("fleet")

SEEN_EVERY = 30.0
"""Seconds between two notes of activity while a viewer is connected."""
CLOCK_STEP = 5.0
"""Seconds by which the wall clock may move against the monotonic one between two ticks before it counts as set."""
BY = "idle time-out"


class Idle:
    """Who is being used, and what is hibernated because nobody is."""

    def __init__(
        self, state: FleetState, sessions: Sessions, clock: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        self._state = state
        self._sessions = sessions
        self._clock = clock
        self._monotonic = monotonic
        self._begun = clock()
        self._offset = clock() - monotonic()
        self._viewers: Counter[str] = Counter()
        self._seconds: dict[str, int] = {}

    def opened(self, session_id: str, *, counts: bool) -> None:
        """A viewer connected; ``counts`` as use or not."""
        if counts:
            self._viewers[session_id] += 1
            self._state.beat_desktop(session_id, last_activity=self._clock())

    def closed(self, session_id: str, *, counts: bool) -> None:
        """A viewer has gone."""
        if not counts:
            return
        self._viewers[session_id] -= 1
        if self._viewers[session_id] <= 0:
            del self._viewers[session_id]
        self._state.beat_desktop(session_id, last_activity=self._clock())

    def due(self, row: DesktopRow) -> float | None:
        """When a session will be hibernated unless it is used; None when that is not known or never."""
        seconds = self._timeout(row.idle_timeout)
        if row.state != "running" or not seconds or row.phase == rules.UNKNOWN or self._viewers.get(row.id):
            return None
        agent = self._state.online(row.agent_id)
        if agent is None or "hibernate" not in agent.capabilities:
            return None
        now = self._clock()
        seen = (row.last_activity or 0.0, row.started_at or row.created_at)
        return max((self._begun, *(at for at in seen if at <= now))) + seconds

    async def tick(self) -> None:
        """Every few seconds."""
        now = self._clock()
        offset = now - self._monotonic()
        if abs(offset - self._offset) > CLOCK_STEP:
            self._begun = now
        self._offset = offset
        for session_id in list(self._viewers):
            row = self._state.desktops.get(session_id)
            if row is None:
                del self._viewers[session_id]
            elif now - (row.last_activity or 0.0) >= SEEN_EVERY:
                self._state.beat_desktop(session_id, last_activity=now)
        for row in list(self._state.desktops.values()):
            due = self.due(row)
            if due is None or now < due or self._state.commands.of_session(row.id, row.agent_id):
                continue
            try:
                await self._sessions.request(row.id, "hibernated", by=BY, admin=True)
            except CallboardError as error:
                log.warning("idle session not hibernated", session=row.name, why=error.message)

    def _timeout(self, text: str | None) -> int:
        if text is None:
            return 0
        seconds = self._seconds.get(text)
        if seconds is None:
            try:
                seconds = duration_seconds(text)
            except CallboardError:  # kept by a version that took it
                seconds = 0
            if len(self._seconds) > 1000:
                self._seconds.clear()
            self._seconds[text] = seconds
        return seconds
