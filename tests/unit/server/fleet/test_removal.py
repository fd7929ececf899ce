"""Agents that are taken off the board: what goes with them, what that is told, and what a return finds."""

from __future__ import annotations

import asyncio

import pytest

from app.agent_protocol import HeldSession
from app.contract import AgentRow, DesktopRow, Gone
from app.errors import Conflict, NotFound, Unavailable
from tests.fakes.fleet_agent import FakeAgent
from tests.unit.server.fleet.conftest import House

FIREFOX = "firefox-browser"
LEFT = "stage-left"
WORDS = f"Its agent '{LEFT}' was removed"


async def refused(house: House, kind: type[Exception], agent_id: str = LEFT) -> str:
    with pytest.raises(kind) as caught:
        await house.fleet.remove_agent(agent_id, "kim")
    return str(getattr(caught.value, "code", ""))


async def a_full_one(house: House) -> tuple[FakeAgent, list[DesktopRow]]:
    """An offline agent that drains, with a session in each state that can be."""
    agent = house.agent()
    await agent.register()
    running = await house.running(agent, user="ada", persistent_home=True)
    await house.running(agent, user="bo")
    await house.fleet.hibernate_all(LEFT, "kim")
    for _ in range(2):
        await agent.complete(await agent.command("hibernate_session"))
    waking = asyncio.ensure_future(house.fleet.change_state(running.id, "running", by="kim", admin=True))
    await agent.complete(await agent.command("wake_session"))
    await waking
    ends = await house.running(agent, user="cy")
    await house.create(user="di")
    await agent.command("start_session")
    await house.create(user="ed", state="hibernated")
    await house.fleet.drain(LEFT, "kim")
    await agent.drop()
    await house.fleet.delete(ends.id, force=False, by="kim", admin=False)
    return agent, house.fleet.sessions_of(LEFT)


async def test_everything_of_it_goes_in_one_commit(house: House) -> None:
    agent, rows = await a_full_one(house)
    assert sorted(row.state for row in rows) == ["hibernated", "hibernated", "pending", "running", "terminating"]
    seen = len(house.heard)
    commits = house.store.commits
    ended = await house.fleet.remove_agent(LEFT, "kim")
    assert house.store.commits - commits == 2, (
        "one of everything, behind one of nothing that waits for what is under way"
    )
    assert sorted(row.id for row in ended) == sorted(row.id for row in rows)
    assert {(row.state, row.phase, row.message) for row in house.fleet.desktops.values()} == {
        ("terminated", "Terminated", WORDS)
    }
    assert all(row.ended_at == house.clock.time() for row in ended)
    assert (dict(house.fleet.agents), dict(house.fleet.drains)) == ({}, {})
    assert house.fleet.gauges()["callboard_commands_open"] == 0
    told = [event for event in house.heard[seen:] if event.kind != "agent.beat"]
    assert [event.kind for event in told] == ["drain.ended", *["desktop.changed"] * 5, "agent.removed"]
    assert told[0].change == told[-1].change == Gone("removed", by="kim")
    assert told[-1].id == LEFT
    assert await refused(house, NotFound) == "agent_not_found"
    await house.restart()
    assert (dict(house.fleet.agents), dict(house.fleet.drains)) == ({}, {})
    assert {row.state for row in house.fleet.desktops.values()} == {"terminated"}
    assert house.fleet.gauges()["callboard_commands_open"] == 0
    assert agent.connection.over


async def test_it_is_refused_while_it_is_connected(house: House) -> None:
    agent = house.agent()
    await agent.register()
    assert await refused(house, Conflict) == "agent_connected"
    await house.fleet.drain(LEFT, "kim")
    assert await refused(house, Conflict) == "agent_connected"
    assert house.fleet.agents[LEFT].status == "draining"
    assert await refused(house, NotFound, "nobody") == "agent_not_found"


async def test_nothing_goes_where_the_database_is_away(house: House) -> None:
    _, rows = await a_full_one(house)
    before = house.fleet.snapshot()
    house.store.away = True
    assert await refused(house, Unavailable) == "unavailable"
    assert house.fleet.snapshot() == before
    house.store.away = False
    assert len(await house.fleet.remove_agent(LEFT, "kim")) == len(rows)


