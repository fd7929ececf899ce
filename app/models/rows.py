"""Rows by id and the indexes over them: what a snapshot fills and diffs change.

Used by ``store.Store`` alone, which owns two of these while a snapshot loads: the one that is shown and the
one that fills. A table of the contract is one plain dictionary here, in the order in which rows came.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from app.contract import (
    ROWS,
    AgentRow,
    DesktopRow,
    DrainRow,
    HealthRow,
    HoldRow,
    NegotiationRow,
    PresetRow,
    Row,
    SessionRow,
    StreamRow,
    TemplateRow,
    TypeRow,
    ViewerRow,
)

Consumer = tuple[str, str, int | None]
"""Id, address and port: what makes two destinations the same."""
Key = TypeVar("Key", str, Consumer)


class Rows:
    """Every table of ``contract.ROWS`` with its secondary indexes."""

    def __init__(self) -> None:
        self.streams: dict[str, StreamRow] = {}
        self.sessions: dict[str, SessionRow] = {}
        self.holds: dict[str, HoldRow] = {}
        self.presets: dict[str, PresetRow] = {}
        self.types: dict[str, TypeRow] = {}
        self.negotiations: dict[str, NegotiationRow] = {}
        self.agents: dict[str, AgentRow] = {}
        self.desktops: dict[str, DesktopRow] = {}
        self.viewers: dict[str, ViewerRow] = {}
        self.drains: dict[str, DrainRow] = {}
        self.templates: dict[str, TemplateRow] = {}
        self.health: dict[str, HealthRow] = {}
        self.tables: dict[str, dict[str, Any]] = {name: {} for name in ROWS} | {
            "stream": self.streams,
            "session": self.sessions,
            "hold": self.holds,
            "preset": self.presets,
            "type": self.types,
            "negotiation": self.negotiations,
            "agent": self.agents,
            "desktop": self.desktops,
            "viewer": self.viewers,
            "drain": self.drains,
            "template": self.templates,
            "health": self.health,
        }
        self.sessions_by_stream: dict[str, dict[str, SessionRow]] = {}
        self.sessions_by_consumer: dict[Consumer, dict[str, SessionRow]] = {}
        self.presets_by_consumer: dict[Consumer, dict[str, PresetRow]] = {}
        self.hold_by_session: dict[str, HoldRow] = {}
        self.holds_by_preset: dict[str, dict[str, HoldRow]] = {}
        self.running_by_stream: dict[str, dict[str, NegotiationRow]] = {}
        self.desktops_by_agent: dict[str, dict[str, DesktopRow]] = {}
        self.viewers_by_desktop: dict[str, dict[str, ViewerRow]] = {}

    def put(self, table: str, row: Row) -> None:
        """Add a row or replace the one with its id."""
        if isinstance(row, SessionRow):
            self._unlink_session(row.id)
            self.sessions_by_stream.setdefault(row.stream_id, {})[row.id] = row
            self.sessions_by_consumer.setdefault(_consumer(row), {})[row.id] = row
        elif isinstance(row, HoldRow):
            self._unlink_hold(row.id)
            self.hold_by_session[row.session_id] = row
            if row.preset_id:
                self.holds_by_preset.setdefault(row.preset_id, {})[row.id] = row
        elif isinstance(row, PresetRow):
            self._unlink_preset(row.id)
            self.presets_by_consumer.setdefault(_consumer(row), {})[row.id] = row
        elif isinstance(row, NegotiationRow):
            self._unlink_negotiation(row.id)
            if row.outcome is None:
                self.running_by_stream.setdefault(row.stream_id, {})[row.id] = row
        elif isinstance(row, DesktopRow):
            self._unlink_desktop(row.id)
            if row.agent_id is not None:
                self.desktops_by_agent.setdefault(row.agent_id, {})[row.id] = row
        elif isinstance(row, ViewerRow):
            self._unlink_viewer(row.id)
            self.viewers_by_desktop.setdefault(row.session_id, {})[row.id] = row
        self.tables[table][row.id] = row

    def remove(self, table: str, row_id: str) -> Row | None:
        """Take a row away; None when it is not there."""
        unlink = _UNLINK.get(table)
        if unlink is not None:
            unlink(self, row_id)
        row: Row | None = self.tables[table].pop(row_id, None)
        return row

    def carried_by(self, preset: PresetRow) -> Iterator[SessionRow]:
        """Sessions held for the preset, and those of its very consumer that are held for no preset there is."""
        for hold in self.holds_by_preset.get(preset.id, {}).values():
            if hold.session_id in self.sessions:
                yield self.sessions[hold.session_id]
        for session in self.sessions_by_consumer.get(_consumer(preset), {}).values():
            if not self._held_for(session):
                yield session

    def presets_of(self, session: SessionRow) -> Iterator[PresetRow]:
        """Presets that carry ``session``: the one it is held for, else those with its very consumer."""
        held_for = self._held_for(session)
        if held_for:
            yield self.presets[held_for]
            return
        yield from self.presets_by_consumer.get(_consumer(session), {}).values()

    def _held_for(self, session: SessionRow) -> str:
        """The preset that a session is held for; empty when there is none, or none any more."""
        hold = self.hold_by_session.get(session.id)
        return hold.preset_id if hold is not None and hold.preset_id in self.presets else ""

    def _unlink_session(self, row_id: str) -> None:
        if (old := self.sessions.get(row_id)) is not None:
            _drop(self.sessions_by_stream, old.stream_id, row_id)
            _drop(self.sessions_by_consumer, _consumer(old), row_id)

    def _unlink_hold(self, row_id: str) -> None:
        if (old := self.holds.get(row_id)) is None:
            return
        if self.hold_by_session.get(old.session_id) is old:
            del self.hold_by_session[old.session_id]
        if old.preset_id:
            _drop(self.holds_by_preset, old.preset_id, row_id)

    def _unlink_preset(self, row_id: str) -> None:
        if (old := self.presets.get(row_id)) is not None:
            _drop(self.presets_by_consumer, _consumer(old), row_id)

    def _unlink_negotiation(self, row_id: str) -> None:
        if (old := self.negotiations.get(row_id)) is not None:
            _drop(self.running_by_stream, old.stream_id, row_id)

    def _unlink_desktop(self, row_id: str) -> None:
        if (old := self.desktops.get(row_id)) is not None and old.agent_id is not None:
            _drop(self.desktops_by_agent, old.agent_id, row_id)

    def _unlink_viewer(self, row_id: str) -> None:
        if (old := self.viewers.get(row_id)) is not None:
            _drop(self.viewers_by_desktop, old.session_id, row_id)


_UNLINK: dict[str, Callable[[Rows, str], None]] = {
    "session": Rows._unlink_session,
    "hold": Rows._unlink_hold,
    "preset": Rows._unlink_preset,
    "negotiation": Rows._unlink_negotiation,
    "desktop": Rows._unlink_desktop,
    "viewer": Rows._unlink_viewer,
}


def _consumer(row: SessionRow | PresetRow) -> Consumer:
    return row.consumer_id, row.consumer_address, row.consumer_port


def _drop(index: dict[Key, dict[str, Any]], key: Key, row_id: str) -> None:
    rows = index.get(key)
    if rows is not None:
        rows.pop(row_id, None)
        if not rows:
            del index[key]
