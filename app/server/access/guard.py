"""The guard: pure ASGI in front of every listener, on the path of every heartbeat, so it does little and that fast.

It checks Host, Origin, network and encryption, bounds bodies, refuses what is no proper URL, counts answers, and turns what
nobody expected into one log line and the dialect's own 500. Refusals look as the dialect of the path wants.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from urllib.parse import unquote_to_bytes

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.logs import get_logger
from app.server.access.keys import ApiKeys
from app.server.access.networks import Hosts, Networks, Origins
from app.server.access.requests import from_this_machine, request_id
from app.server.access.token import Access

log = get_logger("access")

BODY_LIMIT = 1024 * 1024
SWALLOWED = 16 * 1024 * 1024
SWALLOWS_WITHIN = 1.0
"""How much of a body that is refused for its size is read nevertheless, and how long each piece of it may take."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
STATUS = {"forbidden": 403, "too_large": 413, "malformed": 400, "internal": 500, "unavailable": 503}
TOLD_EVERY = 60.0
TOLD_LIMIT = 1024

Refuse = Callable[[Scope, str, str], Response]
Count = Callable[[int], None]


class Policy:
    """Everything the guard decides by.

    ``logins`` are the paths of dialects that have a login of their own: no network need be allowed for them, but
    their passwords, keys and tokens pass unencrypted between machines only where ``allow_plain`` says so.
    """

    def __init__(
        self,
        access: Access,
        keys: ApiKeys,
        networks: Networks,
        hosts: Hosts,
        origins: Origins,
        *,
        logins: tuple[str, ...] = (),
        allow_plain: Callable[[], bool] = lambda: False,
    ) -> None:
        self.access = access
        self.keys = keys
        self.networks = networks
        self.hosts = hosts
        self.origins = origins
        self.logins = logins
        self.allow_plain = allow_plain


