"""Input that is malformed, hostile or too much: a clear answer in the dialect's format, nothing stored, nothing stuck."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from app.server.streams.strict_json import MAX_DEPTH
from tests.fakes.maestra import CAMERA, MaestraVenue

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = {"content-type": "application/json"}
NOBODY = uuid4()
BODIES = ("/streams/advertise", "/streams/types", f"/streams/{NOBODY}/request")


MALFORMED = [
    (b"hello", "Expecting value", 0),
    (b"{", "Expecting property name enclosed in double quotes", 1),
    (b'{"a": }', "Expecting value", 6),
    (b'{"a": 1} x', "Extra data", 9),
    (b'{"a": "\x01"}', "Invalid control character at", 7),
    (b'{"a": NaN}', "NaN is not JSON", 0),
    (b'{"a": -Infinity}', "-Infinity is not JSON", 0),
    (b'{"a": 1e999}', "Lone surrogate, or a number out of range", 0),
    (b'{"a": ' + b"9" * 5000 + b"}", "Number too long", 0),
    (b'{"a": "\\ud800"}', "Lone surrogate, or a number out of range", 0),
    (b'{"\\udfff": 1}', "Lone surrogate, or a number out of range", 0),
    (b'{"a": "\\u0000"}', "NUL character in a string", 0),
    (b'{"a\\u0000": 1}', "NUL character in a string", 0),
    (b'{"a": "\xff"}', "Not UTF-8: invalid start byte", 7),
    ('{"a": 1}'.encode("utf-16"), "Not UTF-8: invalid start byte", 0),
    (b"[" * 100_000, f"Nested deeper than {MAX_DEPTH} levels", 0),
    (b'{"a":' * 5000 + b"1" + b"}" * 5000, f"Nested deeper than {MAX_DEPTH} levels", 0),
    (b"[" * 70 + b"]" * 70, f"Nested deeper than {MAX_DEPTH} levels", 0),
]


@pytest.mark.parametrize("path", BODIES)
async def test_what_is_no_json_is_422_json_invalid(maestra: MaestraVenue, path: str) -> None:
    for body, reason, position in MALFORMED:
        answer = await maestra.http.post(path, content=body, headers=JSON)
        assert answer.status_code == 422, body[:40]
        [error] = answer.json()["detail"]
        assert error == {
            "type": "json_invalid",
            "loc": ["body", position],
            "msg": "JSON decode error",
            "input": {},
            "ctx": {"error": reason},
        }, body[:40]


@pytest.mark.parametrize("path", BODIES)
async def test_json_that_is_no_object(maestra: MaestraVenue, path: str) -> None:
    for body, kind in (
        (b"", "missing"),
        (b"null", "model_attributes_type"),
        (b"[]", "model_attributes_type"),
        (b"5", "model_attributes_type"),
        (b'"x"', "model_attributes_type"),
        (b"true", "model_attributes_type"),
    ):
        answer = await maestra.http.post(path, content=body, headers=JSON)
        assert answer.status_code == 422, body
        assert [(error["type"], error["loc"]) for error in answer.json()["detail"]] == [(kind, ["body"])], body


async def test_content_types(maestra: MaestraVenue) -> None:
    body = json.dumps(CAMERA).encode()
    fine = ({}, JSON, {"content-type": "application/json; charset=utf-8"}, {"content-type": "Application/Problem+JSON"})
    for headers in fine:
        assert (await maestra.http.post("/streams/advertise", content=body, headers=headers)).status_code == 201
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "nonsense", "\xff"):
        answer = await maestra.http.post(
            "/streams/advertise", content=body, headers=[(b"content-type", kind.encode("latin-1"))]
        )
        assert answer.status_code == 422, kind
        [error] = answer.json()["detail"]
        assert (error["type"], error["loc"], error["input"]) == ("model_attributes_type", ["body"], body.decode())
    binary = await maestra.http.post("/streams/advertise", content=b"\xff\xfe", headers={"content-type": "image/png"})
    assert binary.json()["detail"][0]["input"] == "\ufffd\ufffd"
    with_mark = await maestra.http.post("/streams/advertise", content=b"\xef\xbb\xbf" + body, headers=JSON)
    assert with_mark.status_code == 201


async def test_nesting_up_to_the_limit_is_kept(maestra: MaestraVenue) -> None:
    deep: Any = "bottom"
    for _ in range(MAX_DEPTH - 2):
        deep = [deep]
    stream = await maestra.advertise(config={"deep": deep})
    assert (await maestra.listed())[stream["id"]]["config"] == {"deep": deep}
    wide = {str(n): [n] for n in range(500)}
    assert (await maestra.advertise(config=wide))["config"] == wide


async def test_numbers_and_texts_that_json_allows(maestra: MaestraVenue) -> None:
    config = {
        "big": 2**70,
        "small": -(2**70),
        "float": 1.5e300,
        "zero": -0.0,
        "emoji": "🎭",
        "escaped": "\\u0000 is not NUL",
        "line": "a\nb\u2028c",
    }
    stream = await maestra.advertise(config=config, name="\u202eevil \u0007 name")
    row = (await maestra.listed())[stream["id"]]
    assert row["config"] == config
    assert row["name"] == "\u202eevil \u0007 name"


HOSTILE = [
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    '=HYPERLINK("http://evil")',
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "--help",
    "-rf /",
    "../../../../etc/passwd",
    "..\\..\\windows\\system32",
    "'; DROP TABLE stream_sessions; --",
    "%s%s%n{0}{{7*7}}$(id)`id`",
    "\r\nSet-Cookie: a=b\r\n\r\n",
    " ",
    "\u200b",
    "a" * 255,
    "ｕｎｉｃｏｄｅ ñ ü 漢字 🎬",
]


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_names_are_text_and_nothing_else(maestra: MaestraVenue, name: str) -> None:
    stream = await maestra.advertise(
        name=name, publisher_id=name, address=name, config={name: name}, metadata={name: [name]}
    )
    assert [stream[key] for key in ("name", "publisher_id", "address")] == [name] * 3
    asked = await maestra.answer(stream["id"], {"accepted": True, "address": name, "transport_config": {name: name}})
    answer = await maestra.request(stream["id"], consumer_id=name, consumer_address=name, config={name: name})
    assert answer.status_code == 201
    assert (await asked.next())["consumer_id"] == name
    offer = answer.json()
    assert (offer["stream_name"], offer["publisher_address"], offer["transport_config"]) == (name, name, {name: name})
    session = (await maestra.listed("/streams/sessions"))[offer["session_id"]]
    assert (session["consumer_id"], session["consumer_address"]) == (name, name)
    history = await maestra.http.get(
        "/streams/sessions/history", params={"publisher_id": name, "consumer_id": name, "stream_id": stream["id"]}
    )
    assert [row["session_id"] for row in history.json()] == [offer["session_id"]]
    if len(name) <= 100:
        created = await maestra.http.post(
            "/streams/types", json={"name": name, "display_name": name, "description": name}
        )
        assert created.status_code == 201
        assert (await maestra.advertise(stream_type=name))["stream_type"] == name
        found = await maestra.http.get("/streams", params={"stream_type": name})
        assert [row["stream_type"] for row in found.json()] == [name]


async def test_bodies_over_a_mebibyte_are_413(maestra: MaestraVenue) -> None:
    too_much = b'{"name": "' + b"x" * (1024 * 1024) + b'"}'
    for path in (*BODIES, f"/streams/{NOBODY}/heartbeat"):
        answer = await maestra.http.post(path, content=too_much, headers=JSON)
        assert answer.status_code == 413, path
        assert list(answer.json()) == ["detail"]

    async def pieces() -> Any:
        for _ in range(11):
            yield b"x" * 100_000

    answer = await maestra.http.post("/streams/advertise", content=pieces(), headers=JSON)
    assert answer.status_code == 413
    assert (await maestra.http.get("/streams")).status_code == 200


async def test_a_body_in_pieces(maestra: MaestraVenue) -> None:
    body = json.dumps(CAMERA).encode()

    async def pieces() -> Any:
        for at in range(0, len(body), 7):
            yield body[at : at + 7]
            await asyncio.sleep(0)

    assert (await maestra.http.post("/streams/advertise", content=pieces(), headers=JSON)).status_code == 201


async def test_a_client_that_hangs_up_amid_its_body(maestra: MaestraVenue) -> None:
    where = urlsplit(maestra.running.url)
    stream = await maestra.advertise()
    before = await maestra.listed()
    _, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(b"POST /streams/advertise HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
    await writer.drain()
    writer.transport.abort()
    after = set(await maestra.listed())
    assert stream["id"] in after
    assert after <= set(before), "the oldest may have run out meanwhile"


async def test_queries_with_rubbish(maestra: MaestraVenue) -> None:
    for path, status in (
        ("/streams?stream_type=%F0%9F%8E%AD", 200),
        ("/streams?stream_type=%00", 200),
        ("/streams?stream_type=a&stream_type=b", 200),
        ("/streams?" + "x" * 5000, 200),
        ("/streams/sessions/history?publisher_id=%00", 200),
        ("/streams/sessions/history?publisher_id=%27%20OR%201=1", 200),
        ("/streams/sessions/history?limit=99999999999999999999999", 422),
        ("/streams/sessions/history?limit=1.5", 422),
        ("/streams/sessions/history?limit=%00", 422),
        ("/streams/%00", 422),
        ("/streams/%F0%9F%8E%AD", 422),
        ("/streams/%FF", 400),
        ("/streams?stream_type=%FF", 400),
        ("/streams/..%2f..%2fetc%2fpasswd", 404),
        ("/streams/" + "9" * 5000, 422),
    ):
        answer = await maestra.http.get(path)
        assert answer.status_code == status, path
        assert answer.json() == [] or status == 200 or "detail" in answer.json(), path


async def test_nothing_of_all_this_was_logged_as_a_failure_or_poisoned_a_list(maestra: MaestraVenue) -> None:
    for path in ("/streams", "/streams/sessions", "/streams/types", "/streams/state", "/streams/sessions/history"):
        answer = await maestra.http.get(path)
        assert answer.status_code == 200
        json.loads(answer.content.decode())
    assert maestra.running.broker.health.ok
