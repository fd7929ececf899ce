"""Whether somebody serves a desktop at an address: RFB's greeting, and how it wants to be logged in to.

Called by ``attach.py`` and ``docker.py`` when a session starts. VNC servers count connections that leave before they
have logged in, and shut out whoever makes too many: so where no password is wanted the login is finished, nobody is
asked twice without need, and who wants a password is not asked for pictures (RFC 6143, 7.1).
"""

from __future__ import annotations

import asyncio
import struct

from app.agent.platform import AgentFailure, FailureCode, RfbAddress, UnixAddress

VERSION = b"RFB 003.008\n"
NO_PASSWORD = 1
WITHIN = 5.0
MOST_TYPES = 64
MOST_WORDS = 512


async def security_types(address: RfbAddress, place: str, within: float = WITHIN) -> list[int]:
    """The security types that the server at ``address`` offers. Raises ``AgentFailure`` when it is no VNC server."""
    try:
        async with asyncio.timeout(within):
            reader, writer = await connect(address)
            try:
                return await _greet(reader, writer, place)
            finally:
                writer.transport.abort()
    except TimeoutError:
        raise AgentFailure(f"{place} does not greet as a VNC server does", FailureCode.VNC_CONNECT) from None
    except asyncio.IncompleteReadError:
        raise AgentFailure(f"{place} hung up before its greeting was over", FailureCode.VNC_CONNECT) from None
    except OSError as error:
        words = error.strerror or str(error) or type(error).__name__
        raise AgentFailure(f"{place} cannot be reached: {words}", FailureCode.VNC_CONNECT) from error


async def connect(address: RfbAddress) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to an RFB server."""
    if isinstance(address, UnixAddress):
        return await asyncio.open_unix_connection(address.path)
    return await asyncio.open_connection(address.host, address.port)


async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, place: str) -> list[int]:
    version = await reader.readexactly(12)
    if not version.startswith(b"RFB 003."):
        raise AgentFailure(f"{place} is no VNC server: it greets with {version!r}", FailureCode.VNC_CONNECT)
    if version[8:11] in (b"003", b"005"):  # the oldest ones decide by themselves; 003.005 never was a version
        writer.write(b"RFB 003.003\n")
        (chosen,) = struct.unpack(">I", await reader.readexactly(4))
        types = [int(chosen)] if chosen else []
    else:
        writer.write(VERSION)
        count = (await reader.readexactly(1))[0]
        types = list(await reader.readexactly(min(count, MOST_TYPES)))
        if NO_PASSWORD in types:
            writer.write(bytes([NO_PASSWORD]))
            await reader.readexactly(4)
    if not types:
        (length,) = struct.unpack(">I", await reader.readexactly(4))
        words = (await reader.readexactly(min(length, MOST_WORDS))).decode("utf-8", "replace")
        raise AgentFailure(f"{place} lets nobody in: {words}", FailureCode.VNC_CONNECT)
    return types
