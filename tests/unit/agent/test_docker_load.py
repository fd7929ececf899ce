"""What a container uses: percent of a core between two questions, and memory without what the kernel takes back."""

from __future__ import annotations

from typing import Any

from app.agent.docker_load import Meter


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def sample(total: int, usage: int = 50_000_000, **details: int) -> dict[str, Any]:
    return {"cpu_stats": {"cpu_usage": {"total_usage": total}}, "memory_stats": {"usage": usage, "stats": details}}


def test_processor_time_is_counted_between_questions() -> None:
    clock = Clock()
    meter = Meter(clock)
    assert meter.read() == (None, None)
    meter.take(sample(1_000_000_000))
    assert meter.read() == (None, 50_000_000), "one sample is no span of time"
    for _ in range(5):
        clock.now += 1.0
        meter.take(sample(1_000_000_000 + int((clock.now - 100.0) * 250_000_000)))
    assert meter.read()[0] == 25.0
    assert meter.read()[0] is None, "nothing came since"
    clock.now += 1.0
    meter.take(sample(2_250_000_000 + 2_000_000_000))
    assert meter.read()[0] == 200.0, "two cores"


def test_a_frozen_session_uses_its_memory_alone() -> None:
    clock = Clock()
    meter = Meter(clock)
    assert meter.read(frozen=True) == (0.0, None)
    meter.take(sample(1))
    clock.now += 1.0
    meter.take(sample(1))
    assert meter.read(frozen=True) == (0.0, 50_000_000)


def test_page_cache_is_not_the_sessions() -> None:
    for name in ("inactive_file", "total_inactive_file"):
        meter = Meter(Clock())
        meter.take(sample(1, 50_000_000, **{name: 20_000_000}))
        assert meter.read()[1] == 30_000_000


def test_samples_without_figures_say_nothing() -> None:
    meter = Meter(Clock())
    for nothing in (
        {},
        {"cpu_stats": None, "memory_stats": None},
        {"cpu_stats": {"cpu_usage": {}}, "memory_stats": {}},
    ):
        meter.take(nothing)
    assert meter.read() == (None, None)


def test_a_counter_that_began_anew_is_no_negative_load() -> None:
    clock = Clock()
    meter = Meter(clock)
    meter.take(sample(5_000_000_000))
    clock.now += 1.0
    meter.take(sample(0))
    assert meter.read()[0] == 0.0
