"""Pictures over RFB: from a real desktop, from servers that lie, hang or want a password."""

from __future__ import annotations

import asyncio
import io
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from PIL import Image

from app.agent.platform import AgentFailure, TcpAddress
from app.agent.rfb import Frame, grab
from app.agent.thumbnail import Thumbnails, compress
from tests.unit.agent.conftest import Local, start_data

Serve = Callable[[Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]], Awaitable[TcpAddress]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a server that a test wrote."""
    servers: list[asyncio.Server] = []

    async def start(talk: Any) -> TcpAddress:
        async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await talk(reader, writer)
                await reader.read()
            except (OSError, EOFError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(one, "127.0.0.1", 0)
        servers.append(server)
        return TcpAddress("127.0.0.1", server.sockets[0].getsockname()[1])

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()


def hello(width: int, height: int, version: bytes = b"003.008", types: bytes = b"\x01\x01") -> Any:
    """The beginning of a server without a password."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"RFB " + version + b"\n")
        await reader.readexactly(12)
        if version == b"003.003":
            writer.write(b"\0\0\0\1")
        else:
            writer.write(types)
            await reader.readexactly(1)
            if version == b"003.008":
                writer.write(b"\0\0\0\0")
        await reader.readexactly(1)
        writer.write(struct.pack(">HH16sI", width, height, bytes(16), 4) + b"name")
        await reader.readexactly(20 + 8 + 10)

    return talk


async def test_a_picture_shows_what_is_on_the_desktop(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.agent.thumbnail.WITHIN", 30.0)
    platform = await local(window_manager=())
    await platform.run("s1", start_data(["xterm", "-geometry", "200x60+0+0", "-bg", "#c02040", "-e", "sleep", "60"]), 1)
    thumbnails = Thumbnails(platform)

    async def painted() -> bool:
        jpeg, width, height = await thumbnails.take("s1", 320)
        image = Image.open(io.BytesIO(jpeg))
        assert (width, height) == image.size == (320, 240)
        colour = image.convert("RGB").getpixel((150, 150))
        return all(abs(seen - meant) < 12 for seen, meant in zip(colour, (0xC0, 0x20, 0x40), strict=True))  # type: ignore[arg-type]

    async with asyncio.timeout(15):
        while not await painted():
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("version", [b"003.003", b"003.007", b"003.008"])
async def test_every_version_and_rectangles_in_any_order(serve: Serve, version: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hello(4, 2, version)(reader, writer)
        writer.write(b"\x02")  # a bell
        writer.write(b"\x03\0\0\0" + struct.pack(">I", 3) + b"cut")
        writer.write(struct.pack(">BxH", 0, 1) + struct.pack(">HHHHi", 0, 1, 4, 1, 0) + b"\x01\x02\x03\x00" * 4)
        writer.write(struct.pack(">BxH", 0, 2) + struct.pack(">HHHHi", 0, 0, 1, 1, 0) + b"\x11\x12\x13\x00")
        writer.write(struct.pack(">HHHHi", 1, 0, 3, 1, 0) + b"\x21\x22\x23\x00" * 3)

    frame = await asyncio.wait_for(grab(await serve(talk)), 15)
    assert frame == Frame(4, 2, bytearray(b"\x11\x12\x13\x00" + b"\x21\x22\x23\x00" * 3 + b"\x01\x02\x03\x00" * 4))


@pytest.mark.parametrize(
    ("talk", "says"),
    [
        (hello(60_000, 60_000), "60000"),
        (hello(0, 5), "0 × 5"),
        (hello(4, 4, types=b"\x01\x02"), "password"),
    ],
)
async def test_what_cannot_be_shown_is_refused_in_words(serve: Serve, talk: Any, says: str) -> None:
    with pytest.raises(AgentFailure, match=says):
        await asyncio.wait_for(grab(await serve(talk)), 15)


async def test_a_server_that_is_none_or_says_too_much_is_refused(serve: Serve) -> None:
    async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")

    async def outside(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hello(4, 4)(reader, writer)
        writer.write(struct.pack(">BxH", 0, 1) + struct.pack(">HHHHi", 2, 2, 4, 4, 0))

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hello(4, 4)(reader, writer)
        writer.write(b"\x03\0\0\0\xff\xff\xff\xff")

    async def gone(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"RFB 003.008\n")
        writer.close()

    for talk in (http, outside, endless, gone):
        with pytest.raises(AgentFailure):
            await asyncio.wait_for(grab(await serve(talk)), 15)


async def test_a_desktop_that_says_nothing_costs_a_second(serve: Serve, local: Local, monkeypatch: Any) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    platform = await local()
    address = await serve(silent)
    monkeypatch.setattr(platform, "rfb_address", lambda _: _answer(address))
    monkeypatch.setattr("app.agent.thumbnail.WITHIN", 0.2)
    with pytest.raises(AgentFailure) as late:
        await Thumbnails(platform).take("s1", 100)
    assert late.value.code == "TIMEOUT"


async def _answer(value: Any) -> Any:
    return value


@pytest.mark.parametrize(("asked", "wide"), [(320, 320), (5000, 640), (0, 32)])
def test_a_picture_is_never_enlarged(asked: int, wide: int) -> None:
    _, width, height = compress(Frame(640, 480, bytearray(640 * 480 * 4)), asked)
    assert (width, height) == (wide, wide * 3 // 4)
