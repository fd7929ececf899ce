"""Audit of what operators do through this API.

A request that carries ``X-Callboard-Operator`` and the console's token is an operator's act; it is recorded with what was
before and after, how it ended and how long it took. Requests of publishers and consumers are not.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Any

import msgspec
from starlette.types import Scope

from app.contract import AuditRow, Row
from app.errors import CallboardError
from app.logs import get_logger
from app.server.access import Access
from app.server.audit import Audit

log = get_logger("maestra")


class Act:
    """One request; an async context around the call of the domain. ``operator`` is empty for a stranger's."""

    __slots__ = ("_audit", "_begun", "_clock", "after", "before", "object", "object_id", "operator", "verb")

    def __init__(
        self, audit: Audit, clock: Callable[[], float], operator: str, verb: str, object: str, object_id: str
    ) -> None:
        self._audit = audit
        self._clock = clock
        self._begun = time.perf_counter()
        self.operator = operator
        self.verb = verb
        self.object = object
        self.object_id = object_id
        self.before: dict[str, Any] | None = None
        self.after: dict[str, Any] | None = None

    def show(self, *, before: Row | None = None, after: Row | None = None) -> None:
        """Keep rows as they were and are, for an operator's act."""
        if self.operator:
            if before is not None:
                self.before = msgspec.to_builtins(before)
            if after is not None:
                self.after = msgspec.to_builtins(after)

    async def __aenter__(self) -> Act:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.operator and (error is None or isinstance(error, Exception)):
            await self._record(error)

    async def _record(self, error: BaseException | None) -> None:
        result, detail = "ok", ""
        if error is not None:
            result, detail = (error.code, error.message) if isinstance(error, CallboardError) else ("internal", "")
        row = AuditRow(
            id=str(uuid.uuid4()),
            at=self._clock(),
            operator=self.operator,
            verb=self.verb,
            object=self.object,
            object_id=self.object_id,
            before=self.before,
            after=self.after,
            result=result,
            detail=detail,
            milliseconds=round((time.perf_counter() - self._begun) * 1000, 3),
        )
        try:
            await self._audit.record(row)
        except CallboardError as exc:  # the act itself has happened, or failed, and its answer stands
            log.error("audit row lost", verb=self.verb, object_id=self.object_id, result=result, why=exc.message)


class Acts:
    """Makes an ``Act`` for a request."""

    def __init__(self, access: Access, audit: Audit, clock: Callable[[], float] = time.time) -> None:
        self._access = access
        self._audit = audit
        self._clock = clock

    def begin(self, scope: Scope, verb: str, object: str, object_id: str = "") -> Act:
        """The act of this request."""
        return Act(self._audit, self._clock, self._access.operator(scope) or "", verb, object, object_id)
