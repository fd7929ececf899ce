"""The feed over real WebSockets: who may, what comes, slow readers, many at once, a broker that comes back."""

from __future__ import annotations

import asyncio
import gc
import socket
import statistics
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import httpx
import msgspec
import psutil
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from app.client.feed import Numbers
from app.contract import PROTOCOL, Diff, FeedMessage, Hello, Pulse, Snapshot
from tests.fakes.broker import BrokerProcess, Brokers, RunningBroker

DECODER: msgspec.json.Decoder[FeedMessage] = msgspec.json.Decoder(FeedMessage)
STREAM = {
    "name": "Camera A", "stream_type": "ndi", "publisher_id": "td-01", "protocol": "ndi",
    "address": "192.168.1.50", "port": 5960,
}  # fmt: skip


def feed_url(running: RunningBroker | BrokerProcess, token: str | None = None) -> str:
    query = f"?token={running.token if token is None else token}"
    return f"{running.url.replace('http', 'ws')}/console/v1/feed{query}"


@asynccontextmanager
async def feed(running: RunningBroker | BrokerProcess, **options: Any) -> AsyncIterator[ClientConnection]:
    async with connect(feed_url(running), compression=None, proxy=None, ping_interval=None, **options) as connection:
        yield connection


class Board:
    """Streams as a console would know them; every message must follow the one before."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.numbers = Numbers()
        self.streams: dict[str, str] = {}
        self.snapshots = 0
        self.hello: Hello | None = None

    async def take(self) -> FeedMessage:
        async with asyncio.timeout(15):
            message = DECODER.decode(await self.connection.recv())
        problem = ""
        if isinstance(message, Hello):
            self.hello = message
        elif isinstance(message, Snapshot):
            problem = self.numbers.snapshot(message)
            if message.part == 1:
                self.streams.clear()
                self.snapshots += 1
            for raw in message.rows.get("stream", []):
                row = msgspec.json.decode(raw)
                self.streams[row["id"]] = row["name"]
        elif isinstance(message, Diff):
            problem = self.numbers.diff(message)
            for event in message.events:
                if event.kind == "stream.advertised":
                    self.streams[event.id] = msgspec.json.decode(event.change)["name"]
                elif event.kind in ("stream.withdrawn", "stream.expired"):
                    self.streams.pop(event.id)
        else:
            problem = self.numbers.pulse(message)
        assert not problem, problem
        return message

    async def until(self, streams: set[str]) -> None:
        while not (self.numbers.whole and set(self.streams) == streams):
            await self.take()


async def ended(connection: ClientConnection) -> ConnectionClosed:
    """How the broker closed the connection."""
    async with asyncio.timeout(15):
        try:
            while True:
                await connection.recv()
        except ConnectionClosed as closed:
            return closed


async def advertise(client: httpx.AsyncClient, **changes: Any) -> str:
    answer = await client.post("/streams/advertise", json={**STREAM, **changes})
    assert answer.status_code == 201
    return str(answer.json()["id"])


# -- who may ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", ["", "wrong-token-0123456789"])
async def test_without_the_token_there_is_no_feed(broker: RunningBroker, token: str) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await connect(feed_url(broker, token), proxy=None)
    assert caught.value.response.status_code == 401
    assert b"This needs the console's token" in (caught.value.response.body or b"")
    assert broker.broker.feed.consoles == 0


async def test_the_token_may_come_as_a_header(broker: RunningBroker) -> None:
    async with connect(feed_url(broker, ""), additional_headers=broker.headers, proxy=None) as connection:
        await Board(connection).take()
        await asyncio.sleep(0)
        assert [node.name for node in broker.broker.tasks.root.walk() if node.kind == "console"] == ["console Ada"]


async def test_a_web_page_of_another_origin_is_refused_though_it_knows_the_token(broker: RunningBroker) -> None:
    with pytest.raises(InvalidStatus) as caught:
        await connect(feed_url(broker), origin="http://evil.example", proxy=None)  # type: ignore[arg-type]
    assert caught.value.response.status_code == 403


async def test_the_token_is_never_logged(brokers: Brokers) -> None:
    process = brokers.start("--log-level", "debug")
    async with feed(process) as connection:
        await Board(connection).take()
    assert await asyncio.to_thread(process.terminate) == 0
    assert process.token not in "".join(process.log)


# -- what comes ------------------------------------------------------------------------------------------------


async def test_hello_snapshot_and_then_what_happens(broker: RunningBroker) -> None:
    async with broker.client() as client, feed(broker) as connection:
        before = await advertise(client)
        board = Board(connection)
        assert isinstance(await board.take(), Hello)
        assert board.hello is not None
        assert (board.hello.protocol, board.hello.broker) == (PROTOCOL, "test broker")
        await board.until({before})
        during = await advertise(client, name="Camera B")
        await board.until({before, during})
        await client.delete(f"/streams/{before}")
        await board.until({during})
        assert board.snapshots == 1


async def test_a_snapshot_has_every_table(broker: RunningBroker) -> None:
    async with feed(broker) as connection:
        tables: set[str] = set()
        health: list[str] = []
        while not tables:
            message = DECODER.decode(await connection.recv())
            if isinstance(message, Snapshot):
                tables = set(message.rows)
                health = [msgspec.json.decode(raw)["id"] for raw in message.rows["health"]]
    assert tables == {"type", "health", "template"}
    assert health == ["nats", "journal", "history", "disk", "clock"]


async def test_a_beat_comes_every_second(broker: RunningBroker) -> None:
    async with feed(broker) as connection:
        board, beats = Board(connection), []
        while len(beats) < 7:
            message = await board.take()
            if isinstance(message, Pulse) and board.numbers.whole:
                beats.append(message.at)
    pauses = [after - before for before, after in pairwise(beats[1:])]  # the first one belongs to the snapshot
    # a machine that stops makes one pause longer, and the others are as they were
    assert 0.5 < statistics.median(pauses) < 2.0, f"beats came after {pauses} s"


async def test_numbers_go_on_over_a_restart(brokers: Brokers) -> None:
    first = brokers.start()
    async with feed(first) as connection:
        board = Board(connection)
        await board.until(set())
        seen, started = board.numbers.seq, board.hello.started_at if board.hello else 0.0
        await asyncio.to_thread(first.kill)
        await ended(connection)
    second = brokers.start()
    async with feed(second) as connection:
        board = Board(connection)
        await board.until(set())
    assert board.numbers.seq is not None
    assert seen is not None
    assert board.numbers.seq > seen
    assert board.hello is not None
    assert board.hello.started_at > started


async def test_a_clean_stop_says_goodbye(brokers: Brokers) -> None:
    process = brokers.start()
    async with feed(process) as connection:
        await Board(connection).take()
        stopping = asyncio.create_task(asyncio.to_thread(process.terminate))
        goodbye = await ended(connection)
        assert await stopping == 0
    assert goodbye.rcvd is not None
    assert goodbye.rcvd.code == 1012


async def test_what_a_console_says_is_read_and_ignored(broker: RunningBroker) -> None:
    async with broker.client() as client, feed(broker) as connection:
        board = Board(connection)
        await board.until(set())
        for _ in range(100):
            await connection.send("x" * 1000)
        await connection.send(b"\xff" * 1000)
        await board.until({await advertise(client)})


# -- bad luck --------------------------------------------------------------------------------------------------


def small_socket(port: int) -> socket.socket:
    """A peer whose kernel takes little before its program reads."""
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.connect(("127.0.0.1", port))
    return peer


async def test_a_console_that_reads_slowly_gets_a_new_snapshot_and_no_hole(
    broker: RunningBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.server.feed.QUEUE_BYTES", 1_000_000)
    hub, peer = broker.broker.feed, small_socket(broker.broker.port)
    async with broker.client() as client, feed(broker) as quick, feed(broker, sock=peer, max_queue=1) as slow:
        boards = [Board(slow), Board(quick)]
        for board in boards:
            await board.until(set())
        streams: set[str] = set()
        while not any(console.behind for console in hub._consoles):
            streams.add(await advertise(client, metadata={"text": "x" * 300_000}))
            await boards[1].until(streams)
        await boards[0].until(streams)
        streams.add(await advertise(client, name="after"))
        for board in boards:
            await board.until(streams)
        assert [board.snapshots for board in boards] == [2, 1]
        assert hub.resyncs == 1


async def test_a_thousand_consoles_at_once_cost_little_and_leave_nothing(brokers: Brokers) -> None:
    process = brokers.start()
    memory = psutil.Process(process.pid).memory_info
    async with httpx.AsyncClient(base_url=process.url, trust_env=False, timeout=30) as client:
        await asyncio.gather(*(advertise(client, name=f"s{n}", metadata={"text": "x" * 1000}) for n in range(100)))
        before = memory().rss

        async def visit() -> int:
            async with feed(process, open_timeout=60, close_timeout=1) as connection:
                board = Board(connection)
                while not board.numbers.whole:
                    await board.take()
                return len(board.streams)

        async with asyncio.timeout(100):
            seen = await asyncio.gather(*(visit() for _ in range(1000)))
        peak = memory().rss
        assert set(seen) == {100}
        assert (await client.get("/healthz")).status_code == 200
        async with asyncio.timeout(30):  # it hears of the last ones after their kernel does
            while "callboard_consoles 0.0" not in (await client.get("/metrics")).text:
                await asyncio.sleep(0.02)
    assert peak - before < 250 * 1024 * 1024
    gc.collect()
    assert await asyncio.to_thread(process.terminate) == 0
