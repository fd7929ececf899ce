"""Platform ``docker`` on a real engine: containers that serve desktops, hibernate, are adopted, end and leave nothing."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from app.agent.config import DockerSettings
from app.agent.docker import DockerPlatform
from app.agent.docker_engine import Engine
from app.agent.platform import AgentFailure, FailureCode, UnixAddress
from app.agent.rfb import grab
from app.agent_protocol import SessionEvent
from tests.unit.agent.podman import IMAGE, Podman, podman

AGENT = "docker-01"
Begin = Callable[..., Awaitable[DockerPlatform]]


@pytest.fixture(scope="module")
def engine() -> Iterator[Podman]:
    with podman() as running:
        yield running


@pytest.fixture
async def begin(engine: Podman) -> AsyncIterator[Begin]:
    """Agents on the engine; what is left of their sessions ends with the test."""
    agents: list[DockerPlatform] = []
    shutil.rmtree(state_of(engine), ignore_errors=True)

    async def start(agent_id: str = AGENT, **settings: Any) -> DockerPlatform:
        agent = DockerPlatform(DockerSettings(socket=engine.url, **settings), agent_id, state_of(engine))
        agents.append(agent)
        await agent.start()
        return agent

    yield start
    for agent in agents:
        await agent.stop()
    engine.remove(*engine.containers())


def state_of(engine: Podman) -> Path:
    return engine.folder / "state"


def order(test: str = "", **more: Any) -> dict[str, Any]:
    user = more.pop("user", "ada")
    return {
        "name": f"{user}-desk-abc123", "namespace": "streamspace", "user": user, "template": "desk", "image": IMAGE,
        "resources": {"memory": "200Mi", "cpu": "1000m"}, "vnc": {"port": 5900, "resolution": "400x300"},
        "persistent_home": False, "environment": {"TEST": test, "TEST_USER": user},
    } | more  # fmt: skip


def inspected(engine: Podman, session: str, generation: int = 1) -> dict[str, Any]:
    return dict(json.loads(engine("inspect", f"callboard-{session}-{generation}"))[0])


def heard(agent: DockerPlatform) -> asyncio.Queue[SessionEvent]:
    events: asyncio.Queue[SessionEvent] = asyncio.Queue()
    agent.on_event = events.put_nowait
    return events


async def test_a_session_is_a_container_that_shows_a_desktop_and_reaches_nothing(begin: Begin, engine: Podman) -> None:
    agent = await begin()
    assert agent.metadata["limits"] == "engine"
    assert agent.metadata["engine"] == "podman"
    result = await agent.run("s1", order(), 1)
    assert len(result["container_id"]) == 12
    assert result["limits"] == "engine"
    assert result["started_at"].endswith("Z")
    address = await agent.rfb_address("s1")
    assert isinstance(address, UnixAddress)
    frame = await grab(address)
    assert (frame.width, frame.height) == (400, 300)
    assert Path(address.path).parent.parent.stat().st_mode & 0o777 == 0o700, "nobody else reaches the socket"

    container = inspected(engine, "s1")
    host = container["HostConfig"]
    assert host["NetworkMode"] == "none"
    assert host["ReadonlyRootfs"] is True
    assert host["Memory"] == 200 * 2**20
    assert host["MemorySwap"] == 200 * 2**20
    assert (host["NanoCpus"] or host["CpuQuota"] * 10_000) == 1_000_000_000
    assert host["PidsLimit"] == 2000
    assert container["Config"]["Labels"]["org.callboard.agent"] == AGENT
    sockets = engine("exec", "callboard-s1-1", "cat", "/proc/net/tcp", "/proc/net/tcp6")
    assert len(sockets.splitlines()) == 2, f"only the headers: {sockets}"
    with pytest.raises(AssertionError, match="Read-only"):
        engine("exec", "callboard-s1-1", "touch", "/usr/bin/changed")

    assert await agent.run("s1", order(), 1) == result, "a repeated start finds what runs"
    assert len(engine.containers()) == 1
    with pytest.raises(AgentFailure, match="newer generation"):
        await agent.run("s1", order(), 0)
    assert (await agent.run("s1", order(), 2))["generation"] == 2
    assert engine.containers() == ["callboard-s1-2"], "an older generation is ended first"
    assert any("size 400x300" in line for line in await agent.logs("s1", 100))


async def test_what_a_container_puts_into_its_folder_leads_nowhere(begin: Begin, engine: Podman) -> None:
    agent = await begin()
    await agent.run("s1", order(), 1)
    await agent.run("s2", order(user="ben", hibernate="stop"), 1)
    other = await agent.rfb_address("s1")
    assert isinstance(other, UnixAddress)
    folder = Path(other.path).parent
    own = await agent.rfb_address("s2")
    assert isinstance(own, UnixAddress)
    Path(own.path).unlink()  # the folder is the container's to write to
    for name, place in (
        ("rfb.sock", f"../{folder.name}/rfb.sock"),
        ("hibernated", "../out"),
        (".hibernated", "../out"),
    ):
        Path(own.path).with_name(name).symlink_to(place)
    with pytest.raises(AgentFailure, match="something else"):
        await grab(await agent.rfb_address("s2"))
    assert (await grab(other)).width == 400
    await agent.hibernate("s2")
    assert not (folder.parent / "out").exists()


@pytest.mark.parametrize(("way", "state"), [("freeze", "paused"), ("stop", "exited")])
async def test_a_hibernated_session_stands_still_and_comes_back(
    begin: Begin, engine: Podman, way: str, state: str
) -> None:
    agent = await begin()
    started = await agent.run("s1", order(hibernate=way, persistent_home=True), 1)
    assert (await agent.hibernate("s1"))["hibernate"] == way
    await agent.hibernate("s1")
    assert inspected(engine, "s1")["State"]["Status"] == state
    with pytest.raises(AgentFailure) as frozen:
        await agent.rfb_address("s1")
    assert frozen.value.code == FailureCode.VNC_HIBERNATED
    assert [one.state for one in agent.held()] == ["hibernated"]
    await agent.stop()

    after = await begin()
    assert [(one.session_id, one.state) for one in after.held()] == [("s1", "hibernated")], "adopted as it was"
    assert (await after.wake("s1", {}, 1))["container_id"] == started["container_id"]
    assert (await grab(await after.rfb_address("s1"))).width == 400
    assert engine("exec", "callboard-s1-1", "ls", "/home/session") == "started-by-ada"
    await after.hibernate("s1")
    await after.end("s1", graceful=True, timeout=5.0, delete_home=True)
    assert engine.containers() == []


async def test_the_next_agent_adopts_what_runs_and_removes_what_does_not(begin: Begin, engine: Podman) -> None:
    agent, other = await begin(), await begin("docker-02")
    kept = await agent.run("s1", order(), 3)
    await other.run("s2", order(), 1)
    await agent.stop()
    labels = ["--label", f"org.callboard.agent={AGENT}", "--label", "org.callboard.session=s9"]
    engine("create", "--name", "half-started", "--network", "none", *labels, IMAGE)
    engine("create", "--name", "a-strangers", "--network", "none", IMAGE)

    after = await begin()
    assert [(one.session_id, one.generation, one.state) for one in after.held()] == [("s1", 3, "running")]
    assert after.held()[0].result == kept
    assert sorted(engine.containers()) == ["a-strangers", "callboard-s1-3", "callboard-s2-1"]
    assert (await grab(await after.rfb_address("s1"))).height == 300
    await after.stop(end_sessions=True)
    assert sorted(engine.containers()) == ["a-strangers", "callboard-s2-1"]


async def test_what_ends_by_itself_is_told_with_its_last_words(begin: Begin, engine: Podman) -> None:
    agent = await begin()
    events = heard(agent)
    await agent.run("s1", order("leave"), 1)
    engine.let_go("callboard-s1-1")
    event = await asyncio.wait_for(events.get(), 30)
    assert (event.session_id, event.event, event.generation) == ("s1", "exited", 1)
    assert "3" in event.message
    assert agent.held() == []
    assert engine.containers() == []
    assert [line[25:] for line in await agent.logs("s1", 1)] == ["leaving now"]
    assert list((state_of(engine) / "rfb").iterdir()) == []


async def test_a_session_that_eats_its_memory_is_ended_and_says_so(begin: Begin, engine: Podman) -> None:
    agent = await begin()
    events = heard(agent)
    await agent.run("s1", order("hog", resources={"memory": "64Mi"}), 1)
    engine.let_go("callboard-s1-1")
    event = await asyncio.wait_for(events.get(), 30)
    assert (event.session_id, event.event) == ("s1", "oom")


async def test_the_end_is_polite_then_final(begin: Begin, engine: Podman) -> None:
    agent = await begin()
    loop = asyncio.get_running_loop()
    for session, test, graceful, patience, least in (
        ("s1", "", True, 60.0, 0.0),
        ("s2", "stubborn", True, 1.0, 1.0),
        ("s3", "stubborn", False, 60.0, 0.0),
    ):
        await agent.run(session, order(test), 1)
        began = loop.time()
        await agent.end(session, graceful=graceful, timeout=patience, delete_home=False)
        assert least <= loop.time() - began < 30.0, session
        await agent.end(session, graceful=True, timeout=1.0, delete_home=False)
    assert engine.containers() == []


async def test_the_end_of_a_session_that_another_agent_of_this_name_began(begin: Begin, engine: Podman) -> None:
    first = await begin()
    await first.run("s1", order(), 1)
    second = await begin()
    await second.end("s1", graceful=True, timeout=5.0, delete_home=False)
    engine("create", "--name", "s1-again", "--label", f"org.callboard.agent={AGENT}",
           "--label", "org.callboard.session=s1", IMAGE)  # fmt: skip
    await second.end("s1", graceful=True, timeout=5.0, delete_home=False)
    assert engine.containers() == [], "an end leaves nothing, also of what the agent did not know"


async def test_a_home_belongs_to_user_and_template_and_to_one_session_at_a_time(begin: Begin, engine: Podman) -> None:
    agent = await begin()
    lasting = {"persistent_home": True}
    await agent.run("s1", order(**lasting), 1)
    with pytest.raises(AgentFailure, match="used by session s1") as taken:
        await agent.run("s2", order(**lasting), 1)
    assert taken.value.code == FailureCode.HOME_IN_USE
    await agent.run("s3", order(user="ben", **lasting), 1)
    engine("exec", "callboard-s1-1", "touch", "/home/session/work")
    await agent.end("s1", graceful=True, timeout=5.0, delete_home=False)
    await agent.run("s2", order(**lasting), 1)
    assert "work" in engine("exec", "callboard-s2-1", "ls", "/home/session").split()
    assert "work" not in engine("exec", "callboard-s3-1", "ls", "/home/session").split()
    await agent.end("s2", graceful=True, timeout=5.0, delete_home=True)
    await agent.end("s3", graceful=True, timeout=5.0, delete_home=True)
    assert engine("volume", "ls", "--quiet") == ""


@pytest.mark.parametrize(
    ("settings", "wanted", "code", "words"),
    [
        (
            {},
            order(image="localhost/no-such:9"),
            FailureCode.TEMPLATE,
            "not on this machine; fetch it with `podman pull",
        ),
        ({"pull": "always"}, order(image="localhost/No-Such:9"), FailureCode.PROVISIONING, "cannot be fetched"),
        ({}, order("fail"), FailureCode.PROVISIONING, "ended before it served its desktop: .*cannot go on"),
        ({"ready_within": 1.0}, order("idle"), FailureCode.TIMEOUT, "did not serve its desktop within 1 s"),
        ({}, order(resources={"memory": "lots"}), FailureCode.TEMPLATE, "not an amount of memory"),
    ],
    ids=["no image", "no registry", "ends at once", "never serves", "no quantity"],
)
async def test_what_cannot_start_says_why_and_leaves_nothing(
    begin: Begin, engine: Podman, settings: dict[str, Any], wanted: dict[str, Any], code: str, words: str
) -> None:
    agent = await begin(**settings)
    with pytest.raises(AgentFailure, match=words) as failed:
        await agent.run("s1", wanted, 1)
    assert failed.value.code == code
    assert engine.containers() == []
    assert agent.held() == []
    assert list((state_of(engine) / "rfb").iterdir()) == []


async def test_a_start_that_is_given_up_leaves_nothing(begin: Begin, engine: Podman) -> None:
    agent = await begin()
    start = asyncio.create_task(agent.run("s1", order("idle"), 1))
    while not engine.containers():
        assert not start.done(), start.exception()
        await asyncio.sleep(0.05)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    assert engine.containers() == []
    assert agent.held() == []


async def test_a_start_that_is_given_up_while_its_container_is_made_leaves_nothing(
    begin: Begin, engine: Podman, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = await begin()
    create, made, answered = agent._engine.create, asyncio.Event(), asyncio.Event()

    async def late(name: str, body: dict[str, Any]) -> str:
        container_id = await create(name, body)
        made.set()
        await answered.wait()
        return container_id

    monkeypatch.setattr(agent._engine, "create", late)
    start = asyncio.create_task(agent.run("s1", order("idle"), 1))
    async with asyncio.timeout(30):
        await made.wait()
    start.cancel()
    asyncio.get_running_loop().call_later(0.1, answered.set)
    with pytest.raises(asyncio.CancelledError):
        await start
    assert engine.containers() == []
    assert agent.held() == []


async def test_the_log_is_followed_to_its_end(begin: Begin, engine: Podman) -> None:
    agent = await begin()
    await agent.run("s1", order("talk"), 1)
    seen: list[str] = []
    async with aclosing(agent.follow("s1", 1)) as lines:
        async for some in lines:
            seen += [line[25:] for line in some if line[25:].startswith("line ")]
            if len(seen) >= 3 and agent.held():  # several may come at once
                await agent.end("s1", graceful=False, timeout=0.0, delete_home=False)
    numbers = [int(line.split()[1]) for line in seen]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "none lost, none twice"
    with pytest.raises(AgentFailure):
        await anext(agent.follow("s1", 1))


async def test_what_a_container_uses_is_measured(begin: Begin, engine: Podman) -> None:
    agent = await begin()
    result = await agent.run("s1", order(), 1)
    async with aclosing(agent._engine.samples(result["container_id"])) as samples:
        sample = await asyncio.wait_for(anext(samples), 10)
    assert sample["cpu_stats"]["cpu_usage"]["total_usage"] > 0
    async with asyncio.timeout(10):
        while (load := await agent.load()).sessions[0].memory is None:
            await asyncio.sleep(0.05)
    assert load.sessions[0].session_id == "s1"
    assert load.sessions[0].memory > 2**20
    assert load.memory is not None


async def test_an_engine_that_goes_away_is_a_failure_and_its_return_is_noticed(begin: Begin, engine: Podman) -> None:
    agent = await begin()
    events = heard(agent)
    await agent.run("s1", order("leave"), 1)
    engine.stop()
    try:
        with pytest.raises(AgentFailure):
            await agent.run("s2", order(user="ben"), 1)
        assert [one.session_id for one in agent.held()] == ["s1"], "what it cannot ask about is not lost"
        engine.let_go("callboard-s1-1")
    finally:
        engine.start()
    event = await asyncio.wait_for(events.get(), 30)
    assert (event.session_id, event.event) == ("s1", "exited")


async def test_without_an_engine_the_agent_says_what_it_looked_for(tmp_path: Path) -> None:
    def agent(**settings: Any) -> DockerPlatform:
        return DockerPlatform(DockerSettings(**settings), AGENT, tmp_path, {"XDG_RUNTIME_DIR": str(tmp_path)})

    with pytest.raises(AgentFailure, match="cannot be asked"):
        await agent(socket=f"unix://{tmp_path}/nobody.sock").start()
    with pytest.raises(AgentFailure, match="no socket of this machine"):
        await agent(socket="tcp://10.0.0.5:2375").start()
    with pytest.raises(AgentFailure, match="too long a path"):
        await DockerPlatform(DockerSettings(), AGENT, tmp_path / ("deep" * 40), {}).start()
    with pytest.raises(AgentFailure, match="is not connected"):
        await Engine("unix:///x").inspect("y")
