"""Peers of the VNC path: real listeners, scripted and real VNC servers, and an agent that only dials back.

``listening`` serves an ASGI application on a real port; ``dial_back`` is an agent's end of one tunnel towards any stream;
``Xvnc`` is the real server on a unix socket; ``VncServer`` says what a test wants to hear.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from app.agent_protocol import TUNNEL_PROTOCOL
from app.server.listeners import Listener, bind
from app.server.tasks import TaskTree

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Open = Callable[[], Awaitable[Streams]]
VERSION = b"RFB 003.008\n"
KEY_A = b"".join(struct.pack(">BBHI", 4, down, 0, 0x61) for down in (1, 0))


@asynccontextmanager
async def listening(app: ASGIApp, tasks: TaskTree | None = None) -> AsyncIterator[int]:
    """A port that answers with ``app``, as the broker's do."""
    tree = tasks or TaskTree()
    listener = Listener("test", bind("127.0.0.1", 0, "port"), app)
    await listener.start(tree, tree.group("listeners"))
    try:
        yield listener.port
    finally:
        await listener.stop()
        if tasks is None:
            await tree.stop()


@asynccontextmanager
async def viewing(port: int, path: str, **options: Any) -> AsyncIterator[ClientConnection]:
    """A viewer's WebSocket, as noVNC opens it."""
    async with connect(
        f"ws://127.0.0.1:{port}{path}", compression=None, max_size=None, proxy=None, **options
    ) as socket:
        yield socket


async def dial_back(request: dict[str, Any], target: Open, **options: Any) -> tuple[int, str]:
    """An agent's end of the tunnel that ``vnc_proxy_request`` asks for; code and reason that it was closed with."""
    reader, writer = await target()
    data = request["data"]
    headers = {"Authorization": f"Bearer {data['tunnel_token']}"}
    try:
        async with connect(
            data["tunnel_url"],
            additional_headers=headers,
            subprotocols=[Subprotocol(TUNNEL_PROTOCOL)],
            compression=None,
            proxy=None,
            **options,
        ) as tunnel:
            await asyncio.gather(_up(tunnel, writer), _down(reader, tunnel))
            return tunnel.close_code or 0, tunnel.close_reason or ""
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _up(tunnel: ClientConnection, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionClosed):
        async for message in tunnel:
            assert isinstance(message, bytes)
            writer.write(message)
            await writer.drain()
    writer.close()


async def _down(reader: asyncio.StreamReader, tunnel: ClientConnection) -> None:
    with contextlib.suppress(ConnectionClosed, OSError):
        while data := await reader.read(65536):
            await tunnel.send(data)
        await tunnel.close(4502, "the VNC server closed the connection")


class Agent:
    """Dials back for each request that it hears, and waits for the ends of its tunnels."""

    def __init__(self, target: Open) -> None:
        self.target = target
        self.requests: list[dict[str, Any]] = []
        self.ends: list[tuple[int, str]] = []
        self.tls: ssl.SSLContext | None = None
        self._tunnels: set[asyncio.Task[None]] = set()

    def asked(self, request: dict[str, Any]) -> None:
        """A ``vnc_proxy_request`` came."""
        self.requests.append(request)
        task = asyncio.create_task(self._tunnel(request))
        self._tunnels.add(task)
        task.add_done_callback(self._tunnels.discard)

    async def _tunnel(self, request: dict[str, Any]) -> None:
        options = {"ssl": self.tls} if self.tls is not None else {}
        try:
            self.ends.append(await dial_back(request, self.target, **options))
        except InvalidStatus as refused:  # the viewer has left
            self.ends.append((refused.response.status_code, ""))

    async def settled(self) -> None:
        """Until every tunnel has ended."""
        async with asyncio.timeout(30):
            while self._tunnels:
                await asyncio.gather(*self._tunnels)


