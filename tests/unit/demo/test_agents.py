"""Simulated agents on a real broker: they register, beat, carry commands out once, and come back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.agent_protocol import Command, CommandAck, CommandResult, RegisterAck, ResultAck
from app.client.api import ApiError, BrokerClient
from app.client.broker_file import read_agent_key
from app.demo.agents import AgentCrowd, SimulatedAgent, Tally
from tests.fakes.broker import BrokerProcess, Brokers

TEMPLATE = {"name": "sim", "display_name": "Simulated", "base_image": "localhost/sim:1", "persistent_home": False}
WITHIN = 40.0


@asynccontextmanager
async def crowd_on(broker: BrokerProcess, count: int, **more: Any) -> AsyncIterator[AgentCrowd]:
    crowd = AgentCrowd(broker.url, read_agent_key(broker.data_dir) or "", count, slow=0.05, seed=1, **more)
    living = asyncio.create_task(crowd.run())
    try:
        await until(lambda: crowd.tally.registered == count)
        yield crowd
    finally:
        living.cancel()
        await asyncio.wait([living])


async def until(holds: Any) -> None:
    """Wait until it holds; it may be a coroutine function."""
    async with asyncio.timeout(WITHIN):
        while not (await answer if asyncio.iscoroutine(answer := holds()) else answer):
            await asyncio.sleep(0.02)


@pytest.fixture
def broker_process(brokers: Brokers) -> BrokerProcess:
    return brokers.start("--local-agent=off", "--limit-create=1000", "--limit-other=100000")


@pytest.fixture
async def client(broker_process: BrokerProcess) -> AsyncIterator[BrokerClient]:
    async with BrokerClient(broker_process.url, broker_process.token) as one:
        await one.fleet.create_template(TEMPLATE)
        yield one


async def test_they_are_agents_like_any_others(broker_process: BrokerProcess, client: BrokerClient) -> None:
    fleet = client.fleet
    async with crowd_on(broker_process, 3, places=2) as crowd:
        begun = [
            await fleet.create_session("admin", "sim", platform="kubernetes", persistent_home=False) for _ in range(6)
        ]
        with pytest.raises(ApiError):
            await fleet.create_session("admin", "sim", platform="kubernetes", persistent_home=False)

        async def state_of(session_id: str) -> str:
            return (await fleet.session(session_id)).state

        async def all_run() -> bool:
            return {await state_of(one.id) for one in begun} == {"running"}

        await until(all_run)
        assert sorted(len(agent.sessions) for agent in crowd.agents) == [2, 2, 2], "spread evenly"
        one = begun[0].id
        assert (await fleet.set_state(one, "hibernated")).state == "hibernated"
        assert (await fleet.set_state(one, "running")).state == "running"
        assert any("is simulated by" in line for line in await fleet.logs(one))

        for agent in crowd.agents:
            await agent.cut()
        await until(lambda: crowd.tally.registrations >= 6 and crowd.tally.registered == 3)
        assert await all_run(), "a cut connection costs no session"
        assert crowd.tally.commands == 8

        await fleet.delete_session(one)

        async def ended() -> bool:
            return await state_of(one) == "terminated"

        await until(ended)
        assert sum(len(agent.sessions) for agent in crowd.agents) == 5


async def test_they_find_a_broker_that_moved(broker_process: BrokerProcess, client: BrokerClient) -> None:
    async with crowd_on(broker_process, 2) as crowd:
        where = broker_process.url
        crowd.move("http://127.0.0.1:9")
        for agent in crowd.agents:
            await agent.cut()
        await until(lambda: crowd.tally.registered == 0)
        crowd.move(where)
        await until(lambda: crowd.tally.registered == 2)


def command(number: str, kind: str, session: str = "s1", generation: int = 1) -> Command:
    return Command(command_id=number, command_type=kind, session_id=session, generation=generation)  # type: ignore[arg-type]


async def test_a_repeated_command_is_the_same_command() -> None:
    agent = SimulatedAgent("http://nowhere", "sim-1", "", Tally(), random.Random(1), places=1, slow=0.0)
    (ack,) = agent._answers(command("c1", "start_session"))
    assert isinstance(ack, CommandAck)
    await until(lambda: not agent._under_way)
    again, result = agent._answers(command("c1", "start_session"))
    assert isinstance(again, CommandAck)
    assert isinstance(result, CommandResult)
    assert agent._tally.commands == 1
    assert agent.sessions["s1"].state == "running"

    agent._answers(command("c2", "hibernate_session", "nobody"))
    await until(lambda: not agent._under_way)
    first, second = agent._owed.values()
    assert (first.command_id, second.status, second.error_code) == ("c1", "failed", "SESSION_NOT_FOUND")
    told = agent._answers(RegisterAck(agent_id="sim-1", status="registered"))
    assert told == [first], "what is owed is told again, oldest first"
    assert agent._answers(ResultAck(command_id="c1")) == [second]
    assert agent._answers(ResultAck(command_id="c2")) == []


async def test_what_the_broker_gave_to_others_is_dropped() -> None:
    agent = SimulatedAgent("http://nowhere", "sim-1", "", Tally(), random.Random(1), places=4, slow=0.0)
    for number in (1, 2):
        agent._answers(command(f"c{number}", "start_session", f"s{number}"))
    await until(lambda: not agent._under_way)
    beat = agent.heartbeat()
    assert beat.capacity.current_sessions == 2
    assert beat.load is not None
    assert [one.session_id for one in beat.load.sessions] == ["s1", "s2"]
    agent._answers(RegisterAck(agent_id="sim-1", status="registered", stop=["s1"]))
    assert [one.session_id for one in agent._register().sessions or []] == ["s2"]
    assert agent._register().metadata["simulated"] is True
