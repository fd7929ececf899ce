"""The StreamSpace dialect's application: who calls, how often, which operation; and the sockets beside them.

Built by ``main.py`` for the main port. Every answer carries the limit headers and ``X-Request-ID``, every error the
envelope. Operations are found by one look-up and served without FastAPI, which would cost more than all the rest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import Message, Receive, Scope, Send

from app.errors import CallboardError, NotFound, Unauthorised
from app.server.access.principal import Principal
from app.server.access.requests import Hangup
from app.server.dialects import Dialect
from app.server.dialects.streamspace import errors, sockets
from app.server.dialects.streamspace.agents import Agents
from app.server.dialects.streamspace.documentation import document
from app.server.dialects.streamspace.errors import render, request_name
from app.server.dialects.streamspace.limits import HEADERS, Limiter
from app.server.dialects.streamspace.log_stream import LogStream
from app.server.dialects.streamspace.operations import Operation
from app.server.dialects.streamspace.people import People
from app.server.dialects.streamspace.services import StreamSpaceServices
from app.server.dialects.streamspace.sessions import Sessions
from app.server.dialects.streamspace.templates import Templates

PREFIXES = ("/api/v1/", "/vnc-viewer/", "/agent/")
LOGS = re.compile(r"/api/v1/sessions/([^/]+)/logs")

Found = tuple[dict[str, Operation], dict[str, str]]
"""Operations of a path by method, and what stands in its places."""


def build(services: StreamSpaceServices) -> Dialect:
    """The dialect."""
    sessions = Sessions(services)
    operations = [
        *People(services).operations(),
        *Agents(services).operations(),
        *sessions.operations(),
        *Templates(services).operations(),
    ]
    app = StreamSpaceApi(services, sessions, operations, sockets.routes(services))
    return Dialect("streamspace", app, errors.refuse, PREFIXES, lambda: document(operations), app.refuse, login=True)


class Paths:
    """Operations by path."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._exact: dict[str, dict[str, Operation]] = {}
        self._patterns: dict[str, tuple[list[str], dict[str, Operation]]] = {}
        for operation in operations:
            if "{" in operation.path:
                known = self._patterns.setdefault(operation.path, (operation.path.split("/"), {}))
                known[1][operation.method] = operation
            else:
                self._exact.setdefault(operation.path, {})[operation.method] = operation

    def find(self, path: str, raw_path: bytes) -> Found | None:
        """What is there. A place may hold any character, also a slash that came encoded."""
        exact = self._exact.get(path)
        if exact is not None:
            return exact, {}
        parts = (
            [unquote(part) for part in raw_path.decode("latin-1").split("/")] if b"%" in raw_path else path.split("/")
        )
        for pattern, operations in self._patterns.values():
            if len(pattern) == len(parts):
                ids = _match(pattern, parts)
                if ids is not None:
                    return operations, ids
        return None


def _match(pattern: list[str], parts: list[str]) -> dict[str, str] | None:
    ids = {}
    for wanted, part in zip(pattern, parts, strict=True):
        if wanted.startswith("{"):
            if not part:
                return None
            ids[wanted[1:-1]] = part
        elif wanted != part:
            return None
    return ids


