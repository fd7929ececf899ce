"""``MemoryState`` against the suite of every live state."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.memory_venue import MemoryVenue
from tests.contract.state_suite import StateSuite


@pytest.fixture
async def venue(tmp_path: Path) -> AsyncIterator[MemoryVenue]:
    venue = MemoryVenue(tmp_path)
    await venue.start()
    yield venue
    await venue.stop()


class TestMemoryState(StateSuite):
    """Journalled memory."""
