"""A Maestra venue for tests: a real broker, plain HTTP, and a NATS client as a publisher has it.

``fresh_maestra`` is a broker for each test, ``maestra`` one for a whole module (its tests make streams of their
own and look at those alone). A folder's conftest imports the ones it wants.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from nats.aio.client import Client
from nats.aio.msg import Msg

from app.demo.nats_client import connect as connect_nats
from app.server.events import Published
from tests.fakes.broker import RunningBroker, running_broker

PATIENCE = 30.0

CAMERA: dict[str, Any] = {
    "name": "Main Stage Camera A",
    "stream_type": "ndi",
    "publisher_id": "td-workstation-01",
    "protocol": "ndi",
    "address": "192.168.1.50",
    "port": 5960,
    "config": {"resolution": "1920x1080", "fps": 30},
    "metadata": {"location": "stage-left"},
}
"""The seed's advertisement."""

CONSUMER: dict[str, Any] = {
    "consumer_id": "max-workstation-02",
    "consumer_address": "192.168.1.60",
    "consumer_port": 5961,
    "config": {"preferred_codec": "h264"},
}
"""The seed's request."""

Reply = bytes | dict[str, Any] | None


async def hundredths(waiting: asyncio.Future[Any]) -> int:
    """Hundredths of a second in which this process ran until something was done; a stop of the whole machine is one."""
    count = 0
    while not waiting.done():
        await asyncio.sleep(0.01)
        count += 1
    return count


class Inbox:
    """Messages of one subject, in order."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Msg] = asyncio.Queue()

    async def put(self, message: Msg) -> None:
        """Keep a message; NATS calls this."""
        await self.messages.put(message)

    async def next(self) -> dict[str, Any]:
        """The next payload."""
        async with asyncio.timeout(PATIENCE):
            message = await self.messages.get()
        return dict(json.loads(message.data))


class MaestraVenue:
    """What publishers and consumers do to a broker."""

    def __init__(self, running: RunningBroker, http: httpx.AsyncClient, nats_client: Client) -> None:
        self.running = running
        self.http = http
        self.nats = nats_client
        self.others: list[Client] = []
        self.events: list[Published] = []
        self._changed = asyncio.Event()
        self._ahead = 0.0
        running.broker.events.subscribe(self._heard)

    def _heard(self, event: Published) -> None:
        self.events.append(event)
        self._changed.set()

    async def event(self, kind: str, object_id: str = "", *, after: int = 0) -> Published:
        """The first event of a kind, of one object when given, that has happened or will."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for event in self.events:
                    if event.kind == kind and event.seq > after and object_id in ("", event.id):
                        return event
                self._changed.clear()
                await self._changed.wait()

    def let_pass(self, seconds: float) -> None:
        """Move the clock by which rows run out, and no other: they end when a test says so, however slow the machine is."""
        self._ahead += seconds
        state = self.running.broker.state
        state._monotonic = lambda: time.monotonic() + self._ahead
        state._wake.set()

    async def advertise(self, **changes: Any) -> dict[str, Any]:
        """Advertise the seed's camera, changed; the stream."""
        answer = await self.http.post("/streams/advertise", json=CAMERA | changes)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def request(self, stream_id: str, **changes: Any) -> httpx.Response:
        """Ask for a stream as the seed's consumer, changed."""
        return await self.http.post(f"/streams/{stream_id}/request", json=CONSUMER | changes)

    async def take(self, **changes: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """A new stream whose publisher says yes, and the offer of one session."""
        stream = await self.advertise()
        await self.answer(stream["id"], {"accepted": True})
        answer = await self.request(stream["id"], **changes)
        assert answer.status_code == 201, answer.text
        return stream, dict(answer.json())

    async def another_publisher(self) -> Client:
        """A second NATS client, on another machine so to speak."""
        client = await connect_nats(self.running.nats_url)
        self.others.append(client)
        return client

    async def answer(
        self,
        stream_id: str,
        *replies: Reply,
        delay: Callable[[], Awaitable[Any]] | None = None,
        client: Client | None = None,
    ) -> Inbox:
        """Be the publisher of a stream: send every reply to each request (None: stay silent). The requests."""
        client = client or self.nats
        inbox = Inbox()

        async def respond(message: Msg) -> None:
            await inbox.put(message)
            if delay is not None:
                await delay()
            for reply in replies:
                if reply is not None:
                    await message.respond(reply if isinstance(reply, bytes) else json.dumps(reply).encode())

        await client.subscribe(f"maestra.stream.request.{stream_id}", cb=respond)
        await client.flush()
        return inbox

    async def listen(self, subject: str) -> Inbox:
        """Hear a subject from now on."""
        inbox = Inbox()
        await self.nats.subscribe(subject, cb=inbox.put)
        await self.nats.flush()
        return inbox

    async def listed(self, path: str = "/streams") -> dict[str, Any]:
        """Rows of a list by their id."""
        answer = await self.http.get(path)
        assert answer.status_code == 200, answer.text
        return {row.get("id") or row["session_id"]: row for row in answer.json()}


@asynccontextmanager
async def running_venue(data_dir: Path, **settings: Any) -> AsyncIterator[MaestraVenue]:
    """A venue for the time of a block."""
    async with running_broker(data_dir, **settings) as running, running.client(console=False) as http:
        client = await connect_nats(running.nats_url)
        made = MaestraVenue(running, http, client)
        try:
            yield made
        finally:
            for each in (client, *made.others):
                await each.close()


@pytest.fixture
async def fresh_maestra(tmp_path: Path) -> AsyncIterator[MaestraVenue]:
    """A broker of this test's own."""
    async with running_venue(tmp_path / "data") as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def maestra(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MaestraVenue]:
    """A broker for the tests of a module, which run on the module's loop."""
    async with running_venue(tmp_path_factory.mktemp("venue") / "data") as made:
        yield made
