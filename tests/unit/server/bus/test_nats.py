from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import nats
import psutil
import pytest
import structlog

from app.demo.nats_client import connect as connect_nats
from app.errors import NoAnswer, Unavailable
from app.paths import DataFolder
from app.server.bus import embedded
from app.server.bus import nats as bus_module
from app.server.bus.embedded import EmbeddedNats
from app.server.bus.nats import Bus
from app.server.events import EventLog, Published
from app.server.health import Health
from app.server.tasks import TaskTree


class Board:
    """The health board, and waiting for it to say something."""

    def __init__(self) -> None:
        self.events = EventLog()
        self.health = Health(self.events)
        self._heard = asyncio.Event()
        self.events.subscribe(self._on)

    def _on(self, event: Published) -> None:
        self._heard.set()

    @property
    def nats(self) -> Any:
        return next(row for row in self.health.rows() if row.id == "nats")

    async def until(self, check: Callable[[], bool], within: float = 10.0) -> None:
        async with asyncio.timeout(within):
            while not check():
                self._heard.clear()
                await self._heard.wait()


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
async def bus(tree: TaskTree, board: Board, server: EmbeddedNats) -> AsyncIterator[Bus]:
    bus = Bus(tree, board.health, lambda: server.url, explain=lambda: server.text)
    await bus.start()
    yield bus
    await bus.stop()


@pytest.fixture
async def publisher(server: EmbeddedNats) -> AsyncIterator[nats.aio.client.Client]:
    client = await connect_nats(f"nats://127.0.0.1:{server.port}", max_reconnect_attempts=-1, reconnect_time_wait=0.05)
    yield client
    await client.close()


async def test_a_request_gets_its_answer_and_only_its_own(bus: Bus, publisher: nats.aio.client.Client) -> None:
    async def answer(message: Any) -> None:
        await message.respond(message.data + b"!")

    await publisher.subscribe("maestra.stream.request.*", cb=answer)
    await publisher.flush()
    asked = [bus.request(f"maestra.stream.request.{number}", b"%d" % number, 5) for number in range(50)]
    assert await asyncio.gather(*asked) == [b"%d!" % number for number in range(50)]
    assert bus._waiting == {}


async def test_nobody_there_is_told_at_once(bus: Bus) -> None:
    async with asyncio.timeout(10):
        with pytest.raises(Unavailable) as caught:
            await bus.request("maestra.stream.request.nobody", b"?", 30)
    assert caught.value.code == "no_responders"


async def test_what_has_no_chance_fails_at_once(
    bus: Bus, server: EmbeddedNats, publisher: nats.aio.client.Client
) -> None:
    """At once by the order of things and by turns of the loop, whatever a clock says: the machine may stop meanwhile."""
    link = bus._link
    assert link is not None
    await publisher.subscribe("maestra.stream.request.s1")
    await publisher.flush()
    nobody = bus.request("maestra.stream.request.nobody", b"?", 30)
    under_way = bus.request("maestra.stream.request.s1", b"?", 30)
    await link.settled()
    assert nobody.done(), "the server says that nobody is there before it answers a later ping"
    assert getattr(nobody.exception(), "code", "") == "no_responders"
    assert not under_way.done()
    assert server.pid is not None
    psutil.Process(server.pid).send_signal(signal.SIGKILL)
    async with asyncio.timeout(10):
        await asyncio.wait([link.closed])
    for _ in range(3):
        await asyncio.sleep(0)
    away = bus.request("maestra.stream.request.s1", b"?", 30)
    assert under_way.done()
    assert away.done()
    assert [getattr(one.exception(), "code", "") for one in (under_way, away)] == ["bus_away"] * 2


async def test_silence_is_told_at_the_time_out(bus: Bus, publisher: nats.aio.client.Client) -> None:
    await publisher.subscribe("maestra.stream.request.s1")
    await publisher.flush()
    with pytest.raises(NoAnswer):
        await bus.request("maestra.stream.request.s1", b"?", 0.05)
    assert bus._waiting == {}


async def test_the_first_answer_counts_and_a_late_one_disturbs_nobody(
    bus: Bus, publisher: nats.aio.client.Client
) -> None:
    requests = await publisher.subscribe("maestra.stream.request.s1")
    await publisher.flush()
    asked = asyncio.ensure_future(bus.request("maestra.stream.request.s1", b"?", 5))
    message = await requests.next_msg(5)
    await message.respond(b"first")
    await message.respond(b"second")
    assert await asked == b"first"
    await message.respond(b"late")
    await publisher.flush()
    answered = asyncio.ensure_future(bus.request("maestra.stream.request.s1", b"?", 5))
    await (await requests.next_msg(5)).respond(b"next")
    assert await answered == b"next"


