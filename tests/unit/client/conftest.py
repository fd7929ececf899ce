"""Small real servers that a client meets, well behaved or not: a feed that a test drives, and an HTTP application."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from app.client.feed import FeedClient, Link
from app.contract import PROTOCOL, Diff, FeedMessage, Snapshot
from tests.fakes.ports import held_port

WITHIN = 30.0


class Peer:
    """The server's end of one feed connection; the test says what is sent."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection
        self.path = connection.request.path if connection.request is not None else ""

    async def send(self, **message: Any) -> None:
        await self.connection.send(json.dumps(message))

    async def hello(self, protocol: int = PROTOCOL, *, read_only: bool = False) -> None:
        await self.send(t="hello", protocol=protocol, broker="stage", version="0", started_at=1.0, read_only=read_only)

    async def snapshot(self, seq: int, part: int = 1, parts: int = 1, **rows: Any) -> None:
        await self.send(t="snapshot", seq=seq, at=1.0, part=part, parts=parts, rows=rows)

    async def diff(self, *numbers: int) -> None:
        events = [
            {"seq": number, "at": 1.0, "kind": "stream.beat", "id": "a", "change": {"expires_at": 1.0}}
            for number in numbers
        ]
        await self.send(t="diff", at=1.0, events=events)

    async def pulse(self, seq: int) -> None:
        await self.send(t="beat", at=1.0, seq=seq)

    async def close(self) -> None:
        await self.connection.close()


class FeedServer:
    """A WebSocket server whose connections wait for the test to drive them."""

    def __init__(self) -> None:
        self.peers: asyncio.Queue[Peer] = asyncio.Queue()
        self.refusal: int | None = None
        self._place = held_port()
        self.port = self._place.getsockname()[1]
        self._server: Server | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await serve(self._serve, "127.0.0.1", self.port, process_request=self._check, compression=None)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def close(self) -> None:
        """Stop for good."""
        await self.stop()
        self._place.close()

    async def accept(self) -> Peer:
        async with asyncio.timeout(WITHIN):
            return await self.peers.get()

    async def _serve(self, connection: ServerConnection) -> None:
        self.peers.put_nowait(Peer(connection))
        await connection.wait_closed()

    def _check(self, connection: ServerConnection, request: Request) -> Response | None:
        return connection.respond(self.refusal, "no") if self.refusal else None


class Listener:
    """A feed client that runs, and everything it reported."""

    def __init__(self, url: str, **options: Any) -> None:
        self.messages: asyncio.Queue[FeedMessage] = asyncio.Queue()
        self.links: asyncio.Queue[Link] = asyncio.Queue()
        self.seen: list[FeedMessage] = []
        self.client = FeedClient(url, "secret", self._on_message, self.links.put_nowait, **options)
        self.task = asyncio.ensure_future(self.client.run())

    def _on_message(self, message: FeedMessage) -> None:
        self.seen.append(message)
        self.messages.put_nowait(message)

    async def link(self, state: str) -> Link:
        """The next link that is in ``state``."""
        async with asyncio.timeout(WITHIN):
            while True:
                link = await self.links.get()
                if link.state == state:
                    return link

    async def snapshot(self, seq: int) -> Snapshot:
        """The next snapshot part; everything before it is dropped."""
        async with asyncio.timeout(WITHIN):
            while True:
                message = await self.messages.get()
                if isinstance(message, Snapshot) and message.seq == seq:
                    return message

    async def numbers(self, count: int) -> list[int]:
        """The numbers of the next ``count`` events."""
        found: list[int] = []
        async with asyncio.timeout(WITHIN):
            while len(found) < count:
                message = await self.messages.get()
                if isinstance(message, Diff):
                    found += [event.seq for event in message.events]
        return found

    @property
    def handed_on(self) -> list[int]:
        """The numbers of all events so far."""
        return [event.seq for message in self.seen if isinstance(message, Diff) for event in message.events]

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})


@pytest.fixture
async def feed_server() -> AsyncIterator[FeedServer]:
    server = FeedServer()
    await server.start()
    yield server
    await server.close()


@pytest.fixture
async def listen() -> AsyncIterator[Callable[..., Listener]]:
    listeners: list[Listener] = []

    def start(url: str, **options: Any) -> Listener:
        listeners.append(Listener(url, **options))
        return listeners[-1]

    yield start
    for listener in listeners:
        await listener.stop()


class _Quiet(uvicorn.Server):
    """A server that leaves signals alone."""

    def install_signal_handlers(self) -> None:
        return

    def capture_signals(self) -> Any:
        from contextlib import nullcontext

        return nullcontext()


Application = Callable[[Any, Any, Any], Awaitable[None]]


@pytest.fixture
async def http() -> AsyncIterator[Callable[[Application], Awaitable[str]]]:
    """Serve an ASGI application on a free port; gives its address."""
    running: list[tuple[_Quiet, asyncio.Task[None], socket.socket]] = []

    async def start(application: Application) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(application, lifespan="off", log_config=None, ws="none", loop="none")
        server = _Quiet(config)
        task = asyncio.ensure_future(server.serve(sockets=[listener]))
        running.append((server, task, listener))
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for server, task, listener in running:
        server.should_exit = True
        await asyncio.wait({task}, timeout=WITHIN)
        listener.close()
