"""What the broker says on NATS about streams and sessions (what the original says, plus one event for each expiry).

Listens to the event log and publishes, many events at once and none while the answer that caused them is under way;
nobody calls it. Payloads are JSON, times as in the API. The subjects are a fixed list, so that the access rules of the
NATS server can name them; a type's name is made safe before it becomes a token.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from app.contract import SessionRow, StreamRow
from app.logs import get_logger
from app.server.events import EventLog, Published
from app.server.storage.state import LiveState

log = get_logger("streams")

STREAM_HEARTBEATS = "maestra.stream.heartbeat.*"
SESSION_HEARTBEATS = "maestra.stream.session.heartbeat.*"
"""The only wildcards the broker subscribes to: a wider one would count as a responder to every negotiation."""

GATHER = 0.01
"""Seconds that events gather before they are said."""

_UNSAFE = re.compile(r"[^\w\-]", re.ASCII)


class Publisher(Protocol):
    """The side of the bus that is needed here."""

    def publish(self, subject: str, payload: bytes) -> None:
        """Send without waiting; never raises."""


def type_token(stream_type: str) -> str:
    """A stream type as one token of a subject: anything but letters, digits, ``_`` and ``-`` becomes ``_``."""
    return _UNSAFE.sub("_", stream_type)


def bridge_message(row: StreamRow, *, advertised: bool) -> tuple[str, bytes]:
    """Subject and payload for the MQTT bridge; a heartbeat repeats it without ``delivery_mode``."""
    message = {
        "id": row.id,
        "name": row.name,
        "stream_type": row.stream_type,
        "address": row.address,
        "port": row.port,
        "config": row.config,
    }
    if advertised:
        message["delivery_mode"] = "unicast"
    return f"maestra.to_mqtt.maestra.stream.advertise.{type_token(row.stream_type)}", msgspec.json.encode(message)


class Announcer:
    """Turns events into messages. ``stop`` ends it."""

    def __init__(self, state: LiveState, events: EventLog, bus: Publisher) -> None:
        self._state = state
        self._bus = bus
        self._gathered: list[Published] = []
        self._timer: asyncio.TimerHandle | None = None
        self._beats: dict[str, tuple[str, bytes]] = {}
        self._stream_of: dict[str, str] = {}
        self._handlers: dict[str, Callable[[Published], None]] = {
            "stream.advertised": self._advertised,
            "stream.beat": self._beat,
            "stream.withdrawn": self._withdrawn,
            "stream.expired": self._stream_expired,
            "session.started": self._started,
            "session.stopped": self._stopped,
            "session.expired": self._session_expired,
        }
        self._unsubscribe = events.subscribe(self._gather, *self._handlers)

    def adopt(self) -> None:
        """Learn which stream each restored session belongs to."""
        self._stream_of.update((session.id, session.stream_id) for session in self._state.sessions.values())

    def stop(self) -> None:
        """Say what has gathered, and nothing more."""
        self._unsubscribe()
        if self._timer is not None:
            self._timer.cancel()
            self._say()

    def _gather(self, event: Published) -> None:
        self._gathered.append(event)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER, self._say)

    def _say(self) -> None:
        self._timer = None
        events, self._gathered = self._gathered, []
        for event in events:
            try:
                self._handlers[event.kind](event)
            except Exception:
                log.exception("event was not announced", kind=event.kind, id=event.id, seq=event.seq)

    def _send(self, subject: str, message: dict[str, object]) -> None:
        self._bus.publish(subject, msgspec.json.encode(message))

    def _advertised(self, event: Published) -> None:
        row = event.change
        if not isinstance(row, StreamRow):
            return
        payload = msgspec.json.encode(
            {
                "type": "stream_advertised",
                "stream_id": row.id,
                "stream_type": row.stream_type,
                "publisher_id": row.publisher_id,
                "name": row.name,
                "timestamp": _time(row.advertised_at),
            }
        )
        self._bus.publish("maestra.stream.advertise", payload)
        self._bus.publish(f"maestra.stream.advertise.{type_token(row.stream_type)}", payload)
        self._bus.publish(*bridge_message(row, advertised=True))

    def _beat(self, event: Published) -> None:
        message = self._beats.get(event.id)
        if message is None:
            row = self._state.streams.get(event.id)
            if row is None:
                return
            message = self._beats[event.id] = bridge_message(row, advertised=False)
        self._bus.publish(*message)

    def _withdrawn(self, event: Published) -> None:
        self._beats.pop(event.id, None)
        message: dict[str, object] = {"type": "stream_withdrawn", "stream_id": event.id, "timestamp": _time(event.at)}
        self._send(f"maestra.stream.withdraw.{event.id}", message)

    def _stream_expired(self, event: Published) -> None:
        self._beats.pop(event.id, None)
        message: dict[str, object] = {"type": "stream_expired", "stream_id": event.id, "timestamp": _time(event.at)}
        self._send(f"maestra.stream.expired.{event.id}", message)

    def _started(self, event: Published) -> None:
        row = event.change
        if not isinstance(row, SessionRow):
            return
        self._stream_of[row.id] = row.stream_id
        message = {
            "type": "session_started",
            "session_id": row.id,
            "stream_id": row.stream_id,
            "stream_name": row.stream_name,
            "stream_type": row.stream_type,
            "publisher_id": row.publisher_id,
            "publisher_address": row.publisher_address,
            "publisher_port": str(row.publisher_port),
            "consumer_id": row.consumer_id,
            "consumer_address": row.consumer_address,
            "protocol": row.protocol,
            "transport_config": row.transport_config,
            "started_at": _time(row.started_at),
            "status": "active",
        }
        self._send("maestra.stream.session.started", message)

    def _stopped(self, event: Published) -> None:
        self._session_ended("maestra.stream.session.stopped", "session_stopped", event)

    def _session_expired(self, event: Published) -> None:
        self._session_ended(f"maestra.stream.session.expired.{event.id}", "session_expired", event)

    def _session_ended(self, subject: str, kind: str, event: Published) -> None:
        message: dict[str, object] = {
            "type": kind,
            "session_id": event.id,
            "stream_id": self._stream_of.pop(event.id, None),
            "timestamp": _time(event.at),
        }
        self._send(subject, message)


def _time(epoch: float) -> datetime:
    return datetime.fromtimestamp(epoch, UTC)
