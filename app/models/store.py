"""The live picture of the broker: rows by id, ghosts, the broker's clock and the age of the feed.

The client hands every feed message to ``receive`` on the console's loop; tables, pages and the strip read
plain attributes and listen for ``Changes``, one object per message that changed something. ``receive``
returns False when numbers are missing: the caller then asks for a new snapshot, and until its last part has
come the old rows stay as they are. A snapshot comes in parts of at most 1,000 rows, each one call, so that
10,000 rows never hold up the window. Serves "The feed" of ARCHITECTURE.md and console rules 1, 5 and 9.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from app.contract import (
    KINDS,
    PATCHES,
    ROWS,
    AgentRow,
    AuditRow,
    Beat,
    DesktopRow,
    Diff,
    DrainRow,
    Event,
    FeedMessage,
    Gone,
    Hello,
    HoldRow,
    NegotiationRow,
    PresetRow,
    Pulse,
    Row,
    SessionRow,
    Snapshot,
    StillSending,
    ViewerBeat,
    ViewerRow,
)
from app.models.changes import Changes, Link, LinkState
from app.models.clock import BrokerClock
from app.models.ghosts import GHOST_TABLES, Graveyard, end_of
from app.models.loads import Loads
from app.models.picture import Picture
from app.models.rows import Rows
from app.models.series import Beats

ENDED_KEPT = 500
_ROW_DECODERS = {name: msgspec.json.Decoder(kind) for name, kind in {**ROWS, "audit": AuditRow}.items()}
_BEAT = msgspec.json.Decoder(Beat)
_GONE = msgspec.json.Decoder(Gone)
Decoded = TypeVar("Decoded")
_STILL = msgspec.json.Decoder(StillSending)
_PATCHES = {kind: (msgspec.json.Decoder(shape), shape.__struct_fields__) for kind, shape in PATCHES.items()}
"""Decoder of each patch, and the fields of the row that it replaces."""


class Store(Picture):
    """See the module's docstring. Not thread safe: everything happens on the console's loop."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__(monotonic, time.time())
        self._filling: Rows | None = None
        self._filling_seq = 0
        self._next_part = 1
        self._over: list[DesktopRow] = []
        """Sessions of the snapshot that fills which have ended."""
        self._pulse_ahead = -1
        self._listeners: list[Callable[[Changes], None]] = []
        self.hello: Hello | None = None
        self.seq = 0
        self.loaded = False
        """True from the first whole snapshot on, also while the link is down."""
        self.beats = Beats()
        self.loads = Loads()
        self.ended: deque[NegotiationRow] = deque(maxlen=ENDED_KEPT)
        self.ended_total = 0
        self.failed_total = 0
        """Negotiations that ended since the start, and those of them that ended without an offer."""
        self.unreadable = 0
        """Rows and events that could not be decoded or are of an unknown kind, since the start."""

    def set_link(self, state: LinkState, since: float, text: str = "") -> None:
        """Take the client's word about its connection. Rows stay; whether they are in step, the numbers decide."""
        self.link = Link(state, since, text)
        self._tell(Changes())

    # Listening ---------------------------------------------------------------------------------------

    def listen(self, listener: Callable[[Changes], None]) -> Callable[[], None]:
        """Call ``listener`` after each change (empty ``Changes``: link or time only); returns what ends that."""
        self._listeners.append(listener)

        def stop() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return stop

    def _tell(self, changes: Changes) -> None:
        for listener in tuple(self._listeners):
            listener(changes)

    # Writing -----------------------------------------------------------------------------------------

    def receive(self, message: FeedMessage) -> bool:
        """Take one message of the feed; False: numbers are missing, ask for a new snapshot."""
        self._last_heard = self._monotonic()
        if isinstance(message, Diff):
            return self.apply(message)
        if isinstance(message, Pulse):
            return self._pulse(message)
        if isinstance(message, Snapshot):
            return self.load_part(message)
        self.hello = message
        self.in_step = False
        self._filling = None
        self._tell(Changes())
        return True

    def load_part(self, part: Snapshot) -> bool:
        """Take one part of a snapshot; the last one replaces the shown rows. False: a part is missing."""
        if part.part == 1:
            self._filling, self._filling_seq, self._next_part, self._over = Rows(), part.seq, 1, []
        if self._filling is None or part.part != self._next_part or part.seq != self._filling_seq:
            self._filling, self.in_step = None, False
            return False
        self._next_part += 1
        for table, raws in part.rows.items():
            decoder = _ROW_DECODERS.get(table) if table in self._filling.tables else None
            for raw in raws:
                if decoder is not None and (row := self._decode(decoder, raw)) is not None:
                    self._fill(self._filling, table, row)
        if part.part == part.parts:
            self._clock.heard(part.at)
            self._show(self._filling, part)
        return True

    def apply(self, diff: Diff) -> bool:
        """Apply a batch of events; False: there is a gap. Out of step already: ignored, the snapshot has it."""
        if not self.in_step:
            return True
        self._clock.heard(diff.at)
        events = diff.events
        if events and events[0].seq <= self.seq:
            events = [event for event in events if event.seq > self.seq]
        changes = Changes()
        for event in events:
            if event.seq != self.seq + 1:
                self.in_step = False
                self._tell(changes)
                return False
            self.seq = event.seq
            self._apply_one(event, changes)
        if changes:
            self._tell(changes)
        return True

    def forget(self) -> None:
        """Another broker is shown from now on: nothing of the last one stays, not even as a ghost."""
        changes = Changes(reset=True)
        changes.removed = {table: {*rows, *self.graveyard.of(table)} for table, rows in self._rows.tables.items()}
        self._clock = BrokerClock(self._monotonic)
        self._rows, self._filling = Rows(), None
        self._last_heard, self.hello = None, None
        self.seq, self._pulse_ahead = 0, -1
        self.loaded = self.in_step = False
        self.graveyard = Graveyard(self._monotonic)
        self.beats = Beats()
        self.loads = Loads()
        self._tell(changes)

    def tick(self) -> None:
        """Once a second: forget ghosts whose minute is over. Works without a link too."""
        gone = self.graveyard.expire()
        changes = Changes()
        for table, row_id in gone:
            changes.removed.setdefault(table, set()).add(row_id)
        self._tell(changes)

    # Inside ------------------------------------------------------------------------------------------

    def _pulse(self, pulse: Pulse) -> bool:
        """A number that was ahead at the last pulse and has still not come is a gap."""
        self._clock.heard(pulse.at)
        if not self.in_step:
            return True
        if self._pulse_ahead > self.seq:
            self.in_step = False
            self._pulse_ahead = -1
            self._tell(Changes())
            return False
        self._pulse_ahead = pulse.seq
        return True

    def _show(self, rows: Rows, last: Snapshot) -> None:
        """Replace the shown rows; what was shown and is not there any more becomes a ghost."""
        old, self._rows, self._filling = self._rows, rows, None
        changes = Changes(reset=True)
        for table, now in rows.tables.items():
            lost = old.tables[table].keys() - now.keys()
            changes.put[table] = set(now)
            changes.removed[table] = lost
            if table in GHOST_TABLES:
                unseen = Gone(reason="unseen")
                for row_id in lost:
                    self._bury(table, old.tables[table][row_id], unseen, last.at, old)
                self.graveyard.revive(table, now)
        self._bury_ended(last.at, changes)
        self.beats.keep_only(rows.streams)
        self.loads.keep_only(rows.agents)
        for agent in rows.agents.values():
            self.loads.heard(agent)
        self.seq = self._filling_seq
        self.loaded = self.in_step = True
        self._pulse_ahead = -1
        self._tell(changes)

    def _apply_one(self, event: Event, changes: Changes) -> None:
        known = KINDS.get(event.kind)
        if known is None:
            self.unreadable += 1
            return
        table, op = known
        if op == "beat":
            self._beat(table, event, changes)
        elif op == "patch":
            self._patch(table, event, changes)
        elif op == "put":
            self._put(table, event, changes)
        elif op == "remove":
            self._remove(table, event, changes)
        else:
            self._note(table, event, changes)

    def _beat(self, table: str, event: Event, changes: Changes) -> None:
        row = self._rows.tables[table].get(event.id)
        beat = self._decode(_BEAT, event.change)
        if row is None or beat is None:
            return
        row.expires_at = beat.expires_at
        if beat.last_heartbeat is not None:
            if table == "stream":
                self.beats.heard(event.id, row.last_heartbeat, beat.last_heartbeat)
            row.last_heartbeat = beat.last_heartbeat
            row.confirmed = True
        ids = changes.beat.get(table)
        if ids is None:
            ids = changes.beat[table] = set()
        ids.add(event.id)

    def _patch(self, table: str, event: Event, changes: Changes) -> None:
        """Fields of the change replace the row's of the same name."""
        row = self._rows.tables[table].get(event.id)
        decoder, fields = _PATCHES[event.kind]
        change = self._decode(decoder, event.change)
        if row is None or change is None:
            return
        if isinstance(row, ViewerRow) and isinstance(change, ViewerBeat) and row.open != change.open:
            changes.touched.setdefault("desktop", set()).add(row.session_id)
        for name in fields:
            setattr(row, name, getattr(change, name))
        if isinstance(row, AgentRow):
            self.loads.heard(row)
        changes.beat.setdefault(table, set()).add(event.id)

    def _put(self, table: str, event: Event, changes: Changes) -> None:
        row = self._decode(_ROW_DECODERS[table], event.change)
        if row is None:
            return
        if isinstance(row, AuditRow):
            changes.audit.append(row)
            return
        if isinstance(row, DesktopRow) and row.state == "terminated":
            self._end(row, event.at, changes)
            return
        self._note_put(row, changes)
        self._rows.put(table, row)
        if table in GHOST_TABLES:
            self.graveyard.revive(table, (row.id,))
        changes.put.setdefault(table, set()).add(row.id)
        self._touch(row, changes)

    def _note_put(self, row: Row, changes: Changes) -> None:
        """What a row that is about to be put means besides itself, while the one before it is still there."""
        if isinstance(row, NegotiationRow) and row.outcome is not None:
            self.ended.append(row)
            self.ended_total += 1
            self.failed_total += row.outcome != "offer"
        elif isinstance(row, PresetRow) and (old := self._rows.presets.get(row.id)) is not None:
            self._touch_all(self._rows.carried_by(old), changes)
        elif isinstance(row, AgentRow):
            self.loads.heard(row)
        elif isinstance(row, DesktopRow) and (before := self._rows.desktops.get(row.id)) is not None:
            self._touch(before, changes)

    def _end(self, row: DesktopRow, at: float, changes: Changes) -> None:
        """A session that has ended is a ghost, though the broker keeps its row for a day."""
        before = self._rows.remove("desktop", row.id)
        gone, seconds = end_of(row)
        if before is None and self.ghost("desktop", row.id) is not None:
            return
        self.graveyard.bury("desktop", row, gone, row.ended_at or at, seconds=seconds)
        changes.removed.setdefault("desktop", set()).add(row.id)
        self._touch(row, changes)

    def _remove(self, table: str, event: Event, changes: Changes) -> None:
        gone = self._decode(_GONE, event.change) or Gone(reason="gone")
        row = self._rows.tables[table].get(event.id)
        if row is None:
            return
        if table in GHOST_TABLES:
            self._bury(table, row, gone, event.at, self._rows)
        self._rows.remove(table, event.id)
        changes.removed.setdefault(table, set()).add(event.id)
        self._touch(row, changes)
        if table == "agent":
            self.loads.forget(event.id)
        if table == "stream":
            self.beats.forget(event.id)
            if orphans := self.sessions_of(event.id):
                changes.touched.setdefault("session", set()).update(orphans)

    def _note(self, table: str, event: Event, changes: Changes) -> None:
        note = self._decode(_STILL, event.change)
        if note is not None and self.graveyard.still_sending(table, event.id, event.at):
            changes.touched.setdefault(table, set()).add(event.id)

    def _touch(self, row: Row, changes: Changes) -> None:
        """Name the rows that read differently because ``row`` came or went."""
        if isinstance(row, SessionRow | NegotiationRow):
            changes.touched.setdefault("stream", set()).add(row.stream_id)
        elif isinstance(row, HoldRow):
            changes.touched.setdefault("stream", set()).add(row.stream_id)
            changes.touched.setdefault("session", set()).add(row.session_id)
        elif isinstance(row, PresetRow):
            self._touch_all(self._rows.carried_by(row), changes)
        elif isinstance(row, ViewerRow):
            changes.touched.setdefault("desktop", set()).add(row.session_id)
        elif isinstance(row, DrainRow):
            changes.touched.setdefault("agent", set()).add(row.id)
        elif isinstance(row, DesktopRow) and row.agent_id is not None:
            changes.touched.setdefault("agent", set()).add(row.agent_id)

    def _touch_all(self, sessions: Iterable[SessionRow], changes: Changes) -> None:
        for session in sessions:
            changes.touched.setdefault("session", set()).add(session.id)
            changes.touched.setdefault("stream", set()).add(session.stream_id)

    def _fill(self, filling: Rows, table: str, row: Row) -> None:
        if isinstance(row, DesktopRow) and row.state == "terminated":
            self._over.append(row)
        else:
            filling.put(table, row)

    def _bury_ended(self, at: float, changes: Changes) -> None:
        """Sessions that ended lately are ghosts for what is left of their time; of older ones nothing is shown."""
        over, self._over = self._over, []
        for row in over:
            gone, seconds = end_of(row)
            ended = row.ended_at or row.updated_at
            left = seconds - max(0.0, at - ended)
            if left > 0:
                self.graveyard.bury("desktop", row, gone, ended, seconds=left)
                changes.removed.setdefault("desktop", set()).add(row.id)

    def _bury(self, table: str, row: Row, gone: Gone, at: float, rows: Rows) -> None:
        orphans = len(rows.sessions_by_stream.get(row.id, ())) if table == "stream" else 0
        self.graveyard.bury(table, row, gone, at, orphans)

    def _decode(self, decoder: msgspec.json.Decoder[Decoded], raw: msgspec.Raw) -> Decoded | None:
        try:
            return decoder.decode(raw)
        except msgspec.DecodeError:
            self.unreadable += 1
            return None
