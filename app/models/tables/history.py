"""The History table: stream sessions of the last 90 days, by page.

Fed by ``app/ui/pages/history.py`` with rows of ``GET /console/v1/history``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from app.contract import HistoryRow
from app.models.export import Instant
from app.models.filter import Field
from app.models.states import LIVE, OFF, State
from app.models.tables.columns import Column, Item, Moment
from app.models.tables.paged import PagedTable
from app.models.wording import age_text, date_text, plain

_ENDINGS = {
    "active": "running",
    "stopped": "stopped",
    "withdrawn": "withdrawn with its stream",
    "expired": "TTL ran out",
}


def _status(item: Item, _moment: Moment) -> str:
    return plain(_ENDINGS.get(item.row.status, item.row.status))


def _seconds(item: Item, moment: Moment) -> float | None:
    row: HistoryRow = item.row
    if row.duration_seconds is not None:
        return row.duration_seconds
    return moment.now - row.time if row.status == "active" else None


def _duration(item: Item, moment: Moment) -> str:
    seconds = _seconds(item, moment)
    return "" if seconds is None else age_text(seconds)


def _ended(item: Item, _moment: Moment) -> str:
    return "" if item.row.ended_at is None else date_text(item.row.ended_at)


def _hosts(item: Item, _moment: Moment) -> Iterable[str]:
    return item.row.publisher_address, item.row.consumer_address


HISTORY_COLUMNS = (
    Column(
        "time", "Time", 150, lambda item, _: date_text(item.row.time), kind="mono",
        sort=lambda item, _: item.row.time, value=lambda item, _: Instant(item.row.time),
        field=Field("number", lambda item, moment: moment.now - item.row.time, dynamic=True),
        hint="Taken at; in the filter, seconds ago: time<5m",
    ),
    Column("status", "Status", 150, _status, value=lambda item, _: item.row.status),
    Column("what", "What", 200, lambda item, _: plain(item.row.stream_name), hint="Stream"),
    Column("type", "Type", 64, lambda item, _: plain(item.row.stream_type)),
    Column("from", "From", 140, lambda item, _: plain(item.row.publisher_id), hint="Publisher"),
    Column("who", "To", 160, lambda item, _: plain(item.row.consumer_id), hint="Consumer"),
    Column(
        "way", "Addresses", 240, kind="mono",
        text=lambda item, _: plain(f"{item.row.publisher_address} \N{RIGHTWARDS ARROW} {item.row.consumer_address}"),
        field=Field("address", lambda item, _: f"{item.row.publisher_address} {item.row.consumer_address}", hosts=_hosts),
    ),
    Column("protocol", "Protocol", 72, lambda item, _: plain(item.row.protocol)),
    Column(
        "duration", "Duration", 84, _duration, align="right", value=_seconds, clock=True,
        sort=lambda item, moment: _seconds(item, moment) or 0.0, field=Field("number", _seconds, dynamic=True),
    ),
    Column(
        "ended", "Ended", 150, _ended, kind="mono", sort=lambda item, _: item.row.ended_at or 0.0,
        value=lambda item, _: None if item.row.ended_at is None else Instant(item.row.ended_at),
    ),
    Column("error", "Error", 200, lambda item, _: plain(item.row.error_message or "")),
)  # fmt: skip


class HistoryTable(PagedTable):
    """Stream sessions, past and running."""

    columns = HISTORY_COLUMNS
    aliases = {"publisher": "from", "consumer": "who", "stream": "what", "address": "way", "session": "id", "to": "who"}

    @staticmethod
    def time_of(row: Any) -> float:
        return float(row.time)

    def state_of(self, item: Item) -> State:
        return State(LIVE if item.row.status == "active" else OFF, None, _status(item, self.moment))

    def search_text(self, item: Item) -> str:
        """Also the stream's id, which has no column."""
        return f"{super().search_text(item)}\n{item.row.stream_id}".lower()
