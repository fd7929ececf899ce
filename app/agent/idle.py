"""When somebody last used a desktop: one question to its X server, for how long there was no key and no pointer.

Used by ``local.py`` with each load. Speaks the dozen bytes of X11 that the question needs; a viewer's presence alone
proves nothing, since viewers poll. Serves the StreamSpace document (seed 001, "Session Lifecycle": idle_timeout,
last_activity).
"""

from __future__ import annotations

import asyncio
import struct
from pathlib import Path

WITHIN = 1.0
EXTENSION = b"MIT-SCREEN-SAVER"
COOKIE = b"MIT-MAGIC-COOKIE-1"
REPLY = 32
QUERY_EXTENSION, QUERY_INFO = 98, 1
SETUP_LIMIT = 1 << 18


async def idle_seconds(display: int, authority: Path) -> float | None:
    """Seconds since the last input; None when the server does not say."""
    try:
        async with asyncio.timeout(WITHIN):
            secret = authority.read_bytes()[-16:]
            reader, writer = await asyncio.open_unix_connection(f"\0/tmp/.X11-unix/X{display}")
            try:
                return await _ask(reader, writer, secret)
            finally:
                writer.transport.abort()
    except (OSError, EOFError, TimeoutError, struct.error, IndexError):
        return None


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, secret: bytes) -> float | None:
    writer.write(struct.pack("<BxHHHHxx", ord("l"), 11, 0, len(COOKIE), len(secret)) + padded(COOKIE) + padded(secret))
    status, units = struct.unpack("<BxxxxxH", await reader.readexactly(8))
    if units * 4 > SETUP_LIMIT:
        return None
    setup = await reader.readexactly(units * 4)
    if status != 1:
        return None
    (vendor,) = struct.unpack_from("<H", setup, 16)
    screens = 32 + (vendor + 3 & ~3) + 8 * setup[21]
    (root,) = struct.unpack_from("<I", setup, screens)
    name = padded(EXTENSION)
    writer.write(struct.pack("<BxHHxx", QUERY_EXTENSION, 2 + len(name) // 4, len(EXTENSION)) + name)
    answer = await reader.readexactly(REPLY)
    if answer[0] != 1 or not answer[8]:
        return None
    writer.write(struct.pack("<BBHI", answer[9], QUERY_INFO, 2, root))
    answer = await reader.readexactly(REPLY)
    if answer[0] != 1:
        return None
    (milliseconds,) = struct.unpack_from("<I", answer, 16)
    return float(milliseconds) / 1000


def padded(data: bytes) -> bytes:
    """Up to a multiple of four."""
    return data + bytes(-len(data) % 4)
