"""Encoded rows, kept from one listing to the next: 1,000 streams cost a join instead of 1,000 encodings.

Which rows there are, and their order, is asked of the live state each time; only the bytes are remembered, and
forgotten when an event says that a row has changed. Used by ``routes.py``.
"""

from __future__ import annotations

from app.contract import SessionRow
from app.server.dialects.maestra.wire import array, enclosed, session_json, stream_json, type_json
from app.server.events import Published
from app.server.streams.registry import Streams


class Listing:
    """Arrays of the API as bytes."""

    def __init__(self, streams: Streams) -> None:
        self._registry = streams
        self._streams: dict[str, bytes] = {}
        self._sessions: dict[str, bytes] = {}
        self._stream_of: dict[str, str] = {}
        subscribe = streams.events.subscribe
        subscribe(self._on_stream, "stream.advertised", "stream.beat", "stream.withdrawn", "stream.expired")
        subscribe(self._on_session_started, "session.started")
        subscribe(self._on_session_ended, "session.stopped", "session.expired")

    def stream(self, stream_id: str) -> bytes:
        """One live stream; raises ``Expired``."""
        row = self._registry.stream(stream_id)
        known = self._streams.get(stream_id)
        if known is None:
            known = self._streams[stream_id] = stream_json(row, self._registry.active_sessions(stream_id))
        return known

    def streams(self, stream_type: str | None = None) -> bytes:
        """All live streams, or those of one type; oldest first."""
        if not stream_type:
            return array(self._all_streams())
        rows = self._registry.state.streams
        return array([self.stream(row.id) for row in rows.values() if row.stream_type == stream_type])

    def sessions(self, stream_id: str | None = None) -> bytes:
        """All live sessions, or those of one stream; oldest first."""
        if not stream_id:
            return array(self._all_sessions())
        return array([self._session(row) for row in self._registry.state.sessions_of(stream_id)])

    def types(self) -> bytes:
        """All stream types, by name."""
        return array(self._all_types())

    def state(self) -> bytes:
        """Everything, as of one moment."""
        parts = enclosed(b'{"streams":[', self._all_streams(), b"]")
        parts += enclosed(b'"sessions":[', self._all_sessions(), b"]")
        parts += enclosed(b'"stream_types":[', self._all_types(), b"]}")
        return b",".join(parts)

    def _all_streams(self) -> list[bytes]:
        known = self._streams
        return [known.get(stream_id) or self.stream(stream_id) for stream_id in self._registry.state.streams]

    def _all_sessions(self) -> list[bytes]:
        known = self._sessions
        return [known.get(row.id) or self._session(row) for row in self._registry.state.sessions.values()]

    def _all_types(self) -> list[bytes]:
        return [type_json(row) for row in self._registry.types.rows.values()]

    def _session(self, row: SessionRow) -> bytes:
        known = self._sessions.get(row.id)
        if known is None:
            known = self._sessions[row.id] = session_json(row)
        return known

    def _on_stream(self, event: Published) -> None:
        self._streams.pop(event.id, None)

    def _on_session_started(self, event: Published) -> None:
        if isinstance(event.change, SessionRow):
            self._stream_of[event.id] = event.change.stream_id
            self._streams.pop(event.change.stream_id, None)

    def _on_session_ended(self, event: Published) -> None:
        self._sessions.pop(event.id, None)
        stream_id = self._stream_of.pop(event.id, None)
        if stream_id is None:  # restored before this object was there
            self._streams.clear()
        else:
            self._streams.pop(stream_id, None)
