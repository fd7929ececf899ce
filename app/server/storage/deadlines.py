"""When live rows run out: a lazy heap of deadlines on the monotonic clock.

Used by ``memory.py``. A heartbeat only assigns ``entry.deadline``; the heap learns of it when the old deadline
comes up. No I/O, no clock of its own.
"""

from __future__ import annotations

import heapq
from typing import Generic, TypeVar

from app.contract import Row

LOOK_AHEAD = 1.0
"""Rows whose heap entry is due within this time are looked at early, so that beaten rows wake nobody."""

R = TypeVar("R", bound=Row)


class Entry(Generic[R]):
    """A live row with what the journal and the reaper need to know of it."""

    __slots__ = ("began", "claims", "deadline", "live", "n", "row")

    def __init__(self, row: R, n: int, deadline: float, began: float) -> None:
        self.row = row
        self.n = n
        """Its number in the journal."""
        self.deadline = deadline
        """Monotonic time at which it is dead."""
        self.began = began
        """Monotonic time at which it began."""
        self.claims = 0
        """Removals of this row that wait for the journal; it does not expire meanwhile."""
        self.live = True
        """False once it has been removed."""


class Deadlines(Generic[R]):
    """Entries by deadline."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Entry[R]]] = []

    def add(self, entry: Entry[R]) -> bool:
        """Watch ``entry``; True when it is the first to run out."""
        heapq.heappush(self._heap, (entry.deadline, entry.n, entry))
        return self._heap[0][2] is entry

    def due(self, now: float) -> list[Entry[R]]:
        """Take out the live entries whose deadline has passed."""
        found: list[Entry[R]] = []
        heap = self._heap
        while heap and heap[0][0] <= now + LOOK_AHEAD:
            entry = heap[0][2]
            if not entry.live:
                heapq.heappop(heap)
            elif entry.deadline > heap[0][0]:
                heapq.heapreplace(heap, (entry.deadline, entry.n, entry))
            elif entry.deadline <= now:
                heapq.heappop(heap)
                found.append(entry)
            else:
                break
        return found

    def next(self) -> float | None:
        """The first deadline; the row that has it may have been beaten since."""
        return self._heap[0][0] if self._heap else None
