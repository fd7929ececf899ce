"""Fixtures of the contract tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.streamspace_venue import Venue, open_venue
from tests.fakes.broker import broker, brokers
from tests.fakes.maestra import fresh_maestra, maestra

__all__ = ["broker", "brokers", "fresh_maestra", "maestra"]


@pytest.fixture
async def streamspace(tmp_path: Path) -> AsyncIterator[Venue]:
    """The StreamSpace dialect on its real fleet and access."""
    async with open_venue(tmp_path / "data") as venue:
        yield venue
