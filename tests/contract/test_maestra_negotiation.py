"""The handshake with a publisher over a real NATS server: every situation."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from app.contract import NEGOTIATION_TIMEOUT, Gone, NegotiationRow
from app.server.bus.nats import Bus
from tests.fakes.maestra import CONSUMER, MaestraVenue, Reply, hundredths

pytestmark = pytest.mark.asyncio(loop_scope="module")

DEFAULT = {"address": "192.168.1.50", "port": 5960, "protocol": "ndi", "transport_config": {}}


async def ended(maestra: MaestraVenue, stream_id: str) -> NegotiationRow:
    """The row of the stream's negotiation as the board has it after its end."""
    rows = [
        event.change
        for event in maestra.events
        if event.kind == "negotiation.ended"
        and isinstance(event.change, NegotiationRow)
        and event.change.stream_id == stream_id
    ]
    assert rows, "the negotiation did not end"
    return rows[-1]


ACCEPTED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"accepted": True}, {}),
    ({"accepted": "yes"}, {}),
    ({"accepted": "no"}, {}),
    ({"accepted": 1}, {}),
    ({"accepted": [0]}, {}),
    ({"accepted": True, "address": "10.0.0.9"}, {"address": "10.0.0.9"}),
    ({"accepted": True, "port": 7000}, {"port": 7000}),
    ({"accepted": True, "port": "7000"}, {"port": 7000}),
    ({"accepted": True, "port": " 7000 "}, {"port": 7000}),
    ({"accepted": True, "port": 7000.0}, {"port": 7000}),
    ({"accepted": True, "port": True}, {"port": 1}),
    ({"accepted": True, "port": 0}, {"port": 0}),
    ({"accepted": True, "protocol": "rist"}, {"protocol": "rist"}),
    ({"accepted": True, "transport_config": {"a": [1, {"b": None}]}}, {"transport_config": {"a": [1, {"b": None}]}}),
    ({"accepted": True, "reason": "ignored", "extra": 1}, {}),
]


@pytest.mark.parametrize(("reply", "changes"), ACCEPTED)
async def test_accepted(maestra: MaestraVenue, reply: dict[str, Any], changes: dict[str, Any]) -> None:
    stream = await maestra.advertise()
    await maestra.answer(stream["id"], reply)
    answer = await maestra.request(stream["id"])
    assert answer.status_code == 201
    want = DEFAULT | changes
    offer = answer.json()
    assert offer["publisher_address"] == want["address"]
    assert offer["publisher_port"] == want["port"]
    assert offer["protocol"] == want["protocol"]
    assert offer["transport_config"] == want["transport_config"]
    row = await ended(maestra, stream["id"])
    assert (row.outcome, row.session_id) == ("offer", offer["session_id"])
    assert row.milliseconds is not None
    assert row.milliseconds > 0


REJECTED: list[tuple[dict[str, Any], str]] = [
    ({"accepted": False}, "Publisher rejected the request"),
    ({}, "Publisher rejected the request"),
    ({"accepted": None, "reason": "no"}, "no"),
    ({"accepted": 0, "reason": ""}, "Publisher rejected the request"),
    ({"accepted": "", "reason": None}, "Publisher rejected the request"),
    ({"accepted": [], "reason": "busy: <b>all</b> encoders"}, "busy: <b>all</b> encoders"),
    ({"accepted": {}, "reason": {"code": 5}}, '{"code":5}'),
    ({"accepted": False, "reason": "x" * 2000}, "x" * 999 + "…"),
]


@pytest.mark.parametrize(("reply", "detail"), REJECTED)
async def test_rejected_is_502_with_the_reason(maestra: MaestraVenue, reply: dict[str, Any], detail: str) -> None:
    """D7."""
    stream = await maestra.advertise()
    await maestra.answer(stream["id"], reply)
    answer = await maestra.request(stream["id"])
    assert (answer.status_code, answer.json()) == (502, {"detail": detail})
    row = await ended(maestra, stream["id"])
    assert (row.outcome, row.detail) == ("rejected", detail)


