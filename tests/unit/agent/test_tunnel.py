"""Tunnels between a scripted RFB server and a scripted broker: bytes, bounds, ends and refusals."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from app.agent.platform import AgentFailure, RfbAddress, TcpAddress, UnixAddress
from app.agent.rfb import grab, open_rfb
from app.agent.tunnel import Tunnel
from app.agent_protocol import TUNNEL_FRAME, CloseCode
from tests.fakes.agent_broker import AgentBroker
from tests.unit.agent.conftest import until

MIB = 1024 * 1024


class Desktop:
    """A VNC server as far as a tunnel is concerned: greets, then does what the test says."""

    def __init__(self) -> None:
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter
        self.connected = asyncio.Event()
        self._server: asyncio.Server | None = None

    async def listen(self) -> RfbAddress:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=MIB)
        return TcpAddress("127.0.0.1", self._server.sockets[0].getsockname()[1])

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        writer.write(b"RFB 003.008\n")
        self.connected.set()
        await writer.wait_closed()

    async def close(self) -> None:
        if self.connected.is_set():
            self.writer.transport.abort()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()


@pytest.fixture
async def broker() -> AsyncIterator[AgentBroker]:
    async with AgentBroker() as one:
        yield one


@pytest.fixture
async def desktop() -> AsyncIterator[Desktop]:
    one = Desktop()
    yield one
    await one.close()


@pytest.fixture
async def pair(broker: AgentBroker, desktop: Desktop) -> AsyncIterator[tuple[Tunnel, ServerConnection]]:
    tunnel = Tunnel()
    there = broker.expect_tunnel("p1")
    await tunnel.open(await desktop.listen(), url(broker), "the-token", None)
    socket = await there
    assert await socket.recv() == b"RFB 003.008\n"
    yield tunnel, socket
    tunnel.close(CloseCode.NORMAL)
    await until(lambda: tunnel._web._transport is None)  # type: ignore[union-attr]


def url(broker: AgentBroker) -> str:
    return f"{broker.url.replace('http', 'ws')}/agent/tunnel/p1"


Pair = tuple[Tunnel, ServerConnection]


async def test_the_broker_is_shown_the_token_and_offered_no_compression(pair: Pair, broker: AgentBroker) -> None:
    headers = broker.headers[-1]
    assert headers["authorization"] == "Bearer the-token"
    assert headers["sec-websocket-protocol"] == "streamspace.vnc.v1"
    assert "sec-websocket-extensions" not in headers


async def test_bytes_arrive_as_they_were_in_frames_of_bounded_size(pair: Pair, desktop: Desktop) -> None:
    tunnel, socket = pair
    data = os.urandom(3 * MIB)
    desktop.writer.write(data)
    got = bytearray()
    while len(got) < len(data):
        frame = await asyncio.wait_for(socket.recv(), 10)
        assert isinstance(frame, bytes)
        assert len(frame) <= TUNNEL_FRAME
        got += frame
    assert got == data
    back = os.urandom(MIB)
    await socket.send("text is reserved")
    for at in range(0, MIB, 100_000):
        await socket.send(back[at : at + 100_000])
    assert await asyncio.wait_for(desktop.reader.readexactly(MIB), 10) == back
    await socket.send([b"in ", b"three ", b"parts"])
    assert await asyncio.wait_for(desktop.reader.readexactly(14), 10) == b"in three parts"
    assert (tunnel.down, tunnel.up) == (len(data) + 12, MIB + 14)


async def test_a_broker_that_does_not_read_stops_the_desktop_and_not_our_memory(pair: Pair, desktop: Desktop) -> None:
    tunnel, socket = pair
    socket.transport.pause_reading()
    sent = 0

    async def pour() -> None:
        nonlocal sent
        while sent < 64 * MIB:
            desktop.writer.write(bytes(256 * 1024))
            sent += 256 * 1024
            await asyncio.wait_for(desktop.writer.drain(), 0.5)

    with pytest.raises(TimeoutError):
        await pour()
    assert sent < 64 * MIB
    waiting = tunnel._web._transport.get_write_buffer_size()  # type: ignore[union-attr]
    assert waiting < MIB
    socket.transport.resume_reading()
    got = 0
    while got < sent:
        got += len(await asyncio.wait_for(socket.recv(), 10))


async def test_a_desktop_that_does_not_read_stops_the_viewer_and_not_our_memory(pair: Pair, desktop: Desktop) -> None:
    tunnel, socket = pair
    sent = 0

    async def pour() -> None:
        nonlocal sent
        while sent < 64 * MIB:
            sent += 64 * 1024
            await asyncio.wait_for(socket.send(bytes(64 * 1024)), 0.5)

    with pytest.raises(TimeoutError):
        await pour()
    assert tunnel._rfb._transport.get_write_buffer_size() < 2 * MIB  # type: ignore[union-attr]
    got = 0
    while got < sent:  # the cancelled send was taken all the same
        got += len(await asyncio.wait_for(desktop.reader.read(MIB), 10))


async def test_the_end_of_the_desktop_reaches_the_broker(pair: Pair, desktop: Desktop) -> None:
    tunnel, socket = pair
    desktop.writer.close()
    with pytest.raises(ConnectionClosed):
        await socket.recv()
    assert socket.close_code == CloseCode.REFUSED
    assert await tunnel.closed == CloseCode.REFUSED


async def test_the_end_of_the_viewer_reaches_the_desktop(pair: Pair, desktop: Desktop) -> None:
    tunnel, socket = pair
    await socket.close(CloseCode.KICKED, "kicked")
    assert await asyncio.wait_for(desktop.reader.read(), 15) == b""
    assert await tunnel.closed == CloseCode.KICKED


async def test_a_broker_that_vanishes_reaches_the_desktop(pair: Pair, desktop: Desktop) -> None:
    tunnel, socket = pair
    socket.transport.abort()
    assert await asyncio.wait_for(desktop.reader.read(), 15) == b""
    assert tunnel.closed.done()


@pytest.mark.parametrize("code", [CloseCode.HIBERNATED, CloseCode.ENDED, CloseCode.SHUTDOWN])
async def test_a_reason_of_ours_reaches_the_broker(pair: Pair, code: int) -> None:
    tunnel, socket = pair
    tunnel.close(code, "because " * 30)
    with pytest.raises(ConnectionClosed):
        await socket.recv()
    assert socket.close_code == code
    assert socket.close_reason
    assert socket.close_reason.startswith("because")


async def test_a_desktop_that_is_not_there_leaves_the_broker_alone(broker: AgentBroker, state: Any) -> None:
    for address in (TcpAddress("127.0.0.1", 1), UnixAddress(str(state / "none"))):
        with pytest.raises(AgentFailure) as refused:
            await Tunnel().open(address, url(broker), "", None)
        assert refused.value.code == "VNC_CONNECT_FAILED"
    assert broker.headers == []


async def test_a_broker_that_refuses_the_tunnel_costs_the_desktop_nothing(
    broker: AgentBroker, desktop: Desktop
) -> None:
    from http import HTTPStatus

    broker.refuse = HTTPStatus.FORBIDDEN
    with pytest.raises(AgentFailure, match="tunnel"):
        await Tunnel().open(await desktop.listen(), url(broker), "x", None)
    assert await asyncio.wait_for(desktop.reader.read(), 15) == b""


async def test_silence_after_a_ping_ends_a_half_open_tunnel(
    broker: AgentBroker, desktop: Desktop, monkeypatch: pytest.MonkeyPatch
) -> None:
    tunnel = Tunnel()
    there = broker.expect_tunnel("p1")
    await tunnel.open(await desktop.listen(), url(broker), "", None)
    socket, web = await there, tunnel._web
    assert web is not None
    for _ in range(3):  # its time has come
        web._ping()
        await until(lambda: web._heard)
    assert not tunnel.closed.done()  # pongs are life
    socket.transport.pause_reading()
    monkeypatch.setattr("app.agent.tunnel.PING", 0.2)
    web._ping()
    assert not tunnel.closed.done()
    await asyncio.wait_for(tunnel.closed, 10)
    socket.transport.abort()


async def test_a_desktop_with_a_crowd_before_it_is_reached_when_it_takes_one_more(
    broker: AgentBroker, tmp_path: Path
) -> None:
    path = str(tmp_path / "rfb.sock")
    with contextlib.ExitStack() as open_sockets:
        door = open_sockets.enter_context(socket.socket(socket.AF_UNIX))
        door.bind(path)
        door.listen(1)
        door.setblocking(False)

        def comes_another() -> bool:
            one = open_sockets.enter_context(socket.socket(socket.AF_UNIX))
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                one.connect(path)
                return True
            return False

        while comes_another():
            continue
        tunnel = Tunnel()
        there = broker.expect_tunnel("p1")
        opening = asyncio.create_task(tunnel.open(UnixAddress(path), url(broker), "the-token", None))
        picture = asyncio.create_task(open_rfb(UnixAddress(path)))
        assert await asyncio.wait({opening, picture}, timeout=0.1) == (set(), {opening, picture})
        while not (opening.done() and picture.done()):
            with contextlib.suppress(BlockingIOError):
                open_sockets.enter_context(door.accept()[0])
            await asyncio.sleep(0.01)
        await opening
        (await picture)[1].transport.abort()
        await there
        tunnel.close(CloseCode.NORMAL)
        await until(lambda: tunnel._web._transport is None)  # type: ignore[union-attr]


async def test_a_link_in_a_folder_that_others_write_leads_to_no_desktop(broker: AgentBroker, tmp_path: Path) -> None:
    """A container has its socket's folder to itself: a link there would open the desktop of somebody else."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"RFB 003.008\n")
        await reader.read()
        writer.close()

    (tmp_path / "own").mkdir()
    link = tmp_path / "own" / "rfb.sock"
    link.symlink_to("../rfb.sock")
    async with await asyncio.start_unix_server(serve, tmp_path / "rfb.sock"):
        tunnel = Tunnel()
        with pytest.raises(AgentFailure, match="something else"):
            await tunnel.open(UnixAddress(str(link), exposed=True), url(broker), "the-token", None)
        with pytest.raises(AgentFailure, match="something else"):
            await grab(UnixAddress(str(link), exposed=True))
        there = broker.expect_tunnel("p1")
        plain = Tunnel()
        await plain.open(UnixAddress(str(tmp_path / "rfb.sock"), exposed=True), url(broker), "the-token", None)
        assert await (await there).recv() == b"RFB 003.008\n"
        plain.close(CloseCode.NORMAL)
        await until(lambda: plain._web._transport is None)  # type: ignore[union-attr]


