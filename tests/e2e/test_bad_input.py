"""Bad input from clients: answered in the dialect's own format, nothing changed, nothing stuck, the strip unmoved.

Each test sends one kind of it to every operation that could take it, in a house with a live stream and a session.
``House.unharmed`` compares rows, tasks and queues before and after, and reads the strip.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx

from app.server.access.guard import BODY_LIMIT
from app.server.streams.strict_json import MAX_DEPTH
from tests.e2e.house import CAMERA, WALL, YES, House, Publisher, in_a_house

TYPE = {"name": "lidar", "display_name": "LiDAR"}
PRESET = WALL | {"name": "Booth"}
GONE = "Stream not found or expired"
SESSION_GONE = "Session not found or expired"


async def with_a_session(house: House) -> tuple[Publisher, str]:
    """A stream that is on air, and the id of its session."""
    camera = await house.publisher(YES)
    session_id = str((await camera.request()).json()["session_id"])
    await house.until(lambda: session_id in house.console.store.sessions)
    return camera, session_id


def bodies(camera: Publisher) -> list[tuple[str, dict[str, Any]]]:
    """Every operation with a body, with one that fits."""
    return [
        ("/streams/advertise", CAMERA),
        ("/streams/types", TYPE),
        (f"/streams/{camera.id}/request", WALL),
        ("/console/v1/presets", PRESET),
        ("/console/v1/holds", {"session_id": camera.id}),
        ("/console/v1/audit", {"verb": "kick", "object": "session", "result": "cancelled"}),
        ("/console/v1/access/keys", {"name": "truck"}),
    ]


def refused(answer: httpx.Response, status: int) -> Any:
    """Check that an answer is a refusal in the format of its dialect; its detail."""
    body = answer.json()
    assert answer.status_code == status, f"{answer.request.url}: {answer.status_code} {answer.text}"
    if answer.request.url.path.startswith("/console/"):
        assert set(body) == {"detail", "code"}
        assert isinstance(body["detail"], str)
    else:
        assert set(body) == {"detail"}
    assert body["detail"]
    return body["detail"]


MALFORMED = {
    "nothing": b"",
    "a piece": b'{"name": "Cam',
    "no end": b'{"name": "Cam"',
    "a comma too many": b'{"name": "Cam",}',
    "no JSON at all": b"name=Cam&port=1",
    "two documents": b"{}{}",
    "NaN": b'{"port": NaN}',
    "a lone surrogate": b'{"name": "\\ud800"}',
    "a NUL character": b'{"name": "\\u0000"}',
    "too deep": b'{"config": ' + b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH + b"}",
    "a tower": b"[" * 200_000,
    "a number without end": b'{"port": ' + b"9" * 5000 + b"}",
}


@in_a_house()
async def test_malformed_json_is_a_422_that_says_where(house: House) -> None:
    camera, _ = await with_a_session(house)
    async with house.unharmed():
        for path, _ in bodies(camera):
            for name, body in MALFORMED.items():
                answer = await house.desk.post(path, content=body, headers={"Content-Type": "application/json"})
                detail = refused(answer, 422)
                if isinstance(detail, list):
                    assert {"type", "loc", "msg"} <= set(detail[0]), name
                    assert detail[0]["loc"][0] == "body"
    assert camera.asked.qsize() == 1, "a publisher was asked for nothing"


WRONG: dict[str, list[tuple[str, Any]]] = {
    "/streams/advertise": [
        ("name", 7), ("name", ""), ("name", "x" * 256), ("name", None), ("stream_type", "hologram"),
        ("stream_type", ["ndi"]), ("stream_type", {"ndi": 1}), ("publisher_id", ""), ("protocol", "carrier-pigeon"),
        ("address", []), ("port", "ten"), ("port", -1), ("port", 65536), ("port", 1.5), ("port", 10**400),
        ("config", []), ("config", "{}"), ("metadata", 3), ("entity_id", "main"), ("device_id", 5),
    ],
    "/streams/types": [("name", ""), ("name", "x" * 101), ("display_name", None), ("icon", "x" * 51), ("default_config", 1)],
    "request": [
        ("consumer_id", ""), ("consumer_id", 1), ("consumer_address", None), ("consumer_port", "x"),
        ("consumer_port", 70_000), ("config", []),
    ],
    "/console/v1/presets": [
        ("name", ""), ("consumer_port", "5000"), ("mode", "both"), ("held_by", "nobody"), ("default", "yes"), ("config", 1),
    ],
}  # fmt: skip


@in_a_house()
async def test_wrong_types_are_a_422_that_names_the_field(house: House) -> None:
    camera, _ = await with_a_session(house)
    good = dict(bodies(camera))
    async with house.unharmed():
        for place, changes in WRONG.items():
            path = f"/streams/{camera.id}/request" if place == "request" else place
            for field, value in changes:
                text = json.dumps(good[path] | {field: value})
                answer = await house.desk.post(path, content=text, headers={"Content-Type": "application/json"})
                detail = refused(answer, 422)
                if isinstance(detail, list):
                    assert detail[0]["loc"][:2] == ["body", field]
                else:
                    assert detail.startswith(f"{field}: ")
        for path in good:
            for body in (b"[]", b"null", b'"text"', b"17", b"{}"):
                answer = await house.desk.post(path, content=body, headers={"Content-Type": "application/json"})
                refused(answer, 422)
        for query in ("limit=0", "limit=501", "limit=ten", "stream_id=main"):
            refused(await house.http.get(f"/streams/sessions/history?{query}"), 422)


@in_a_house()
async def test_unknown_ids_are_a_404_in_every_operation(house: House) -> None:
    await with_a_session(house)
    unknown = str(uuid.uuid4())
    http, desk = house.http, house.desk
    async with house.unharmed():
        assert refused(await http.get(f"/streams/{unknown}"), 404) == GONE
        assert refused(await http.delete(f"/streams/{unknown}"), 404) == GONE
        assert refused(await http.post(f"/streams/{unknown}/heartbeat"), 404) == GONE
        assert refused(await http.post(f"/streams/{unknown}/request", json=WALL), 404) == GONE
        assert refused(await http.post(f"/streams/sessions/{unknown}/heartbeat"), 404) == SESSION_GONE
        assert refused(await http.delete(f"/streams/sessions/{unknown}"), 404) == SESSION_GONE
        for query in (f"/streams/sessions?stream_id={unknown}", f"/streams/sessions/history?stream_id={unknown}"):
            answer = await http.get(query)
            assert (answer.status_code, answer.json()) == (200, [])
        refused(await desk.post("/console/v1/holds", json={"session_id": unknown}), 404)
        refused(await desk.delete(f"/console/v1/holds/{unknown}"), 404)
        refused(await desk.put(f"/console/v1/presets/{unknown}", json=PRESET), 404)
        refused(await desk.delete(f"/console/v1/presets/{unknown}"), 404)
        refused(await desk.delete(f"/console/v1/access/keys/{unknown}"), 404)
        refused(await http.get("/streams/no/such/path"), 404)
        refused(await desk.get("/console/v1/nothing"), 404)


RESERVED = ("types", "state", "sessions", "advertise", "history", "request", "heartbeat", "sessions.started")
STRANGE = (
    "*",
    ">",
    "maestra.>",
    "..",
    "%2e%2e",
    "..%2f..%2fetc%2fpasswd",
    "%00",
    "-rf",
    "=1+1",
    "%0d%0aX-Evil:%201",
    "a" * 4000,
)


@in_a_house()
async def test_reserved_and_strange_ids_are_never_taken_for_streams(house: House) -> None:
    await with_a_session(house)
    http = house.http
    async with house.unharmed():
        for word in (*RESERVED, *STRANGE):
            for method, path in (
                ("POST", f"/streams/{word}/heartbeat"),
                ("POST", f"/streams/{word}/request"),
                ("POST", f"/streams/sessions/{word}/heartbeat"),
                ("DELETE", f"/streams/sessions/{word}"),
                ("DELETE", f"/streams/{word}"),
                ("GET", f"/streams/{word}"),
            ):
                answer = await http.request(method, path, json=WALL if path.endswith("request") else None)
                if method == "GET" and word in ("types", "state", "sessions"):
                    assert answer.status_code == 200
                    continue
                assert answer.status_code in (404, 405, 422), f"{method} {path}: {answer.status_code} {answer.text}"
                assert set(answer.json()) == {"detail"}
                assert "x-evil" not in answer.headers
        listed = await http.get("/streams/types")
        assert "ndi" in {row["name"] for row in listed.json()}, "a reserved word is its list, not a stream"


async def pieces(size: int) -> AsyncIterator[bytes]:
    """A body of unknown length, so that it goes in chunks; it would be JSON if somebody read all of it."""
    yield b'{"name": "'
    for _ in range(size // 65536 + 1):
        yield b"x" * 65536
    yield b'"}'


@in_a_house()
async def test_a_body_over_1_mib_is_a_413_announced_or_in_chunks(house: House) -> None:
    camera, _ = await with_a_session(house)
    too_much = f"The body may have at most {BODY_LIMIT} bytes"
    async with house.unharmed():
        for path, _ in bodies(camera):
            body = b'{"name": "' + b"x" * BODY_LIMIT + b'"}'
            announced = await house.desk.post(path, content=body)
            assert refused(announced, 413) == too_much
            chunked = await house.desk.post(path, content=pieces(BODY_LIMIT))
            assert refused(chunked, 413) == too_much
        for claim in (b"999999999999999", b"1048577"):
            said = await raw(house, b"POST /streams/advertise", b"Content-Length: " + claim, b"{}")
            assert said.startswith(b"HTTP/1.1 413 ")
            assert said.endswith(b'{"detail":"%b"}' % too_much.encode())


@in_a_house()
async def test_a_body_of_just_1_mib_is_taken(house: House) -> None:
    frame = len(json.dumps(CAMERA | {"metadata": {"note": ""}}))
    row = CAMERA | {"metadata": {"note": "x" * (BODY_LIMIT - frame)}}
    answer = await house.http.post("/streams/advertise", content=json.dumps(row).encode())
    assert answer.status_code == 201
    await house.until(lambda: answer.json()["id"] in house.console.store.streams)
    house.says_all_well()


@in_a_house()
async def test_text_that_is_not_utf_8_is_refused(house: House) -> None:
    camera, _ = await with_a_session(house)
    async with house.unharmed():
        for path, good in bodies(camera):
            for bad in (b"\xff\xfe", b"\xc3\x28", b"\xed\xa0\x80", b"Caf\xe9"):
                body = json.dumps(good).encode().replace(b'": "', b'": "' + bad, 1)
                answer = await house.desk.post(path, content=body, headers={"Content-Type": "application/json"})
                refused(answer, 422)
            refused(await house.desk.post(path, content=json.dumps(good).encode("utf-16")), 422)
        for url in ("/streams/%ff%fe", "/streams?stream_type=%ff", "/console/v1/audit?operator=%c3%28"):
            refused(await house.desk.get(url), 400)


@in_a_house()
async def test_a_client_that_hangs_up_in_the_middle_leaves_nothing(house: House) -> None:
    async with house.unharmed():
        for path in ("/streams/advertise", "/streams/types"):
            for _ in range(20):
                await raw(house, f"POST {path}".encode(), b"Content-Length: 1000", b'{"name": "Cam', hang_up=True)


async def raw(house: House, line: bytes, header: bytes, body: bytes, *, hang_up: bool = False) -> bytes:
    """Send a request byte by byte as told; everything that is answered until the broker closes."""
    url = httpx.URL(house.process.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(line + b" HTTP/1.1\r\nHost: " + url.netloc + b"\r\n" + header + b"\r\n\r\n" + body)
    await writer.drain()
    if hang_up:
        writer.transport.abort()
        return b""
    said = await reader.read()
    writer.close()
    return said
