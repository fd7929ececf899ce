from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from app.client.feed import Numbers
from app.contract import PROTOCOL, Diff, FeedMessage, Gone, Hello, PresetRow, Pulse, Row, Snapshot
from app.server import feed
from app.server.events import EventLog
from app.server.feed import FeedHub
from app.server.tasks import TaskTree

DECODER: msgspec.json.Decoder[FeedMessage] = msgspec.json.Decoder(FeedMessage)


def preset(number: int, name: str = "") -> PresetRow:
    return PresetRow(id=str(number), name=name or f"p{number}", consumer_id="c", consumer_address="a")


@dataclass
class House:
    """A state that changes, with its hub."""

    tree: TaskTree
    rows: dict[str, PresetRow] = field(default_factory=dict)
    snapshots: int = 0

    def __post_init__(self) -> None:
        self.events = EventLog(first=100)
        hello = Hello(protocol=PROTOCOL, broker="b", version="1", started_at=1.0)
        self.hub = FeedHub(self.events, self.tables, hello, self.tree)

    def tables(self) -> dict[str, list[Row]]:
        self.snapshots += 1
        return {"preset": list(self.rows.values())}

    def put(self, number: int, name: str = "") -> None:
        row = self.rows[str(number)] = preset(number, name)
        self.events.publish("preset.saved", row.id, row)

    def drop(self, number: int) -> None:
        del self.rows[str(number)]
        self.events.publish("preset.deleted", str(number), Gone("deleted"))


