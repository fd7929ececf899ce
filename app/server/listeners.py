"""Ports and the ASGI applications behind them: sockets that are ours before anything starts, one uvicorn server each.

Called by ``main.py``. All servers share the broker's loop and stop together; signals belong to ``main.py``.
A port that is taken is a ``PortInUse`` which names the port and its setting.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
import sys
from collections.abc import Callable, Generator
from typing import Any, Protocol, cast

import uvicorn
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from app.config import option
from app.errors import ConfigError, PortInUse, Unavailable
from app.server.tasks import TaskNode, TaskTree

BACKLOG = 2048
KEEP_ALIVE = 75
HEADERS_LIMIT = 64 * 1024
BODY_LIMIT = 1024 * 1024
START_WITHIN = 5.0
SILENCE = 15.0
"""Seconds between two looks at clients that owe us the rest of a request; who said nothing in between is let go."""
GRACE = 3
"""Seconds that running requests have at a stop."""
JOIN_LIMIT = 16 * 1024
"""Bytes of a body from which on a second write is cheaper than a copy."""
TAKE_OVER = "callboard.take_over"
"""Key of a WebSocket's extension that gives its transport to the application."""
STATUS_100 = b"HTTP/1.1 100 Continue\r\n\r\n"
STATUS_431 = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 31\r\nconnection: close\r\n\r\nRequest Header Fields Too Large"
)
STATUS_408 = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def bind(host: str, port: int, setting: str) -> socket.socket:
    """A socket that listens already: binding alone lets a second broker that starts just now bind too, and uvloop does
    not tell when its listening fails. Who connects waits until the listener starts.

    Raises ``PortInUse``, or ``ConfigError`` for an address that cannot be.
    """
    where = f"{host}:{port} ({option(setting)})"
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"{option('host')}: {host!r} is not an address of this machine: {error}.") from error
    listener = socket.socket(family, kind, proto)
    try:
        if os.name == "posix":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        elif sys.platform == "win32":
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        if error.errno in (errno.EADDRINUSE, getattr(errno, "WSAEADDRINUSE", errno.EADDRINUSE)):
            raise PortInUse(f"Port {port} is in use on {host}; {option(setting)} chooses another.") from error
        if error.errno == errno.EACCES:
            raise ConfigError(f"{where}: this account may not listen on port {port}.") from error
        raise ConfigError(f"{where}: cannot listen there: {error.strerror}.") from error
    return listener


