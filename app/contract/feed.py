"""What the feed carries: which tables and kinds of events there are, and the messages themselves."""

from __future__ import annotations

from typing import Literal

import msgspec

from app.contract.fleet import (
    AgentBeat,
    AgentRow,
    DesktopBeat,
    DesktopRow,
    DrainRow,
    TemplateRow,
    ViewerBeat,
    ViewerRow,
)
from app.contract.rows import HealthRow, Row
from app.contract.streams import HoldRow, NegotiationRow, PresetRow, SessionRow, StreamRow, TypeRow

PROTOCOL = 2
"""Version of the feed; a console and a broker with different numbers do not act on each other."""

BEAT_EVERY = 1.0
FEED_STALE_AFTER = 3.0

ROWS: dict[str, type[Row]] = {
    "stream": StreamRow,
    "session": SessionRow,
    "hold": HoldRow,
    "preset": PresetRow,
    "type": TypeRow,
    "negotiation": NegotiationRow,
    "agent": AgentRow,
    "desktop": DesktopRow,
    "viewer": ViewerRow,
    "drain": DrainRow,
    "template": TemplateRow,
    "health": HealthRow,
}
"""Tables of a snapshot. Audit and history are asked for by page, not carried whole."""

Op = Literal["put", "beat", "patch", "remove", "note"]

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
    "agent.changed": ("agent", "put"),
    "agent.beat": ("agent", "patch"),
    "agent.removed": ("agent", "remove"),
    "desktop.changed": ("desktop", "put"),
    "desktop.beat": ("desktop", "patch"),
    "desktop.removed": ("desktop", "remove"),
    "viewer.opened": ("viewer", "put"),
    "viewer.beat": ("viewer", "patch"),
    "viewer.closed": ("viewer", "remove"),
    "drain.changed": ("drain", "put"),
    "drain.ended": ("drain", "remove"),
    "template.saved": ("template", "put"),
    "template.deleted": ("template", "remove"),
    "health.changed": ("health", "put"),
    "audit.added": ("audit", "put"),
}
"""Every kind of event and what it does to which table: put = whole row, beat = ``Beat``, remove = ``Gone``,
patch = the struct of ``PATCHES``, whose fields replace the row's of the same name."""

PATCHES: dict[str, type[msgspec.Struct]] = {
    "agent.beat": AgentBeat,
    "desktop.beat": DesktopBeat,
    "viewer.beat": ViewerBeat,
}


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
