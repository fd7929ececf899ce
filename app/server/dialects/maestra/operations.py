"""Route classes of the dialect: documented by FastAPI, served with less of it.

``Operation`` takes its path ids and its body straight to the endpoint; FastAPI's dependency machinery costs
70 µs a request, four times what the bare server does, and a venue of 10,000 streams sends 1,000 heartbeats a
second. Errors and their bodies are FastAPI's, tested field by field. ``Query`` is a plain FastAPI route, for
listings with query parameters. ``StreamsApi`` finds the four busiest operations without walking the route table.
"""

from __future__ import annotations

import email.message
import re
from collections.abc import Callable, Coroutine
from typing import Any, get_type_hints

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.asyncexitstack import AsyncExitStackMiddleware
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import CallboardError
from app.server.access.requests import Hangup, body_of
from app.server.dialects.maestra import errors
from app.server.dialects.maestra.wire import Id
from app.server.streams.strict_json import BadJson, decode

_ID = TypeAdapter(Id).validator
_CANONICAL = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""How the broker writes an id, which is how nearly everybody sends it back."""


class Unprocessable(Exception):
    """The request does not fit its model; ``errors`` as pydantic lists them."""

    def __init__(self, errors: list[Any]) -> None:
        super().__init__("request does not fit its model")
        self.errors = errors


def read_id(text: str, name: str) -> str:
    """A path parameter in canonical form; raises ``Unprocessable``."""
    if _CANONICAL.fullmatch(text):
        return text
    try:
        return str(_ID.validate_python(text))
    except ValidationError as exc:
        raise Unprocessable([{**error, "loc": ("path", name)} for error in exc.errors(include_url=False)]) from exc


def says_json(scope: Scope) -> bool:
    """Whether the content type is JSON, or not given, which counts as JSON."""
    for name, value in scope["headers"]:
        if name == b"content-type":
            if value == b"application/json":
                return True
            message = email.message.Message()
            message["content-type"] = value.decode("latin-1")
            subtype = message.get_content_subtype()
            return message.get_content_maintype() == "application" and (subtype == "json" or subtype.endswith("+json"))
    return True


def _problems(exc: ValidationError) -> list[Any]:
    return [{**error, "loc": ("body", *error["loc"])} for error in exc.errors(include_url=False)]


class Operation(APIRoute):
    """A documented operation whose endpoint gets its path ids, its body and, if it wants it, ``request``."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self._call = endpoint
        hints = get_type_hints(endpoint)
        self._wants_request = "request" in hints
        models = {name: hint for name, hint in hints.items() if isinstance(hint, type) and issubclass(hint, BaseModel)}
        self._body = next(iter(models), None)
        self._model = TypeAdapter(models[self._body]).validator if self._body else None
        self._context: object = None
        self.app = self.serve

    def validate_with(self, context: object) -> None:
        """What the model's validators get as their context."""
        self._context = context

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request as an ASGI application; path parameters stand in the scope."""
        try:
            response = await self._answer(scope, receive)
        except CallboardError as exc:
            response = errors.render(exc)
        except Unprocessable as exc:
            response = errors.unprocessable(exc.errors)
        except Hangup:
            return
        await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
        await send({"type": "http.response.body", "body": response.body})

    async def _answer(self, scope: Scope, receive: Receive) -> Response:
        arguments: dict[str, Any] = {name: read_id(text, name) for name, text in scope["path_params"].items()}
        if self._model is not None and self._body is not None:
            arguments[self._body] = self._fit(await body_of(receive), says_json(scope))
        if self._wants_request:
            arguments["request"] = Request(scope)
        response: Response = await self._call(**arguments)
        return response

    def _fit(self, data: bytes, is_json: bool) -> Any:
        """The body as an instance of its model; raises ``Unprocessable`` with FastAPI's errors."""
        value: Any = data
        if is_json and data:
            try:
                value = decode(data)
            except BadJson as exc:
                context = {"error": exc.reason}
                problem = {"type": "json_invalid", "loc": ("body", exc.position), "msg": "JSON decode error"}
                raise Unprocessable([{**problem, "input": {}, "ctx": context}]) from exc
        if not data:
            raise Unprocessable([{"type": "missing", "loc": ("body",), "msg": "Field required", "input": None}])
        if self._model is None:
            raise TypeError("this operation has no body")
        try:
            return self._model.validate_python(value, from_attributes=True, context=self._context)
        except ValidationError as exc:
            raise Unprocessable(_problems(exc)) from exc


class Query(APIRoute):
    """A FastAPI route in every respect but the rendering of its errors."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        """FastAPI's handler, with errors in the manner of ``Operation``."""
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except CallboardError as exc:
                return errors.render(exc)
            except RequestValidationError as exc:
                return errors.unprocessable(exc.errors())

        return answer


class StreamsApi(FastAPI):
    """The application of the dialect; operations given to ``hasten`` are found before its middleware and routes."""

    def __init__(self, **options: Any) -> None:
        super().__init__(docs_url=None, redoc_url=None, openapi_url=None, **options)
        self._hasty: dict[tuple[str, int, str], tuple[list[str], Operation, int, str]] = {}

    def build_middleware_stack(self) -> ASGIApp:
        """Without the layer that answers the unexpected: the guard does that, with one log line and a request id."""
        return ExceptionMiddleware(AsyncExitStackMiddleware(self.router), handlers=dict(self.exception_handlers))

    def hasten(self, operation: Operation) -> None:
        """Serve this operation, with one path parameter or none and a last part of its own, by one look-up."""
        parts = operation.path.split("/")
        at = next((at for at, part in enumerate(parts) if part.startswith("{")), len(parts))
        name = parts[at].strip("{}") if at < len(parts) else ""
        for method in operation.methods or ():
            self._hasty[method, len(parts), parts[-1]] = parts[:at], operation, at, name

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        """Serve a request; what is not hasty goes FastAPI's way."""
        if scope["type"] == "http":
            parts = scope["path"].split("/")
            found = self._hasty.get((scope["method"], len(parts), parts[-1]))
            if found is not None:
                head, operation, at, name = found
                if parts[:at] == head and (not name or parts[at]) and not scope.get("root_path"):
                    scope["path_params"] = {name: parts[at]} if name else {}
                    return operation.serve(scope, receive, send)
        return super().__call__(scope, receive, send)
