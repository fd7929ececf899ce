"""Soak tests within a time box: how long each of them may go on.

Tests marked ``soak`` run by ``dev.py test -- -m soak``; a test asks for ``soak_seconds`` and goes on for that long.
``SOAK_SECONDS`` bounds the whole run (the gate gives it three minutes), shared among the tests in the order in which
the workers of a parallel run take them; without it each test has ten minutes.
"""

from __future__ import annotations

import math
import os

import pytest

EACH = 600.0
TO_END = 120.0
"""Seconds beyond its share that a soak test may take to start and to end."""


def share(total: float, tests: int, workers: int) -> float:
    """Seconds for each of ``tests`` when all shall be done in ``total``."""
    return total / max(1, math.ceil(tests / max(1, workers)))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give each soak test its share, and a time-out that fits it unless it has one of its own."""
    soaking = [item for item in items if item.get_closest_marker("soak") is not None]
    total = os.environ.get("SOAK_SECONDS")
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    seconds = EACH if total is None else share(float(total), len(soaking), workers)
    config.stash[_SECONDS] = seconds
    for item in soaking:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(seconds + TO_END))


_SECONDS = pytest.StashKey[float]()


@pytest.fixture
def soak_seconds(request: pytest.FixtureRequest) -> float:
    """How long this soak test goes on."""
    return request.config.stash[_SECONDS]
