"""The demonstration venue as a whole: furnish a broker, bring publishers and consumers to life, clean up behind them.

Called by ``main.py``. Streams beyond the cast are a ``Crowd``, which is light enough for thousands of them.
"""

from __future__ import annotations

import asyncio
import random
from types import TracebackType
from typing import Self

from app.client.api import ApiError
from app.contract import PresetRow
from app.demo.cast import CAST, GUESTS, LIDAR, MARK, PRESETS, Part
from app.demo.house import House, Place
from app.demo.load import Crowd
from app.demo.people import Consumer, Publisher
from app.errors import CallboardError, Conflict
from app.logs import get_logger

log = get_logger("demo")

ARRIVE_WITHIN = 2.5
"""Seconds over which everybody arrives, so that the board lives well within ten seconds."""
FIRST_TAKE = 1.0
CLEAN_UP_WITHIN = 4.0


async def others(place: Place) -> int:
    """How many streams of somebody else live on a broker."""
    house = House(Place(place.url, None, place.token))
    try:
        return sum(1 for stream in await house.client.streams() if stream.metadata.get("venue") != MARK)
    finally:
        await house.close()


class Venue:
    """Everybody, on one broker. ``async with Venue(…) as venue: await venue.run()``; leaving withdraws every stream."""

    def __init__(self, place: Place, publishers: int | None, *, own: bool, seed: int | None = None) -> None:
        self.house = House(place)
        self.place = place
        """Where everybody is; ``move`` sets it once everybody has arrived."""
        self._own = own
        self._dice = random.Random(seed)
        count = len(CAST) if publishers is None else publishers
        self._cast: tuple[Part, ...] = CAST[:count]
        more = count - len(self._cast)
        self._crowd = Crowd(place.url, more, prefix="Sensor") if more else None

    async def __aenter__(self) -> Self:
        await self.house.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            async with asyncio.timeout(CLEAN_UP_WITHIN):
                await self._clean_up()
        except (TimeoutError, CallboardError, ExceptionGroup):
            return  # the broker is gone or busy: the TTL takes the rest away
        finally:
            await self.house.close()

    async def run(self) -> None:
        """Live for ever; cancel to end."""
        await self._furnish()
        async with asyncio.TaskGroup() as group:
            for number, part in enumerate(self._cast):
                publisher = Publisher(part, self.house, self._some_dice())
                group.create_task(publisher.run(ARRIVE_WITHIN * number / max(1, len(self._cast))))
            for number, guest in enumerate(GUESTS):
                consumer = Consumer(guest, self.house, self._some_dice())
                group.create_task(consumer.run(FIRST_TAKE + number * 0.4))
            if self._crowd is not None:
                group.create_task(self._crowd_lives(self._crowd))

    async def move(self, place: Place) -> None:
        """The broker has another address now."""
        await self.house.move(place)
        if self._crowd is not None:
            self._crowd.move(place.url)
            if place.nats_url is not None:
                await self._crowd.answer(place.nats_url)
        self.place = place

    def _some_dice(self) -> random.Random:
        """Dice of one's own, so that a seed gives each of them the same life every time."""
        return random.Random(self._dice.random())

    async def _furnish(self) -> None:
        """On the demo's own broker: the house's stream type, and presets so that R works at once."""
        client = self.house.client
        known = {row.name for row in await client.types()}
        if LIDAR["name"] not in known and self._own:
            try:
                await client.create_type(LIDAR)
            except ApiError as error:
                if error.code != Conflict.default_code:
                    raise
            known.add("lidar")
        self._cast = tuple(part for part in self._cast if part.stream_type in known)
        if self._own and self.house.place.token is not None and not await client.presets():
            for fields in PRESETS:
                await client.save_preset(PresetRow(id="", **fields))

    async def _crowd_lives(self, crowd: Crowd) -> None:
        try:
            await crowd.advertise(during=ARRIVE_WITHIN)
            if self.house.place.nats_url is not None:
                await crowd.answer(self.house.place.nats_url)
        except* (CallboardError, OSError):
            log.warning("the broker went away while the crowd arrived")  # the rest arrives with its first beat
        await crowd.run()

    async def _clean_up(self) -> None:
        """Withdraw every stream of ours, which ends their sessions too."""
        if self._crowd is not None:
            await self._crowd.withdraw()
        async with asyncio.TaskGroup() as group:
            for stream_id in list(self.house.streams):
                group.create_task(self._withdraw(stream_id))

    async def _withdraw(self, stream_id: str) -> None:
        try:
            await self.house.client.withdraw(stream_id)
        except ApiError:
            return
