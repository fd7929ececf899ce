"""Events to NATS messages. That they arrive is tested with a real server in the contract tests."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from app.contract import Beat, Gone, SessionRow, StreamRow
from app.server.bus.embedded import VENUE_SUBSCRIBES
from app.server.events import EventLog
from app.server.storage.journal import Journal
from app.server.storage.memory import MemoryState
from app.server.streams.announcer import Announcer, type_token
from tests.unit.server.streams.test_negotiation import STREAM

SESSION = SessionRow(
    id="b2c3d4e5-f6a7-8901-bcde-f12345678901",
    stream_id=STREAM.id,
    stream_name=STREAM.name,
    stream_type="ndi",
    publisher_id="td-workstation-01",
    publisher_address="192.168.1.50",
    publisher_port=5960,
    consumer_id="max-workstation-02",
    consumer_address="192.168.1.60",
    protocol="ndi",
    started_at=1_736_937_000.0,
    expires_at=1_736_937_030.0,
)


class Recorder:
    """A bus that keeps what it is given."""

    def __init__(self) -> None:
        self.said: list[tuple[str, Any]] = []

    def publish(self, subject: str, payload: bytes) -> None:
        self.said.append((subject, json.loads(payload)))


@pytest.fixture
async def said(tmp_path: Path) -> tuple[EventLog, list[tuple[str, Any]], Announcer]:
    """An event log, what is said because of it, and who says it."""
    events, bus = EventLog(), Recorder()
    state = MemoryState(Journal(tmp_path / "journal.db"), events)
    return events, bus.said, Announcer(state, events, bus)


Said = tuple[EventLog, list[tuple[str, Any]], Announcer]


async def test_an_end_names_the_stream_it_belonged_to(said: Said) -> None:
    events, messages, announcer = said
    events.publish("session.started", SESSION.id, SESSION)
    events.publish("session.stopped", SESSION.id, Gone(reason="stopped"))
    events.publish("session.expired", "unknown", Gone(reason="expired"))
    announcer.stop()
    assert [subject for subject, _ in messages] == [
        "maestra.stream.session.started",
        "maestra.stream.session.stopped",
        "maestra.stream.session.expired.unknown",
    ]
    assert messages[0][1]["started_at"] == "2025-01-15T10:30:00Z"
    assert [message["stream_id"] for _, message in messages] == [STREAM.id, STREAM.id, None]


async def test_events_gather_and_are_said_in_their_order(said: Said) -> None:
    events, messages, announcer = said
    events.publish("session.started", SESSION.id, SESSION)
    events.publish("session.stopped", SESSION.id, Gone(reason="stopped"))
    assert messages == []
    async with asyncio.timeout(15):
        while len(messages) < 2:
            await asyncio.sleep(0)
    assert [message["type"] for _, message in messages] == ["session_started", "session_stopped"]
    events.publish("stream.withdrawn", STREAM.id, Gone(reason="withdrawn"))
    announcer.stop()
    assert messages[-1][1]["type"] == "stream_withdrawn"


async def test_an_event_that_cannot_be_said_does_not_silence_the_next(said: Said) -> None:
    events, messages, announcer = said
    bad: StreamRow = STREAM.__copy__()
    bad.advertised_at = float("inf")
    events.publish("stream.advertised", STREAM.id, bad)
    events.publish("stream.withdrawn", STREAM.id, Gone(reason="withdrawn"))
    announcer.stop()
    assert [message["type"] for _, message in messages] == ["stream_withdrawn"]


async def test_what_is_no_news_for_the_venue_is_not_said(said: Said) -> None:
    events, messages, announcer = said
    events.publish("session.beat", SESSION.id, Beat(1.0))
    events.publish("stream.beat", "gone already", Beat(1.0))
    events.publish("negotiation.cleared", "n", Gone(reason="expired"))
    announcer.stop()
    events.publish("stream.withdrawn", STREAM.id, Gone(reason="withdrawn"))
    assert messages == []


async def test_every_subject_is_one_that_the_venue_may_hear(said: Said) -> None:
    events, messages, announcer = said
    hostile: StreamRow = STREAM.__copy__()
    hostile.stream_type = "a.b >*\r\nPUB x"
    for kind, change in (
        ("stream.advertised", STREAM),
        ("stream.advertised", hostile),
        ("session.started", SESSION),
        ("session.stopped", Gone(reason="stopped")),
        ("session.expired", Gone(reason="expired")),
        ("stream.withdrawn", Gone(reason="withdrawn")),
        ("stream.expired", Gone(reason="expired")),
    ):
        events.publish(kind, SESSION.id if kind.startswith("session") else STREAM.id, change)
    announcer.stop()
    assert len(messages) >= 7
    for subject, _ in messages:
        assert any(fits(subject, allowed) for allowed in VENUE_SUBSCRIBES), subject


def fits(subject: str, allowed: str) -> bool:
    """NATS's rule for ``*``: exactly one token."""
    tokens, patterns = subject.split("."), allowed.split(".")
    return len(tokens) == len(patterns) and all(p in ("*", t) for t, p in zip(tokens, patterns, strict=True))


@pytest.mark.parametrize(
    ("name", "token"),
    [("ndi", "ndi"), ("lidar-2_x", "lidar-2_x"), ("a b", "a_b"), (">", "_"), ("*", "_"), ("a.b", "a_b"), ("é\0", "__")],
)
def test_a_type_is_one_token(name: str, token: str) -> None:
    assert type_token(name) == token
