"""Two consoles at one broker, without windows: takes to one destination, and what each of them is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from app.client.api import BrokerClient
from app.client.feed import FeedClient
from app.client.take import TakeResult, take
from app.contract import PresetRow
from app.demo.nats_client import connect as connect_nats
from app.models.store import Store
from app.ui import takeover
from tests.fakes.broker import BrokerProcess

WITHIN = 30.0
WALL = PresetRow(id="", name="Wall", consumer_id="wall", consumer_address="10.0.0.9", consumer_port=5000)


class Seat:
    """One operator: a client, and a board that a feed keeps true."""

    def __init__(self, broker: BrokerProcess, operator: str) -> None:
        self.client = BrokerClient(broker.url, broker.token, operator)
        self.store = Store()
        self.changed = asyncio.Event()
        self.store.listen(lambda _: self.changed.set())
        feed = FeedClient(broker.url, broker.token, self.store.receive, lambda link: None)
        self.feed = asyncio.create_task(feed.run())

    async def until(self, condition: Any) -> Any:
        async with asyncio.timeout(WITHIN):
            while not (found := condition()):
                self.changed.clear()
                await self.changed.wait()
        return found

    async def take(self, stream_id: str, preset: PresetRow) -> TakeResult:
        return await take(self.client, self.store, stream_id, preset, partial(takeover.standing, self.store))

    async def close(self) -> None:
        self.feed.cancel()
        await asyncio.gather(self.feed, return_exceptions=True)
        await self.client.close()


class Venue:
    """A broker process, two streams with publishers that accept, a preset, and two seats."""

    seats: tuple[Seat, Seat]
    streams: list[str]
    wall: PresetRow


@asynccontextmanager
async def a_venue(folder: Path) -> AsyncIterator[Venue]:
    broker = BrokerProcess(folder / "data", ("--local-agent=off",))
    await asyncio.to_thread(broker.start)
    venue = Venue()
    venue.seats = ann, zoe = Seat(broker, "ann"), Seat(broker, "zoe")
    bus = await connect_nats((await ann.client.broker()).urls["nats"], allow_reconnect=False)

    async def accept(message: Any) -> None:
        await message.respond(b'{"accepted": true}')

    try:
        venue.streams = []
        for name in ("Cam 1", "Cam 2"):
            about = {"name": name, "stream_type": "srt", "publisher_id": name, "protocol": "srt", "address": "10.0.0.1"}
            stream = await ann.client.advertise({**about, "port": 9})
            await bus.subscribe(f"maestra.stream.request.{stream.id}", cb=accept)
            venue.streams.append(stream.id)
        await bus.flush()
        venue.wall = await ann.client.save_preset(WALL)
        for seat in venue.seats:
            await seat.until(lambda seat=seat: len(seat.store.streams) == 2 and seat.store.presets)
        yield venue
    finally:
        await bus.close()
        await ann.close()
        await zoe.close()
        await asyncio.to_thread(broker.end)


@pytest.fixture
async def venue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Venue]:
    monkeypatch.setattr(takeover, "PATIENCE", WITHIN)  # a feed that is slow is another matter
    async with a_venue(tmp_path) as made:
        yield made


async def test_of_two_takes_at_once_one_picture_is_left_and_both_operators_know(venue: Venue) -> None:
    ann, zoe = venue.seats
    for _ in range(5):
        results = await asyncio.gather(ann.take(venue.streams[0], venue.wall), zoe.take(venue.streams[1], venue.wall))
        won = [result for result in results if result.ok]
        lost = [result for result in results if not result.ok]
        if lost:
            assert [result.code for result in lost] == ["overtaken"]
            assert "was taken there a moment later" in lost[0].text
        else:  # one had gone all its way before the other's publisher answered
            assert any("it replaced" in result.text for result in won), [result.text for result in won]
        (left,) = await ann.client.sessions()
        assert left.session_id in {result.offer.session_id for result in won if result.offer is not None}
        await ann.client.stop_session(left.session_id)
        for seat in venue.seats:
            await seat.until(lambda seat=seat: not seat.store.sessions and not seat.store.holds)


async def test_whose_picture_was_replaced_is_told_to_both_and_written_down(venue: Venue) -> None:
    ann, zoe = venue.seats
    first = await ann.take(venue.streams[0], venue.wall)
    assert first.offer is not None
    old = first.offer.session_id
    await zoe.until(lambda: zoe.store.hold_of(old))
    second = await zoe.take(venue.streams[1], venue.wall)
    assert second.text == "Cam 2 is on Wall; it replaced Cam 1 of ann."
    ghost = await ann.until(lambda: ann.store.ghost("session", old))
    assert ghost.cause == "replaced by zoe"
    (row,) = await ann.client.audit(object_id=old, verb="replace")
    assert row.operator == "zoe"
    assert row.after is not None
    assert row.after["stream_name"] == "Cam 2"