async def test_an_empty_answer_is_an_answer(bus: Bus, publisher: nats.aio.client.Client) -> None:
    async def answer(message: Any) -> None:
        await message.respond(b"")

    await publisher.subscribe("maestra.stream.request.s1", cb=answer)
    await publisher.flush()
    assert await bus.request("maestra.stream.request.s1", b"?", 5) == b""


async def test_a_server_that_dies_fails_requests_at_once_and_is_found_again(
    bus: Bus, board: Board, server: EmbeddedNats, publisher: nats.aio.client.Client
) -> None:
    heard: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
    await bus.subscribe("maestra.stream.heartbeat.*", lambda subject, payload: heard.put_nowait((subject, payload)))
    await publisher.subscribe("maestra.stream.request.s1")
    await publisher.flush()
    asked = asyncio.ensure_future(bus.request("maestra.stream.request.s1", b"?", 30))
    await asyncio.sleep(0.02)
    assert server.pid is not None
    psutil.Process(server.pid).send_signal(signal.SIGKILL)
    async with asyncio.timeout(10):
        with pytest.raises(Unavailable) as caught:
            await asked
    assert caught.value.code == "bus_away"
    await board.until(lambda: not board.nats.ok)
    assert board.nats.take_down
    with pytest.raises(Unavailable) as caught:
        await bus.request("maestra.stream.request.s1", b"?", 30)
    assert caught.value.code == "bus_away"
    assert not bus.connected

    await board.until(lambda: board.nats.ok)
    assert not board.nats.take_down
    async with asyncio.timeout(10):
        while not publisher.is_connected:
            await asyncio.sleep(0.01)
        await publisher.publish("maestra.stream.heartbeat.s1", b"beat")
        assert await heard.get() == ("maestra.stream.heartbeat.s1", b"beat")


async def test_publishes_reach_the_venue_in_order_also_after_an_outage(
    bus: Bus, board: Board, server: EmbeddedNats
) -> None:
    back = asyncio.Event()

    async def is_back() -> None:
        back.set()

    internal = await connect_nats(
        server.url, max_reconnect_attempts=-1, reconnect_time_wait=0.05, reconnected_cb=is_back
    )
    heard = await internal.subscribe("maestra.stream.withdraw.*")
    await internal.flush()
    bus.publish("maestra.stream.withdraw.1", b"1")
    assert (await heard.next_msg(5)).data == b"1"
    assert server.pid is not None
    psutil.Process(server.pid).send_signal(signal.SIGKILL)
    await board.until(lambda: not board.nats.ok)
    bus._url = lambda: "nats://127.0.0.1:1"
    for number in range(2, 6):
        bus.publish(f"maestra.stream.withdraw.{number}", b"%d" % number)
    async with asyncio.timeout(10):
        await back.wait()
        await internal.flush()
    bus._url = lambda: server.url
    assert [(await heard.next_msg(5)).data for _ in range(4)] == [b"2", b"3", b"4", b"5"]
    await internal.close()


async def test_what_waits_is_bounded_and_the_oldest_goes(
    tree: TaskTree, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_module, "OUTBOX_MESSAGES", 10)
    monkeypatch.setattr(bus_module, "OUTBOX_BYTES", 150)
    bus = Bus(tree, board.health, lambda: "nats://127.0.0.1:1")
    for number in range(25):
        bus.publish("a", b"%d" % (number % 10))
    assert (len(bus._outbox), bus.dropped) == (10, 15)
    bus.publish("a", b"x" * 100)
    assert 100 < bus._outbox_bytes <= 150
    assert (len(bus._outbox), bus.dropped) == (4, 22)
    bus.publish("a", b"x" * 151)
    assert (len(bus._outbox), bus.dropped) == (4, 23)
    await bus.stop()


async def test_starting_without_a_server_goes_on_trying(tree: TaskTree, board: Board) -> None:
    bus = Bus(tree, board.health, lambda: "nats://internal:s3cret@127.0.0.1:1")
    starting = asyncio.ensure_future(bus.start(wait=0.0))
    for _ in range(100):  # turns of the loop, not seconds: whoever is told not to wait is through in a few
        await asyncio.sleep(0)
    assert starting.done()
    await starting
    assert not bus.connected
    await board.until(lambda: board.nats.take_down)
    assert "s3cret" not in board.nats.text
    with pytest.raises(Unavailable):
        await bus.request("a", b"", 1)
    await bus.stop()


