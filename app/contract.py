"""Rows, events and messages of the console feed, shared by broker, client and models.

The broker's live state stores these very rows, the feed carries them, the console's store keeps them: one
definition for all. Times are seconds since the epoch on the **broker's** clock (float, UTC); ids are
canonical strings. Nothing here does I/O and nothing here imports another module of the project.

A new kind of object is one struct, its line in ``ROWS`` and its lines in ``KINDS``.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

PROTOCOL = 1
"""Version of the feed; a console and a broker with different numbers do not act on each other."""

STREAM_TTL = 30.0
SESSION_TTL = 30.0
HEARTBEAT_EVERY = 10.0
LATE_AFTER = 12.0
STALE_AFTER = 20.0
NEGOTIATION_TIMEOUT = 5.0
BEAT_EVERY = 1.0
FEED_STALE_AFTER = 3.0
GHOST_SECONDS = 60.0

BUILT_IN_TYPES = (
    "ndi", "audio", "video", "texture", "sensor", "osc", "midi", "data", "srt", "spout", "syphon",
)  # fmt: skip
PROTOCOLS = ("tcp", "udp", "ndi", "srt", "webrtc", "spout", "syphon", "shared_memory")


class Row(msgspec.Struct, kw_only=True):
    """Base of everything the store keeps by id."""

    id: str


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


class HealthRow(Row, kw_only=True):
    """State of one part of the broker; ``id`` is the part: nats, journal, history, disk, clock."""

    ok: bool
    since: float
    text: str = ""
    take_down: bool = False
    """True when no stream can be taken while this part is broken."""


class AuditRow(Row, kw_only=True):
    """One act of an operator, also a cancelled one."""

    at: float
    operator: str
    verb: str
    object: str
    object_id: str = ""
    dialect: str = "maestra"
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    result: str
    """``ok``, ``cancelled`` or the error code."""
    detail: str = ""
    milliseconds: float | None = None


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


ROWS: dict[str, type[Row]] = {
    "stream": StreamRow,
    "session": SessionRow,
    "hold": HoldRow,
    "preset": PresetRow,
    "type": TypeRow,
    "negotiation": NegotiationRow,
    "health": HealthRow,
}
"""Tables of a snapshot. Audit and history are asked for by page, not carried whole."""


class Beat(msgspec.Struct):
    """Change of ``*.beat``: the fields a heartbeat moves. ``last_heartbeat`` None: a hold's beat."""

    expires_at: float
    last_heartbeat: float | None = None


class Gone(msgspec.Struct):
    """Change of every removal: why, in one word and in words."""

    reason: str
    """``withdrawn``, ``expired``, ``stopped``, ``released``, ``deleted``, ``superseded``."""
    text: str = ""
    by: str = ""
    """The operator, where one did it."""


class StillSending(msgspec.Struct):
    """Change of ``session.still_sending``: a heartbeat came for a session that has ended."""

    ended_at: float


Op = Literal["put", "beat", "remove", "note"]

KINDS: dict[str, tuple[str, Op]] = {
    "stream.advertised": ("stream", "put"),
    "stream.beat": ("stream", "beat"),
    "stream.withdrawn": ("stream", "remove"),
    "stream.expired": ("stream", "remove"),
    "session.started": ("session", "put"),
    "session.beat": ("session", "beat"),
    "session.stopped": ("session", "remove"),
    "session.expired": ("session", "remove"),
    "session.still_sending": ("session", "note"),
    "hold.started": ("hold", "put"),
    "hold.ended": ("hold", "remove"),
    "preset.saved": ("preset", "put"),
    "preset.deleted": ("preset", "remove"),
    "type.created": ("type", "put"),
    "negotiation.started": ("negotiation", "put"),
    "negotiation.ended": ("negotiation", "put"),
    "negotiation.cleared": ("negotiation", "remove"),
    "health.changed": ("health", "put"),
    "audit.added": ("audit", "put"),
}
"""Every kind of event and what it does to which table: put = whole row, beat = ``Beat``, remove = ``Gone``."""


class Event(msgspec.Struct):
    """One numbered change. ``change`` is the struct that ``KINDS`` names; raw until someone wants it."""

    seq: int
    at: float
    kind: str
    id: str
    change: msgspec.Raw


class Hello(msgspec.Struct, tag="hello", tag_field="t"):
    """First message on the feed."""

    protocol: int
    broker: str
    version: str
    started_at: float
    read_only: bool = False


class Snapshot(msgspec.Struct, tag="snapshot", tag_field="t"):
    """One part of the whole state as of ``seq``; parts 1..``parts`` follow each other without diffs between."""

    seq: int
    at: float
    part: int
    parts: int
    rows: dict[str, list[msgspec.Raw]]


class Diff(msgspec.Struct, tag="diff", tag_field="t"):
    """Events in order, without a gap after the ``seq`` sent before."""

    at: float
    events: list[Event]


class Pulse(msgspec.Struct, tag="beat", tag_field="t"):
    """Sent each second: the broker's clock and the last number, so that a client sees age and gaps."""

    at: float
    seq: int


FeedMessage = Hello | Snapshot | Diff | Pulse
