"""The durable rows: stream types, history, presets, audit, settings and API keys; and the way in for further stores.

Called by the streams domain, the history mover, the audit, presets and access; ``fleet.py`` and ``people.py`` keep
their rows through ``read``, ``execute`` and ``write``. One writer at a time, on a
connection of its own; readers have others and never wait behind it. Every call has a time limit and raises
``Unavailable`` when the database cannot do it. ``stop`` must be awaited, or aiosqlite's threads keep the process.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy import Select, Table, delete, insert, select, tuple_
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.contract import AuditRow, HistoryRow, PresetRow, TypeRow
from app.errors import ConfigError, Conflict, Unavailable
from app.server.storage import tables
from app.server.storage.engines import database_url, reader_engine, upsert, writer_engine
from app.server.storage.migrations import bring_up_to_date

TIME_LIMIT = 5.0
DEFAULT_LIMIT = 50

T = TypeVar("T")


class HistoryQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows of the history, newest first; ``before`` is time and id of the last row of the page before."""

    stream_id: str | None = None
    publisher_id: str | None = None
    consumer_id: str | None = None
    since: float | None = None
    until: float | None = None
    before: tuple[float, str] | None = None
    limit: int = DEFAULT_LIMIT


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which acts, newest first; ``before`` is time and id of the last row of the page before."""

    operator: str | None = None
    verb: str | None = None
    object_id: str | None = None
    since: float | None = None
    until: float | None = None
    before: tuple[float, str] | None = None
    limit: int = DEFAULT_LIMIT


class ApiKeyRow(msgspec.Struct, frozen=True, kw_only=True):
    """An API key; only its hash is kept."""

    id: str
    name: str
    key_hash: str
    created_at: float


class Database:
    """See the module's docstring."""

    def __init__(self, place: str | Path, *, full_sync: bool = False) -> None:
        """``place`` is a file or a URL; ``full_sync`` survives a power cut too. Raises ``ConfigError`` for a URL that cannot be used."""
        url = database_url(place)
        self._name = url.render_as_string(hide_password=True) if url.get_backend_name() != "sqlite" else url.database
        self._writer = writer_engine(url, full_sync=full_sync)
        self._reader = reader_engine(url)
        self.dialect = self._writer.dialect.name
        ending = ["status", "ended_at", "duration_seconds", "error_message"]
        self._put_session = upsert(tables.stream_sessions, self.dialect, ["id"], ending, only_open=True)
        self._put_act = upsert(tables.audit, self.dialect, ["id"], [])
        self._turn = asyncio.Lock()
        self._stopped = False
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self) -> None:
        """Bring the schema up to date. Raises ``ConfigError`` when it is newer or the file is no database."""
        try:
            await bring_up_to_date(self._writer, str(self._name))
        except DBAPIError as error:
            await self.stop()
            raise ConfigError(f"{self._name} cannot be opened: {error.orig}") from error
        except ConfigError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Let what is under way end, then close every connection; one that is in use would be left behind."""
        self._stopped = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TIME_LIMIT):
                await self._idle.wait()
        await self._reader.dispose()
        await self._writer.dispose()

    # Stream types.

    async def types(self) -> list[TypeRow]:
        """Every created stream type, by name; built-in ones are not in the database."""
        rows = await self.read(select(tables.stream_types).order_by(tables.stream_types.c.name))
        return [TypeRow(**row) for row in rows]

    async def create_type(self, row: TypeRow) -> TypeRow:
        """Add a stream type. Raises ``Conflict`` when there is one of that name."""
        values = msgspec.structs.asdict(row)
        del values["built_in"]
        try:
            await self.execute(insert(tables.stream_types).values(values))
        except IntegrityError as error:
            raise Conflict(f"Stream type '{row.name}' already exists") from error
        return row

    # History.

    async def history(self, query: HistoryQuery) -> list[HistoryRow]:
        """Sessions past and present, newest first."""
        table = tables.stream_sessions
        statement = select(table)
        for name in ("stream_id", "publisher_id", "consumer_id"):
            value = getattr(query, name)
            if value is not None:
                statement = statement.where(table.c[name] == value)
        rows = await self.read(_page(statement, table, "time", query))
        return [HistoryRow(**row) for row in rows]

    async def write_history(
        self, rows: Sequence[HistoryRow], void: Sequence[str] = (), acts: Sequence[AuditRow] = ()
    ) -> None:
        """Add or end sessions, remove those in ``void``, add acts whose id is new; repeating it changes nothing."""
        sessions = tables.stream_sessions

        async def work(connection: AsyncConnection) -> None:
            if rows:
                await connection.execute(self._put_session, [msgspec.structs.asdict(row) for row in rows])
            if void:
                await connection.execute(delete(sessions).where(sessions.c.id.in_(void)))
            if acts:
                await connection.execute(self._put_act, [msgspec.structs.asdict(row) for row in acts])

        await self.write(work)

    async def purge_history(self, older_than: float, limit: int) -> int:
        """Delete at most ``limit`` sessions that began before ``older_than``; how many were deleted."""
        return await self._purge(tables.stream_sessions, "time", older_than, limit)

    # Presets.

    async def presets(self) -> list[PresetRow]:
        """Every preset, by name."""
        rows = await self.read(select(tables.presets).order_by(tables.presets.c.name, tables.presets.c.id))
        return [PresetRow(**row) for row in rows]

    async def save_preset(self, row: PresetRow) -> None:
        """Add or replace a preset."""
        values = msgspec.structs.asdict(row)
        changed = [name for name in values if name != "id"]
        await self.execute(upsert(tables.presets, self.dialect, ["id"], changed).values(values))

    async def delete_preset(self, preset_id: str) -> bool:
        """Remove a preset; False when there was none."""
        return await self.execute(delete(tables.presets).where(tables.presets.c.id == preset_id)) > 0

    # Audit.

    async def audit(self, query: AuditQuery) -> list[AuditRow]:
        """Acts, newest first."""
        table = tables.audit
        statement = select(table)
        for name in ("operator", "verb", "object_id"):
            value = getattr(query, name)
            if value is not None:
                statement = statement.where(table.c[name] == value)
        rows = await self.read(_page(statement, table, "at", query))
        return [AuditRow(**row) for row in rows]

    async def purge_audit(self, older_than: float, limit: int) -> int:
        """Delete at most ``limit`` acts done before ``older_than``; how many were deleted."""
        return await self._purge(tables.audit, "at", older_than, limit)

    # Settings and API keys.

    async def get_setting(self, key: str) -> Any:
        """The value of a setting, None when it was never set."""
        rows = await self.read(select(tables.settings).where(tables.settings.c.key == key))
        return rows[0]["value"] if rows else None

    async def set_setting(self, key: str, value: Any) -> None:
        """Keep a JSON value under ``key``."""
        statement = upsert(tables.settings, self.dialect, ["key"], ["value"])
        await self.execute(statement.values(key=key, value=value))

    async def api_keys(self) -> list[ApiKeyRow]:
        """Every API key, oldest first."""
        rows = await self.read(select(tables.api_keys).order_by(tables.api_keys.c.created_at, tables.api_keys.c.id))
        return [ApiKeyRow(**row) for row in rows]

    async def add_api_key(self, row: ApiKeyRow) -> None:
        """Add an API key. Raises ``Conflict`` when its id or hash is known."""
        try:
            await self.execute(insert(tables.api_keys).values(msgspec.structs.asdict(row)))
        except IntegrityError as error:
            raise Conflict("This API key exists already") from error

    async def delete_api_key(self, key_id: str) -> bool:
        """Remove an API key; False when there was none."""
        return await self.execute(delete(tables.api_keys).where(tables.api_keys.c.id == key_id)) > 0

    async def _purge(self, table: Table, time: str, older_than: float, limit: int) -> int:
        when = table.c[time]
        oldest = select(table.c.id).where(when < older_than).order_by(when, table.c.id).limit(limit)
        return await self.execute(delete(table).where(table.c.id.in_(oldest)))

    # One way in and one way out.

    async def read(self, statement: Select[Any]) -> list[dict[str, Any]]:
        """Rows of a statement; for the stores beside this one. Raises ``Unavailable``."""
        with self._using():
            async with _limited("read"), self._reader.connect() as connection:
                return [dict(row) for row in (await connection.execute(statement)).mappings()]

    async def execute(self, statement: Any) -> int:
        """Run one statement in a transaction of its own; how many rows it moved."""

        async def work(connection: AsyncConnection) -> int:
            return int((await connection.execute(statement)).rowcount)

        return await self.write(work)

    async def write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run ``work`` in one transaction. Raises ``Unavailable``, and ``IntegrityError`` as the database does."""
        with self._using():
            async with _limited("written"), self._turn, self._writer.begin() as connection:
                return await work(connection)

    @contextmanager
    def _using(self) -> Iterator[None]:
        """A disposed engine would quietly connect again, and its thread keep the process."""
        if self._stopped:
            raise Unavailable("the database is closed")
        self._under_way += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()


@asynccontextmanager
async def _limited(done: str) -> AsyncIterator[None]:
    """Give the block ``TIME_LIMIT`` seconds and say in words what failed."""
    try:
        async with asyncio.timeout(TIME_LIMIT):
            yield
    except IntegrityError:
        raise
    except TimeoutError as error:
        raise Unavailable(f"the database could not be {done} within {TIME_LIMIT:g} s") from error
    except DBAPIError as error:
        raise Unavailable(f"the database cannot be {done}: {error.orig}") from error
    except (SQLAlchemyError, OSError) as error:
        raise Unavailable(f"the database cannot be {done}: {error}") from error


def _page(statement: Select[Any], table: Table, time: str, query: HistoryQuery | AuditQuery) -> Select[Any]:
    when, row_id = table.c[time], table.c.id
    if query.since is not None:
        statement = statement.where(when >= query.since)
    if query.until is not None:
        statement = statement.where(when <= query.until)
    if query.before is not None:
        statement = statement.where(tuple_(when, row_id) < query.before)
    return statement.order_by(when.desc(), row_id.desc()).limit(query.limit)
