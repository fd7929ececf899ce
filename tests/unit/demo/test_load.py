"""The crowd on a real broker: advertised, beating, answering, gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.client.api import BrokerClient
from app.demo.load import Crowd
from app.errors import Unavailable
from tests.fakes.broker import BrokerProcess

COUNT = 40


@pytest.fixture
async def crowd(shared_broker: BrokerProcess) -> AsyncIterator[Crowd]:
    crowd = Crowd(shared_broker.url, COUNT, connections=4, every=0.4)
    yield crowd
    await crowd.close()


async def beats(crowd: Crowd, count: int) -> None:
    """Until so many beats were answered."""
    async with asyncio.timeout(20):
        while crowd.beats.statuses.total() < count:
            await asyncio.sleep(0.01)


async def test_a_crowd_lives_and_leaves(crowd: Crowd, shared_broker: BrokerProcess) -> None:
    await crowd.advertise()
    async with BrokerClient(shared_broker.url) as client:
        streams = await client.streams()
        assert {stream.id for stream in streams} == set(crowd.ids)
        assert len({stream.name for stream in streams}) == COUNT

        running = asyncio.ensure_future(crowd.run())
        await beats(crowd, 3 * COUNT)
        assert set(crowd.beats.statuses) == {200}
        assert crowd.beats.lost == 0

        await client.withdraw(crowd.ids[0])
        before = crowd.ids[0]
        async with asyncio.timeout(20):
            while not crowd.beats.statuses[404]:
                await asyncio.sleep(0.01)
        assert crowd.beats.statuses[404] == 1
        assert crowd.ids[0] != before
        assert len(await client.streams()) == COUNT

        running.cancel()
        await asyncio.wait({running})
        await crowd.withdraw()
        assert await client.streams() == []


async def test_a_crowd_accepts_every_negotiation(crowd: Crowd, shared_broker: BrokerProcess) -> None:
    await crowd.advertise()
    await crowd.answer(shared_broker.nats_url)
    async with BrokerClient(shared_broker.url) as client:
        offer = await client.request(crowd.ids[-1], consumer_id="wall", consumer_address="10.0.0.1")
    assert offer.stream_id == crowd.ids[-1]


async def test_a_broker_that_is_away_costs_beats_and_nothing_else(broker_process: BrokerProcess) -> None:
    crowd = Crowd(broker_process.url, COUNT, connections=4, every=0.4)
    await crowd.advertise()
    broker_process.kill()
    running = asyncio.ensure_future(crowd.run())
    async with asyncio.timeout(20):
        while crowd.beats.lost < COUNT:
            await asyncio.sleep(0.01)
    assert not running.done()
    running.cancel()
    await asyncio.wait({running})
    await crowd.close()
    with pytest.raises(ExceptionGroup) as caught:
        await Crowd(broker_process.url, 2).advertise()
    assert caught.group_contains(Unavailable)
