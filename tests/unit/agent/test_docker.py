"""Platform ``docker``: where the engine is looked for, and images that serve on TCP. The rest: on a real engine."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.agent.config import DockerSettings
from app.agent.docker import DockerPlatform
from app.agent.docker_engine import Engine, engine_url
from app.agent.docker_spec import Found, Image, found_of
from app.agent.platform import AgentFailure, FailureCode, TcpAddress


class NetworkedEngine(Engine):
    """An engine whose one container has an address on a network; what the real engine's tests leave out, since
    networks would outlive them."""

    def __init__(self, labels: dict[str, str]) -> None:
        super().__init__("unix:///nowhere.sock")
        self.image_labels = labels
        self.bodies: list[dict[str, Any]] = []
        self.there = False

    async def open(self) -> None:
        self.kind = "docker"

    async def close(self) -> None:
        return

    async def image(self, name: str) -> Image | None:
        return Image(name, self.image_labels, "")

    async def keep_volume(self, name: str, labels: dict[str, str]) -> None:
        return

    async def create(self, name: str, body: dict[str, Any]) -> str:
        self.bodies.append(body)
        return "c" * 64

    async def start(self, container_id: str) -> None:
        self.there = True

    async def remove(self, container_id: str) -> None:
        self.there = False

    async def inspect(self, container_id: str) -> Found | None:
        networks = {"NetworkSettings": {"Networks": {"stage": {"IPAddress": "127.0.0.1"}}}}
        state = {"Id": container_id, "Config": self.bodies[-1], "State": {"Status": "running"}}
        return found_of(state | networks) if self.there else None

    async def ours(self, agent_id: str, session_id: str = "") -> list[Found]:
        found = await self.inspect("c" * 64) if self.bodies else None
        return [] if found is None else [found]

    async def ended(self, container_id: str) -> None:
        await asyncio.Event().wait()

    async def samples(self, container_id: str) -> AsyncGenerator[dict[str, Any], None]:
        await asyncio.Event().wait()
        yield {}

    async def log(self, container_id: str, tail: int, *, follow: bool) -> AsyncGenerator[bytes, None]:
        for nothing in ():
            yield nothing


@pytest.fixture
async def desktop() -> AsyncIterator[int]:
    """Somebody who greets as a VNC server without a password does; the port."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"RFB 003.008\n")
        await reader.readexactly(12)
        writer.write(b"\x01\x01")
        await reader.readexactly(1)
        writer.write(bytes(4))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


@pytest.mark.parametrize("labelled", [True, False])
async def test_a_desktop_on_tcp_is_reached_on_the_agents_network(tmp_path: Path, desktop: int, labelled: bool) -> None:
    engine = NetworkedEngine({"org.callboard.rfb": str(desktop)} if labelled else {})
    settings = DockerSettings(network="stage", ready_within=5.0)
    agent = DockerPlatform(settings, "docker-01", tmp_path, {}, engine)
    await agent.start()
    await agent.run("s1", {"image": "kasm", "user": "ada", "template": "kasm", "vnc": {"port": desktop}}, 1)
    assert await agent.rfb_address("s1") == TcpAddress("127.0.0.1", desktop)
    assert engine.bodies[0]["HostConfig"]["NetworkMode"] == "stage"
    await agent.stop()
    after = DockerPlatform(settings, "docker-01", tmp_path, {}, engine)
    await after.start()
    assert await after.rfb_address("s1") == TcpAddress("127.0.0.1", desktop), "adopted with its address"
    await after.end("s1", graceful=False, timeout=0.0, delete_home=False)
    assert engine.there is False


async def test_without_a_network_such_an_image_is_refused(tmp_path: Path) -> None:
    engine = NetworkedEngine({"org.callboard.rfb": "5901"})
    agent = DockerPlatform(DockerSettings(), "docker-01", tmp_path, {}, engine)
    await agent.start()
    with pytest.raises(AgentFailure, match=r"name one in its configuration, \[docker\] network") as refused:
        await agent.run("s1", {"image": "kasm"}, 1)
    assert refused.value.code == FailureCode.TEMPLATE
    assert engine.bodies == []
    await agent.stop()


class SlowEngine(NetworkedEngine):
    """It has made a container long before it says so."""

    def __init__(self) -> None:
        super().__init__({})
        self.made = asyncio.Event()
        self.answered = asyncio.Event()
        self.removed: list[str] = []

    async def create(self, name: str, body: dict[str, Any]) -> str:
        self.made.set()
        await self.answered.wait()
        return await super().create(name, body)

    async def remove(self, container_id: str) -> None:
        self.removed.append(container_id)


async def test_a_start_that_is_given_up_again_and_again_still_removes_its_container(tmp_path: Path) -> None:
    engine = SlowEngine()
    agent = DockerPlatform(DockerSettings(), "docker-01", tmp_path, {}, engine)
    await agent.start()
    start = asyncio.create_task(agent.run("s1", {"image": "kasm", "user": "ada", "template": "kasm"}, 1))
    async with asyncio.timeout(10):
        await engine.made.wait()
    for _ in range(3):
        start.cancel()
        for _ in range(10):  # each arrives
            await asyncio.sleep(0)
    engine.answered.set()
    await asyncio.wait([start], timeout=10)
    assert start.cancelled()
    assert engine.removed == ["c" * 64]
    assert agent.held() == []
    await agent.stop()


def test_the_engine_is_looked_for_in_order(tmp_path: Path) -> None:
    runtime = {"XDG_RUNTIME_DIR": str(tmp_path)}
    named = DockerSettings(socket="/run/mine.sock")
    assert engine_url(named, {"DOCKER_HOST": "unix:///run/theirs.sock"}) == "unix:///run/mine.sock"
    assert engine_url(DockerSettings(), {"DOCKER_HOST": "unix:///run/theirs.sock"}) == "unix:///run/theirs.sock"
    with pytest.raises(AgentFailure, match="no socket of this machine"):
        engine_url(DockerSettings(), {"DOCKER_HOST": "tcp://127.0.0.1:2375"})
    (tmp_path / "podman").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "podman" / "podman.sock"))
        found = engine_url(DockerSettings(), runtime)
    usual = ("unix:///run/docker.sock", "unix:///var/run/docker.sock")  # where this machine has one itself
    assert found in (*usual, f"unix://{tmp_path}/podman/podman.sock")
