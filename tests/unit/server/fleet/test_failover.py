"""Agents that do not come back, and those that do."""

from __future__ import annotations

import asyncio

import pytest

from app.agent_protocol import Command, CommandResult, HeldSession
from app.errors import Unavailable
from tests.unit.server.fleet.conftest import House

FIREFOX = "firefox-browser"


async def test_offline_at_once_and_nothing_else_within_the_grace(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    await agent.drop()
    assert house.fleet.agents["stage-left"].status == "offline"
    await house.later(59.0)
    assert house.fleet.desktops[row.id].phase == "Running"
    await agent.register()
    await house.later(60.0)
    assert house.fleet.desktops[row.id].phase == "Running"


async def test_running_sessions_keep_their_state_and_are_unknown(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    await agent.drop()
    await house.later(60.0)
    row = house.fleet.desktops[row.id]
    assert (row.state, row.phase, row.message, row.agent_id) == ("running", "Unknown", "agent offline", "stage-left")
    await agent.register()
    row = await house.until(row.id, lambda row: row.phase == "Running")
    assert row.message == "Session is running"


async def test_unknown_sessions_come_back_with_an_inventory_too(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    await agent.drop()
    await house.later(60.0)
    await agent.register(sessions=[HeldSession(session_id=row.id)])
    await house.until(row.id, lambda row: row.phase == "Running")


async def test_pending_sessions_go_to_the_same_region_first(house: House) -> None:
    lost = house.agent("a", "docker", region="east")
    await lost.register()
    row = await house.create(template=FIREFOX)
    first = await lost.command("start_session")
    near, far = house.agent("z", "docker", region="east"), house.agent("b", "docker", region="west")
    await near.register()
    await far.register()
    await house.agent("c", "kubernetes", region="east").register()
    await lost.drop()
    await house.later(60.0, near, far)
    again = await near.command("start_session")
    assert (again.session_id, again.generation) == (row.id, 2)
    assert again.command_id != first.command_id
    moved = house.fleet.desktops[row.id]
    assert (moved.agent_id, moved.generation, moved.state, moved.phase) == ("z", 2, "pending", "Pending")
    assert (house.fleet.agents["a"].sessions, house.fleet.agents["z"].sessions) == (0, 1)
    await near.complete(again)
    assert house.fleet.desktops[row.id].state == "running"


async def test_the_old_agent_is_told_to_stop_what_moved_and_harms_nothing(house: House) -> None:
    lost, other = house.agent("a", "docker"), house.agent("b", "docker", slots=0)
    await lost.register()
    row = await house.create(template=FIREFOX)
    start = await lost.command("start_session")
    await lost.drop()
    await other.register(sessions=[])
    await other.drop()
    other.slots = 5
    await other.register()
    await house.later(60.0, other)
    await other.complete(await other.command("start_session"))
    await lost.open()
    await lost.say(CommandResult(command_id=start.command_id, status="completed"))
    ack = await lost.register(sessions=[HeldSession(session_id=row.id, generation=1)])
    assert ack.stop == [row.id]
    stop = await lost.command("stop_session")
    assert (stop.generation, stop.data["graceful"], stop.data["delete_home"]) == (1, False, False)
    await lost.complete(stop)
    assert (house.fleet.desktops[row.id].state, house.fleet.desktops[row.id].agent_id) == ("running", "b")
    assert house.fleet.gauges()["callboard_commands_open"] == 0


async def test_with_nowhere_to_go_a_pending_session_waits_and_says_so(house: House) -> None:
    lost = house.agent("a", "docker")
    await lost.register()
    row = await house.create(template=FIREFOX)
    await lost.command()
    await lost.drop()
    await house.later(60.0)
    waiting = house.fleet.desktops[row.id]
    assert (waiting.state, waiting.phase) == ("pending", "Unknown")
    assert "No online agents" in waiting.message
    await house.later(6.0)
    other = house.agent("b", "docker")
    await other.register()
    await house.later(6.0)
    await other.complete(await other.command("start_session"))
    assert house.fleet.desktops[row.id].agent_id == "b"


async def test_a_pending_session_whose_agent_returns_stays_there(house: House) -> None:
    lost = house.agent("a", "docker")
    await lost.register()
    row = await house.create(template=FIREFOX)
    first = await lost.command()
    await lost.drop()
    await house.later(60.0)
    await lost.register()
    again = await lost.command("start_session")
    assert again.command_id == first.command_id
    await lost.complete(again)
    assert house.fleet.desktops[row.id].state == "running"
    assert house.fleet.desktops[row.id].phase == "Running"


async def test_a_failure_of_the_database_only_delays(house: House) -> None:
    lost, other = house.agent("a", "docker"), house.agent("b", "docker")
    await lost.register()
    row = await house.create(template=FIREFOX)
    await lost.command()
    await other.register()
    await lost.drop()
    house.store.away = True
    await house.later(60.0, other)
    assert house.fleet.desktops[row.id].agent_id == "a"
    house.store.away = False
    await house.later(6.0)
    assert house.fleet.desktops[row.id].agent_id == "b"


@pytest.mark.parametrize(
    ("platform", "home", "restarts"),
    [("docker", False, True), ("docker", True, False), ("kubernetes", True, True)],
)
async def test_only_templates_that_say_so_are_begun_anew(
    house: House, platform: str, home: bool, restarts: bool
) -> None:
    house.fleet.templates[FIREFOX].failover = "restart"
    lost, other = house.agent("a", platform), house.agent("b", platform)
    await lost.register()
    row = await house.running(lost, template=FIREFOX, persistent_home=home)
    await other.register()
    await lost.drop()
    await house.later(60.0, other)
    now = house.fleet.desktops[row.id]
    assert (now.agent_id, now.state) == (("b", "pending") if restarts else ("a", "running"))
    assert now.phase == ("Pending" if restarts else "Unknown")


async def test_after_a_restart_of_the_broker_everybody_has_the_grace_anew(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    await house.restart()
    await house.later(59.0)
    assert house.fleet.desktops[row.id].phase == "Running"
    await house.later(1.0)
    assert house.fleet.desktops[row.id].phase == "Unknown"


async def test_hibernated_sessions_of_a_lost_agent_cannot_be_woken(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    task = asyncio.ensure_future(house.fleet.change_state(row.id, "hibernated", by="kim", admin=False))
    await agent.complete(await agent.command())
    await task
    await agent.drop()
    await house.later(60.0)
    assert (house.fleet.desktops[row.id].state, house.fleet.desktops[row.id].phase) == ("hibernated", "Unknown")
    with pytest.raises(Unavailable) as caught:
        await house.fleet.change_state(row.id, "running", by="kim", admin=False)
    assert caught.value.code == "agent_offline"
    await agent.register()
    row = await house.until(row.id, lambda row: row.phase == "Hibernated")
    assert not [message for message in agent.waiting if isinstance(message, Command)]
