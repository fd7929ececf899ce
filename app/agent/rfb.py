"""A view-only RFB client that takes one picture: raw encoding, which costs least on a local socket.

Used by ``thumbnail.py`` and by ``attach`` to greet a server. Speaks RFB 3.3, 3.7 and 3.8 with security type None only;
what a server may claim is bounded. Serves the StreamSpace document (seed 001, "VNC Proxy").
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.agent.platform import AgentFailure, FailureCode, RfbAddress, UnixAddress

READ_LIMIT = 4 * 1024 * 1024
PIXELS_LIMIT = 8192 * 4608
TEXT_LIMIT = 1024 * 1024
RECTANGLES_LIMIT = 100_000
NO_SECURITY = 1
BGRX = struct.pack(">B3xBBBBHHHBBB3x", 0, 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
RAW_ONLY = struct.pack(">BxHi", 2, 1, 0)
UPDATE, COLOURS, BELL, CUT_TEXT = 0, 1, 2, 3
AGAIN = 0.02


class RfbError(Exception):
    """The server refused, or said something that this client does not know."""


@dataclass(frozen=True)
class Frame:
    """A whole screen, four bytes a pixel: blue, green, red, nothing."""

    width: int
    height: int
    pixels: bytearray


@contextmanager
def socket_path(address: UnixAddress) -> Iterator[str]:
    """A path to connect to now, good only here. Raises ``OSError`` for a link in an exposed folder."""
    if not address.exposed:
        yield address.path
        return
    handle = os.open(address.path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if not stat.S_ISSOCK(os.fstat(handle).st_mode):
            raise OSError(errno.ENOTSOCK, "something else stands where its socket should be")
        yield f"/proc/self/fd/{handle}"  # the very file that was looked at, whatever has its name by now
    finally:
        os.close(handle)


async def connected(path: str) -> socket.socket:
    """A connection to a socket file, as soon as its server takes one more. Raises ``OSError``; the caller sets the time limit.

    A VNC server lets five wait. Of a sixth a port would be asked again by the system; a socket file says EAGAIN at once,
    which asyncio takes for a connection and uvloop for a failure.
    """
    one = socket.socket(socket.AF_UNIX)
    try:
        one.setblocking(False)
        while True:
            try:
                one.connect(path)
                return one
            except BlockingIOError:
                await asyncio.sleep(AGAIN)
    except BaseException:
        one.close()
        raise


async def open_rfb(address: RfbAddress) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to an RFB server. Raises ``AgentFailure``; the caller sets the time limit."""
    try:
        if isinstance(address, UnixAddress):
            with socket_path(address) as path:
                one = await connected(path)
            return await asyncio.open_unix_connection(sock=one, limit=READ_LIMIT)
        return await asyncio.open_connection(address.host, address.port, limit=READ_LIMIT)
    except OSError as error:
        text = f"the VNC server cannot be reached: {error}"
        raise AgentFailure(text, FailureCode.VNC_CONNECT) from error


async def grab(address: RfbAddress) -> Frame:
    """The present picture. Raises ``AgentFailure``; the caller sets the time limit."""
    reader, writer = await open_rfb(address)
    try:
        return await _grab(reader, writer)
    except (RfbError, OSError, EOFError, struct.error) as error:
        raise AgentFailure(f"no picture: {error}", FailureCode.VNC_CONNECT) from error
    finally:
        writer.transport.abort()


async def greeting(reader: asyncio.StreamReader) -> int:
    """The minor version that a server speaks; raises ``RfbError`` for something else than a VNC server."""
    line = await reader.readexactly(12)
    if not line.startswith(b"RFB 003.") or not line[8:11].isdigit():
        raise RfbError("this is no VNC server")
    return int(line[8:11])


async def _grab(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Frame:
    minor = await greeting(reader)
    await _enter(reader, writer, minor)
    writer.write(b"\x01")  # shared: nobody is thrown out for a picture
    width, height = struct.unpack(">HH", await reader.readexactly(4))
    await reader.readexactly(16)
    await _skip_text(reader)
    if not 0 < width * height <= PIXELS_LIMIT:
        raise RfbError(f"a screen of {width} × {height}")
    writer.write(BGRX + RAW_ONLY + struct.pack(">BBHHHH", 3, 0, 0, 0, width, height))
    frame = Frame(width, height, bytearray(width * height * 4))
    missing = width * height
    while missing > 0:
        missing -= await _message(reader, frame)
    return frame


async def _enter(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, minor: int) -> None:
    """Version and security."""
    if minor < 7:
        writer.write(b"RFB 003.003\n")
        kind = struct.unpack(">I", await reader.readexactly(4))[0]
        if kind != NO_SECURITY:
            raise RfbError("the server wants a password" if kind else await _text(reader))
        return
    writer.write(b"RFB 003.008\n" if minor >= 8 else b"RFB 003.007\n")
    count = (await reader.readexactly(1))[0]
    if count == 0:
        raise RfbError(await _text(reader))
    if NO_SECURITY not in await reader.readexactly(count):
        raise RfbError("the server wants a password")
    writer.write(bytes([NO_SECURITY]))
    if minor >= 8 and await reader.readexactly(4) != b"\0\0\0\0":
        raise RfbError(await _text(reader))


async def _message(reader: asyncio.StreamReader, frame: Frame) -> int:
    """One message of the server's; how many pixels it brought."""
    kind = (await reader.readexactly(1))[0]
    if kind == UPDATE:
        return await _update(reader, frame)
    if kind == COLOURS:
        _, count = struct.unpack(">xHH", await reader.readexactly(5))
        await reader.readexactly(6 * count)
    elif kind == CUT_TEXT:
        await reader.readexactly(3)
        await _skip_text(reader)
    elif kind != BELL:
        raise RfbError(f"unknown message {kind}")
    return 0


async def _update(reader: asyncio.StreamReader, frame: Frame) -> int:
    (count,) = struct.unpack(">xH", await reader.readexactly(3))
    brought = 0
    for _ in range(min(count, RECTANGLES_LIMIT)):
        x, y, width, height, encoding = struct.unpack(">HHHHi", await reader.readexactly(12))
        if encoding != 0 or x + width > frame.width or y + height > frame.height:
            raise RfbError("a rectangle that was not asked for")
        await _rectangle(reader, frame, x, y, width, height)
        brought += width * height
    return brought


async def _rectangle(reader: asyncio.StreamReader, frame: Frame, x: int, y: int, width: int, height: int) -> None:
    stride = frame.width * 4
    if width == frame.width:
        frame.pixels[y * stride : (y + height) * stride] = await reader.readexactly(height * stride)
        return
    for row in range(y, y + height):
        at = row * stride + x * 4
        frame.pixels[at : at + width * 4] = await reader.readexactly(width * 4)


async def _text(reader: asyncio.StreamReader) -> str:
    (size,) = struct.unpack(">I", await reader.readexactly(4))
    return (await reader.readexactly(min(size, 4096))).decode("utf-8", "replace")


async def _skip_text(reader: asyncio.StreamReader) -> None:
    (size,) = struct.unpack(">I", await reader.readexactly(4))
    if size > TEXT_LIMIT:
        raise RfbError("a text without end")
    await reader.readexactly(size)
