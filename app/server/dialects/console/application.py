"""The console dialect's application: its operations, the feed, and what is open without a token.

Built by ``main.py``: ``/console/v1/*``, ``/healthz``, ``/metrics``, and ``/docs`` with ``/openapi.json`` for every
dialect of the main port, without anything from the internet.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.routing import WebSocketRoute
from starlette.types import Receive, Scope, Send

from app import __version__
from app.errors import CallboardError, Unauthorised
from app.server.access import Access
from app.server.access.requests import operator_name, request_id
from app.server.dialects import Dialect
from app.server.dialects.console import errors, wire
from app.server.dialects.console.fleet_routes import FleetOperations
from app.server.dialects.console.routes import Operations, answer
from app.server.dialects.console.services import Services
from app.server.metrics import CONTENT_TYPE

PREFIXES = ("/console/", "/healthz", "/metrics", "/docs", "/openapi.json", "/static-offline-docs/")
TITLE = "Callboard"
LOGIN_ENDED = 4401
UNAUTHORISED = "This needs the console's token, or an administrator's login"

_COMMON: dict[int | str, dict[str, Any]] = {
    400: {"model": wire.ConsoleProblem, "description": "The request is not proper HTTP, or its URL not UTF-8."},
    403: {"model": wire.ConsoleProblem, "description": "This client's network, or its browser's origin, may not."},
}
_GUARDED: dict[int | str, dict[str, Any]] = {
    401: {
        "model": wire.ConsoleProblem,
        "description": "The console's token, or an administrator's login, is missing or wrong.",
    },
    413: {"model": wire.ConsoleProblem, "description": "The body is larger than 1 MiB."},
    422: {"model": wire.ConsoleProblem, "description": "The request does not fit."},
}


def build(services: Services, merged: Callable[[], dict[str, Any]]) -> Dialect:
    """The dialect; ``merged`` is the document of every dialect on the port, asked for when somebody reads it."""
    app = FastAPIOffline(
        docs_url="/docs",
        redoc_url=None,
        title=TITLE,
        version=__version__,
        openapi_url="/openapi.json",
        redirect_slashes=False,
        responses=_COMMON,
    )
    _add_error_handlers(app)
    _add_public(app, services)
    routers = Operations(services).router(), FleetOperations(services).router()
    bearer = HTTPBearer(auto_error=False, scheme_name="ConsoleToken", description="`<data-dir>/console.token`")

    async def needs_token(connection: HTTPConnection) -> None:
        if not services.access.has_console_token(connection.scope):
            raise Unauthorised(UNAUTHORISED)

    for router in routers:
        app.include_router(router, dependencies=[Depends(needs_token), Depends(bearer)], responses=_GUARDED)
    app.router.routes.append(WebSocketRoute("/console/v1/feed", Feed(services)))
    own = list(app.routes)
    app.openapi = merged  # type: ignore[method-assign]

    def openapi() -> dict[str, Any]:
        return get_openapi(title=TITLE, version=__version__, routes=own)

    return Dialect("console", app, errors.refuse, PREFIXES, openapi)


def _add_error_handlers(app: FastAPI) -> None:
    async def expected(_: Request, error: Exception) -> Response:
        return errors.render(error) if isinstance(error, CallboardError) else errors.refuse("internal", str(error))

    async def misfit(_: Request, error: Exception) -> Response:
        problems = error.errors() if isinstance(error, RequestValidationError) else []
        return errors.refuse("invalid", errors.in_words(problems))

    async def http(_: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            return errors.refuse("internal", str(error))
        response = errors.refuse(errors.CODES.get(error.status_code, "invalid"), str(error.detail))
        response.status_code = error.status_code
        response.headers.update(error.headers or {})
        return response

    async def unexpected(request: Request, _: Exception) -> Response:
        """The guard, to which it is raised again, writes the log line."""
        about = request_id(request.scope)
        response = errors.refuse("internal", f"Internal error; the broker's log has it under {about}")
        response.headers["x-request-id"] = about
        return response

    app.add_exception_handler(Exception, unexpected)
    app.add_exception_handler(CallboardError, expected)
    app.add_exception_handler(RequestValidationError, misfit)
    app.add_exception_handler(HTTPException, http)


def _add_public(app: FastAPI, services: Services) -> None:
    """What needs no token."""

    async def healthz() -> Response:
        """Whether every part of the broker works; 503 names the broken ones."""
        rows = services.health.rows()
        broken = [row.id for row in rows if not row.ok]
        report = {"status": "broken" if broken else "ok", "broken": broken, "parts": rows}
        return answer(report, 503 if broken else 200)

    async def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(services.metrics.render(), media_type=CONTENT_TYPE)

    broken: dict[int | str, dict[str, Any]] = {503: {"model": wire.HealthReport, "description": "A part is broken."}}
    app.add_api_route("/healthz", healthz, tags=["Broker"], response_model=wire.HealthReport, responses=broken)
    text: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {}}}}
    app.add_api_route("/metrics", metrics, tags=["Broker"], response_class=Response, responses=text)


class Feed:
    """``WS /console/v1/feed``: accepts a console that knows the token and hands it to the hub."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection, from its handshake to its end."""
        if not self._services.access.has_console_token(scope):
            await errors.refuse("unauthorised", UNAUTHORISED)(scope, receive, send)
            return
        await receive()
        await send({"type": "websocket.accept"})

        async def send_text(text: str) -> None:
            await send({"type": "websocket.send", "text": text})

        client = scope.get("client") or ("?", 0)
        name = operator_name(scope) or f"{client[0]}:{client[1]}"
        login = Login(self._services.access, scope)
        try:
            await self._services.feed.serve(name, send_text, login.until_over(receive))
        finally:
            login.leave()
        if login.ended:
            await send({"type": "websocket.close", "code": LOGIN_ENDED, "reason": "The login has ended; log in again"})


class Login:
    """The login behind one feed; one with the console's token never ends."""

    def __init__(self, access: Access, scope: Scope) -> None:
        self.ended = False
        self._deadline = asyncio.timeout(None)
        self.leave = access.on_end(scope, self._end)
        """Listen no longer."""

    async def until_over(self, receive: Receive) -> None:
        """Until the console goes or its login ends; what a console sends has no meaning."""
        try:
            async with self._deadline:
                while not self.ended and (await receive())["type"] != "websocket.disconnect":
                    pass
        except TimeoutError:
            return

    def _end(self) -> None:
        self.ended = True
        with contextlib.suppress(RuntimeError):  # it has not begun to wait, or has just ended
            self._deadline.reschedule(0.0)
