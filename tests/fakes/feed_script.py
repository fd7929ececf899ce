"""The feed as a broker would send it, without a broker: rows with sensible defaults, messages with right numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from app.contract import (
    KINDS,
    AgentRow,
    Beat,
    DesktopRow,
    Diff,
    DrainRow,
    Event,
    Gone,
    HoldRow,
    NegotiationRow,
    PresetRow,
    Pulse,
    Row,
    SessionRow,
    Snapshot,
    StillSending,
    StreamRow,
    TemplateRow,
    ViewerRow,
)

START = 1_800_000_000.0
TABLES = {
    StreamRow: "stream",
    SessionRow: "session",
    HoldRow: "hold",
    PresetRow: "preset",
    NegotiationRow: "negotiation",
    AgentRow: "agent",
    DesktopRow: "desktop",
    ViewerRow: "viewer",
    DrainRow: "drain",
    TemplateRow: "template",
}
_encoder = msgspec.json.Encoder()


def raw(value: Any) -> msgspec.Raw:
    """``value`` as it arrives."""
    return msgspec.Raw(_encoder.encode(value))


def stream(row_id: str, name: str = "", **fields: Any) -> StreamRow:
    """A live stream that was heard at ``START``."""
    values: dict[str, Any] = {
        "name": name or row_id,
        "stream_type": "ndi",
        "publisher_id": "pub-1",
        "protocol": "ndi",
        "address": "10.0.0.5",
        "port": 5960,
        "advertised_at": START,
        "last_heartbeat": START,
        "expires_at": START + 30,
    }
    return StreamRow(id=row_id, **(values | fields))


def session(row_id: str, stream_id: str, consumer_id: str = "wall", **fields: Any) -> SessionRow:
    """A session of ``stream_id`` that began at ``START``."""
    values: dict[str, Any] = {
        "stream_name": stream_id,
        "stream_type": "ndi",
        "publisher_id": "pub-1",
        "publisher_address": "10.0.0.5",
        "publisher_port": 5960,
        "consumer_id": consumer_id,
        "consumer_address": "10.0.1.9",
        "protocol": "ndi",
        "started_at": START,
        "expires_at": START + 30,
    }
    return SessionRow(id=row_id, stream_id=stream_id, **(values | fields))


def preset(row_id: str, consumer_id: str = "wall", **fields: Any) -> PresetRow:
    """A preset whose consumer is that of ``session``."""
    return PresetRow(id=row_id, consumer_id=consumer_id, **({"name": row_id, "consumer_address": "10.0.1.9"} | fields))


def hold(row_id: str, of: SessionRow, preset_id: str | None = None) -> HoldRow:
    """A hold of a session."""
    return HoldRow(
        id=row_id, session_id=of.id, stream_id=of.stream_id, operator="Kim", preset_id=preset_id, since=START
    )


def negotiation(row_id: str, stream_id: str, **fields: Any) -> NegotiationRow:
    """A negotiation that runs."""
    values = {"stream_name": stream_id, "consumer_id": "wall", "started_at": START, "deadline": START + 5}
    return NegotiationRow(id=row_id, stream_id=stream_id, **(values | fields))


def agent(row_id: str = "rack-1", **fields: Any) -> AgentRow:
    """A connected local agent that was heard at ``START``."""
    values: dict[str, Any] = {
        "uuid": f"uuid-{row_id}",
        "platform": "local",
        "status": "online",
        "max_sessions": 10,
        "last_heartbeat": START,
        "registered_at": START,
        "created_at": START,
        "updated_at": START,
    }
    return AgentRow(id=row_id, **(values | fields))


def desktop(row_id: str = "desk", **fields: Any) -> DesktopRow:
    """A desktop that has run on ``rack-1`` since ``START``."""
    values: dict[str, Any] = {
        "name": f"ann-xterm-{row_id}",
        "user": "ann",
        "template": "xterm",
        "platform": "local",
        "agent_id": "rack-1",
        "state": "running",
        "phase": "Running",
        "started_at": START,
        "created_at": START,
        "updated_at": START,
    }
    return DesktopRow(id=row_id, **(values | fields))


def viewer(row_id: str, session_id: str = "desk", **fields: Any) -> ViewerRow:
    """Somebody who looks at ``desk`` since ``START``."""
    values: dict[str, Any] = {
        "session_name": f"ann-xterm-{session_id}",
        "agent_id": "rack-1",
        "user": "ann",
        "mode": "control",
        "since": START,
        "open": True,
    }
    return ViewerRow(id=row_id, session_id=session_id, **(values | fields))


def drain(row_id: str = "rack-1", **fields: Any) -> DrainRow:
    """A drain of an agent that began at ``START`` with twelve sessions."""
    return DrainRow(id=row_id, **({"operator": "kim", "since": START, "initial": 12, "left": 12} | fields))


def template(name: str = "xterm", **fields: Any) -> TemplateRow:
    """A template with a command and no image."""
    values: dict[str, Any] = {"display_name": name, "command": [name], "created_at": START, "updated_at": START}
    return TemplateRow(id=f"template-{name}", name=name, **(values | fields))


class FeedScript:
    """Counts events as the broker does. ``at`` is the broker's clock."""

    def __init__(self, at: float = START) -> None:
        self.seq = 0
        self.at = at

    def snapshot(self, rows: Iterable[Row] = (), *, size: int = 1000) -> list[Snapshot]:
        """The whole state in parts of ``size`` rows."""
        everything = list(rows)
        parts = [everything[first : first + size] for first in range(0, len(everything), size)]
        messages = []
        for number, part in enumerate(parts or [()], 1):
            tables: dict[str, list[msgspec.Raw]] = {}
            for row in part:
                tables.setdefault(TABLES[type(row)], []).append(raw(row))
            messages.append(Snapshot(seq=self.seq, at=self.at, part=number, parts=max(1, len(parts)), rows=tables))
        return messages

    def event(self, kind: str, row_id: str, change: Any) -> Event:
        """The next event."""
        assert kind in KINDS
        self.seq += 1
        return Event(seq=self.seq, at=self.at, kind=kind, id=row_id, change=raw(change))

    def diff(self, *events: Event) -> Diff:
        """A batch."""
        return Diff(at=self.at, events=list(events))

    def put(self, kind: str, row: Row) -> Diff:
        """A batch of one whole row."""
        return self.diff(self.event(kind, row.id, row))

    def beat(self, kind: str, row_id: str, *, by_hold: bool = False) -> Diff:
        """A batch of one heartbeat, now."""
        change = Beat(expires_at=self.at + 30, last_heartbeat=None if by_hold else self.at)
        return self.diff(self.event(kind, row_id, change))

    def gone(self, kind: str, row_id: str, reason: str, *, by: str = "") -> Diff:
        """A batch of one removal."""
        return self.diff(self.event(kind, row_id, Gone(reason=reason, by=by)))

    def still_sending(self, row_id: str) -> Diff:
        """A batch of one heartbeat for a session that has ended."""
        return self.diff(self.event("session.still_sending", row_id, StillSending(ended_at=self.at)))

    def pulse(self) -> Pulse:
        """The beat of the feed."""
        return Pulse(at=self.at, seq=self.seq)
