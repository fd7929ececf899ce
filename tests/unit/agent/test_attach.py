"""Platform ``attach`` against real VNC servers: greeting, forgetting, adoption, and who names the host."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.agent.attach import AttachPlatform
from app.agent.config import Target
from app.agent.platform import AgentFailure, FailureCode, TcpAddress, UnixAddress
from app.agent.thumbnail import Thumbnails

Serve = Callable[..., Path]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start real VNC servers, each on a socket file of its own."""
    running: list[subprocess.Popen[bytes]] = []

    def start(name: str, *arguments: str) -> Path:
        path = tmp_path / f"{name}.sock"
        ready, tell = os.pipe()
        command = ["Xvnc", "-geometry", "320x200", "-rfbunixpath", str(path), "-rfbunixmode", "0600", "-rfbport", "-1"]
        command += ["-nolisten", "tcp", "-displayfd", str(tell), *(arguments or ["-SecurityTypes", "None"])]
        running.append(subprocess.Popen(command, pass_fds=[tell], stderr=subprocess.DEVNULL))
        os.close(tell)
        with open(ready, "rb") as line:
            assert line.readline().strip().isdigit(), "the server must have come up"
        return path

    yield start
    for one in running:
        one.terminate()
        one.wait(10)


@pytest.fixture
async def impostor() -> AsyncIterator[tuple[int, dict[str, Any]]]:
    """A server that answers whatever ``said`` holds, and counts who came; on TCP, as workstations serve."""
    said: dict[str, Any] = {"words": b"", "calls": 0, "leaves": True}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        said["calls"] += 1
        writer.write(said["words"])
        if not said["leaves"]:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1], said
    server.close()
    await server.wait_closed()


def platform(folder: Path, *targets: Target) -> AttachPlatform:
    return AttachPlatform(targets, folder / "state")


def start_of(target: str, **more: Any) -> dict[str, Any]:
    return {"name": f"ada-{target}-abc123", "user": "ada", "template": target, **more}


async def test_a_session_is_a_target_that_greets(tmp_path: Path, serve: Serve) -> None:
    path = serve("stage")
    agent = platform(tmp_path, Target(name="stage", title="Stage left", unix=str(path)))
    await agent.start()
    assert agent.attached == [{"name": "stage", "title": "Stage left"}]
    assert "hibernate" not in agent.capabilities
    result = await agent.run("s1", start_of("stage"), 1)
    assert result["platform_metadata"] == {"target": "stage", "title": "Stage left", "security_types": [1]}
    assert await agent.rfb_address("s1") == UnixAddress(str(path))
    assert agent.picture_refused("s1") == ""
    assert await agent.run("s1", start_of("stage"), 1) == result, "a repeated start finds what is there"
    assert [one.session_id for one in agent.held()] == ["s1"]


async def test_the_end_forgets_and_the_server_goes_on(tmp_path: Path, serve: Serve) -> None:
    agent = platform(tmp_path, Target(name="stage", unix=str(serve("stage"))))
    await agent.start()
    await agent.run("s1", start_of("stage"), 1)
    await agent.end("s1", graceful=True, timeout=1.0, delete_home=False)
    await agent.end("s1", graceful=True, timeout=1.0, delete_home=False)
    assert agent.held() == []
    with pytest.raises(AgentFailure) as gone:
        await agent.rfb_address("s1")
    assert gone.value.code == FailureCode.VNC_NOT_FOUND
    await agent.run("s2", start_of("stage"), 1)


async def test_neither_broker_nor_template_names_a_host(tmp_path: Path, impostor: tuple[int, dict[str, Any]]) -> None:
    port, said = impostor
    agent = platform(tmp_path, Target(name="stage", unix=str(tmp_path / "nobody.sock")))
    await agent.start()
    names_one = start_of(
        "stage", host="127.0.0.1", port=port, vnc={"port": port, "host": "127.0.0.1"}, pod_ip="127.0.0.1"
    )
    with pytest.raises(AgentFailure) as refused:
        await agent.run("s1", names_one, 1)
    assert refused.value.code == FailureCode.VNC_CONNECT
    for template in (f"127.0.0.1:{port}", "127.0.0.1", "", f"unix:{tmp_path}"):
        with pytest.raises(AgentFailure, match="no target") as unknown:
            await agent.run("s1", {**names_one, "template": template}, 1)
        assert unknown.value.code == FailureCode.TEMPLATE
    assert said["calls"] == 0
    assert agent.held() == []


@pytest.mark.parametrize(
    ("words", "leaves", "message"),
    [
        (b"SSH-2.0-OpenSSH_9", True, "hung up before|no VNC server"),
        (b"HTTP/1.1 400 Bad Request\r\n", False, "no VNC server"),
        (b"RFB 004.001\n", False, "no VNC server"),
        (b"RFB 003.008\n\x00\x00\x00\x00\x08too many", False, "it lets nobody in: too many"),
        (b"RFB 003.003\n\x00\x00\x00\x00\x00\x00\x00\x02no", False, "it lets nobody in: no"),
        (b"RFB 0", True, "hung up before"),
    ],
)
async def test_what_is_no_vnc_server_is_refused(
    tmp_path: Path, impostor: tuple[int, dict[str, Any]], words: bytes, leaves: bool, message: str
) -> None:
    port, said = impostor
    said.update(words=words, leaves=leaves)
    agent = platform(tmp_path, Target(name="stage", host="127.0.0.1", port=port))
    await agent.start()
    with pytest.raises(AgentFailure, match=message) as refused:
        await agent.run("s1", start_of("stage"), 1)
    assert refused.value.code == FailureCode.VNC_CONNECT
    assert agent.held() == [], "what failed to start holds no target"


