"""Tunnels that are asked for while something else happens, and for what makes no sense."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.agent.options import AgentOptions
from app.agent.platform import RfbAddress, TcpAddress
from app.agent.tunnels import Tunnels
from app.agent_protocol import CloseCode, VncProxyError, VncProxyRequest
from tests.unit.agent.conftest import until


class Silent:
    """A peer that takes connections and says nothing; a desktop or a broker."""

    def __init__(self) -> None:
        self.ended: list[bytes] = []
        self.came = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came.set()
        try:
            self.ended.append(await reader.read())
        except ConnectionResetError:
            self.ended.append(b"")
        writer.close()


class Place:
    """A platform whose only session is served by somebody silent."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def rfb_address(self, session_id: str) -> RfbAddress:
        if session_id == "bug":
            raise ZeroDivisionError("a bug")
        return TcpAddress("127.0.0.1", self._port)


class Rig:
    """Tunnels and what they said."""

    def __init__(self, port: int) -> None:
        self.told: list[VncProxyError] = []
        options = AgentOptions(broker=f"http://127.0.0.1:{port}")
        self.tunnels = Tunnels(options, Place(port), self.told.append)  # type: ignore[arg-type]

    def ask(self, session_id: str = "s1", **data: Any) -> None:
        self.tunnels.request(VncProxyRequest(session_id=session_id, proxy_id="p1", data=data))


@pytest.fixture
async def silent() -> AsyncIterator[tuple[Rig, Silent]]:
    peer = Silent()
    async with await asyncio.start_server(peer.serve, "127.0.0.1", 0) as server:
        rig = Rig(server.sockets[0].getsockname()[1])
        yield rig, peer
        await rig.tunnels.stop()


async def test_a_session_that_is_frozen_lets_nobody_in_who_was_on_the_way(silent: tuple[Rig, Silent]) -> None:
    rig, peer = silent
    rig.ask()
    await peer.came.wait()
    rig.tunnels.close_session("s1", CloseCode.HIBERNATED, "the session is hibernated")
    assert [(one.proxy_id, one.error_code) for one in rig.told] == [("p1", "VNC_HIBERNATED")]
    await until(lambda: peer.ended)
    assert len(rig.tunnels) == 0


@pytest.mark.parametrize("said", ["ws://[127/t", "ws://127.0.0.1:99999/t", "ws://elsewhere/t", "http://127.0.0.1/t"])
async def test_a_tunnel_to_nowhere_is_refused_in_words(silent: tuple[Rig, Silent], said: str) -> None:
    rig, peer = silent
    rig.ask(tunnel_url=said)
    await until(lambda: rig.told)
    assert "tunnel" in rig.told[0].error
    assert not peer.came.is_set()


async def test_a_fault_of_ours_is_told_too(silent: tuple[Rig, Silent]) -> None:
    rig, _ = silent
    rig.ask("bug")
    await until(lambda: rig.told)
    assert "ZeroDivisionError" in rig.told[0].error