class StreamSpaceApi:
    """The ASGI application."""

    def __init__(
        self,
        services: StreamSpaceServices,
        sessions: Sessions,
        operations: Sequence[Operation],
        routes: Sequence[BaseRoute],
    ) -> None:
        self._callers = services.callers
        self._sessions = sessions
        self._paths = Paths(operations)
        self._routes = routes
        self._limiter = Limiter(services)
        self._logs = LogStream(services)
        self._log_operation = next(each for each in operations if each.path.endswith("/logs"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or one WebSocket."""
        name = request_name(scope)
        caller: Principal | Unauthorised
        try:
            caller = self._callers.caller(scope)
        except Unauthorised as error:
            caller = error
        refusal = self._limiter.check(scope, caller if isinstance(caller, Principal) else None)
        own = [*scope.get(HEADERS, ()), (b"x-request-id", name.encode())]
        if refusal is None and scope["type"] == "http":
            try:
                refusal = await self._answer(scope, receive, caller)
            except CallboardError as error:
                refusal = render(scope, error)
            except Hangup:
                return
        if refusal is not None:
            await _send(refusal, scope, receive, send, own)
            return
        await self._serve_socket(scope, receive, _adding(own, self._limiter.watch_tunnel(scope, receive, send)), caller)

    def refuse(self, scope: Scope, code: str, message: str) -> Response:
        """An error of the guard's: counted like every request, unless that has been done."""
        request_name(scope)
        if HEADERS not in scope:
            self._limiter.check(scope, None)
        response = errors.refuse_request(scope, code, message)
        response.raw_headers.extend(scope.get(HEADERS, ()))
        return response

    async def _answer(self, scope: Scope, receive: Receive, caller: Principal | Unauthorised) -> Response | None:
        """An operation's answer; None where no operation has this path. Raises ``CallboardError``."""
        found = self._paths.find(scope["path"], scope["raw_path"])
        if found is None:
            return None
        operations, ids = found
        method = scope["method"]
        operation = operations.get("GET" if method == "HEAD" else method)
        if operation is None:
            return _not_allowed(scope, operations)
        if operation.open:
            caller = NOBODY
        if isinstance(caller, Unauthorised):
            raise caller
        return await operation.serve(scope, receive, caller, ids)

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send, caller: Principal | Unauthorised) -> None:
        """What is no operation: logs that are followed, agents, tunnels, viewers and their pages."""
        try:
            if scope["type"] == "websocket" and (match := LOGS.fullmatch(scope["path"])):
                await self._follow(scope, receive, send, caller, match[1])
                return
            route = self._route(scope)
            if route is not None:
                await route.handle(scope, receive, send)
                return
            raise NotFound(f"There is nothing at {scope['path']}")
        except CallboardError as error:
            response = render(scope, error)
        await response(scope, receive, send)

    def _route(self, scope: Scope) -> BaseRoute | None:
        """The route of this path; raises ``CallboardError`` where it has other methods."""
        partial = False
        for route in self._routes:
            match, child = route.matches(scope)
            if match is Match.FULL:
                scope.update(child)
                return route
            partial = partial or match is Match.PARTIAL
        if partial:
            raise CallboardError(f"{scope['method']} is not allowed here", code="not_allowed")
        return None

    async def _follow(
        self, scope: Scope, receive: Receive, send: Send, caller: Principal | Unauthorised, session_id: str
    ) -> None:
        if isinstance(caller, Unauthorised):
            raise caller
        query: Any = self._log_operation.read_query(_without_token(scope["query_string"]))
        self._logs.check(query)
        row = self._sessions.known(caller, session_id)
        await receive()
        await send({"type": "websocket.accept"})
        await self._logs.serve(receive, send, row=row, caller=caller, query=query)


NOBODY = Principal("user", "", "", "user")
"""Stands for the caller of an operation that needs no token."""


def _without_token(query: bytes) -> bytes:
    return b"&".join(part for part in query.split(b"&") if not part.startswith(b"token="))


def _not_allowed(scope: Scope, operations: dict[str, Operation]) -> Response:
    response = errors.refuse_request(scope, "not_allowed", f"{scope['method']} is not allowed here")
    methods = {*operations, "HEAD"} if "GET" in operations else set(operations)
    response.raw_headers.append((b"allow", ", ".join(sorted(methods)).encode()))
    return response


async def _send(response: Response, scope: Scope, receive: Receive, send: Send, own: list[tuple[bytes, bytes]]) -> None:
    """Send an answer whose body is ready."""
    response.raw_headers.extend(own)
    if scope["type"] == "websocket":
        await response(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body})


def _adding(own: list[tuple[bytes, bytes]], send: Send) -> Send:
    """``send`` with our headers on whatever answers the request."""

    async def adding(message: Message) -> None:
        if message["type"].endswith("response.start") or message["type"] == "websocket.accept":
            message = {**message, "headers": [*message.get("headers", ()), *own]}
        await send(message)

    return adding
