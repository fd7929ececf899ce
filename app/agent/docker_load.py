"""What a container uses, from the samples that engines send about once a second. No I/O.

Used by ``docker_seat.py``. Processor time is counted between two questions rather than two samples, so that a short peak
does not stand for ten seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

CACHES = ("inactive_file", "total_inactive_file")
"""Page cache that the kernel takes back at once, as cgroup v2 and v1 call it: no memory of the session's."""


class Meter:
    """Takes samples, answers with percent of one core and bytes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._used: tuple[float, int] | None = None
        """When a sample came, and the nanoseconds of processor time in it."""
        self._read: tuple[float, int] | None = None
        self._memory: int | None = None

    def take(self, sample: dict[str, Any]) -> None:
        """Take note of a sample; one without figures says nothing."""
        total = ((sample.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage")
        if isinstance(total, int):
            self._used = (self._clock(), total)
            self._read = self._read or self._used
        memory = sample.get("memory_stats") or {}
        usage, details = memory.get("usage"), memory.get("stats") or {}
        if isinstance(usage, int):
            cache = next((details[name] for name in CACHES if isinstance(details.get(name), int)), 0)
            self._memory = max(0, usage - cache)

    def read(self, *, frozen: bool = False) -> tuple[float | None, int | None]:
        """What was used since the last question; a frozen session uses its memory alone."""
        if self._used is None or self._read is None:
            return (0.0 if frozen else None), self._memory
        (then, before), (now, after) = self._read, self._used
        if now <= then:
            return (0.0 if frozen else None), self._memory
        self._read = self._used
        return (0.0 if frozen else round(max(0, after - before) / (now - then) / 1e7, 1)), self._memory
