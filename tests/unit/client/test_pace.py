"""Pacing of bulks: within the broker's limits, with room for single acts, and with words for who waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from email.utils import formatdate

import pytest

from app.client.api import ApiError
from app.client.pace import CREATE, GENERAL, TRIES, Act, Pace, Progress, headroom
from app.errors import CallboardError


class Limits:
    """A broker's fixed windows of a minute on a clock that only waiting moves."""

    def __init__(self, limit: int, skew: float = 0.0) -> None:
        self.limit = limit
        self.clock = 1000.0
        self.skew = skew
        self.window = 0.0
        self.used = 0
        self.served: list[float] = []
        self.refused = 0
        self.headers = True
        self.pace = Pace(monotonic=lambda: self.clock, now=lambda: self.clock, sleep=self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.clock += seconds
        await asyncio.sleep(0)

    async def request(self) -> int:
        await asyncio.sleep(0)
        if self.clock >= self.window:
            self.window, self.used = self.clock + 60.0, 0
        self.used += 1
        left = max(0, self.limit - self.used)
        reset = int(self.window + self.skew)
        if self.headers:
            headers = {"x-ratelimit-limit": str(self.limit), "x-ratelimit-remaining": str(left)}
            headers |= {"x-ratelimit-reset": str(reset), "date": formatdate(self.clock + self.skew, usegmt=True)}
            self.pace.learn(GENERAL, headers)
        if self.used > self.limit:
            self.refused += 1
            raise ApiError(429, "RATE_LIMIT_EXCEEDED", "Too many requests.", retry_after=self.window - self.clock)
        self.served.append(self.clock)
        return len(self.served)


def acts(request: Callable[[], Awaitable[int]], count: int) -> list[Act[int]]:
    return [Act(request)] * count


@pytest.mark.parametrize("skew", [0.0, 5000.0, -5000.0])
async def test_a_bulk_stays_within_the_limit_and_leaves_room(skew: float) -> None:
    broker = Limits(100, skew)
    told: list[Progress] = []
    results = await broker.pace.run(acts(broker.request, 250), told.append)
    assert sorted(result for result in results if isinstance(result, int)) == list(range(1, 251))
    assert broker.refused == 0
    in_first_window = [at for at in broker.served if at < 1060.0]
    assert (
        100 - headroom(100) - 1 <= len(in_first_window) <= 100 - headroom(100) + 3
    )  # four were sent before any answer
    assert told[-1] == Progress(250, 250)
    waits = [one.text for one in told if one.waiting]
    assert waits[0].endswith("waiting 60 s")
    assert "of 250" in waits[0]


async def test_a_single_act_has_room_while_a_bulk_waits() -> None:
    broker = Limits(100)
    waiting = asyncio.Event()
    go_on = asyncio.Event()

    async def sleep(seconds: float) -> None:
        waiting.set()
        await go_on.wait()
        broker.clock += seconds

    broker.pace = Pace(monotonic=lambda: broker.clock, now=lambda: broker.clock, sleep=sleep)
    bulk = asyncio.create_task(broker.pace.run(acts(broker.request, 120)))
    await waiting.wait()
    done = len(broker.served)
    for _ in range(5):
        assert await broker.request() > 0
    assert len(broker.served) == done + 5
    assert not bulk.done()
    go_on.set()
    assert len(await bulk) == 120
    assert broker.refused == 0


async def test_two_bulks_share_one_window() -> None:
    broker = Limits(40)
    await asyncio.gather(broker.pace.run(acts(broker.request, 50)), broker.pace.run(acts(broker.request, 50)))
    assert broker.refused == 0
    assert len(broker.served) == 100


async def test_an_act_that_met_the_limit_is_sent_again_when_it_may() -> None:
    broker = Limits(3)
    broker.headers = False
    told: list[Progress] = []
    results = await broker.pace.run(acts(broker.request, 7), told.append, at_once=1)
    assert results == [1, 2, 3, 4, 5, 6, 7]
    assert broker.refused > 0
    assert any(one.waiting > 50 for one in told)


async def test_a_limit_that_never_ends_ends_the_act() -> None:
    pace = Pace(sleep=lambda seconds: asyncio.sleep(0), monotonic=iter(range(0, 10**6, 30)).__next__)
    tries = 0

    async def refused() -> int:
        nonlocal tries
        tries += 1
        raise ApiError(429, "RATE_LIMIT_EXCEEDED", "Too many requests.", retry_after=1)

    (result,) = await pace.run([Act(refused)])
    assert isinstance(result, ApiError)
    assert tries == TRIES


async def test_a_failure_stands_in_its_place_and_the_rest_goes_on() -> None:
    pace = Pace()

    async def good() -> str:
        return "done"

    async def bad() -> str:
        raise CallboardError("no")

    results = await pace.run([Act(good), Act(bad), Act(good)])
    assert [str(result) for result in results] == ["done", "no", "done"]
    assert await pace.run([]) == []


async def test_a_mistake_of_ours_is_not_swallowed() -> None:
    async def broken() -> str:
        raise ZeroDivisionError

    with pytest.raises(ExceptionGroup):
        await Pace().run([Act(broken)])


def test_buckets_are_apart_and_odd_headers_are_ignored() -> None:
    pace = Pace(monotonic=lambda: 0.0, now=lambda: 100.0)
    pace.learn(CREATE, {"x-ratelimit-limit": "10", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "130"})
    pace.learn(GENERAL, {"x-ratelimit-limit": "many", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "130"})
    assert pace.wait(CREATE) == 30.0
    assert pace.wait(GENERAL) == 0.0
    pace.learn(CREATE, {"x-ratelimit-limit": "10", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "99999"})
    assert pace.wait(CREATE) <= 61.0


def test_words() -> None:
    assert Progress(3, 40).text == "3 of 40"
    assert Progress(3, 40, 12.4).text == "3 of 40, waiting 12 s"
