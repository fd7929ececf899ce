"""The lean route class against FastAPI's own: same requests, same answers."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import Scope

from app.server.dialects.maestra import wire
from app.server.dialects.maestra.operations import StreamsApi, says_json
from tests.contract.test_maestra_seed import STREAM
from tests.unit.server.streams.conftest import Domain

JSON = {"content-type": "application/json"}
GOOD = {"name": "x", "stream_type": "ndi", "publisher_id": "p", "protocol": "udp", "address": "a", "port": 1}


def stock() -> FastAPI:
    """The same two operations as FastAPI serves them by itself."""
    app = FastAPI()

    @app.post("/streams/advertise", status_code=201)
    async def advertise(body: wire.Advertise) -> None: ...

    @app.post("/streams/{stream_id}/request", status_code=201)
    async def request(stream_id: wire.Id, body: wire.RequestStream) -> None: ...

    return app


BODIES: list[tuple[bytes, dict[str, str]]] = [
    (b"", JSON),
    (b"null", JSON),
    (b"[]", JSON),
    (b"5", JSON),
    (b'"text"', JSON),
    (b"{}", JSON),
    (b'{"name": 5, "port": "x", "config": null, "entity_id": "y", "protocol": "z"}', JSON),
    (b'{"name": "", "address": "", "port": -1, "consumer_port": 70000}', JSON),
    (b'{"consumer_id": null, "consumer_address": 5, "config": []}', JSON),
    (b"{", JSON),
    (b'{"a": 1,}', JSON),
    (b"hello", JSON),
    (b'{"a": 1}', {"content-type": "text/plain"}),
    (b'{"a": 1}', {"content-type": "application/octet-stream"}),
    (b"{}", {"content-type": "application/vnd.api+json"}),
    (b"{}", {"content-type": "application/json; charset=utf-8"}),
]


@pytest.mark.parametrize(("body", "headers"), BODIES)
@pytest.mark.parametrize("path", ["/streams/advertise", f"/streams/{uuid4()}/request"])
async def test_422_is_fastapis(http: httpx.AsyncClient, path: str, body: bytes, headers: dict[str, str]) -> None:
    transport = httpx.ASGITransport(app=stock())
    async with httpx.AsyncClient(transport=transport, base_url="http://stock") as plain:
        theirs = await plain.post(path, content=body, headers=headers)
    ours = await http.post(path, content=body, headers=headers)
    assert (ours.status_code, ours.json()) == (422, theirs.json())
    assert theirs.status_code == 422


async def test_path_errors_are_fastapis(http: httpx.AsyncClient) -> None:
    """But for the order: FastAPI reports path and body together, here a bad id is enough."""
    transport = httpx.ASGITransport(app=stock())
    body = {"consumer_id": "c", "consumer_address": "a"}
    async with httpx.AsyncClient(transport=transport, base_url="http://stock") as plain:
        for bad in ("nonsense", "123", "a1b2c3d4-e5f6-7890-abcd-ef123456789g"):
            theirs = await plain.post(f"/streams/{bad}/request", json=body)
            ours = await http.post(f"/streams/{bad}/request", json=body)
            assert (ours.status_code, ours.json()) == (theirs.status_code, theirs.json())


async def test_hasty_operations_answer_as_the_route_table_would(domain: Domain, http: httpx.AsyncClient) -> None:
    """Under another root path the look-up steps back and the table serves."""
    app: Any = http._transport.app  # type: ignore[attr-defined]
    assert isinstance(app, StreamsApi)
    hasty, app._hasty = app._hasty, {}
    for path, body in (
        ("/streams/advertise", GOOD),
        (f"/streams/{uuid4()}/heartbeat", None),
        ("/streams/nonsense/heartbeat", None),
        (f"/streams/sessions/{uuid4()}/heartbeat", None),
        (f"/streams/{uuid4()}/request", {"consumer_id": "c", "consumer_address": "a"}),
        ("/streams//heartbeat", None),
        ("/other/advertise", None),
        ("/streams/x/y/heartbeat", None),
    ):
        app._hasty = {}
        slow = await http.post(path, json=body)
        app._hasty = hasty
        fast = await http.post(path, json=body)
        assert fast.status_code == slow.status_code, path
        assert _shape(fast.json()) == _shape(slow.json()), path
    mounted = FastAPI()
    mounted.mount("/maestra", app)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=mounted), base_url="http://x") as client:
        answer = await client.post("/maestra/streams/advertise", json=GOOD)
    assert list(answer.json()) == list(STREAM)
    assert len(domain.state.streams) == 3


def _shape(value: Any) -> Any:
    return sorted(value) if isinstance(value, dict) and "id" in value else value


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], True),
        ([(b"content-type", b"application/json")], True),
        ([(b"accept", b"text/html"), (b"content-type", b"application/json;charset=utf-8")], True),
        ([(b"content-type", b"APPLICATION/LD+JSON")], True),
        ([(b"content-type", b"text/json")], False),
        ([(b"content-type", b"application/xml")], False),
        ([(b"content-type", b"\xff\xfe")], False),
        ([(b"content-type", b"")], False),
    ],
)
def test_what_counts_as_json(headers: list[tuple[bytes, bytes]], expected: bool) -> None:
    scope: Scope = {"type": "http", "headers": headers}
    assert says_json(scope) is expected
