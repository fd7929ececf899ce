"""Publishers and consumers of the demo venue: real clients with a temper.

Run by ``venue.py``, one coroutine each. They know the broker only through its published API and NATS subjects, as
any program of a venue would; a publisher whose stream has expired (404) advertises again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any

from app.client.api import ApiError
from app.client.shapes import Offer
from app.contract import HEARTBEAT_EVERY, LATE_AFTER
from app.demo.cast import Guest, Part
from app.demo.house import House

RETRY_EVERY = 1.0
LATE_EVERY = LATE_AFTER + 5.0
"""Seconds between the beats of a publisher that is late: long enough to be seen, not enough to be lost."""
REASONS = ("All outputs are in use", "Recording in progress, format locked", "Not cleared for this destination")


class Publisher:
    """One stream of the cast, from its advertisement to its death and back."""

    def __init__(self, part: Part, house: House, dice: random.Random) -> None:
        self.part = part
        self._house = house
        self._dice = dice
        self._asked = 0

    async def run(self, delay: float) -> None:
        """Live for ever; cancel to end."""
        await asyncio.sleep(delay)
        while True:
            stream_id = await self._advertise()
            expired = await self._beat(stream_id, self._life())
            self._house.streams.pop(stream_id, None)
            await self._house.hush(stream_id)
            if self.part.mood == "visitor" and not expired:
                await self._withdraw(stream_id)
            if not expired:
                await asyncio.sleep(self._dice.uniform(35.0, 60.0))

    def _life(self) -> float | None:
        """Seconds until it dies or leaves; None: it stays."""
        if self.part.mood in ("flaky", "visitor"):
            return self._dice.uniform(45.0, 110.0)
        return None

    async def _advertise(self) -> str:
        """Advertise until the broker takes it; the new id."""
        while True:
            try:
                stream = await self._house.client.advertise(self.part.advertisement())
            except ApiError:
                await asyncio.sleep(RETRY_EVERY)
                continue
            self._house.streams[stream.id] = self.part
            if self.part.mood != "deaf":
                await self._house.answer(stream.id, self._reply)
            return stream.id

    async def _beat(self, stream_id: str, life: float | None) -> bool:
        """Beat until the stream is gone (True) or this life is over (False)."""
        loop = asyncio.get_running_loop()
        end = None if life is None else loop.time() + life
        every = LATE_EVERY if self.part.mood == "late" else HEARTBEAT_EVERY
        wait = self._dice.uniform(0.2, 1.0) * every
        while True:
            if end is not None and loop.time() + wait >= end:
                await asyncio.sleep(max(0.0, end - loop.time()))
                return False
            await asyncio.sleep(wait)
            wait = every * self._dice.uniform(0.97, 1.0)
            try:
                await self._house.client.heartbeat(stream_id)
            except ApiError as error:
                if error.status == 404:
                    return True
                wait = RETRY_EVERY

    async def _withdraw(self, stream_id: str) -> None:
        try:
            await self._house.client.withdraw(stream_id)
        except ApiError:
            return

    async def _reply(self, request: Mapping[str, Any]) -> dict[str, Any] | None:
        """What it says to a consumer; None: nothing."""
        mood = self.part.mood
        self._asked += 1
        if mood == "silent":
            return None
        await asyncio.sleep(3.0 if mood == "slow" else self._dice.uniform(0.02, 0.2))
        if mood == "picky" and self._asked % 2 == 0:
            return {"accepted": False, "reason": self._dice.choice(REASONS)}
        return {
            "accepted": True,
            "address": self.part.address,
            "port": self.part.port,
            "protocol": self.part.protocol,
            "transport_config": self.part.offer,
        }


class Consumer:
    """A guest that takes what it likes, beats while it watches, and leaves."""

    def __init__(self, guest: Guest, house: House, dice: random.Random) -> None:
        self._guest = guest
        self._house = house
        self._dice = dice

    async def run(self, delay: float) -> None:
        """Live for ever; cancel to end."""
        await asyncio.sleep(delay)
        while True:
            offer = await self._ask()
            if offer is None:
                await asyncio.sleep(self._dice.uniform(3.0, 8.0))
                continue
            await self._watch(offer)
            await asyncio.sleep(self._dice.uniform(5.0, 15.0))

    async def _ask(self) -> Offer | None:
        """Request one of the venue's own streams; None when there is none or it says no."""
        choices = [stream for stream, part in self._house.streams.items() if part.stream_type in self._guest.likes]
        if not choices:
            return None
        try:
            return await self._house.client.request(
                self._dice.choice(choices),
                consumer_id=self._guest.consumer_id,
                consumer_address=self._guest.address,
                consumer_port=self._guest.port,
                config={"purpose": "demo"},
            )
        except ApiError:
            return None

    async def _watch(self, offer: Offer) -> None:
        """Beat for as long as it stays; one without manners just stops."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._dice.uniform(*self._guest.stays)
        while loop.time() < end:
            await asyncio.sleep(min(HEARTBEAT_EVERY, end - loop.time()))
            try:
                await self._house.client.heartbeat_session(offer.session_id)
            except ApiError as error:
                if error.status == 404:
                    return
        if self._guest.goodbye:
            try:
                await self._house.client.stop_session(offer.session_id)
            except ApiError:
                return