async def test_one_that_returns_is_new_and_told_what_is_stale(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    old = house.fleet.agents[LEFT]
    await agent.drop()
    await house.fleet.remove_agent(LEFT, "kim")
    house.clock.advance(5.0)
    ack = await agent.register(sessions=[HeldSession(session_id=row.id)])
    assert ack.stop == [row.id]
    new = house.fleet.agents[LEFT]
    assert (new.status, new.sessions, new.uuid == old.uuid, new.created_at > old.created_at) == (
        "online",
        0,
        False,
        True,
    )
    assert house.fleet.desktops[row.id].message == WORDS
    again = await house.running(agent)
    assert house.fleet.sessions_of(LEFT) == [again]
    assert house.fleet.agents[LEFT].sessions == 1


async def test_its_user_may_begin_anew_elsewhere_with_the_same_home(house: House) -> None:
    agent, other = house.agent(), house.agent("stage-right")
    await agent.register()
    await house.running(agent, persistent_home=True)
    await agent.drop()
    await other.register()
    with pytest.raises(Conflict):
        await house.create(persistent_home=True)
    await house.fleet.remove_agent(LEFT, "kim")
    assert (await house.create(persistent_home=True)).agent_id == "stage-right"


async def test_what_moved_elsewhere_stays_and_its_fence_goes(house: House) -> None:
    lost, other = house.agent("a", "docker"), house.agent("b", "docker")
    await lost.register()
    row = await house.create(template=FIREFOX)
    await lost.command("start_session")
    await other.register()
    await lost.drop()
    await house.later(60.0, other)
    await other.complete(await other.command("start_session"))
    assert house.fleet.gauges()["callboard_commands_open"] == 1
    assert await house.fleet.remove_agent("a", "kim") == []
    assert house.fleet.gauges()["callboard_commands_open"] == 0
    assert (house.fleet.desktops[row.id].state, house.fleet.desktops[row.id].agent_id) == ("running", "b")
    ack = await lost.register(sessions=[HeldSession(session_id=row.id)])
    assert ack.stop == [row.id]
    assert house.fleet.agents["b"].sessions == 1


async def test_a_session_that_is_being_made_on_it_ends_with_it(house: House) -> None:
    agent = house.agent()
    await agent.register()
    house.store.gate = asyncio.Event()
    making = asyncio.ensure_future(house.create())
    while not house.store.waiting_at_gate:
        await asyncio.sleep(0)
    await agent.drop()
    removing = asyncio.ensure_future(house.fleet.remove_agent(LEFT, "kim"))
    house.store.gate.set()
    row = await making
    assert [each.id for each in await removing] == [row.id]
    assert house.fleet.desktops[row.id].state == "terminated"
    assert house.fleet.gauges()["callboard_commands_open"] == 0


async def waiting(house: House, count: int) -> None:
    async with asyncio.timeout(10):
        while house.store.waiting_at_gate < count:
            await asyncio.sleep(0)


async def somewhat() -> None:
    """As far as others come without waiting."""
    for _ in range(20):
        await asyncio.sleep(0)


async def a_removal_behind_tags(
    house: House,
) -> tuple[FakeAgent, asyncio.Event, asyncio.Future[DesktopRow], asyncio.Future[list[DesktopRow]]]:
    """Its one session is being tagged, and the removal waits for that."""
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    await agent.drop()
    gate = house.store.gate = asyncio.Event()
    tagging = asyncio.ensure_future(house.fleet.set_tags(row.id, ["x"], "kim"))
    await waiting(house, 1)
    house.store.gate = None
    removing = asyncio.ensure_future(house.fleet.remove_agent(LEFT, "kim"))
    await somewhat()
    assert not removing.done()
    return agent, gate, tagging, removing


async def test_what_is_changed_meanwhile_is_not_lost(house: House) -> None:
    agent, first, tagging, removing = await a_removal_behind_tags(house)
    house.store.gate = asyncio.Event()
    first.set()
    await tagging
    await waiting(house, 1)
    draining = asyncio.ensure_future(house.fleet.drain(LEFT, "kim"))
    old = house.fleet.agents[LEFT]
    house.clock.advance(5.0)
    registering = asyncio.ensure_future(agent.register())
    await somewhat()
    house.store.gate.set()
    assert [each.tags for each in await removing] == [["x"]]
    with pytest.raises(NotFound):
        await draining
    await registering
    new = house.fleet.agents[LEFT]
    assert (new.status, dict(house.fleet.drains)) == ("online", {})
    assert (new.uuid == old.uuid, new.created_at > old.created_at) == (False, True), "it came back as the old one"
    await house.restart()
    [kept] = house.fleet.desktops.values()
    assert (kept.state, kept.tags) == ("terminated", ["x"])
    assert isinstance(house.fleet.agents[LEFT], AgentRow)


async def test_one_that_returns_while_its_sessions_are_waited_for_stays(house: House) -> None:
    agent, gate, tagging, removing = await a_removal_behind_tags(house)
    async with asyncio.timeout(10):
        await agent.register(sessions=[HeldSession(session_id=row.id) for row in house.fleet.sessions_of(LEFT)])
    gate.set()
    await tagging
    with pytest.raises(Conflict) as caught:
        await removing
    assert caught.value.code == "agent_connected"
    [row] = house.fleet.sessions_of(LEFT)
    assert (house.fleet.agents[LEFT].status, row.state, row.tags) == ("online", "running", ["x"])


@pytest.mark.parametrize("behind", ["a session", "what is under way"])
async def test_a_removal_that_is_given_up_before_its_commit_holds_nothing(house: House, behind: str) -> None:
    agent, gate, tagging, removing = await a_removal_behind_tags(house)
    if behind == "what is under way":
        again = house.store.gate = asyncio.Event()
        gate.set()
        await tagging
        await waiting(house, 1)
        gate, house.store.gate = again, None
    removing.cancel()
    await asyncio.wait([removing])
    async with asyncio.timeout(10):
        await house.fleet.drain(LEFT, "kim")
        await agent.register(sessions=[HeldSession(session_id=row.id) for row in house.fleet.sessions_of(LEFT)])
        assert house.fleet.agents[LEFT].status == "draining"
        gate.set()
        await tagging
        await agent.drop()
        assert len(await house.fleet.remove_agent(LEFT, "kim")) == 1


async def test_nobody_waits_for_it_and_nothing_is_offered_in_its_name(house: House) -> None:
    agent = house.agent("truck", "attach", attached=[{"name": "media-1", "title": "Media server"}])
    await agent.register()
    assert "media-1" in house.fleet.templates
    await agent.drop()
    assert "media-1" in house.fleet.templates
    await house.fleet.remove_agent("truck", "kim")
    assert "media-1" not in house.fleet.templates
    await house.later(60.0)
    assert dict(house.fleet.agents) == {}
    with pytest.raises(NotFound):
        await house.fleet.undrain("truck", "kim")
