"""A viewer and a tunnel joined: bytes, backpressure, close codes; real sockets on both sides."""

from __future__ import annotations

import asyncio
import contextlib
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from app.agent_protocol import TUNNEL_FRAME
from app.contract import ViewerMode
from app.server.fleet.hop import READ_SIZE, WRITE_HIGH, Hop
from app.server.fleet.relay import Relay
from app.server.fleet.rfb_filter import REFUSAL
from app.server.listeners import TAKE_OVER
from tests.fakes.vnc import KEY_A, Stream, listening, viewing


class Exchange:
    """An application of two paths: the first that comes on ``/viewer`` is joined with the first on ``/tunnel``."""

    def __init__(self, mode: ViewerMode = "control") -> None:
        self.mode = mode
        self.buffer = bytearray(READ_SIZE)
        self.relay: Relay | None = None
        self.joined = asyncio.Event()
        self.over: asyncio.Queue[tuple[int, str]] = asyncio.Queue()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hop = Hop(self.buffer)
        await receive()
        await send({"type": "websocket.accept"})
        if scope["path"] == "/viewer":
            self.relay = Relay(hop, self.mode, lambda code, reason: self.over.put_nowait((code, reason)))
        scope["extensions"][TAKE_OVER](hop)
        if scope["path"] == "/tunnel":
            assert self.relay is not None
            self.relay.join(hop)
            self.joined.set()
        await hop.closed.wait()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[tuple[ClientConnection, ClientConnection, Relay]]:
        async with (
            listening(self) as port,
            viewing(port, "/viewer", max_queue=1) as viewer,
            viewing(port, "/tunnel") as tunnel,
        ):
            await asyncio.wait_for(self.joined.wait(), 10)
            assert self.relay is not None
            yield viewer, tunnel, self.relay

    async def ended(self) -> tuple[int, str]:
        return await asyncio.wait_for(self.over.get(), 10)


async def closed(socket: ClientConnection) -> tuple[int | None, str | None]:
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.recv()
    return socket.close_code, socket.close_reason


async def test_bytes_pass_untouched_both_ways() -> None:
    async with Exchange().running() as (viewer, tunnel, relay):
        down, up = os.urandom(3_000_000), os.urandom(1_000_000)
        sending = [asyncio.create_task(pour(tunnel, down)), asyncio.create_task(pour(viewer, up))]
        at_viewer, at_tunnel = await asyncio.gather(Stream(viewer).read(len(down)), Stream(tunnel).read(len(up)))
        await asyncio.gather(*sending)
        assert at_viewer == down
        assert at_tunnel == up
        assert (relay.viewer.sent, relay.up_bytes) == (len(down), len(up))


async def pour(socket: ClientConnection, data: bytes) -> None:
    for at in range(0, len(data), 50_000):
        await socket.send(data[at : at + 50_000])


async def test_frames_to_an_agent_stay_small() -> None:
    async with Exchange().running() as (viewer, tunnel, _):
        data = os.urandom(400_000)
        await viewer.send(data)
        got = b""
        async with asyncio.timeout(10):
            while len(got) < len(data):
                message = await tunnel.recv()
                assert isinstance(message, bytes)
                assert len(message) <= TUNNEL_FRAME
                got += message
        assert got == data


async def test_a_viewer_that_stops_reading_stops_its_tunnel_and_bounds_memory() -> None:
    async with Exchange().running() as (viewer, tunnel, relay):
        viewer.transport.pause_reading()
        sent = await pour_until_stuck(tunnel)
        assert relay.viewer.waiting <= WRITE_HIGH + READ_SIZE + 64
        viewer.transport.resume_reading()
        async with asyncio.timeout(20):
            got = 0
            while got < sent:
                got += len(await viewer.recv())


async def pour_until_stuck(socket: ClientConnection) -> int:
    """Send until nothing is taken for half a second; how much was taken or waits to be."""
    sent = 0
    with contextlib.suppress(TimeoutError):
        while True:
            sent += 65536
            async with asyncio.timeout(0.5):
                await socket.send(bytes(65536))
    return sent


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (1000, ""),
        (1000, "bye"),
        (1001, "away"),
        (1011, "bug"),
        (4410, "ended"),
        (4423, "hibernated"),
        (4502, "x" * 123),
    ],
)
async def test_close_codes_cross_both_hops(code: int, reason: str) -> None:
    exchange = Exchange()
    async with exchange.running() as (viewer, tunnel, _):
        await tunnel.close(code, reason)
        assert await closed(viewer) == (code, reason)
        assert await exchange.ended() == (code, reason)
    exchange = Exchange()
    async with exchange.running() as (viewer, tunnel, _):
        await viewer.close(code, reason)
        assert await closed(tunnel) == (code, reason)
        assert await exchange.ended() == (code, reason)


