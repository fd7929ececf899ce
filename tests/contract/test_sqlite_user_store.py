"""Users, keys and revoked tokens in SQLite against the suite of every database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.server.storage.database import Database
from tests.contract.user_store_suite import UserStoreSuite


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "callboard.db")
    await database.start()
    yield database
    await database.stop()


class TestSqliteUserStore(UserStoreSuite):
    """SQLite through aiosqlite."""
