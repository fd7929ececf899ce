"""Remembered bytes never differ from fresh ones, whatever happens between two listings."""

from __future__ import annotations

import json
import random

import pytest

from app.server.dialects.maestra import wire
from app.server.dialects.maestra.listing import Listing
from tests.unit.server.streams.conftest import Domain
from tests.unit.server.streams.test_holds import session_of
from tests.unit.server.streams.test_registry import CAMERA


def fresh(domain: Domain) -> dict[str, object]:
    """The registry's state, encoded anew."""
    state = domain.state
    return {
        "streams": [
            json.loads(wire.stream_json(row, len(list(state.sessions_of(row.id))))) for row in state.streams.values()
        ],
        "sessions": [json.loads(wire.session_json(row)) for row in state.sessions.values()],
        "stream_types": [json.loads(wire.type_json(row)) for row in domain.streams.types.rows.values()],
    }


@pytest.mark.parametrize("seed", range(5))
async def test_remembered_is_fresh(domain: Domain, seed: int) -> None:
    chance = random.Random(seed)
    early = [await session_of(domain) for _ in range(3)]
    listing = Listing(domain.streams)  # after sessions that it never heard of
    await domain.state.close_session(early[0].id)
    for _ in range(60):
        streams, sessions = list(domain.state.streams), list(domain.state.sessions)
        act = chance.choice(["advertise", "session", "beat", "beat_session", "withdraw", "stop", "type"])
        if act == "advertise":
            await domain.streams.advertise(**CAMERA, port=chance.randrange(65536))
        elif act == "session":
            await session_of(domain)
        elif act == "beat" and streams:
            await domain.streams.heartbeat(chance.choice(streams))
        elif act == "beat_session" and sessions:
            await domain.streams.heartbeat_session(chance.choice(sessions))
        elif act == "withdraw" and streams:
            await domain.streams.withdraw(chance.choice(streams))
        elif act == "stop" and sessions:
            await domain.streams.stop_session(chance.choice(sessions))
        elif act == "type":
            await domain.streams.types.create(f"type {chance.random()}", "X")
        expected = fresh(domain)
        assert json.loads(listing.state()) == expected
        assert json.loads(listing.streams()) == expected["streams"]
        assert json.loads(listing.sessions()) == expected["sessions"]
        assert json.loads(listing.types()) == expected["stream_types"]
    assert set(listing._streams) == set(domain.state.streams)
    assert set(listing._sessions) == set(domain.state.sessions)


async def test_filters(domain: Domain) -> None:
    listing = Listing(domain.streams)
    first, second = await session_of(domain), await session_of(domain)
    await domain.streams.advertise(**CAMERA | {"stream_type": "osc"}, port=1)
    assert [row["stream_type"] for row in json.loads(listing.streams("osc"))] == ["osc"]
    assert len(json.loads(listing.streams("ndi"))) == 2
    assert len(json.loads(listing.streams(""))) == 3
    assert listing.streams("nothing") == b"[]"
    assert [row["session_id"] for row in json.loads(listing.sessions(second.stream_id))] == [second.id]
    assert listing.sessions("nothing") == b"[]"
    assert len(json.loads(listing.sessions(None))) == 2
    assert first.id != second.id
