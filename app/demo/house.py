"""What the people of the demo venue share: one API client, one NATS connection, and which streams are up.

Used by ``people.py`` and ``venue.py``. The house can move to another address (the broker came back on another
port); whoever is in it only sees calls fail for a moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from app.client.api import BrokerClient
from app.demo.cast import Part
from app.logs import get_logger

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

log = get_logger("demo")

T = TypeVar("T")

CONNECT_TIMEOUT = 5.0
CLOSE_TIMEOUT = 2.0
Answer = Callable[[Mapping[str, Any]], Awaitable[dict[str, Any] | None]]
"""A publisher's reply to a request, or None to stay silent."""


@dataclass(frozen=True)
class Place:
    """Where a broker is reached. Without ``nats_url`` publishers are deaf; without ``token`` nothing is furnished."""

    url: str
    nats_url: str | None = None
    token: str | None = None


async def on_nats_error(error: Exception) -> None:
    """Trouble on NATS is one line, not nats-py's traceback: it connects again by itself."""
    log.warning("NATS is away", error=str(error) or type(error).__name__)


class House:
    """See the module's docstring."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.client = BrokerClient(place.url, place.token, "demo")
        self.streams: dict[str, Part] = {}
        """Streams that are advertised now, by id."""
        self._answers: dict[str, Answer] = {}
        self._listening: dict[str, Subscription] = {}
        self._nats: Client | None = None
        self._moving = asyncio.Lock()

    async def open(self) -> None:
        """Connect; every publisher that has said how it answers can be asked from now on."""
        async with self._moving:
            await self._connect()

    async def move(self, place: Place) -> None:
        """Go on at another address."""
        async with self._moving:
            before, self.client = self.client, BrokerClient(place.url, place.token, "demo")
            self.place = place
            await self._leave(before)
            await self._connect()

    async def close(self) -> None:
        """Leave NATS and close the API's connections."""
        async with self._moving:
            await self._leave(self.client)

    async def answer(self, stream_id: str, answer: Answer) -> None:
        """Answer requests for a stream."""
        self._answers[stream_id] = answer
        await self._listen(stream_id)

    async def hush(self, stream_id: str) -> None:
        """Answer no more requests for a stream."""
        self._answers.pop(stream_id, None)
        subscription = self._listening.pop(stream_id, None)
        if subscription is not None:
            await _despite_nats(subscription.unsubscribe())

    async def _connect(self) -> None:
        if self.place.nats_url is None:
            return
        from app.demo.nats_client import connect

        async with asyncio.timeout(CONNECT_TIMEOUT):
            self._nats = await connect(
                self.place.nats_url,
                name="callboard-demo",
                error_cb=on_nats_error,
                max_reconnect_attempts=-1,
                reconnect_time_wait=1,
            )
        for stream_id in list(self._answers):
            await self._listen(stream_id)

    async def _leave(self, client: BrokerClient) -> None:
        self._listening.clear()
        nats, self._nats = self._nats, None
        if nats is not None:
            await close_nats(nats)
        await client.close()

    async def _listen(self, stream_id: str) -> None:
        if self._nats is None:
            return

        async def on_request(message: Msg) -> None:
            answer = self._answers.get(stream_id)
            reply = await answer(msgspec.json.decode(message.data)) if answer is not None else None
            if reply is not None:
                await message.respond(msgspec.json.encode(reply))

        subscription = await _despite_nats(self._nats.subscribe(f"maestra.stream.request.{stream_id}", cb=on_request))
        if subscription is not None:
            self._listening[stream_id] = subscription


async def close_nats(client: Client) -> None:
    """Close a connection; one whose server is gone may not want to, and is left to itself."""
    try:
        async with asyncio.timeout(CLOSE_TIMEOUT):
            await client.close()
    except TimeoutError:
        log.warning("NATS did not close in time")


async def _despite_nats(act: Awaitable[T]) -> T | None:
    """Do it, unless NATS is away just now: the next connection listens for everybody anew."""
    from nats.errors import Error

    try:
        return await act
    except Error as error:
        await on_nats_error(error)
        return None
