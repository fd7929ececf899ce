"""How fast a bulk may go: what the broker says of its limits, and who waits for them.

Used by ``fleet.py``, which hands every answer to ``learn``, and by the console's bulk verbs through ``run``. The broker
counts requests per minute (StreamSpace document, "Rate Limiting"): each bucket has a limit, what remains of it and the
moment of its reset. A bulk leaves headroom for single acts and waits for the reset when only that is left; a single act
never asks here and goes out at once. No Qt.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Generic, TypeVar

from app.client.calls import ApiError
from app.errors import CallboardError

GENERAL, CREATE = "general", "create"
"""Buckets of the broker: creating sessions has one of its own."""
AT_ONCE = 4
"""Acts of one bulk under way together; each may take seconds, since the broker answers when it is done."""
LONGEST_WAIT = 61.0
"""Seconds; windows are a minute, so a later reset is a clock that is wrong."""
TRIES = 5
"""How often an act is sent again that met the limit all the same, because others use the same login."""

T = TypeVar("T")


@dataclass(frozen=True)
class Progress:
    """How far a bulk is; ``waiting`` is the seconds until it goes on, 0 while it goes."""

    done: int
    total: int
    waiting: float = 0.0

    @property
    def text(self) -> str:
        """``3 of 40, waiting 12 s``."""
        wait = f", waiting {self.waiting:.0f} s" if self.waiting >= 0.5 else ""
        return f"{self.done} of {self.total}{wait}"


@dataclass
class _Window:
    """One bucket as the broker last described it; ``ends`` on this machine's monotonic clock."""

    limit: int
    remaining: int
    reset: int
    ends: float


@dataclass(frozen=True)
class Act(Generic[T]):
    """One act of a bulk and the bucket that it counts in."""

    run: Callable[[], Awaitable[T]]
    bucket: str = GENERAL


class Pace:
    """See the module's docstring. One per login, shared by all bulks of a console."""

    def __init__(
        self,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._monotonic = monotonic
        self._now = now
        self._sleep = sleep
        self._windows: dict[str, _Window] = {}
        self._sent: Counter[str] = Counter()
        """Acts of bulks that went out since the last known window ended; their answers may still be on the way."""

    def learn(self, bucket: str, headers: Mapping[str, str]) -> None:
        """Take over what an answer says of its bucket (header names in lower case)."""
        try:
            limit, remaining, reset = (int(headers[f"x-ratelimit-{name}"]) for name in ("limit", "remaining", "reset"))
        except (KeyError, ValueError):
            return
        left = min(LONGEST_WAIT, max(0.0, reset - self._broker_time(headers)))
        window = self._windows.get(bucket)
        if window is not None and window.reset == reset:
            remaining = min(remaining, window.remaining)
        else:
            remaining = min(remaining, limit - self._sent[bucket])
        self._windows[bucket] = _Window(limit, remaining, reset, self._monotonic() + left)

    def refused(self, bucket: str, retry_after: float) -> None:
        """The broker said no and for how long."""
        ends = self._monotonic() + min(LONGEST_WAIT, retry_after)
        window = self._windows.get(bucket)
        limit, reset = (window.limit, window.reset) if window is not None else (1, 0)
        self._windows[bucket] = _Window(limit, 0, reset, ends)

    def wait(self, bucket: str) -> float:
        """Seconds that a bulk has to wait before its next act; 0 when it may go now."""
        window = self._windows.get(bucket)
        if window is None or window.remaining > headroom(window.limit):
            return 0.0
        return max(0.0, window.ends - self._monotonic())

    async def run(
        self, acts: Sequence[Act[T]], progress: Callable[[Progress], None] | None = None, *, at_once: int = AT_ONCE
    ) -> list[T | CallboardError]:
        """Do all acts within the limits; results in their order, an expected failure in place of its result."""
        bulk = _Bulk(self, acts, progress or (lambda _: None))
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, len(acts))):
                group.create_task(bulk.work())
        return [bulk.results[number] for number in range(len(acts))]

    async def turn(self, bucket: str, waiting: Callable[[float], None]) -> None:
        """Return when the next act of a bulk may go; ``waiting`` hears the seconds, once a second."""
        waited = False
        while (left := self.wait(bucket)) > 0:
            waited = True
            waiting(left)
            await self._sleep(min(1.0, left))
        if waited:
            waiting(0.0)
        window = self._windows.get(bucket)
        if window is not None and window.ends <= self._monotonic():
            del self._windows[bucket]
            self._sent[bucket], window = 0, None
        if window is not None:
            window.remaining -= 1
        self._sent[bucket] += 1

    def _broker_time(self, headers: Mapping[str, str]) -> float:
        """The broker's clock as its answer tells it: the reset is a time of that clock, not of this machine's."""
        try:
            return parsedate_to_datetime(headers["date"]).timestamp()
        except (KeyError, ValueError):
            return self._now()


class _Bulk(Generic[T]):
    """One bulk under way: its workers take the acts in order."""

    def __init__(self, pace: Pace, acts: Sequence[Act[T]], progress: Callable[[Progress], None]) -> None:
        self._pace = pace
        self._acts = list(enumerate(acts))
        self._total = len(acts)
        self._progress = progress
        self.results: dict[int, T | CallboardError] = {}

    async def work(self) -> None:
        """Do acts until none is left."""
        while self._acts:
            number, act = self._acts.pop(0)
            self.results[number] = await self._do(act)
            self._tell(0.0)

    async def _do(self, act: Act[T]) -> T | CallboardError:
        tries = 0
        while True:
            await self._pace.turn(act.bucket, self._tell)
            tries += 1
            try:
                return await act.run()
            except ApiError as error:
                if error.status != 429 or tries >= TRIES:
                    return error
                self._pace.refused(act.bucket, error.retry_after or 1.0)
            except CallboardError as error:
                return error

    def _tell(self, waiting: float) -> None:
        self._progress(Progress(len(self.results), self._total, waiting))


def headroom(limit: int) -> int:
    """How many requests of a window a bulk leaves to single acts."""
    return max(1, limit // 10)
