"""The Sessions table: who takes what, from where to where, and who keeps it alive.

Used by ``app/ui/pages/sessions.py``. Left out until the issues that bring them: agent, CPU, idle, tags, dialect.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from app.contract import SESSION_TTL, SessionRow
from app.models.filter import Field
from app.models.states import State, rank, state_of_session
from app.models.tables.columns import Column, Item, Moment
from app.models.tables.live import LiveTable
from app.models.wording import address_key, age_text, clock_text, endpoint, natural, plain


def _state(item: Item, moment: Moment) -> State:
    return state_of_session(item.row, moment.store, moment.now, item.ghost)


def _rank(item: Item, moment: Moment) -> float:
    return rank(_state(item, moment))


def _left(item: Item, moment: Moment) -> float | None:
    return None if item.ghost is not None else max(0.0, item.row.expires_at - moment.now)


def _heard(item: Item, moment: Moment) -> float | None:
    heard = item.row.last_heartbeat
    return None if heard is None or item.ghost is not None else max(0.0, moment.now - heard)


def _heard_text(item: Item, moment: Moment) -> str:
    if item.ghost is not None:
        return ""
    age = _heard(item, moment)
    return "never" if age is None else age_text(age)


def _left_text(item: Item, moment: Moment) -> str:
    left = _left(item, moment)
    return "" if left is None else age_text(left)


def _way(item: Item, _moment: Moment) -> str:
    row: SessionRow = item.row
    source = endpoint(row.publisher_address, row.publisher_port)
    return f"{source} \N{RIGHTWARDS ARROW} {endpoint(row.consumer_address, row.consumer_port)}"


def _way_key(item: Item, _moment: Moment) -> bytes:
    row: SessionRow = item.row
    source = address_key(row.publisher_address, row.publisher_port)
    return source + address_key(row.consumer_address, row.consumer_port)


def _hosts(item: Item, _moment: Moment) -> Iterable[str]:
    return item.row.publisher_address, item.row.consumer_address


def _held_by(item: Item, moment: Moment) -> str:
    if item.ghost is not None:
        return ""
    return "Callboard" if moment.store.hold_of(item.id) is not None else "consumer"


def _held_told(item: Item, moment: Moment) -> str:
    hold = moment.store.hold_of(item.id)
    if hold is None:
        return "The consumer must send a heartbeat itself"
    return f"Held by Callboard for {plain(hold.operator)} since {clock_text(hold.since, moment.now)}"


def _preset(item: Item, moment: Moment) -> str:
    if item.ghost is not None:
        return ""
    return ", ".join(plain(preset.name) for preset in moment.store.presets_of(item.row))


SESSION_COLUMNS = (
    Column(
        "state", "State", 108, lambda item, moment: _state(item, moment).text, sort=_rank, kind="state", clock=True,
        tooltip=lambda item, moment: _state(item, moment).sentence,
        value=lambda item, moment: _state(item, moment).word.text,
        field=Field("state", lambda item, moment: _state(item, moment).word.key, dynamic=True),
    ),
    Column("who", "Who", 160, lambda item, _: plain(item.row.consumer_id), hint="Consumer"),
    Column("what", "What", 200, lambda item, _: plain(item.row.stream_name), hint="Stream"),
    Column("way", "From \N{RIGHTWARDS ARROW} To", 270, _way, kind="mono", field=Field("address", _way, hosts=_hosts), sort=_way_key),
    Column("protocol", "Protocol", 72, lambda item, _: plain(item.row.protocol)),
    Column(
        "since", "Since", 76, lambda item, moment: clock_text(item.row.started_at, moment.now),
        sort=lambda item, _: item.row.started_at, value=lambda item, _: item.row.started_at,
        field=Field("number", lambda item, moment: moment.now - item.row.started_at, dynamic=True),
        hint="Taken at; in the filter, seconds ago: since<5m",
    ),
    Column(
        "heartbeat", "Heartbeat", 84, _heard_text, clock=True, align="right", value=_heard,
        sort=lambda item, _: -(item.row.last_heartbeat or 0.0), field=Field("number", _heard, dynamic=True),
        hint="Since the consumer itself was last heard; a hold of Callboard does not count",
    ),
    Column("held", "Held by", 96, _held_by, tooltip=_held_told, hint="Who keeps the session alive", kind="badge"),
    Column("preset", "Preset", 120, _preset, hint="Preset that it is taken for"),
    Column(
        "ttl", "TTL", 96, _left_text, kind="ttl", clock=True, sort=lambda item, _: item.row.expires_at, value=_left,
        field=Field("number", _left, dynamic=True),
        hint="Seconds until the registry forgets it, if no heartbeat comes",
    ),
    Column("type", "Type", 64, lambda item, _: plain(item.row.stream_type), hidden=True),
    Column("publisher", "Publisher", 140, lambda item, _: plain(item.row.publisher_id), hidden=True),
)  # fmt: skip


class SessionTable(LiveTable):
    """Live sessions and the ghosts of sessions, on request grouped by stream."""

    source = "session"
    columns = SESSION_COLUMNS
    default_sort = "since"
    aliases = {"consumer": "who", "stream": "what", "address": "way", "age": "heartbeat", "from": "publisher"}

    _grouped = False

    @property
    def grouped(self) -> bool:
        """Rows of one stream stand together."""
        return self._grouped

    def group_by_stream(self, on: bool) -> None:
        """Put the sessions of each stream together, in the sorted order within."""
        self._grouped = on
        for item in self._items.values():
            item.group = ""
        self.arrange()
        self.announce_all()

    def sorted_items(self, items: list[Item]) -> list[Item]:
        items = super().sorted_items(items)
        if not self._grouped:
            return items
        for item in items:
            if not item.group:
                item.group = plain(item.row.stream_name)
        return sorted(items, key=lambda item: (natural(item.group), item.row.stream_id))

    def group_title(self, row: int) -> str:
        """Two streams of one name are two groups."""
        item = self._order[row]
        if not item.group or (row and self._order[row - 1].row.stream_id == item.row.stream_id):
            return ""
        return item.group

    extra_fields = {"port": Field("number", lambda item, _: item.row.publisher_port)}

    def rows(self) -> Mapping[str, SessionRow]:
        return self._store.sessions

    def state_of(self, item: Item) -> State:
        return _state(item, self.moment)

    def ttl_of(self, item: Item) -> float | None:
        return _left(item, self.moment)

    @property
    def ttl_full(self) -> float:
        """Seconds of a full TTL bar."""
        return SESSION_TTL

    def search_text(self, item: Item) -> str:
        """Also the stream's id, which has no column."""
        row: Any = item.row
        return f"{super().search_text(item)}\n{row.stream_id}".lower()
