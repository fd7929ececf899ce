"""A database and the floor of access on it, with hashes that cost little."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from app.paths import DataFolder
from app.server.access.passwords import Passwords
from app.server.access.tokens import Tokens
from app.server.access.users import Users
from app.server.storage.database import Database
from app.server.storage.people import UserStore

SECRET = b"s" * 64


@dataclass
class Floor:
    """Users and tokens on one database; ``now`` is the clock of both."""

    database: Database
    folder: DataFolder
    now: float = 1_700_000_000.0
    heard: list[tuple[str | None, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = UserStore(self.database)
        self.passwords = Passwords(time_cost=1, memory_kib=8)
        self.users = Users(self.store, self.passwords, clock=lambda: self.now)
        self.tokens = Tokens(self.users, self.store, SECRET, clock=lambda: self.now)
        self.tokens.subscribe(lambda token_id, user_id: self.heard.append((token_id, user_id)))

    async def load(self) -> None:
        await self.users.load()
        await self.tokens.load()

    async def again(self) -> Floor:
        """What a broker that starts anew on the same database knows."""
        floor = Floor(self.database, self.folder, self.now)
        await floor.load()
        return floor


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of today's schema; a copy of it starts in a fraction of the time that migrations take."""
    path = tmp_path_factory.mktemp("schema") / "rows.sqlite"

    async def make() -> None:
        database = Database(path)
        await database.start()
        await database.stop()

    asyncio.run(make())
    return path


@pytest.fixture
async def database(tmp_path: Path, empty_database: Path) -> AsyncIterator[Database]:
    shutil.copy(empty_database, tmp_path / "rows.sqlite")
    database = Database(tmp_path / "rows.sqlite")
    await database.start()
    yield database
    await database.stop()


@pytest.fixture
async def floor(database: Database, tmp_path: Path) -> Floor:
    folder = DataFolder(tmp_path / "data")
    folder.create()
    floor = Floor(database, folder)
    await floor.load()
    return floor


def scope(
    *headers: tuple[str, str],
    query: str = "",
    path: str = "/api/v1/agents",
    type: str = "http",
    method: str = "GET",
    client: str = "127.0.0.1",
    server: str = "127.0.0.1",
) -> dict[str, Any]:
    """An ASGI scope as far as access reads it."""
    return {
        "type": type,
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
        "client": (client, 50000),
        "server": (server, 8080),
    }


def bearing(token: str, **changes: Any) -> dict[str, Any]:
    """A scope with a bearer's token."""
    return scope(("authorization", f"Bearer {token}"), **changes)
