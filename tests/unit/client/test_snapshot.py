"""The one-shot board: from a snapshot older than the connection, as consoles share them, and on a real broker.

The feed client is here on a real broker too, through a crash of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from app.client.api import BrokerClient
from app.client.snapshot import Board, read_board
from app.contract import Diff, Gone, PresetRow, Pulse, Row
from app.errors import Unavailable
from tests.fakes.broker import BrokerProcess, Brokers, brokers, kept_port, module_broker, shared_broker
from tests.fakes.feed_script import START, agent, preset, session, stream
from tests.unit.client.conftest import WITHIN, FeedServer, Listener, Peer

__all__ = ["brokers", "kept_port", "module_broker", "shared_broker"]

built = msgspec.to_builtins


def camera(number: int) -> dict[str, Any]:
    return {
        "name": f"Camera {number}",
        "stream_type": "ndi",
        "publisher_id": "td-01",
        "protocol": "ndi",
        "address": "10.0.0.1",
        "port": 5960,
    }


async def diff(peer: Peer, *events: tuple[int, str, str, Any]) -> None:
    named = [
        {"seq": seq, "at": 1.0, "kind": kind, "id": row_id, "change": built(change)}
        for seq, kind, row_id, change in events
    ]
    await peer.send(t="diff", at=1.0, events=named)


async def begun(server: FeedServer, now: int, seq: int, **rows: list[Row]) -> tuple[asyncio.Future[Board], Peer]:
    """Somebody reads; the broker counts ``now`` and the snapshot is of ``seq``."""
    reading = asyncio.ensure_future(read_board(server.url, None))
    peer = await server.accept()
    await peer.hello()
    await peer.pulse(now)
    await peer.snapshot(seq, **{name: [built(row) for row in table] for name, table in rows.items()})
    await peer.pulse(seq)
    return reading, peer


async def test_a_board_holds_what_the_broker_holds(shared_broker: BrokerProcess) -> None:
    async with BrokerClient(shared_broker.url, shared_broker.token) as client:
        row = await client.advertise(camera(1))
        wall = PresetRow(id="", name="Wall", consumer_id="w", consumer_address="10.0.0.9")
        preset = await client.save_preset(wall)
    board = await read_board(shared_broker.url, shared_broker.token)
    assert [found.name for found in board.streams.values()] == ["Camera 1"]
    assert list(board.streams) == [row.id]
    assert board.presets == {preset.id: preset}
    assert board.sessions == board.holds == {}


async def test_no_board_without_the_token(shared_broker: BrokerProcess) -> None:
    with pytest.raises(Unavailable, match="refused this console's token"):
        await read_board(shared_broker.url, "wrong-wrong-wrong-wrong")


async def test_no_board_where_no_broker_is() -> None:
    with pytest.raises(Unavailable, match="No broker answers") as caught:
        await read_board("http://127.0.0.1:9", None)
    assert caught.value.code == "unreachable"


async def test_a_row_that_cannot_be_read_is_said_at_once(feed_server: FeedServer) -> None:
    reading = asyncio.ensure_future(read_board(feed_server.url, None))
    peer = await feed_server.accept()
    await peer.hello()
    await peer.snapshot(1, stream=[{"id": "no more than that"}])
    with pytest.raises(Unavailable, match="cannot be read") as caught:
        await asyncio.wait_for(reading, 15)
    assert caught.value.code == "bad_answer"


async def test_what_happened_since_the_snapshot_is_on_the_board(feed_server: FeedServer) -> None:
    old, new = session("old", "cam-1"), session("new", "cam-2")
    reading, peer = await begun(
        feed_server, 8, 3, stream=[stream("cam-1")], session=[old], preset=[preset("p")], agent=[agent()]
    )
    await diff(peer, (4, "session.stopped", "old", Gone("stopped")), (5, "session.started", "new", new))
    await diff(
        peer,
        (6, "stream.beat", "cam-1", {"expires_at": START + 60}),
        (7, "agent.beat", "rack-1", {"last_heartbeat": START + 1, "sessions": 4}),
        (8, "session.beat", "gone", {"expires_at": START}),
    )
    board = await asyncio.wait_for(reading, 30)
    assert board.sessions == {"new": new}
    assert list(board.presets) == ["p"]
    assert (board.streams["cam-1"].expires_at, board.streams["cam-1"].last_heartbeat) == (START + 60, START)
    assert board.agents["rack-1"].sessions == 4


async def test_it_waits_for_nothing_that_came_later(feed_server: FeedServer) -> None:
    reading, _ = await begun(feed_server, 3, 3, stream=[stream("cam-1")])
    assert list((await asyncio.wait_for(reading, 30)).streams) == ["cam-1"]


async def test_an_event_that_cannot_be_read_is_no_board(feed_server: FeedServer) -> None:
    reading, peer = await begun(feed_server, 5, 3)
    await diff(peer, (4, "health.changed", "nats", {}), (5, "session.started", "new", {"id": "no more than that"}))
    with pytest.raises(Unavailable, match="cannot be read"):
        await asyncio.wait_for(reading, 30)


async def test_a_feed_that_ends_before_it_has_come_that_far_is_no_board(feed_server: FeedServer) -> None:
    reading, peer = await begun(feed_server, 5, 3)
    await peer.close()
    with pytest.raises(Unavailable, match="closed the feed"):
        await asyncio.wait_for(reading, 30)


async def test_every_change_comes_once_and_in_order(
    shared_broker: BrokerProcess, listen: Callable[..., Listener]
) -> None:
    listener = listen(shared_broker.url, stale_after=WITHIN)
    listener.client.retarget(shared_broker.url, shared_broker.token)
    await listener.link("live")
    async with BrokerClient(shared_broker.url, shared_broker.token) as client:
        rows = await asyncio.gather(*(client.advertise(camera(number)) for number in range(60)))
        await asyncio.gather(*(client.heartbeat(row.id) for row in rows))
        await asyncio.gather(*(client.withdraw(row.id) for row in rows))
    async with asyncio.timeout(20):
        while sum(event.kind == "stream.withdrawn" for event in _events(listener)) < 60:
            await listener.messages.get()
        pulses = 0
        while pulses < 2:  # an event that is missing is found at the second one
            pulses += isinstance(await listener.messages.get(), Pulse)
    numbers = [event.seq for event in _events(listener)]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert listener.client.link.state == "live"
    assert listener.links.empty()


def _events(listener: Listener) -> list[Any]:
    return [event for message in listener.seen if isinstance(message, Diff) for event in message.events]


async def test_the_feed_survives_a_crash_of_its_broker(
    brokers: Brokers, listen: Callable[..., Listener], kept_port: int
) -> None:
    process = brokers.start(f"--port={kept_port}", "--nats-port=0")
    listener = listen(process.url, backoff=(0.05, 0.1), stale_after=WITHIN)
    listener.client.retarget(process.url, process.token)
    await listener.link("live")
    async with BrokerClient(process.url, process.token) as client:
        row = await client.advertise(camera(1))
    process.kill()
    assert (await listener.link("down")).text.startswith("http://127.0.0.1:")
    again = brokers.make(f"--port={kept_port}", "--nats-port=0")
    await asyncio.to_thread(again.start)
    assert again.token == process.token
    await listener.link("live")
    board = await read_board(again.url, again.token)
    assert list(board.streams) == [row.id]
    assert not board.streams[row.id].confirmed
