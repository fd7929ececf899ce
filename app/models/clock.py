"""The broker's clock, as far as this machine can know it. Used by ``store.Store``; never asks the wall clock twice."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable


class BrokerClock:
    """The broker's clock as this machine's monotonic clock plus an offset, taken from the messages' ``at``.

    A message is late by what the network and the loop took, never early, so the largest of the last samples
    is the best; a step of the broker's clock is followed at once forwards and within seconds backwards.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._samples: deque[float] = deque(maxlen=5)
        self.offset: float | None = None

    def heard(self, at: float) -> None:
        """Take the stamp of a message that has just come in."""
        self._samples.append(at - self._monotonic())
        self.offset = max(self._samples)

    def now(self) -> float:
        """Seconds since the epoch by the broker's clock; by this machine's before the first message."""
        return time.time() if self.offset is None else self._monotonic() + self.offset
