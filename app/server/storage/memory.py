"""Live state in memory, journalled: the embedded implementation of ``LiveState``.

The order of every change is: check on the loop, commit to the journal, apply to memory, publish, return.
Applying happens in the order of commits, so it alone decides who of two callers was first. A row that somebody
is removing is claimed: it does not expire, take a session or take a hold until the journal has answered.

The reaper takes a row out of sight at its deadline; its event follows when the journal has it, or after
``JOURNAL_PATIENCE`` when the journal cannot, which then writes it as soon as it can again. A list may show a
dead row for as long as the loop itself is late; no call that changes something takes it for alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeVar

import msgspec

from app.contract import (
    HEARTBEAT_EVERY,
    SESSION_TTL,
    STREAM_TTL,
    Beat,
    Gone,
    HoldRow,
    SessionRow,
    StreamRow,
)
from app.errors import Conflict, Expired, Invalid, Unavailable
from app.server.events import EventLog
from app.server.storage import records, recovery
from app.server.storage.deadlines import Deadlines, Entry
from app.server.storage.journal import Change, Journal
from app.server.storage.state import Removed
from app.server.storage.upkeep import Upkeep
from app.server.storage.view import TimedEntry, View
from app.server.tasks import TaskNode, TaskTree

FLUSH_EVERY = 1.0
JOURNAL_PATIENCE = 0.5
BURIAL_SLICE = 500
"""Expired rows that go into one commit."""

_IDLE = HEARTBEAT_EVERY
_NO_STREAM = "Stream not found or expired"
_NO_SESSION = "Session not found or expired"

_encoder = msgspec.json.Encoder()

T = TypeVar("T")
Dying = tuple[TimedEntry, Entry[HoldRow] | None]


class MemoryState:
    """See the module's docstring and ``state.py`` for the promises."""

    def __init__(
        self,
        journal: Journal,
        events: EventLog,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        tasks: TaskTree | None = None,
        parent: TaskNode | None = None,
    ) -> None:
        """Without ``tasks`` nobody reaps and flushes; a test with a clock of its own calls ``reap`` and ``flush``."""
        self._journal = journal
        self._events = events
        self._clock = clock
        self._monotonic = monotonic
        self._tasks = tasks
        self._parent = parent
        self._nodes: list[TaskNode] = []
        self._view = View()
        self._arriving: set[str] = set()
        self._deadlines: Deadlines[Any] = Deadlines()
        self._upkeep = Upkeep(journal)
        self._dying: deque[Dying] = deque()
        self._wake = asyncio.Event()
        self._last_n = 0

    @property
    def streams(self) -> Mapping[str, StreamRow]:
        """Live streams by id, oldest first."""
        return self._view.streams

    @property
    def sessions(self) -> Mapping[str, SessionRow]:
        """Live sessions by id, oldest first."""
        return self._view.sessions

    @property
    def holds(self) -> Mapping[str, HoldRow]:
        """Holds by id, oldest first."""
        return self._view.holds

    def sessions_of(self, stream_id: str) -> Iterable[SessionRow]:
        """Live sessions of one stream, oldest first."""
        return self._view.by_stream.get(stream_id, {}).values()

    # Life.

    async def open(self) -> None:
        """Open the journal, take over what survived, expire the rest, start reaper and flush."""
        survived = recovery.sort_out(await self._journal.open(), self._monotonic(), self._clock())
        self._last_n = survived.last_n
        for stream in survived.streams:
            self._view.show_stream(stream)
        for session in survived.sessions:
            self._view.show_session(session)
        for hold in survived.holds:
            self._view.show_hold(hold)
        entries: list[TimedEntry] = [*survived.streams, *survived.sessions]
        for entry in entries:
            self._watch(entry)
            self._upkeep.dirty.add(entry)
        self._upkeep.owe_later(survived.change)
        with contextlib.suppress(Unavailable):
            # Also without rows: deadlines of this boot mean nothing beside the alive mark of another one.
            await self._upkeep.flush(self._monotonic(), self._clock())
        for kind, row_id in survived.gone:
            gone = Gone(reason="expired", text="its time had run out when the broker ended")
            self._events.publish(kind, row_id, gone)
        if self._tasks is not None:
            spawn = partial(self._tasks.spawn, parent=self._parent, restart="on_failure")
            self._nodes = [spawn("reaper", self._reap_for_ever), spawn("deadlines", self._flush_for_ever)]

    async def close(self) -> None:
        """Stop reaper and flush, write the deadlines a last time. The journal is closed by whoever made it."""
        nodes, self._nodes = self._nodes, []
        for node in nodes:
            await node.stop()
        with contextlib.suppress(Unavailable):
            await self.flush()

    # Streams.

    async def advertise(self, row: StreamRow) -> StreamRow:
        """Add a stream. Raises ``Conflict`` for an id that is taken, ``Unavailable``."""
        if row.id in self._view.stream_entries or row.id in self._arriving:
            raise Conflict(f"Stream {row.id} exists already")
        now = self._monotonic()
        row.expires_at = self._clock() + STREAM_TTL
        entry = Entry(row, self._number(), now + STREAM_TTL, now)
        change = Change().put(entry.n, "stream", _encode(row), entry.deadline)
        return await self._arrive(row.id, change, partial(self._add_stream, entry))

    def _add_stream(self, entry: Entry[StreamRow]) -> StreamRow:
        row = entry.row
        self._arriving.discard(row.id)
        self._view.show_stream(entry)
        self._watch(entry)
        self._events.publish("stream.advertised", row.id, row)
        return row

    async def heartbeat_stream(self, stream_id: str) -> StreamRow | None:
        """Give a stream a fresh TTL; None when it is not live."""
        entry = self._view.stream_entries.get(stream_id)
        if entry is None:
            return None
        now = self._monotonic()
        if entry.deadline <= now:
            return None
        entry.deadline = now + STREAM_TTL
        self._upkeep.dirty.add(entry)
        wall = self._clock()
        row = entry.row
        row.last_heartbeat = wall
        row.expires_at = wall + STREAM_TTL
        row.confirmed = True
        self._events.publish("stream.beat", stream_id, Beat(row.expires_at, wall))
        return row

    async def withdraw(self, stream_id: str, *, by: str = "") -> Removed | None:
        """Remove a stream, its sessions and their holds; None when another was first or it is gone."""
        entry = self._view.alive_stream(stream_id, self._monotonic())
        if entry is None:
            return None
        sessions = [self._view.session_entries[row.id] for row in self.sessions_of(stream_id)]
        change = Change().drop(entry.n)
        for session in sessions:
            self._end(change, session, "withdrawn")
        claimed: list[TimedEntry] = [entry, *sessions]
        return await self._remove(claimed, change, partial(self._take_stream, entry, sessions, by))

    def _take_stream(self, entry: Entry[StreamRow], sessions: list[Entry[SessionRow]], by: str) -> Removed | None:
        if not entry.live:
            return None
        gone = Gone(reason="withdrawn", text="its stream was withdrawn", by=by)
        taken = [row for session in sessions if (row := self._take_session(session, gone)) is not None]
        self._forget(entry)
        self._events.publish("stream.withdrawn", entry.row.id, Gone(reason="withdrawn", by=by))
        return Removed(entry.row, taken)

    # Sessions.

    async def open_session(self, row: SessionRow) -> SessionRow:
        """Add a session. Raises ``Expired`` when its stream is not live at the moment of the commit."""
        if row.id in self._view.session_entries or row.id in self._arriving:
            raise Conflict(f"Session {row.id} exists already")
        self._require_stream(row.stream_id)
        now = self._monotonic()
        row.expires_at = self._clock() + SESSION_TTL
        entry = Entry(row, self._number(), now + SESSION_TTL, now)
        change = Change().put(entry.n, "session", _encode(row), entry.deadline).record(*records.opened(row))
        return await self._arrive(row.id, change, partial(self._add_session, entry))

    def _add_session(self, entry: Entry[SessionRow]) -> SessionRow:
        row = entry.row
        self._arriving.discard(row.id)
        try:
            self._require_stream(row.stream_id)
        except Expired:
            self._upkeep.owe(Change().drop(entry.n).record(*records.void(row.id)))
            raise
        self._view.show_session(entry)
        self._watch(entry)
        self._events.publish("session.started", row.id, row)
        return row

    async def heartbeat_session(self, session_id: str, *, by_hold: bool = False) -> SessionRow | None:
        """Give a session a fresh TTL; ``by_hold`` leaves ``last_heartbeat`` and ``confirmed`` alone."""
        entry = self._view.session_entries.get(session_id)
        if entry is None:
            return None
        now = self._monotonic()
        if entry.deadline <= now:
            return None
        entry.deadline = now + SESSION_TTL
        self._upkeep.dirty.add(entry)
        wall = self._clock()
        row = entry.row
        row.expires_at = wall + SESSION_TTL
        if by_hold:
            self._events.publish("session.beat", session_id, Beat(row.expires_at))
        else:
            row.last_heartbeat = wall
            row.confirmed = True
            self._events.publish("session.beat", session_id, Beat(row.expires_at, wall))
        return row

    async def close_session(self, session_id: str, *, reason: str = "stopped", by: str = "") -> SessionRow | None:
        """Remove a session and its hold; None when another was first or it is gone."""
        entry = self._view.alive_session(session_id, self._monotonic())
        if entry is None:
            return None
        change = Change()
        self._end(change, entry, reason)
        gone = Gone(reason=reason, by=by)
        return await self._remove([entry], change, partial(self._take_session, entry, gone))

    def _take_session(self, entry: Entry[SessionRow], gone: Gone) -> SessionRow | None:
        if not entry.live:
            return None
        hold = self._forget(entry)
        if hold is not None:
            self._events.publish("hold.ended", hold.row.id, gone)
        self._events.publish("session.stopped", entry.row.id, gone)
        return entry.row

    # Holds.

    async def put_hold(self, row: HoldRow) -> HoldRow:
        """Add a hold. Raises ``Expired`` when the session is not live, ``Conflict`` when it is held already."""
        if row.session_id in self._view.hold_of or row.session_id in self._arriving:
            raise Conflict("This session is held already")
        self._require_session(row.session_id)
        now = self._monotonic()
        entry = Entry(row, self._number(), float("inf"), now)
        change = Change().put(entry.n, "hold", _encode(row), None)
        return await self._arrive(row.session_id, change, partial(self._add_hold, entry))

    def _add_hold(self, entry: Entry[HoldRow]) -> HoldRow:
        row = entry.row
        self._arriving.discard(row.session_id)
        try:
            self._require_session(row.session_id)
        except Expired:
            self._upkeep.owe(Change().drop(entry.n))
            raise
        self._view.show_hold(entry)
        self._events.publish("hold.started", row.id, row)
        return row

    async def drop_hold(self, hold_id: str, *, by: str = "") -> HoldRow | None:
        """Remove a hold; the session lives on its own TTL."""
        entry = self._view.hold_entries.get(hold_id)
        if entry is None:
            return None
        return await self._journal.commit(Change().drop(entry.n), partial(self._take_hold, entry, by))

    def _take_hold(self, entry: Entry[HoldRow], by: str) -> HoldRow | None:
        if not entry.live:
            return None
        self._view.remove_hold(entry.row.session_id)
        self._events.publish("hold.ended", entry.row.id, Gone(reason="released", by=by))
        return entry.row

    # What changes share.

    def _number(self) -> int:
        self._last_n += 1
        return self._last_n

    def _require_stream(self, stream_id: str) -> None:
        entry = self._view.alive_stream(stream_id, self._monotonic())
        if entry is None or entry.claims:
            raise Expired(_NO_STREAM)

    def _require_session(self, session_id: str) -> None:
        entry = self._view.alive_session(session_id, self._monotonic())
        if entry is None or entry.claims:
            raise Expired(_NO_SESSION)

    def _arrive(self, key: str, change: Change, apply: Callable[[], T]) -> asyncio.Future[T]:
        """Commit something new; ``key`` cannot be used by another until ``apply`` or a failure frees it."""
        future = self._journal.commit(change, apply, partial(self._arriving.discard, key))
        self._arriving.add(key)
        return future

    def _remove(self, claimed: list[TimedEntry], change: Change, take: Callable[[], T]) -> asyncio.Future[T]:
        """Commit a removal; the rows stay as they are until the journal has answered."""

        def apply() -> T:
            for entry in claimed:
                entry.claims -= 1
            return take()

        future = self._journal.commit(change, apply, partial(self._release, claimed))
        for entry in claimed:
            entry.claims += 1
        return future

    def _release(self, claimed: list[TimedEntry]) -> None:
        """A removal failed; rows that ran out meanwhile expire now."""
        now = self._monotonic()
        for entry in claimed:
            entry.claims -= 1
            if entry.live and not entry.claims and entry.deadline <= now:
                self._let_die(entry)
                self._wake.set()

    def _end(self, change: Change, entry: Entry[SessionRow], reason: str, hold: Entry[HoldRow] | None = None) -> None:
        """Add to ``change`` what the end of a session writes."""
        change.drop(entry.n)
        hold = hold or self._view.hold_of.get(entry.row.id)
        if hold is not None:
            change.drop(hold.n)
        duration = self._monotonic() - entry.began
        change.record(*records.closed(entry.row, reason, self._clock(), duration))

    def _watch(self, entry: TimedEntry) -> None:
        if self._deadlines.add(entry):
            self._wake.set()

    def _forget(self, entry: TimedEntry) -> Entry[HoldRow] | None:
        self._upkeep.dirty.discard(entry)
        return self._view.remove(entry)

    # Expiry.

    async def reap(self) -> float:
        """Expire what is due and return how many seconds there are until the next deadline."""
        for entry in self._deadlines.due(self._monotonic()):
            if entry.claims:
                self._view.conceal(entry)
            else:
                self._let_die(entry)
        while self._dying:
            await self._bury([self._dying.popleft() for _ in range(min(BURIAL_SLICE, len(self._dying)))])
        first = self._deadlines.next()
        return _IDLE if first is None else max(0.0, first - self._monotonic())

    def _let_die(self, entry: TimedEntry) -> None:
        self._dying.append((entry, self._forget(entry)))

    async def _bury(self, dead: list[Dying]) -> None:
        change = Change()
        for entry, hold in dead:
            if isinstance(entry.row, SessionRow):
                self._end(change, entry, "expired", hold)
            else:
                change.drop(entry.n)
        try:
            written = self._upkeep.owe(change)
            if written is not None:
                await asyncio.wait((written,), timeout=JOURNAL_PATIENCE)
        finally:
            gone = Gone(reason="expired")
            for entry, hold in dead:
                if hold is not None:
                    self._events.publish("hold.ended", hold.row.id, gone)
                kind = "session.expired" if isinstance(entry.row, SessionRow) else "stream.expired"
                self._events.publish(kind, entry.row.id, gone)

    async def flush(self) -> None:
        """Write changed deadlines, the alive mark and what is owed. Raises ``Unavailable``; then it is still owed."""
        if self._view.stream_entries or self._view.session_entries or self._upkeep.in_debt:
            await self._upkeep.flush(self._monotonic(), self._clock())

    async def _reap_for_ever(self) -> None:
        while True:
            self._wake.clear()
            delay = await self.reap()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._wake.wait()

    async def _flush_for_ever(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_EVERY)
            with contextlib.suppress(Unavailable):
                await self.flush()


def _encode(row: StreamRow | SessionRow | HoldRow) -> bytes:
    try:
        return _encoder.encode(row)
    except (OverflowError, RecursionError, TypeError, UnicodeEncodeError) as error:
        raise Invalid(f"this cannot be stored: {error}") from error
