from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from app.server.access.limits import RateLimiter
from app.server.access.principal import Principal
from app.server.dialects.streamspace.limits import HEADERS, Limiter
from app.server.dialects.streamspace.services import Limits

KIM = Principal("user", "u1", "kim", "user", "t1")
LEE = Principal("user", "u2", "lee", "user", "t2")
CONSOLE = Principal("console", "", "Ada", "admin")


class Keys:
    """One agent key."""

    def carried_by(self, scope: dict[str, Any]) -> object | None:
        return True if (b"x-agent-api-key", b"right") in scope["headers"] else None


class Times:
    """A minute that the test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def times() -> Times:
    return Times()


def limiter_with(times: Times, **more: Any) -> Limiter:
    counts = RateLimiter(monotonic=times, clock=lambda: times.now + 1_700_000_000)
    services: Any = SimpleNamespace(limits=Limits(), limiter=counts, agent_keys=Keys(), open_agents=False)
    services.__dict__.update(more)
    return Limiter(services)


@pytest.fixture
def limiter(times: Times) -> Limiter:
    return limiter_with(times)


def scope(method: str = "GET", path: str = "/api/v1/agents", client: str = "10.0.0.1", **more: Any) -> dict[str, Any]:
    made = {"type": "http", "method": method, "path": path, "headers": [], "client": (client, 1), "query_string": b""}
    return {**made, "server": ("10.0.0.9", 8080), **more}


def told(scope: dict[str, Any]) -> list[int]:
    return [int(value) for _, value in scope[HEADERS]]


def passed(limiter: Limiter, times: int, make: Any, caller: Principal | None = None) -> int:
    return sum(limiter.check(make(), caller) is None for _ in range(times))


def test_ss_40_headers_say_limit_remaining_and_reset(limiter: Limiter, times: Times) -> None:
    first, second = scope(), scope()
    assert limiter.check(first, KIM) is None
    times.now += 15
    assert limiter.check(second, KIM) is None
    assert [name for name, _ in first[HEADERS]] == [
        b"x-ratelimit-limit",
        b"x-ratelimit-remaining",
        b"x-ratelimit-reset",
    ]
    assert told(first) == [100, 99, 1_700_001_060]
    assert told(second) == [100, 98, 1_700_001_060]


def test_ss_41_logins_count_by_address(limiter: Limiter) -> None:
    def login() -> dict[str, Any]:
        return scope("POST", "/api/v1/auth/login")

    assert passed(limiter, 8, login) == 5
    assert limiter.check(scope("POST", "/api/v1/auth/login", "10.0.0.2"), None) is None
    assert limiter.check(scope(), None) is None, "another bucket"


def test_ss_41_new_sessions_have_a_bucket_of_their_own_for_each_caller(limiter: Limiter) -> None:
    def create() -> dict[str, Any]:
        return scope("POST", "/api/v1/sessions")

    assert passed(limiter, 12, create, KIM) == 10
    assert limiter.check(create(), LEE) is None
    seen = scope("GET", "/api/v1/sessions")
    assert limiter.check(seen, KIM) is None
    assert told(seen)[:2] == [100, 99]


def test_ss_41_everything_else_counts_together_by_caller(limiter: Limiter) -> None:
    assert passed(limiter, 60, lambda: scope("GET", "/api/v1/agents"), KIM) == 60
    assert passed(limiter, 60, lambda: scope("DELETE", "/api/v1/nowhere"), KIM) == 40
    other_token = replace(KIM, token_id="t9")
    assert limiter.check(scope(), other_token) is not None, "a new login is no new minute"
    assert limiter.check(scope(), LEE) is None
    assert limiter.check(scope(), CONSOLE) is None
    assert limiter.check(scope(), None) is None


def test_an_upgrade_counts_as_one(limiter: Limiter) -> None:
    viewer = scope(path="/vnc-viewer/770e8400", type="websocket")
    del viewer["method"]
    assert limiter.check(viewer, KIM) is None
    assert told(viewer)[:2] == [100, 99]


def test_ss_42_the_429_says_when_to_come_back(limiter: Limiter, times: Times) -> None:
    passed(limiter, 100, scope, KIM)
    times.now += 15
    one = scope()
    refusal = limiter.check(one, KIM)
    assert refusal is not None
    found = json.loads(refusal.body)
    assert list(found) == ["error", "message", "code", "details", "retry_after", "timestamp", "request_id"]
    assert found["error"] == "Rate limit exceeded"
    assert found["message"] == "Too many requests. Please try again in 45 seconds."
    assert (found["code"], found["retry_after"], refusal.status_code) == ("RATE_LIMIT_EXCEEDED", 45, 429)
    assert dict(refusal.raw_headers)[b"retry-after"] == b"45"
    assert told(one)[:2] == [100, 0]
    times.now += 45
    assert limiter.check(scope(), KIM) is None


def test_agents_with_a_key_and_static_files_are_not_limited(limiter: Limiter) -> None:
    def agent() -> dict[str, Any]:
        return scope(path="/agent/ws", headers=[(b"x-agent-api-key", b"right")])

    assert passed(limiter, 300, agent) == 300
    assert passed(limiter, 300, lambda: scope(path="/vnc-viewer/assets/rfb.js")) == 300
    assert HEADERS not in agent()


def test_wrong_keys_count_by_address(limiter: Limiter) -> None:
    def wrong() -> dict[str, Any]:
        return scope(path="/api/v1/agent/ws", headers=[(b"x-agent-api-key", b"wrong")])

    assert passed(limiter, 9, wrong) == 5
    right = scope(path="/agent/ws", headers=[(b"x-agent-api-key", b"right")])
    assert limiter.check(right, None) is None, "a right key gets in while others guess"


def test_open_agents_of_this_machine_are_not_limited(times: Times) -> None:
    limiter = limiter_with(times, open_agents=True)
    assert passed(limiter, 20, lambda: scope(path="/agent/ws", client="127.0.0.1")) == 20
    assert passed(limiter, 20, lambda: scope(path="/agent/ws")) == 5


async def test_wrong_tunnel_tokens_count_as_wrong_keys(limiter: Limiter) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError

    for _ in range(7):
        one = scope(path="/agent/tunnel/p1", type="websocket")
        assert limiter.check(one, None) is None
        watched = limiter.watch_tunnel(one, receive, send)
        await watched({"type": "websocket.http.response.start", "status": 401, "headers": []})
        await watched({"type": "websocket.http.response.body", "body": b"no"})
    starts = [message for message in sent if message["type"].endswith("start")]
    assert [message["status"] for message in starts] == [401] * 5 + [429] * 2
    assert len(sent) == 14
    assert dict(starts[0]["headers"])[b"x-ratelimit-remaining"] == b"4"
    assert dict(starts[6]["headers"])[b"retry-after"] == b"60"


async def test_a_tunnel_that_opens_costs_nothing(limiter: Limiter) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    for _ in range(20):
        one = scope(path="/agent/tunnel/p1", type="websocket")
        await limiter.watch_tunnel(one, send, send)({"type": "websocket.accept"})
    assert sent == [{"type": "websocket.accept"}] * 20
    assert limiter.watch_tunnel(scope(), send, send) is send
