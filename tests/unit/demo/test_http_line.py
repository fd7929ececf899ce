"""The load generator's connection against servers that close, dribble and lie."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from app.demo.http_line import HttpLine
from app.errors import Unavailable

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nServer: x\r\nCONTENT-LENGTH: 4\r\n\r\nbody"


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Handler], Awaitable[str]]]:
    servers: list[asyncio.Server] = []

    async def start(handler: Handler) -> str:
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()


def answering(*chunks: bytes, close: bool = False, requests: list[bytes] | None = None) -> Handler:
    """A server that answers each request with the same chunks, and may close after each."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if requests is not None:
                    requests.append(head)
                for chunk in chunks:
                    writer.write(chunk)
                    await writer.drain()
                    await asyncio.sleep(0)
                if close:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    return handle


async def test_one_connection_for_many_requests(serve: Callable[[Handler], Awaitable[str]]) -> None:
    requests: list[bytes] = []
    line = HttpLine(await serve(answering(OK, requests=requests)))
    for _ in range(3):
        assert await line.call("POST", "/streams/a/heartbeat") == (200, b"body")
    assert requests[0].startswith(b"POST /streams/a/heartbeat HTTP/1.1\r\nHost: 127.0.0.1:")
    assert len(requests) == 3
    line.close()


async def test_an_answer_in_pieces(serve: Callable[[Handler], Awaitable[str]]) -> None:
    line = HttpLine(await serve(answering(OK[:5], OK[5:30], OK[30:50], OK[50:])))
    assert await line.call("GET", "/") == (200, b"body")
    line.close()


async def test_a_server_that_closes_after_each_answer(serve: Callable[[Handler], Awaitable[str]]) -> None:
    line = HttpLine(await serve(answering(OK, close=True)))
    for _ in range(3):
        assert await line.call("GET", "/") == (200, b"body")
    line.close()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 70_000, b""])
async def test_an_answer_that_is_none(serve: Callable[[Handler], Awaitable[str]], answer: bytes) -> None:
    line = HttpLine(await serve(answering(answer, close=True)))
    with pytest.raises(Unavailable):
        await line.call("GET", "/")
    line.close()


async def test_nobody_listens() -> None:
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9"):
        await HttpLine("http://127.0.0.1:9").call("GET", "/")


async def test_no_answer_in_time(serve: Callable[[Handler], Awaitable[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.demo.http_line.ANSWER_TIMEOUT", 0.1)
    line = HttpLine(await serve(answering()))
    with pytest.raises(Unavailable):
        await line.call("GET", "/")
    line.close()
