"""The fleet's durable rows: agents, desktops, commands, templates, drains, and the last lines of ended sessions.

The fleet domain keeps its state in memory and commits each change here before it acts on it or answers. Concurrent
commits share a transaction: while one is being written the next gathers, without a timer. A row is encoded when
``commit`` is called, so that it may change afterwards, and one row that cannot be kept fails alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar

import msgspec
from sqlalchemy import Table, delete, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.contract import AgentRow, DesktopRow, DrainRow, Row, TemplateRow
from app.errors import CallboardError, Invalid, Unavailable
from app.logs import get_logger
from app.server.storage import tables
from app.server.storage.database import Database
from app.server.storage.engines import upsert
from app.server.tasks import TaskTree

QUEUE_LIMIT = 10_000
"""Commits that may wait; beyond that one is refused at once."""
PURGE_SLICE = 500

CommandStatus = Literal["pending", "sent", "acked", "completed", "failed", "expired", "cancelled"]
OPEN_COMMANDS = ("pending", "sent", "acked")
"""States of a command that the broker still owes somebody."""

log = get_logger("fleet store")

R = TypeVar("R", bound=Row)


class CommandRow(Row, kw_only=True):
    """One command to an agent, kept before it is sent and until it has ended."""

    agent_id: str
    session_id: str
    command_type: str
    data: dict[str, Any] = {}
    status: CommandStatus = "pending"
    attempt: int = 0
    generation: int = 1
    created_at: float
    updated_at: float
    result: dict[str, Any] = {}
    error: str = ""
    error_code: str = ""


class DesktopLog(Row, kw_only=True):
    """The last lines of a session that has ended; ``id`` is the session's."""

    lines: list[str] = []


class FleetRows(msgspec.Struct, kw_only=True):
    """Everything a broker starts with; of the commands only open ones, oldest first."""

    agents: list[AgentRow] = []
    desktops: list[DesktopRow] = []
    commands: list[CommandRow] = []
    templates: list[TemplateRow] = []
    drains: list[DrainRow] = []


class Put(msgspec.Struct, frozen=True):
    """Add a row, or replace the one of its id."""

    table: str
    row: Row


class Remove(msgspec.Struct, frozen=True):
    """Take a row away; one that is not there is no error."""

    table: str
    id: str


Change = Put | Remove

TABLES: dict[str, tuple[Table, type[Row]]] = {
    "agent": (tables.agents, AgentRow),
    "desktop": (tables.desktops, DesktopRow),
    "command": (tables.commands, CommandRow),
    "template": (tables.templates, TemplateRow),
    "drain": (tables.drains, DrainRow),
    "desktop_log": (tables.desktop_logs, DesktopLog),
}

_Encoded = dict[tuple[str, str], dict[str, Any] | None]
"""By table and id: the values of a row, or None for one that goes."""


class _Commit:
    __slots__ = ("apply", "changes", "future")

    def __init__(self, changes: _Encoded, apply: Callable[[], None] | None, future: asyncio.Future[None]) -> None:
        self.changes = changes
        self.apply = apply
        self.future = future