async def test_the_oldest_servers_are_attached_too(tmp_path: Path, impostor: tuple[int, dict[str, Any]]) -> None:
    port, said = impostor
    said.update(words=b"RFB 003.003\n\x00\x00\x00\x02", leaves=False)
    agent = platform(tmp_path, Target(name="stage", host="127.0.0.1", port=port))
    await agent.start()
    result = await agent.run("s1", start_of("stage"), 1)
    assert result["platform_metadata"]["security_types"] == [2]
    assert result["vnc_port"] == port
    assert await agent.rfb_address("s1") == TcpAddress("127.0.0.1", port)
    with pytest.raises(AgentFailure, match="asks for a password"):
        await Thumbnails(agent).take("s1", 320)
    assert said["calls"] == 1, "who keeps asking without a password is shut out"


async def test_a_server_with_a_password_is_attached_and_never_asked_for_pictures(tmp_path: Path, serve: Serve) -> None:
    secret = tmp_path / "passwd"
    secret.write_bytes(b"\x01" * 8)
    path = serve("stage", "-SecurityTypes", "VncAuth", "-PasswordFile", str(secret))
    agent = platform(tmp_path, Target(name="stage", unix=str(path)))
    await agent.start()
    result = await agent.run("s1", start_of("stage"), 1)
    assert result["platform_metadata"]["security_types"] == [2]
    assert "asks for a password" in agent.picture_refused("s1")


async def test_checking_a_server_does_not_shut_its_viewers_out(tmp_path: Path, serve: Serve) -> None:
    """TigerVNC counts those who leave before they are in and refuses them from the sixth on."""
    agent = platform(tmp_path, Target(name="stage", unix=str(serve("stage"))))
    await agent.start()
    for turn in range(12):
        await agent.run(f"s{turn}", start_of("stage"), 1)
        await agent.end(f"s{turn}", graceful=True, timeout=1.0, delete_home=False)


async def test_one_session_holds_one_target(tmp_path: Path, serve: Serve) -> None:
    path = serve("stage")
    agent = platform(
        tmp_path, Target(name="stage", title="Stage left", unix=str(path)), Target(name="other", unix=str(path))
    )
    await agent.start()
    assert agent.capacity().max_sessions == 2
    first, second = await asyncio.gather(
        agent.run("s1", start_of("stage"), 1), agent.run("s2", start_of("stage"), 1), return_exceptions=True
    )
    assert isinstance(first, dict)
    assert isinstance(second, AgentFailure)
    assert second.code == FailureCode.CAPACITY
    assert "Stage left is on the board already, as session s1" in second.message
    await agent.run("s2", start_of("other"), 1)


async def test_the_next_agent_adopts_what_is_still_configured(tmp_path: Path, serve: Serve) -> None:
    stage, other = Target(name="stage", unix=str(serve("stage"))), Target(name="other", unix=str(serve("other")))
    before = platform(tmp_path, stage, other)
    await before.start()
    kept = await before.run("s1", start_of("stage"), 3)
    await before.run("s2", start_of("other"), 1)
    await before.stop()
    after = platform(tmp_path, stage)
    await after.start()
    assert [(one.session_id, one.generation, one.result) for one in after.held()] == [("s1", 3, kept)]
    await after.stop(end_sessions=True)
    last = platform(tmp_path, stage)
    await last.start()
    assert last.held() == []


async def test_generations_replace_each_other_forwards_only(tmp_path: Path, serve: Serve) -> None:
    agent = platform(tmp_path, Target(name="stage", unix=str(serve("stage"))))
    await agent.start()
    await agent.run("s1", start_of("stage"), 2)
    assert (await agent.run("s1", start_of("stage"), 3))["generation"] == 3
    with pytest.raises(AgentFailure, match="newer generation"):
        await agent.run("s1", start_of("stage"), 2)


async def test_what_cannot_be_done_says_so(tmp_path: Path, serve: Serve) -> None:
    with pytest.raises(AgentFailure, match="nothing to attach to"):
        await platform(tmp_path).start()
    agent = platform(tmp_path, Target(name="stage", unix=str(serve("stage"))))
    await agent.start()
    await agent.run("s1", start_of("stage"), 1)
    for question in (agent.hibernate("s1"), agent.logs("s1", 10), anext(agent.follow("s1", 10))):
        with pytest.raises(AgentFailure) as refused:
            await question
        assert refused.value.code == FailureCode.UNSUPPORTED
    assert (await agent.wake("s1", {}, 1))["session_id"] == "s1", "an attached session is awake"
    assert agent.missing(["firefox"]) == []
    assert (await agent.load()).memory is not None


async def test_a_reservation_begins_when_it_is_woken(tmp_path: Path, serve: Serve) -> None:
    agent = platform(tmp_path, Target(name="stage", unix=str(serve("stage"))))
    await agent.start()
    assert (await agent.wake("s1", start_of("stage"), 1))["generation"] == 1


async def test_a_list_that_cannot_be_read_is_no_reason_to_stay_away(tmp_path: Path, serve: Serve) -> None:
    agent = platform(tmp_path, Target(name="stage", unix=str(serve("stage"))))
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "attached.json").write_text("{")
    await agent.start()
    assert agent.held() == []
    await agent.run("s1", start_of("stage"), 1)


async def test_a_start_that_cannot_be_kept_holds_no_target(tmp_path: Path, serve: Serve) -> None:
    agent = platform(tmp_path, Target(name="stage", unix=str(serve("stage"))))
    await agent.start()
    (tmp_path / "state" / "attached.new").mkdir(parents=True)  # whoever writes there fails
    with pytest.raises(AgentFailure, match="cannot be written"):
        await agent.run("s1", start_of("stage"), 1)
    assert agent.held() == []
    (tmp_path / "state" / "attached.new").rmdir()
    await agent.run("s2", start_of("stage"), 1)
