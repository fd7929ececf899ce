"""The fleet as a whole: its snapshot and feed, what viewers ask, purge, and the real database."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.agent_protocol import HeldSession, VncProxyRequest
from app.contract import ROWS
from app.errors import CallboardError
from app.server.events import EventLog
from app.server.fleet.registry import Fleet
from app.server.storage.database import Database
from app.server.storage.fleet import FleetStore, Put
from app.server.tasks import TaskTree
from tests.contract.fleet_store_suite import agent_row, desktop_row
from tests.fakes.fleet_agent import FakeAgent
from tests.unit.server.fleet.conftest import House

DAY = 24 * 3600.0


async def test_the_feed_alone_rebuilds_the_snapshot(house: House) -> None:
    agent = house.agent()
    await agent.register()
    first, second = await house.running(agent), await house.running(agent, user="x")
    await house.fleet.drain("stage-left", "kim")
    await house.fleet.delete(second.id, force=True, by="kim", admin=True)
    await agent.complete(await agent.command("stop_session"))
    await house.fleet.set_tags(first.id, ["t"], "kim")
    tables: dict[str, dict[str, object]] = {"agent": {}, "desktop": {}, "drain": {}}
    for event in house.heard:
        table, _, verb = event.kind.partition(".")
        if table not in tables:
            continue
        if verb in ("changed", "saved"):
            tables[table][event.id] = event.change
        elif verb == "beat":
            known = tables[table][event.id]
            fields = {name: getattr(event.change, name) for name in event.change.__struct_fields__}
            tables[table][event.id] = type(known)(
                **{**{name: getattr(known, name) for name in known.__struct_fields__}, **fields}  # type: ignore[attr-defined]
            )
        else:
            del tables[table][event.id]
    snapshot = house.fleet.snapshot()
    assert set(snapshot) <= set(ROWS)
    for table, rows in tables.items():
        assert {row.id: row for row in snapshot[table]} == rows, table


async def test_rows_that_were_published_never_change(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.create()
    published = next(event.change for event in house.heard if event.kind == "desktop.changed")
    await agent.complete(await agent.command())
    assert published.state == "pending"
    assert row.state == "pending"
    assert house.fleet.desktops[row.id].state == "running"


async def test_what_ended_a_day_ago_is_forgotten(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row, kept = await house.running(agent), await house.running(agent, user="x")
    await house.fleet.delete(row.id, force=True, by="kim", admin=True)
    await agent.drop()
    async with asyncio.timeout(15):
        while ("desktop_log", row.id) not in house.store.kept:
            await asyncio.sleep(0)
    await house.later(DAY)
    assert house.fleet.desktops[row.id].state == "terminated"
    await house.later(61.0)
    assert row.id not in house.fleet.desktops
    assert house.kinds("desktop")[-1] == "desktop.removed"
    assert [key for key in house.store.kept if row.id in key[1]] == []
    assert kept.id in house.fleet.desktops
    assert house.fleet.gauges()["callboard_commands_open"] == 0
    await house.restart()
    assert set(house.fleet.desktops) == {kept.id}


async def test_who_may_be_looked_at(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.create()

    def code() -> str:
        with pytest.raises(CallboardError) as caught:
            house.fleet.vnc_target(row.id)
        return caught.value.code

    assert code() == "session_not_running"
    await agent.complete(await agent.command())
    desktop, found = house.fleet.vnc_target(row.id)
    assert (desktop.id, found.id) == (row.id, "stage-left")
    await agent.drop()
    assert code() == "agent_offline"
    await agent.register(capabilities=["hibernate"])
    assert code() == "unsupported"
    await house.fleet.delete(row.id, force=False, by="kim", admin=False)
    assert code() == "session_terminating"
    await agent.complete(await agent.command("stop_session"))
    assert code() == "session_not_running"
    with pytest.raises(CallboardError) as caught:
        house.fleet.vnc_target("never")
    assert caught.value.code == "session_not_found"


async def test_a_request_for_a_tunnel(house: House) -> None:
    agent = house.agent()
    await agent.register()
    message = VncProxyRequest(session_id="s", proxy_id="p", data={"tunnel_url": "ws://x"})
    await house.fleet.send_proxy_request("stage-left", message)
    assert await agent.next(VncProxyRequest) == message
    await agent.drop()
    with pytest.raises(CallboardError) as caught:
        await house.fleet.send_proxy_request("stage-left", message)
    assert caught.value.code == "agent_offline"


async def test_nothing_of_a_connection_stays_when_it_has_ended(house: House) -> None:
    base = sum(1 for _ in house.tasks.root.walk())
    for _ in range(5):
        agent = house.agent()
        await agent.register()
        await agent.drop()
    async with asyncio.timeout(15):
        while sum(1 for _ in house.tasks.root.walk()) > base:
            await asyncio.sleep(0)
    assert house.fleet.gauges()["callboard_agents_online"] == 0


async def test_on_the_real_database_a_killed_broker_loses_nothing(tmp_path: Path) -> None:
    async def broker() -> tuple[Fleet, TaskTree, Database]:
        tasks, database = TaskTree(), Database(tmp_path / "callboard.sqlite")
        await database.start()
        fleet = Fleet(store=FleetStore(database, tasks), events=EventLog(), tasks=tasks)
        await fleet.start()
        return fleet, tasks, database

    fleet, tasks, database = await broker()
    agent = FakeAgent(fleet, "stage-left", slots=30)
    await agent.register()
    house = House.__new__(House)
    house.fleet = fleet
    rows = await asyncio.gather(*(house.create(user=f"u{n}") for n in range(20)))
    done = [await agent.command() for _ in range(3)]
    for command in done:
        await agent.complete(command)
    await fleet.drain("stage-left", "kim")
    expected = {row.id: fleet.desktops[row.id] for row in rows}
    await tasks.stop()
    await database.stop()

    fleet, tasks, database = await broker()
    assert dict(fleet.desktops) == expected
    assert fleet.agents["stage-left"].sessions == 20
    agent = FakeAgent(fleet, "stage-left", slots=30)
    await agent.register()
    again = [await agent.command() for _ in range(8)]
    assert not {command.session_id for command in again} & {command.session_id for command in done}
    for command in again:
        await agent.complete(command)
    for _ in range(9):
        await agent.complete(await agent.command())
    assert {row.state for row in fleet.desktops.values()} == {"running"}
    assert fleet.agents["stage-left"].status == "draining"
    await fleet.stop()
    await tasks.stop()
    await database.stop()


async def test_two_hundred_agents_with_two_thousand_sessions_come_back_at_once(tmp_path: Path) -> None:
    tasks, database, events = TaskTree(), Database(tmp_path / "callboard.sqlite"), EventLog()
    await database.start()
    store = FleetStore(database, tasks)
    agents = [agent_row(f"agent-{number:03}", platform="local", max_sessions=12) for number in range(200)]
    desktops = [
        desktop_row(f"session-{number:04}", agent_id=f"agent-{number % 200:03}", name=f"s-{number}", platform="local")
        for number in range(2000)
    ]
    await store.commit(*(Put("agent", row) for row in agents), *(Put("desktop", row) for row in desktops))
    fleet = Fleet(store=store, events=events, tasks=tasks)
    await fleet.start()
    changed: list[str] = []
    events.subscribe(lambda event: changed.append(event.id) if event.kind == "desktop.changed" else None)
    back = [
        FakeAgent(
            fleet,
            f"agent-{number:03}",
            slots=12,
            inventory=[HeldSession(session_id=f"session-{one:04}") for one in range(number, 2000, 200)],
        )
        for number in range(200)
    ]
    acks = await asyncio.gather(*(agent.register() for agent in back))
    assert {(ack.status, len(ack.stop)) for ack in acks} == {("registered", 0)}
    await asyncio.gather(*(agent.beat() for agent in back))
    assert changed == []
    assert {(row.status, row.sessions) for row in fleet.agents.values()} == {("online", 10)}
    await fleet.stop()
    await tasks.stop()
    await database.stop()
