"""The API client: what it sends, and how everything that can go wrong becomes one sentence."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from app.client.api import ApiError, BrokerClient, error_text
from app.client.shapes import Page
from app.contract import PresetRow
from app.errors import CallboardError

Http = Callable[..., Awaitable[str]]
METHODS = ["GET", "POST", "PUT", "DELETE"]


def application(answer: Callable[[Request, bytes], Response]) -> Starlette:
    async def handle(request: Request) -> Response:
        return answer(request, await request.body())

    return Starlette(routes=[Route("/{path:path}", handle, methods=METHODS)])


async def refused(http: Http, response: Response) -> ApiError:
    async with BrokerClient(await http(application(lambda request, body: response))) as client:
        with pytest.raises(ApiError) as caught:
            await client.streams()
    return caught.value


async def test_who_asks_is_in_the_headers(http: Http) -> None:
    seen: list[Request] = []

    def answer(request: Request, body: bytes) -> Response:
        seen.append(request)
        return JSONResponse([])

    async with BrokerClient(await http(application(answer)), "secret", "Zoë Ångström") as client:
        assert await client.streams("ndi") == []
    assert seen[0].headers["authorization"] == "Bearer secret"
    assert unquote(seen[0].headers["x-callboard-operator"]) == "Zoë Ångström"
    assert seen[0].query_params["stream_type"] == "ndi"


@pytest.mark.parametrize("token", ["tök", "one\ntwo", "“quoted”"])
async def test_a_token_that_cannot_be_one_is_said_and_not_shown(token: str) -> None:
    async with BrokerClient("http://127.0.0.1:9", token) as client:
        with pytest.raises(ApiError, match="token") as caught:
            await client.streams()
    assert caught.value.code == "unauthorised"
    assert token not in caught.value.text
    assert repr(token)[1:-1] not in caught.value.text


async def test_an_address_that_no_name_can_be_is_said() -> None:
    async with BrokerClient("http://☃.example:8080") as client:
        with pytest.raises(ApiError, match="☃") as caught:
            await client.streams()
    assert caught.value.code == "unreachable"


async def test_without_a_token_none_is_sent(http: Http) -> None:
    seen: list[Request] = []

    def answer(request: Request, body: bytes) -> Response:
        seen.append(request)
        return JSONResponse([])

    async with BrokerClient(await http(application(answer))) as client:
        await client.sessions()
    assert "authorization" not in seen[0].headers
    assert "x-callboard-operator" not in seen[0].headers
    assert "stream_id" not in seen[0].query_params


@pytest.mark.parametrize(
    ("status", "body", "code", "text"),
    [
        (404, {"detail": "Stream not found or expired"}, "not_found", "Stream not found or expired"),
        (502, {"detail": "no free output", "code": "rejected"}, "rejected", "no free output"),
        (503, {"detail": "NATS is away", "code": "bus_away"}, "bus_away", "NATS is away"),
        (504, {"detail": "Publisher did not respond within 5 seconds"}, "no_answer", "Publisher did not respond"),
        (
            422,
            {"detail": [{"loc": ["body", "port"], "msg": "Input should be a valid integer"}, {"loc": [], "msg": "x"}]},
            "invalid",
            "port: Input should be a valid integer; x",
        ),
        (418, {"detail": ""}, "failed", "The broker answered 418."),
        (500, ["odd"], "failed", "['odd']"),
    ],
)
async def test_a_refusal_is_in_the_brokers_own_words(http: Http, status: int, body: Any, code: str, text: str) -> None:
    error = await refused(http, JSONResponse(body, status))
    assert isinstance(error, CallboardError)
    assert (error.status, error.code) == (status, code)
    assert error.text.startswith(text)
    assert str(error) == error.text


async def test_a_list_of_field_errors_is_kept_for_forms(http: Http) -> None:
    entries = [{"type": "missing", "loc": ["body", "name"], "msg": "Field required"}]
    error = await refused(http, JSONResponse({"detail": entries}, 422))
    assert error.detail == entries


async def test_an_answer_that_is_no_json_is_no_traceback(http: Http) -> None:
    error = await refused(http, Response(b"\xffbroken", 500))
    assert error.status == 500
    assert "broken" in error.text
    error = await refused(http, Response(b"<html>"))
    assert error.code == "bad_answer"
    error = await refused(http, JSONResponse({"streams": 1}))
    assert error.code == "bad_answer"


async def test_a_redirect_is_not_followed_with_the_token(http: Http) -> None:
    error = await refused(http, RedirectResponse("http://127.0.0.1:9/streams"))
    assert error.status == 307


async def test_nobody_listens() -> None:
    async with BrokerClient("127.0.0.1:9") as client:
        with pytest.raises(ApiError) as caught:
            await client.streams()
    assert (caught.value.status, caught.value.code) == (0, "unreachable")
    assert caught.value.text.startswith("No broker answers at http://127.0.0.1:9: ")


async def test_somebody_listens_and_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.client.api.TAKE_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with BrokerClient(f"http://127.0.0.1:{silent.getsockname()[1]}") as client:
            with pytest.raises(ApiError) as caught:
                await client.request("a", consumer_id="wall", consumer_address="10.0.0.1")
    assert (caught.value.status, caught.value.code) == (0, "timeout")
    assert "did not answer within 0.2 s" in caught.value.text


@pytest.mark.parametrize("id", ["", ".", ".."])
async def test_an_id_that_would_be_another_path_is_not_sent(id: str) -> None:
    async with BrokerClient("127.0.0.1:9") as client:
        with pytest.raises(ApiError) as caught:
            await client.withdraw(id)
    assert caught.value.code == "invalid"


async def test_an_odd_id_stays_one_segment(http: Http) -> None:
    paths: list[str] = []

    def answer(request: Request, body: bytes) -> Response:
        paths.append(request.scope["raw_path"].decode())
        return JSONResponse({})

    async with BrokerClient(await http(application(answer))) as client:
        await client.withdraw("../console/v1/stop?x=1#y")
    assert paths == ["/streams/..%2Fconsole%2Fv1%2Fstop%3Fx%3D1%23y"]


async def test_presets_are_made_and_changed(http: Http) -> None:
    calls: list[tuple[str, bytes]] = []

    def answer(request: Request, body: bytes) -> Response:
        calls.append((f"{request.method} {request.url.path}", body))
        return JSONResponse({"id": "p1", "name": "Wall", "consumer_id": "w", "consumer_address": "a"})

    async with BrokerClient(await http(application(answer)), "t") as client:
        fresh = PresetRow(id="", name="Wall", consumer_id="w", consumer_address="a")
        saved = await client.save_preset(fresh)
        await client.save_preset(saved)
    assert [line for line, _ in calls] == ["POST /console/v1/presets", "PUT /console/v1/presets/p1"]
    assert all(b'"id"' not in body for _, body in calls)


async def test_pages_of_history_and_audit(http: Http) -> None:
    queries: list[dict[str, str]] = []

    def answer(request: Request, body: bytes) -> Response:
        queries.append(dict(request.query_params))
        return JSONResponse([])

    async with BrokerClient(await http(application(answer)), "t") as client:
        await client.history(publisher_id="td-01", page=Page(before=(1.5, "abc"), limit=50))
        await client.audit(operator="ann", page=Page(since=1.0, until=2.0))
        await client.audit()
    assert queries == [
        {"publisher_id": "td-01", "before": "1.5,abc", "limit": "50"},
        {"operator": "ann", "since": "1.0", "until": "2.0"},
        {},
    ]


async def test_many_first_calls_make_one_client(http: Http) -> None:
    url = await http(application(lambda request, body: JSONResponse([])))
    async with BrokerClient(url) as client:
        answers = await asyncio.gather(*(client.streams() for _ in range(20)))
    assert answers == [[]] * 20


def test_error_text_of_nothing() -> None:
    assert error_text(b"") == ("", "")


@pytest.mark.parametrize(
    "module", ["app.client.api", "app.client.login", "app.client.feed", "app.client.process", "app.client.credentials"]
)
def test_nothing_heavy_is_imported_with_the_client(module: str) -> None:
    heavy = ("httpx", "websockets", "keyring", "PySide6", "nats", "psutil", "structlog")
    code = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.strip() == "[]"
