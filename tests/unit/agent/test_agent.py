"""A whole agent against a scripted broker: register, commands, tunnels, questions, faults, and lives as processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

import pytest
import trustme
from websockets.exceptions import ConnectionClosed

from app.agent import processes
from app.agent.agent import Agent, platform_for
from app.agent.folder import StateFolder
from app.agent.options import AgentOptions
from app.agent.session import MARKER
from app.agent_protocol import (
    Command,
    CommandAck,
    CommandResult,
    Heartbeat,
    LogsCancel,
    LogsData,
    LogsRequest,
    ProgramsReport,
    ProgramsRequest,
    Register,
    SessionEvent,
    ThumbnailData,
    ThumbnailRequest,
    VncProxyError,
    VncProxyRequest,
)
from app.errors import PortInUse, Unavailable
from tests.fakes.agent_broker import AgentBroker, AgentSide
from tests.unit.agent.conftest import start_data, until

SCHEMES = {"start": "start_session", "hibernate": "hibernate_session", "wake": "wake_session", "stop": "stop_session"}


def command(number: int, verb: str, session: str = "s1", **data: object) -> Command:
    whole = start_data(**data) if verb == "start" else {"name": "x", **data}
    return Command(command_id=f"c{number}", command_type=SCHEMES[verb], session_id=session, data=whole)  # type: ignore[arg-type]


@pytest.fixture
async def broker() -> AsyncIterator[AgentBroker]:
    async with AgentBroker() as one:
        yield one


RunAgent = Callable[..., Awaitable[Agent]]


@pytest.fixture
async def run_agent(state: Path, broker: AgentBroker) -> AsyncIterator[RunAgent]:
    """Starts agents in this loop, on one state folder; the last one ends its sessions."""
    running: list[tuple[Agent, StateFolder]] = []

    async def run(**options: object) -> Agent:
        whole = AgentOptions(
            **{"broker": broker.url, "agent_id": "a1", "state_dir": state, "end_sessions": True, **options}
        ).checked()  # type: ignore[arg-type]
        folder = StateFolder(whole.folder)
        folder.acquire()
        agent = Agent(whole, platform_for(whole, folder), folder.journal)
        running.append((agent, folder))
        await agent.start()
        return agent

    yield run
    for agent, folder in running:
        await agent.stop()
        folder.release()


async def lost(side: AgentSide) -> None:
    await until(lambda: side.closed)


async def test_an_agent_registers_with_what_it_is_and_beats(broker: AgentBroker, run_agent: RunAgent) -> None:
    broker.key = "the-key"
    await run_agent(key="the-key", region="stage", max_sessions=3)
    side = await broker.agent()
    assert side.query == {"agent_id": ["a1"], "platform": ["local"], "region": ["stage"]}
    register = await side.wait(Register)
    assert (register.agent_id, register.platform, register.region) == ("a1", "local", "stage")
    assert register.capacity.max_sessions == 3
    assert register.sessions == []
    assert register.instance_id
    assert register.metadata["limits"] in ("systemd", "cgroup2", "cgroup1", "soft")
    beat = await side.wait(Heartbeat)
    assert beat.capacity.current_sessions == 0
    assert beat.load is not None
    assert broker.headers[0].get("sec-websocket-extensions") is None


async def test_the_life_of_a_session_by_commands(broker: AgentBroker, run_agent: RunAgent) -> None:
    await run_agent()
    side = await broker.agent()
    started = await side.command(command(1, "start"))
    assert started.status == "completed"
    assert started.result["session_id"] == "s1"
    tunnel = await broker.tunnel(side, "s1", "p1", tunnel_url=f"{broker.url.replace('http', 'ws')}/agent/tunnel/p1")
    assert tunnel.subprotocol == "streamspace.vnc.v1"
    assert broker.headers[-1]["authorization"] == "Bearer secret"
    assert await tunnel.recv() == b"RFB 003.008\n"
    await tunnel.send(b"RFB 003.008\n")
    assert await tunnel.recv() == b"\x01\x01"
    assert (await side.command(command(2, "hibernate"))).status == "completed"
    with pytest.raises(ConnectionClosed):
        await tunnel.recv()
    assert tunnel.close_code == 4423
    await side.send(VncProxyRequest(session_id="s1", proxy_id="p2"))
    assert (await side.wait(VncProxyError, proxy_id="p2")).error_code == "VNC_HIBERNATED"
    assert (await side.command(command(3, "wake"))).status == "completed"
    tunnel = await broker.tunnel(side, "s1", "p3")
    assert await tunnel.recv() == b"RFB 003.008\n"
    assert (await side.command(command(4, "stop", timeout="5s"))).status == "completed"
    with pytest.raises(ConnectionClosed):
        await tunnel.recv()
    assert tunnel.close_code == 4410
    await side.send(VncProxyRequest(session_id="s1", proxy_id="p4"))
    assert (await side.wait(VncProxyError, proxy_id="p4")).error_code == "VNC_NOT_FOUND"


async def test_a_program_that_ends_closes_its_viewers_and_is_told(broker: AgentBroker, run_agent: RunAgent) -> None:
    await run_agent()
    side = await broker.agent()
    await side.command(command(1, "start", command=["sh", "-c", "while :; do sleep 0.1; done  # until read line"]))
    tunnel = await broker.tunnel(side, "s1")
    assert await tunnel.recv() == b"RFB 003.008\n"
    for pid in processes.descendants(os.getpid()):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # its sleeps come and go
            if b"read line" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
    event = await side.wait(SessionEvent, event="exited")
    assert event.session_id == "s1"
    with pytest.raises(ConnectionClosed):
        await tunnel.recv()
    assert tunnel.close_code == 4410


async def test_a_session_that_takes_its_time_to_end_is_no_server_that_refuses(
    broker: AgentBroker, run_agent: RunAgent, tmp_path: Path
) -> None:
    """Its display goes first; what ignores being asked to end has a second after that."""
    await run_agent()
    side = await broker.agent()
    stubborn = f"trap '' TERM; : > {tmp_path}/up; while :; do sleep 0.1; done"
    script = f'setsid sh -c "{stubborn}" & while test ! -e {tmp_path}/go; do sleep 0.05; done'
    await side.command(command(1, "start", command=["sh", "-c", script]))
    tunnel = await broker.tunnel(side, "s1")
    assert await tunnel.recv() == b"RFB 003.008\n"
    await until((tmp_path / "up").exists)
    (tmp_path / "go").touch()
    with pytest.raises(ConnectionClosed):
        await tunnel.recv()
    assert tunnel.close_code == 4410


async def test_repeated_commands_have_one_effect(broker: AgentBroker, run_agent: RunAgent) -> None:
    await run_agent()
    side = await broker.agent()
    for _ in range(3):
        await side.send(command(1, "start"))
    await side.wait(CommandAck, nth=3)
    result = await side.wait(CommandResult)
    await side.send(command(1, "start"))
    assert await side.wait(CommandResult, nth=2) == result
    await side.wait(CommandAck, nth=4)


async def test_sessions_begin_side_by_side_and_no_more_than_there_are_places(
    broker: AgentBroker, run_agent: RunAgent
) -> None:
    await run_agent(max_sessions=2)
    side = await broker.agent()
    results = await asyncio.gather(*(side.command(command(n, "start", f"s{n}")) for n in range(3)))
    assert sorted(one.status for one in results) == ["completed", "completed", "failed"]
    failed = next(one for one in results if one.status == "failed")
    assert failed.error_code == "AGENT_CAPACITY_EXCEEDED"
    held = next(one for one in results if one.status == "completed").result["session_id"]
    assert (await side.command(command(7, "hibernate", held))).status == "completed"
    assert (await side.command(command(8, "start", "s8"))).status == "completed"
    refused = await side.command(command(9, "wake", held))
    assert refused.error_code == "AGENT_CAPACITY_EXCEEDED"


async def test_a_connection_that_is_cut_comes_back_with_inventory_and_results(
    broker: AgentBroker, run_agent: RunAgent
) -> None:
    broker.acknowledge = False
    agent = await run_agent()
    side = await broker.agent()
    await side.command(command(1, "start"))
    broker.acknowledge = True
    side.socket.transport.abort()
    again = await broker.agent(least=2)
    register = await again.wait(Register)
    assert [(one.session_id, one.state) for one in register.sessions or []] == [("s1", "running")]
    assert (await again.wait(CommandResult)).command_id == "c1"
    broker.stop = ["s1"]
    again.socket.transport.abort()
    last = await broker.agent(least=3)
    await until(lambda: agent.platform.held() == [])
    assert not [one for one in last.said if isinstance(one, CommandResult | SessionEvent)]


async def test_a_broker_that_refuses_is_tried_again(broker: AgentBroker, run_agent: RunAgent) -> None:
    broker.refuse = HTTPStatus.FORBIDDEN
    agent = await run_agent()
    await until(lambda: len(broker.headers) >= 2)
    assert not agent.connection.up.is_set()
    broker.refuse = None
    await broker.agent()


async def test_questions_about_logs_pictures_and_programs(
    broker: AgentBroker, run_agent: RunAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.agent.thumbnail.WITHIN", 30.0)
    await run_agent()
    side = await broker.agent()
    script = "for n in 1 2 3; do echo line $n; done; while read -r line; do echo $line; done < /dev/zero"
    await side.command(command(1, "start", command=["sh", "-c", script.replace("< /dev/zero", "; sleep 60")]))
    await side.send(ProgramsRequest(programs=["sh", "surely-not-there"]))
    assert (await side.wait(ProgramsReport)).missing == ["surely-not-there"]
    await side.send(ThumbnailRequest(request_id="t", session_id="s1", width=160))
    picture = await side.wait(ThumbnailData)
    assert (picture.width, picture.height, picture.error) == (160, 120, "")
    await side.send(LogsRequest(request_id="l", session_id="s1", data={"tail": 1000}))
    await side.wait(LogsData, request_id="l", eof=True)
    await side.send(LogsRequest(request_id="f", session_id="s1", data={"tail": 2, "follow": True}))
    await side.wait(LogsData, request_id="f")
    await side.send(LogsCancel(request_id="f"))
    await side.send(LogsRequest(request_id="n", session_id="nobody"))
    assert (await side.wait(LogsData, request_id="n")).error
    await side.command(command(2, "hibernate"))
    await side.send(ThumbnailRequest(request_id="h", session_id="s1"))
    assert (await side.wait(ThumbnailData, request_id="h")).error == "this session is hibernated"
    assert not [one for one in side.said if isinstance(one, LogsData) and one.request_id == "f" and one.eof]


async def test_nobody_follows_a_log_over_a_lost_connection(broker: AgentBroker, run_agent: RunAgent) -> None:
    agent = await run_agent()
    side = await broker.agent()
    await side.command(command(1, "start", command=["sh", "-c", "echo shown; sleep 60"]))
    await side.send(LogsRequest(request_id="f", session_id="s1", data={"tail": 2, "follow": True}))
    await side.wait(LogsData, request_id="f")
    side.socket.transport.abort()
    again = await broker.agent(least=2)
    await again.wait(Heartbeat)
    await until(lambda: not agent._questions._tasks)


async def test_a_journal_that_cannot_be_pruned_now_is_pruned_later(
    run_agent: RunAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = await run_agent()
    tries: list[int] = []

    def prune() -> None:
        tries.append(1)
        raise Unavailable("The disk is full.")

    monkeypatch.setattr("app.agent.agent.PRUNE_EVERY", 0.01)
    monkeypatch.setattr(agent._journal, "prune", prune)
    pruning = asyncio.create_task(agent._prune())
    await until(lambda: len(tries) > 2)
    pruning.cancel()


async def test_over_tls_the_broker_is_known_by_its_certificate(state: Path, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with AgentBroker(tls=context) as broker:
        whole = AgentOptions(broker=broker.url, agent_id="a1", state_dir=state, end_sessions=True).checked()
        with StateFolder(state) as folder:
            async with Agent(whole, platform_for(whole, folder), folder.journal) as stranger:
                assert not broker.headers
                await asyncio.sleep(0.2)
                assert not stranger.connection.up.is_set()
            trusting = replace(whole, ca=tmp_path / "ca.pem")
            async with Agent(trusting, platform_for(trusting, folder), folder.journal):
                side = await broker.agent()
                await side.command(command(1, "start"))
                tunnel = await broker.tunnel(side, "s1")
                assert await tunnel.recv() == b"RFB 003.008\n"


async def test_two_agents_never_share_a_folder(state: Path) -> None:
    with StateFolder(state) as first:
        with pytest.raises(PortInUse, match=f"process {os.getpid()}"):
            StateFolder(state).acquire()
        identity = first.id
    with StateFolder(state) as second:
        assert second.id == identity


@asynccontextmanager
async def process(broker: AgentBroker, state: Path, *more: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """An agent as its own process."""
    arguments = ("agent", "--broker", broker.url, "--agent-id", "a1", "--state-dir", str(state), *more)
    agent = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app", *arguments, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield agent
    finally:
        if agent.returncode is None:
            agent.kill()
            await agent.wait()


async def test_sessions_survive_kill_9_of_their_agent_and_the_next_one_has_them(
    broker: AgentBroker, state: Path
) -> None:
    async with process(broker, state) as first:
        side = await broker.agent()
        starts = [side.command(command(n, "start", f"s{n}")) for n in range(3)]
        assert [one.status for one in await asyncio.gather(*starts)] == ["completed"] * 3
        with pytest.raises(PortInUse):
            StateFolder(state).acquire()
        first.kill()
        await first.wait()
        await lost(side)
    async with process(broker, state, "--end-sessions") as second:
        side = await broker.agent(least=2)
        register = await side.wait(Register)
        assert sorted((one.session_id, one.state) for one in register.sessions or []) == [
            ("s0", "running"),
            ("s1", "running"),
            ("s2", "running"),
        ]
        tunnel = await broker.tunnel(side, "s1")
        assert await tunnel.recv() == b"RFB 003.008\n"
        assert (await side.command(command(9, "stop", "s0", timeout="5s"))).status == "completed"
        second.terminate()
        assert await asyncio.wait_for(second.wait(), 20) == 0
        await asyncio.wait_for(tunnel.wait_closed(), 20)  # word of it may come after that of the process
        assert tunnel.close_code == 1001
    assert marked_in(state) == []


async def test_sigterm_ends_the_agent_and_leaves_its_sessions(broker: AgentBroker, state: Path) -> None:
    async with process(broker, state) as agent:
        side = await broker.agent()
        await side.command(command(1, "start"))
        agent.terminate()
        assert await asyncio.wait_for(agent.wait(), 10) == 0
    await asyncio.wait_for(side.socket.wait_closed(), 20)
    assert side.socket.close_code in (1000, 1001)
    assert marked_in(state)


async def test_a_second_agent_on_a_folder_is_refused(broker: AgentBroker, state: Path) -> None:
    async with process(broker, state):
        await broker.agent()
        async with process(broker, state) as second:
            assert await asyncio.wait_for(second.wait(), 20) == 3


async def test_an_agent_ends_with_the_process_that_it_was_given(broker: AgentBroker, state: Path) -> None:
    parent = await asyncio.create_subprocess_exec("sleep", "60")
    async with process(broker, state, "--parent", str(parent.pid)) as agent:
        await broker.agent()
        parent.kill()
        await parent.wait()
        assert await asyncio.wait_for(agent.wait(), 10) == 0


def marked_in(state: Path) -> list[int]:
    """Processes of sessions in a folder."""
    with StateFolder(state) as folder:
        return list(processes.marked(MARKER, f"{folder.id}:"))
