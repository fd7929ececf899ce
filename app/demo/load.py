"""Load: a crowd of publishers that advertise, beat and accept.

Called by the demo for the streams beyond its cast, and by benchmarks. Everything goes over a few kept-alive
connections, and beats are spread evenly, as those of real publishers are.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from app.contract import HEARTBEAT_EVERY
from app.demo.cast import MARK
from app.demo.house import CONNECT_TIMEOUT, close_nats, on_nats_error
from app.demo.http_line import HttpLine
from app.errors import Unavailable

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg


@dataclass
class Tally:
    """What came of the beats so far."""

    statuses: Counter[int] = field(default_factory=Counter)
    """Answers by status; 404 is a TTL that was lost."""
    lost: int = 0
    """Beats without an answer."""
    lag: float = 0.0
    """How late, in seconds, the latest beat was sent: of this process's own making."""


Act = Callable[[HttpLine, int, float], Awaitable[None]]
"""What is done for a stream: over which connection, for which one, and how many seconds after its time."""


class Crowd:
    """``count`` publishers on one broker: ``advertise()``, then ``run()`` for ever; ``withdraw()`` at the end."""

    def __init__(
        self,
        url: str,
        count: int,
        *,
        connections: int = 16,
        every: float = HEARTBEAT_EVERY,
        prefix: str = "load",
        stream_type: str = "sensor",
    ) -> None:
        self.ids: list[str] = [""] * count
        self.beats = Tally()
        self._prefix = prefix
        self._stream_type = stream_type
        self._every = every
        self._lines = [HttpLine(url) for _ in range(max(1, min(connections, count)))]
        self._nats: Client | None = None

    def move(self, url: str) -> None:
        """Go on at another address (the broker came back on another port)."""
        for line in self._lines:
            line.close()
        self._lines = [HttpLine(url) for _ in self._lines]

    async def advertise(self, during: float = 0.0) -> None:
        """Advertise what is not advertised yet, as fast as the connections go or spread over ``during`` seconds.

        ``Unavailable`` comes in an ``ExceptionGroup``; what was advertised until then stays so.
        """
        await self._each(time.monotonic(), during, self._advertise)

    async def run(self) -> None:
        """Beat for ever, each stream every ``every`` seconds, all of them spread evenly; cancel to end."""
        began = time.monotonic()
        turn = 0
        while True:
            await self._each(began + turn * self._every, self._every, self._beat)
            turn += 1
            await asyncio.sleep(max(0.0, began + turn * self._every - time.monotonic()))

    async def withdraw(self) -> None:
        """Withdraw every stream and close the connections."""
        try:
            await self._each(0.0, 0.0, self._withdraw)
        finally:
            await self.close()

    async def close(self) -> None:
        """Close the connections; the streams end by their TTL."""
        for line in self._lines:
            line.close()
        if self._nats is not None:
            await close_nats(self._nats)
            self._nats = None

    async def answer(self, nats_url: str) -> None:
        """Accept every negotiation of the crowd's streams from now on."""
        from app.demo.nats_client import connect

        before, self._nats = self._nats, None
        if before is not None:
            await close_nats(before)
        async with asyncio.timeout(CONNECT_TIMEOUT):
            self._nats = await connect(
                nats_url, error_cb=on_nats_error, max_reconnect_attempts=-1, reconnect_time_wait=1
            )
        for stream_id in self.ids:
            await self._listen(stream_id)
        await self._nats.flush()

    async def _listen(self, stream_id: str) -> None:
        if self._nats is not None and stream_id:
            await self._nats.subscribe(f"maestra.stream.request.{stream_id}", cb=_accept)

    async def _each(self, start: float, during: float, act: Act) -> None:
        """Do ``act`` for each stream, spread over ``during`` seconds; each connection takes every nth of them."""
        async with asyncio.TaskGroup() as group:
            for place in range(len(self._lines)):
                group.create_task(self._some(place, start, during, act))

    async def _some(self, place: int, start: float, during: float, act: Act) -> None:
        count, step = len(self.ids), len(self._lines)
        for number in range(place, count, step):
            late = time.monotonic() - (start + during * number / count)
            if late < 0:
                await asyncio.sleep(-late)
            await act(self._lines[place], number, late)

    async def _advertise(self, line: HttpLine, number: int, late: float = 0.0) -> None:
        if self.ids[number]:
            return
        body = {
            "name": f"{self._prefix} {number + 1:05d}",
            "stream_type": self._stream_type,
            "publisher_id": f"{self._prefix}-{number // 8 + 1:04d}",
            "protocol": "udp",
            "address": f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
            "port": 10_000 + number % 50_000,
            "config": {"rate_hz": 60, "format": "json"},
            "metadata": {"venue": MARK},
        }
        status, answer = await line.call("POST", "/streams/advertise", msgspec.json.encode(body))
        if status != 201:
            raise Unavailable(f"advertise was answered {status}: {answer[:200].decode('utf-8', 'replace')}")
        self.ids[number] = msgspec.json.decode(answer)["id"]
        await self._listen(self.ids[number])

    async def _beat(self, line: HttpLine, number: int, late: float) -> None:
        self.beats.lag = max(self.beats.lag, late)
        try:
            if not self.ids[number]:
                await self._advertise(line, number)
            status, _ = await line.call("POST", f"/streams/{self.ids[number]}/heartbeat")
            if status == 404:
                self.ids[number] = ""
                await self._advertise(line, number)
        except Unavailable:
            self.beats.lost += 1
            return
        self.beats.statuses[status] += 1

    async def _withdraw(self, line: HttpLine, number: int, late: float) -> None:
        stream_id, self.ids[number] = self.ids[number], ""
        if stream_id:
            await line.call("DELETE", f"/streams/{stream_id}")


async def _accept(message: Msg) -> None:
    await message.respond(b'{"accepted":true,"transport_config":{}}')
