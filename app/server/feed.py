"""The event feed of the consoles (contract: ``app/contract/``; ARCHITECTURE.md, "The feed").

``main.py`` builds one hub; the console dialect hands it every accepted WebSocket. An event is encoded once, when it
is published and only while somebody listens; batches go out at most 20 times a second as the same text to all.
A console that reads slowly loses its queue and gets a new snapshot instead, never a silent hole. Consoles that
come together share one snapshot, and at most ``SENDING`` of them are being sent one: memory stays bounded when
a thousand come back at once.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

import msgspec

from app.contract import BEAT_EVERY, Hello, Pulse, Row, Snapshot
from app.logs import get_logger
from app.server.events import EventLog, Published
from app.server.tasks import TaskTree

log = get_logger("feed")

BATCH_EVERY = 0.05
PART_ROWS = 250
MESSAGE_BYTES = 256 * 1024
"""A part or batch ends with the row or event that makes it longer than this."""
SENDING = 8
SNAPSHOT_AGE = 0.5
"""Seconds that consoles which come together share a snapshot; diffs since then follow it."""
QUEUE_MESSAGES = 400
QUEUE_BYTES = 4 * 1024 * 1024
STUCK_AFTER = 5.0
"""Seconds one part of a snapshot may take to leave before its console makes room for others."""
WAITING_BEAT = 2.0
"""A console that waits for its snapshot hears a beat this often."""

Send = Callable[[str], Awaitable[None]]
Tables = Mapping[str, Sequence[Row]]

_encode = msgspec.json.encode


class _Snapshot:
    """One encoded state with the batches since, as its consoles get them."""

    def __init__(self, seq: int, parts: list[str], made: float) -> None:
        self.seq = seq
        self.parts = parts
        self.made = made
        self.since: list[tuple[int, str]] = []
        self.since_bytes = 0

    def add(self, seq: int, text: str) -> None:
        """One more batch since."""
        self.since.append((seq, text))
        self.since_bytes += len(text)

    @property
    def stale(self) -> bool:
        """Whether it is old, or what follows it would fill a good part of a console's queue."""
        full = len(self.since) > QUEUE_MESSAGES // 4 or self.since_bytes > QUEUE_BYTES // 4
        return full or time.monotonic() - self.made > SNAPSHOT_AGE


class _Console:
    """One connection's queue. ``behind``: it is not being fed and needs a snapshot. ``seq``: the last number sent."""

    def __init__(self) -> None:
        self.queue: deque[tuple[int, str]] = deque()
        self.bytes = 0
        self.seq = 0
        self.behind = True
        self.wake = asyncio.Event()

    def push(self, seq: int, text: str) -> None:
        """Queue a message, or give the queue up for a snapshot."""
        if self.behind:
            return
        self.queue.append((seq, text))
        self.bytes += len(text)
        if len(self.queue) > QUEUE_MESSAGES or self.bytes > QUEUE_BYTES:
            self.fall_behind()
        self.wake.set()

    def pop(self) -> str:
        """The next message."""
        self.seq, text = self.queue.popleft()
        self.bytes -= len(text)
        return text

    def fall_behind(self) -> None:
        """Drop everything that waits."""
        self.queue.clear()
        self.bytes = 0
        self.behind = True


