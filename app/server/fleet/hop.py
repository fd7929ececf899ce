"""One WebSocket of the VNC path, from the moment its handshake is done: frames in, frames out, and nothing in between.

Both a viewer and an agent's tunnel are clients of the broker, so what comes in is masked and what goes out is not. A
desktop's picture passes here at gigabytes a minute, which is why uvicorn hands its transport over
(``listeners.BoundedWebSocket.take_over``) and payloads travel in pieces as they are read: nothing is kept until a frame
is whole, all hops read into one buffer, and each read leaves as one frame. Boundaries of frames mean nothing on this path
(ARCHITECTURE.md, "The VNC path"); text frames are reserved and ignored.

Owned by ``relay.py``, which says where the payload goes and holds a hop that runs ahead of its other end.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import cast

from app.agent_protocol import FRAME_LIMIT, CloseCode

try:
    from websockets.speedups import apply_mask
except ImportError:  # a machine for which there is no compiled wheel; a hundred times slower
    from websockets.utils import apply_mask

READ_SIZE = 256 * 1024
"""Of the buffer that all hops read into, one after the other."""
WRITE_HIGH = 256 * 1024
WRITE_LOW = 64 * 1024
"""Bytes waiting for a peer at which its other end is held, and let go again."""
CLOSE_WITHIN = 2.0
"""Seconds that a peer has to answer a close; it may be stuck, which is why it is closed."""
REASON_BYTES = 123
LOST = 1006
NO_CODE = 1005
PROTOCOL_ERROR = 1002
TOO_BIG = 1009

_CONTINUE, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_LONGEST_HEAD = 14

Sink = Callable[[list[bytes]], None]
Ended = Callable[[int, str], None]


class Broken(Exception):
    """The peer does not speak WebSocket: close code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Hop(asyncio.BufferedProtocol):
    """The broker's end of one WebSocket.

    ``sink`` takes the payload of each read, in pieces; ``ended`` is told once how the peer ended it (1006: without a
    word); ``full`` and ``drained`` when the peer reads slower than it is sent to.
    """

    def __init__(self, buffer: bytearray) -> None:
        self._buffer = buffer
        self._view = memoryview(buffer)
        self._loop = asyncio.get_running_loop()
        self.closed = asyncio.Event()
        self.sink: Sink = _nowhere
        self.ended: Ended = _unheard
        self.full: Callable[[], None] = _nothing
        self.drained: Callable[[], None] = _nothing
        self.on_lost: Callable[[Exception | None], None] = _forgotten
        self.sent = 0
        """Bytes of payload sent to this peer."""
        self.rtt: float | None = None
        """Seconds that the last ping took."""
        self._transport: asyncio.Transport | None = None
        self._left = 0
        self._mask = b"\0\0\0\0"
        self._kind = _BINARY
        self._head = b""
        self._control = bytearray()
        self._message: int | None = None
        """Opcode of the fragmented message that is under way."""
        self._closing = False
        self._over = False
        self._held = False
        self._held_at = 0.0
        self._waiting_pong: bytes | None = None
        self._pinged_at = 0.0
        self._alive_at = self._loop.time()
        self._pings = 0
        self._deadline: asyncio.TimerHandle | None = None

    # --- the transport's side -------------------------------------------------------------------------------------

    def take(self, transport: asyncio.BaseTransport) -> None:
        """Begin on a transport whose protocol this is by now, and which does not read yet."""
        self._transport = taken = cast(asyncio.Transport, transport)
        taken.set_write_buffer_limits(high=WRITE_HIGH, low=WRITE_LOW)
        if not self._held:
            taken.resume_reading()

    def get_buffer(self, sizehint: int) -> memoryview:
        """The one buffer: what is read is taken out of it before anybody else reads. A view, of which TLS takes slices."""
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        """Take the frames, or parts of frames, that have been read."""
        self._alive_at = self._loop.time()
        try:
            pieces = self._parse(nbytes)
        except Broken as error:
            self.close(error.code, str(error))
            self._tell(error.code, str(error))
            return
        if pieces and not self._closing:
            self.sink(pieces)

    def pause_writing(self) -> None:
        """The peer reads slower than it is sent to."""
        self.full()

    def resume_writing(self) -> None:
        """It has caught up, so it lives."""
        self._alive_at = self._loop.time()
        self.drained()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, however it came."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._closing = True
        self._tell(LOST, "")
        self.on_lost(exc)
        self.closed.set()

    # --- what the relay does with it ------------------------------------------------------------------------------

    def send(self, pieces: list[bytes]) -> None:
        """One binary frame of these pieces."""
        transport = self._transport
        if self._closing or transport is None:
            return
        size = len(pieces[0]) if len(pieces) == 1 else sum(map(len, pieces))
        self.sent += size
        transport.writelines((_head(_BINARY, size), *pieces))

    def close(self, code: int, reason: str = "") -> None:
        """Say why, wait a moment for the answer, then end it; what arrives from now on is not looked at."""
        if self._closing:
            return
        self._closing = True
        self.release()
        self._write_control(_CLOSE, close_payload(code, reason))
        self._deadline = self._loop.call_later(CLOSE_WITHIN, self.abort)

    def abort(self) -> None:
        """End it now."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()

    def shutdown(self) -> None:
        """The server stops."""
        self.close(CloseCode.SHUTDOWN, "The broker stops")
        self._tell(CloseCode.SHUTDOWN, "The broker stops")

    def hold(self) -> None:
        """Read no further for the time being."""
        if not self._held:
            self._held_at = self._loop.time()
        self._held = True
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def release(self) -> None:
        """Read on."""
        if not self._held:
            return
        self._held = False
        self._alive_at = self._loop.time()  # while it was held nothing could be heard of it
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def ping(self) -> None:
        """Measure a round trip, unless one is under way."""
        if self._closing or self._waiting_pong is not None:
            return
        self._pings += 1
        self._waiting_pong = struct.pack("!I", self._pings & 0xFFFFFFFF)
        self._pinged_at = self._loop.time()
        self._write_control(_PING, self._waiting_pong)

    @property
    def silence(self) -> float:
        """Seconds since the last sign of life that a ping has been waiting for; 0 when nothing is owed."""
        if self._waiting_pong is None or self._held:
            return 0.0
        return self._loop.time() - max(self._pinged_at, self._alive_at)

    @property
    def held_for(self) -> float:
        """Seconds since it was last read; 0 while it is."""
        return self._loop.time() - self._held_at if self._held else 0.0

    @property
    def waiting(self) -> int:
        """Bytes that wait for the peer."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    # --- frames ---------------------------------------------------------------------------------------------------

    def _parse(self, end: int) -> list[bytes]:
        """Payload of data frames in the first ``end`` bytes of the buffer. Raises ``Broken``."""
        view = self._view
        pieces: list[bytes] = []
        at = 0
        while True:
            left = self._left
            if left:
                step = min(left, end - at)
                piece = apply_mask(view[at : at + step], self._mask)
                at += step
                self._left = left - step
                if self._kind == _BINARY:
                    pieces.append(piece)
                elif self._kind != _TEXT:
                    self._control += piece
                if step < left:
                    turn = step & 3
                    self._mask = self._mask[turn:] + self._mask[:turn]
            if not self._left and self._kind >= _CLOSE:
                if pieces and self._kind == _CLOSE and not self._closing:  # the last words come before the end
                    self.sink(pieces)
                    pieces = []
                self._take_control()
            if at >= end:
                return pieces
            at = self._next_head(at, end)

    def _next_head(self, at: int, end: int) -> int:
        """Read the head of the frame at ``at``; where its payload begins, or ``end`` while it is not whole."""
        if not self._head:
            taken = self._read_head(self._buffer, at, end)
            if not taken:
                self._head = bytes(self._view[at:end])
                return end
            return at + taken
        had = len(self._head)
        head = self._head + bytes(self._view[at : min(end, at + _LONGEST_HEAD - had)])
        taken = self._read_head(head, 0, len(head))
        self._head = b"" if taken else head
        return at + taken - had if taken else end

    def _read_head(self, data: bytes | bytearray, at: int, end: int) -> int:
        """Length of the head at ``at``, or 0 while it is not whole. Raises ``Broken``."""
        if end - at < 2:
            return 0
        first, second = data[at], data[at + 1]
        if first & 0x70 or not second & 0x80:
            raise Broken(PROTOCOL_ERROR, "Frames are masked here, and have no extensions")
        size, length = second & 0x7F, 6
        if size == 126:
            length = 8
        elif size == 127:
            length = 14
        if end - at < length:
            return 0
        if size >= 126:
            size = int.from_bytes(data[at + 2 : at + length - 4], "big")
        self._begin(first, size)
        self._left = size
        self._mask = bytes(data[at + length - 4 : at + length])
        return length

    def _begin(self, first: int, size: int) -> None:
        """What kind of frame begins; pieces of one message may have control frames between them."""
        final, opcode = bool(first & 0x80), first & 0x0F
        if opcode >= _CLOSE:
            if opcode > _PONG or not final or size > 125:
                raise Broken(PROTOCOL_ERROR, "This is no control frame")
            self._kind = opcode
            self._control.clear()
            return
        if opcode > _BINARY or (opcode == _CONTINUE) == (self._message is None):
            raise Broken(PROTOCOL_ERROR, "This frame does not follow the one before")
        if size > FRAME_LIMIT:
            raise Broken(TOO_BIG, f"A frame has at most {FRAME_LIMIT} bytes")
        kind = opcode if opcode != _CONTINUE or self._message is None else self._message
        self._kind = kind
        self._message = None if final else kind

    def _take_control(self) -> None:
        """A whole control frame."""
        kind, payload = self._kind, bytes(self._control)
        self._kind = _BINARY
        self._control.clear()
        if kind == _PING:
            if not self._closing and self.waiting <= WRITE_HIGH:  # who reads nothing is owed nothing
                self._write_control(_PONG, payload)
        elif kind == _PONG:
            if payload == self._waiting_pong:
                self.rtt = self._loop.time() - self._pinged_at
                self._waiting_pong = None
        else:
            self._take_close(payload)

    def _take_close(self, payload: bytes) -> None:
        code, reason = read_close(payload)
        if not self._closing:
            self._closing = True
            self._write_control(_CLOSE, payload[:2])
            self._deadline = self._loop.call_later(CLOSE_WITHIN, self.abort)
            self._tell(code, reason)
        if self._transport is not None:
            self._transport.close()

    def _write_control(self, opcode: int, payload: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(_head(opcode, len(payload)) + payload)

    def _tell(self, code: int, reason: str) -> None:
        if not self._over:
            self._over = True
            self.ended(code, reason)


def _head(opcode: int, size: int) -> bytes:
    if size < 126:
        return bytes((0x80 | opcode, size))
    if size < 0x10000:
        return struct.pack("!BBH", 0x80 | opcode, 126, size)
    return struct.pack("!BBQ", 0x80 | opcode, 127, size)


def close_payload(code: int, reason: str) -> bytes:
    """Code and reason as a close frame holds them; a reason that is too long ends at a letter."""
    text = reason.encode("utf-8", "replace")[:REASON_BYTES].decode("utf-8", "ignore")
    return struct.pack("!H", code) + text.encode()


def read_close(payload: bytes) -> tuple[int, str]:
    """Code and reason of a close frame; 1005 where it has none, 1002 where it makes no sense."""
    if not payload:
        return NO_CODE, ""
    code = int.from_bytes(payload[:2], "big")
    try:
        reason = payload[2:].decode()
    except UnicodeDecodeError:
        return PROTOCOL_ERROR, ""
    known = 1000 <= code <= 1014 and code not in (1004, NO_CODE, LOST)
    return (code, reason) if len(payload) >= 2 and (known or 3000 <= code <= 4999) else (PROTOCOL_ERROR, "")


def _nowhere(_: list[bytes]) -> None:
    """Payload before anybody wants it."""


def _unheard(_: int, __: str) -> None:
    """An end before anybody listens."""


def _nothing() -> None:
    """Nobody holds anything back yet."""


def _forgotten(_: Exception | None) -> None:
    """Nobody but the hop knew the connection."""
