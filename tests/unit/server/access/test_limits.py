from __future__ import annotations

import pytest

from app.server.access import limits
from app.server.access.limits import RateLimiter, Verdict, address_key
from tests.unit.server.access.conftest import scope


class Clocks:
    """The monotonic clock, and a wall clock that somebody else moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.wall_offset = 1_732_272_000.0 - 1000.0

    def limiter(self) -> RateLimiter:
        return RateLimiter(monotonic=lambda: self.now, clock=lambda: self.now + self.wall_offset)


def test_the_window_begins_with_the_first_hit_and_lasts_a_minute() -> None:
    clocks = Clocks()
    limiter = clocks.limiter()
    reset = 1_732_272_060
    assert limiter.hit("login", "10.0.0.1", 5) == Verdict(5, 4, reset, None)
    clocks.now += 15
    assert [limiter.hit("login", "10.0.0.1", 5).remaining for _ in range(4)] == [3, 2, 1, 0]
    assert limiter.hit("login", "10.0.0.1", 5) == Verdict(5, 0, reset, 45)
    clocks.now += 44.5
    assert limiter.hit("login", "10.0.0.1", 5) == Verdict(5, 0, reset, 1)
    clocks.now += 0.5
    assert limiter.hit("login", "10.0.0.1", 5) == Verdict(5, 4, reset + 60, None)


def test_buckets_and_keys_are_counted_apart() -> None:
    limiter = Clocks().limiter()
    for _ in range(5):
        assert limiter.hit("login", "a", 5).retry_after is None
    assert limiter.hit("login", "a", 5).retry_after == 60
    assert limiter.hit("login", "b", 5).retry_after is None
    assert limiter.hit("other", "a", 100).remaining == 99


def test_looking_counts_nothing() -> None:
    limiter = Clocks().limiter()
    for _ in range(10):
        assert limiter.look("wrong key", "a", 2) == Verdict(2, 2, 1_732_272_060, None)
    limiter.hit("wrong key", "a", 2)
    assert limiter.look("wrong key", "a", 2).retry_after is None
    limiter.hit("wrong key", "a", 2)
    assert limiter.look("wrong key", "a", 2) == Verdict(2, 0, 1_732_272_060, 60)


def test_a_stepped_wall_clock_lets_nobody_through_and_locks_nobody_out() -> None:
    clocks = Clocks()
    limiter = clocks.limiter()
    for _ in range(6):
        verdict = limiter.hit("login", "a", 5)
    clocks.wall_offset += 86_400
    after = limiter.hit("login", "a", 5)
    assert (verdict.retry_after, after.retry_after) == (60, 60)
    assert after.reset_epoch == verdict.reset_epoch + 86_400


def test_what_is_kept_is_bounded_and_ended_windows_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KEY_LIMIT", 10)
    clocks = Clocks()
    limiter = clocks.limiter()
    for number in range(100):
        limiter.hit("other", str(number), 1)
    assert limiter.count == 10
    assert limiter.hit("other", "99", 1).retry_after is not None
    clocks.now += 61
    for number in range(8):
        limiter.hit("other", f"new {number}", 1)
    assert limiter.count == 8


@pytest.mark.parametrize(
    ("client", "key"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::9", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("not:an:address", "not:an:address"),
    ],
)
def test_an_address_counts_as_its_household(client: str, key: str) -> None:
    assert address_key(scope(client=client)) == key
    assert address_key({"type": "http", "headers": [], "client": None}) == ""
