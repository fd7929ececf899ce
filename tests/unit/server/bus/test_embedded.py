from __future__ import annotations

import asyncio
import signal
import socket
import stat
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import nats
import psutil
import pytest
from nats.aio.client import Client

from app.demo.nats_client import connect as connect_nats
from app.errors import PortInUse, Unavailable
from app.paths import DataFolder
from app.server.bus import children, embedded
from app.server.bus.embedded import EmbeddedNats, binary, reachable
from app.server.tasks import TaskTree


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[tuple[Client, asyncio.Queue[str]]]:
    """A client, and what the server complains about."""
    errors: asyncio.Queue[str] = asyncio.Queue()

    async def complain(error: Exception) -> None:
        errors.put_nowait(str(error))

    client = await connect_nats(url, error_cb=complain, allow_reconnect=False, connect_timeout=5, **options)
    try:
        yield client, errors
    finally:
        await client.close()


def venue_url(server: EmbeddedNats) -> str:
    return f"nats://127.0.0.1:{server.port}"


async def soon(check: Callable[[], Awaitable[Any]], within: float = 5.0) -> Any:
    async with asyncio.timeout(within):
        return await check()


async def test_the_credential_is_for_the_owner_alone_and_not_in_the_process_list(
    server: EmbeddedNats, folder: DataFolder
) -> None:
    file = folder.nats / "nats-server.conf"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert server._password in file.read_text()
    assert server.pid is not None
    assert server._password not in " ".join(psutil.Process(server.pid).cmdline())


async def test_the_server_is_the_one_of_the_wheel() -> None:
    said = await asyncio.to_thread(subprocess.check_output, [str(binary()), "--version"])
    assert b"nats-server" in said


async def test_a_venue_client_does_what_the_handshake_needs(server: EmbeddedNats) -> None:
    async with connected(server.url) as (broker, _), connected(venue_url(server)) as (venue, complaints):
        beats = await broker.subscribe("maestra.stream.heartbeat.*")
        await broker.flush()
        for subject in embedded.VENUE_SUBSCRIBES:
            await venue.subscribe(subject.replace("*", "a1"))

        async def answer(message: Any) -> None:
            await message.respond(b"yes")

        await venue.subscribe("maestra.stream.request.s1", cb=answer)
        await venue.publish("maestra.stream.heartbeat.s1", b"")
        await venue.flush()
        assert (await beats.next_msg(5)).subject == "maestra.stream.heartbeat.s1"
        assert (await broker.request("maestra.stream.request.s1", b"?", timeout=5)).data == b"yes"
        assert complaints.empty()


@pytest.mark.parametrize(
    "subject",
    [
        "maestra.>", "maestra.stream.>", ">", "*", "maestra.*.request.s1", "_CALLBOARD.>", "_INBOX.>", "_INBOX.x.*",
        "callboard.>", "maestra.stream.heartbeat.*", "$SYS.>",
    ],
)  # fmt: skip
async def test_a_venue_client_subscribes_to_nothing_else(server: EmbeddedNats, subject: str) -> None:
    async with connected(server.url) as (broker, _), connected(venue_url(server)) as (venue, complaints):
        await venue.subscribe(subject)
        assert "Permissions Violation for Subscription".lower() in (await soon(complaints.get)).lower()
        with pytest.raises(nats.errors.NoRespondersError):
            await broker.request("maestra.stream.request.s1", b"?", timeout=5)


@pytest.mark.parametrize(
    "subject",
    [
        "maestra.stream.advertise", "maestra.stream.request.s1", "maestra.stream.session.started", "_CALLBOARD.x.y",
        "_INBOX.x", "maestra.stream.heartbeat.a.b", "anything",
    ],
)  # fmt: skip
async def test_a_venue_client_publishes_to_nothing_else(server: EmbeddedNats, subject: str) -> None:
    async with connected(server.url) as (broker, _), connected(venue_url(server)) as (venue, complaints):
        heard = await broker.subscribe(">")
        await broker.flush()
        await venue.publish(subject, b"forged")
        assert "permissions violation for publish" in (await soon(complaints.get)).lower()
        await venue.publish("maestra.stream.heartbeat.s1", b"last")
        await venue.flush()
        assert (await heard.next_msg(5)).data == b"last"


async def test_answers_to_one_request_are_bounded(server: EmbeddedNats) -> None:
    async with connected(server.url) as (broker, _), connected(venue_url(server)) as (venue, complaints):
        requests = await venue.subscribe("maestra.stream.request.s1")
        await venue.flush()
        answers = await broker.subscribe("_CALLBOARD.here")
        await broker.publish("maestra.stream.request.s1", b"?", reply="_CALLBOARD.here")
        request = await requests.next_msg(5)
        for number in range(10):
            await request.respond(b"%d" % number)
        assert "permissions violation for publish" in (await soon(complaints.get)).lower()
        await broker.flush()
        assert [(await answers.next_msg(5)).data for _ in range(embedded.RESPONSES["max"])] == [b"0", b"1", b"2", b"3"]
        with pytest.raises(nats.errors.TimeoutError):
            await answers.next_msg(0.05)


async def test_internal_needs_its_password(server: EmbeddedNats) -> None:
    client = Client()
    with pytest.raises(nats.errors.Error, match="Authorization Violation"):
        await client.connect(venue_url(server), user="internal", password="guess", allow_reconnect=False)
    await client.close()


