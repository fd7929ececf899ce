"""Sessions that ended a short while ago, and who still beats for them.

A publisher may go on sending after a session was stopped; its heartbeats give it away. The registry reports each
heartbeat for a session that is not live, and the board's ghost row turns to "still sending" (console rule 9).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from app.contract import StillSending
from app.server.events import EventLog, Published

REMEMBERED_SECONDS = 300.0
MAX_REMEMBERED = 10_000
"""Sessions remembered; the one that ended first is forgotten first."""
REPEAT_SECONDS = 5.0
"""The same session is reported at most this often."""


class _Ending:
    __slots__ = ("at", "ended", "reported")

    def __init__(self, at: float, ended: float) -> None:
        self.at = at
        self.ended = ended
        self.reported = float("-inf")


class Endings:
    """Listens for ends of sessions; ``heard`` turns a late heartbeat into ``session.still_sending``."""

    def __init__(self, events: EventLog, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._events = events
        self._monotonic = monotonic
        self._endings: dict[str, _Ending] = {}
        self.stop = events.subscribe(self._on_end, "session.stopped", "session.expired")

    def __len__(self) -> int:
        return len(self._endings)

    def heard(self, session_id: str) -> None:
        """A heartbeat came for a session that is not live."""
        ending = self._endings.get(session_id)
        if ending is None:
            return
        now = self._monotonic()
        if now - ending.ended > REMEMBERED_SECONDS:
            del self._endings[session_id]
        elif now - ending.reported >= REPEAT_SECONDS:
            ending.reported = now
            self._events.publish("session.still_sending", session_id, StillSending(ended_at=ending.at))

    def _on_end(self, event: Published) -> None:
        now = self._monotonic()
        self._endings.pop(event.id, None)
        self._endings[event.id] = _Ending(event.at, now)
        oldest = next(iter(self._endings))
        while len(self._endings) > MAX_REMEMBERED or now - self._endings[oldest].ended > REMEMBERED_SECONDS:
            del self._endings[oldest]
            oldest = next(iter(self._endings))
