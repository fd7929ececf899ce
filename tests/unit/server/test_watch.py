from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.server.events import EventLog
from app.server.health import Health
from app.server.watch import SHOWN_FOR, ClockWatch, disk_state, watch_disk
from tests.fakes.clock import Clock

GIB = 1024**3


@pytest.mark.parametrize(
    ("free", "ok", "says"),
    [(100 * GIB, True, ""), (GIB, True, "1.0 GiB left"), (63 * 1024**2, False, "63 MiB free"), (0, False, "full")],
)
def test_disk(free: int, ok: bool, says: str) -> None:
    state = disk_state(free)
    assert state[0] is ok
    assert says in state[1]
    assert bool(state[1]) is bool(says)


async def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    events = EventLog()
    told = asyncio.Event()
    events.subscribe(lambda _: told.set())
    health = Health(events)
    watching = asyncio.ensure_future(watch_disk(health, tmp_path / "none"))
    async with asyncio.timeout(15):
        await told.wait()
    watching.cancel()
    assert [row.id for row in health.rows() if not row.ok] == ["disk"]


@pytest.mark.parametrize(
    ("seconds", "says"), [(3600 * 5, "forward by 5 h"), (-90, "back by 90 s"), (600, "forward by 10 min")]
)
def test_a_step_of_the_clock_is_shown_for_a_minute(seconds: float, says: str) -> None:
    clock = Clock()
    health = Health(EventLog(), clock=clock.time)
    watch = ClockWatch(health, clock=clock.time, monotonic=clock.monotonic)

    def text() -> str:
        return next(row.text for row in health.rows() if row.id == "clock")

    clock.step(1.0)
    watch.look()
    assert text() == ""
    clock.step(seconds)
    watch.look()
    assert says in text()
    assert health.ok
    clock.advance(SHOWN_FOR - 1)
    watch.look()
    assert text()
    clock.advance(1)
    watch.look()
    assert text() == ""
