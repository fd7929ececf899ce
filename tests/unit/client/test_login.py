"""A login that stays good: renewed in time, failures in words, never given up, never a stale token."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.client.credentials import NO_KEYRING, Credentials, CredentialsError
from app.client.login import Login

WITHIN = 30.0
Http = Callable[..., Awaitable[str]]


class Venue:
    """A broker that only logs in and out."""

    def __init__(self) -> None:
        self.password = "right"
        self.life = 3600.0
        self.given: list[str] = []
        self.revoked: list[str] = []
        self.answer: Response | None = None
        self.asked_at: list[float] = []

    @property
    def asked(self) -> int:
        """How often somebody wanted to log in."""
        return len(self.asked_at)

    @property
    def application(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/api/v1/auth/login", self.login, methods=["POST"]),
                Route("/api/v1/auth/logout", self.logout, methods=["POST"]),
            ]
        )

    async def login(self, request: Request) -> Response:
        self.asked_at.append(asyncio.get_running_loop().time())
        assert "authorization" not in request.headers
        if self.answer is not None:
            return self.answer
        if json.loads(await request.body()) != {"username": "ann", "password": self.password}:
            envelope = {"error": "Authentication failed", "message": "Invalid username or password"}
            return JSONResponse({**envelope, "code": "AUTH_INVALID_CREDENTIALS"}, 401)
        self.given.append(f"token-{len(self.given)}")
        ends = datetime.fromtimestamp(datetime.now(UTC).timestamp() + self.life, UTC)
        user = {"id": "1", "username": "ann", "role": "admin"}
        return JSONResponse({"token": self.given[-1], "user": user, "expires_at": ends.isoformat()})

    async def logout(self, request: Request) -> Response:
        self.revoked.append(request.headers["authorization"])
        return JSONResponse({"message": "Logout successful"})


class Keyring(Credentials):
    """Passwords of the test."""

    def __init__(self, password: str | None) -> None:
        super().__init__()
        self.kept = password
        self.fails = False

    async def password(self, url: str, username: str) -> str | None:
        if self.fails:
            raise CredentialsError(NO_KEYRING)
        return self.kept


class Console:
    """A login that runs, and what it said."""

    def __init__(self, url: str, keyring: Keyring, **options: Any) -> None:
        self.tokens: asyncio.Queue[str] = asyncio.Queue()
        self.troubles: asyncio.Queue[str] = asyncio.Queue()
        options = {"backoff": (0.01, 0.02), "refused_backoff": 60.0, "jitter": lambda: 0.0, **options}
        self.login = Login(url, "ann", self.tokens.put_nowait, self.troubles.put_nowait, credentials=keyring, **options)
        self.task = asyncio.ensure_future(self.login.run())

    async def token(self) -> str:
        async with asyncio.timeout(WITHIN):
            return await self.tokens.get()

    async def trouble(self) -> str:
        async with asyncio.timeout(WITHIN):
            return await self.troubles.get()

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})


@pytest.fixture
def venue() -> Venue:
    return Venue()


@pytest.fixture
async def console(http: Http, venue: Venue) -> AsyncIterator[Callable[..., Awaitable[Console]]]:
    started: list[Console] = []

    async def start(keyring: Keyring, **options: Any) -> Console:
        started.append(Console(await http(venue.application), keyring, **options))
        return started[-1]

    yield start
    for one in started:
        await one.stop()


Start = Callable[..., Awaitable[Console]]


async def test_it_logs_in_and_renews_before_the_end(
    console: Start, venue: Venue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.client.login.LOOK_EVERY", 0.01)
    now = [1000.0]
    one = await console(Keyring("right"), now=lambda: now[0])
    assert await one.token() == "token-0"
    first = one.login.token
    assert first is not None
    assert (first.username, first.role) == ("ann", "admin")
    now[0] += venue.life / 2
    await asyncio.sleep(0.1)
    assert venue.asked == 1
    now[0] = first.begun + 0.71 * (first.ends - first.begun)
    assert await one.token() == "token-1"
    assert one.login.token is not None
    assert one.login.token.begun < first.ends
    assert one.troubles.empty()


async def test_a_wrong_password_is_said_once_and_not_tried_again_and_again(console: Start, venue: Venue) -> None:
    one = await console(keyring := Keyring("wrong"))
    assert "Invalid username or password" in await one.trouble()
    assert one.login.token is None
    assert venue.asked == 1
    keyring.kept = "right"
    one.login.renew_now()
    assert await one.token() == "token-0"
    assert await one.trouble() == ""


async def test_no_password_and_no_keyring_are_said(console: Start, venue: Venue) -> None:
    one = await console(keyring := Keyring(None))
    assert "no password is kept" in await one.trouble()
    keyring.fails = True
    one.login.renew_now()
    assert "no keyring" in await one.trouble()
    with_its_own = await console(keyring, password="right")
    assert await with_its_own.token() == "token-0"


async def test_a_login_that_holds_is_used_until_it_ends(console: Start, venue: Venue) -> None:
    now = [1000.0]
    one = await console(Keyring("right"), now=lambda: now[0])
    assert await one.token() == "token-0"
    venue.answer = JSONResponse({"error": "x", "message": "The database is away", "code": "INTERNAL"}, 500)
    one.login.renew_now()
    trouble = await one.trouble()
    assert "ends at" in trouble
    assert "The database is away" in trouble
    assert one.login.token is not None
    now[0] += 4000.0
    one.login.renew_now()
    assert "Not logged in" in await one.trouble()
    assert one.login.token is None
    venue.answer = None
    one.login.renew_now()
    assert await one.token() == "token-1"


async def test_a_limit_is_waited_for(console: Start, venue: Venue) -> None:
    body = {"error": "Rate limit exceeded", "message": "Too many requests.", "code": "RATE_LIMIT_EXCEEDED"}
    venue.answer = JSONResponse(body, 429, {"Retry-After": "1"})
    one = await console(Keyring("right"))
    assert "Too many requests." in await one.trouble()
    venue.answer = None
    assert await one.token() == "token-0"
    first, second = venue.asked_at
    assert second - first > 0.5


async def test_nobody_there_is_tried_again(venue: Venue) -> None:
    one = Console("127.0.0.1:9", Keyring("right"))
    assert "No broker answers" in await one.trouble()
    await one.stop()


@pytest.mark.parametrize(
    "body", [{}, {"token": "x", "expires_at": "soon"}, {"token": 1, "expires_at": "2026-01-01"}, []]
)
async def test_an_answer_that_is_no_login(console: Start, venue: Venue, body: Any) -> None:
    venue.answer = JSONResponse(body)
    one = await console(Keyring("right"))
    assert "answer" in await one.trouble()
    assert one.login.token is None


async def test_logging_out_revokes_that_token(console: Start, venue: Venue) -> None:
    one = await console(Keyring("right"))
    await one.token()
    await one.stop()
    await one.login.log_out()
    await one.login.log_out()
    assert venue.revoked == ["Bearer token-0"]
