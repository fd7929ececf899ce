"""Numbers over time: ring buffers for the plots and the heartbeat intervals behind each stream's sparkline.

``Plots`` is sampled once a second by the console and drawn by the plot strip. ``Beats`` is kept by the store.
Plain ``array`` from the standard library: numpy is not imported before the first paint, and a plot gets its
values with ``numpy.frombuffer(ring.ordered())`` or as they are.

What a stream's sparkline shows. Media of an advertised stream flows between other machines and Maestra carries
no rate, so a curve called "rate" would be invented. What the broker does hear is the stream's heartbeat; drawn
are the seconds between its last 24 heartbeats. A flat line at 10 s is a healthy publisher; teeth towards 30 s
are one that will lose its TTL.
"""

from __future__ import annotations

from array import array
from collections.abc import Container
from math import nan
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.models.store import Store

SECONDS = 600
INTERVALS_SHOWN = 24


class Ring:
    """The last ``size`` numbers; NaN where nothing was known."""

    def __init__(self, size: int = SECONDS) -> None:
        self._values = array("d", [nan]) * size
        self._next = 0

    def __len__(self) -> int:
        return len(self._values)

    def add(self, value: float) -> None:
        """Append a number, dropping the oldest."""
        self._values[self._next] = value
        self._next = (self._next + 1) % len(self._values)

    def ordered(self) -> array[float]:
        """A copy, oldest first."""
        return self._values[self._next :] + self._values[: self._next]

    @property
    def last(self) -> float:
        """The newest number."""
        return self._values[self._next - 1]


class Beats:
    """Seconds between the last heartbeats of each stream."""

    def __init__(self) -> None:
        self._intervals: dict[str, array[float]] = {}

    def heard(self, stream_id: str, before: float, now: float) -> None:
        """Note a heartbeat that came at ``now`` after the one at ``before``."""
        intervals = self._intervals.get(stream_id)
        if intervals is None:
            intervals = self._intervals[stream_id] = array("f")
        intervals.append(max(0.0, now - before))
        if len(intervals) >= 2 * INTERVALS_SHOWN:
            del intervals[:INTERVALS_SHOWN]

    def of(self, stream_id: str) -> array[float]:
        """Up to 24 intervals of a stream, oldest first; empty while fewer than two heartbeats were heard."""
        intervals = self._intervals.get(stream_id)
        return intervals[-INTERVALS_SHOWN:] if intervals is not None else array("f")

    def forget(self, stream_id: str) -> None:
        """Drop a stream that is gone."""
        self._intervals.pop(stream_id, None)

    def keep_only(self, alive: Container[str]) -> None:
        """Drop every stream that is not in ``alive``."""
        for stream_id in [one for one in self._intervals if one not in alive]:
            del self._intervals[stream_id]


class Plots:
    """Ten minutes at one sample a second; a second in which the board was not live is a hole, not a zero."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ended_seen, self._failed_seen = store.ended_total, store.failed_total
        self.streams = Ring()
        self.sessions = Ring()
        self.negotiations = Ring()
        """Negotiations that ended in the second."""
        self.failures = Ring()
        """Those of them that did not end in an offer."""
        self.latency = Ring()
        """The slowest of them in milliseconds; NaN in a second without any."""

    def sample(self) -> None:
        """Add one second."""
        store = self._store
        count, failed = store.ended_total - self._ended_seen, store.failed_total - self._failed_seen
        self._ended_seen, self._failed_seen = store.ended_total, store.failed_total
        if not store.live:
            for ring in (self.streams, self.sessions, self.negotiations, self.failures, self.latency):
                ring.add(nan)
            return
        ended = [store.ended[-1 - back].milliseconds for back in range(min(count, len(store.ended)))]
        self.streams.add(len(store.streams))
        self.sessions.add(len(store.sessions))
        self.negotiations.add(count)
        self.failures.add(failed)
        self.latency.add(max((one for one in ended if one is not None), default=nan))
