"""The venue on the pictures: rows as a broker would send them, at a moment that never passes.

Used by ``shots.py`` and the tests of the pages. Everything goes through ``Store.receive`` as feed messages, so a
picture shows what the console makes of them and nothing painted for the occasion. No Qt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from app.contract import (
    BUILT_IN_TYPES,
    PROTOCOL,
    ROWS,
    STREAM_TTL,
    Beat,
    Diff,
    Event,
    Gone,
    HealthRow,
    Hello,
    HoldRow,
    NegotiationRow,
    PresetRow,
    Pulse,
    Row,
    SessionRow,
    Snapshot,
    StreamRow,
    TypeRow,
)
from app.models.store import Store

NOW = 1_773_519_247.0
"""14 March 2026, 20:14:07 UTC: the second act has just begun."""
DAY = 86400.0
FHD = {"codec": "h264", "resolution": "1920x1080", "fps": 50}
UHD = {"codec": "hevc", "resolution": "3840x2160", "fps": 50}

STREAMS: tuple[tuple[str, str, str, str, str, int, dict[str, Any], float, float, dict[str, Any]], ...] = (
    ("Cam 1 stage left", "ndi", "cam-1", "ndi", "10.0.40.21", 5961, FHD, 3.1, 9240, {"tags": ["stage", "cam"]}),
    ("Cam 2 stage right", "ndi", "cam-2", "ndi", "10.0.40.22", 5961, FHD, 6.4, 9238, {"tags": ["stage", "cam"]}),
    ("Cam 3 fly tower", "ndi", "cam-3", "ndi", "10.0.40.23", 5961, FHD, 23.7, 9235, {"tags": ["fly", "cam"]}),
    ("Conductor", "srt", "pit-encoder", "srt", "10.0.40.30", 9710, {**FHD, "latency_ms": 80}, 1.2, 9100, {"tags": ["pit"]}),
    ("Front of house wide", "srt", "foh-encoder", "srt", "10.0.40.31", 9710, UHD, 8.0, 9080, {"tags": ["foh"]}),
    ("Media server A", "texture", "td-a", "shared_memory", "127.0.0.1", 0, {"format": "rgba8", "width": 7680, "height": 1080, "fps": 60}, 4.9, 8800, {"tags": ["media"]}),
    ("Media server B", "spout", "td-b", "spout", "10.0.40.12", 0, {"format": "rgba8", "width": 3840, "height": 2160, "fps": 60}, 9.6, 8796, {"tags": ["media", "backup"]}),
    ("Stage stems", "audio", "stagebox-1", "udp", "239.40.0.8", 5004, {"sample_rate": 48000, "channels": 8, "format": "float32"}, 2.2, 9300, {"tags": ["sound"]}),
    ("Show control", "osc", "qlab-main", "udp", "10.0.40.5", 53000, {"rate_hz": 60}, 5.5, 9400, {"tags": ["cue"]}),
    ("Tracking downstage", "sensor", "lidar-ds", "udp", "10.0.40.61", 7400, {"rate_hz": 40, "format": "json"}, 13.4, 7400, {"tags": ["tracking"]}),
    ("Surtitles", "data", "titles", "tcp", "10.0.40.8", 7001, {"format": "json"}, 7.3, 6200, {"tags": ["titles"]}),
    ("Keys MIDI", "midi", "pit-keys", "udp", "10.0.40.33", 5008, {"channels": 2}, 0.6, 640, {"tags": ["pit", "sound"]}),
)  # fmt: skip
"""Name, type, publisher, protocol, address, port, config, seconds since heartbeat, seconds since advertised, metadata."""

PRESETS = (
    PresetRow(id="preset-1", name="Main wall", consumer_id="wall-main", consumer_address="10.0.40.50", consumer_port=5000, config={"resolution": "1080p50"}, default=True),
    PresetRow(id="preset-2", name="Conductor monitor", consumer_id="mon-conductor", consumer_address="10.0.40.71"),
    PresetRow(id="preset-3", name="Broadcast truck", consumer_id="truck-1", consumer_address="10.0.90.10", consumer_port=9000, mode="add", held_by="consumer"),
    PresetRow(id="preset-4", name="Recorder A", consumer_id="rec-a", consumer_address="10.0.40.80", mode="add"),
)  # fmt: skip

SESSIONS: tuple[tuple[int, str, str, float, float | None, str | None], ...] = (
    (0, "wall-main", "10.0.40.50", 1325, None, "preset-1"),
    (3, "mon-conductor", "10.0.40.71", 8900, None, "preset-2"),
    (3, "rec-a", "10.0.40.80", 4120, 2.0, "preset-4"),
    (4, "truck-1", "10.0.90.10", 5040, 6.1, None),
    (4, "rec-a", "10.0.40.80", 4118, None, "preset-4"),
    (7, "truck-1", "10.0.90.10", 5038, 6.3, None),
    (7, "rec-a", "10.0.40.80", 4110, None, "preset-4"),
    (9, "td-a", "10.0.40.11", 7200, 14.8, None),
    (10, "led-side", "10.0.40.52", 6100, 4.4, None),
)
"""Stream number, consumer, address, seconds since it began, seconds since the consumer was heard, preset that holds it."""


def stream_id(number: int) -> str:
    """A canonical id that is the same on every picture."""
    return f"5f0c{number:04x}-41d2-4c6a-9b1e-7a2f3c{number:06x}"


def session_id(number: int) -> str:
    """The same for sessions."""
    return f"a81e{number:04x}-93b7-4f0d-8c55-d04e91{number:06x}"


def stream_rows() -> list[StreamRow]:
    """The twelve streams of the house."""
    rows = []
    for number, (name, kind, publisher, protocol, address, port, config, beat, since, metadata) in enumerate(STREAMS):
        rows.append(
            StreamRow(
                id=stream_id(number), name=name, stream_type=kind, publisher_id=publisher, protocol=protocol,
                address=address, port=port, config=config, metadata=metadata, advertised_at=NOW - since,
                last_heartbeat=NOW - beat, expires_at=NOW - beat + STREAM_TTL,
            )
        )  # fmt: skip
    return rows


def session_rows(streams: Sequence[StreamRow]) -> tuple[list[SessionRow], list[HoldRow]]:
    """Sessions and the holds of those that Callboard beats."""
    sessions, holds = [], []
    for number, (index, consumer, address, since, heard, preset) in enumerate(SESSIONS):
        stream = streams[index]
        row = session_row(number, stream, consumer, address, NOW - since, None if heard is None else NOW - heard)
        sessions.append(row)
        if preset is not None:
            hold = HoldRow(
                id=f"hold-{number}", session_id=row.id, stream_id=stream.id, operator="kim", preset_id=preset,
                since=row.started_at,
            )  # fmt: skip
            holds.append(hold)
    return sessions, holds


def session_row(
    number: int, stream: StreamRow, consumer: str, address: str, started_at: float, heard: float | None = None
) -> SessionRow:
    """One session of ``stream``."""
    number_of = {preset.consumer_id: preset.consumer_port for preset in PRESETS}
    transport = {"latency_ms": 120, "streamid": f"live/{consumer}"} if stream.protocol == "srt" else {}
    return SessionRow(
        id=session_id(number), stream_id=stream.id, stream_name=stream.name, stream_type=stream.stream_type,
        publisher_id=stream.publisher_id, publisher_address=stream.address, publisher_port=stream.port,
        consumer_id=consumer, consumer_address=address, consumer_port=number_of.get(consumer), protocol=stream.protocol, transport_config=transport,
        started_at=started_at, expires_at=(heard or NOW - 4.0) + 30.0, last_heartbeat=heard,
    )  # fmt: skip


def type_rows() -> list[TypeRow]:
    """The built-in types and one of the house."""
    rows = [
        TypeRow(
            id=f"type-{name}", name=name, display_name=name.upper() if len(name) < 5 else name.capitalize(),
            description=ABOUT_TYPES.get(name), created_at=NOW - 200 * DAY, updated_at=NOW - 200 * DAY,
            default_config=TYPE_CONFIGS.get(name, {}), built_in=True,
        )
        for name in BUILT_IN_TYPES
    ]  # fmt: skip
    house = TypeRow(
        id="type-lidar", name="lidar", display_name="LiDAR point cloud", description="Downstage tracking scanners",
        default_config={"rate_hz": 20}, created_at=NOW - 3 * DAY, updated_at=NOW - 3 * DAY,
    )  # fmt: skip
    return [*rows, house]


ABOUT_TYPES = {
    "ndi": "NDI video stream", "audio": "Audio samples", "video": "Video frames", "texture": "GPU texture sharing",
    "sensor": "Sensor readings", "osc": "Open Sound Control", "midi": "MIDI events", "data": "Generic data",
    "srt": "Secure Reliable Transport", "spout": "Texture sharing on Windows", "syphon": "Texture sharing on macOS",
}  # fmt: skip
TYPE_CONFIGS: dict[str, dict[str, Any]] = {
    "audio": {"sample_rate": 48000, "channels": 2, "format": "float32"}, "srt": {"latency_ms": 120},
    "sensor": {"rate_hz": 60, "format": "json"}, "osc": {"rate_hz": 60}, "texture": {"format": "rgba8", "width": 1920, "height": 1080},
}  # fmt: skip


def health_rows() -> list[HealthRow]:
    """Every part works."""
    return [HealthRow(id=part, ok=True, since=NOW - 9500) for part in ("nats", "journal", "history", "disk", "clock")]


def many_streams(count: int) -> list[StreamRow]:
    """A house of ``count`` streams: the twelve, numbered through."""
    rows = []
    pattern = stream_rows()
    for number in range(count):
        one = pattern[number % len(pattern)]
        beat = (number * 37 % 110) / 10 if number % 97 else 24.0
        rows.append(
            msgspec.structs.replace(
                one, id=stream_id(number), name=f"{one.name} {number // len(pattern) + 1}",
                publisher_id=f"{one.publisher_id}-{number // len(pattern) + 1}",
                address=f"10.{40 + number // 65536}.{number // 256 % 256}.{number % 256}",
                last_heartbeat=NOW - beat, expires_at=NOW - beat + STREAM_TTL, advertised_at=NOW - 60 - number,
            )
        )  # fmt: skip
    return rows


class Venue:
    """Feeds a ``Store``: a snapshot first, then numbered events."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.seq = 1000
        self.streams: list[StreamRow] = []
        self.sessions: list[SessionRow] = []

    def open(
        self,
        streams: Sequence[StreamRow] | None = None,
        *,
        sessions: bool = True,
        fleet: dict[str, list[Row]] | None = None,
    ) -> None:
        """Hello and snapshot of the whole house, or of ``streams`` alone; ``fleet`` are rows of ``shot_fleet``."""
        self.streams = list(stream_rows() if streams is None else streams)
        holds: list[HoldRow] = []
        if sessions and self.streams:
            self.sessions, holds = session_rows(self.streams)
        store = self.store
        store.set_link("live", NOW - 9490)
        store.receive(Hello(protocol=PROTOCOL, broker="Grand Theatre", version="0.1.0", started_at=NOW - 9500))
        rows: dict[str, list[Row]] = {
            "stream": [*self.streams], "session": [*self.sessions], "hold": [*holds],
            "preset": [*PRESETS] if self.streams else [], "type": [*type_rows()], "health": [*health_rows()],
        }  # fmt: skip
        rows.update(fleet or {})
        for part in snapshot_parts(rows, self.seq):
            store.receive(part)
        self.beat()

    def beat(self) -> None:
        """The second's pulse."""
        self.store.receive(Pulse(at=NOW, seq=self.seq))

    def event(self, kind: str, row_id: str, change: Any, *, at: float = NOW) -> None:
        """One numbered change; its batch is stamped now, whatever ``at`` it happened."""
        self.seq += 1
        raw = msgspec.Raw(msgspec.json.encode(change))
        self.store.receive(Diff(at=NOW, events=[Event(seq=self.seq, at=at, kind=kind, id=row_id, change=raw)]))

    def history_of_beats(self, beats: int = 20) -> None:
        """Heartbeats of the last minutes, each publisher with its own regularity; ends where the snapshot stands."""
        for number, stream in enumerate(self.streams):
            waver = (0.2, 0.4, 3.5, 0.1, 0.8, 0.3, 2.0, 0.2, 0.5, 2.8, 0.6, 0.3)[number % 12]
            at = stream.last_heartbeat - beats * 10.0
            for step in range(beats + 1):
                shake = 0.0 if step == beats else waver * ((step * 7 + number * 3) % 11 - 5) / 5
                heard = at + step * 10.0 + shake
                self.event("stream.beat", stream.id, Beat(expires_at=heard + STREAM_TTL, last_heartbeat=heard))
                if step == 0:  # the way back from the snapshot is no interval
                    self.store.beats.forget(stream.id)

    def negotiate(self, number: int, consumer: str, *, ran: float = 1.8, **ended: Any) -> NegotiationRow:
        """A negotiation that runs since ``ran`` seconds, or ended with ``outcome``, ``detail`` …"""
        stream = self.streams[number]
        row = NegotiationRow(
            id=f"negotiation-{self.seq}", stream_id=stream.id, stream_name=stream.name, consumer_id=consumer,
            started_at=NOW - ran, deadline=NOW - ran + 5.0, **ended,
        )  # fmt: skip
        self.event("negotiation.ended" if ended else "negotiation.started", row.id, row)
        return row

    def withdraw(self, number: int, by: str, *, ago: float = 12.0) -> None:
        """A stream is withdrawn with its sessions."""
        gone = Gone(reason="withdrawn", by=by)
        for session in [one for one in self.sessions if one.stream_id == self.streams[number].id]:
            self.event("session.stopped", session.id, gone, at=NOW - ago)
        self.event("stream.withdrawn", self.streams[number].id, gone, at=NOW - ago)

    def expire(self, number: int, *, ago: float = 21.0) -> None:
        """A stream's TTL runs out; its sessions live on."""
        self.event("stream.expired", self.streams[number].id, Gone(reason="expired"), at=NOW - ago)

    def break_part(self, part: str, text: str, *, take_down: bool = False, ago: float = 48.0) -> None:
        """A part of the broker fails."""
        row = HealthRow(id=part, ok=False, since=NOW - ago, text=text, take_down=take_down)
        self.event("health.changed", part, row)


def snapshot_parts(rows: dict[str, list[Row]], seq: int, size: int = 1000) -> Iterable[Snapshot]:
    """``rows`` as the broker sends them: parts of at most ``size`` rows."""
    flat = [(table, row) for table, some in rows.items() if table in ROWS for row in some]
    slices = [flat[start : start + size] for start in range(0, len(flat), size)] or [[]]
    for number, some in enumerate(slices, 1):
        part: dict[str, list[msgspec.Raw]] = {}
        for table, row in some:
            part.setdefault(table, []).append(msgspec.Raw(msgspec.json.encode(row)))
        yield Snapshot(seq=seq, at=NOW, part=number, parts=len(slices), rows=part)
