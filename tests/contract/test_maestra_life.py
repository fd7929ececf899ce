"""Life and death of streams and sessions: TTL, beats, holds, what is left after kill -9, and who did it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.contract import Gone, HoldRow, StillSending
from app.demo.nats_client import connect as connect_nats
from app.errors import Conflict, Expired, NotFound
from tests.fakes.broker import Brokers
from tests.fakes.maestra import CAMERA, CONSUMER, MaestraVenue, hundredths, running_venue

MEMORY = "app.server.storage.memory"


async def test_a_ttl_is_kept_to_within_a_second(fresh_maestra: MaestraVenue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{MEMORY}.STREAM_TTL", 0.8)
    began = time.monotonic()
    stream = await fresh_maestra.advertise()
    expiring = asyncio.ensure_future(fresh_maestra.event("stream.expired", stream["id"]))
    assert await hundredths(expiring) < 180
    assert time.monotonic() - began >= 0.8
    assert expiring.result().change == Gone(reason="expired")
    assert await fresh_maestra.listed() == {}
    assert [event.kind for event in fresh_maestra.events if event.id == stream["id"]].count("stream.expired") == 1


async def test_beats_keep_alive_and_are_independent(fresh_maestra: MaestraVenue) -> None:
    """A session's heartbeat does not touch the stream's TTL and the other way round."""
    stream, offer = await fresh_maestra.take()
    for _ in range(2):
        fresh_maestra.let_pass(20)
        beat = await fresh_maestra.http.post(f"/streams/sessions/{offer['session_id']}/heartbeat")
        assert beat.status_code == 200
    await fresh_maestra.event("stream.expired", stream["id"])
    assert await fresh_maestra.listed() == {}
    session = (await fresh_maestra.listed("/streams/sessions"))[offer["session_id"]]
    assert (session["stream_id"], session["stream_name"]) == (stream["id"], CAMERA["name"])
    fresh_maestra.let_pass(31)
    await fresh_maestra.event("session.expired", offer["session_id"])
    stream, offer = await fresh_maestra.take()
    for _ in range(2):
        fresh_maestra.let_pass(20)
        assert (await fresh_maestra.http.post(f"/streams/{stream['id']}/heartbeat")).status_code == 200
    await fresh_maestra.event("session.expired", offer["session_id"])
    assert list(await fresh_maestra.listed()) == [stream["id"]]


async def test_active_sessions_counts_the_living(fresh_maestra: MaestraVenue, monkeypatch: pytest.MonkeyPatch) -> None:
    """D6: in the list, in the state and in the single answer, without anybody asking for the sessions first."""
    stream, offer = await fresh_maestra.take()
    second = (await fresh_maestra.request(stream["id"])).json()["session_id"]

    async def counts() -> set[int]:
        state = (await fresh_maestra.http.get("/streams/state")).json()["streams"]
        single = (await fresh_maestra.http.get(f"/streams/{stream['id']}")).json()
        return {row["active_sessions"] for row in (*state, single, *(await fresh_maestra.listed()).values())}

    assert await counts() == {2}
    await fresh_maestra.http.delete(f"/streams/sessions/{second}")
    assert await counts() == {1}
    monkeypatch.setattr(f"{MEMORY}.SESSION_TTL", 0.3)
    third = (await fresh_maestra.request(stream["id"])).json()["session_id"]
    await fresh_maestra.event("session.expired", third)
    assert await counts() == {1}
    await fresh_maestra.http.delete(f"/streams/sessions/{offer['session_id']}")
    assert await counts() == {0}


async def test_a_heartbeat_for_an_ended_session_is_told(fresh_maestra: MaestraVenue) -> None:
    """Console rule 9: somebody still sends. Over HTTP and NATS; once in five seconds for a session."""
    _, offer = await fresh_maestra.take()
    session = f"/streams/sessions/{offer['session_id']}"
    await fresh_maestra.http.delete(session)
    stopped = await fresh_maestra.event("session.stopped", offer["session_id"])
    for _ in range(3):
        assert (await fresh_maestra.http.post(f"{session}/heartbeat")).status_code == 404
    told = await fresh_maestra.event("session.still_sending", offer["session_id"])
    assert told.change == StillSending(ended_at=stopped.at)
    _, other = await fresh_maestra.take()
    await fresh_maestra.http.delete(f"/streams/sessions/{other['session_id']}")
    await fresh_maestra.nats.publish(f"maestra.stream.session.heartbeat.{other['session_id']}", b"")
    await fresh_maestra.event("session.still_sending", other["session_id"])
    assert [event.kind for event in fresh_maestra.events].count("session.still_sending") == 2


@pytest.fixture
async def holding(tmp_path: Any) -> AsyncIterator[MaestraVenue]:
    """A venue whose holds beat every 0.1 s."""
    async with running_venue(tmp_path / "data") as made:
        made.running.broker.streams.holds._every = 0.1
        yield made


def nodes(maestra: MaestraVenue) -> list[str]:
    """Names of the holds in the task tree."""
    return [node.name for node in maestra.running.broker.tasks.root.walk() if node.kind == "hold"]


async def held_for_forty_seconds(maestra: MaestraVenue, session_id: str) -> None:
    """Longer than a session lives by itself, with a beat of its hold after each half."""
    for _ in range(2):
        maestra.let_pass(20)
        await maestra.event("session.beat", session_id, after=maestra.events[-1].seq)


async def until_no_nodes(maestra: MaestraVenue) -> None:
    """A node leaves the tree a moment after its hold has ended."""
    async with asyncio.timeout(10):
        while nodes(maestra):
            await asyncio.sleep(0.01)


async def test_a_held_session_lives_and_nobody_is_claimed_to_beat(holding: MaestraVenue) -> None:
    streams = holding.running.broker.streams
    _, offer = await holding.take()
    hold = await streams.hold(offer["session_id"], "Ada", "preset-1")
    assert (hold.operator, hold.preset_id, hold.session_id) == ("Ada", "preset-1", offer["session_id"])
    assert nodes(holding) == [f"hold {CAMERA['name']} for {CONSUMER['consumer_id']}"]
    await held_for_forty_seconds(holding, offer["session_id"])
    assert offer["session_id"] in await holding.listed("/streams/sessions")
    assert streams.state.sessions[offer["session_id"]].last_heartbeat is None
    with pytest.raises(Conflict):
        await streams.hold(offer["session_id"], "Bob")
    released = await streams.release(hold.id, by="Ada")
    assert released.id == hold.id
    ended = await holding.event("hold.ended", hold.id)
    assert ended.change == Gone(reason="released", by="Ada")
    holding.let_pass(31)
    await holding.event("session.expired", offer["session_id"])
    await until_no_nodes(holding)


@pytest.mark.parametrize("end", ["kick", "withdraw"])
async def test_a_hold_ends_with_its_session(holding: MaestraVenue, end: str) -> None:
    stream, offer = await holding.take()
    hold = await holding.running.broker.streams.hold(offer["session_id"], "Ada")
    path = f"/streams/sessions/{offer['session_id']}" if end == "kick" else f"/streams/{stream['id']}"
    assert (await holding.http.delete(path)).status_code == 200
    await holding.event("hold.ended", hold.id)
    assert dict(holding.running.broker.streams.state.holds) == {}
    await until_no_nodes(holding)


async def test_holds_of_what_is_not_there(holding: MaestraVenue) -> None:
    streams = holding.running.broker.streams
    with pytest.raises(Expired):
        await streams.hold("b2c3d4e5-f6a7-4901-bcde-f12345678901", "Ada")
    with pytest.raises(NotFound):
        await streams.release("b2c3d4e5-f6a7-4901-bcde-f12345678901")
    assert nodes(holding) == []


async def test_a_hold_outlives_its_streams_expiry(holding: MaestraVenue) -> None:
    """The source is lost, the session goes on being held: the board says both."""
    stream, offer = await holding.take()
    hold = await holding.running.broker.streams.hold(offer["session_id"], "Ada")
    await held_for_forty_seconds(holding, offer["session_id"])
    await holding.event("stream.expired", stream["id"])
    await held_for_forty_seconds(holding, offer["session_id"])
    assert list(await holding.listed("/streams/sessions")) == [offer["session_id"]]
    assert list(holding.running.broker.streams.state.holds) == [hold.id]


async def test_holds_are_beaten_again_after_a_clean_restart(tmp_path: Any) -> None:
    async with running_venue(tmp_path / "data") as first:
        _, offer = await first.take()
        hold = await first.running.broker.streams.hold(offer["session_id"], "Ada")
    async with running_venue(tmp_path / "data") as second:
        state = second.running.broker.streams.state
        assert list(state.holds.values()) == [hold]
        assert len(nodes(second)) == 1
        before = state.sessions[offer["session_id"]]
        assert (before.confirmed, before.last_heartbeat) == (False, None)
        assert isinstance(hold, HoldRow)


async def test_kill_9_loses_nothing_that_was_answered(brokers: Brokers) -> None:
    process = brokers.start()
    ids: dict[str, Any] = {}
    async with httpx.AsyncClient(base_url=process.url, trust_env=False, timeout=10) as http:
        stream = (await http.post("/streams/advertise", json=CAMERA)).json()
        gone = (await http.post("/streams/advertise", json=CAMERA)).json()
        publisher = await connect_nats(process.nats_url)

        async def yes(message: Any) -> None:
            await message.respond(b'{"accepted": true}')

        await publisher.subscribe(f"maestra.stream.request.{stream['id']}", cb=yes)
        await publisher.flush()
        answers = [await http.post(f"/streams/{stream['id']}/request", json=CONSUMER) for _ in range(2)]
        kept, stopped = (answer.json()["session_id"] for answer in answers)
        await http.post("/streams/types", json={"name": "lidar", "display_name": "LiDAR"})
        hold = await http.post(
            "/console/v1/holds",
            json={"session_id": kept},
            headers={"Authorization": f"Bearer {process.token}", "X-Callboard-Operator": "Ada"},
        )
        assert hold.status_code == 201
        await http.delete(f"/streams/sessions/{stopped}")
        await http.delete(f"/streams/{gone['id']}")
        ids = (await http.get("/streams/state")).json()
        await publisher.close()
    process.kill()
    again = brokers.start()
    async with httpx.AsyncClient(base_url=again.url, trust_env=False, timeout=10) as http:
        state = (await http.get("/streams/state")).json()
        assert state == ids
        assert [row["session_id"] for row in state["sessions"]] == [kept]
        history = (await http.get("/streams/sessions/history")).json()
        assert {row["session_id"]: row["status"] for row in history} == {kept: "active", stopped: "stopped"}
        assert (await http.post("/streams/advertise", json=CAMERA | {"stream_type": "lidar"})).status_code == 201
        assert (await http.post(f"/streams/{stream['id']}/heartbeat")).status_code == 200
        assert (await http.post(f"/streams/sessions/{kept}/heartbeat")).status_code == 200
    assert again.terminate() == 0
