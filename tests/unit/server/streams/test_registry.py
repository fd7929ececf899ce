"""The registry as dialects and console routes call it. Its behaviour over HTTP is in the contract tests."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest

from app.contract import NegotiationRow
from app.errors import Expired, NoAnswer, Unavailable
from app.server.storage.database import HistoryQuery
from app.server.streams.negotiation import ConsumerRequest
from tests.unit.server.streams.conftest import Domain

CAMERA = {
    "name": "Main Stage Camera A",
    "stream_type": "ndi",
    "publisher_id": "td-workstation-01",
    "protocol": "ndi",
    "address": "192.168.1.50",
}
WANTED = ConsumerRequest("max-workstation-02", "192.168.1.60", 5961)


async def test_a_stream_from_advertise_to_withdraw(domain: Domain) -> None:
    row = await domain.streams.advertise(**CAMERA, port=5960)
    assert UUID(row.id).version == 4
    assert row.expires_at - row.advertised_at == pytest.approx(30, abs=1)
    assert domain.streams.stream(row.id) is row
    await domain.streams.heartbeat(row.id)
    removed = await domain.streams.withdraw(row.id, by="Ada")
    assert (removed.stream.id, removed.sessions) == (row.id, [])
    for call in (domain.streams.heartbeat, domain.streams.withdraw):
        with pytest.raises(Expired, match="Stream not found or expired"):
            await call(row.id)
    with pytest.raises(Expired):
        domain.streams.stream(row.id)
    assert domain.kinds() == ["stream.advertised", "stream.beat", "stream.withdrawn"]


async def test_sessions_that_are_not_there(domain: Domain) -> None:
    for call in (domain.streams.heartbeat_session, domain.streams.stop_session):
        with pytest.raises(Expired, match="Session not found or expired"):
            await call(str(uuid4()))
    assert domain.kinds() == []


async def test_asking_without_nats_fails_at_once_and_is_on_the_board(lonely: Domain) -> None:
    row = await lonely.streams.advertise(**CAMERA, port=5960)
    async with asyncio.timeout(4):
        with pytest.raises(Unavailable) as caught:
            await lonely.streams.request(row.id, WANTED)
    assert caught.value.code == "bus_away"
    assert caught.value.message.startswith("NATS request failed: ")
    [negotiation] = lonely.streams.negotiations.rows.values()
    assert (negotiation.outcome, negotiation.detail) == ("bus_away", caught.value.message)
    nats = next(row for row in lonely.health.rows() if row.id == "nats")
    assert (nats.ok, nats.take_down) == (False, True)


async def test_a_caller_that_gives_up_ends_its_row(domain: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that stops cancels what waits; the board hears that too."""
    asked = asyncio.Event()

    async def silent(*_: object) -> bytes:
        asked.set()
        await asyncio.Event().wait()
        return b""

    monkeypatch.setattr(domain.bus, "request", silent)
    row = await domain.streams.advertise(**CAMERA, port=5960)
    asking = asyncio.ensure_future(domain.streams.request(row.id, WANTED))
    await asked.wait()
    asking.cancel()
    await asyncio.wait([asking])
    [negotiation] = domain.streams.negotiations.rows.values()
    assert (negotiation.outcome, negotiation.detail) == ("failed", "interrupted")


async def test_no_answer_is_told_in_the_seeds_words(domain: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    async def late(subject: str, payload: bytes, timeout: float) -> bytes:
        assert timeout == 5.0
        raise NoAnswer("late")

    monkeypatch.setattr(domain.bus, "request", late)
    row = await domain.streams.advertise(**CAMERA, port=5960)
    with pytest.raises(NoAnswer, match="Publisher did not respond within 5 seconds"):
        await domain.streams.request(row.id, WANTED)
    ended = domain.heard[-1].change
    assert isinstance(ended, NegotiationRow)
    assert ended.outcome == "no_answer"


async def test_history_waits_for_what_was_answered(domain: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    async def yes(*_: object) -> bytes:
        return b'{"accepted": true}'

    monkeypatch.setattr(domain.bus, "request", yes)
    row = await domain.streams.advertise(**CAMERA, port=5960)
    session = await domain.streams.request(row.id, WANTED)
    assert (session.config, session.consumer_port) == ({}, 5961)
    assert [one.id for one in await domain.streams.history(HistoryQuery())] == [session.id]
    await domain.streams.stop_session(session.id)
    assert [one.status for one in await domain.streams.history(HistoryQuery())] == ["stopped"]

    async def behind(_: float) -> bool:
        return False

    monkeypatch.setattr(domain.mover, "caught_up", behind)
    with pytest.raises(Unavailable, match="catching up"):
        await domain.streams.history(HistoryQuery())


async def test_a_snapshot_has_every_table(domain: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    async def yes(*_: object) -> bytes:
        return b'{"accepted": true}'

    monkeypatch.setattr(domain.bus, "request", yes)
    row = await domain.streams.advertise(**CAMERA, port=5960)
    session = await domain.streams.request(row.id, WANTED)
    hold = await domain.streams.hold(session.id, "Ada")
    tables = domain.streams.snapshot()
    assert [one.id for one in tables["stream"]] == [row.id]
    assert [one.id for one in tables["session"]] == [session.id]
    assert [one.id for one in tables["hold"]] == [hold.id]
    assert len(tables["negotiation"]) == 1
    assert len(tables["type"]) == 11


async def test_after_stop_nothing_listens(domain: Domain) -> None:
    await domain.streams.stop()
    before = len(domain.heard)
    row = await domain.streams.advertise(**CAMERA, port=5960)
    assert len(domain.heard) == before + 1
    assert domain.streams._announcer._beats == {}
    assert row.id in domain.state.streams
