"""The Agents table: what each machine carries, how it fares, and how its drain goes on.

Used by ``app/ui/pages/agents.py``. Everything that a heartbeat moves is a clock column, since a beat is no event of
its own for a cell; the sparkline is what ``app/models/loads.py`` has heard in ten minutes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.contract import AgentRow
from app.models.filter import Field
from app.models.fleet_states import heartbeat_age, sessions_text, state_of_agent
from app.models.fleet_words import drain_share, drain_text
from app.models.states import State, rank
from app.models.tables.columns import Column, Item, Moment
from app.models.tables.live import LiveTable
from app.models.wording import age_text, pairs_text, plain

HIGH_LOAD = 90.0
"""Percent from which a machine is nearly full."""


def _state(item: Item, moment: Moment) -> State:
    return state_of_agent(item.row, moment.store, moment.now, item.ghost)


def used(row: AgentRow) -> int:
    """Places that are taken: the larger of the broker's count and the agent's own."""
    return max(row.sessions, row.reported_sessions or 0)


def _used_text(item: Item, _moment: Moment) -> str:
    row: AgentRow = item.row
    return f"{used(row)} / {row.max_sessions}"


def _used_told(item: Item, moment: Moment) -> str:
    row: AgentRow = item.row
    there = sessions_text(len(moment.store.desktops_on(row.id)))
    warning = f"\n{plain(row.warning)}" if row.warning else ""
    return f"{used(row)} of {row.max_sessions} places taken; {there} on it with the hibernated ones{warning}"


def _used_share(item: Item, _moment: Moment) -> float | None:
    row: AgentRow = item.row
    return None if item.ghost is not None else used(row) / max(1, row.max_sessions)


def _percent_text(value: float | None) -> str:
    return "" if value is None else f"{value:.0f} %"


def _share(value: float | None) -> float | None:
    return None if value is None else value / 100.0


def _heard(item: Item, moment: Moment) -> float | None:
    return None if item.ghost is not None else heartbeat_age(item.row, moment.now)


def _heard_text(item: Item, moment: Moment) -> str:
    age = _heard(item, moment)
    return age_text(age) if age is not None else ("" if item.ghost is not None else "never")


def _leader_text(item: Item, _moment: Moment) -> str:
    row: AgentRow = item.row
    word = {True: "yes", False: "no", None: ""}[row.leader]
    return f"{word} +{row.standbys}" if row.standbys else word


def _leader_told(item: Item, _moment: Moment) -> str:
    row: AgentRow = item.row
    standbys = f"{row.standbys} stand by to take over" if row.standbys else "Nobody stands by to take over"
    return f"{'It leads. ' if row.leader else ''}{standbys}"


def _drain_text(item: Item, moment: Moment) -> str:
    drain = moment.store.drains.get(item.id)
    return "" if drain is None or item.ghost is not None else drain_text(drain, moment.now)


def _drain_told(item: Item, moment: Moment) -> str:
    drain = moment.store.drains.get(item.id)
    if drain is None:
        return ""
    return f"{drain_text(drain, moment.now)}\nDrained by {plain(drain.operator)}; D takes the drain back"


def _drain_key(item: Item, moment: Moment) -> float:
    drain = moment.store.drains.get(item.id)
    return -1.0 if drain is None else drain_share(drain)


def _undo_text(item: Item, moment: Moment) -> str:
    return "Undo" if item.ghost is None and item.id in moment.store.drains else ""


def _last_load(item: Item, moment: Moment) -> float | None:
    loads = moment.store.loads.spark(item.id, item.row.max_sessions)
    return loads[-1] if loads and loads[-1] == loads[-1] else None


AGENT_COLUMNS = (
    Column(
        "state", "State", 140, lambda item, moment: _state(item, moment).text, kind="state", clock=True,
        sort=lambda item, moment: rank(_state(item, moment)),
        tooltip=lambda item, moment: _state(item, moment).sentence,
        value=lambda item, moment: _state(item, moment).word.text,
        field=Field("state", lambda item, moment: _state(item, moment).word.key, dynamic=True),
    ),
    Column("agent", "Agent", 150, lambda item, _: plain(item.row.id)),
    Column("platform", "Platform", 76, lambda item, _: plain(item.row.platform), yields=5),
    Column("region", "Region", 70, lambda item, _: plain(item.row.region or ""), yields=6),
    Column(
        "sessions", "Sessions", 106, _used_text, kind="bar", clock=True, share=_used_share, tooltip=_used_told,
        sort=lambda item, moment: _used_share(item, moment) or 0.0, value=lambda item, _: used(item.row),
        field=Field("number", lambda item, _: used(item.row), dynamic=True), hint="Places taken, of those it has",
    ),
    Column(
        "cpu", "CPU", 78, lambda item, _: _percent_text(item.row.cpu), kind="bar", clock=True,
        share=lambda item, _: _share(item.row.cpu), sort=lambda item, _: item.row.cpu or 0.0,
        value=lambda item, _: item.row.cpu, field=Field("number", lambda item, _: item.row.cpu, dynamic=True),
        hint="Of the whole machine",
    ),
    Column(
        "memory", "Memory", 78, lambda item, _: _percent_text(item.row.memory), kind="bar", clock=True,
        share=lambda item, _: _share(item.row.memory), sort=lambda item, _: item.row.memory or 0.0,
        value=lambda item, _: item.row.memory, field=Field("number", lambda item, _: item.row.memory, dynamic=True),
        hint="Of the whole machine", yields=3,
    ),
    Column(
        "load", "Load 10 min", 86, lambda item, moment: _percent_text(_last_load(item, moment)), kind="spark",
        clock=True, align="right", sort=lambda item, moment: _last_load(item, moment) or 0.0,
        value=lambda item, moment: [round(one, 1) for one in moment.store.loads.spark(item.id, item.row.max_sessions)],
        field=Field("number", _last_load, dynamic=True),
        hint="CPU at each heartbeat of the last ten minutes; taken places where the agent does not tell its CPU", yields=4,
    ),
    Column(
        "heartbeat", "Heartbeat", 70, _heard_text, clock=True, align="right", value=_heard,
        sort=lambda item, _: -(item.row.last_heartbeat or 0.0), field=Field("number", _heard, dynamic=True),
        hint="Since its last heartbeat: late at 12 s, lost at 30 s", yields=2,
    ),
    Column(
        "leader", "Leader", 58, _leader_text, tooltip=_leader_told, hint="Whether it leads, and how many stand by", yields=7,
    ),
    Column("version", "Version", 60, lambda item, _: plain(item.row.version), yields=8),
    Column("undo", "", 58, _undo_text, kind="button", clock=True, align="center", hint="Takes its drain back (D)"),
    Column(
        "drain", "Drain", 410, _drain_text, kind="drain", clock=True, tooltip=_drain_told, sort=_drain_key,
        share=lambda item, moment: _drain_key(item, moment) if item.id in moment.store.drains else None,
        hint="Progress, end and what holds it up",
    ),
)  # fmt: skip


class AgentTable(LiveTable):
    """Agents, connected or not, and the ghosts of those that were removed."""

    sources = ("agent",)
    columns = AGENT_COLUMNS
    default_sort = "agent"
    aliases = {"name": "agent", "used": "sessions", "age": "heartbeat", "draining": "drain"}
    extra_fields = {
        "free": Field("number", lambda item, _: max(0, item.row.max_sessions - used(item.row)), dynamic=True),
        "max": Field("number", lambda item, _: item.row.max_sessions),
    }
    spark_full = 100.0
    spark_high = HIGH_LOAD
    spark_color = "text"
    spark_steps = 60

    def rows(self) -> Mapping[str, AgentRow]:
        return self._store.agents

    def state_of(self, item: Item) -> State:
        return _state(item, self.moment)

    def spark_of(self, item: Item) -> Sequence[float]:
        return self._store.loads.spark(item.id, item.row.max_sessions)

    def search_text(self, item: Item) -> str:
        """Also what the agent says of itself, which has no column."""
        row: Any = item.row
        told = (row.uuid, row.warning, pairs_text(row.metadata), " ".join(row.capabilities))
        return "\n".join((super().search_text(item), *told)).lower()
