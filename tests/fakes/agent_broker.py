"""A broker as far as an agent sees it: the control socket and tunnels, scripted by a test."""

from __future__ import annotations

import asyncio
import ssl
from http import HTTPStatus
from typing import Any, Self, TypeVar
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from app.agent_protocol import (
    TUNNEL_PROTOCOL,
    Command,
    CommandAck,
    CommandResult,
    FromAgent,
    Register,
    RegisterAck,
    ResultAck,
    ToAgent,
    VncProxyRequest,
    encode,
    from_agent,
)

Message = TypeVar("Message", bound=FromAgent)
WITHIN = 30.0


class AgentSide:
    """One connection of an agent, and everything it said on it."""

    def __init__(self, socket: ServerConnection, query: dict[str, list[str]]) -> None:
        self.socket = socket
        self.query = query
        self.said: list[FromAgent] = []
        self.closed = False
        self.acknowledge = True
        self._changed = asyncio.Condition()

    async def send(self, message: ToAgent) -> None:
        """Say something to the agent."""
        await self.socket.send(encode(message))

    async def wait(self, kind: type[Message], *, nth: int = 1, within: float = WITHIN, **fields: Any) -> Message:
        """The n-th message of this kind with these fields, past or to come."""
        async with asyncio.timeout(within), self._changed:
            while True:
                found = [one for one in self.said if isinstance(one, kind) and fits(one, fields)]
                if len(found) >= nth:
                    return found[nth - 1]
                if self.closed:
                    raise AssertionError(f"the connection ended before a {kind.__name__} came")
                await self._changed.wait()

    async def command(self, command: Command) -> CommandResult:
        """Send a command, wait for its result."""
        await self.send(command)
        await self.wait(CommandAck, command_id=command.command_id)
        return await self.wait(CommandResult, command_id=command.command_id)

    async def listen(self) -> None:
        """Until the connection ends."""
        try:
            async for frame in self.socket:
                message = from_agent(frame)
                if isinstance(message, CommandResult) and self.acknowledge:
                    await self.send(ResultAck(command_id=message.command_id))
                async with self._changed:
                    self.said.append(message)
                    self._changed.notify_all()
        except ConnectionClosed:
            pass
        async with self._changed:
            self.closed = True
            self._changed.notify_all()


class AgentBroker:
    """Listens on a port of its own. ``agents`` are its connections, in their order."""

    def __init__(self, key: str | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.key = key
        self._tls = tls
        self.stop: list[str] = []
        self.epoch = 0
        self.acknowledge = True
        self.refuse: HTTPStatus | None = None
        self.register = True
        """Whether registrations are answered."""
        self.agents: list[AgentSide] = []
        self.tunnels: dict[str, asyncio.Future[ServerConnection]] = {}
        self.headers: list[dict[str, str]] = []
        self._server: Server | None = None
        self._joined = asyncio.Condition()

    @property
    def url(self) -> str:
        """Where agents connect."""
        assert self._server is not None
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        await self.listen(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    async def listen(self, port: int) -> None:
        """Open the port."""
        self._server = await serve(
            self._serve, "127.0.0.1", port, process_request=self._check, subprotocols=[TUNNEL_PROTOCOL],
            compression=None, max_size=1 << 20, ssl=self._tls, close_timeout=1, select_subprotocol=lambda _, offered: (offered or [None])[0],
        )  # fmt: skip

    async def leave(self) -> None:
        """Close the port and every connection."""
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def agent(self, number: int = -1, *, least: int = 1, within: float = WITHIN) -> AgentSide:
        """A connection that has registered; ``least`` as many must have been there."""
        async with asyncio.timeout(within), self._joined:
            await self._joined.wait_for(lambda: len(self.agents) >= least)
            return self.agents[number]

    async def tunnel(self, side: AgentSide, session_id: str, proxy_id: str = "p1", **data: Any) -> ServerConnection:
        """Ask for a tunnel and wait for it."""
        asked = self.expect_tunnel(proxy_id)
        data.setdefault("tunnel_token", "secret")
        await side.send(VncProxyRequest(session_id=session_id, proxy_id=proxy_id, data=data))
        async with asyncio.timeout(WITHIN):
            return await asked

    def expect_tunnel(self, proxy_id: str) -> asyncio.Future[ServerConnection]:
        """What will be the tunnel of this proxy."""
        return self.tunnels.setdefault(proxy_id, asyncio.get_running_loop().create_future())

    def _check(self, _: ServerConnection, request: Request) -> Response | None:
        self.headers.append({"path": request.path, **{name.lower(): value for name, value in request.headers.items()}})
        if self.refuse is not None:
            return _.respond(self.refuse, "not now\n")
        wrong = request.headers.get("Authorization") != f"Bearer {self.key}"
        if self.key is not None and "/agent/ws" in request.path and wrong:
            return _.respond(HTTPStatus.UNAUTHORIZED, "wrong key\n")
        return None

    async def _serve(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        parts = urlsplit(socket.request.path)
        if "/agent/tunnel/" in parts.path:
            self.expect_tunnel(parts.path.rsplit("/", 1)[1]).set_result(socket)
            await socket.wait_closed()
            return
        side = AgentSide(socket, parse_qs(parts.query))
        side.acknowledge = self.acknowledge
        listening = asyncio.create_task(side.listen())
        try:
            register = await side.wait(Register)
            if self.register:
                self.epoch += 1
                await side.send(
                    RegisterAck(agent_id=register.agent_id, status="registered", epoch=self.epoch, stop=self.stop)
                )
                async with self._joined:
                    self.agents.append(side)
                    self._joined.notify_all()
            await socket.wait_closed()
        finally:
            await listening


def fits(message: FromAgent, fields: dict[str, Any]) -> bool:
    """Whether a message has these fields."""
    return all(getattr(message, name) == value for name, value in fields.items())
