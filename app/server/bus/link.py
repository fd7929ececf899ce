"""One connection to a NATS server: handshake, subscriptions, keep-alive. It is not repaired; ``nats.py`` makes a new one.

Why not nats-py, which demo and tests use: its request passes through three queues, which costs 50 µs and half of its
CPU, and its own reconnecting holds a request back until its time-out. A broker needs a tenth of what it can do.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import unquote, urlsplit

from app.errors import Unavailable
from app.server.bus import wire

PING_EVERY = 5.0
UNANSWERED = 2
"""PINGs without a PONG after which a connection counts as dead."""
DEFAULT_PORT = 4222
MAX_PAYLOAD = 1024 * 1024

OnMessage = Callable[[str, bytes, bytes], None]
"""Called with subject, payload and status (``503``: nobody listens)."""


class Link(asyncio.Protocol):
    """A connected client. ``closed`` is done, with a reason in words, once the connection is gone."""

    def __init__(self, user: str | None, password: str | None, on_writable: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[str] = loop.create_future()
        self.writable = True
        self.max_payload = MAX_PAYLOAD
        self.on_refusal: Callable[[str], None] = lambda text: None
        """Called with the server's words when it refuses one subject and goes on."""
        self._credential = (user, password)
        self._on_writable = on_writable
        self._parser = wire.Parser(self)
        self._transport: asyncio.Transport | None = None
        self._handlers: dict[bytes, OnMessage] = {}
        self._subscriptions: list[bytes] = []
        self._pongs: list[asyncio.Future[None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._unanswered = 0
        self._complaint = ""

    @property
    def alive(self) -> bool:
        """Whether a frame written now has a chance."""
        return self._transport is not None and not self._transport.is_closing()

    def write(self, frame: bytes) -> None:
        """Send; a connection that is gone swallows it, and ``closed`` tells."""
        if self._transport is not None:
            self._transport.write(frame)

    def subscribe(self, subject: str, on_message: OnMessage) -> None:
        """Hear a subject; the server knows it once ``settled`` returns."""
        sid = len(self._handlers) + 1
        self._handlers[b"%d" % sid] = on_message
        self._subscriptions.append(wire.subscribe(subject, sid))
        self.write(self._subscriptions[-1])

    def subscribe_again(self) -> None:
        """Send every subscription again: the server passes over those that it has, and looks at what it refused."""
        self.write(b"".join(self._subscriptions))

    async def settled(self) -> None:
        """Return when the server has everything sent so far. Raises ``Unavailable`` when the connection breaks."""
        if self.closed.done():
            raise Unavailable(self.closed.result(), code="bus_away")
        pong: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._pongs.append(pong)
        self.write(wire.PING)
        await pong

    def close(self) -> None:
        """End the connection after what has been written."""
        if self._transport is not None:
            self._transport.close()

    # Called by the loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is open; the server speaks first."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Take what came; a peer that speaks something else is left."""
        try:
            self._parser.feed(data)
        except wire.BadFrame as error:
            self._give_up(f"it does not speak NATS: {error}")

    def pause_writing(self) -> None:
        """The server takes less than we send."""
        self.writable = False

    def resume_writing(self) -> None:
        """It has caught up."""
        self.writable = True
        self._on_writable()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail everybody who waits."""
        if self._timer is not None:
            self._timer.cancel()
        reason = self._complaint or (str(exc) if exc else "the server closed the connection")
        lost = Unavailable(reason, code="bus_away")
        for waiting in (self.ready, *self._pongs):
            if not waiting.done():
                waiting.set_exception(lost)
                waiting.exception()  # somebody may have stopped waiting
        if not self.closed.done():
            self.closed.set_result(reason)

    # Called by the parser.

    def on_info(self, info: dict[str, Any]) -> None:
        """The first one opens the handshake; later ones tell of changes in a cluster, which do not concern us."""
        self.max_payload = int(info.get("max_payload", MAX_PAYLOAD))
        if self.ready.done() or self._pongs:
            return
        if info.get("tls_required"):
            self._give_up("it wants TLS, which this version does not speak")
            return
        self.write(wire.connect("callboard broker", *self._credential) + wire.PING)
        self._pongs.append(self.ready)

    def on_message(self, subject: bytes, sid: bytes, payload: bytes, status: bytes) -> None:
        """Hand a message to who subscribed."""
        handler = self._handlers.get(sid)
        if handler is not None:
            handler(subject.decode("utf-8", "replace"), payload, status)

    def on_ping(self) -> None:
        """Say that we live."""
        self.write(wire.PONG)

    def on_pong(self) -> None:
        """Answer the oldest who waits; the first one ends the handshake, and from then on the server is kept awake."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PING_EVERY, self._keep_alive)
        self._unanswered = 0
        if self._pongs:
            waiting = self._pongs.pop(0)
            if not waiting.done():
                waiting.set_result(None)

    def on_error(self, text: str) -> None:
        """A complaint about one frame is handed on; what ends the connection is kept as its reason."""
        if text.lower().startswith("permissions violation"):
            self.on_refusal(text)
        else:
            self._complaint = text

    def _keep_alive(self) -> None:
        if self._unanswered >= UNANSWERED:
            self._give_up("the server does not answer")
            return
        self._unanswered += 1
        self._pongs.append(asyncio.get_running_loop().create_future())
        self.write(wire.PING)
        self._timer = asyncio.get_running_loop().call_later(PING_EVERY, self._keep_alive)

    def _give_up(self, reason: str) -> None:
        self._complaint = reason
        if self._transport is not None:
            self._transport.abort()


async def open_link(url: str, on_writable: Callable[[], None], timeout: float) -> Link:
    """A link whose handshake is done. Raises ``Unavailable`` with the reason."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or DEFAULT_PORT
    user = None if parts.username is None else unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    loop = asyncio.get_running_loop()
    link: Link | None = None
    try:
        async with asyncio.timeout(timeout):
            _, link = await loop.create_connection(lambda: Link(user, password, on_writable), host, port)
            await link.ready
    except (OSError, TimeoutError, Unavailable) as error:
        if link is not None:
            link.close()
        raise Unavailable(f"{host}:{port}: {_in_words(error)}", code="bus_away") from error
    return link


def _in_words(error: Exception) -> str:
    """Why there is no link, without the system's numbers."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.errno is not None:
        known = error.strerror if isinstance(error, socket.gaierror) else None
        return known or os.strerror(error.errno)
    return str(error)