class Reader:
    """A console: checks that numbers follow each other, applies what it gets, and can stop reading."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.messages: list[FeedMessage] = []
        self.rows: dict[str, str] = {}
        self.numbers = Numbers()
        self.reading = asyncio.Event()
        self.reading.set()
        self.heard = asyncio.Event()
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.task = asyncio.ensure_future(house.hub.serve("test", self.send, self.closed))

    async def send(self, text: str) -> None:
        await self.reading.wait()
        message = DECODER.decode(text)
        self.messages.append(message)
        problem = ""
        if isinstance(message, Snapshot):
            problem = self.numbers.snapshot(message)
            if message.part == 1:
                self.rows.clear()
            for row in message.rows.get("preset", []):
                self.apply(row)
        elif isinstance(message, Diff):
            problem = self.numbers.diff(message)
            for event in message.events:
                if event.kind == "preset.deleted":
                    self.rows.pop(event.id)
                else:
                    self.apply(event.change)
        elif isinstance(message, Pulse):
            problem = self.numbers.pulse(message)
        assert not problem, problem
        self.heard.set()

    def apply(self, raw: msgspec.Raw) -> None:
        row = msgspec.json.decode(raw, type=PresetRow)
        self.rows[row.id] = row.name

    def has_all(self) -> bool:
        expected = {row.id: row.name for row in self.house.rows.values()}
        return self.numbers.whole and self.numbers.seq == self.house.events.seq and self.rows == expected

    def count(self, kind: type) -> int:
        return sum(isinstance(message, kind) for message in self.messages)

    async def until(self, check: Callable[[], bool], within: float = 10.0) -> None:
        async with asyncio.timeout(within):
            while not check():
                self.heard.clear()
                await self.heard.wait()

    async def close(self) -> None:
        self.reading.set()
        if not self.closed.done():
            self.closed.set_result(None)
        await self.task


@pytest.fixture
async def house() -> AsyncIterator[House]:
    tree = TaskTree()
    house = House(tree)
    yield house
    house.hub.stop()
    assert house.hub.consoles == 0
    assert [node.name for node in tree.root.walk()] in (["broker", "feed"], ["broker", "feed", "pulse"])
    await tree.stop()


async def test_hello_snapshot_then_diffs(house: House) -> None:
    house.put(1)
    reader = Reader(house)
    await reader.until(reader.has_all)
    assert [type(message) for message in reader.messages[:3]] == [Hello, Pulse, Snapshot]
    assert isinstance(reader.messages[2], Snapshot)
    assert reader.messages[2].seq == 101
    house.put(2)
    house.drop(1)
    await reader.until(reader.has_all)
    diff = reader.messages[-1]
    assert isinstance(diff, Diff)
    assert [event.seq for event in diff.events] == [102, 103]
    await reader.close()


async def test_an_empty_state_is_one_empty_part(house: House) -> None:
    reader = Reader(house)
    await reader.until(reader.has_all)
    assert [message.parts for message in reader.messages if isinstance(message, Snapshot)] == [1]
    await reader.close()


async def test_a_large_state_comes_in_parts_of_one_moment(house: House) -> None:
    for number in range(2 * feed.PART_ROWS + 20):
        house.put(number)
    reader = Reader(house)
    house_is_busy = asyncio.ensure_future(churn(house, 50))
    await house_is_busy
    await reader.until(reader.has_all)
    parts = [message for message in reader.messages if isinstance(message, Snapshot)]
    assert [part.part for part in parts] == [1, 2, 3]
    assert len({part.seq for part in parts}) == 1
    assert all(sum(map(len, part.rows.values())) <= 1000 for part in parts)
    await reader.close()


async def churn(house: House, times: int) -> None:
    for number in range(times):
        house.put(number % 7, f"name {number}")
        if number % 3 == 0:
            house.drop(number % 7)
        await asyncio.sleep(0)


async def test_consoles_that_join_at_any_moment_see_the_same(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "SNAPSHOT_AGE", 60.0)
    readers = []
    for _ in range(30):
        readers.append(Reader(house))
        await churn(house, 5)
        await asyncio.sleep(0.005)
    for reader in readers:
        await reader.until(reader.has_all)
        await reader.close()
    assert house.snapshots <= 3


async def test_a_row_changed_after_its_event_does_not_change_the_event(house: House) -> None:
    reader = Reader(house)
    await reader.until(reader.has_all)
    row = house.rows["1"] = preset(1, "before")
    house.events.publish("preset.saved", "1", row)
    row.name = "after"
    await reader.until(lambda: reader.numbers.seq == house.events.seq)
    assert reader.rows == {"1": "before"}
    await reader.close()


async def test_batches_leave_at_most_twenty_times_a_second(house: House) -> None:
    reader = Reader(house)
    await reader.until(reader.has_all)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    while loop.time() - begun < 0.5:
        house.put(1, str(loop.time()))
        await asyncio.sleep(0.001)
    await reader.until(reader.has_all)
    elapsed = loop.time() - begun
    assert reader.count(Diff) <= elapsed / feed.BATCH_EVERY + 1
    await reader.close()


async def test_a_beat_comes_every_second_and_never_runs_ahead(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "BEAT_EVERY", 0.02)
    house.hub.start()
    reader = Reader(house)
    await reader.until(reader.has_all)
    house.put(1)
    await reader.until(lambda: reader.count(Pulse) >= 4)
    assert isinstance(reader.messages[-1], Pulse)
    assert reader.messages[-1].seq == 101
    await reader.close()


async def test_nobody_listening_costs_nothing(house: House) -> None:
    for number in range(100):
        house.put(number)
    assert house.hub._pending == []
    assert house.hub._timer is None
    assert house.snapshots == 0


async def test_a_slow_reader_gets_a_new_snapshot_and_disturbs_nobody(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "QUEUE_MESSAGES", 4)
    slow, quick = Reader(house), Reader(house)
    for reader in (slow, quick):
        await reader.until(reader.has_all)
    slow.reading.clear()
    for number in range(8):
        house.put(number)
        await quick.until(quick.has_all)
    (console,) = [console for console in house.hub._consoles if console.behind]
    assert (len(console.queue), console.bytes) == (0, 0)
    assert slow.count(Snapshot) == 1
    slow.reading.set()
    await slow.until(slow.has_all)
    assert slow.count(Snapshot) == 2
    assert quick.count(Snapshot) == 1
    assert house.hub.resyncs == 1
    house.put(99)
    for reader in (slow, quick):
        await reader.until(reader.has_all)
        await reader.close()


async def test_a_queue_is_bounded_in_bytes_too(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "QUEUE_BYTES", 2000)
    slow = Reader(house)
    await slow.until(slow.has_all)
    slow.reading.clear()
    for number in range(6):
        house.put(number, "x" * 900)
        house.hub._flush()
    assert next(iter(house.hub._consoles)).bytes <= 2000
    slow.reading.set()
    await slow.until(slow.has_all)
    await slow.close()


async def test_messages_are_bounded_in_bytes(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "MESSAGE_BYTES", 1000)
    for number in range(10):
        house.put(number, "x" * 600)
    reader = Reader(house)
    await reader.until(reader.has_all)
    assert reader.count(Snapshot) == 5
    for number in range(10, 20):
        house.put(number, "x" * 600)
    await reader.until(reader.has_all)
    assert reader.count(Diff) == 5
    assert all(len(message.events) == 2 for message in reader.messages if isinstance(message, Diff))
    await reader.close()


async def test_a_thousand_at_once_share_snapshots_and_take_turns(house: House) -> None:
    for number in range(1000):
        house.put(number)
    at_once = most = 0

    class Counting(Reader):
        async def send(self, text: str) -> None:
            nonlocal at_once, most
            if text.startswith('{"t":"snapshot"'):
                at_once += 1
                most = max(most, at_once)
                await asyncio.sleep(0)
                at_once -= 1
            await super().send(text)

    readers = [Counting(house) for _ in range(1000)]
    async with asyncio.timeout(60):
        for reader in readers:
            await reader.until(lambda reader=reader: reader.numbers.whole, 60.0)  # type: ignore[misc]
    assert most <= feed.SENDING
    assert house.snapshots < 150, "a snapshot is shared for half a second, however many a machine sends in that"
    for reader in readers:
        await reader.close()


async def test_one_that_takes_nothing_does_not_keep_the_others_waiting(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "STUCK_AFTER", 0.05)
    monkeypatch.setattr(feed, "WAITING_BEAT", 0.02)
    monkeypatch.setattr(feed, "SENDING", 1)
    house.hub._sending = asyncio.Semaphore(1)

    class Stuck(Reader):
        async def send(self, text: str) -> None:
            if text.startswith('{"t":"snapshot"'):
                self.reading.clear()
            await super().send(text)

    stuck = [Stuck(house) for _ in range(3)]
    reader = Reader(house)
    await reader.until(reader.has_all)
    await reader.close()
    for each in stuck:
        assert each.count(Snapshot) == 0
        await each.close()


async def test_a_console_that_breaks_off_leaves_nothing(house: House) -> None:
    async def broken(_: str) -> None:
        raise OSError("gone")

    closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    serving = asyncio.ensure_future(house.hub.serve("broken", broken, closed))
    await asyncio.sleep(0.01)
    house.put(1)
    closed.set_result(None)
    await serving


async def test_who_comes_while_the_last_one_leaves_misses_nothing(house: House) -> None:
    """Nobody heard the event between the two, so what the one before had is no beginning for the next."""
    left = asyncio.Event()

    class Slow(Reader):
        async def send(self, text: str) -> None:
            try:
                await super().send(text)
            except asyncio.CancelledError:
                await left.wait()
                raise

    slow = Slow(house)
    await slow.until(slow.has_all)
    slow.reading.clear()
    house.put(1)
    house.hub._flush()
    await asyncio.sleep(0)
    slow.closed.set_result(None)
    while house.hub.consoles:
        await asyncio.sleep(0)
    house.put(2)
    reader = Reader(house)
    while not house.hub.consoles:
        await asyncio.sleep(0)
    left.set()
    await reader.until(reader.has_all)
    await reader.close()
    await slow.close()


async def test_a_connection_that_is_cancelled_leaves_nothing(house: House) -> None:
    reader: Any = Reader(house)
    await reader.until(reader.has_all)
    reader.task.cancel()
    await asyncio.wait([reader.task])
    assert reader.task.cancelled()
