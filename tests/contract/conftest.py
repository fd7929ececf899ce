"""Fixtures of the contract tests."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from app.server.dialects.streamspace.services import Limits
from app.server.storage.database import Database
from tests.contract.streamspace_venue import Venue, open_venue
from tests.fakes.broker import broker, brokers
from tests.fakes.maestra import fresh_maestra, maestra

__all__ = ["broker", "brokers", "fresh_maestra", "maestra"]


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of today's schema; a copy of it starts in a fraction of the time that migrations take."""
    path = tmp_path_factory.mktemp("schema") / "empty.sqlite"

    async def make() -> None:
        database = Database(path)
        await database.start()
        await database.stop()

    asyncio.run(make())
    return path


@pytest.fixture
async def streamspace(tmp_path: Path, empty_database: Path) -> AsyncIterator[Venue]:
    """The StreamSpace dialect on its real fleet and access."""
    async with open_venue(tmp_path / "data", schema=empty_database) as venue:
        yield venue


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def steady_streamspace(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Venue]:
    """One for all tests of a module, which leave nothing behind; its limits are out of reach."""
    folder = tmp_path_factory.mktemp("streamspace") / "data"
    async with open_venue(folder, Limits(10**6, 10**6, 10**6, 10**6)) as venue:
        yield venue