class Answer:
    """The transport as one answer uses it: its head waits for its body, so that the client is woken once.

    uvicorn writes them apart, and the loop sends each at once; the client would take the CPU from us in between.
    """

    __slots__ = ("_begun", "_head", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""
        self._begun = False

    def write(self, data: bytes) -> None:
        """The first piece is the head, unless it only asks the client to go on."""
        if self._begun:
            self._transport.write(data)
        elif self._head:
            self._begun = True
            if len(data) > JOIN_LIMIT:
                self._transport.write(self._head)
                self._transport.write(data)
            else:
                self._transport.write(self._head + data)
        elif data == STATUS_100:
            self._transport.write(data)
        else:
            self._head = data

    def is_closing(self) -> bool:
        """Whether the connection ends."""
        return self._transport.is_closing()

    def close(self) -> None:
        """End the connection after what has been written; a head may be all there is."""
        if self._head and not self._begun:
            self._begun = True
            self._transport.write(self._head)
        self._transport.close()


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's HTTP protocol with a limit on a request's head and on silence within it, and answers in one piece."""

    head = 0
    heard = True

    def on_headers_complete(self) -> None:
        """Begin an answer as uvicorn does; one to HEAD has no body to wait for."""
        before = self.cycle
        super().on_headers_complete()
        cycle = self.cycle
        if cycle is not before and self.scope["method"] != "HEAD":
            cycle.transport = cast(asyncio.Transport, Answer(self.transport))

    def data_received(self, data: bytes) -> None:
        """Count bytes until a head is complete; answer 431 to one that does not end."""
        self.heard = True
        super().data_received(data)
        scope: Any = self.scope
        if scope is None or "method" in scope:
            self.head = 0
            return
        self.head += len(data)
        if self.head > HEADERS_LIMIT and not self.transport.is_closing():
            self.transport.write(STATUS_431)
            self.transport.close()

    def let_go_if_silent(self) -> None:
        """End the connection of a client that owes us the rest of a request, or its first, and says nothing."""
        heard, self.heard = self.heard, False
        if heard or not self._is_owed() or self.transport.is_closing():
            return
        scope: Any = self.scope
        cycle: Any = self.cycle
        if scope is not None and (cycle is None or cycle.response_complete or not cycle.response_started):
            self.transport.write(STATUS_408)
        self.transport.close()

    def _is_owed(self) -> bool:
        """Whether the next move is the client's; between requests uvicorn has a timer of its own."""
        scope: Any = self.scope
        if scope is None or "method" not in scope:
            return True
        cycle: Any = self.cycle
        return cycle is not None and cycle.more_body and not cycle.response_complete and not self.flow.read_paused


class Successor(Protocol):
    """A protocol that goes on with a WebSocket after its handshake."""

    on_lost: Callable[[Exception | None], None]
    """To be called when the connection is lost, so that the server forgets it."""

    def take(self, transport: asyncio.BaseTransport) -> None:
        """Begin; the transport's protocol is this by now, and it does not read yet."""

    def shutdown(self) -> None:
        """The server stops."""


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, which lets go of a peer that reads nothing, and of its transport when asked to."""

    successor: Successor | None = None

    def handle_connect(self, event: Request) -> None:
        """Begin as uvicorn does; the application finds ``take_over`` among the scope's extensions."""
        super().handle_connect(event)
        scope = cast(dict[str, Any], getattr(self, "scope", {}))
        if scope:
            scope["extensions"][TAKE_OVER] = self.take_over

    async def send(self, message: ASGISendEvent) -> None:
        """Send as uvicorn does; an upgrade that was refused with an answer is complete, which uvicorn forgets."""
        await super().send(message)
        if self.initial_response is not None and self.close_sent:
            self.handshake_complete = True

    def take_over(self, successor: Successor) -> None:
        """Give an accepted connection to a protocol of the application's, which carries bulk at a third of the cost.

        The application calls this right after its accept and stays until the successor's end. A client that has sent
        something before it was accepted breaks the protocol and is let go.
        """
        self.stop_keepalive()
        if self.transport.is_reading():
            self.transport.pause_reading()
        self.successor = successor
        successor.on_lost = self.connection_lost
        self.transport.set_protocol(cast(asyncio.BaseProtocol, successor))
        successor.take(self.transport)
        early = self.queue.qsize() or len(self.conn.reader.buffer)
        if early or not self.handshake_complete or self.close_sent:
            self.transport.abort()

    def shutdown(self) -> None:
        """The server stops; whoever has the connection closes it."""
        if self.successor is not None:
            self.successor.shutdown()
        else:
            super().shutdown()

    def keepalive_timeout(self) -> None:
        """Cut off a peer that does not answer a ping: closing would wait for it to read what is buffered."""
        super().keepalive_timeout()
        self.transport.abort()


class Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the owner of the loop and says when it accepts."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.accepting = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as uvicorn does, then set ``accepting``."""
        await super().startup(sockets)
        self.accepting.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Capture nothing: stock uvicorn would raise the signal again after its shutdown."""
        yield


class Listener:
    """One port and what answers on it."""

    def __init__(self, name: str, sock: socket.socket, app: Any, tls: ssl.SSLContext | None = None) -> None:
        self.name = name
        self.sock = sock
        config = uvicorn.Config(
            app,
            http=BoundedHttp,
            ws=BoundedWebSocket,
            ws_max_size=BODY_LIMIT,
            ws_per_message_deflate=False,
            lifespan="off",
            interface="asgi3",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=GRACE,
            ssl_context_factory=None if tls is None else lambda _config, _default: tls,
        )
        self.server = Server(config)
        self._node: TaskNode | None = None

    @property
    def port(self) -> int:
        """The port that was bound, also where 0 was asked for."""
        port: int = self.sock.getsockname()[1]
        return port

    async def start(self, tree: TaskTree, parent: TaskNode) -> None:
        """Serve as a node of the tree; returns when the port accepts. Raises ``Unavailable`` when it does not."""
        node = self._node = tree.spawn(self.name, self._serve, parent=parent, kind="listener")
        async with asyncio.timeout(START_WITHIN):
            await self.server.accepting.wait()
        if node.done:
            raise Unavailable(f"The {self.name} listener does not start: {node.last_error}")
        tree.spawn("silent clients", self._look_for_silence, parent=node, restart="on_failure", kind="watch")

    async def _serve(self) -> None:
        try:
            await self.server.serve([self.sock])
        finally:
            self.server.accepting.set()  # whoever waits for a start that has failed

    async def _look_for_silence(self) -> None:
        while True:
            await asyncio.sleep(SILENCE)
            self.let_go_of_the_silent()

    def let_go_of_the_silent(self) -> None:
        """End the connections of clients that have not gone on with their request since the last call."""
        for connection in list(self.server.server_state.connections):
            if isinstance(connection, BoundedHttp):
                connection.let_go_if_silent()

    async def stop(self) -> None:
        """Close the port, let running requests end for ``GRACE`` seconds, then cut them off."""
        self.server.should_exit = True
        node = self._node
        if node is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GRACE + 1):
                    await node.wait()
            await node.stop(0.5)
            for task in list(self.server.server_state.tasks):  # of a server that was ended before it had cut them off
                if not task.cancelling():  # once is enough: a second time would break what a request does at its end
                    task.cancel()