async def test_a_wrong_credential_is_told_and_leaks_nothing(tree: TaskTree, board: Board, server: EmbeddedNats) -> None:
    bus = Bus(tree, board.health, lambda: f"nats://internal:guess@127.0.0.1:{server.port}")
    await bus.start(wait=0.01)
    await board.until(lambda: not board.nats.ok)
    assert "authorization violation" in board.nats.text.lower()
    assert "guess" not in board.nats.text
    bus._url = lambda: server.url
    await board.until(lambda: board.nats.ok)
    await bus.stop()
    gc.collect()


async def test_a_server_that_does_not_let_it_hear_answers_is_told_at_once(
    tree: TaskTree, board: Board, server: EmbeddedNats
) -> None:
    """As anybody of the venue, who may not do what a broker does."""
    bus = Bus(tree, board.health, lambda: f"nats://127.0.0.1:{server.port}")
    await bus.start()
    assert (board.nats.ok, board.nats.take_down) == (False, True)
    assert board.nats.text.startswith("NATS does not let this broker work: Permissions Violation for Subscription")
    with pytest.raises(Unavailable, match="does not let this broker work") as caught:
        await bus.request("maestra.stream.request.x", b"", 60.0)
    assert caught.value.code == "bus_away"
    await bus.stop()


@pytest.mark.parametrize(
    ("verb", "subject", "take_down"),
    [
        ("subscribe", "maestra.stream.heartbeat.*", False),
        ("publish", "maestra.stream.advertise", False),
        ("publish", "maestra.stream.request.*", True),
    ],
)
async def test_a_server_that_refuses_a_subject_is_told(
    tree: TaskTree,
    board: Board,
    folder: DataFolder,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    subject: str,
    take_down: bool,
) -> None:
    usual = embedded.configuration

    def strict(*arguments: Any, **named: Any) -> bytes:
        told = msgspec.json.decode(usual(*arguments, **named))
        told["authorization"]["users"][0]["permissions"] = {verb: {"deny": [subject]}}
        return msgspec.json.encode(told)

    monkeypatch.setattr(embedded, "configuration", strict)
    server = EmbeddedNats(tree, folder.nats, folder.logs, "127.0.0.1", 0)
    await server.start()
    bus = Bus(tree, board.health, lambda: server.url)
    await bus.start()
    await bus.subscribe("maestra.stream.heartbeat.*", lambda subject, payload: None)
    bus.publish("maestra.stream.advertise", b"x")
    asked = bus.request("maestra.stream.request.x", b"", 60.0)
    await board.until(lambda: not board.nats.ok)
    assert board.nats.take_down == take_down
    assert "NATS does not let this broker work: Permissions Violation" in board.nats.text
    again = bus.request("maestra.stream.request.x", b"", 60.0)
    with pytest.raises(Unavailable) as caught:
        await again
    assert caught.value.code == ("bus_away" if take_down else "no_responders")
    asked.cancel()
    await asyncio.gather(asked, return_exceptions=True)
    await bus.stop()
    await server.stop()


async def test_a_failing_handler_harms_nobody(bus: Bus, publisher: nats.aio.client.Client) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def handler(subject: str, payload: bytes) -> None:
        if payload == b"bad":
            raise ValueError("mine")
        heard.put_nowait(payload)

    await bus.subscribe("maestra.stream.heartbeat.*", handler)
    with structlog.testing.capture_logs() as logs:
        for payload in (b"bad", b"good"):
            await publisher.publish("maestra.stream.heartbeat.s1", payload)
        async with asyncio.timeout(15):
            assert await heard.get() == b"good"
    assert [line["event"] for line in logs] == ["bus handler failed"]


async def test_what_nats_cannot_carry_is_dropped_and_counted(bus: Bus, server: EmbeddedNats) -> None:
    internal = await connect_nats(server.url, allow_reconnect=False)
    heard = await internal.subscribe("good")
    await internal.flush()
    for subject in ("has a space", "", "crlf\r\nPUB x 0\r\n\r\n", "good"):
        bus.publish(subject, b"1")
    bus.publish("good", b"x" * (1024 * 1024 + 1))
    bus.publish("good", b"2")
    assert [(await heard.next_msg(5)).data for _ in range(2)] == [b"1", b"2"]
    assert bus.dropped == 4
    assert bus.connected
    with pytest.raises(Unavailable):
        await bus.request("has a space", b"", 1)
    await internal.close()


async def test_stopping_sends_what_waits(tree: TaskTree, board: Board, server: EmbeddedNats) -> None:
    internal = await connect_nats(server.url, allow_reconnect=False)
    heard = await internal.subscribe("last")
    await internal.flush()
    bus = Bus(tree, board.health, lambda: server.url)
    await bus.start()
    bus.publish("last", b"word")
    await bus.stop()
    assert (await heard.next_msg(5)).data == b"word"
    await internal.close()