class FleetStore:
    """See the module's docstring."""

    def __init__(self, database: Database, tasks: TaskTree | None = None) -> None:
        self._database = database
        self._tasks = tasks or TaskTree("fleet store")
        self._waiting: list[_Commit] = []
        self._writing = False
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def waiting(self) -> int:
        """Commits that are not on their way yet."""
        return len(self._waiting)

    async def load(self) -> FleetRows:
        """What was committed. Raises ``Unavailable``; a row of another version is logged and left out."""
        commands = select(tables.commands.c.row).where(tables.commands.c.status.in_(OPEN_COMMANDS))
        return FleetRows(
            agents=await self._rows("agent", AgentRow),
            desktops=await self._rows("desktop", DesktopRow),
            commands=sorted(
                _decoded(CommandRow, await self._database.read(commands)), key=lambda row: (row.created_at, row.id)
            ),
            templates=await self._rows("template", TemplateRow),
            drains=await self._rows("drain", DrainRow),
        )

    async def commit(self, *changes: Change, apply: Callable[[], None] | None = None) -> None:
        """Make all ``changes`` durable, or none.

        ``apply`` runs on the loop once they are, in the order of commits and whether or not the caller still waits.
        Raises ``Unavailable``, and ``Invalid`` for a row that cannot be kept as text.
        """
        encoded = _encode(changes)
        if len(self._waiting) >= QUEUE_LIMIT:
            raise Unavailable(f"the fleet's database is {QUEUE_LIMIT} changes behind")
        commit = _Commit(encoded, apply, asyncio.get_running_loop().create_future())
        self._waiting.append(commit)
        if not self._writing:
            self._writing = True
            self._idle.clear()
            self._tasks.spawn("fleet store", self._write_all, kind="storage")
        await commit.future

    async def close(self, timeout: float = 5.0) -> None:
        """Wait until everything that was committed is written."""
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            log.error("the fleet's last changes are not written", commits=len(self._waiting))

    async def log(self, session_id: str) -> list[str]:
        """The lines kept of a session that has ended."""
        table = tables.desktop_logs
        found = _decoded(DesktopLog, await self._database.read(select(table.c.row).where(table.c.id == session_id)))
        return found[0].lines if found else []

    async def purge_commands(self, older_than: float, limit: int = PURGE_SLICE) -> int:
        """Delete at most ``limit`` commands that ended before ``older_than``; how many were deleted."""
        table = tables.commands
        old = (
            select(table.c.id)
            .where(table.c.updated_at < older_than, table.c.status.not_in(OPEN_COMMANDS))
            .order_by(table.c.updated_at)
            .limit(limit)
        )
        return await self._database.execute(delete(table).where(table.c.id.in_(old)))

    async def _rows(self, name: str, kind: type[R]) -> list[R]:
        table = TABLES[name][0]
        return _decoded(kind, await self._database.read(select(table.c.row).order_by(table.c.id)))

    async def _write_all(self) -> None:
        batch: list[_Commit] = []
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._write(batch)
        finally:
            self._writing = False
            self._idle.set()
            for commit in (*batch, *self._waiting):
                if not commit.future.done():  # the broker stops, or the unexpected happened
                    commit.future.set_exception(Unavailable("the fleet's database is closed"))
            self._waiting = []

    async def _write(self, batch: list[_Commit]) -> None:
        """One transaction for a whole batch; of several changes to one row the last is what counts."""
        changes: _Encoded = {}
        for commit in batch:
            changes.update(commit.changes)
        try:
            await self._database.write(lambda connection: _write_changes(connection, self._database.dialect, changes))
        except (CallboardError, SQLAlchemyError) as error:
            reason = error.message if isinstance(error, CallboardError) else f"the database refuses: {error}"
            for commit in batch:
                _settle(commit, Unavailable(reason))
            return
        for commit in batch:
            _settle(commit, _applied(commit))


def _applied(commit: _Commit) -> Exception | None:
    if commit.apply is not None:
        try:
            commit.apply()
        except Exception as error:
            log.exception("a durable change of the fleet was not applied")
            return error
    return None


def _settle(commit: _Commit, error: Exception | None) -> None:
    if commit.future.done():
        return
    if error is None:
        commit.future.set_result(None)
    else:
        commit.future.set_exception(error)


def _encode(changes: Iterable[Change]) -> _Encoded:
    """The values of each change, taken now."""
    encoded: _Encoded = {}
    for change in changes:
        table = TABLES[change.table][0]
        row_id = change.id if isinstance(change, Remove) else change.row.id
        try:
            text = msgspec.json.encode(row_id if isinstance(change, Remove) else change.row).decode()
        except (UnicodeEncodeError, OverflowError, TypeError) as error:
            raise Invalid(f"The {change.table} {row_id!r} cannot be kept: {error}") from error
        if isinstance(change, Remove):
            encoded[change.table, row_id] = None
            continue
        values = {column.name: getattr(change.row, column.name) for column in table.columns if column.name != "row"}
        encoded[change.table, row_id] = {**values, "row": text}
    return encoded


async def _write_changes(connection: AsyncConnection, dialect: str, changes: _Encoded) -> None:
    puts: dict[str, list[dict[str, Any]]] = {}
    gone: dict[str, list[str]] = {}
    for (name, row_id), values in changes.items():
        if values is None:
            gone.setdefault(name, []).append(row_id)
        else:
            puts.setdefault(name, []).append(values)
    for name, rows in puts.items():
        table = TABLES[name][0]
        columns = [column.name for column in table.columns if column.name != "id"]
        await connection.execute(upsert(table, dialect, ["id"], columns), rows)
    for name, ids in gone.items():
        table = TABLES[name][0]
        for at in range(0, len(ids), PURGE_SLICE):
            await connection.execute(delete(table).where(table.c.id.in_(ids[at : at + PURGE_SLICE])))


def _decoded(kind: type[R], found: Iterable[dict[str, Any]]) -> list[R]:
    rows: list[R] = []
    for values in found:
        try:
            rows.append(msgspec.json.decode(values["row"], type=kind))
        except msgspec.DecodeError as error:
            log.error("unreadable row left out", kind=kind.__name__, error=str(error))
    return rows
