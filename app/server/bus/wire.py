"""The NATS client protocol without I/O: bytes in, calls on a receiver; and the frames that go out.

Used by ``link.py``. As much of the protocol as a broker needs: INFO, CONNECT, PING, PONG, PUB, SUB, MSG, HMSG (for
"no responders"), -ERR. Hostile or broken input ends in ``BadFrame``, never in a growing buffer.
"""

from __future__ import annotations

import re
from typing import Any, Protocol

import msgspec

LINE_LIMIT = 64 * 1024
PAYLOAD_LIMIT = 8 * 1024 * 1024
PING, PONG = b"PING\r\n", b"PONG\r\n"
SUBJECT = re.compile(r"[^\s\x00-\x1f\x7f]+")
"""What may stand in a frame as a subject; anything else would become another frame."""


class BadFrame(Exception):
    """The peer does not speak the protocol."""


class Receiver(Protocol):
    """What a connection does with each frame."""

    def on_info(self, info: dict[str, Any]) -> None:
        """The server about itself."""

    def on_message(self, subject: bytes, sid: bytes, payload: bytes, status: bytes) -> None:
        """A message; ``status`` is that of its headers, ``503`` where nobody listens to a request."""

    def on_ping(self) -> None:
        """The server wants a PONG."""

    def on_pong(self) -> None:
        """The server has everything that was sent before the PING."""

    def on_error(self, text: str) -> None:
        """The server complains."""


class Parser:
    """Cuts what comes into frames; ``feed`` takes it in any pieces."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Handle every frame that is complete. Raises ``BadFrame``."""
        if self._rest:
            data = self._rest + data
        at = 0
        while True:
            end = data.find(b"\r\n", at)
            if end < 0:
                if len(data) - at > LINE_LIMIT:
                    raise BadFrame("a line without an end")
                break
            line = data[at:end]
            if line[:4] == b"MSG " or line[:5] == b"HMSG ":
                after = self._message(line, data, end + 2)
                if not after:
                    break
                at = after
            else:
                self._control(line)
                at = end + 2
        self._rest = data[at:]

    def _message(self, line: bytes, data: bytes, begin: int) -> int:
        """Hand on one message; where the next frame begins, 0 while it is incomplete."""
        parts = line.split()
        with_headers = parts[0] == b"HMSG"
        try:
            size = int(parts[-1])
            head = int(parts[-2]) if with_headers else 0
        except ValueError:
            raise BadFrame(f"a message of no size: {line[:100]!r}") from None
        if not (4 + with_headers <= len(parts) <= 5 + with_headers and 0 <= head <= size <= PAYLOAD_LIMIT):
            raise BadFrame(f"a message of odd shape: {line[:100]!r}")
        end = begin + size
        if len(data) < end + 2:
            return 0
        if data[end : end + 2] != b"\r\n":
            raise BadFrame("a message longer than it said")
        status = data[begin : begin + head].split(b"\r\n", 1)[0][9:12] if with_headers else b""
        self._receiver.on_message(parts[1], parts[2], data[begin + head : end], status)
        return end + 2

    def _control(self, line: bytes) -> None:
        verb, _, rest = line.partition(b" ")
        verb = verb.upper()
        if verb == b"PING":
            self._receiver.on_ping()
        elif verb == b"PONG":
            self._receiver.on_pong()
        elif verb == b"-ERR":
            self._receiver.on_error(rest.strip().strip(b"'").decode("utf-8", "replace"))
        elif verb == b"INFO":
            try:
                self._receiver.on_info(msgspec.json.decode(rest, type=dict[str, Any]))
            except msgspec.DecodeError as error:
                raise BadFrame(f"INFO is not JSON: {error}") from error
        elif verb != b"+OK":
            raise BadFrame(f"not a frame: {line[:100]!r}")


def is_subject(subject: str) -> bool:
    """Whether a text can stand in a frame as a subject."""
    return SUBJECT.fullmatch(subject) is not None


def publish(subject: str, payload: bytes, reply: str = "") -> bytes:
    """A PUB frame; the subject has been checked."""
    if reply:
        return b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply.encode(), len(payload), payload)
    return b"PUB %b %d\r\n%b\r\n" % (subject.encode(), len(payload), payload)


def subscribe(subject: str, sid: int) -> bytes:
    """A SUB frame."""
    return b"SUB %b %d\r\n" % (subject.encode(), sid)


def connect(name: str, user: str | None, password: str | None) -> bytes:
    """A CONNECT frame; a user without a password is a token."""
    options: dict[str, Any] = {
        "verbose": False, "pedantic": False, "headers": True, "no_responders": True, "echo": True,
        "lang": "python", "version": "1", "protocol": 1, "name": name,
    }  # fmt: skip
    if user is not None and password is not None:
        options |= {"user": user, "pass": password}
    elif user is not None:
        options["auth_token"] = user
    return b"CONNECT " + msgspec.json.encode(options) + b"\r\n"
