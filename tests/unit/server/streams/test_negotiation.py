"""The handshake without I/O, and the board's rows about it. Replies in all their forms are in the contract tests."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.contract import GHOST_SECONDS, Gone, NegotiationRow, StreamRow
from app.errors import Rejected
from app.server.events import EventLog, Published
from app.server.streams import negotiation
from app.server.streams.negotiation import (
    Accepted,
    ConsumerRequest,
    Negotiations,
    read_reply,
    request_payload,
    request_subject,
)
from tests.fakes.clock import Clock

STREAM = StreamRow(
    id="a1b2c3d4-e5f6-7890-abcd-ef1234567890",
    name="Main Stage Camera A",
    stream_type="ndi",
    publisher_id="td-workstation-01",
    protocol="ndi",
    address="192.168.1.50",
    port=5960,
    advertised_at=0.0,
    last_heartbeat=0.0,
    expires_at=30.0,
)


def test_the_question() -> None:
    wanted = ConsumerRequest("max-workstation-02", "192.168.1.60", None, {"preferred_codec": "h264"})
    assert request_subject(STREAM.id) == f"maestra.stream.request.{STREAM.id}"
    assert json.loads(request_payload(STREAM.id, wanted, 1_736_937_000.25)) == {
        "stream_id": STREAM.id,
        "consumer_id": "max-workstation-02",
        "consumer_address": "192.168.1.60",
        "consumer_port": None,
        "config": {"preferred_codec": "h264"},
        "timestamp": "2025-01-15T10:30:00.250000Z",
    }
    assert b'"timestamp":"2025-01-15T10:30:00Z"' in request_payload(STREAM.id, wanted, 1_736_937_000.0)


def test_what_a_yes_leaves_out_comes_from_the_advertisement() -> None:
    assert read_reply(b'{"accepted": true}', STREAM) == Accepted("192.168.1.50", 5960, "ndi", {})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.binary()
    | JSON.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries(
        {"accepted": JSON},
        optional=dict.fromkeys(("address", "port", "protocol", "transport_config", "reason"), JSON),
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_reply_is_an_offer_that_can_be_stored_or_a_rejection(data: bytes) -> None:
    answer = read(data)
    if isinstance(answer, Rejected):
        assert answer.code in ("rejected", "bad_reply")
        assert 0 < len(answer.message) <= 1100
        return
    assert answer.address.encode()
    assert type(answer.port) is int
    assert 0 <= answer.port <= 65535
    assert 0 < len(answer.protocol) <= 50
    assert isinstance(answer.transport_config, dict)
    json.dumps(answer, allow_nan=False).encode()


def read(data: bytes) -> Accepted | Rejected:
    """The offer, or why there is none."""
    try:
        return read_reply(data, STREAM)
    except Rejected as exc:
        return exc


class Board:
    """Negotiations on a clock of the test's own, and what they publish."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.heard: list[Published] = []
        events = EventLog(clock=self.clock.time)
        events.subscribe(self.heard.append)
        self.rows = Negotiations(events, self.clock.time, self.clock.monotonic)

    def kinds(self, negotiation_id: str) -> list[str]:
        """What was said about one negotiation."""
        return [event.kind for event in self.heard if event.id == negotiation_id]


async def test_a_row_from_begin_to_end() -> None:
    board = Board()
    row = board.rows.begin(STREAM, "consumer")
    assert board.heard[-1].change == row
    assert (row.outcome, row.deadline - row.started_at, row.stream_name) == (None, 5.0, "Main Stage Camera A")
    board.rows.end(row, "rejected", milliseconds=12.34567, detail="busy")
    ended = board.heard[-1].change
    assert isinstance(ended, NegotiationRow)
    assert (ended.outcome, ended.detail, ended.milliseconds) == ("rejected", "busy", 12.346)
    assert list(board.rows.rows.values()) == [ended]
    assert row.outcome is None, "what has been published is not changed afterwards"


async def test_rows_are_cleared_after_their_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    board = Board()
    slept: list[float] = []
    real_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        board.clock.advance(seconds)
        await real_sleep(0)

    monkeypatch.setattr(negotiation.asyncio, "sleep", sleep)
    sweeping = asyncio.ensure_future(board.rows.sweep())
    await real_sleep(0)
    first, second = board.rows.begin(STREAM, "a"), board.rows.begin(STREAM, "b")
    board.rows.end(first, "offer", milliseconds=1)
    board.clock.advance(10)
    board.rows.end(second, "no_answer", milliseconds=5000)
    while board.rows.rows:
        await real_sleep(0)
    assert slept == [GHOST_SECONDS - 10, 10.0]
    assert board.kinds(first.id) == ["negotiation.started", "negotiation.ended", "negotiation.cleared"]
    assert board.heard[-1].change == Gone(reason="expired")
    third = board.rows.begin(STREAM, "c")
    board.rows.end(third, "offer", milliseconds=1)
    while board.rows.rows:
        await real_sleep(0)
    sweeping.cancel()
    await asyncio.wait([sweeping])


async def test_the_table_is_bounded_and_the_oldest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(negotiation, "MAX_ROWS", 3)
    board = Board()
    rows = [board.rows.begin(STREAM, str(number)) for number in range(5)]
    assert list(board.rows.rows) == [row.id for row in rows[2:]]
    assert board.kinds(rows[0].id) == ["negotiation.started", "negotiation.cleared"]
    board.rows.end(rows[0], "offer", milliseconds=1, session_id="s")
    assert board.kinds(rows[0].id)[2:] == ["negotiation.ended", "negotiation.cleared"]
    assert list(board.rows.rows) == [row.id for row in rows[2:]]
    for row in rows[2:]:
        board.rows.end(row, "offer", milliseconds=1)
    for number in range(10):
        board.rows.end(board.rows.begin(STREAM, str(number)), "offer", milliseconds=1)
    assert len(board.rows.rows) == 3
    assert len(board.rows._ended) <= 3


def test_reasons_of_any_kind_become_text() -> None:
    def reason(value: Any) -> str:
        with pytest.raises(Rejected) as caught:
            read_reply(json.dumps({"accepted": False, "reason": value}).encode(), STREAM)
        return caught.value.message

    assert [reason(value) for value in ("no", 5, [1], {"a": 1}, True)] == ["no", "5", "[1]", '{"a":1}', "true"]
    assert [reason(value) for value in (None, "", 0, [], {})] == ["Publisher rejected the request"] * 5
