"""One viewer's bytes between an RFB server and the broker: the dial-back WebSocket of a ``vnc_proxy_request``.

Opened by ``tunnels.py``. The RFB server is reached first, so that the broker never holds a tunnel that leads nowhere.
Both ends are protocols that hand each read straight to the other transport, without a task or a queue in between: what
one side cannot take stops the reading of the other, which bounds the memory of a tunnel and lets nobody else wait.
Serves the StreamSpace document (seed 001, "VNC Proxy").
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from typing import cast
from urllib.parse import urlsplit

from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, ProtocolError
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from app.agent.platform import AgentFailure, FailureCode, RfbAddress, UnixAddress
from app.agent.rfb import connected, socket_path
from app.agent_protocol import FRAME_LIMIT, TUNNEL_FRAME, TUNNEL_PROTOCOL, CloseCode

RFB_WITHIN = 5.0
DIAL_WITHIN = 10.0
PING = 20.0
BUFFER = 128 * 1024
"""Bytes that may wait in our memory towards either side before the other side's reading stops."""
SOCKET_BUFFER = 256 * 1024
REASON_LIMIT = 120


class Tunnel:
    """Two transports and who closed them; ``closed`` is done, with a close code, when nothing is left."""

    def __init__(self, lost: Callable[[], None] | None = None) -> None:
        self._lost = lost
        self.closed: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.down = 0
        """Bytes from the desktop to the broker."""
        self.up = 0
        self._rfb = RfbSide(self)
        self._dialled: WebSide | None = None
        self._web: WebSide | None = None
        """The same once the broker has answered."""
        self._held: list[bytes] = []
        """The server's greeting, which comes before the broker is reached."""

    async def open(self, address: RfbAddress, url: str, token: str, tls: ssl.SSLContext | None) -> None:
        """Reach the RFB server, then the broker. Raises ``AgentFailure``."""
        try:
            await self._open_rfb(address)
            await self._open_web(url, token, tls)
        except BaseException:
            self.close(CloseCode.INTERNAL, "not opened")
            raise

    def close(self, code: int, reason: str = "") -> None:
        """Close both sides; the first reason counts."""
        if not self.closed.done():
            self.closed.set_result(code)
        if self._dialled is not None:
            self._dialled.close(code, reason)
        self._rfb.close()

    async def _open_rfb(self, address: RfbAddress) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(RFB_WITHIN):
                if isinstance(address, UnixAddress):
                    with socket_path(address) as path:
                        one = await connected(path)
                    await loop.create_unix_connection(lambda: self._rfb, sock=one)
                else:
                    await loop.create_connection(lambda: self._rfb, address.host, address.port)
        except (OSError, TimeoutError) as error:
            text = f"the VNC server cannot be reached: {str(error) or 'no answer'}"
            raise AgentFailure(text, FailureCode.VNC_CONNECT) from error

    async def _open_web(self, url: str, token: str, tls: ssl.SSLContext | None) -> None:
        parts = urlsplit(url)
        secure = parts.scheme == "wss"
        loop = asyncio.get_running_loop()
        web = self._dialled = WebSide(self, url, token)
        port = parts.port or (443 if secure else 80)
        context = (tls or ssl.create_default_context()) if secure else None
        try:
            async with asyncio.timeout(DIAL_WITHIN):
                await loop.create_connection(lambda: web, parts.hostname or "", port, ssl=context)
                await web.opened
            self._web = web
        except (OSError, TimeoutError, InvalidHandshake, ProtocolError, EOFError) as error:
            text = f"the tunnel to the broker was not opened: {str(error) or 'no answer'}"
            raise AgentFailure(text, FailureCode.VNC_CONNECT) from error
        finally:
            if self._web is None:
                web.close(CloseCode.INTERNAL, "not opened")
        for data in self._held:
            web.send(data)
        self._held.clear()
        self._rfb.resume()
        if self.closed.done():  # the desktop hung up meanwhile: what it said goes on to the viewer, and no more
            web.close(self.closed.result(), "the VNC server closed the connection")

    # What the two sides call -------------------------------------------------------------------------------------

    def from_rfb(self, data: bytes) -> None:
        """The desktop said something."""
        self.down += len(data)
        if self._web is None:
            self._held.append(data)
            self._rfb.pause()  # a greeting is short; nothing else comes before an answer
        else:
            self._web.send(data)

    def from_web(self, data: bytes) -> None:
        """The viewer said something."""
        self.up += len(data)
        self._rfb.send(data)

    def rfb_full(self, full: bool) -> None:
        """The desktop does not take more for now."""
        if self._web is not None:
            self._web.hold(full)

    def web_full(self, full: bool) -> None:
        """The broker does not take more for now."""
        if full:
            self._rfb.pause()
        else:
            self._rfb.resume()

    def rfb_lost(self) -> None:
        """The desktop closed its side; whoever opened this tunnel may know a better reason than we."""
        if self._web is not None and self._lost is not None and not self.closed.done():
            self._lost()
        else:
            self.close(CloseCode.REFUSED, "the VNC server closed the connection")

    def web_lost(self, code: int) -> None:
        """The broker closed its side."""
        self.close(code)


