"""Connections to the durable database: one that writes, a few that read and never wait behind it.

Used by ``database.py``, and for ``upsert`` by the stores beside it. What differs between SQLite and PostgreSQL stands in this file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import Insert, Table, event
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from app.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

READERS = 3
POOL_WAIT = 5.0
BUSY_WAIT_MS = 1000


def database_url(place: str | Path) -> URL:
    """The URL of a file, or the one that was given. Raises ``ConfigError`` for what this version cannot use."""
    if isinstance(place, Path) or "://" not in place:
        return URL.create("sqlite+aiosqlite", database=str(place))
    try:
        url = make_url(place)
    except ArgumentError as error:
        raise ConfigError(f"database_url is not a URL: {error}") from error
    if url.get_backend_name() != "sqlite" or not url.database:
        raise ConfigError(f"database_url: this version keeps its rows in SQLite files, not in {url.get_backend_name()}")
    return url.set(drivername="sqlite+aiosqlite")


def writer_engine(url: URL, *, full_sync: bool = False) -> AsyncEngine:
    """One connection; its transactions take the write lock at once."""
    engine = _engine(url, 1)
    event.listen(engine.sync_engine, "connect", _set_up_full if full_sync else _set_up)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def reader_engine(url: URL) -> AsyncEngine:
    """Connections that can only read, each statement on its own snapshot."""
    engine = _engine(url, READERS, pool_reset_on_return=None, isolation_level="AUTOCOMMIT")
    event.listen(engine.sync_engine, "connect", _set_up_reader)
    return engine


def upsert(table: Table, dialect: str, key: Sequence[str], change: Sequence[str], *, only_open: bool = False) -> Insert:
    """``INSERT`` that on a known ``key`` changes the columns ``change``, or does nothing when there are none.

    ``only_open``: a row that has ended already stays as it is.
    """
    statement = _insert(dialect, table)
    if not change:
        return statement.on_conflict_do_nothing(index_elements=key)
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=key,
        set_={name: new[name] for name in change},
        where=(table.c.status == "active") & (new.status != "active") if only_open else None,
    )


def _insert(dialect: str, table: Table) -> postgresql.Insert | sqlite.Insert:
    if dialect != "postgresql":
        return sqlite.insert(table)
    from sqlalchemy.dialects import postgresql  # its import is no part of every broker's start

    return postgresql.insert(table)


def _engine(url: URL, size: int, **options: Any) -> AsyncEngine:
    return create_async_engine(
        url,
        poolclass=AsyncAdaptedQueuePool,
        pool_size=size,
        max_overflow=0,
        pool_timeout=POOL_WAIT,
        json_serializer=lambda value: msgspec.json.encode(value).decode(),
        json_deserializer=msgspec.json.decode,
        **options,
    )


def _set_up_full(connection: Any, record: Any) -> None:
    _set_up(connection, record)
    _pragmas(connection, "synchronous = FULL")


def _set_up(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    _pragmas(
        connection,
        f"busy_timeout = {BUSY_WAIT_MS}",
        "journal_mode = WAL",
        "synchronous = NORMAL",
        "cache_size = -16384",
    )


def _set_up_reader(connection: Any, _record: Any) -> None:
    _pragmas(connection, f"busy_timeout = {BUSY_WAIT_MS}", "query_only = 1")


def _pragmas(connection: Any, *settings: str) -> None:
    cursor = connection.cursor()
    for setting in settings:
        cursor.execute(f"PRAGMA {setting}")
    cursor.close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
