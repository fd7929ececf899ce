"""Rows by id and the indexes over them: what a snapshot fills and diffs change.

Used by ``store.Store`` alone, which owns two of these while a snapshot loads: the one that is shown and the
one that fills. A table of the contract is one plain dictionary here, in the order in which rows came.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from app.contract import (
    ROWS,
    HealthRow,
    HoldRow,
    NegotiationRow,
    PresetRow,
    Row,
    SessionRow,
    StreamRow,
    TypeRow,
)


class Rows:
    """Every table of ``contract.ROWS`` with its secondary indexes."""

    def __init__(self) -> None:
        self.streams: dict[str, StreamRow] = {}
        self.sessions: dict[str, SessionRow] = {}
        self.holds: dict[str, HoldRow] = {}
        self.presets: dict[str, PresetRow] = {}
        self.types: dict[str, TypeRow] = {}
        self.negotiations: dict[str, NegotiationRow] = {}
        self.health: dict[str, HealthRow] = {}
        self.tables: dict[str, dict[str, Any]] = {name: {} for name in ROWS} | {
            "stream": self.streams,
            "session": self.sessions,
            "hold": self.holds,
            "preset": self.presets,
            "type": self.types,
            "negotiation": self.negotiations,
            "health": self.health,
        }
        self.sessions_by_stream: dict[str, dict[str, SessionRow]] = {}
        self.sessions_by_consumer: dict[str, dict[str, SessionRow]] = {}
        self.hold_by_session: dict[str, HoldRow] = {}
        self.running_by_stream: dict[str, dict[str, NegotiationRow]] = {}

    def put(self, table: str, row: Row) -> None:
        """Add a row or replace the one with its id."""
        if isinstance(row, SessionRow):
            self._unlink_session(row.id)
            self.sessions_by_stream.setdefault(row.stream_id, {})[row.id] = row
            self.sessions_by_consumer.setdefault(row.consumer_id, {})[row.id] = row
        elif isinstance(row, HoldRow):
            self._unlink_hold(row.id)
            self.hold_by_session[row.session_id] = row
        elif isinstance(row, NegotiationRow):
            self._unlink_negotiation(row.id)
            if row.outcome is None:
                self.running_by_stream.setdefault(row.stream_id, {})[row.id] = row
        self.tables[table][row.id] = row

    def remove(self, table: str, row_id: str) -> Row | None:
        """Take a row away; None when it is not there."""
        if table == "session":
            self._unlink_session(row_id)
        elif table == "hold":
            self._unlink_hold(row_id)
        elif table == "negotiation":
            self._unlink_negotiation(row_id)
        row: Row | None = self.tables[table].pop(row_id, None)
        return row

    def carried_by(self, preset: PresetRow) -> Iterator[SessionRow]:
        """Sessions of the preset's consumer, without those that are held for another preset."""
        for session in self.sessions_by_consumer.get(preset.consumer_id, {}).values():
            if self._held_for(session) in (None, preset.id):
                yield session

    def presets_of(self, session: SessionRow) -> Iterator[PresetRow]:
        """Presets that show ``session``: the one it is held for, else those of its consumer."""
        held_for = self._held_for(session)
        for preset in self.presets.values():
            if preset.consumer_id == session.consumer_id and held_for in (None, preset.id):
                yield preset

    def _held_for(self, session: SessionRow) -> str | None:
        hold = self.hold_by_session.get(session.id)
        return hold.preset_id if hold is not None and hold.preset_id in self.presets else None

    def _unlink_session(self, row_id: str) -> None:
        if (old := self.sessions.get(row_id)) is not None:
            _drop(self.sessions_by_stream, old.stream_id, row_id)
            _drop(self.sessions_by_consumer, old.consumer_id, row_id)

    def _unlink_hold(self, row_id: str) -> None:
        old = self.holds.get(row_id)
        if old is not None and self.hold_by_session.get(old.session_id) is old:
            del self.hold_by_session[old.session_id]

    def _unlink_negotiation(self, row_id: str) -> None:
        if (old := self.negotiations.get(row_id)) is not None:
            _drop(self.running_by_stream, old.stream_id, row_id)


def _drop(index: dict[str, dict[str, Any]], key: str, row_id: str) -> None:
    rows = index.get(key)
    if rows is not None:
        rows.pop(row_id, None)
        if not rows:
            del index[key]