async def test_it_is_started_again_on_the_same_port(tree: TaskTree, folder: DataFolder) -> None:
    server = EmbeddedNats(tree, folder.nats, folder.logs, "127.0.0.1", 0)
    await server.start()
    try:
        port, first = server.port, server.pid
        assert first is not None
        psutil.Process(first).send_signal(signal.SIGKILL)
        node = next(node for node in tree.root.children if node.name == "nats-server")
        async with asyncio.timeout(10):
            while server.pid in (first, None) or server.text:
                await asyncio.sleep(0.01)
        assert server.port == port
        assert node.restarts == 1
        assert "exit status" in node.last_error
        async with connected(venue_url(server)):
            pass
    finally:
        await server.stop()


async def test_a_port_in_use_is_told_with_its_setting(tree: TaskTree, folder: DataFolder) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match=rf"Port {port} is in use on 127.0.0.1; --nats-port"):
            await EmbeddedNats(tree, folder.nats, folder.logs, "127.0.0.1", port).start()
    assert tree.root.children == []


async def test_a_port_lost_at_the_last_moment_is_told_too(
    tree: TaskTree, folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unbound:
        def close(self) -> None: ...

    monkeypatch.setattr(embedded, "bind", lambda *_: Unbound())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = EmbeddedNats(tree, folder.nats, folder.logs, "127.0.0.1", taken.getsockname()[1])
        with pytest.raises(PortInUse, match="--nats-port"):
            await server.start()
        await server.stop()


async def test_a_server_that_does_not_start_says_why(
    tree: TaskTree, folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "RESPONSES", {"max": "many"})
    server = EmbeddedNats(tree, folder.nats, folder.logs, "127.0.0.1", 0)
    with pytest.raises(Unavailable, match="nats-server does not start"):
        await server.start()
    await server.stop()


@pytest.mark.parametrize(
    ("mode", "says"), [(0o644, "cannot be run: Permission denied"), (0o755, "was not ready within 0.05 s")]
)
async def test_a_program_that_cannot_run_or_says_nothing_keeps_nobody_waiting(
    tree: TaskTree, folder: DataFolder, monkeypatch: pytest.MonkeyPatch, mode: int, says: str
) -> None:
    program = folder.path / "nats-server"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(mode)
    monkeypatch.setattr(embedded, "binary", lambda: program)
    monkeypatch.setattr(embedded, "READY_WITHIN", 0.05)
    server = EmbeddedNats(tree, folder.nats, folder.logs, "127.0.0.1", 0)
    with pytest.raises(Unavailable, match=says):
        await soon(server.start)
    await server.stop()
    assert tree.root.children == []


async def test_a_start_that_failed_leaves_no_process_to_whoever_stops_it_at_once(
    tree: TaskTree, folder: DataFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The program does not end when it is asked to, and the stop comes while its end is waited for."""
    program, told = folder.path / "nats-server", folder.path / "told"
    program.write_text(f"#!/bin/sh\ntrap '' TERM\n: > {told}\nwhile :; do sleep 0.1; done\n")
    program.chmod(0o755)
    pids: list[int] = []

    async def wait_in_vain(self: EmbeddedNats, process: asyncio.subprocess.Process) -> int:
        pids.append(process.pid)
        async with asyncio.timeout(20):
            while not told.exists():
                await asyncio.sleep(0.01)
        raise TimeoutError

    monkeypatch.setattr(embedded, "binary", lambda: program)
    monkeypatch.setattr(EmbeddedNats, "_wait_ready", wait_in_vain)
    server = EmbeddedNats(tree, folder.nats, folder.logs, "127.0.0.1", 0)
    with pytest.raises(Unavailable, match="was not ready"):
        await server.start()
    await server.stop()
    assert tree.root.children == []
    assert [children.identity(pid) for pid in pids] == [None]
    assert server.pid is None


async def test_a_stale_server_of_ours_is_ended_first(tree: TaskTree, folder: DataFolder) -> None:
    former = EmbeddedNats(tree, folder.nats, folder.logs, "127.0.0.1", 0)
    configured = embedded.configuration("127.0.0.1", 0, folder.nats, folder.logs / "old.log", "x")
    (folder.nats / "old.conf").write_bytes(configured)
    stale = subprocess.Popen([str(binary()), "-c", str(folder.nats / "old.conf")])
    try:
        former._record(stale.pid)
        server = EmbeddedNats(tree, folder.nats, folder.logs, "127.0.0.1", 0)
        await server.start()
        assert await asyncio.to_thread(stale.wait, 15) == 0 or stale.returncode is not None
        assert server.pid not in (stale.pid, None)
        await server.stop()
    finally:
        stale.kill()
        stale.wait()


async def test_a_process_with_a_reused_number_is_left_alone(tree: TaskTree, folder: DataFolder) -> None:
    innocent = subprocess.Popen([str(binary()), "-a", "127.0.0.1", "-p", "-1"], stderr=subprocess.DEVNULL)
    try:
        (folder.nats / "nats-server.json").write_bytes(msgspec.json.encode((innocent.pid, "another boot:1:1")))
        server = EmbeddedNats(tree, folder.nats, folder.logs, "127.0.0.1", 0)
        await server.start()
        await server.stop()
        assert children.identity(innocent.pid) is not None
    finally:
        innocent.kill()
        innocent.wait()


async def test_stopping_leaves_nothing_behind(server: EmbeddedNats, folder: DataFolder) -> None:
    pid = server.pid
    assert pid is not None
    await server.stop()
    assert children.identity(pid) is None
    assert sorted(path.name for path in folder.nats.iterdir()) == ["nats-server.conf"]


@pytest.mark.parametrize(
    ("host", "reached"), [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("fd00::1", "[fd00::1]"), ("10.0.0.1", "10.0.0.1")]
)
def test_how_this_machine_reaches_a_listener(host: str, reached: str) -> None:
    assert reachable(host) == reached