YES = '"accepted": true'
RUBBISH: list[tuple[str, bytes, str]] = [
    ("empty", b"", "is not JSON: Expecting value"),
    ("text", b"yes", "is not JSON: Expecting value"),
    ("half", b'{"accepted": true', "is not JSON"),
    ("not UTF-8", b'{"accepted": true, "address": "\xff"}', "is not JSON: Not UTF-8"),
    ("NaN", b'{"accepted": true, "port": NaN}', "is not JSON: NaN is not JSON"),
    ("infinite", b'{"accepted": true, "transport_config": {"a": 1e999}}', "is not JSON"),
    ("lone surrogate", b'{"accepted": true, "address": "\\ud800"}', "is not JSON: Lone surrogate"),
    ("NUL", b'{"accepted": true, "address": "a\\u0000b"}', "is not JSON: NUL character"),
    (
        "deep",
        b'{"accepted": true, "transport_config": {"a": ' + b"[" * 5000 + b"]" * 5000 + b"}}",
        "is not JSON: Nested",
    ),
    ("list", b"[]", "is not a JSON object"),
    ("null", b"null", "is not a JSON object"),
    ("string", b'"accepted"', "is not a JSON object"),
    ("address null", b'{"accepted": true, "address": null}', "address in the publisher's reply is not a text"),
    ("address empty", b'{"accepted": true, "address": ""}', "address in the publisher's reply is not a text"),
    ("address number", b'{"accepted": true, "address": 5}', "address in the publisher's reply is not a text"),
    ("port text", b'{"accepted": true, "port": "abc"}', "port in the publisher's reply is not a number"),
    ("port null", b'{"accepted": true, "port": null}', "port in the publisher's reply is not a number"),
    ("port half", b'{"accepted": true, "port": 1.5}', "port in the publisher's reply is not a number"),
    ("port high", b'{"accepted": true, "port": 65536}', "port in the publisher's reply is not a number"),
    ("port low", b'{"accepted": true, "port": -1}', "port in the publisher's reply is not a number"),
    ("port huge", b'{"accepted": true, "port": "%b"}' % (b"9" * 5000), "port in the publisher's reply is not a number"),
    ("port list", b'{"accepted": true, "port": [1]}', "port in the publisher's reply is not a number"),
    ("protocol null", b'{"accepted": true, "protocol": null}', "protocol in the publisher's reply is not a text"),
    ("protocol long", b'{"accepted": true, "protocol": "%b"}' % (b"x" * 51), "is longer than 50"),
    (
        "config null",
        b'{"accepted": true, "transport_config": null}',
        "transport_config in the publisher's reply is not",
    ),
    ("config list", b'{"accepted": true, "transport_config": []}', "transport_config in the publisher's reply is not"),
    (
        "config text",
        b'{"accepted": true, "transport_config": "{}"}',
        "transport_config in the publisher's reply is not",
    ),
]


@pytest.mark.parametrize(("reply", "reason"), [case[1:] for case in RUBBISH], ids=[case[0] for case in RUBBISH])
async def test_rubbish_is_502_and_leaves_nothing(maestra: MaestraVenue, reply: bytes, reason: str) -> None:
    """D10: the reply is validated before anything is stored; lists go on answering."""
    stream = await maestra.advertise()
    await maestra.answer(stream["id"], reply)
    answer = await maestra.request(stream["id"])
    assert answer.status_code == 502
    assert answer.json()["detail"].startswith("NATS request failed: ")
    assert reason in answer.json()["detail"]
    assert (await ended(maestra, stream["id"])).outcome == "bad_reply"
    assert stream["id"] not in {row["stream_id"] for row in (await maestra.listed("/streams/sessions")).values()}
    assert (await maestra.http.get("/streams/state")).status_code == 200
    history = await maestra.http.get("/streams/sessions/history", params={"stream_id": stream["id"]})
    assert history.json() == []


async def test_nobody_listens_is_502_at_once(maestra: MaestraVenue) -> None:
    """D8: not after five seconds; the broker itself must therefore not subscribe to anything that covers requests."""
    stream = await maestra.advertise()
    begun = time.perf_counter()
    answer = await maestra.request(stream["id"])
    assert time.perf_counter() - begun < NEGOTIATION_TIMEOUT - 0.5
    detail = "NATS request failed: nats: no responders available for request"
    assert (answer.status_code, answer.json()) == (502, {"detail": detail})
    assert (await ended(maestra, stream["id"])).outcome == "no_responders"


async def test_silence_is_504_after_five_seconds(maestra: MaestraVenue) -> None:
    """Others are served meanwhile; the reply that comes too late leaves no session."""
    stream = await maestra.advertise()
    too_late = asyncio.Event()
    asked = await maestra.answer(stream["id"], {"accepted": True}, delay=too_late.wait)
    begun = time.perf_counter()
    waiting = asyncio.ensure_future(maestra.request(stream["id"]))
    await asked.next()
    assert (await maestra.http.get(f"/streams/{stream['id']}")).status_code == 200
    assert await hundredths(waiting) < 600
    assert time.perf_counter() - begun > 4.9
    answer = await waiting
    assert answer.status_code == 504
    assert answer.json() == {"detail": "Publisher did not respond within 5 seconds"}
    assert (await ended(maestra, stream["id"])).outcome == "no_answer"
    too_late.set()
    other, _ = await maestra.take()
    assert other["id"] != stream["id"]
    assert (await maestra.http.get("/streams/sessions", params={"stream_id": stream["id"]})).json() == []


async def test_a_board_sees_it_run_and_end(maestra: MaestraVenue) -> None:
    stream = await maestra.advertise()
    go_on = asyncio.Event()
    asked = await maestra.answer(stream["id"], {"accepted": True}, delay=go_on.wait)
    waiting = asyncio.ensure_future(maestra.request(stream["id"]))
    await asked.next()
    running = [
        row for row in maestra.running.broker.streams.negotiations.rows.values() if row.stream_id == stream["id"]
    ]
    assert [(row.outcome, row.consumer_id, row.stream_name) for row in running] == [
        (None, CONSUMER["consumer_id"], "Main Stage Camera A")
    ]
    assert running[0].deadline - running[0].started_at == 5.0
    go_on.set()
    assert (await waiting).status_code == 201
    row = await ended(maestra, stream["id"])
    assert (row.id, row.outcome) == (running[0].id, "offer")