class RfbSide(asyncio.Protocol):
    """The connection to the RFB server."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected."""
        self._transport = prepared(transport)

    def data_received(self, data: bytes) -> None:
        """Up to 256 KiB at once: what asyncio and uvloop read in one go."""
        self._tunnel.from_rfb(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed, by whomever."""
        self._transport = None
        self._tunnel.rfb_lost()

    def pause_writing(self) -> None:
        """Our buffer towards the server is full."""
        self._tunnel.rfb_full(True)

    def resume_writing(self) -> None:
        """There is room again."""
        self._tunnel.rfb_full(False)

    def send(self, data: bytes) -> None:
        """Pass on what the viewer said."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def pause(self) -> None:
        """Read no more for now."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self) -> None:
        """Close without waiting for what is unsent."""
        if self._transport is not None:
            self._transport.abort()


class WebSide(asyncio.Protocol):
    """The WebSocket to the broker, without a task: the sans-I/O protocol of ``websockets`` on a transport."""

    def __init__(self, tunnel: Tunnel, url: str, token: str) -> None:
        self._tunnel = tunnel
        self._transport: asyncio.Transport | None = None
        self._token = token
        self._protocol = ClientProtocol(
            parse_uri(url), subprotocols=[Subprotocol(TUNNEL_PROTOCOL)], max_size=FRAME_LIMIT
        )
        self._close_timer: asyncio.TimerHandle | None = None
        self._ping_timer: asyncio.TimerHandle | None = None
        self._heard = True
        self._binary = False
        loop = asyncio.get_running_loop()
        self._call_later: Callable[..., asyncio.TimerHandle] = loop.call_later
        self.opened: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connected: ask for the upgrade."""
        self._transport = prepared(transport)
        request = self._protocol.connect()
        if self._token:
            request.headers.update(Headers({"Authorization": f"Bearer {self._token}"}))
        self._protocol.send_request(request)
        self._flush()
        self._ping_timer = self._call_later(PING, self._ping)

    def data_received(self, data: bytes) -> None:
        """Frames, or the answer to the upgrade."""
        self._heard = True
        self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                self._on_response()
            elif isinstance(event, Frame):
                self._on_frame(event)
        self._flush()
        if self._protocol.close_expected():
            self._protocol_closed()

    def eof_received(self) -> None:
        """The broker will send no more."""
        self._protocol.receive_eof()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """Closed, by whomever."""
        self._transport = None
        for timer in (self._close_timer, self._ping_timer):
            if timer is not None:
                timer.cancel()
        if self._protocol.state is not State.CLOSED:
            self._protocol.receive_eof()
        if not self.opened.done():
            self.opened.set_exception(exc or ConnectionResetError("the broker closed the connection"))
        self._tunnel.web_lost(self._code())

    def pause_writing(self) -> None:
        """Our buffer towards the broker is full."""
        self._tunnel.web_full(True)

    def resume_writing(self) -> None:
        """There is room again."""
        self._tunnel.web_full(False)

    def send(self, data: bytes) -> None:
        """Pass on what the desktop said, in frames of the size that the broker takes."""
        if self._protocol.state is not State.OPEN:
            return
        if len(data) <= TUNNEL_FRAME:
            self._protocol.send_binary(data)
        else:
            view = memoryview(data)
            for at in range(0, len(data), TUNNEL_FRAME):
                self._protocol.send_binary(cast(bytes, view[at : at + TUNNEL_FRAME]))
        self._flush()

    def hold(self, on: bool) -> None:
        """Read no more from the broker, or go on."""
        if self._transport is None or self._transport.is_closing():
            return
        if on:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def close(self, code: int, reason: str) -> None:
        """Say goodbye; a broker that does not answer it loses the connection."""
        if self._transport is None:
            return
        if self._protocol.state is not State.OPEN:
            if self._protocol.state is not State.CLOSING:
                self._transport.abort()
            return
        with contextlib.suppress(ProtocolError):
            self._protocol.send_close(code if sendable(code) else CloseCode.NORMAL, reason[:REASON_LIMIT])
        self._flush()
        self._transport.resume_reading()
        self._close_timer = self._call_later(2.0, self.abort)

    def _on_frame(self, frame: Frame) -> None:
        """Binary frames carry the desktop's bytes; text is reserved and ignored, with its continuations."""
        if frame.opcode in (Opcode.BINARY, Opcode.TEXT):
            self._binary = frame.opcode is Opcode.BINARY
        if self._binary and frame.opcode in (Opcode.BINARY, Opcode.CONT):
            self._tunnel.from_web(bytes(frame.data))

    def _on_response(self) -> None:
        if self.opened.done():
            return
        failure = self._protocol.handshake_exc
        if failure is not None:
            self.opened.set_exception(failure)
        else:
            self.opened.set_result(None)

    def _ping(self) -> None:
        """Keep half-open connections from staying: silence since the last ping ends this one."""
        if not self._heard:
            self.abort()
            return
        self._heard = False
        if self._protocol.state is State.OPEN:
            self._protocol.send_ping(b"")
            self._flush()
        self._ping_timer = self._call_later(PING, self._ping)

    def _flush(self) -> None:
        """What the protocol wants written; an empty piece means that it wants the end."""
        if self._transport is None or self._transport.is_closing():
            self._protocol.data_to_send()
            return
        pieces = self._protocol.data_to_send()
        ends = bool(pieces) and pieces[-1] == b""
        if ends:
            pieces = pieces[:-1]
        if pieces:
            self._transport.writelines(pieces)
        if ends:
            self._transport.close()

    def _protocol_closed(self) -> None:
        if self._close_timer is None:
            self._close_timer = self._call_later(2.0, self.abort)

    def abort(self) -> None:
        """Close without a word."""
        if self._transport is not None:
            self._transport.abort()

    def _code(self) -> int:
        code = self._protocol.close_rcvd.code if self._protocol.close_rcvd is not None else None
        return code or CloseCode.NORMAL


def sendable(code: int) -> bool:
    """Whether this code may stand in a close frame."""
    return code in (1000, 1001, 1011) or 3000 <= code < 5000


def prepared(transport: asyncio.BaseTransport) -> asyncio.Transport:
    """A transport with small buffers, which sends what it is given at once."""
    stream = cast(asyncio.Transport, transport)
    stream.set_write_buffer_limits(high=BUFFER)
    peer = stream.get_extra_info("socket")
    if peer is not None:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
        if peer.family in (socket.AF_INET, socket.AF_INET6):
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream
