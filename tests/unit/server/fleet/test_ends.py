"""Sessions that are deleted while their agent is away: kept, delivered once it is back, ended once."""

from __future__ import annotations

import pytest

from app.agent_protocol import Command, HeldSession, SessionEvent
from app.contract import DesktopRow
from app.errors import Conflict, Unavailable
from tests.fakes.fleet_agent import FakeAgent
from tests.unit.server.fleet.conftest import House

WAITS = "Ends when its agent 'stage-left' is back, which is offline"


async def delete(house: House, session_id: str, *, force: bool = False) -> DesktopRow:
    await house.fleet.delete(session_id, force=force, by="kim", admin=force)
    return house.fleet.desktops[session_id]


def words(row: DesktopRow) -> tuple[str, str, str]:
    return row.state, row.phase, row.message


async def nothing_is_asked(agent: FakeAgent) -> None:
    await agent.heard()
    assert not [message for message in agent.waiting if isinstance(message, Command)]


def ends(house: House, session_id: str) -> int:
    """How often the feed told that a session has ended."""
    rows = [event.change for event in house.heard if event.kind == "desktop.changed" and event.id == session_id]
    states = [row.state for row in rows if isinstance(row, DesktopRow)]
    return sum(now == "terminated" != before for before, now in zip(["", *states], states, strict=False))


@pytest.mark.parametrize("inventory", [True, False])
@pytest.mark.parametrize("state", ["running", "hibernated"])
async def test_the_end_waits_for_the_agent(house: House, state: str, inventory: bool) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    if state == "hibernated":
        await house.fleet.hibernate_all(agent.id, "kim")
        await agent.complete(await agent.command("hibernate_session"))
    await agent.drop()
    assert words(await delete(house, row.id)) == ("terminating", "Terminating", WAITS)
    assert words(await delete(house, row.id)) == ("terminating", "Terminating", WAITS)
    held = [HeldSession(session_id=row.id, state=state)] if inventory else None
    ack = await agent.register(sessions=held)
    assert ack.stop == []
    stop = await agent.command("stop_session")
    assert (stop.session_id, stop.data["graceful"], stop.data["timeout"]) == (row.id, True, "30s")
    await house.until(row.id, lambda now: words(now) == ("terminating", "Terminating", "Session is terminating"))
    await agent.complete(stop)
    assert words(house.fleet.desktops[row.id]) == ("terminated", "Terminated", "Session terminated")
    await nothing_is_asked(agent)
    assert ends(house, row.id) == 1
    assert house.fleet.gauges()["callboard_commands_open"] == 0
    assert house.fleet.agents[agent.id].sessions == 0


@pytest.mark.parametrize("clean", [True, False])
async def test_also_a_broker_that_was_restarted_keeps_it(house: House, clean: bool) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    await agent.drop()
    await delete(house, row.id)
    await house.restart(clean=clean)
    assert words(house.fleet.desktops[row.id]) == ("terminating", "Terminating", WAITS)
    assert house.fleet.agents[agent.id].status == "offline"
    agent = house.agent()
    await agent.register(sessions=[HeldSession(session_id=row.id)])
    await agent.complete(await agent.command("stop_session"))
    assert house.fleet.desktops[row.id].state == "terminated"