class Refusal(Exception):
    """Why a request goes no further."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Guard:
    """An ASGI application around one listener's dialects."""

    def __init__(self, app: ASGIApp, policy: Policy, refuse: Refuse, count: Count) -> None:
        self._app = app
        self._policy = policy
        self._refuse = refuse
        self._count = count
        self._told: dict[tuple[str, str], float] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, then pass on."""
        if scope["type"] == "lifespan":
            return
        try:
            chunked = self._check(scope)
        except Refusal as refusal:
            self._tell(scope, refusal)
            await self._send_refusal(scope, receive, send, refusal.code, refusal.message)
            return
        if chunked:
            await self._pass_counting(scope, receive, send)
        else:
            await self._pass(scope, receive, send)

    def _check(self, scope: Scope) -> bool:
        """Raise ``Refusal``, or say whether the body comes without a length."""
        host = origin = length = None
        chunked = False
        for name, value in scope["headers"]:
            if name == b"host":
                if host is not None:
                    raise Refusal("malformed", "There are two Host headers")
                host = value
            elif name == b"origin":
                origin = value
            elif name == b"content-length":
                length = value
            elif name == b"transfer-encoding":
                chunked = True
        policy = self._policy
        if host is None or not policy.hosts.allow(host):
            raise Refusal("forbidden", "The Host header names no address of this broker")
        if (
            origin is not None
            and (scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS)
            and not policy.origins.allow(origin, host)
        ):
            raise Refusal("forbidden", "Web pages of other origins may not do this")
        if scope["path"].startswith(policy.logins):
            self._check_encryption(scope)
        else:
            self._check_network(scope)
        if length is not None and (len(length) > 7 or not length.isdigit() or int(length) > BODY_LIMIT):
            raise Refusal("too_large", f"The body may have at most {BODY_LIMIT} bytes")
        if b"%" in scope["raw_path"] or scope["query_string"]:
            _check_encoding(scope)
        return chunked

    def _check_network(self, scope: Scope) -> None:
        policy = self._policy
        client, server = scope.get("client"), scope.get("server")
        if client is not None and policy.networks.allow(client[0], server[0] if server else ""):
            return
        if not policy.keys.carried_by(scope) and not policy.access.has_console_token(scope):
            raise Refusal(
                "forbidden", "This network may not reach the broker, and the request carries no valid API key"
            )

    def _check_encryption(self, scope: Scope) -> None:
        """What has a login carries secrets, so it needs TLS between machines."""
        encrypted = scope.get("scheme") in ("https", "wss")
        if not encrypted and not from_this_machine(scope) and not self._policy.allow_plain():
            raise Refusal(
                "forbidden",
                "Passwords, keys and tokens would pass unencrypted: this broker needs TLS (tls_cert, tls_key) for that, "
                "or allow_plain",
            )

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False
        count = self._count

        def watched(message: Message) -> Awaitable[None]:
            nonlocal started
            if not started:
                started = True
                count(message.get("status", 101))
            return send(message)

        try:
            await self._app(scope, receive, watched)
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                if started or scope["type"] != "http":
                    raise
                # It did not end in the time that a stopping broker leaves it; uvicorn would answer in words of its own.
                log.warning("request cut off", path=scope["path"], request_id=request_id(scope))
                await self._send_refusal(scope, receive, send, "unavailable", "The broker stops")
                return
            log.exception("request failed", path=scope["path"], request_id=request_id(scope))
            if started:  # uvicorn closes a connection whose answer breaks off
                return
            text = f"Internal error; the broker's log has it under {request_id(scope)}"
            await self._send_refusal(scope, receive, send, "internal", text)

    async def _pass_counting(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The same for a body of unknown length: what is over the limit looks to the dialect like a hang-up."""
        seen = 0
        over = False

        async def counted() -> Message:
            nonlocal seen, over
            if over:
                return {"type": "http.disconnect"}
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > BODY_LIMIT:
                    over = True
                    return {"type": "http.disconnect"}
            return message

        async def held(message: Message) -> None:
            if not over:
                await send(message)

        await self._pass(scope, counted, held)
        if over:
            text = f"The body may have at most {BODY_LIMIT} bytes"
            await self._send_refusal(scope, receive, send, "too_large", text)

    async def _send_refusal(self, scope: Scope, receive: Receive, send: Send, code: str, message: str) -> None:
        response = self._refuse(scope, code, message)
        response.status_code = STATUS[code]
        response.raw_headers.append((b"x-request-id", request_id(scope).encode()))
        if code == "too_large":
            response.raw_headers.append((b"connection", b"close"))
            await _swallow(scope, receive)
        self._count(response.status_code)
        await response(scope, receive, send)

    def _tell(self, scope: Scope, refusal: Refusal) -> None:
        """Log a refusal, once a minute for each client and reason: an operator looks for it, a flood helps nobody."""
        client = scope.get("client")
        about = (client[0] if client else "", refusal.message)
        now = time.monotonic()
        if now - self._told.get(about, -TOLD_EVERY) < TOLD_EVERY:
            return
        if len(self._told) >= TOLD_LIMIT:
            self._told.clear()
        self._told[about] = now
        log.warning("request refused", client=about[0], path=scope["path"], reason=refusal.message)


async def _swallow(scope: Scope, receive: Receive) -> None:
    """Read on, within bounds: a connection that is closed on unread data takes the answer away from its client."""
    if any(name == b"expect" for name, _ in scope["headers"]):
        return  # it waits for our word before it sends its body, and gets a better one
    left = SWALLOWED
    with contextlib.suppress(TimeoutError):
        while left > 0:
            async with asyncio.timeout(SWALLOWS_WITHIN):
                message = await receive()
            if message["type"] != "http.request" or not message.get("more_body", False):
                return
            left -= len(message.get("body", b""))


def _check_encoding(scope: Scope) -> None:
    """Path and query must be UTF-8 under their percent-encoding."""
    try:
        unquote_to_bytes(scope["raw_path"]).decode()
        unquote_to_bytes(scope["query_string"]).decode()
    except UnicodeDecodeError:
        raise Refusal("malformed", "The URL is not valid UTF-8") from None
