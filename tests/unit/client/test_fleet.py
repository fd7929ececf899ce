"""The fleet's client: what it sends, what it makes of answers, and that a single act never waits."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from http import HTTPStatus
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request as Handshake
from websockets.http11 import Response as Refusal

from app.client.api import ApiError, BrokerClient
from app.client.fleet import FleetClient, Ticket
from app.client.pace import CREATE, GENERAL

Http = Callable[..., Awaitable[str]]
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


class Broker:
    """Answers everything with one answer and keeps what was asked."""

    def __init__(self, answer: Any = None, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.answer = answer
        self.status = status
        self.headers = headers
        self.calls: list[tuple[str, dict[str, str], Any]] = []
        self.seen: list[Request] = []

    async def handle(self, request: Request) -> Response:
        body = await request.body()
        path = f"{request.method} {request.url.path}"
        self.calls.append((path, dict(request.query_params), json.loads(body) if body else None))
        self.seen.append(request)
        answer = self.answer(request) if callable(self.answer) else self.answer
        if isinstance(answer, bytes):
            return Response(answer, self.status, self.headers)
        return JSONResponse(answer, self.status, self.headers)

    @property
    def application(self) -> Starlette:
        return Starlette(routes=[Route("/{path:path}", self.handle, methods=METHODS)])


async def call(http: Http, broker: Broker, act: Callable[[FleetClient], Awaitable[Any]]) -> Any:
    async with BrokerClient(await http(broker.application), "secret", "ann") as client:
        return await act(client.fleet)


S, A = "/api/v1/sessions", "/api/v1/agents"
ACTS: list[tuple[Callable[[FleetClient], Awaitable[Any]], str, dict[str, str], Any]] = [
    (lambda f: f.set_state("s1", "hibernated"), f"PATCH {S}/s1", {}, {"state": "hibernated"}),
    (lambda f: f.set_tags("s1", ["a", "b"]), f"PATCH {S}/s1", {}, {"tags": ["a", "b"]}),
    (lambda f: f.delete_session("s1"), f"DELETE {S}/s1", {}, None),
    (lambda f: f.delete_session("s1", force=True), f"DELETE {S}/s1", {"force": "true"}, None),
    (lambda f: f.drain("gpu-1"), f"PATCH {A}/gpu-1", {}, {"status": "draining"}),
    (lambda f: f.undrain("gpu-1"), f"PATCH {A}/gpu-1", {}, {"status": "online"}),
    (lambda f: f.hibernate_all("gpu-1"), "POST /console/v1/agents/gpu-1/hibernate-all", {}, None),
    (lambda f: f.terminate_all("gpu-1"), "POST /console/v1/agents/gpu-1/terminate-all", {}, None),
    (lambda f: f.remove_agent("gpu-1"), "DELETE /console/v1/agents/gpu-1", {}, None),
    (lambda f: f.kick_viewer("v1", "show"), "POST /console/v1/viewers/v1/kick", {}, {"reason": "show"}),
    (lambda f: f.kick_viewers("s1"), "POST /console/v1/desktops/s1/kick-viewers", {}, {"reason": ""}),
    (lambda f: f.delete_template("xterm"), "DELETE /api/v1/templates/xterm", {}, None),
    (lambda f: f.delete_user("u1"), "DELETE /api/v1/users/u1", {}, None),
    (lambda f: f.change_user("u1", active=False), "PATCH /api/v1/users/u1", {}, {"active": False}),
    (lambda f: f.delete_agent_key("k1"), "DELETE /api/v1/agent-keys/k1", {}, None),
    (lambda f: f.rotate_agent_key("k1"), "POST /api/v1/agent-keys/k1/rotate", {}, None),
    (lambda f: f.add_agent_key("rack", "gpu-1"), "POST /api/v1/agent-keys", {}, {"name": "rack", "agent_id": "gpu-1"}),
    (lambda f: f.create_template({"name": "x"}), "POST /api/v1/templates", {}, {"name": "x"}),
    (lambda f: f.change_template("x", {"name": "x"}), "PUT /api/v1/templates/x", {}, {"name": "x"}),
    (lambda f: f.ticket("s1", "view"), "POST /console/v1/desktops/s1/ticket", {}, {"mode": "view"}),
    (lambda f: f.thumbnail("s1", 320), "GET /console/v1/desktops/s1/thumbnail", {"width": "320"}, None),
]


@pytest.mark.parametrize(("act", "path", "query", "body"), ACTS)
async def test_what_is_sent(
    http: Http, act: Callable[[FleetClient], Awaitable[Any]], path: str, query: dict[str, str], body: Any
) -> None:
    broker = Broker({"id": "x", "name": "x", "username": "x", "ticket": "t"})
    await call(http, broker, act)
    assert broker.calls == [(path, query, body)]
    assert broker.seen[0].headers["authorization"] == "Bearer secret"
    assert broker.seen[0].headers["x-callboard-operator"] == "ann"


async def test_a_session_is_created_with_what_was_chosen_only(http: Http) -> None:
    broker = Broker({"id": "s1", "name": "ann-xterm-abc123", "state": "pending", "status": {"message": "queued"}}, 202)
    made = await call(http, broker, lambda f: f.create_session("ann", "xterm", tags=[], resources={"cpu": "1"}))
    assert (made.id, made.state, made.message) == ("s1", "pending", "queued")
    wanted = {"user": "ann", "template": "xterm", "tags": [], "resources": {"cpu": "1"}}
    assert broker.calls == [("POST /api/v1/sessions", {}, wanted)]


async def test_pages_of_users_come_as_one_list(http: Http) -> None:
    def answer(request: Request) -> Any:
        page = int(request.query_params["page"])
        return {"users": [{"id": f"u{page}", "username": f"n{page}"}], "pagination": {"total_pages": 3}}

    broker = Broker(answer)
    users = await call(http, broker, lambda f: f.users())
    assert [one.username for one in users] == ["n1", "n2", "n3"]
    assert [query["limit"] for _, query, _ in broker.calls] == ["100"] * 3


async def test_an_empty_list_is_one_page(http: Http) -> None:
    broker = Broker({"templates": [], "pagination": {"total_pages": 0}})
    assert await call(http, broker, lambda f: f.templates()) == []
    assert len(broker.calls) == 1


async def test_logs_and_a_picture(http: Http) -> None:
    assert await call(http, Broker({"logs": ["a", "b"]}), lambda f: f.logs("s1", 2)) == ["a", "b"]
    assert await call(http, Broker(b"\xff\xd8jpeg"), lambda f: f.thumbnail("s1", 320)) == b"\xff\xd8jpeg"


async def test_a_refusal_is_the_envelopes_message(http: Http) -> None:
    envelope = {
        "error": "Conflict",
        "message": "view-only cannot be enforced here; Shift+V for control",
        "code": "VIEW_ONLY_IMPOSSIBLE",
        "details": {"field": "mode"},
        "timestamp": "2026-01-01T00:00:00Z",
        "request_id": "req-1",
    }
    with pytest.raises(ApiError) as caught:
        await call(http, Broker(envelope, 409), lambda f: f.ticket("s1", "view"))
    assert (caught.value.status, caught.value.code) == (409, "VIEW_ONLY_IMPOSSIBLE")
    assert caught.value.text == "view-only cannot be enforced here; Shift+V for control"
    assert caught.value.detail == [{"loc": ["body", "mode"], "msg": caught.value.text}]


async def test_limits_are_learnt_per_bucket_and_a_single_act_goes_out_all_the_same(http: Http) -> None:
    headers = {"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(2**31)}
    broker = Broker({"id": "s1"}, headers=headers)
    async with BrokerClient(await http(broker.application), "secret") as client:
        await client.fleet.create_session("ann", "xterm")
        assert client.fleet.pace.wait(CREATE) > 50
        assert client.fleet.pace.wait(GENERAL) == 0
        await client.fleet.set_state("s1", "running")
        assert client.fleet.pace.wait(GENERAL) > 50
        async with asyncio.timeout(15):
            await client.fleet.set_state("s1", "running")
    assert len(broker.calls) == 3


async def test_a_refusal_by_the_limit_says_how_long(http: Http) -> None:
    with pytest.raises(ApiError) as caught:
        await call(http, Broker({"message": "Too many"}, 429, {"Retry-After": "45"}), lambda f: f.drain("a"))
    assert caught.value.retry_after == 45.0


def test_the_viewers_address_is_the_one_that_this_machine_uses() -> None:
    client = BrokerClient("https://board.venue:8443/", "secret")
    url = client.fleet.viewer_url("s 1", Ticket("a+b", url="ws://10.0.0.1/other"))
    assert url == "wss://board.venue:8443/vnc-viewer/s%201?token=a%2Bb"
    assert "secret" not in url


async def test_logs_are_followed_to_the_end_of_the_session() -> None:
    seen: list[Handshake] = []

    async def log(connection: ServerConnection) -> None:
        assert connection.request is not None
        seen.append(connection.request)
        for line in ("one", "two"):
            await connection.send(line)

    async with serve(log, "127.0.0.1", 0) as server:
        client = BrokerClient(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", "secret")
        lines = [line async for line in client.fleet.follow_logs("s1", 5)]
    assert lines == ["one", "two"]
    assert seen[0].headers["authorization"] == "Bearer secret"
    assert seen[0].path == "/api/v1/sessions/s1/logs?follow=true&tail=5&timestamps=true"


async def test_following_stops_when_nobody_wants_more_and_says_why_it_broke() -> None:
    gone = asyncio.Event()

    async def log(connection: ServerConnection) -> None:
        await connection.send("one")
        await connection.wait_closed()
        gone.set()

    def check(connection: ServerConnection, request: Handshake) -> Refusal | None:
        body = json.dumps({"message": "No such session", "code": "SESSION_NOT_FOUND"})
        return connection.respond(HTTPStatus.NOT_FOUND, body) if "/gone/" in request.path else None

    async with serve(log, "127.0.0.1", 0, process_request=check) as server:
        client = BrokerClient(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with aclosing(client.fleet.follow_logs("s1")) as lines:
            assert await anext(lines) == "one"
        async with asyncio.timeout(15):
            await gone.wait()
        with pytest.raises(ApiError, match="No such session") as caught:
            await anext(client.fleet.follow_logs("gone"))
    assert caught.value.code == "SESSION_NOT_FOUND"
    with pytest.raises(ApiError, match="No broker answers"):
        await anext(BrokerClient("127.0.0.1:9").fleet.follow_logs("s1"))