async def test_an_agent_that_was_restarted_and_lost_it_ends_it_too(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    await agent.drop()
    await delete(house, row.id)
    await agent.register(sessions=[])
    stop = await agent.command("stop_session")
    await house.until(row.id, lambda now: now.message == "Session is terminating")
    await agent.say(SessionEvent(session_id=row.id, event="exited", generation=row.generation))
    await agent.heard()
    assert house.fleet.desktops[row.id].state == "terminating"
    await agent.complete(stop)
    assert house.fleet.desktops[row.id].state == "terminated"
    assert ends(house, row.id) == 1


async def test_beyond_the_grace_it_is_shown_and_goes_nowhere(house: House) -> None:
    agent, other = house.agent(), house.agent("stage-right")
    await agent.register()
    house.fleet.templates["xterm"].failover = "restart"
    row = await house.running(agent)
    kept = await house.running(agent, user="ada", persistent_home=True)
    await other.register()
    await agent.drop()
    await delete(house, row.id)
    await house.later(60.0, other)
    assert words(house.fleet.desktops[row.id]) == ("terminating", "Unknown", WAITS)
    assert words(house.fleet.desktops[kept.id]) == ("running", "Unknown", "agent offline")
    assert words(await delete(house, kept.id)) == ("terminating", "Unknown", WAITS)
    with pytest.raises(Conflict) as caught:
        await house.create(user="ada", persistent_home=True)
    assert caught.value.code == "session_already_exists"
    await nothing_is_asked(other)
    assert house.fleet.agents[agent.id].sessions == 2
    await agent.register(sessions=[HeldSession(session_id=one.id) for one in (row, kept)])
    for _ in (row, kept):
        await agent.complete(await agent.command("stop_session"))
    assert {one.state for one in house.fleet.desktops.values()} == {"terminated"}
    assert house.fleet.agents[agent.id].sessions == 0


async def test_one_that_waits_is_ended_by_force(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    await agent.drop()
    await house.later(60.0)
    await delete(house, row.id)
    assert words(await delete(house, row.id, force=True)) == ("terminated", "Terminated", "Session ended by force")
    assert house.fleet.agents[agent.id].sessions == 0
    ack = await agent.register(sessions=[HeldSession(session_id=row.id)])
    assert ack.stop == [row.id]
    stop = await agent.command("stop_session")
    assert stop.data["graceful"] is False
    await agent.complete(stop)
    await nothing_is_asked(agent)
    assert words(house.fleet.desktops[row.id]) == ("terminated", "Terminated", "Session ended by force")
    assert ends(house, row.id) == 1


async def test_what_its_agent_never_saw_ends_at_once(house: House) -> None:
    agent = house.agent(slots=20)
    await agent.register()
    reserved = await house.create(user="ada", state="hibernated")
    starts = [await house.create(user=f"u{number}") for number in range(9)]
    for _ in range(8):
        await agent.command("start_session")
    await agent.drop()
    assert (await delete(house, reserved.id)).state == "terminated"
    assert (await delete(house, starts[8].id)).state == "terminated"
    assert words(await delete(house, starts[0].id)) == ("terminating", "Terminating", WAITS)


async def test_a_start_that_is_under_way_is_stopped_behind_it(house: House) -> None:
    agent, other = house.agent(), house.agent("stage-right")
    await agent.register()
    row = await house.create()
    first = await agent.command("start_session")
    await other.register()
    await agent.drop()
    await delete(house, row.id)
    await house.later(60.0, other)
    await nothing_is_asked(other)
    await agent.register(sessions=[])
    again = await agent.command("start_session")
    assert again.command_id == first.command_id
    await agent.complete(again)
    await house.until(row.id, lambda now: now.started_at is not None)
    assert house.fleet.desktops[row.id].state == "terminating"
    await agent.complete(await agent.command("stop_session"))
    assert house.fleet.desktops[row.id].state == "terminated"


async def test_a_result_of_before_does_not_revive_it(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    await house.fleet.hibernate_all(agent.id, "kim")
    asleep = await agent.command("hibernate_session")
    await agent.drop()
    await delete(house, row.id)
    await agent.open()
    await agent.register(sessions=[HeldSession(session_id=row.id, state="hibernated")])
    again = await agent.command("hibernate_session")
    assert again.command_id == asleep.command_id
    await agent.complete(again)
    assert house.fleet.desktops[row.id].state == "terminating"
    await agent.complete(await agent.command("stop_session"))
    assert house.fleet.desktops[row.id].state == "terminated"


async def test_a_drain_counts_it_until_it_has_ended(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    await house.fleet.drain(agent.id, "kim")
    await agent.drop()
    await delete(house, row.id)
    await house.later(5.0)
    drain = house.fleet.drains[agent.id]
    assert (drain.left, drain.exits, drain.stuck, drain.done_at) == (1, [], "agent offline", None)
    await agent.register()
    await agent.complete(await agent.command("stop_session"))
    assert house.fleet.drains[agent.id].left == 0
    assert len(house.fleet.drains[agent.id].exits) == 1


async def test_terminate_all_waits_as_well(house: House) -> None:
    agent = house.agent()
    await agent.register()
    rows = [await house.running(agent, user=f"u{number}") for number in range(2)]
    await agent.drop()
    bulk = await house.fleet.terminate_all(agent.id, "kim")
    assert (sorted(bulk.done), bulk.refused) == (sorted(row.id for row in rows), {})
    assert {words(row) for row in house.fleet.desktops.values()} == {("terminating", "Terminating", WAITS)}
    await agent.register()
    for _ in rows:
        await agent.complete(await agent.command("stop_session"))
    assert {row.state for row in house.fleet.desktops.values()} == {"terminated"}


async def test_who_is_ended_by_force_while_beginning_has_a_place_until_the_agent_answers(house: House) -> None:
    agent = house.agent(slots=1)
    await agent.register()
    row = await house.create()
    start = await agent.command("start_session")
    assert words(await delete(house, row.id, force=True))[0] == "terminated"
    with pytest.raises(Unavailable) as full:
        await house.create()
    assert full.value.code == "agent_capacity_exceeded"
    await agent.complete(start)
    assert (await agent.command("stop_session")).session_id == row.id
    following = await house.create()
    assert (await agent.command("start_session")).session_id == following.id
