"""What the pictures' pages are answered when they ask the broker: a stand-in client with a night's history.

Only for ``shots.py``: it has the methods that pages call, with the signatures of ``BrokerClient``, and answers at once
with contract rows of ``shot_venue.py``. A take it grants starts a session on the feed; one it refuses raises what the
broker would have said. It keeps nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from app.client.api import ApiError
from app.client.destination import Destinations
from app.client.shapes import AccessView, ApiKey, BrokerView, NewApiKey, Offer, Page, Stream
from app.contract import AuditRow, Gone, HistoryRow, HoldRow
from app.ui.shot_people import StillFleet
from app.ui.shot_venue import DAY, NOW, PRESETS, STREAMS, Venue, session_id, session_row, stream_id, stream_rows

CONSUMERS = (
    ("wall-main", "10.0.40.50"), ("mon-conductor", "10.0.40.71"), ("rec-a", "10.0.40.80"), ("truck-1", "10.0.90.10"),
    ("led-side", "10.0.40.52"),
)  # fmt: skip
ENDINGS = ("stopped", "stopped", "expired", "stopped", "withdrawn")
OPERATORS = ("kim", "kim", "alex", "kim", "sam")


class StillClient:
    """A broker that answers and does not move."""

    base_url = "http://127.0.0.1:8080"
    operator = "kim"

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self.refusal: ApiError | None = None
        self.destinations = Destinations()
        self.fleet = StillFleet(venue)

    async def request(self, stream_id: str, *, consumer_id: str, consumer_address: str, **_rest: Any) -> Offer:
        """An offer and its session, or the refusal of this picture."""
        if self.refusal is not None:
            raise self.refusal
        venue = self.venue
        stream = venue.store.streams[stream_id]
        row = session_row(900, stream, consumer_id, consumer_address, NOW - 1.0)
        venue.event("session.started", row.id, row)
        return Offer(
            session_id=row.id, stream_id=stream.id, stream_name=stream.name, stream_type=stream.stream_type,
            protocol=stream.protocol, publisher_address=stream.address, publisher_port=stream.port,
            transport_config=row.transport_config,
        )  # fmt: skip

    async def stop_session(self, row_id: str, replaced_by: str = "") -> None:
        """It ends."""
        self.venue.event("session.stopped", row_id, Gone(reason="superseded", by="kim"))

    async def hold(self, row_id: str, preset_id: str | None = None) -> HoldRow:
        """Callboard beats it from now on."""
        row = HoldRow(
            id="hold-900", session_id=row_id, stream_id=self.venue.store.sessions[row_id].stream_id, operator="kim",
            preset_id=preset_id, since=NOW - 1.0,
        )  # fmt: skip
        self.venue.event("hold.started", row.id, row)
        return row

    async def advertise(self, _body: Mapping[str, Any]) -> Stream:
        """Only refused on a picture."""
        raise self.refusal or ApiError(503, "unavailable", "Not on a picture")

    async def history(
        self,
        *,
        stream_id: str | None = None,
        publisher_id: str | None = None,
        consumer_id: str | None = None,
        page: Page | None = None,
    ) -> list[HistoryRow]:
        """Sessions of the last weeks, newest first."""
        page = page or Page()
        rows = [row for row in history_rows() if _within(row.time, row.id, page)]
        return rows[: page.limit or 50]

    async def audit(
        self,
        *,
        operator: str | None = None,
        verb: str | None = None,
        object_id: str | None = None,
        page: Page | None = None,
    ) -> list[AuditRow]:
        """Acts of tonight, newest first."""
        page = page or Page()
        rows = [row for row in audit_rows() if _within(row.at, row.id, page)]
        return rows[: page.limit or 50]

    async def access(self) -> AccessView:
        """A broker that one network and one desk may use."""
        return AccessView(
            host="0.0.0.0",  # noqa: S104 - what an operator chose on the picture
            allow_networks=["10.0.40.0/24", "10.0.90.10/32"],
            urls=["http://10.0.40.2:8080", "nats://10.0.40.2:4222"],
            words=[
                "On this machine, every program may advertise and request streams.",
                "From 10.0.40.0/24 and 10.0.90.10/32, every machine may advertise and request streams, without a key.",
                "From anywhere else, only clients with one of the 2 API keys.",
                "This console's own interface needs the console token or stays closed, wherever the caller is.",
            ],
            keys=[
                ApiKey(id="key-1", name="lighting desk", created_at=NOW - 12 * DAY),
                ApiKey(id="key-2", name="broadcast truck", created_at=NOW - 0.3 * DAY),
            ],
        )

    async def add_key(self, name: str) -> NewApiKey:
        """A key as it is shown once."""
        return NewApiKey(id="key-3", name=name, key="cbk_p3Vt9c0Zr2yJmE6sWqLd8xTb4nUhA1fK")

    async def broker(self) -> BrokerView:
        """What the broker says of itself."""
        return BrokerView(
            pid=4711, version="0.1.0", name="Grand Theatre", started_at=NOW - 9500, host="0.0.0.0",  # noqa: S104
            data_dir="/home/kim/.local/share/callboard", protocol=2,
            urls={"main": "http://127.0.0.1:8080", "nats": "nats://127.0.0.1:4222"},
        )  # fmt: skip

    async def record_audit(self, *_args: object, **_named: object) -> None:
        """Nothing is written down on a picture."""

    async def close(self) -> None:
        """Nothing is open."""


def history_rows(count: int = 240) -> list[HistoryRow]:
    """Sessions, newest first: some still run, the rest ended one way or another."""
    rows = []
    for number in range(count):
        index = (number * 5) % len(STREAMS)
        name, kind, publisher, protocol, address, port, *_ = STREAMS[index]
        consumer, consumer_address = CONSUMERS[(number * 3) % len(CONSUMERS)]
        began = NOW - 140 - number * (410 if number < 40 else 9000) - (number * 7919 % 290)
        runs = number < 4
        length = None if runs else min(45.0 + (number * 613 % 5400), NOW - began - 20.0)
        rows.append(
            HistoryRow(
                id=session_id(5000 + number), time=began, stream_id=stream_id(index), stream_name=name,
                stream_type=kind, publisher_id=publisher, publisher_address=f"{address}:{port}",
                consumer_id=consumer, consumer_address=consumer_address, protocol=protocol,
                status="active" if runs else ENDINGS[number % len(ENDINGS)],
                ended_at=None if length is None else began + length, duration_seconds=length,
            )
        )  # fmt: skip
    return rows


def audit_rows() -> list[AuditRow]:
    """Acts of tonight as the broker keeps them, newest first."""
    streams = stream_rows()
    acts: list[tuple[str, int, str, str, str, float]] = [
        ("take", 0, "wall-main", "ok", "", 38.2), ("kick", 3, "mon-conductor", "cancelled", "cancelled: Esc", 1204.0),
        ("take", 2, "wall-main", "no_answer", "Publisher did not respond within 5 seconds", 5003.1),
        ("kick", 10, "led-side", "ok", "", 6.4), ("take", 10, "led-side", "ok", "", 22.9),
        ("withdraw", 6, "", "ok", "", 9.8), ("take", 4, "truck-1", "ok", "", 31.0),
        ("take", 7, "truck-1", "rejected", "Publisher rejected the request: all outputs in use", 12.7),
        ("change", -1, "preset-2", "ok", "", 5.5), ("take", 7, "truck-1", "ok", "", 27.5),
        ("kick", 3, "mon-conductor", "ok", "", 3.9), ("take", 3, "mon-conductor", "ok", "", 44.6),
    ]  # fmt: skip
    addresses = dict(CONSUMERS)
    rows = []
    for number, (verb, index, consumer, result, detail, milliseconds) in enumerate(acts * 6):
        at = NOW - 95 - number * 191 - (number * 37 % 60)
        row = AuditRow(
            id=f"audit-{number}", at=at, operator=OPERATORS[number % len(OPERATORS)], verb=verb, object="stream",
            object_id=stream_id(index), result=result, detail=detail, milliseconds=milliseconds,
        )  # fmt: skip
        if verb == "change":
            preset = msgspec.to_builtins(PRESETS[1])
            row.object, row.object_id = "preset", consumer
            row.before, row.after, row.dialect = {**preset, "mode": "add"}, preset, "console"
        elif verb == "withdraw":
            row.before = msgspec.to_builtins(streams[index])
        else:
            session = session_row(7000 + number, streams[index], consumer, addresses[consumer], at)
            if verb == "kick":
                row.object, row.object_id = "session", session.id
            if result == "cancelled":
                row.object = f"{consumer} ← {session.stream_name}"
                row.before = {
                    "consumer_id": consumer,
                    "stream_id": session.stream_id,
                    "stream_name": session.stream_name,
                }
            elif result != "ok":
                row.object = "stream"
            elif verb == "kick":
                row.before = msgspec.to_builtins(session)
            else:
                row.after = msgspec.to_builtins(session)
        rows.append(row)
    return rows


def _within(at: float, row_id: str, page: Page) -> bool:
    if page.since is not None and at < page.since:
        return False
    if page.until is not None and at > page.until:
        return False
    return page.before is None or (at, row_id) < page.before
