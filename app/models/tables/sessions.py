"""The Sessions table: sessions of streams and of desktops side by side.

Used by ``app/ui/pages/sessions.py``. Each column reads one of the two kinds with ``session_cells`` or with
``desktop_cells``; what a kind does not have stays empty. Rows may stand together by stream (desktops: by template) or
by agent.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

from app.contract import DesktopRow
from app.models.export import Instant
from app.models.filter import Field
from app.models.states import State, rank
from app.models.tables import desktop_cells as desktop
from app.models.tables import session_cells as session
from app.models.tables.columns import Column, Item, Moment
from app.models.tables.live import LiveTable
from app.models.wording import clock_text, natural, plain

Cell = Callable[[Item, Moment], Any]
Grouping = Literal["", "stream", "agent"]
NO_AGENT = "no agent"
NEVER = float("inf")


def kind_of(row: object) -> str:
    """Which kind of verb a row takes."""
    return "desktop" if isinstance(row, DesktopRow) else "session"


def both(of_session: Cell, of_desktop: Cell) -> Cell:
    """A cell that each kind fills in its own way."""
    return lambda item, moment: (of_desktop if isinstance(item.row, DesktopRow) else of_session)(item, moment)


def only_desktop(of_desktop: Cell, empty: object = "") -> Cell:
    """A cell that only desktops fill."""
    return lambda item, moment: of_desktop(item, moment) if isinstance(item.row, DesktopRow) else empty


def only_session(of_session: Cell, empty: object = "") -> Cell:
    """A cell that only sessions of streams fill."""
    return lambda item, moment: empty if isinstance(item.row, DesktopRow) else of_session(item, moment)


_state = both(session.state, desktop.state)
_since = both(lambda item, _: item.row.started_at, desktop.since)
_heard = both(session.heard, desktop.heard)
_left = only_session(session.left, None)
_hosts = both(session.hosts, desktop.hosts)
_way = both(session.way, desktop.way)

SESSION_COLUMNS = (
    Column(
        "state", "State", 158, lambda item, moment: _state(item, moment).text, kind="state", clock=True,
        sort=lambda item, moment: rank(_state(item, moment)),
        tooltip=lambda item, moment: _state(item, moment).sentence,
        value=lambda item, moment: _state(item, moment).word.text,
        field=Field("state", lambda item, moment: _state(item, moment).word.key, dynamic=True),
    ),
    Column(
        "who", "Who", 116, both(lambda item, _: plain(item.row.consumer_id), lambda item, _: plain(item.row.user)),
        hint="Consumer of the stream, user of the desktop",
    ),
    Column(
        "what", "What", 150, both(lambda item, _: plain(item.row.stream_name), lambda item, _: plain(item.row.template)),
        hint="Stream, or template of the desktop", wide=180,
    ),
    Column(
        "way", "From \N{RIGHTWARDS ARROW} To", 270, _way, kind="mono", field=Field("address", _way, hosts=_hosts),
        sort=both(session.way_key, desktop.way_key), hint="Publisher to consumer; agent to whoever looks at the desktop",
        wide=300, yields=1,
    ),
    Column("agent", "Agent", 112, only_desktop(desktop.agent), wide=136),
    Column(
        "protocol", "Protocol", 58, both(lambda item, _: plain(item.row.protocol), lambda _item, _moment: "vnc"), yields=7,
    ),
    Column(
        "since", "Since", 66, lambda item, moment: clock_text(_since(item, moment), moment.now),
        sort=_since, value=lambda item, moment: Instant(_since(item, moment)),
        field=Field("number", lambda item, moment: moment.now - _since(item, moment), dynamic=True),
        hint="Taken, or begun, at; in the filter, seconds ago: since<5m", yields=2,
    ),
    Column(
        "heartbeat", "Heartbeat", 72, both(session.heard_text, desktop.heard_text), clock=True, align="right",
        value=_heard, sort=both(session.heard_key, desktop.heard_key), field=Field("number", _heard, dynamic=True),
        hint="Since the consumer itself was last heard (a hold of Callboard does not count), or the desktop's agent",
    ),
    Column(
        "load", "CPU, memory", 102, only_desktop(desktop.load), clock=True, align="right",
        tooltip=only_desktop(desktop.load_told), sort=only_desktop(lambda item, _: item.row.load_cpu or 0.0, -1.0),
        field=Field("number", only_desktop(desktop.cpu, None), dynamic=True),
        hint="Of one core, and of this desktop alone; in the filter cpu>50, mem>500 (MiB)", yields=2,
    ),
    Column(
        "idle", "Idle", 92, only_desktop(desktop.idle_words), clock=True, align="right",
        tooltip=only_desktop(desktop.idle_told), value=only_desktop(desktop.idle, None),
        sort=only_desktop(lambda item, moment: desktop.idle(item, moment) or 0.0, -1.0),
        field=Field("number", only_desktop(desktop.idle, None), dynamic=True),
        hint="Since somebody last worked in it; it hibernates at its time-out", yields=5,
    ),
    Column(
        "viewers", "Viewers", 60, only_desktop(desktop.looking), align="right", kind="badge",
        tooltip=only_desktop(desktop.looking_told), sort=only_desktop(lambda item, moment: len(desktop.viewers(item, moment)), -1),
        value=only_desktop(lambda item, moment: len(desktop.viewers(item, moment)), None),
        field=Field("number", only_desktop(lambda item, moment: len(desktop.viewers(item, moment)), None)), yields=8,
    ),
    Column(
        "held", "Held by", 80, only_session(session.held_by), tooltip=only_session(session.held_told),
        hint="Who keeps the session alive", kind="badge", hidden=True,
    ),
    Column("preset", "Preset", 104, only_session(session.preset), hint="Preset that it is taken for", yields=6, wide=140),
    Column(
        "ttl", "TTL", 92, only_session(session.left_text), kind="ttl", clock=True, value=_left,
        sort=only_session(lambda item, _: item.row.expires_at, NEVER), field=Field("number", _left, dynamic=True),
        hint="Seconds until the registry forgets it, if no heartbeat comes", yields=3,
    ),
    Column("tags", "Tags", 100, only_desktop(desktop.tags), yields=4, wide=140),
    Column(
        "dialect", "Dialect", 84, both(lambda _item, _moment: "Maestra", lambda _item, _moment: "StreamSpace"), yields=9,
    ),
    Column("type", "Type", 64, only_session(lambda item, _: plain(item.row.stream_type)), hidden=True),
    Column("publisher", "Publisher", 140, only_session(lambda item, _: plain(item.row.publisher_id)), hidden=True),
    Column("platform", "Platform", 76, only_desktop(lambda item, _: plain(item.row.platform)), hidden=True),
    Column("name", "Name", 220, only_desktop(lambda item, _: plain(item.row.name)), hidden=True, hint="Of the desktop"),
)  # fmt: skip


class SessionTable(LiveTable):
    """Live sessions of both kinds and their ghosts, on request grouped by stream or by agent."""

    sources = ("session", "desktop")
    columns = SESSION_COLUMNS
    default_sort = "since"
    aliases = {
        "consumer": "who", "user": "who", "stream": "what", "template": "what", "address": "way", "age": "heartbeat",
        "from": "publisher", "cpu": "load", "tag": "tags",
    }  # fmt: skip
    extra_fields = {
        "port": Field("number", only_session(lambda item, _: item.row.publisher_port, None)),
        "mem": Field("number", only_desktop(desktop.memory, None), dynamic=True),
        "memory": Field("number", only_desktop(desktop.memory, None), dynamic=True),
        "kind": Field("text", lambda item, _: "stream" if kind_of(item.row) == "session" else "desktop"),
    }

    _grouping: Grouping = ""

    @property
    def grouped(self) -> bool:
        """Rows of one stream, or of one agent, stand together."""
        return bool(self._grouping)

    @property
    def grouping(self) -> Grouping:
        """By what rows stand together."""
        return self._grouping

    def group_by(self, grouping: Grouping) -> None:
        """Put rows of each stream, or of each agent, together, in the sorted order within."""
        self._grouping = grouping
        for item in self._items.values():
            item.group = ""
        self.arrange()
        self.announce_all()

    def sorted_items(self, items: list[Item]) -> list[Item]:
        items = super().sorted_items(items)
        if not self._grouping:
            return items
        for item in items:
            if not item.group:
                item.group = self._group_name(item)
        return sorted(items, key=lambda item: (item.group == NO_AGENT, natural(item.group), self._group_key(item)))

    def group_title(self, row: int) -> str:
        """Two streams of one name are two groups."""
        item = self._order[row]
        if not item.group or (row and self._same_group(self._order[row - 1], item)):
            return ""
        return item.group

    def _group_name(self, item: Item) -> str:
        key = "agent" if self._grouping == "agent" else "what"
        return self.cell(item, self.column(key)) or NO_AGENT

    def _group_key(self, item: Item) -> str:
        row: Any = item.row
        if self._grouping == "agent":
            return cast(str, getattr(row, "agent_id", None) or "")
        return cast(str, row.template if isinstance(row, DesktopRow) else row.stream_id)

    def _same_group(self, one: Item, other: Item) -> bool:
        return one.group == other.group and self._group_key(one) == self._group_key(other)

    def rows(self) -> Mapping[str, Any]:
        return ChainMap(cast(Any, self._store.sessions), cast(Any, self._store.desktops))

    def state_of(self, item: Item) -> State:
        return cast(State, _state(item, self.moment))

    def ttl_of(self, item: Item) -> float | None:
        return cast("float | None", _left(item, self.moment))

    def search_text(self, item: Item) -> str:
        """Also ids and names that have no column."""
        row: Any = item.row
        more = (row.pod_name or "", row.message) if isinstance(row, DesktopRow) else (row.stream_id,)
        return "\n".join((super().search_text(item), *more)).lower()