class FeedHub:
    """Feeds every console; ``resyncs`` counts the snapshots that slow readers needed."""

    def __init__(
        self,
        events: EventLog,
        snapshot: Callable[[], Tables],
        hello: Hello,
        tree: TaskTree,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.resyncs = 0
        self._events = events
        self._tables = snapshot
        self._hello = _encode(hello).decode()
        self._tree = tree
        self._clock = clock
        self._consoles: set[_Console] = set()
        self._pending: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._shared: _Snapshot | None = None
        self._sending = asyncio.Semaphore(SENDING)
        self._node = tree.group("feed")
        self._unsubscribe = events.subscribe(self._heard)

    @property
    def consoles(self) -> int:
        """How many consoles are connected."""
        return len(self._consoles)

    @property
    def waiting(self) -> int:
        """Characters that wait in the queues of all consoles; each queue is bounded."""
        return sum(console.bytes for console in self._consoles)

    def start(self) -> None:
        """Begin to beat."""
        self._tree.spawn("pulse", self._pulse, parent=self._node, restart="on_failure")

    def stop(self) -> None:
        """Listen no more; the connections end with their listener."""
        self._unsubscribe()
        if self._timer is not None:
            self._timer.cancel()

    async def serve(self, name: str, send: Send, closed: Awaitable[None]) -> None:
        """Feed one console until ``closed`` is done."""
        console = _Console()
        self._consoles.add(console)
        node = self._tree.spawn(
            f"console {name}", lambda: self._write(console, send), parent=self._node, kind="console"
        )
        try:
            await closed
        finally:
            self._consoles.discard(console)
            console.fall_behind()
            if not self._consoles:  # from here on nobody hears events: the next one may not begin where this one was
                self._shared = None
            await node.stop(2.0)

    def _heard(self, event: Published) -> None:
        if not self._consoles:
            return
        self._pending.append(_encode(event))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(BATCH_EVERY, self._flush)

    def _flush(self) -> None:
        """Send what has been heard since the last batch to everyone who is being fed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._pending:
            return
        events, self._pending = self._pending, []
        seq = self._events.seq - len(events)
        for batch in _in_batches(events):
            seq += len(batch)
            text = (b'{"t":"diff","at":%b,"events":[%b]}' % (_encode(self._clock()), b",".join(batch))).decode()
            for console in self._consoles:
                console.push(seq, text)
            if self._shared is not None:
                self._shared.add(seq, text)
        if self._shared is not None and self._shared.stale:
            self._shared = None

    async def _pulse(self) -> None:
        while True:
            await asyncio.sleep(BEAT_EVERY)
            self._flush()
            text = self._beat(self._events.seq)
            for console in self._consoles:
                console.push(self._events.seq, text)

    async def _write(self, console: _Console, send: Send) -> None:
        """The life of one connection's sending side; ends when the connection does."""
        try:
            await send(self._hello)
            console.seq = self._events.seq
            while True:
                if console.behind:
                    await self._bring_up(console, send)
                while console.queue and not console.behind:
                    await send(console.pop())
                if console.behind:
                    self.resyncs += 1
                    log.info("a console reads slowly and gets a new snapshot")
                    continue
                console.wake.clear()
                await console.wake.wait()
        except OSError as error:
            log.debug("a console went away", reason=repr(error))

    async def _bring_up(self, console: _Console, send: Send) -> None:
        """Wait for a turn, then send a snapshot. Those that cannot take even a beat wait where they block nobody."""
        while console.behind:
            await send(self._beat(console.seq))
            try:
                async with asyncio.timeout(WAITING_BEAT):
                    await self._sending.acquire()
            except TimeoutError:
                continue
            try:
                await self._send_snapshot(console, send)
            except TimeoutError:
                console.fall_behind()
                log.info("a console does not take its snapshot", after=STUCK_AFTER)
            finally:
                self._sending.release()

    async def _send_snapshot(self, console: _Console, send: Send) -> None:
        """All parts, then wait until they have left, so that no more than ``SENDING`` snapshots wait in memory."""
        snapshot = self._current()
        console.behind = False
        for seq, text in snapshot.since:
            console.push(seq, text)
        for message in (*snapshot.parts, self._beat(snapshot.seq)):
            async with asyncio.timeout(STUCK_AFTER):
                await send(message)
        console.seq = snapshot.seq

    def _beat(self, seq: int) -> str:
        return _encode(Pulse(at=self._clock(), seq=seq)).decode()

    def _current(self) -> _Snapshot:
        """A snapshot that is young enough, with everything up to now in its ``since`` or in the state itself."""
        self._flush()
        shared = self._shared
        if shared is None or shared.stale:
            shared = self._shared = self._make()
        return shared

    def _make(self) -> _Snapshot:
        """Encode the whole state as of now, in parts."""
        seq, at = self._events.seq, self._clock()
        parts: list[dict[str, list[msgspec.Raw]]] = [{}]
        rows_left, bytes_left = PART_ROWS, MESSAGE_BYTES
        for table, rows in self._tables().items():
            for row in rows:
                if rows_left <= 0 or bytes_left <= 0:
                    parts.append({})
                    rows_left, bytes_left = PART_ROWS, MESSAGE_BYTES
                encoded = _encode(row)
                parts[-1].setdefault(table, []).append(msgspec.Raw(encoded))
                rows_left -= 1
                bytes_left -= len(encoded)
        texts = [
            _encode(Snapshot(seq=seq, at=at, part=number, parts=len(parts), rows=rows)).decode()
            for number, rows in enumerate(parts, 1)
        ]
        return _Snapshot(seq, texts, time.monotonic())


def _in_batches(events: list[bytes]) -> Iterator[list[bytes]]:
    """Split what was heard so that no message grows much beyond ``MESSAGE_BYTES``."""
    begin = size = 0
    for end, event in enumerate(events, 1):
        size += len(event)
        if size > MESSAGE_BYTES:
            yield events[begin:end]
            begin, size = end, 0
    if begin < len(events):
        yield events[begin:]
