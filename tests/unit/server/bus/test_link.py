from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from app.errors import Unavailable
from app.server.bus import link as link_module
from app.server.bus.embedded import EmbeddedNats
from app.server.bus.link import Link, open_link

Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
INFO = b'INFO {"max_payload": 1000}\r\n'


@asynccontextmanager
async def peer_that(talk: Peer) -> AsyncIterator[str]:
    """A server that does what ``talk`` does, for what a real nats-server never does."""
    talks: list[asyncio.Task[None]] = []

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            talks.append(task)
        try:
            await talk(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(once, "127.0.0.1", 0)
    yield f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    for task in talks:
        task.cancel()
    await asyncio.gather(*talks, return_exceptions=True)


def nothing() -> None: ...


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(INFO)
    await reader.readline()
    await reader.readline()
    writer.write(b"PONG\r\n")


async def test_a_real_server_is_greeted(server: EmbeddedNats) -> None:
    link = await open_link(server.url, nothing, 5)
    assert link.alive
    assert link.max_payload == 1024 * 1024
    heard: asyncio.Queue[tuple[str, bytes, bytes]] = asyncio.Queue()
    link.subscribe("a.*", lambda *message: heard.put_nowait(message))
    await link.settled()
    link.write(b"PUB a.b 2\r\nhi\r\n")
    assert await heard.get() == ("a.b", b"hi", b"")
    link.close()
    async with asyncio.timeout(15):
        await link.closed
    assert not link.alive
    with pytest.raises(Unavailable):
        await link.settled()


@pytest.mark.parametrize(
    ("greeting", "says"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", "does not speak NATS"),
        (b'INFO {"tls_required": true}\r\n', "wants TLS"),
        (b"", "the server closed the connection"),
        (INFO + b"-ERR 'Maximum Connections Exceeded'\r\n", "Maximum Connections Exceeded"),
    ],
)
async def test_a_greeting_that_leads_nowhere_is_told(greeting: bytes, says: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await writer.drain()

    async with peer_that(talk) as url:
        with pytest.raises(Unavailable, match=says):
            await open_link(url, nothing, 5)


async def test_a_server_that_says_nothing_is_not_waited_for(tmp_path: object) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with peer_that(talk) as url:
        with pytest.raises(Unavailable, match="no answer in time"):
            await open_link(url, nothing, 0.05)


async def test_a_server_that_takes_its_time_to_greet_is_not_kept_awake_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "PING_EVERY", 0.005)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        monkeypatch.setattr(link_module, "PING_EVERY", 60)
        await greet(reader, writer)
        await reader.read()

    async with peer_that(talk) as url:
        link = await open_link(url, nothing, 5)
        link.close()


async def test_a_server_that_falls_silent_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "PING_EVERY", 0.02)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        await reader.read()

    async with peer_that(talk) as url:
        link = await open_link(url, nothing, 5)
        async with asyncio.timeout(15):
            assert "does not answer" in await link.closed


async def test_a_server_that_answers_pings_is_kept(server: EmbeddedNats) -> None:
    link = await open_link(server.url, nothing, 5)
    for _ in range(2 * link_module.UNANSWERED + 1):  # its time has come
        link._keep_alive()
        async with asyncio.timeout(10):
            while link._unanswered:
                await asyncio.sleep(0.001)
    assert link.alive
    link.close()
    await link.closed


async def test_its_own_pings_are_answered() -> None:
    answered: asyncio.Queue[bytes] = asyncio.Queue()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        writer.write(b"PING\r\n")
        answered.put_nowait(await reader.readline())

    async with peer_that(talk) as url:
        link = await open_link(url, nothing, 5)
        assert await answered.get() == b"PONG\r\n"
        async with asyncio.timeout(15):
            await link.closed


async def test_one_that_reads_slowly_is_not_fed_more_than_it_takes() -> None:
    read, resumed = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await greet(reader, writer)
        await read.wait()
        while await reader.read(1 << 20):
            pass

    async with peer_that(talk) as url:
        link: Link = await open_link(url, resumed.set, 5)
        while link.writable:
            link.write(b"x" * 1_000_000)
        read.set()
        async with asyncio.timeout(15):
            await resumed.wait()
        assert link.writable
        link.close()
        await link.closed
