"""The audit: every act of an operator, kept before it is told.

Called by the dialects, for acts that reach an API and carry an operator, and by the console's routes. An act is
committed to the journal, like what it acted on, and moves to the database from there; so no act is lost while the
database is away.
"""

from __future__ import annotations

import time
import uuid
from types import TracebackType
from typing import Any, Self

import msgspec

from app.contract import AuditRow, Row
from app.errors import CallboardError, Unavailable
from app.logs import get_logger
from app.server.events import EventLog
from app.server.storage import records
from app.server.storage.database import AuditQuery, Database
from app.server.storage.history import HistoryMover
from app.server.storage.journal import Change, Journal

log = get_logger("audit")

CAUGHT_UP_WITHIN = 2.0
"""Seconds that a query waits for acts on their way from the journal."""


class Audit:
    """Writes acts down, announces them on the feed, and finds them again."""

    def __init__(self, journal: Journal, mover: HistoryMover, database: Database, events: EventLog) -> None:
        self._journal = journal
        self._mover = mover
        self._database = database
        self._events = events

    async def record(self, row: AuditRow) -> None:
        """Keep one act; durable when this returns. Raises ``Unavailable``."""
        await self._journal.commit(Change().record(*records.audit(row)))
        self._events.publish("audit.added", row.id, row)

    async def note(self, operator: str, act: AuditRow) -> AuditRow:
        """Keep an act that somebody tells of; its id and time are given here. Raises ``Unavailable``."""
        row = msgspec.structs.replace(act, id=str(uuid.uuid4()), at=time.time(), operator=operator)
        await self.record(row)
        return row

    async def query(self, query: AuditQuery) -> list[AuditRow]:
        """Acts that fit, newest first, with every act answered before this call. Raises ``Unavailable``."""
        if not await self._mover.caught_up(CAUGHT_UP_WITHIN):
            raise Unavailable("The audit is catching up; what was done last is not in it yet")
        return await self._database.audit(query)

    def act(self, operator: str, verb: str, object: str, object_id: str = "", *, dialect: str = "console") -> Act:
        """An async context around one act: what it raises is its result."""
        return Act(self, operator, verb, object, object_id, dialect)


class Act:
    """One act under way; set ``before``, ``after`` and ``object_id`` as they become known."""

    def __init__(self, audit: Audit, operator: str, verb: str, object: str, object_id: str, dialect: str) -> None:
        self.object_id = object_id
        self.before: Row | dict[str, Any] | None = None
        self.after: Row | dict[str, Any] | None = None
        self._audit = audit
        self._operator = operator
        self._verb = verb
        self._object = object
        self._dialect = dialect
        self._begun = time.perf_counter()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, Exception):
            return
        result, detail = "ok", ""
        if error is not None:
            result, detail = (error.code, error.message) if isinstance(error, CallboardError) else ("internal", "")
        row = AuditRow(
            id=str(uuid.uuid4()),
            at=time.time(),
            operator=self._operator,
            verb=self._verb,
            object=self._object,
            object_id=self.object_id,
            dialect=self._dialect,
            before=None if self.before is None else msgspec.to_builtins(self.before),
            after=None if self.after is None else msgspec.to_builtins(self.after),
            result=result,
            detail=detail,
            milliseconds=round((time.perf_counter() - self._begun) * 1000, 3),
        )
        try:
            await self._audit.record(row)
        except CallboardError as lost:  # the act has happened, or failed, and its answer stands
            log.error("audit row lost", verb=self._verb, object_id=self.object_id, result=result, why=lost.message)
