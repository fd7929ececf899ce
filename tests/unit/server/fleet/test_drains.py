"""Drains: a flag that stays, progress, an estimate, why nothing moves, an undo."""

from __future__ import annotations

import pytest

from app.agent_protocol import SessionEvent
from app.errors import NotFound, Unavailable
from tests.fakes.fleet_agent import FakeAgent
from tests.unit.server.fleet.conftest import House


async def with_sessions(house: House, count: int, **fields: object) -> tuple[FakeAgent, list[str]]:
    agent = house.agent(slots=50)
    await agent.register()
    rows = [await house.running(agent, user=f"u{n}", **fields) for n in range(count)]
    return agent, [row.id for row in rows]


async def leave(agent: FakeAgent, session_id: str) -> None:
    await agent.say(SessionEvent(session_id=session_id, event="exited"))
    await agent.heard()


async def test_the_flag_survives_heartbeats_reconnects_and_restarts(house: House) -> None:
    agent, _ = await with_sessions(house, 1)
    row = await house.fleet.drain("stage-left", "kim")
    assert row.status == "draining"
    await agent.beat()
    assert house.fleet.agents["stage-left"].status == "draining"
    await agent.drop()
    assert house.fleet.agents["stage-left"].status == "offline"
    await agent.register()
    assert house.fleet.agents["stage-left"].status == "draining"
    await house.restart()
    await house.agent().register()
    assert house.fleet.agents["stage-left"].status == "draining"
    assert house.fleet.drains["stage-left"].operator == "kim"
    assert (await house.fleet.undrain("stage-left", "kim")).status == "online"
    await house.restart()
    await house.agent().register()
    assert house.fleet.agents["stage-left"].status == "online"


async def test_its_beginning_and_its_undo_are_changes_of_the_agent(house: House) -> None:
    await house.agent().register()
    for change in (house.fleet.drain, house.fleet.undrain):
        house.clock.advance(7.0)
        assert (await change("stage-left", "kim")).updated_at == house.clock.time()
        assert house.fleet.agents["stage-left"].updated_at == house.clock.time()


async def test_progress_until_it_is_empty(house: House) -> None:
    agent, ids = await with_sessions(house, 3)
    await house.fleet.drain("stage-left", "kim")
    drain = house.fleet.drains["stage-left"]
    assert (drain.initial, drain.left, drain.exits, drain.done_at, drain.eta) == (3, 3, [], None, None)
    house.clock.advance(60.0)
    await leave(agent, ids[0])
    assert (house.fleet.drains["stage-left"].left, house.fleet.drains["stage-left"].per_minute) == (2, None)
    house.clock.advance(60.0)
    await leave(agent, ids[1])
    drain = house.fleet.drains["stage-left"]
    assert (drain.left, len(drain.exits), drain.per_minute) == (1, 2, 1.0)
    assert drain.eta == pytest.approx(house.clock.time() + 60.0, abs=10.0)
    await leave(agent, ids[2])
    drain = house.fleet.drains["stage-left"]
    assert (drain.left, drain.done_at, drain.eta, drain.stuck) == (0, house.clock.time(), None, "")
    assert house.fleet.agents["stage-left"].status == "draining"
    assert house.kinds("drain")[-1] == "drain.changed"


async def test_an_empty_agent_is_done_at_once(house: House) -> None:
    await house.agent().register()
    await house.fleet.drain("stage-left", "kim")
    drain = house.fleet.drains["stage-left"]
    assert (drain.initial, drain.left, drain.done_at) == (0, 0, house.clock.time())


async def test_progress_is_kept(house: House) -> None:
    agent, ids = await with_sessions(house, 2)
    await house.fleet.drain("stage-left", "kim")
    await leave(agent, ids[0])
    await house.later(5.0)
    await house.restart()
    drain = house.fleet.drains["stage-left"]
    assert (drain.initial, drain.left, len(drain.exits)) == (2, 1, 1)


async def test_why_nothing_moves(house: House) -> None:
    agent, ids = await with_sessions(house, 2)
    await house.fleet.drain("stage-left", "kim")
    for _ in range(100):
        house.clock.advance(8.99)
        await agent.beat()
    await house.later(0.0)
    assert house.fleet.drains["stage-left"].stuck == ""
    await house.later(1.0)
    assert house.fleet.drains["stage-left"].stuck == "no session has left for 15 min or longer"
    await leave(agent, ids[0])
    assert house.fleet.drains["stage-left"].stuck == ""
    await house.later(16.0)
    assert house.fleet.drains["stage-left"].stuck == "the agent's heartbeat is late"
    await agent.drop()
    await house.later(0.0)
    assert house.fleet.drains["stage-left"].stuck == "agent offline"


async def test_the_next_idle_time_out(house: House) -> None:
    _, ids = await with_sessions(house, 2, idle_timeout="30m")
    begun = house.fleet.desktops[ids[0]].last_activity
    await house.fleet.drain("stage-left", "kim")
    assert house.fleet.drains["stage-left"].next_idle == begun + 1800.0
    house.fleet.viewer_opened(ids[0], True)
    house.fleet.viewer_opened(ids[1], True)
    await house.later(0.0)
    assert house.fleet.drains["stage-left"].next_idle is None


async def test_draining_again_and_undoing_again(house: House) -> None:
    await house.agent().register()
    first = await house.fleet.drain("stage-left", "kim")
    house.clock.advance(5.0)
    assert await house.fleet.drain("stage-left", "lee") == first
    assert house.fleet.drains["stage-left"].operator == "kim"
    await house.fleet.undrain("stage-left", "lee")
    assert (await house.fleet.undrain("stage-left", "lee")).status == "online"
    assert house.kinds("drain") == ["drain.changed", "drain.ended"]


async def test_an_agent_that_is_away_can_be_drained_and_undone(house: House) -> None:
    agent = house.agent()
    await agent.register()
    await agent.drop()
    with pytest.raises(Unavailable) as caught:
        await house.fleet.undrain("stage-left", "kim")
    assert caught.value.code == "agent_offline"
    assert (await house.fleet.drain("stage-left", "kim")).status == "offline"
    assert (await house.fleet.undrain("stage-left", "kim")).status == "offline"
    for act in (house.fleet.drain, house.fleet.undrain):
        with pytest.raises(NotFound) as missing:
            await act("nobody", "kim")
        assert missing.value.code == "agent_not_found"


async def test_a_drain_that_cannot_be_kept_is_none(house: House) -> None:
    await house.agent().register()
    house.store.away = True
    with pytest.raises(Unavailable):
        await house.fleet.drain("stage-left", "kim")
    assert house.fleet.agents["stage-left"].status == "online"
    assert not house.fleet.drains
