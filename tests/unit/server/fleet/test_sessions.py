"""What people do with sessions, and what they are told when they may not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.agent_protocol import Command
from app.errors import CallboardError, Conflict, Forbidden, Invalid, NotFound, Unavailable
from app.server.fleet.registry import SessionWanted
from tests.unit.server.fleet.conftest import House


async def refused(awaited: Any, code: str, kind: type[CallboardError] = CallboardError) -> CallboardError:
    with pytest.raises(kind) as caught:
        await awaited
    assert caught.value.code == code
    return caught.value


def change(house: House, session_id: str, state: str, *, admin: bool = False) -> asyncio.Task[Any]:
    return asyncio.ensure_future(house.fleet.change_state(session_id, state, by="kim", admin=admin))


# Creating.


async def test_the_answer_is_pending_with_its_agent_and_the_command_follows(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.create(tags=["a", "b", "a"], resources={"memory": "1Gi"})
    assert (row.state, row.phase, row.agent_id, row.platform) == ("pending", "Pending", "stage-left", "local")
    assert row.message == "Session provisioning in progress..."
    assert (row.namespace, row.pod_ip, row.generation) == ("streamspace", None, 1)
    assert row.resources == {"memory": "1Gi", "cpu": "500m"}
    assert row.tags == ["a", "b"]
    command = await agent.command("start_session")
    assert command.session_id == row.id
    assert command.data["name"] == row.name
    assert command.data["user"] == "john.doe"
    assert command.data["command"][0] == "xterm"
    assert command.data["resources"] == row.resources
    assert command.data["generation"] == 1


async def test_a_session_runs_when_its_agent_says_so(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.create()
    command = await agent.command()
    await agent.complete(
        command, pod_ip="10.42.1.5", pod_name="p", vnc_port=5900, container_id="c", limits="soft",
        platform_metadata={"deployment_name": "d"}, started_at="2025-11-22T10:45:12Z",
    )  # fmt: skip
    row = await house.until(row.id, lambda row: row.state == "running")
    assert (row.phase, row.message) == ("Running", "Session is running")
    assert (row.pod_ip, row.pod_name, row.vnc_port, row.container_id, row.limits) == (
        "10.42.1.5",
        "p",
        5900,
        "c",
        "soft",
    )
    assert row.platform_metadata == {"deployment_name": "d"}
    assert row.started_at == 1763808312.0


async def test_a_failed_start_ends_the_session_with_the_agents_words(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.create()
    await agent.fail(await agent.command(), "Failed to create pod: insufficient resources")
    row = house.fleet.desktops[row.id]
    assert (row.state, row.phase, row.error_code) == ("terminated", "Failed", "INSUFFICIENT_RESOURCES")
    assert row.message == "Failed to create pod: insufficient resources"
    assert row.ended_at is not None
    assert house.fleet.agents["stage-left"].sessions == 0


async def test_created_hibernated_sends_nothing_until_it_wakes(house: House) -> None:
    agent = house.agent(slots=1)
    await agent.register()
    row = await house.create(state="hibernated")
    assert (row.state, row.phase, row.agent_id) == ("hibernated", "Hibernated", "stage-left")
    assert house.fleet.agents["stage-left"].sessions == 0
    waking = change(house, row.id, "running")
    await agent.complete(await agent.command("start_session"))
    assert (await waking).state == "running"
    assert house.fleet.agents["stage-left"].sessions == 1


async def test_created_hibernated_and_ended_without_its_agent(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.create(state="hibernated")
    await agent.drop()
    await house.fleet.delete(row.id, force=False, by="kim", admin=False)
    assert house.fleet.desktops[row.id].state == "terminated"


async def test_a_first_start_goes_elsewhere_when_the_own_agent_is_away(house: House) -> None:
    agent, other = house.agent("a"), house.agent("b")
    await agent.register()
    row = await house.create(state="hibernated")
    await other.register()
    await agent.drop()
    waking = change(house, row.id, "running")
    await other.complete(await other.command("start_session"))
    assert (await waking).agent_id == "b"
    assert (house.fleet.agents["a"].sessions, house.fleet.agents["b"].sessions) == (0, 1)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"template": "nothing"}, "template_not_found"),
        ({"platform": "vm"}, "validation_failed"),
        ({"platform": "docker"}, "template_invalid"),
        ({"platform": "kubernetes", "template": "firefox-browser"}, "no_agents_available"),
        ({"resources": {"memory": "much"}}, "validation_failed"),
        ({"resources": {"gpu": "1"}}, "validation_failed"),
        ({"idle_timeout": "soon"}, "validation_failed"),
        ({"tags": ["a,b"]}, "validation_failed"),
        ({"tags": ["x"] * 51}, "validation_failed"),
        ({"state": "terminated"}, "validation_failed"),
        ({"user": " "}, "validation_failed"),
        ({"agent_id": "nobody"}, "agent_not_found"),
    ],
)
async def test_what_cannot_be_created(house: House, fields: dict[str, Any], code: str) -> None:
    await house.agent().register()
    await refused(house.create(**fields), code)
    assert not house.fleet.desktops
    assert house.fleet.agents["stage-left"].sessions == 0


async def test_nobody_is_there(house: House) -> None:
    error = await refused(house.create(platform="local"), "no_agents_available", Unavailable)
    assert error.message == "No online agents available for platform 'local'"


async def test_a_persistent_home_is_one_session_of_user_and_template(house: House) -> None:
    agent = house.agent()
    await agent.register()
    wanted = SessionWanted(user="john.doe", template="xterm", persistent_home=True)
    first = await house.fleet.create(wanted, "kim")
    await refused(house.fleet.create(wanted, "kim"), "session_already_exists", Conflict)
    await house.create(user="john.doe", persistent_home=False)
    await house.fleet.create(SessionWanted(user="other", template="xterm", persistent_home=True), "kim")
    await house.fleet.create(SessionWanted(user="john.doe", template="vlc", persistent_home=True), "kim")
    await house.fleet.delete(first.id, force=True, by="kim", admin=True)
    assert (await house.fleet.create(wanted, "kim")).state == "pending"


async def test_two_at_the_same_moment_for_one_home(house: House) -> None:
    await house.agent().register()
    wanted = SessionWanted(user="john.doe", template="xterm", persistent_home=True)
    outcomes = await asyncio.gather(*(house.fleet.create(wanted, "kim") for _ in range(5)), return_exceptions=True)
    assert sorted(type(one).__name__ for one in outcomes) == ["Conflict"] * 4 + ["DesktopRow"]


async def test_many_at_the_same_moment_never_get_more_than_the_slots(house: House) -> None:
    agent = house.agent(slots=3)
    await agent.register()
    outcomes = await asyncio.gather(*(house.create(user=f"u{n}") for n in range(8)), return_exceptions=True)
    refusals = [one for one in outcomes if isinstance(one, Unavailable)]
    assert [one.code for one in refusals] == ["agent_capacity_exceeded"] * 5
    assert house.fleet.agents["stage-left"].sessions == 3


async def test_a_session_that_could_not_be_kept_leaves_no_slot_and_no_name(house: House) -> None:
    agent = house.agent(slots=1)
    await agent.register()
    house.store.away = True
    await refused(house.create(), "unavailable", Unavailable)
    assert not house.fleet.desktops
    assert house.fleet.agents["stage-left"].sessions == 0
    house.store.away = False
    await house.create()


async def test_a_draining_agent_gets_nothing_new(house: House) -> None:
    await house.agent().register()
    await house.fleet.drain("stage-left", "kim")
    await refused(house.create(), "agent_draining", Unavailable)
    await refused(house.create(agent_id="stage-left"), "agent_draining", Unavailable)


# Changing.


async def test_hibernate_answers_when_the_agent_has_done_it_and_frees_the_slot(house: House) -> None:
    agent = house.agent(slots=1)
    await agent.register()
    row = await house.running(agent)
    task = change(house, row.id, "hibernated")
    command = await agent.command("hibernate_session")
    assert house.fleet.desktops[row.id].phase == "Hibernating"
    assert not task.done()
    await agent.complete(command)
    row = await task
    assert (row.state, row.phase, row.message) == ("hibernated", "Hibernated", "Session hibernated successfully")
    assert house.fleet.agents["stage-left"].sessions == 0


async def test_wake_straight_after_hibernate(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    first, second = change(house, row.id, "hibernated"), change(house, row.id, "running")
    await agent.complete(await agent.command("hibernate_session"))
    assert (await first).state == "hibernated"
    command = await agent.command("wake_session")
    assert house.fleet.desktops[row.id].phase == "Waking"
    assert house.fleet.agents["stage-left"].sessions == 1
    await agent.complete(command)
    assert (await second).state == "running"


async def test_a_slow_agent_leaves_the_state_and_says_what_goes_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(house.fleet._sessions, "_answer_within", 0.05)
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    slow = await house.fleet.change_state(row.id, "hibernated", by="kim", admin=False)
    assert (slow.state, slow.phase) == ("running", "Hibernating")
    behind = change(house, row.id, "running")
    first = await agent.command("hibernate_session")
    behind_row = await behind
    assert (behind_row.state, behind_row.phase) == ("running", "Waking")
    await refused(change(house, row.id, "running"), "invalid_state_transition")
    await agent.complete(first)
    assert (house.fleet.desktops[row.id].state, house.fleet.desktops[row.id].phase) == ("hibernated", "Waking")
    await agent.complete(await agent.command("wake_session"))
    assert house.fleet.desktops[row.id].state == "running"


async def test_a_failure_is_the_callers_and_leaves_the_state(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    task = change(house, row.id, "hibernated")
    await agent.fail(await agent.command(), "cannot freeze", "UNSUPPORTED")
    error = await refused(task, "provisioning_failed")
    assert error.detail == {"agent_error": "cannot freeze", "agent_error_code": "UNSUPPORTED"}
    row = house.fleet.desktops[row.id]
    assert (row.state, row.phase, row.message, row.error_code) == ("running", "Running", "cannot freeze", "UNSUPPORTED")


async def test_a_failed_wake_gives_the_slot_back(house: House) -> None:
    agent = house.agent(slots=1)
    await agent.register()
    row = await house.running(agent)
    task = change(house, row.id, "hibernated")
    await agent.complete(await agent.command())
    await task
    task = change(house, row.id, "running")
    command = await agent.command("wake_session")
    await refused(house.create(user="other"), "agent_capacity_exceeded")
    await agent.fail(command)
    await refused(task, "provisioning_failed")
    assert house.fleet.agents["stage-left"].sessions == 0
    await house.create(user="other")
    await refused(change(house, row.id, "running"), "agent_capacity_exceeded")


async def test_terminate_answers_at_once_and_ends_with_the_result(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    ending = await house.fleet.change_state(row.id, "terminating", by="kim", admin=False)
    assert (ending.state, ending.phase) == ("terminating", "Terminating")
    command = await agent.command("stop_session")
    assert (command.data["graceful"], command.data["timeout"], command.data["delete_home"]) == (True, "30s", True)
    assert house.fleet.agents["stage-left"].sessions == 1
    await refused(change(house, row.id, "running"), "session_terminating", Conflict)
    await agent.complete(command)
    row = house.fleet.desktops[row.id]
    assert (row.state, row.phase, row.message) == ("terminated", "Terminated", "Session terminated")
    assert house.fleet.agents["stage-left"].sessions == 0


async def test_a_pending_session_is_cancelled_behind_its_start(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.create()
    start = await agent.command("start_session")
    await house.fleet.delete(row.id, force=False, by="kim", admin=False)
    assert house.fleet.desktops[row.id].state == "terminating"
    await agent.complete(start)
    assert house.fleet.desktops[row.id].state == "terminating"
    await agent.complete(await agent.command("stop_session"))
    assert house.fleet.desktops[row.id].state == "terminated"


async def test_a_start_that_nobody_has_seen_is_taken_back(house: House) -> None:
    agent = house.agent(slots=20)
    await agent.register()
    rows = [await house.create(user=f"u{n}") for n in range(9)]
    for _ in range(8):
        await agent.command("start_session")
    await house.fleet.delete(rows[8].id, force=False, by="kim", admin=False)
    assert house.fleet.desktops[rows[8].id].state == "terminated"
    await agent.heard()
    assert not [message for message in agent.waiting if isinstance(message, Command)]
    assert house.fleet.agents["stage-left"].sessions == 8


async def test_force_is_at_once_and_for_administrators(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    await refused(change(house, row.id, "terminated"), "not_permitted", Forbidden)
    await refused(house.fleet.delete(row.id, force=True, by="kim", admin=False), "not_permitted", Forbidden)
    ended = await house.fleet.change_state(row.id, "terminated", by="kim", admin=True)
    assert ended.state == "terminated"
    command = await agent.command("stop_session")
    assert command.data["graceful"] is False
    await agent.fail(command)
    assert house.fleet.desktops[row.id].state == "terminated"


async def test_force_ends_what_is_terminating(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    await house.fleet.delete(row.id, force=False, by="kim", admin=False)
    await house.fleet.delete(row.id, force=True, by="kim", admin=True)
    assert house.fleet.desktops[row.id].state == "terminated"
    await agent.complete(await agent.command("stop_session"))
    assert (await agent.command("stop_session")).data["graceful"] is False


async def test_deleting_again_is_fine_and_what_never_was_is_not(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    for _ in range(3):
        await house.fleet.delete(row.id, force=False, by="kim", admin=False)
    await agent.complete(await agent.command("stop_session"))
    await house.fleet.delete(row.id, force=False, by="kim", admin=False)
    await house.fleet.delete(row.id, force=True, by="kim", admin=True)
    await refused(house.fleet.delete("never", force=False, by="kim", admin=True), "session_not_found", NotFound)
    await refused(change(house, "never", "running"), "session_not_found", NotFound)


async def test_an_agent_that_is_away_is_said_at_once_and_force_still_ends(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    await agent.drop()
    for state in ("hibernated", "terminating"):
        await refused(change(house, row.id, state), "agent_offline", Unavailable)
    assert house.fleet.desktops[row.id].state == "running"
    await house.fleet.delete(row.id, force=False, by="kim", admin=False)
    await house.fleet.delete(row.id, force=True, by="kim", admin=True)
    assert house.fleet.desktops[row.id].state == "terminated"
    await agent.register()
    await agent.complete(await agent.command("stop_session"))


async def test_an_agent_that_cannot_hibernate(house: House) -> None:
    agent = house.agent(capabilities=["vnc"])
    await agent.register()
    row = await house.running(agent)
    await refused(change(house, row.id, "hibernated"), "invalid_state_transition", Invalid)


async def test_stopping_nicely_without_success_is_forced(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    await house.fleet.delete(row.id, force=False, by="kim", admin=False)
    await agent.fail(await agent.command("stop_session"), "it does not want to")
    assert house.fleet.desktops[row.id].state == "terminating"
    command = await agent.command("stop_session")
    assert command.data["graceful"] is False
    await agent.fail(command, "still not")
    row = house.fleet.desktops[row.id]
    assert (row.state, row.phase, "still not" in row.message) == ("terminated", "Failed", True)


async def test_tags(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.create()
    assert (await house.fleet.set_tags(row.id, ["x", "y", "x"], "kim")).tags == ["x", "y"]
    await refused(house.fleet.set_tags(row.id, [" "], "kim"), "validation_failed", Invalid)
    await refused(house.fleet.set_tags("never", [], "kim"), "session_not_found", NotFound)


async def test_a_change_that_cannot_be_kept_changes_nothing(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    before = house.fleet.desktops[row.id]
    house.store.away = True
    await refused(change(house, row.id, "hibernated"), "unavailable", Unavailable)
    await refused(house.fleet.delete(row.id, force=False, by="kim", admin=False), "unavailable", Unavailable)
    assert house.fleet.desktops[row.id] == before
    await agent.heard()
    assert not [message for message in agent.waiting if isinstance(message, Command)]


async def test_a_caller_that_goes_away_does_not_undo_its_change(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    house.store.gate = asyncio.Event()
    tagging = asyncio.ensure_future(house.fleet.set_tags(row.id, ["x"], "kim"))
    while not house.store.waiting_at_gate:
        await asyncio.sleep(0)
    behind = asyncio.ensure_future(house.fleet.set_tags(row.id, ["y"], "kim"))
    tagging.cancel()
    await asyncio.wait([tagging])
    assert not behind.done()
    house.store.gate.set()
    assert (await behind).tags == ["y"]


async def test_hibernate_and_terminate_all(house: House) -> None:
    agent = house.agent()
    await agent.register()
    rows = [await house.running(agent, user=f"u{n}") for n in range(3)]
    pending = await house.create(user="late")
    late = await agent.command("start_session")
    bulk = await house.fleet.hibernate_all("stage-left", "kim")
    assert (sorted(bulk.done), bulk.refused) == (sorted(row.id for row in rows), {})
    for _ in rows:
        await agent.complete(await agent.command("hibernate_session"))
    bulk = await house.fleet.terminate_all("stage-left", "kim")
    assert sorted(bulk.done) == sorted(row.id for row in (*rows, pending))
    for _ in rows:
        await agent.complete(await agent.command("stop_session"))
    await agent.complete(late)
    await agent.complete(await agent.command("stop_session"))
    assert {row.state for row in house.fleet.desktops.values()} == {"terminated"}
    await refused(house.fleet.terminate_all("nobody", "kim"), "agent_not_found", NotFound)
