"""Which requests are an operator's acts: those with ``X-Callboard-Operator`` and the console's token.

They are audited, with what was before and after, how it ended and how long it took; requests of publishers and
consumers are not. Used by ``routes.py``.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from starlette.types import Scope

from app.contract import Row
from app.server.access import Access
from app.server.audit import Act, Audit


class Unaudited:
    """The same context for a request that nobody has to answer for."""

    def __init__(self) -> None:
        self.object_id = ""
        self.before: Row | None = None
        self.after: Row | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class Acts:
    """Gives a request its operator and its context."""

    def __init__(self, access: Access, audit: Audit) -> None:
        self._access = access
        self._audit = audit

    def operator(self, scope: Scope) -> str:
        """The operator's name; empty for everybody else."""
        return self._access.operator(scope) or ""

    def act(self, operator: str, verb: str, object: str, object_id: str = "") -> Act | Unaudited:
        """The context in which the domain is called; what it raises is the act's result."""
        return self._audit.act(operator, verb, object, object_id, dialect="maestra") if operator else Unaudited()
