"""Rate limits of the dialect: which window a request counts in, and the headers that tell (seed 001, "Rate Limiting").

Logins count by address, new sessions and everything else by caller, or by address where nobody says who it is; a
WebSocket's upgrade counts as one request. Agents with a valid key, their tunnels and the viewer's static files are not
limited; wrong keys count by address. Asked by ``application.py`` for each request before anything else.
"""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from app.server.access.agent_keys import carried_key
from app.server.access.limits import Verdict, address_key
from app.server.access.principal import Principal
from app.server.access.requests import from_this_machine
from app.server.dialects.streamspace.errors import TABLE, envelope, request_name
from app.server.dialects.streamspace.services import StreamSpaceServices

API = "/api/v1"
AGENT_PATHS = ("/agent/", f"{API}/agent/")
TUNNEL_PATHS = ("/agent/tunnel/", f"{API}/agent/tunnel/")
STATIC_PATHS = ("/vnc-viewer/assets/", f"{API}/vnc-viewer/assets/")
LOGIN, SESSIONS = f"{API}/auth/login", f"{API}/sessions"
WRONG_KEY = frozenset({401, 403, 404})
HEADERS = "callboard.streamspace.limits"
"""Where a request's limit headers stand in its scope, for whoever answers it."""

RawHeaders = list[tuple[bytes, bytes]]


class Limiter:
    """Counts requests of this dialect."""

    def __init__(self, services: StreamSpaceServices) -> None:
        self._limits = services.limits
        self._limiter = services.limiter
        self._keys = services.agent_keys
        self._open_agents = services.open_agents

    def check(self, scope: Scope, caller: Principal | None) -> Response | None:
        """Count one request; its headers are in the scope afterwards, and the answer is its 429 where it is one."""
        path: str = scope["path"]
        limits = self._limits
        if path.startswith(AGENT_PATHS):
            if path.startswith(TUNNEL_PATHS) or self._is_agent(scope):
                return None  # a tunnel's token is known only to whoever opens it; see ``watch_tunnel``
            return self._hit(scope, "agent key", address_key(scope), limits.wrong_key)
        if path.startswith(STATIC_PATHS):
            return None
        method = scope.get("method", "")
        if path == LOGIN and method == "POST":
            return self._hit(scope, "login", address_key(scope), limits.login)
        who = subject(caller) if caller is not None else address_key(scope)
        if path == SESSIONS and method == "POST":
            return self._hit(scope, "create session", who, limits.create_session)
        return self._hit(scope, "other", who, limits.other)

    def watch_tunnel(self, scope: Scope, receive: Receive, send: Send) -> Send:
        """``send`` for a tunnel: a refusal for its token counts as a wrong key, and becomes a 429 when there are many."""
        if not scope["path"].startswith(TUNNEL_PATHS):
            return send
        too_many = False

        async def counted(message: Message) -> None:
            nonlocal too_many
            if message["type"].endswith("http.response.start") and message["status"] in WRONG_KEY:
                refusal = self._hit(scope, "agent key", address_key(scope), self._limits.wrong_key)
                if refusal is not None:
                    too_many = True
                    refusal.raw_headers.extend(scope[HEADERS])
                    refusal.raw_headers.append((b"x-request-id", request_name(scope).encode()))
                    await refusal(scope, receive, send)
                    return
                message = {**message, "headers": [*message.get("headers", ()), *scope[HEADERS]]}
            if not too_many:
                await send(message)

        return counted

    def _is_agent(self, scope: Scope) -> bool:
        if self._open_agents and not carried_key(scope) and from_this_machine(scope):
            return True
        return self._keys.carried_by(scope) is not None

    def _hit(self, scope: Scope, bucket: str, key: str, limit: int) -> Response | None:
        verdict = self._limiter.hit(bucket, key, limit)
        scope[HEADERS] = headers(verdict)
        return None if verdict.retry_after is None else _too_many(scope, verdict.retry_after)


def subject(caller: Principal) -> str:
    """Who counts: a user with all its tokens, or the console of this machine."""
    return f"user {caller.user_id}" if caller.kind == "user" else "console"


def headers(verdict: Verdict) -> RawHeaders:
    """The three headers of a window."""
    return [
        (b"x-ratelimit-limit", b"%d" % verdict.limit),
        (b"x-ratelimit-remaining", b"%d" % verdict.remaining),
        (b"x-ratelimit-reset", b"%d" % verdict.reset_epoch),
    ]


def _too_many(scope: Scope, seconds: int) -> Response:
    message = f"Too many requests. Please try again in {seconds} seconds."
    response = envelope(scope, TABLE["rate_limited"], message, retry_after=seconds)
    response.raw_headers.append((b"retry-after", b"%d" % seconds))
    return response
