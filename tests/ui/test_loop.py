"""The console's loop: exact timers, timers that go when cancelled, no nested loop trap of our own making."""

from __future__ import annotations

import asyncio
import threading
import time
from itertools import combinations
from typing import Any, cast

import pytest
from PySide6.QtWidgets import QApplication

from app.ui.loop import Loop, run


def running() -> Any:
    return cast(Any, asyncio.get_running_loop())


async def test_sleep_is_never_early() -> None:
    for wanted in (0.0, 0.003, 0.05, 0.11):
        began = time.monotonic()
        await asyncio.sleep(wanted)
        assert time.monotonic() - began >= wanted


async def test_a_cancelled_timer_leaves_nothing_behind() -> None:
    before = len(running()._timer.handles)
    handles = [running().call_later(30.0, print) for _ in range(500)]
    assert len(running()._timer.handles) == before + 500
    for handle in handles:
        handle.cancel()
    assert len(running()._timer.handles) == before


async def test_timers_know_when_they_are_due() -> None:
    before = running().time()
    handle = running().call_later(2.0, print)
    assert before + 2.0 <= handle.when() + 0.01
    assert handle.when() - 0.01 <= running().time() + 2.0
    handle.cancel()


async def test_timers_run_in_order() -> None:
    seen: list[int] = []
    due: dict[int, tuple[float, float]] = {}
    for delay, number in ((0.03, 3), (0.01, 1), (0.02, 2)):
        before = running().time()
        running().call_later(delay, seen.append, number)
        due[number] = before + delay, running().time() + delay + 0.001  # rounded up to a millisecond
    await asyncio.sleep(0.08)
    assert sorted(seen) == [1, 2, 3]
    for earlier, later in combinations(seen, 2):
        assert due[earlier][0] <= due[later][1], "which was due before"


async def test_a_thread_can_hand_over() -> None:
    loop, done = running(), asyncio.Event()
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(done.set,))
    thread.start()
    async with asyncio.timeout(15):
        await done.wait()
    thread.join()


async def test_wait_for_gives_up_in_time() -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await asyncio.Event().wait()


def test_run_returns_the_result_and_does_not_end_the_application(qapp: QApplication) -> None:
    quits: list[bool] = []
    qapp.aboutToQuit.connect(lambda: quits.append(True))

    async def answer() -> int:
        await asyncio.sleep(0)
        return 42

    assert run(answer(), qapp) == 42
    assert run(answer(), qapp) == 42
    assert quits == []


def test_a_closed_loop_refuses(qapp: QApplication) -> None:
    loop = Loop(qapp)
    loop.close()
    with pytest.raises(RuntimeError):
        loop.call_soon_threadsafe(print)
    with pytest.raises(RuntimeError):
        loop.call_later(0.0, print)