class VncServer:
    """A VNC server without authentication, or with ``types`` of its own; keeps what it is told after the handshake."""

    def __init__(self, types: bytes = b"\x01", *, name: bytes = b"scripted") -> None:
        self.types = types
        self.name = name
        self.said = bytearray()
        self.shared: list[int] = []
        self.news = asyncio.Event()
        self._writers: list[asyncio.StreamWriter] = []

    async def open(self) -> Streams:
        """One connection to it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        return reader, writer

    @asynccontextmanager
    async def running(self) -> AsyncIterator[VncServer]:
        """The server on a port of its own."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            for writer in self._writers:
                writer.close()
            await server.wait_closed()

    def show(self, data: bytes) -> None:
        """Say something to every viewer."""
        for writer in self._writers:
            writer.write(data)

    async def hears(self, data: bytes) -> None:
        """Until it has been told this."""
        async with asyncio.timeout(30):
            while data not in self.said:
                self.news.clear()
                await self.news.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            writer.write(VERSION)
            await reader.readexactly(12)
            writer.write(bytes((len(self.types),)) + self.types)
            await reader.readexactly(1)
            writer.write(bytes(4))
            self.shared.append((await reader.readexactly(1))[0])
            writer.write(struct.pack(">HH16xI", 640, 480, len(self.name)) + self.name)
            while data := await reader.read(65536):
                self.said += data
                self.news.set()
        writer.close()


async def handshake(viewer: ClientConnection, *, shared: int = 1) -> bytes:
    """What noVNC says until a desktop is there; the desktop's name."""
    stream = Stream(viewer)
    assert await stream.read(12) == VERSION
    await viewer.send(VERSION)
    count = (await stream.read(1))[0]
    assert 1 in await stream.read(count)
    await viewer.send(b"\x01")
    assert await stream.read(4) == bytes(4)
    await viewer.send(bytes((shared,)))
    await stream.read(20)
    return await stream.read(int.from_bytes(await stream.read(4), "big"))


class Stream:
    """Bytes of a WebSocket, wherever its messages begin and end."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._rest = b""

    async def read(self, count: int) -> bytes:
        """Exactly so many."""
        async with asyncio.timeout(30):
            while len(self._rest) < count:
                message = await self._socket.recv()
                assert isinstance(message, bytes)
                self._rest += message
        found, self._rest = self._rest[:count], self._rest[count:]
        return found


class Xvnc:
    """A real TigerVNC server on a unix socket, without a TCP port."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "rfb.sock"
        self._folder = folder

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Xvnc]:
        """The server for the time of a test."""
        read, write = os.pipe()
        log = (self._folder / "xvnc.log").open("wb")
        process = await asyncio.create_subprocess_exec(
            "Xvnc", "-geometry", "640x480", "-depth", "24", "-rfbunixpath", str(self.socket), "-rfbunixmode", "0600",
            "-rfbport", "-1", "-SecurityTypes", "None", "-AlwaysShared", "-nolisten", "tcp", "-displayfd", str(write),
            pass_fds=[write], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        os.close(write)
        try:
            number = await asyncio.wait_for(asyncio.to_thread(_line, read), 40)
            self.display = f":{number}"
            yield self
        finally:
            os.close(read)
            process.terminate()
            await process.wait()
            log.close()

    async def open(self) -> Streams:
        """One connection to it."""
        return await asyncio.open_unix_connection(self.socket)

    async def pointer(self) -> tuple[int, int]:
        """Where the pointer is."""
        words = (await self.run("xdotool", "getmouselocation")).split()
        return int(words[0].removeprefix("x:")), int(words[1].removeprefix("y:"))

    async def run(self, *arguments: str) -> str:
        """The output of a program on this display."""
        process = await asyncio.create_subprocess_exec(
            *arguments, env={**os.environ, "DISPLAY": self.display}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        output, errors = await asyncio.wait_for(process.communicate(), 20)
        assert process.returncode == 0, errors.decode()
        return output.decode()


def _line(pipe: int) -> str:
    data = b""
    while not data.endswith(b"\n"):
        more = os.read(pipe, 16)
        if not more:
            break
        data += more
    return data.decode().strip()
