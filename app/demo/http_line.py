"""One kept-alive HTTP/1.1 connection, as light as a load generator needs it.

Used by ``load.py`` (and through it by the benchmarks): a general client would cost more CPU than the broker under
test. It speaks what an ASGI server answers to JSON requests, bodies with a ``Content-Length``, and nothing else.
"""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

from app.errors import Unavailable

ANSWER_TIMEOUT = 15.0
LARGEST_HEAD = 65536


class HttpLine(asyncio.Protocol):
    """A connection that opens itself, and again after the server has closed it; one request at a time."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or "127.0.0.1"
        self._port = parts.port or 80
        self._host_line = f"Host: {parts.netloc}\r\n"
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._buffer = b""

    async def call(self, method: str, path: str, body: bytes = b"", headers: str = "") -> tuple[int, bytes]:
        """Status and body. ``Unavailable`` when the server went away twice in a row, or does not answer."""
        kind = "Content-Type: application/json\r\n" if body else ""
        head = f"{method} {path} HTTP/1.1\r\n{self._host_line}{kind}{headers}Content-Length: {len(body)}\r\n\r\n"
        request = head.encode("latin-1") + body
        for last in (False, True):
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT):
                    return await self._once(request)
            except (ConnectionError, OSError) as error:
                self.close()
                if last or isinstance(error, TimeoutError):
                    raise Unavailable(f"{self._host}:{self._port}: {str(error) or type(error).__name__}") from error
        raise Unavailable(f"{self._host}:{self._port} does not answer")

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    async def _once(self, request: bytes) -> tuple[int, bytes]:
        loop = asyncio.get_running_loop()
        if self._transport is None or self._transport.is_closing():
            await loop.create_connection(lambda: self, self._host, self._port)
        if self._transport is None:
            raise ConnectionResetError("the server closed the connection")
        self._buffer = b""
        self._answer = loop.create_future()
        self._transport.write(request)
        try:
            return await self._answer
        finally:
            self._answer = None

    # -- asyncio.Protocol --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A connection stands."""
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Collect until the answer is whole."""
        if self._answer is None or self._answer.done():
            return
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > LARGEST_HEAD:
                self._answer.set_exception(ConnectionResetError("the answer has no end of its head"))
            return
        length = _content_length(self._buffer[:end])
        if length is None:
            self._answer.set_exception(ConnectionResetError("the answer has no length"))
        elif len(self._buffer) >= end + 4 + length:
            self._answer.set_result((int(self._buffer[9:12]), self._buffer[end + 4 : end + 4 + length]))

    def connection_lost(self, exc: Exception | None) -> None:
        """The server closed; a call that waits learns it."""
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("the server closed the connection"))


def _content_length(head: bytes) -> int | None:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return None
