"""The SQLite database against the suite of every database, and what only SQLite can get wrong."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.errors import ConfigError, Unavailable
from app.server.storage import database as database_module
from app.server.storage.database import Database, HistoryQuery
from tests.contract.database_suite import DatabaseSuite, history_row


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "callboard.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    database = Database(path)
    await database.start()
    yield database
    await database.stop()


class TestSqliteDatabase(DatabaseSuite):
    """SQLite through aiosqlite."""

    async def test_rows_are_there_after_a_restart(self, database: Database, path: Path) -> None:
        row = history_row(1.0)
        await database.write_history([row])
        await database.stop()
        again = Database(f"sqlite:///{path}")
        await again.start()
        assert await again.history(HistoryQuery()) == [row]
        await again.stop()

    async def test_readers_do_not_wait_behind_a_writer(self, database: Database, path: Path) -> None:
        row = history_row(1.0)
        await database.write_history([row])
        async with database._writer.connect() as connection:  # it waits as long as a slow machine takes to read
            await connection.exec_driver_sql("PRAGMA busy_timeout = 60000")
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        other.execute("DELETE FROM stream_sessions")
        writing = asyncio.ensure_future(database.write_history([history_row(2.0)]))
        async with asyncio.timeout(10):
            assert await database.history(HistoryQuery()) == [row]
        assert not writing.done()
        other.execute("ROLLBACK")
        other.close()
        await writing

    async def test_a_writer_that_waits_too_long_is_refused(
        self, database: Database, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(database_module, "TIME_LIMIT", 0.2)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match=r"could not be written within 0\.2 s"):
            await database.set_setting("a", 1)
        other.execute("ROLLBACK")
        other.close()
        monkeypatch.setattr(database_module, "TIME_LIMIT", 5.0)
        await database.set_setting("a", 2)
        assert await database.get_setting("a") == 2

    async def test_a_full_disk_is_unavailable_and_passes(self, database: Database) -> None:
        async with database._writer.connect() as connection:
            pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar()
            await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(Unavailable, match="full"):
            await database.set_setting("big", "x" * 100_000)
        assert await database.get_setting("big") is None
        async with database._writer.connect() as connection:
            await connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
        await database.set_setting("big", "x" * 100_000)

    async def test_its_end_waits_for_what_is_under_way(self, database: Database) -> None:
        begun, ends = asyncio.Event(), asyncio.Event()

        async def work(_connection: object) -> int:
            begun.set()
            await ends.wait()
            return 7

        writing = asyncio.ensure_future(database.write(work))
        await begun.wait()
        stopping = asyncio.ensure_future(database.stop())
        await asyncio.sleep(0)
        assert not stopping.done()
        with pytest.raises(Unavailable, match="closed"):
            await database.types()
        ends.set()
        await stopping
        assert writing.done()
        assert await writing == 7

    async def test_after_its_end_it_opens_no_connection(self, database: Database) -> None:
        await database.stop()
        with pytest.raises(Unavailable, match="closed"):
            await database.types()
        with pytest.raises(Unavailable, match="closed"):
            await database.set_setting("a", 1)

    @pytest.mark.parametrize(
        "query",
        [
            HistoryQuery(),
            HistoryQuery(publisher_id="p"),
            HistoryQuery(consumer_id="c"),
            HistoryQuery(stream_id="s"),
            HistoryQuery(publisher_id="p", before=(5.0, "x"), since=1.0),
        ],
    )
    async def test_every_page_comes_from_an_index_in_order(self, database: Database, query: HistoryQuery) -> None:
        texts: list[str] = []

        async def look(statement: object) -> list[dict[str, object]]:
            compiled = statement.compile(database._reader.sync_engine, compile_kwargs={"literal_binds": True})  # type: ignore[attr-defined]
            async with database._reader.connect() as connection:
                plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}")
                texts.extend(str(row[3]) for row in plan)
            return []

        database.read = look  # type: ignore[method-assign]
        await database.history(query)
        assert len(texts) == 1, texts
        assert "USING INDEX ix_stream_sessions_" in texts[0]


async def test_a_file_that_is_no_database_is_a_configuration_error(path: Path) -> None:
    path.write_bytes(b"something else entirely, and long enough to be looked at" * 100)
    with pytest.raises(ConfigError, match=r"callboard\.db cannot be opened"):
        await Database(path).start()


@pytest.mark.parametrize("url", ["postgresql://host/x", "not a url://", "sqlite://"])
def test_a_url_that_cannot_be_used_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigError, match="database_url"):
        Database(url)