async def test_a_desktop_that_hangs_up_while_the_broker_is_dialled_leaves_no_tunnel(
    broker: AgentBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that shuts somebody out may be gone before the broker has answered."""

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    dial = Tunnel._open_web

    async def late(tunnel: Tunnel, *arguments: Any) -> None:
        await until(tunnel.closed.done)
        await dial(tunnel, *arguments)

    monkeypatch.setattr(Tunnel, "_open_web", late)
    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        tunnel = Tunnel()
        there = broker.expect_tunnel("p1")
        await tunnel.open(TcpAddress("127.0.0.1", server.sockets[0].getsockname()[1]), url(broker), "", None)
        socket = await there
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(socket.recv(), 15)
        assert socket.close_code == CloseCode.REFUSED


async def test_a_broker_that_does_not_answer_the_upgrade_is_left(
    desktop: Desktop, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            ended.set_result(await reader.read())
        except (ConnectionResetError, asyncio.IncompleteReadError):  # it may be left before it was asked anything
            ended.set_result(b"")
        writer.close()

    monkeypatch.setattr("app.agent.tunnel.DIAL_WITHIN", 0.2)
    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(AgentFailure, match="no answer"):
            await Tunnel().open(await desktop.listen(), f"ws://127.0.0.1:{port}/agent/tunnel/p1", "", None)
        assert await asyncio.wait_for(ended, 15) == b""
