"""The fleet's rows in SQLite against the suite of every database, and across a restart."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.errors import Unavailable
from app.server.storage.database import Database
from app.server.storage.fleet import FleetStore, Put
from tests.contract.fleet_store_suite import FleetStoreSuite, desktop_row


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "callboard.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    database = Database(path)
    await database.start()
    yield database
    await database.stop()


class TestSqliteFleetStore(FleetStoreSuite):
    """SQLite through aiosqlite."""

    async def test_rows_are_there_after_a_restart(self, database: Database, path: Path) -> None:
        row = desktop_row()
        await FleetStore(database).commit(Put("desktop", row))
        await database.stop()
        again = Database(path, full_sync=True)
        await again.start()
        assert (await FleetStore(again).load()).desktops == [row]
        await again.stop()

    async def test_a_full_disk_is_unavailable_and_passes(self, database: Database) -> None:
        store = FleetStore(database)
        async with database._writer.connect() as connection:
            pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar()
            await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(Unavailable, match="full"):
            await store.commit(Put("desktop", desktop_row(message="x" * 100_000)))
        assert (await store.load()).desktops == []
        async with database._writer.connect() as connection:
            await connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
        await store.commit(Put("desktop", desktop_row()))
        assert len((await store.load()).desktops) == 1
