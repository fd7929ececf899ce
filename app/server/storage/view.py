"""The rows that readers see, with the indexes that keep them consistent with each other.

Owned by ``memory.py``. Every method is a plain call on the loop; nothing here waits, publishes or writes.
"""

from __future__ import annotations

from app.contract import HoldRow, SessionRow, StreamRow
from app.server.storage.deadlines import Entry

TimedEntry = Entry[StreamRow] | Entry[SessionRow]


class View:
    """Live rows by id, oldest first, and their entries.

    A row that somebody is removing can be out of sight while its entry is still here.
    """

    def __init__(self) -> None:
        self.streams: dict[str, StreamRow] = {}
        self.sessions: dict[str, SessionRow] = {}
        self.holds: dict[str, HoldRow] = {}
        self.by_stream: dict[str, dict[str, SessionRow]] = {}
        self.stream_entries: dict[str, Entry[StreamRow]] = {}
        self.session_entries: dict[str, Entry[SessionRow]] = {}
        self.hold_entries: dict[str, Entry[HoldRow]] = {}
        self.hold_of: dict[str, Entry[HoldRow]] = {}
        """Holds by the session they hold."""

    def show_stream(self, entry: Entry[StreamRow]) -> None:
        """Let readers see a new stream."""
        self.streams[entry.row.id] = entry.row
        self.stream_entries[entry.row.id] = entry

    def show_session(self, entry: Entry[SessionRow]) -> None:
        """Let readers see a new session."""
        row = entry.row
        self.sessions[row.id] = row
        self.session_entries[row.id] = entry
        self.by_stream.setdefault(row.stream_id, {})[row.id] = row

    def show_hold(self, entry: Entry[HoldRow]) -> None:
        """Let readers see a new hold."""
        self.holds[entry.row.id] = entry.row
        self.hold_entries[entry.row.id] = entry
        self.hold_of[entry.row.session_id] = entry

    def conceal(self, entry: TimedEntry) -> None:
        """Take a row out of sight and keep its entry."""
        row = entry.row
        if isinstance(row, StreamRow):
            self.streams.pop(row.id, None)
            return
        self.sessions.pop(row.id, None)
        siblings = self.by_stream.get(row.stream_id)
        if siblings is not None:
            siblings.pop(row.id, None)
            if not siblings:
                del self.by_stream[row.stream_id]

    def remove(self, entry: TimedEntry) -> Entry[HoldRow] | None:
        """Remove a row for good, with its hold, which is returned."""
        self.conceal(entry)
        entry.live = False
        row = entry.row
        if isinstance(row, StreamRow):
            del self.stream_entries[row.id]
            return None
        del self.session_entries[row.id]
        return self.remove_hold(row.id)

    def remove_hold(self, session_id: str) -> Entry[HoldRow] | None:
        """Remove the hold of a session, if there is one."""
        hold = self.hold_of.pop(session_id, None)
        if hold is not None:
            hold.live = False
            del self.holds[hold.row.id], self.hold_entries[hold.row.id]
        return hold

    def alive_stream(self, stream_id: str, now: float) -> Entry[StreamRow] | None:
        """The entry of a stream whose deadline has not passed."""
        entry = self.stream_entries.get(stream_id)
        return entry if entry is not None and entry.deadline > now else None

    def alive_session(self, session_id: str, now: float) -> Entry[SessionRow] | None:
        """The entry of a session whose deadline has not passed."""
        entry = self.session_entries.get(session_id)
        return entry if entry is not None and entry.deadline > now else None
