"""Looks at what sessions use, when a look does not come back."""

from __future__ import annotations

import asyncio
import threading

import pytest

from app.agent import local_load
from app.agent.local_load import Samples
from tests.unit.agent.conftest import until


async def test_a_look_that_hangs_holds_up_one_thread_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process stuck in the kernel can make who reads of it wait as long as it does."""
    began: list[int] = []
    over = threading.Event()

    def use_of(supervisors: dict[str, int]) -> dict[str, tuple[float, int]]:
        began.append(1)
        over.wait(10)
        return dict.fromkeys(supervisors, (1.0, 4096))

    monkeypatch.setattr(local_load, "use_of", use_of)
    samples = Samples()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await samples.take({"s1": 1})
    await until(lambda: began)  # its thread may be slow to begin
    assert len(began) == 1
    over.set()
    await samples.take({"s1": 1})
    assert samples.memory_of("s1") == 4096
