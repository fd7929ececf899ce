"""Whether somebody serves a desktop at an address: RFB's greeting, and how it wants to be logged in to.

Called by ``attach.py`` and ``docker_seat.py`` when a session starts. VNC servers count connections that leave before they
have logged in, and shut out whoever makes too many: so where no password is wanted the login is finished, nobody is
asked twice without need, and who wants a password is not asked for pictures (RFC 6143, 7.1).
"""

from __future__ import annotations

import asyncio
import struct

from app.agent.platform import AgentFailure, FailureCode, RfbAddress
from app.agent.rfb import NO_SECURITY, RfbError, greeting, open_rfb

WITHIN = 5.0
MOST_TYPES = 64
MOST_WORDS = 512


async def security_types(address: RfbAddress, place: str, within: float = WITHIN) -> list[int]:
    """The security types that the server at ``address`` offers. Raises ``AgentFailure`` when it is no VNC server."""
    try:
        async with asyncio.timeout(within):
            reader, writer = await open_rfb(address)
            try:
                return await _login(reader, writer, await greeting(reader))
            finally:
                writer.transport.abort()
    except TimeoutError:
        raise AgentFailure(f"{place} does not greet as a VNC server does", FailureCode.VNC_CONNECT) from None
    except asyncio.IncompleteReadError:
        raise AgentFailure(f"{place} hung up before its greeting was over", FailureCode.VNC_CONNECT) from None
    except (RfbError, OSError) as error:
        raise AgentFailure(f"{place}: {error}", FailureCode.VNC_CONNECT) from error
    except AgentFailure as failure:
        raise AgentFailure(f"{place}: {failure.message}", failure.code) from failure


async def _login(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, minor: int) -> list[int]:
    """What is offered; where that is no password, in we go."""
    if minor < 7:
        writer.write(b"RFB 003.003\n")
        (chosen,) = struct.unpack(">I", await reader.readexactly(4))
        types = [int(chosen)] if chosen else []
    else:
        writer.write(b"RFB 003.008\n" if minor >= 8 else b"RFB 003.007\n")
        count = (await reader.readexactly(1))[0]
        types = list(await reader.readexactly(min(count, MOST_TYPES)))
        if NO_SECURITY in types:
            writer.write(bytes([NO_SECURITY]))
            if minor >= 8:
                await reader.readexactly(4)
    if not types:
        (length,) = struct.unpack(">I", await reader.readexactly(4))
        words = (await reader.readexactly(min(length, MOST_WORDS))).decode("utf-8", "replace")
        raise RfbError(f"it lets nobody in: {words}")
    return types
