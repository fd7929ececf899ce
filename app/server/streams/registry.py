"""The registry of streams and sessions: what dialects and console routes call.

Rules only: rows live in ``LiveState``, messages go through ``Bus``, the board learns everything from the event log.
Raises the tree of ``app/errors.py`` and nothing else. Serves the seed 000 (Maestra Streams API).
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from app.contract import (
    NEGOTIATION_TIMEOUT,
    HistoryRow,
    HoldRow,
    Outcome,
    Row,
    SessionRow,
    StreamRow,
)
from app.errors import CallboardError, Expired, NoAnswer, TooLarge, Unavailable
from app.server.bus.nats import Bus
from app.server.events import EventLog
from app.server.storage.database import Database, HistoryQuery
from app.server.storage.history import HistoryMover
from app.server.storage.state import LiveState, Removed
from app.server.streams.announcer import SESSION_HEARTBEATS, STREAM_HEARTBEATS, Announcer
from app.server.streams.endings import Endings
from app.server.streams.holds import Holder
from app.server.streams.negotiation import (
    Accepted,
    ConsumerRequest,
    Negotiations,
    read_reply,
    request_payload,
    request_subject,
)
from app.server.streams.types import StreamTypes
from app.server.tasks import TaskTree

STREAM_GONE = "Stream not found or expired"
SESSION_GONE = "Session not found or expired"
_BUS_CODES = ("no_responders", "bus_away")
_OUTCOMES: dict[str, Outcome] = {
    "rejected": "rejected",
    "bad_reply": "bad_reply",
    "no_answer": "no_answer",
    "no_responders": "no_responders",
    "bus_away": "bus_away",
    "expired": "gone",
}
MAX_PAYLOAD = 1024 * 1024
"""What nats-server carries in one message unless it is told otherwise."""
HISTORY_WAIT = 3.0
"""Seconds that a query of the history waits for what was answered before it."""


class Streams:
    """One per broker. Made before the live state is opened, so that what ran out while the broker was down is announced;
    ``start`` after that, ``stop`` before the live state is closed."""

    def __init__(
        self,
        *,
        state: LiveState,
        events: EventLog,
        bus: Bus,
        database: Database,
        history: HistoryMover,
        tasks: TaskTree,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.state = state
        self.events = events
        self.types = StreamTypes(database, events, clock)
        self.negotiations = Negotiations(events, clock)
        self._bus = bus
        self._database = database
        self._history = history
        self._tasks = tasks
        self._clock = clock
        self._node = tasks.group("streams")
        self.holds = Holder(state, events, tasks, self._node, clock=clock)
        self.endings = Endings(events)
        self._announcer = Announcer(state, events, bus)
        self._stops: list[Callable[[], None]] = [self.endings.stop, self._announcer.stop]

    async def start(self) -> None:
        """Load types, beat restored holds, announce, listen for heartbeats on NATS."""
        await self.types.try_load()
        self._announcer.adopt()
        self._stops.append(self.holds.start())
        self._tasks.spawn("negotiations", self.negotiations.sweep, parent=self._node, restart="on_failure")
        await self._bus.subscribe(STREAM_HEARTBEATS, self._on_stream_heartbeat)
        await self._bus.subscribe(SESSION_HEARTBEATS, self._on_session_heartbeat)

    async def stop(self) -> None:
        """Stop listening; the task nodes end with the tree."""
        for stop in self._stops:
            stop()
        self._stops.clear()

    def snapshot(self) -> dict[str, list[Row]]:
        """Rows of this domain for the feed, by table."""
        return {
            "stream": list(self.state.streams.values()),
            "session": list(self.state.sessions.values()),
            "hold": list(self.state.holds.values()),
            "negotiation": list(self.negotiations.rows.values()),
            "type": list(self.types.rows.values()),
        }

    def stream(self, stream_id: str) -> StreamRow:
        """A live stream; raises ``Expired``."""
        row = self.state.streams.get(stream_id)
        if row is None:
            raise Expired(STREAM_GONE)
        return row

    def active_sessions(self, stream_id: str) -> int:
        """Live sessions of a stream (D6: those alone)."""
        return sum(1 for _ in self.state.sessions_of(stream_id))

    async def advertise(
        self,
        *,
        name: str,
        stream_type: str,
        publisher_id: str,
        protocol: str,
        address: str,
        port: int,
        entity_id: str | None = None,
        device_id: str | None = None,
        config: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> StreamRow:
        """A new stream under a new id, also for a publisher and name that are there already."""
        now = self._clock()
        return await self.state.advertise(
            StreamRow(
                id=str(uuid.uuid4()),
                name=name,
                stream_type=stream_type,
                publisher_id=publisher_id,
                protocol=protocol,
                address=address,
                port=port,
                entity_id=entity_id,
                device_id=device_id,
                config=config or {},
                metadata=metadata or {},
                advertised_at=now,
                last_heartbeat=now,
                expires_at=now,
            )
        )

    async def heartbeat(self, stream_id: str) -> None:
        """A fresh TTL; raises ``Expired``."""
        if await self.state.heartbeat_stream(stream_id) is None:
            raise Expired(STREAM_GONE)

    async def heartbeat_session(self, session_id: str) -> None:
        """A fresh TTL; raises ``Expired``, and the board learns that somebody still beats."""
        if await self.state.heartbeat_session(session_id) is None:
            self.endings.heard(session_id)
            raise Expired(SESSION_GONE)

    async def withdraw(self, stream_id: str, *, by: str = "") -> Removed:
        """Remove a stream with its sessions and holds (D5); raises ``Expired``."""
        removed = await self.state.withdraw(stream_id, by=by)
        if removed is None:
            raise Expired(STREAM_GONE)
        return removed

    async def stop_session(self, session_id: str, *, by: str = "", replaced: bool = False) -> SessionRow:
        """End a session, ``replaced`` when another has its place; raises ``Expired``."""
        row = await self.state.close_session(session_id, reason="superseded" if replaced else "stopped", by=by)
        if row is None:
            raise Expired(SESSION_GONE)
        return row

    async def request(self, stream_id: str, wanted: ConsumerRequest) -> SessionRow:
        """Ask the publisher and open the session it accepts.

        Raises ``Expired`` (unknown stream, or one that went away while its publisher was asked), ``Rejected``,
        ``NoAnswer``, ``Unavailable`` (codes ``no_responders`` and ``bus_away``: the bus; else the storage).
        """
        stream = self.stream(stream_id)
        begun = time.perf_counter()
        payload = request_payload(stream.id, wanted, self._clock())
        if len(payload) > MAX_PAYLOAD:
            raise TooLarge("The request is larger than NATS carries: 1 MiB with its envelope")
        question = self._bus.request(request_subject(stream.id), payload, NEGOTIATION_TIMEOUT)
        # From here to the first await the publisher is at work, and nobody waits for us.
        row = self.negotiations.begin(stream, wanted.consumer_id)
        session_id = str(uuid.uuid4())
        outcome: Outcome = "failed"
        detail = "interrupted"
        session: SessionRow | None = None
        try:
            answer = read_reply(await _answer_to(question), stream)
            session = await self.state.open_session(self._session(session_id, stream, wanted, answer))
            outcome, detail = "offer", ""
        except CallboardError as exc:
            outcome, detail = _OUTCOMES.get(exc.code, "failed"), exc.message
            raise
        finally:
            milliseconds = (time.perf_counter() - begun) * 1000
            end = partial(self.negotiations.end, row, outcome, milliseconds=milliseconds, detail=detail)
            if session is None:
                end()
            else:  # told before another request is read, but not before the answer to this one is on its way
                asyncio.get_running_loop().call_soon(partial(end, session_id=session_id))
        return session

    def _session(self, session_id: str, stream: StreamRow, wanted: ConsumerRequest, answer: Accepted) -> SessionRow:
        now = self._clock()
        return SessionRow(
            id=session_id,
            stream_id=stream.id,
            stream_name=stream.name,
            stream_type=stream.stream_type,
            publisher_id=stream.publisher_id,
            publisher_address=answer.address,
            publisher_port=answer.port,
            consumer_id=wanted.consumer_id,
            consumer_address=wanted.consumer_address,
            consumer_port=wanted.consumer_port,
            protocol=answer.protocol,
            transport_config=answer.transport_config,
            config=wanted.config,
            started_at=now,
            expires_at=now,
        )

    async def hold(self, session_id: str, operator: str, preset_id: str | None = None) -> HoldRow:
        """Beat a session from here on; see ``Holder.hold``."""
        return await self.holds.hold(session_id, operator, preset_id)

    async def release(self, hold_id: str, *, by: str = "") -> HoldRow:
        """End a hold; see ``Holder.release``."""
        return await self.holds.release(hold_id, by=by)

    async def history(self, query: HistoryQuery) -> list[HistoryRow]:
        """Sessions past and present, newest first, with everything answered before this call."""
        if not await self._history.caught_up(HISTORY_WAIT):
            raise Unavailable("The history is catching up; what was answered last is not in it yet")
        return await self._database.history(query)

    async def _on_stream_heartbeat(self, subject: str, _payload: bytes) -> None:
        await self.state.heartbeat_stream(subject.rpartition(".")[2])

    async def _on_session_heartbeat(self, subject: str, _payload: bytes) -> None:
        session_id = subject.rpartition(".")[2]
        if await self.state.heartbeat_session(session_id) is None:
            self.endings.heard(session_id)


async def _answer_to(question: Awaitable[bytes]) -> bytes:
    """What the publisher says; the bus's failures in the words of the seed."""
    try:
        return await question
    except NoAnswer as exc:
        raise NoAnswer(f"Publisher did not respond within {NEGOTIATION_TIMEOUT:g} seconds") from exc
    except Unavailable as exc:
        if exc.code == "no_responders":
            text = "NATS request failed: nats: no responders available for request"
        else:
            text = f"NATS request failed: {exc.message.removeprefix('NATS request failed: ')}"
        code = exc.code if exc.code in _BUS_CODES else "bus_away"
        raise Unavailable(text, code=code) from exc
