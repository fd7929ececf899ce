"""Operations of the API: what one takes, and how a request becomes a call of its endpoint.

An ``Operation`` is declared once, with its models, by the modules with the endpoints; ``application.py`` serves it and
``documentation.py`` describes it. Bodies and queries that do not fit are told with the document's validation codes,
``details.field`` names the place; never with a 422.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from pydantic import BaseModel, ValidationError
from starlette.responses import Response
from starlette.types import Receive, Scope

from app.errors import Forbidden, Invalid
from app.server.access.principal import Principal
from app.server.access.requests import body_of
from app.server.dialects.streamspace.errors import Json
from app.server.dialects.streamspace.wire import ChangeTemplate
from app.server.streams.strict_json import BadJson, decode

Endpoint = Callable[..., Awaitable[Response]]
REASON_LENGTH = 500


@dataclass(frozen=True)
class Call:
    """One request as an endpoint sees it."""

    caller: Principal
    ids: dict[str, str]
    scope: Scope


@dataclass(frozen=True)
class Operation:
    """One method on one path. ``statuses`` are those beside the good one and what every operation may answer."""

    method: str
    path: str
    endpoint: Endpoint
    tag: str
    answer: type[BaseModel] | None
    statuses: tuple[int, ...] = ()
    good: int = 200
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    admin: bool = False
    open: bool = False
    """No token is needed."""
    own: bool = False
    """Callboard's own, not in the document."""

    @cached_property
    def _every_default(self) -> Any:
        return None if self.query is None else self.query()

    async def serve(self, scope: Scope, receive: Receive, caller: Principal, ids: dict[str, str]) -> Response:
        """Check, validate and call; raises ``CallboardError`` and ``Hangup``."""
        if self.admin and not caller.is_admin:
            raise Forbidden("Administrators only", code="not_permitted")
        call = Call(caller, ids, scope)
        if self.query is not None:
            return await self.endpoint(call, self.read_query(scope["query_string"]))
        if self.body is not None:
            return await self.endpoint(call, self.read_body(await body_of(receive)))
        return await self.endpoint(call)

    def read_query(self, text: bytes) -> Any:
        """The parameters; of one that comes twice the last counts. Raises ``Invalid``."""
        if not text or self.query is None:
            return self._every_default
        try:
            pairs = parse_qsl(text.decode("latin-1"), max_num_fields=100)
        except ValueError as error:
            raise Invalid(f"The query cannot be read: {error}", code="invalid_parameter") from error
        try:
            return self.query.model_validate(dict(pairs))
        except ValidationError as error:
            place, reason = _first(error)
            detail = {"field": place, "reason": reason}
            raise Invalid(f"Invalid value for parameter '{place}': {reason}", code="invalid_parameter", detail=detail) from error  # fmt: skip

    def read_body(self, data: bytes) -> Any:
        """The body as an instance of its model; nothing counts as an empty object. Raises ``Invalid``."""
        if self.body is None:
            raise TypeError("this operation has no body")
        try:
            value = decode(data) if data else {}
        except BadJson as error:
            raise Invalid(f"The body is not JSON: {error.reason}", code="validation_failed") from error
        if not isinstance(value, dict):
            raise Invalid("The body must be a JSON object", code="validation_failed")
        try:
            return self.body.model_validate(value)
        except ValidationError as error:
            raise self._misfit(error) from error

    def _misfit(self, error: ValidationError) -> Invalid:
        missing = next((each for each in error.errors(include_url=False) if each["type"] == "missing"), None)
        if missing is not None:
            place = _place(missing)
            message = f"Field '{place}' is required"
            return Invalid(message, code="missing_required_field", detail={"field": place})
        place, reason = _first(error)
        is_template = self.body is not None and issubclass(self.body, ChangeTemplate)
        code = "template_invalid" if is_template else "validation_failed"
        return Invalid(f"Invalid value for '{place}': {reason}", code=code, detail={"field": place, "reason": reason})


def answer(shown: Any, status: int = 200) -> Json:
    """What ``rows.py`` gives, as bytes."""
    return Json(msgspec.json.encode(shown), status)


def nothing() -> Json:
    """204, without a body or what describes one."""
    response = Json(b"", 204)
    response.raw_headers = []
    return response


def _place(problem: Any) -> str:
    return ".".join(str(step) for step in problem["loc"]) or "body"


def _first(error: ValidationError) -> tuple[str, str]:
    """Place and reason of the first thing that is wrong."""
    problem = error.errors(include_url=False)[0]
    reason = str(problem.get("ctx", {}).get("error") or problem["msg"])
    return _place(problem)[:REASON_LENGTH], reason[:REASON_LENGTH]
