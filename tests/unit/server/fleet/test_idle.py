"""What nobody uses is hibernated; what counts as use."""

from __future__ import annotations

import pytest

from app.agent_protocol import AgentLoad, Command, SessionLoad
from app.contract import DesktopRow
from tests.fakes.fleet_agent import FakeAgent
from tests.unit.server.fleet.conftest import House


async def session(house: House, timeout: str | None = "30m", **fields: object) -> tuple[FakeAgent, DesktopRow]:
    agent = house.agent(**fields)
    await agent.register()
    return agent, await house.running(agent, idle_timeout=timeout)


async def passes(house: House, agent: FakeAgent, seconds: float) -> None:
    """Time, with an agent that stays alive in it."""
    for _ in range(int(seconds // 10)):
        house.clock.advance(10.0)
        await agent.beat()
    await house.later(seconds % 10)


def sent(agent: FakeAgent) -> list[str]:
    return [message.command_type for message in agent.waiting if isinstance(message, Command)]


async def test_after_the_time_out(house: House) -> None:
    agent, row = await session(house)
    await passes(house, agent, 1799.0)
    assert sent(agent) == []
    await house.later(1.0)
    await agent.complete(await agent.command("hibernate_session"))
    assert house.fleet.desktops[row.id].state == "hibernated"
    await passes(house, agent, 1800.0)
    assert sent(agent) == []


async def test_a_viewer_in_control_is_use_and_the_clock_runs_from_its_end(house: House) -> None:
    agent, row = await session(house)
    house.fleet.viewer_opened(row.id, True)
    await passes(house, agent, 3600.0)
    assert sent(agent) == []
    assert house.fleet.desktops[row.id].last_activity == house.clock.time()
    house.fleet.viewer_closed(row.id, True)
    await passes(house, agent, 1790.0)
    assert sent(agent) == []
    await passes(house, agent, 10.0)
    assert sent(agent) == ["hibernate_session"]


async def test_two_viewers_and_one_leaves(house: House) -> None:
    agent, row = await session(house)
    house.fleet.viewer_opened(row.id, True)
    house.fleet.viewer_opened(row.id, True)
    house.fleet.viewer_closed(row.id, True)
    await passes(house, agent, 3600.0)
    assert sent(agent) == []


async def test_looking_on_is_no_use(house: House) -> None:
    agent, row = await session(house)
    house.fleet.viewer_opened(row.id, False)
    await passes(house, agent, 1800.0)
    assert sent(agent) == ["hibernate_session"]
    house.fleet.viewer_closed(row.id, False)


async def test_input_that_the_agent_saw_is_use(house: House) -> None:
    agent, row = await session(house)
    await passes(house, agent, 1000.0)
    await agent.beat(load=AgentLoad(sessions=[SessionLoad(session_id=row.id, active_at=house.clock.time())]))
    await passes(house, agent, 1790.0)
    assert sent(agent) == []
    await passes(house, agent, 10.0)
    assert sent(agent) == ["hibernate_session"]


async def test_never(house: House) -> None:
    agent, _ = await session(house, "0")
    await house.running(agent, user="other", idle_timeout=None)
    await passes(house, agent, 7200.0)
    assert sent(agent) == []


async def test_an_agent_that_cannot_hibernate_is_left_alone(house: House) -> None:
    agent, _ = await session(house, capabilities=["vnc"])
    await passes(house, agent, 3600.0)
    assert sent(agent) == []


async def test_a_restarted_broker_gives_a_whole_time_out(house: House) -> None:
    agent, _ = await session(house)
    await passes(house, agent, 1790.0)
    await house.restart()
    agent = house.agent()
    await agent.register()
    await passes(house, agent, 1790.0)
    assert sent(agent) == []
    await passes(house, agent, 10.0)
    assert sent(agent) == ["hibernate_session"]


@pytest.mark.parametrize("step", [86400.0, -86400.0])
async def test_a_wall_clock_that_is_set_is_no_time_without_use(house: House, step: float) -> None:
    agent, _ = await session(house)
    await passes(house, agent, 15.0)
    house.clock.step(step)
    await house.later(5.0)
    await passes(house, agent, 1790.0)
    await house.later(5.0)
    assert sent(agent) == []
    await house.later(5.0)
    assert sent(agent) == ["hibernate_session"]


async def test_it_is_asked_once(house: House) -> None:
    agent, _ = await session(house)
    await passes(house, agent, 1800.0)
    await passes(house, agent, 30.0)
    assert sent(agent) == ["hibernate_session"]
