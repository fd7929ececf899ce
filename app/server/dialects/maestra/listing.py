"""Encoded rows, kept from one listing to the next: 1,000 streams cost a join instead of 1,000 encodings.

Which rows there are, and their order, is asked of the live state each time; only the bytes are remembered, and
forgotten when an event says that a row has changed. Used by ``routes.py``.
"""

from __future__ import annotations

from app.contract import SessionRow
from app.server.dialects.maestra.wire import array, session_json, stream_json, type_json
from app.server.events import Published
from app.server.streams.registry import Streams


class Listing:
    """Arrays of the API as bytes."""

    def __init__(self, streams: Streams) -> None:
        self._registry = streams
        self._streams: dict[str, bytes] = {}
        self._sessions: dict[str, bytes] = {}
        self._stream_of: dict[str, str] = {}
        self._types: tuple[int, bytes] | None = None
        streams.events.subscribe(self._on_event)

    def stream(self, stream_id: str) -> bytes:
        """One live stream; raises ``Expired``."""
        row = self._registry.stream(stream_id)
        known = self._streams.get(stream_id)
        if known is None:
            known = self._streams[stream_id] = stream_json(row, self._registry.active_sessions(stream_id))
        return known

    def streams(self, stream_type: str | None = None) -> bytes:
        """All live streams, or those of one type; oldest first."""
        rows = self._registry.state.streams
        if stream_type:
            return array([self.stream(row.id) for row in rows.values() if row.stream_type == stream_type])
        known = self._streams
        return array([known.get(stream_id) or self.stream(stream_id) for stream_id in rows])

    def sessions(self, stream_id: str | None = None) -> bytes:
        """All live sessions, or those of one stream; oldest first."""
        if stream_id:
            return array([self._session(row) for row in self._registry.state.sessions_of(stream_id)])
        known = self._sessions
        return array([known.get(row.id) or self._session(row) for row in self._registry.state.sessions.values()])

    def types(self) -> bytes:
        """All stream types, by name."""
        rows = self._registry.types.rows
        if self._types is None or self._types[0] != len(rows):
            self._types = len(rows), array([type_json(row) for row in rows.values()])
        return self._types[1]

    def state(self) -> bytes:
        """Everything, as of one moment."""
        return b'{"streams":%b,"sessions":%b,"stream_types":%b}' % (self.streams(), self.sessions(), self.types())

    def _session(self, row: SessionRow) -> bytes:
        known = self._sessions.get(row.id)
        if known is None:
            known = self._sessions[row.id] = session_json(row)
        return known

    def _on_event(self, event: Published) -> None:
        kind = event.kind
        if kind.startswith("stream."):
            self._streams.pop(event.id, None)
        elif kind == "session.started" and isinstance(event.change, SessionRow):
            self._stream_of[event.id] = event.change.stream_id
            self._streams.pop(event.change.stream_id, None)
        elif kind == "session.stopped" or kind == "session.expired":
            self._sessions.pop(event.id, None)
            stream_id = self._stream_of.pop(event.id, None)
            if stream_id is None:  # restored before this object was there
                self._streams.clear()
            else:
                self._streams.pop(stream_id, None)
