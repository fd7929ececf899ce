"""What an agent tells in free form, within bounds; and what becomes of more."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.agent_protocol import AgentLoad, HeldSession, SessionLoad
from app.server.fleet import bounds
from tests.unit.server.fleet.conftest import House

LARGE = 900_000


def deep(levels: int) -> Any:
    document: Any = []
    for _ in range(levels - 1):
        document = [document]
    return document


@pytest.mark.parametrize(
    ("document", "fits"),
    [({}, True), ({"a": "x" * 90}, True), ({"a": "x" * 100}, False), (deep(16), True), (deep(17), False),
     ({"a": deep(16)}, False), ([{"a": 1}, deep(20)], False), (deep(800), False)],
    ids=range(8),
)  # fmt: skip
def test_what_fits(document: Any, fits: bool) -> None:
    assert bounds.fits(document, 100) is fits


async def test_an_agents_row_stays_small(house: House) -> None:
    agent = house.agent(region="r" * LARGE, capabilities=["hibernate", "x" * LARGE, *map(str, range(1000))])
    await agent.register()
    row = house.fleet.agents["stage-left"]
    assert row.region == "r" * 100
    assert row.capabilities == ["hibernate", *map(str, range(48))]
    await agent.register(metadata={"a": deep(300)})
    row = house.fleet.agents["stage-left"]
    assert (row.metadata, row.warning) == ({}, "its metadata is too large and was left out")
    await agent.register(attached=[{"name": "a"}, {"name": "b", "title": "x" * LARGE}, {"name": "c", "x": deep(50)}])
    assert house.fleet.agents["stage-left"].metadata == {"attached": [{"name": "a"}]}


async def test_a_sessions_row_stays_small_and_the_rest_of_its_result_counts(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.create()
    start = await agent.command("start_session")
    await agent.complete(start, vnc_port=5907, pod_name="p", platform_metadata={"a": "x" * LARGE}, deep=deep(300))
    row = await house.until(row.id, lambda row: row.state == "running")
    assert (row.vnc_port, row.pod_name, row.platform_metadata) == (5907, "p", {})
    kept = house.store.kept["command", start.command_id]
    assert msgspec.json.decode(kept)["result"] == {"vnc_port": 5907, "pod_name": "p"}
    await agent.drop()
    held = HeldSession(session_id=row.id, state="hibernated", result={"platform_metadata": {"a": deep(300)}})
    await agent.register(sessions=[held])
    assert (await house.until(row.id, lambda row: row.state == "hibernated")).platform_metadata == {}


async def test_load_beyond_any_machine(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    await agent.beat(load=AgentLoad(sessions=[SessionLoad(session_id=row.id, cpu=1e300, memory=10**30)]))
    row = house.fleet.desktops[row.id]
    assert (row.load_cpu, row.load_memory) == (100_000.0, 1 << 50)
    await agent.beat(load=AgentLoad(sessions=[SessionLoad(session_id=row.id, cpu=-1.0, memory=-1)]))
    row = house.fleet.desktops[row.id]
    assert (row.load_cpu, row.load_memory) == (0.0, 0)
