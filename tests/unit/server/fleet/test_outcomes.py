"""Results that come late, twice or for nothing; what agents tell; inventories; brokers that restart in between."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.agent_protocol import CloseCode, CommandResult, HeldSession, ResultAck, SessionEvent
from app.errors import CallboardError
from tests.fakes.fleet_agent import FakeAgent
from tests.unit.server.fleet.conftest import House


async def tell(agent: FakeAgent, session_id: str, event: Any, **fields: Any) -> None:
    await agent.say(SessionEvent(session_id=session_id, event=event, **fields))
    await agent.heard()


# Results.


async def test_a_result_twice_counts_once_and_is_answered_twice(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.create()
    command = await agent.command()
    await agent.complete(command)
    changed = house.kinds("desktop").count("desktop.changed")
    await agent.complete(command)
    assert house.kinds("desktop").count("desktop.changed") == changed
    assert house.fleet.desktops[row.id].state == "running"


async def test_a_result_that_nobody_waits_for_is_answered_and_counted(house: House) -> None:
    agent = house.agent()
    await agent.register()
    await agent.say(CommandResult(command_id="cmd-x", status="completed", result={"session_id": "y"}))
    assert (await agent.next(ResultAck)).command_id == "cmd-x"
    assert house.fleet.gauges()["callboard_agent_strays"] == 1
    assert not house.fleet.desktops


async def test_the_answer_comes_when_the_result_is_durable(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.create()
    command = await agent.command()
    house.store.away = True
    await agent.say(CommandResult(command_id=command.command_id, status="completed"))
    await agent.heard()
    assert house.fleet.desktops[row.id].state == "pending"
    house.store.away = False
    await house.later(1.0)
    await agent.settled(command)
    assert house.fleet.desktops[row.id].state == "running"


async def test_a_start_without_a_result_fails_and_is_cleaned_up(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.create()
    command = await agent.command()
    await agent.acknowledge(command)
    for _ in range(18):
        await agent.beat()
        await house.later(10.0)
    gone = await house.until(row.id, lambda row: row.state == "terminated")
    assert (gone.phase, gone.error_code) == ("Failed", "NO_RESULT")
    assert gone.message == "no result from the agent within 180 s"
    stop = await agent.command("stop_session")
    assert stop.data["graceful"] is False
    await agent.complete(command)
    assert house.fleet.desktops[row.id].state == "terminated"
    await agent.complete(stop)


async def test_an_agent_that_beats_and_takes_nothing_is_closed_and_asked_what_it_holds(house: House) -> None:
    agent = house.agent()
    await agent.register(sessions=[])
    row = await house.create()
    for _ in range(4):
        await agent.command("start_session")
        await agent.beat()
        await house.later(10.0)
    gone = await house.until(row.id, lambda row: row.state == "terminated")
    assert (gone.phase, gone.error_code) == ("Failed", "NO_ACK")
    assert (await agent.gone())[0] == CloseCode.HEARTBEAT_LOST
    ack = await agent.register(sessions=[HeldSession(session_id=row.id)])
    assert ack.stop == [row.id]
    await agent.complete(await agent.command("stop_session"))


async def test_a_late_result_still_counts_when_nothing_happened_since(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    task = asyncio.ensure_future(house.fleet.change_state(row.id, "hibernated", by="kim", admin=False))
    command = await agent.command()
    await agent.acknowledge(command)
    for _ in range(6):
        await agent.beat()
        await house.later(10.0)
    with pytest.raises(CallboardError) as caught:
        await task
    assert caught.value.code == "provisioning_failed"
    assert house.fleet.desktops[row.id].state == "running"
    await agent.say(CommandResult(command_id=command.command_id, status="completed"))
    await agent.settled(command)
    assert house.fleet.desktops[row.id].state == "hibernated"


async def test_what_begins_after_it_was_given_up_is_stopped(house: House) -> None:
    agent = house.agent()
    await agent.register(sessions=[])
    row = await house.running(agent)
    await agent.register(sessions=[])
    await house.until(row.id, lambda row: row.state == "terminated")
    begun = {"session_id": row.id, "started_at": "2026-11-22T10:45:12Z"}
    await agent.say(CommandResult(command_id="cmd-late", status="completed", result=begun))
    assert (await agent.next(ResultAck)).command_id == "cmd-late"
    await agent.complete(await agent.command("stop_session"))
    await agent.say(CommandResult(command_id="cmd-later", status="failed", result={"session_id": row.id}))
    await agent.say(CommandResult(command_id="cmd-latest", status="completed", result={"session_id": ["x"]}))
    await agent.heard()
    assert house.fleet.gauges()["callboard_commands_open"] == 0


async def test_an_end_that_is_told_again_is_not_commanded_again(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    await house.fleet.delete(row.id, force=False, by="kim", admin=False)
    stop = await agent.command("stop_session")
    await agent.complete(stop, session_id=row.id)
    await house.until(row.id, lambda row: row.state == "terminated")
    await agent.complete(stop, session_id=row.id)
    assert house.fleet.gauges()["callboard_commands_open"] == 0


async def test_a_first_start_that_was_given_up_lost_and_begins_after_all_is_stopped(house: House) -> None:
    agent = house.agent()
    await agent.register(sessions=[])
    row = await house.create(state="hibernated")
    waking = asyncio.ensure_future(house.fleet.change_state(row.id, "running", by="kim", admin=False))
    start = await agent.command("start_session")
    await agent.acknowledge(start)
    await house.later(200.0, agent)
    with pytest.raises(CallboardError):
        await waking
    await agent.register(sessions=[])
    await house.until(row.id, lambda row: row.state == "terminated")
    await agent.complete(start)
    await agent.complete(await agent.command("stop_session"))


async def test_results_that_make_no_sense_do_no_harm(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.create()
    await agent.complete(
        await agent.command(),
        vnc_port="5900",
        pod_ip=7,
        started_at="yesterday",
        platform_metadata=[],
        limits="x" * 9999,
    )
    row = house.fleet.desktops[row.id]
    assert (row.state, row.vnc_port, row.pod_ip, row.platform_metadata) == ("running", None, None, {})
    assert row.started_at == house.clock.time()
    assert len(row.limits) == 500


# What agents tell.


async def test_a_program_that_ends_ends_its_session(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    await tell(agent, row.id, "exited", message="xterm exited with 1", code="EXIT_1")
    row = house.fleet.desktops[row.id]
    assert (row.state, row.phase, row.message, row.error_code) == (
        "terminated", "Terminated", "xterm exited with 1", "EXIT_1",
    )  # fmt: skip
    assert house.fleet.agents["stage-left"].sessions == 0


async def test_an_end_that_cannot_be_kept_is_kept_later(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    house.store.away = True
    await tell(agent, row.id, "exited")
    assert house.fleet.desktops[row.id].state == "running"
    house.store.away = False
    await house.later(1.0)
    await house.until(row.id, lambda row: row.state == "terminated")


async def test_an_end_takes_back_what_was_to_be_done(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    task = asyncio.ensure_future(house.fleet.change_state(row.id, "hibernated", by="kim", admin=False))
    command = await agent.command()
    await tell(agent, row.id, "exited")
    assert (await task).state == "terminated"
    await agent.fail(command)
    assert house.fleet.gauges()["callboard_commands_open"] == 0


async def test_want_of_memory_is_said_and_the_session_goes_on(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    await tell(agent, row.id, "oom")
    row = house.fleet.desktops[row.id]
    assert (row.state, row.message, row.error_code) == ("running", "Out of memory", "OUT_OF_MEMORY")


async def test_activity_moves_forward_and_never_ahead(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    house.clock.advance(20)
    now = house.clock.time()
    await tell(agent, row.id, "activity", at=now - 5)
    assert house.fleet.desktops[row.id].last_activity == now - 5
    await tell(agent, row.id, "activity", at=now - 15)
    assert house.fleet.desktops[row.id].last_activity == now - 5
    await tell(agent, row.id, "activity", at=now + 1000)
    assert house.fleet.desktops[row.id].last_activity == now


async def test_an_agent_says_what_a_session_is(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    await tell(agent, row.id, "state", code="hibernated")
    assert house.fleet.desktops[row.id].state == "hibernated"
    await tell(agent, row.id, "state", code="nonsense")
    assert house.fleet.desktops[row.id].state == "hibernated"


async def test_others_and_older_generations_say_nothing(house: House) -> None:
    agent, other = house.agent("a"), house.agent("b")
    await agent.register()
    row = await house.running(agent)
    await other.register()
    await tell(other, row.id, "exited")
    await tell(agent, row.id, "exited", generation=0)
    await tell(agent, "never", "exited")
    assert house.fleet.desktops[row.id].state == "running"


# Inventories.


async def test_what_the_broker_does_not_know_is_to_be_stopped(house: House) -> None:
    agent, other = house.agent("a"), house.agent("b")
    await agent.register()
    await other.register()
    row = await house.running(agent, agent_id="a")
    ended = await house.running(agent, agent_id="a", user="x")
    await house.fleet.delete(ended.id, force=True, by="kim", admin=True)
    await agent.complete(await agent.command("stop_session"))
    elsewhere = await house.running(other, agent_id="b", user="y")
    held = [
        HeldSession(session_id=row.id),
        HeldSession(session_id=ended.id),
        HeldSession(session_id=elsewhere.id),
        HeldSession(session_id="never"),
        HeldSession(session_id="over", state="exited"),
    ]
    ack = await agent.register(sessions=held)
    assert ack.stop == [ended.id, elsewhere.id, "never"]
    assert house.fleet.desktops[row.id].state == "running"


async def test_an_older_generation_is_stale(house: House) -> None:
    agent = house.agent()
    await agent.register(sessions=[])
    template = house.fleet.templates["clock"]
    template.failover = "restart"
    row = await house.running(agent, template="clock")
    await agent.drop()
    await agent.register(sessions=[])
    start = await agent.command("start_session")
    assert (start.session_id, start.generation) == (row.id, 2)
    ack = await agent.register(sessions=[HeldSession(session_id=row.id, generation=1)])
    assert ack.stop == [row.id]


async def test_what_the_agent_lost_is_over(house: House) -> None:
    agent = house.agent()
    await agent.register(sessions=[])
    row = await house.running(agent)
    unstarted = await house.create(user="later", state="hibernated")
    await agent.drop()
    await agent.register(sessions=[])
    gone = await house.until(row.id, lambda row: row.state == "terminated")
    assert (gone.phase, gone.error_code) == ("Failed", "SESSION_LOST")
    assert house.fleet.desktops[unstarted.id].state == "hibernated"
    assert house.fleet.agents["stage-left"].sessions == 0


async def test_an_agent_without_an_inventory_is_believed(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    await agent.drop()
    ack = await agent.register()
    assert ack.stop == []
    assert house.fleet.desktops[row.id].state == "running"


async def test_states_are_taken_from_the_inventory(house: House) -> None:
    agent = house.agent()
    await agent.register(sessions=[])
    first, second = await house.running(agent), await house.running(agent, user="x")
    await agent.register(
        sessions=[
            HeldSession(session_id=first.id, state="hibernated"),
            HeldSession(session_id=second.id, generation=3),
        ]
    )
    await house.until(first.id, lambda row: row.state == "hibernated")
    assert (await house.until(second.id, lambda row: row.generation == 3)).state == "running"
    await agent.register(
        sessions=[
            HeldSession(session_id=first.id, state="exited"),
            HeldSession(session_id=second.id, generation=3),
        ]
    )
    await house.until(first.id, lambda row: row.state == "terminated")


async def test_a_first_start_without_a_result_may_have_begun(house: House) -> None:
    agent = house.agent()
    await agent.register(sessions=[])
    row = await house.create(state="hibernated")
    waking = asyncio.ensure_future(house.fleet.change_state(row.id, "running", by="kim", admin=False))
    await agent.acknowledge(await agent.command("start_session"))
    await house.later(200.0, agent)
    with pytest.raises(CallboardError):
        await waking
    assert house.fleet.desktops[row.id].state == "hibernated"
    await agent.register(sessions=[HeldSession(session_id=row.id, result={"vnc_port": 5901})])
    row = await house.until(row.id, lambda row: row.state == "running")
    assert row.vnc_port == 5901
    await house.fleet.delete(row.id, force=False, by="kim", admin=False)
    await agent.complete(await agent.command("stop_session"))


async def test_a_first_start_without_a_result_is_stopped_too(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.create(state="hibernated")
    waking = asyncio.ensure_future(house.fleet.change_state(row.id, "running", by="kim", admin=False))
    await agent.acknowledge(await agent.command("start_session"))
    await house.later(200.0, agent)
    with pytest.raises(CallboardError):
        await waking
    await house.fleet.delete(row.id, force=False, by="kim", admin=False)
    await agent.complete(await agent.command("stop_session"))
    assert house.fleet.desktops[row.id].state == "terminated"


async def test_a_home_that_stays_without_processes_can_begin_anew(house: House) -> None:
    agent = house.agent()
    await agent.register(sessions=[])
    house.fleet.templates["clock"].hibernate = "stop"
    row = await house.running(agent, template="clock")
    task = asyncio.ensure_future(house.fleet.change_state(row.id, "hibernated", by="kim", admin=False))
    await agent.complete(await agent.command("hibernate_session"))
    await task
    await agent.register(sessions=[])
    await house.until(row.id, lambda row: row.started_at is None)
    task = asyncio.ensure_future(house.fleet.change_state(row.id, "running", by="kim", admin=False))
    await agent.complete(await agent.command("start_session"))
    assert (await task).state == "running"


# Restarts of the broker.


async def test_a_restarted_broker_sends_the_same_command_again(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.create()
    command = await agent.command()
    await house.restart()
    assert house.fleet.desktops[row.id].state == "pending"
    assert house.fleet.agents["stage-left"].sessions == 1
    agent = house.agent()
    await agent.register()
    again = await agent.command("start_session")
    assert (again.command_id, again.data) == (command.command_id, command.data)
    await agent.complete(again)
    assert house.fleet.desktops[row.id].state == "running"


async def test_a_result_that_a_killed_broker_had_not_kept(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.create()
    command = await agent.command()
    house.store.gate = asyncio.Event()
    await agent.say(CommandResult(command_id=command.command_id, status="completed"))
    while not house.store.waiting_at_gate:
        await asyncio.sleep(0)
    house.store.kept = dict(house.store.kept)
    await house.restart()
    agent = house.agent()
    await agent.register()
    await agent.complete(await agent.command("start_session"))
    assert house.fleet.desktops[row.id].state == "running"


async def test_what_an_earlier_broker_may_have_sent_is_stopped_not_taken_back(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.create()
    await agent.command()
    await house.restart()
    agent = house.agent()
    await agent.register()
    await house.fleet.delete(row.id, force=False, by="kim", admin=False)
    assert house.fleet.desktops[row.id].state == "terminating"
    await agent.complete(await agent.command("start_session"))
    await agent.complete(await agent.command("stop_session"))
    assert house.fleet.desktops[row.id].state == "terminated"


async def test_a_restart_keeps_everything_that_was_answered(house: House) -> None:
    agent = house.agent()
    await agent.register()
    rows = [await house.running(agent, user=f"u{n}") for n in range(4)]
    await house.fleet.drain("stage-left", "kim")
    before = {row.id: (row.state, row.name, row.agent_id) for row in house.fleet.desktops.values()}
    await house.restart()
    assert {row.id: (row.state, row.name, row.agent_id) for row in house.fleet.desktops.values()} == before
    assert house.fleet.agents["stage-left"].status == "offline"
    assert house.fleet.agents["stage-left"].sessions == len(rows)
    await house.agent().register()
    assert house.fleet.agents["stage-left"].status == "draining"
