"""Who is connected: registering, replacement, standbys, heartbeats, agents that lie or do not read."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.agent_protocol import (
    AgentLoad,
    Capacity,
    CloseCode,
    Command,
    Heartbeat,
    HeldSession,
    ProgramsReport,
    ProgramsRequest,
    Register,
    RegisterAck,
    SessionLoad,
    VncProxyError,
    encode,
)
from app.contract import AgentBeat
from app.errors import Invalid
from tests.fakes.fleet_agent import FakeAgent
from tests.unit.server.fleet.conftest import House


async def test_an_agent_registers(house: House) -> None:
    agent = house.agent(
        "k8s-1", "kubernetes", region="us-east-1", metadata={"agent_version": "v2.0-beta.1", "is_leader": True}
    )
    ack = await agent.register(capacity=Capacity(max_cpu=100, max_memory=256, max_sessions=100))
    assert (ack.agent_id, ack.status, ack.heartbeat_interval, ack.max_inflight) == ("k8s-1", "registered", "10s", 8)
    row = house.fleet.agents["k8s-1"]
    assert (row.status, row.platform, row.region, row.version) == ("online", "kubernetes", "us-east-1", "v2.0-beta.1")
    assert (row.max_sessions, row.max_cpu, row.max_memory, row.leader) == (100, 100.0, 256.0, True)
    assert row.connection_id == agent.connection.id
    assert row.registered_at == row.last_heartbeat == house.clock.time()
    assert house.kinds("agent") == ["agent.changed"]


async def test_the_same_agent_keeps_its_uuid_and_gets_a_higher_epoch(house: House) -> None:
    agent = house.agent()
    first = await agent.register()
    known = house.fleet.agents["stage-left"]
    await agent.drop()
    house.clock.advance(5)
    second = await agent.register()
    row = house.fleet.agents["stage-left"]
    assert second.epoch > first.epoch
    assert (row.uuid, row.created_at) == (known.uuid, known.created_at)
    await house.restart()
    assert (house.fleet.agents["stage-left"].uuid, house.fleet.agents["stage-left"].status) == (known.uuid, "offline")
    house.clock.advance(0.1)
    assert (await house.agent().register()).epoch > second.epoch


async def test_only_the_connection_that_counts_takes_the_agent_offline(house: House) -> None:
    old, new = house.agent(), house.agent()
    await old.register()
    await new.register()
    code, _ = await old.gone()
    assert code == CloseCode.REPLACED
    await old.drop()
    assert house.fleet.agents["stage-left"].status == "online"
    assert house.fleet.agents["stage-left"].connection_id == new.connection.id
    await new.drop()
    row = house.fleet.agents["stage-left"]
    assert (row.status, row.connection_id, row.registered_at, row.cpu) == ("offline", None, None, None)


async def test_commands_under_way_go_to_the_newer_connection(house: House) -> None:
    old, new = house.agent(), house.agent()
    await old.register()
    row = await house.create()
    first = await old.command("start_session")
    await new.register()
    again = await new.command("start_session")
    assert again.command_id == first.command_id
    assert again.attempt > first.attempt
    await new.complete(again)
    assert house.fleet.desktops[row.id].state == "running"


async def test_a_silent_agent_is_closed_and_offline_after_thirty_seconds(house: House) -> None:
    agent = house.agent()
    await agent.register()
    await house.later(29.0)
    assert house.fleet.agents["stage-left"].status == "online"
    await house.later(1.0)
    assert house.fleet.agents["stage-left"].status == "offline"
    assert (await agent.gone())[0] == CloseCode.HEARTBEAT_LOST


async def test_no_register_in_time(house: House) -> None:
    agent = await house.agent().open()
    await house.later(10.0)
    assert (await agent.gone())[0] == CloseCode.NOT_REGISTERED
    assert not house.fleet.agents


async def test_a_register_for_somebody_else(house: House) -> None:
    agent = await house.agent().open()
    await agent.say(Register(agent_id="other", platform="local"))
    assert (await agent.gone())[0] == CloseCode.BAD_REGISTER
    assert not house.fleet.agents


async def test_nothing_before_the_register_counts(house: House) -> None:
    agent = await house.agent().open()
    await agent.say(Heartbeat(agent_id="stage-left"))
    await agent.say(ProgramsReport(missing=["xterm"]))
    await agent.register()
    assert house.fleet.agents["stage-left"].missing_programs == []


async def test_ten_bad_frames_close_and_the_agent_is_offline(house: House) -> None:
    agent = house.agent()
    await agent.register()
    for _ in range(10):
        await agent.connection.receive("{")
    await agent.gone()
    assert house.fleet.agents["stage-left"].status == "offline"


async def test_a_registration_that_cannot_be_kept_is_none(house: House) -> None:
    house.store.away = True
    agent = await house.agent().open()
    await agent.say(Register(agent_id="stage-left", platform="local"))
    assert (await agent.gone())[0] == CloseCode.INTERNAL
    assert not house.fleet.agents
    house.store.away = False
    await agent.register()


async def test_an_agent_comes_again_when_what_it_holds_cannot_be_kept(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = house.agent(inventory=[])
    await agent.register()
    row = await house.running(agent)
    await agent.drop()
    write = house.store._write

    async def once(*arguments: Any) -> None:  # the registration, and nothing after it
        await write(*arguments)
        house.store.away = True

    monkeypatch.setattr(house.store, "_write", once)
    await agent.register()
    assert (await agent.gone())[0] == CloseCode.INTERNAL
    assert house.fleet.desktops[row.id].state == "running"
    monkeypatch.undo()
    house.store.away = False
    await agent.register()
    await house.until(row.id, lambda row: row.state == "terminated")


async def test_a_socket_that_ends_while_its_registration_is_kept(house: House) -> None:
    agent = await house.agent().open()
    house.store.gate = asyncio.Event()
    await agent.say(Register(agent_id="stage-left", platform="local"))
    while not house.store.waiting_at_gate:
        await asyncio.sleep(0)
    await agent.drop()
    house.store.gate.set()
    await house.agent("other").register()
    assert "stage-left" not in house.fleet.agents


@pytest.mark.parametrize(("agent_id", "platform"), [("", "local"), ("a b", "local"), ("a", "vm"), ("x" * 101, "local")])
async def test_names_that_cannot_be(house: House, agent_id: str, platform: str) -> None:
    with pytest.raises(Invalid) as caught:
        await house.agent(agent_id, platform).open()
    assert caught.value.code == "invalid_parameter"


# Capacity and load.


@pytest.mark.parametrize(
    ("said", "believed", "warns"),
    [(None, 10, False), (-5, 0, True), (10**9, 10_000, True), (0, 0, False), (7, 7, False)],
)
async def test_capacity_within_what_can_be(house: House, said: int | None, believed: int, warns: bool) -> None:
    agent = house.agent()
    await agent.register(capacity=Capacity(max_sessions=said, max_cpu=-1.0, max_memory=1e30))
    await agent.beat()
    row = house.fleet.agents["stage-left"]
    assert (row.max_sessions, row.max_cpu, row.max_memory) == (believed, None, None)
    assert bool(row.warning) is warns


async def test_slots_are_counted_here_whatever_the_agent_says(house: House) -> None:
    agent = house.agent(slots=2)
    await agent.register()
    await house.running(agent)
    await agent.beat(capacity=Capacity(current_sessions=0))
    row = house.fleet.agents["stage-left"]
    assert (row.sessions, row.reported_sessions) == (1, 0)
    assert row.warning == "the agent reports 0 sessions, the broker knows 1"
    await agent.beat(capacity=Capacity(current_sessions=1))
    assert house.fleet.agents["stage-left"].warning == ""
    await agent.beat(capacity=Capacity(current_sessions=-3))
    assert house.fleet.agents["stage-left"].reported_sessions is None
    await house.create(user="other")
    with pytest.raises(Exception, match="full"):
        await house.create(user="third")


async def test_a_heartbeat_costs_no_commit_and_tells_what_moved(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    before, told = house.store.commits, len(house.heard)
    load = AgentLoad(cpu=140.0, memory=-1.0, sessions=[SessionLoad(session_id=row.id, cpu=12.4, memory=5 << 20)])
    for _ in range(3):
        await agent.beat(load=load, capacity=Capacity(current_sessions=1))
    assert house.store.commits == before
    kinds = [event.kind for event in house.heard[told:]]
    assert kinds == ["agent.beat", "desktop.beat", "agent.beat", "agent.beat"]
    beat = house.heard[told].change
    assert isinstance(beat, AgentBeat)
    assert (beat.cpu, beat.memory, beat.sessions, beat.reported_sessions) == (100.0, 0.0, 1, 1)
    assert (house.fleet.desktops[row.id].load_cpu, house.fleet.desktops[row.id].load_memory) == (12.0, 5 << 20)


async def test_load_of_sessions_elsewhere_is_passed_over(house: House) -> None:
    agent, other = house.agent("a"), house.agent("b")
    await agent.register()
    row = await house.running(agent)
    await other.register()
    await other.beat(load=AgentLoad(sessions=[SessionLoad(session_id=row.id, cpu=99.0), SessionLoad(session_id="x")]))
    assert house.fleet.desktops[row.id].load_cpu is None


async def test_the_last_heartbeat_is_kept_now_and_then(house: House) -> None:
    agent = house.agent()
    await agent.register()
    await house.later(0.0)
    house.clock.advance(20.0)
    await agent.beat()
    await agent.beat()
    await house.later(45.0)
    await house.restart()
    assert house.fleet.agents["stage-left"].last_heartbeat == house.clock.time() - 45.0


# Standbys.


def candidate(house: House, leader: bool | None) -> FakeAgent:
    return house.agent("k8s", "kubernetes", metadata={} if leader is None else {"is_leader": leader})


async def test_a_standby_is_parked_and_takes_over(house: House) -> None:
    leader, standby = candidate(house, True), candidate(house, False)
    await leader.register()
    assert (await standby.register()).status == "standby"
    assert (house.fleet.agents["k8s"].standbys, house.fleet.agents["k8s"].leader) == (1, True)
    await house.create(template="firefox-browser")
    command = await leader.command()
    await standby.beat()
    assert not [message for message in standby.waiting if isinstance(message, Command)]
    await leader.drop()
    assert (await standby.next(RegisterAck)).status == "registered"
    assert (await standby.command()).command_id == command.command_id
    row = house.fleet.agents["k8s"]
    assert (row.status, row.standbys, row.leader, row.max_sessions) == ("online", 0, False, 10)


async def test_a_standby_that_becomes_leader_registers_again(house: House) -> None:
    leader, standby = candidate(house, True), candidate(house, False)
    await leader.register()
    await standby.register()
    assert (await standby.register(metadata={"is_leader": True})).status == "registered"
    assert (await leader.gone())[0] == CloseCode.REPLACED
    assert (house.fleet.agents["k8s"].standbys, house.fleet.agents["k8s"].status) == (0, "online")


async def test_the_leader_displaces_a_standby_that_stood_in(house: House) -> None:
    standby, leader = candidate(house, False), candidate(house, True)
    assert (await standby.register()).status == "registered"
    await leader.register()
    assert (await standby.next(RegisterAck)).status == "standby"
    assert standby.closed is None
    assert house.fleet.agents["k8s"].standbys == 1
    await leader.drop()
    assert (await standby.next(RegisterAck)).status == "registered"
    assert house.fleet.agents["k8s"].max_sessions == 10


async def test_an_inventory_from_before_the_wait_costs_no_session(house: House) -> None:
    leader, standby = candidate(house, True), candidate(house, False)
    await leader.register(sessions=[])
    assert (await standby.register(sessions=[HeldSession(session_id="of long ago")])).status == "standby"
    row = await house.running(leader, template="firefox-browser")
    await leader.drop()
    ack = await standby.next(RegisterAck)
    assert (ack.status, ack.stop) == ("registered", [])
    await standby.heard()
    assert house.fleet.desktops[row.id].state == "running"


async def test_a_standby_that_leaves_is_no_loss(house: House) -> None:
    leader, standby = candidate(house, True), candidate(house, False)
    await leader.register()
    await standby.register()
    await standby.drop()
    assert (house.fleet.agents["k8s"].standbys, house.fleet.agents["k8s"].status) == (0, "online")


# What else they say.


async def test_programs_that_a_machine_lacks(house: House) -> None:
    agent = house.agent()
    await agent.register()
    assert "xterm" in (await agent.next(ProgramsRequest)).programs
    await agent.say(ProgramsReport(missing=["xterm", "not asked for"]))
    await agent.heard()
    assert house.fleet.agents["stage-left"].missing_programs == ["xterm"]
    with pytest.raises(Exception, match="xterm is not installed"):
        await house.create()
    await house.fleet.delete_template((await house.fleet.save_template(house.fleet.templates["clock"])).name)
    await agent.next(ProgramsRequest)


async def test_a_container_agent_is_not_asked_for_programs(house: House) -> None:
    agent = house.agent("d", "docker")
    await agent.register()
    await agent.heard()
    assert not [message for message in agent.waiting if isinstance(message, ProgramsRequest)]


async def test_a_desktop_that_cannot_be_opened_is_told_to_who_listens(house: House) -> None:
    told = []
    house.fleet.on_proxy_error.append(lambda agent_id, message: told.append((agent_id, message.proxy_id)))
    agent = house.agent()
    await agent.register()
    await agent.say(VncProxyError(proxy_id="proxy-1", session_id="x", error="refused"))
    await agent.heard()
    assert told == [("stage-left", "proxy-1")]


async def test_an_agent_that_does_not_read_is_closed_and_others_go_on(house: House) -> None:
    stuck = asyncio.Event()
    closed = asyncio.Event()

    async def send(_frame: str) -> None:
        await stuck.wait()

    async def close(_code: int, _reason: str) -> None:
        closed.set()

    connection = house.fleet.connect("stuck", "local", None, send, close)
    await connection.receive(encode(Register(agent_id="stuck", platform="local")))
    await house.wait(lambda: "stuck" in house.fleet.agents)
    for number in range(2000):
        connection.say(ProgramsRequest(programs=[str(number)]))
    async with asyncio.timeout(15):
        await closed.wait()
    assert house.fleet.agents["stuck"].status == "offline"
    await house.agent("fine").register()
    stuck.set()


async def test_a_broker_that_is_busy_reads_no_further(house: House) -> None:
    agent = house.agent()
    await agent.register()
    row = await house.running(agent)
    house.store.gate = asyncio.Event()
    tagging = asyncio.ensure_future(house.fleet.set_tags(row.id, ["x"], "kim"))
    reading = [
        asyncio.ensure_future(
            agent.connection.receive(f'{{"type":"session_event","session_id":"{row.id}","event":"oom"}}')
        )
        for _ in range(200)
    ]
    for _ in range(20):
        await asyncio.sleep(0)
    assert 100 < sum(1 for task in reading if not task.done()) < 200
    house.store.gate.set()
    async with asyncio.timeout(15):
        await asyncio.gather(tagging, *reading)


async def test_the_broker_says_goodbye(house: House) -> None:
    agent = house.agent()
    await agent.register()
    await house.fleet.stop()
    assert (await agent.gone())[0] == CloseCode.SHUTDOWN
