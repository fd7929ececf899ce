"""Rows of the streams domain: streams, sessions, holds, presets, types, negotiations and the history."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from app.contract.rows import Row

STREAM_TTL = 30.0
SESSION_TTL = 30.0
HEARTBEAT_EVERY = 10.0
LATE_AFTER = 12.0
STALE_AFTER = 20.0
NEGOTIATION_TIMEOUT = 5.0

BUILT_IN_TYPES = (
    "ndi", "audio", "video", "texture", "sensor", "osc", "midi", "data", "srt", "spout", "syphon",
)  # fmt: skip
PROTOCOLS = ("tcp", "udp", "ndi", "srt", "webrtc", "spout", "syphon", "shared_memory")


class StreamRow(Row, kw_only=True):
    """An advertised stream; ``confirmed`` is False after a broker restart until its first heartbeat."""

    name: str
    stream_type: str
    publisher_id: str
    protocol: str
    address: str
    port: int
    entity_id: str | None = None
    device_id: str | None = None
    config: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    advertised_at: float
    last_heartbeat: float
    expires_at: float
    confirmed: bool = True


class SessionRow(Row, kw_only=True):
    """One consumer's session of one stream.

    ``last_heartbeat`` is the last one from *outside* (None: never); beats of a hold move ``expires_at``
    alone, so the board never claims that a consumer is alive because Callboard holds its session.
    ``config`` is what the consumer asked for, ``transport_config`` what the publisher answered.
    """

    stream_id: str
    stream_name: str
    stream_type: str
    publisher_id: str
    publisher_address: str
    publisher_port: int
    consumer_id: str
    consumer_address: str
    consumer_port: int | None = None
    protocol: str
    transport_config: dict[str, Any] = {}
    config: dict[str, Any] = {}
    started_at: float
    expires_at: float
    last_heartbeat: float | None = None
    confirmed: bool = True


class HoldRow(Row, kw_only=True):
    """Callboard beats session ``session_id`` on behalf of a consumer that does not."""

    session_id: str
    stream_id: str
    operator: str
    preset_id: str | None = None
    since: float


class PresetRow(Row, kw_only=True):
    """A consumer that operators take streams to."""

    name: str
    consumer_id: str
    consumer_address: str
    consumer_port: int | None = None
    config: dict[str, Any] = {}
    mode: Literal["replace", "add"] = "replace"
    held_by: Literal["console", "consumer"] = "console"
    default: bool = False


class TypeRow(Row, kw_only=True):
    """A stream type, built in or created; ``built_in`` rows cannot be created again."""

    name: str
    display_name: str
    description: str | None = None
    icon: str | None = None
    default_config: dict[str, Any] = {}
    metadata: dict[str, Any] = {}
    created_at: float
    updated_at: float
    built_in: bool = False


Outcome = Literal["offer", "rejected", "no_answer", "no_responders", "bad_reply", "bus_away", "gone", "failed"]


class NegotiationRow(Row, kw_only=True):
    """A negotiation that is running (``outcome`` None) or, for ``GHOST_SECONDS``, how it ended."""

    stream_id: str
    stream_name: str
    consumer_id: str
    started_at: float
    deadline: float
    outcome: Outcome | None = None
    detail: str = ""
    milliseconds: float | None = None
    session_id: str | None = None


class HistoryRow(Row, kw_only=True):
    """One stream session, past or present; ``id`` is the session id, ``time`` when it began."""

    time: float
    stream_id: str
    stream_name: str
    stream_type: str
    publisher_id: str
    publisher_address: str = ""
    consumer_id: str
    consumer_address: str = ""
    protocol: str
    status: str = "active"
    """``active``, ``stopped`` (by request), ``withdrawn`` (with its stream) or ``expired``."""
    ended_at: float | None = None
    duration_seconds: float | None = None
    bytes_transferred: int = 0
    error_message: str | None = None


class Beat(msgspec.Struct):
    """Change of ``*.beat``: the fields a heartbeat moves. ``last_heartbeat`` None: a hold's beat."""

    expires_at: float
    last_heartbeat: float | None = None


class StillSending(msgspec.Struct):
    """Change of ``session.still_sending``: a heartbeat came for a session that has ended."""

    ended_at: float
