"""The Streams table: columns in order, as far as Maestra can fill them.

Used by ``app/ui/pages/streams.py``. Left out until the issues that bring them: alias, dialect, ON AIR. "Rate" is
not known for an advertised stream; ``series`` says what its sparkline shows instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from app.contract import StreamRow
from app.models.export import Instant
from app.models.filter import Field
from app.models.states import State, rank, state_of_stream
from app.models.tables.columns import Column, Item, Moment
from app.models.tables.live import LiveTable
from app.models.wording import address_key, age_text, clock_text, endpoint, format_text, pairs_text, plain


def _state(item: Item, moment: Moment) -> State:
    return state_of_stream(item.row, moment.store, moment.now, item.ghost)


def _rank(item: Item, moment: Moment) -> float:
    return rank(_state(item, moment))


def _left(item: Item, moment: Moment) -> float | None:
    return None if item.ghost is not None else max(0.0, item.row.expires_at - moment.now)


def _age(item: Item, moment: Moment) -> float | None:
    return None if item.ghost is not None else max(0.0, moment.now - item.row.last_heartbeat)


def _consumers(item: Item, moment: Moment) -> int:
    return len(moment.store.sessions_of(item.id))


def _who_consumes(item: Item, moment: Moment) -> str:
    return "\n".join(plain(one.consumer_id) for one in moment.store.sessions_of(item.id).values())


def _on(item: Item, moment: Moment) -> str:
    return ", ".join(plain(preset.name) for preset in moment.store.presets_on(item.id))


def _beats_text(item: Item, moment: Moment) -> str:
    intervals = moment.store.beats.of(item.id)
    return f"{intervals[-1]:.0f} s" if intervals else ""


def _beats_told(item: Item, moment: Moment) -> str:
    intervals = moment.store.beats.of(item.id)
    if not intervals:
        return "Fewer than two heartbeats heard yet"
    return f"Seconds between its last {len(intervals)} heartbeats: " + ", ".join(f"{one:.1f}" for one in intervals)


def _hosts(item: Item, _moment: Moment) -> Iterable[str]:
    return (item.row.address,)


def _text_or_none(number: float | None) -> str:
    return "" if number is None else age_text(number)


STREAM_COLUMNS = (
    Column(
        "state", "State", 140, lambda item, moment: _state(item, moment).text, sort=_rank, kind="state", clock=True,
        tooltip=lambda item, moment: _state(item, moment).sentence,
        value=lambda item, moment: _state(item, moment).word.text,
        field=Field("state", lambda item, moment: _state(item, moment).word.key, dynamic=True),
    ),
    Column("name", "Name", 200, lambda item, _: plain(item.row.name)),
    Column("take", "Take", 84, lambda item, _: "Take" if item.ghost is None else "", kind="button", align="center"),
    Column("type", "Type", 64, lambda item, _: plain(item.row.stream_type)),
    Column("from", "From", 140, lambda item, _: plain(item.row.publisher_id), hint="Publisher"),
    Column("protocol", "Protocol", 72, lambda item, _: plain(item.row.protocol), yields=7),
    Column(
        "address", "Address", 150, lambda item, _: endpoint(item.row.address, item.row.port), kind="mono",
        field=Field("address", lambda item, _: endpoint(item.row.address, item.row.port), hosts=_hosts),
        sort=lambda item, _: address_key(item.row.address, item.row.port),
    ),
    Column("format", "Format", 150, lambda item, _: format_text(item.row.config), yields=4),
    Column(
        "beats", "Beats", 84, _beats_text, kind="spark", clock=True, tooltip=_beats_told, align="right",
        hint="Seconds between heartbeats; Maestra does not tell a stream's rate", yields=5,
        sort=lambda item, moment: max(moment.store.beats.of(item.id), default=0.0),
        value=lambda item, moment: [round(one, 2) for one in moment.store.beats.of(item.id)],
        field=Field("number", lambda item, moment: max(moment.store.beats.of(item.id), default=None), dynamic=True),
    ),
    Column(
        "consumers", "Consumers", 76, lambda item, moment: str(_consumers(item, moment)), sort=_consumers,
        align="right", tooltip=_who_consumes, value=_consumers, field=Field("number", _consumers), kind="badge",
    ),
    Column(
        "on", "On", 120, _on, hint="Presets that show it now",
    ),
    Column(
        "ttl", "TTL", 96, lambda item, moment: _text_or_none(_left(item, moment)), kind="ttl", clock=True,
        sort=lambda item, _: item.row.expires_at, value=_left, field=Field("number", _left, dynamic=True),
        hint="Seconds until the registry forgets it, if no heartbeat comes",
    ),
    Column(
        "age", "Age", 60, lambda item, moment: _text_or_none(_age(item, moment)), clock=True, align="right",
        sort=lambda item, _: -item.row.last_heartbeat, value=_age, field=Field("number", _age, dynamic=True),
        hint="Since its last heartbeat: late at 12 s, stale at 20 s, lost at 30 s", yields=8,
    ),
    Column(
        "since", "Since", 76, lambda item, moment: clock_text(item.row.advertised_at, moment.now),
        sort=lambda item, _: item.row.advertised_at, value=lambda item, _: Instant(item.row.advertised_at),
        field=Field("number", lambda item, moment: moment.now - item.row.advertised_at, dynamic=True),
        hint="Advertised at; in the filter, seconds ago: since<5m", yields=9,
    ),
    Column("tags", "Tags", 60, lambda item, _: pairs_text(item.row.metadata), hint="Metadata", yields=6),
)  # fmt: skip


class StreamTable(LiveTable):
    """Live streams and the ghosts of streams."""

    sources = ("stream",)
    columns = STREAM_COLUMNS
    default_sort = "name"
    aliases = {"publisher": "from", "consumer": "consumers", "preset": "on", "metadata": "tags", "beat": "beats"}

    extra_fields = {"port": Field("number", lambda item, _: item.row.port)}

    def rows(self) -> Mapping[str, StreamRow]:
        return self._store.streams

    def state_of(self, item: Item) -> State:
        return _state(item, self.moment)

    def ttl_of(self, item: Item) -> float | None:
        return _left(item, self.moment)

    def spark_of(self, item: Item) -> Sequence[float]:
        return self._store.beats.of(item.id)

    def search_text(self, item: Item) -> str:
        """Also entity and device, which have no column."""
        row: Any = item.row
        return f"{super().search_text(item)}\n{row.entity_id or ''}\n{row.device_id or ''}".lower()
