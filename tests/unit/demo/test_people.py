"""Tempers of publishers and manners of consumers, on a real broker."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from app.client.api import ApiError
from app.client.shapes import Stream
from app.contract import HistoryRow
from app.demo.cast import Guest, Mood, Part
from app.demo.house import House, Place
from app.demo.people import Consumer, Publisher
from tests.fakes.broker import BrokerProcess

PART = Part("Camera A", "ndi", "td-01", "ndi", "192.168.1.50", 5960, offer={"ndi_name": "TD-01 (Camera A)"})
WANT = {"consumer_id": "wall", "consumer_address": "10.0.0.1"}


@pytest.fixture
async def house(shared_broker: BrokerProcess, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    monkeypatch.setattr("app.demo.people.HEARTBEAT_EVERY", 0.05)
    house = House(Place(shared_broker.url, shared_broker.nats_url, shared_broker.token))
    await house.open()
    yield house
    await house.close()


@pytest.fixture
async def live() -> AsyncIterator[Callable[[Publisher | Consumer], None]]:
    tasks: list[asyncio.Task[None]] = []

    def start(person: Publisher | Consumer) -> None:
        tasks.append(asyncio.ensure_future(person.run(0.0)))

    yield start
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)


def publisher(house: House, mood: Mood = "steady") -> Publisher:
    return Publisher(replace(PART, mood=mood), house, random.Random(1))


async def until(question: Callable[[], Awaitable[Any]]) -> Any:
    """Ask until the answer is something."""
    async with asyncio.timeout(20):
        while True:
            answer = await question()
            if answer:
                return answer
            await asyncio.sleep(0.02)


async def listening(house: House, stream_id: str) -> None:
    """Until the NATS server knows that somebody answers for a stream."""
    await until(lambda: asyncio.sleep(0, stream_id in house._listening))
    assert house._nats is not None
    await house._nats.flush()


Live = Callable[[Publisher | Consumer], None]


async def test_a_steady_publisher_accepts_with_its_name(house: House, live: Live) -> None:
    live(publisher(house))
    stream = (await until(house.client.streams))[0]
    await listening(house, stream.id)
    offer = await house.client.request(stream.id, **WANT)
    assert offer.transport_config == {"ndi_name": "TD-01 (Camera A)"}
    assert offer.publisher_address == "192.168.1.50"


async def test_its_beats_arrive(house: House, live: Live) -> None:
    live(publisher(house))
    first = (await until(house.client.streams))[0]

    async def later() -> bool:
        return (await house.client.stream(first.id)).last_heartbeat > first.last_heartbeat

    await until(later)


async def test_a_picky_one_rejects_every_second(house: House, live: Live) -> None:
    live(publisher(house, "picky"))
    stream = (await until(house.client.streams))[0]
    await listening(house, stream.id)
    await house.client.request(stream.id, **WANT)
    with pytest.raises(ApiError) as caught:
        await house.client.request(stream.id, **WANT)
    assert caught.value.status == 502
    await house.client.request(stream.id, **WANT)


async def test_a_deaf_one_is_refused_at_once(house: House, live: Live) -> None:
    live(publisher(house, "deaf"))
    stream = (await until(house.client.streams))[0]
    with pytest.raises(ApiError) as caught:
        await house.client.request(stream.id, **WANT)
    assert caught.value.status == 502


async def test_a_silent_one_says_nothing(house: House) -> None:
    assert await publisher(house, "silent")._reply({}) is None


async def test_one_whose_stream_is_gone_advertises_again(house: House, live: Live) -> None:
    live(publisher(house))
    first = (await until(house.client.streams))[0]
    await house.client.withdraw(first.id)
    again = (await until(house.client.streams))[0]
    assert again.id != first.id
    assert again.name == first.name


@pytest.mark.parametrize(("mood", "left"), [("visitor", 0), ("flaky", 1)])
async def test_leaving_and_dying(
    house: House, live: Live, monkeypatch: pytest.MonkeyPatch, mood: Mood, left: int
) -> None:
    monkeypatch.setattr(Publisher, "_life", lambda self: 0.2)
    advertise = house.client.advertise
    advertised: list[Stream] = []

    async def noted(body: Mapping[str, Any]) -> Stream:
        advertised.append(await advertise(body))
        return advertised[-1]

    monkeypatch.setattr(house.client, "advertise", noted)  # a look at the board may come when it has left already
    live(publisher(house, mood))
    await until(lambda: asyncio.sleep(0, advertised))
    stream = advertised[0]
    await until(lambda: asyncio.sleep(0, stream.id not in house.streams and stream.id not in house._listening))
    if left:
        assert len(await house.client.streams()) == 1
    else:

        async def withdrawn() -> bool:
            return not await house.client.streams()

        await until(withdrawn)


async def test_a_consumer_takes_beats_and_says_goodbye(house: House, live: Live) -> None:
    live(publisher(house))
    stream = (await until(house.client.streams))[0]
    await listening(house, stream.id)
    live(Consumer(Guest("wall", "10.0.0.1", 6000, ("ndi",), (0.3, 0.3)), house, random.Random(1)))

    async def ended() -> list[HistoryRow]:
        return [row for row in await house.client.history(stream_id=stream.id) if row.ended_at is not None]

    first = (await until(ended))[0]
    assert (first.consumer_id, first.status) == ("wall", "stopped")
    assert await house.client.sessions() == []


async def test_a_house_that_moves_keeps_its_publishers(house: House, live: Live, brokers: Any) -> None:
    live(publisher(house))
    await until(house.client.streams)
    other = brokers.start(data_dir=brokers._folder.with_name("other"))
    await house.move(Place(other.url, other.nats_url, other.token))
    stream = (await until(house.client.streams))[0]
    await listening(house, stream.id)
    assert (await house.client.request(stream.id, **WANT)).stream_name == "Camera A"
