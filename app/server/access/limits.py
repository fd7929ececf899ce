"""Rate limits: a fixed window of 60 s from the first hit, so that what the headers promise is exact.

Called by the StreamSpace dialect (seed 001, "Rate Limiting") for each request. Counting is a look-up in memory; what
decides stands in ``hit`` alone, so that counters shared by several brokers only replace this class.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import Scope

WINDOW = 60.0
KEY_LIMIT = 50_000
"""Windows kept at once; beyond that the oldest goes, which only ever lets more through."""


@dataclass(frozen=True)
class Verdict:
    """``remaining`` and ``reset_epoch`` are what the headers say; ``retry_after`` None: let it through."""

    limit: int
    remaining: int
    reset_epoch: int
    retry_after: int | None


class RateLimiter:
    """Counts by bucket and key."""

    def __init__(
        self, *, monotonic: Callable[[], float] = time.monotonic, clock: Callable[[], float] = time.time
    ) -> None:
        self._monotonic = monotonic
        self._clock = clock
        self._windows: dict[tuple[str, str], list[float]] = {}
        """End of the window and hits in it, the window that ends first at the front."""

    def hit(self, bucket: str, key: str, limit: int) -> Verdict:
        """Count one request and say whether it passes."""
        now = self._monotonic()
        window = self._window(bucket, key, now)
        window[1] += 1
        return self._verdict(window, limit, now, over=window[1] > limit)

    def look(self, bucket: str, key: str, limit: int) -> Verdict:
        """The state of a window without a hit: for a limit on failures, asked before the work."""
        now = self._monotonic()
        window = self._windows.get((bucket, key))
        if window is None or window[0] <= now:
            window = [now + WINDOW, 0]
        return self._verdict(window, limit, now, over=window[1] >= limit)

    @property
    def count(self) -> int:
        """Windows that are kept."""
        return len(self._windows)

    def _window(self, bucket: str, key: str, now: float) -> list[float]:
        window = self._windows.get((bucket, key))
        if window is not None and window[0] > now:
            return window
        self._windows.pop((bucket, key), None)
        self._forget(now)
        window = self._windows[bucket, key] = [now + WINDOW, 0]
        return window

    def _forget(self, now: float) -> None:
        """Drop what has ended; two at a time keep up with what begins."""
        for _ in range(2):
            first = next(iter(self._windows.items()), None)
            if first is None or (first[1][0] > now and len(self._windows) < KEY_LIMIT):
                return
            del self._windows[first[0]]

    def _verdict(self, window: list[float], limit: int, now: float, *, over: bool) -> Verdict:
        left = max(0.0, window[0] - now)
        reset = math.ceil(self._clock() + left)
        return Verdict(limit, max(0, limit - int(window[1])), reset, max(1, math.ceil(left)) if over else None)


def address_key(scope: Scope) -> str:
    """The address to count a request under: of IPv6 the /64, which is one household's."""
    client = scope.get("client")
    if client is None:
        return ""
    text: str = client[0]
    if ":" not in text:
        return text
    try:
        address = ipaddress.IPv6Address(text.partition("%")[0])
    except ValueError:
        return text
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, 64), strict=False).network_address)