@pytest.mark.parametrize(
    ("replies", "status"),
    [
        (({"accepted": True, "port": 1}, {"accepted": True, "port": 2}), 201),
        (({"accepted": True, "port": 1}, {"accepted": False}), 201),
        (({"accepted": False, "reason": "first"}, {"accepted": True}), 502),
        ((b"rubbish", {"accepted": True}), 502),
    ],
)
async def test_of_two_replies_the_first_wins(maestra: MaestraVenue, replies: tuple[Reply, ...], status: int) -> None:
    stream = await maestra.advertise()
    await maestra.answer(stream["id"], *replies)
    answer = await maestra.request(stream["id"])
    assert answer.status_code == status
    sessions = (await maestra.http.get("/streams/sessions", params={"stream_id": stream["id"]})).json()
    assert len(sessions) == (1 if status == 201 else 0)
    if status == 201:
        assert answer.json()["publisher_port"] == 1


async def test_two_responders(maestra: MaestraVenue) -> None:
    stream = await maestra.advertise()
    slow = asyncio.Event()
    await maestra.answer(stream["id"], {"accepted": True, "address": "slow"}, delay=slow.wait)
    other = await maestra.another_publisher()
    await maestra.answer(stream["id"], {"accepted": True, "address": "fast"}, client=other)
    assert (await maestra.request(stream["id"])).json()["publisher_address"] == "fast"
    slow.set()
    assert len((await maestra.http.get("/streams/sessions", params={"stream_id": stream["id"]})).json()) == 1


async def test_a_stream_withdrawn_while_its_publisher_is_asked(maestra: MaestraVenue) -> None:
    """The registry looks again when the answer comes."""
    stream = await maestra.advertise()
    go_on = asyncio.Event()
    asked = await maestra.answer(stream["id"], {"accepted": True}, delay=go_on.wait)
    waiting = asyncio.ensure_future(maestra.request(stream["id"]))
    await asked.next()
    assert (await maestra.http.delete(f"/streams/{stream['id']}")).status_code == 200
    go_on.set()
    answer = await waiting
    assert (answer.status_code, answer.json()) == (404, {"detail": "Stream not found or expired"})
    assert (await ended(maestra, stream["id"])).outcome == "gone"
    assert (await maestra.http.get("/streams/sessions", params={"stream_id": stream["id"]})).json() == []


async def test_a_consumer_that_hangs_up_has_its_session_all_the_same(maestra: MaestraVenue) -> None:
    """As in the original: the publisher has said yes and sends; the session lives its 30 s and then expires."""
    stream = await maestra.advertise()
    go_on = asyncio.Event()
    asked = await maestra.answer(stream["id"], {"accepted": True}, delay=go_on.wait)
    body = json.dumps(CONSUMER).encode()
    head = f"POST /streams/{stream['id']}/request HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    port = maestra.running.broker.port
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head.encode() + body)
    await asked.next()
    writer.transport.abort()
    go_on.set()
    started = await maestra.event("session.started", after=maestra.events[-1].seq)
    sessions = (await maestra.http.get("/streams/sessions", params={"stream_id": stream["id"]})).json()
    assert [row["session_id"] for row in sessions] == [started.id]


async def test_a_request_larger_than_nats_carries(maestra: MaestraVenue) -> None:
    stream = await maestra.advertise()
    await maestra.answer(stream["id"], {"accepted": True})
    largest = 1024 * 1024 - len(json.dumps(CONSUMER | {"config": {"x": ""}}, separators=(",", ":")))
    answer = await maestra.request(stream["id"], config={"x": "y" * largest})
    assert answer.status_code == 413
    assert "larger than NATS carries" in answer.json()["detail"]
    assert (await maestra.request(stream["id"])).status_code == 201


async def test_thirty_two_at_once(maestra: MaestraVenue) -> None:
    stream = await maestra.advertise()
    await maestra.answer(stream["id"], {"accepted": True})
    answers = await asyncio.gather(*(maestra.request(stream["id"], consumer_id=str(n)) for n in range(32)))
    assert {answer.status_code for answer in answers} == {201}
    assert (await maestra.http.get(f"/streams/{stream['id']}")).json()["active_sessions"] == 32


async def test_waiting_requests_leave_nothing_behind(maestra: MaestraVenue) -> None:
    bus: Bus = maestra.running.broker.bus
    assert bus._waiting == {}
    rows = maestra.running.broker.streams.negotiations.rows.values()
    assert [row for row in rows if row.outcome is None] == []
    cleared = [event.change for event in maestra.events if event.kind == "negotiation.cleared"]
    assert all(isinstance(change, Gone) for change in cleared)