async def test_the_last_bytes_arrive_before_the_close() -> None:
    async with Exchange().running() as (viewer, tunnel, _):
        await tunnel.send(b"security failure: too many attempts")
        await tunnel.close(4502, "refused")
        assert await Stream(viewer).read(35) == b"security failure: too many attempts"
        assert await closed(viewer) == (4502, "refused")


async def test_a_tunnel_that_breaks_is_a_lost_agent() -> None:
    exchange = Exchange()
    async with exchange.running() as (viewer, tunnel, _):
        tunnel.transport.abort()
        assert (await closed(viewer))[0] == 4503
        assert (await exchange.ended())[0] == 4503


async def test_a_viewer_that_vanishes_ends_its_tunnel() -> None:
    exchange = Exchange()
    async with exchange.running() as (viewer, tunnel, _):
        viewer.transport.abort()
        assert await closed(tunnel) == (1001, "The viewer went away")
        assert (await exchange.ended())[0] == 1006


async def test_a_side_that_breaks_the_protocol_is_a_fault_to_the_other() -> None:
    async with Exchange().running() as (viewer, tunnel, _):
        viewer.transport.write(b"\x83\x80mask")
        assert (await closed(tunnel))[0] == 1011
        assert (await closed(viewer))[0] == 1002


async def test_an_end_from_here_reaches_both() -> None:
    exchange = Exchange()
    async with exchange.running() as (viewer, tunnel, relay):
        relay.end(4403, "Closed by kim")
        relay.end(4410, "later")
        assert await closed(viewer) == (4403, "Closed by kim")
        assert await closed(tunnel) == (4403, "Closed by kim")
        assert await exchange.ended() == (4403, "Closed by kim")
        assert exchange.over.empty()


async def test_a_viewer_that_speaks_before_the_server_is_closed() -> None:
    exchange = Exchange()
    async with listening(exchange) as port, viewing(port, "/viewer") as viewer:
        await viewer.send(b"RFB 003.008\n")
        assert await closed(viewer) == (1011, "A VNC server speaks first")


# --- view-only ------------------------------------------------------------------------------------------------------

REQUEST = struct.pack(">BBHHHH", 3, 1, 0, 0, 640, 480)


async def greet(viewer: ClientConnection, tunnel: ClientConnection) -> Stream:
    """The handshake of RFB 3.8 without authentication; the tunnel's stream after it."""
    up = Stream(tunnel)
    await tunnel.send(b"RFB 003.008\n")
    assert await viewer.recv() == b"RFB 003.008\n"
    await viewer.send(b"RFB 003.008\n")
    assert await up.read(12) == b"RFB 003.008\n"
    await tunnel.send(b"\x02\x10\x01")
    assert await viewer.recv() == b"\x01\x01"
    await viewer.send(b"\x01")
    assert await up.read(1) == b"\x01"
    await tunnel.send(bytes(4))
    assert await viewer.recv() == bytes(4)
    await viewer.send(b"\x00")
    assert await up.read(1) == b"\x01"
    return up


async def test_view_only_lets_pictures_down_and_no_keys_up() -> None:
    async with Exchange("view").running() as (viewer, tunnel, relay):
        up = await greet(viewer, tunnel)
        picture = os.urandom(500_000)
        await tunnel.send(picture)
        assert await Stream(viewer).read(len(picture)) == picture
        await viewer.send(KEY_A + REQUEST[:5])
        await viewer.send(REQUEST[5:] + KEY_A)
        assert await up.read(len(REQUEST)) == REQUEST
        await viewer.send(KEY_A + REQUEST)
        assert await up.read(len(REQUEST)) == REQUEST
        assert relay.up_bytes == 12 + 1 + 1 + 2 * len(REQUEST)


async def test_view_only_is_refused_where_it_cannot_be_enforced() -> None:
    exchange = Exchange("view")
    async with exchange.running() as (viewer, tunnel, _):
        await tunnel.send(b"RFB 003.889\n")
        await viewer.recv()
        await viewer.send(b"RFB 003.008\n")
        await tunnel.recv()
        await tunnel.send(b"\x03\x1e\x21\x24")
        assert await closed(viewer) == (4502, REFUSAL)
        assert await closed(tunnel) == (4502, REFUSAL)
        assert await exchange.ended() == (4502, REFUSAL)


async def test_view_only_ends_at_an_unknown_message() -> None:
    async with Exchange("view").running() as (viewer, tunnel, _):
        await greet(viewer, tunnel)
        await viewer.send(KEY_A + b"\x7f")
        code, reason = await closed(viewer)
        assert code == 1011
        assert reason == "The viewer sent a message of unknown type 127"
        assert (await closed(tunnel))[0] == 1011
