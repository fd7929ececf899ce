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
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import msgspec

from app.contract import (
    FEED_STALE_AFTER,
    KINDS,
    ROWS,
    AuditRow,
    Beat,
    Diff,
    Event,
    FeedMessage,
    Gone,
    HealthRow,
    Hello,
    HoldRow,
    NegotiationRow,
    PresetRow,
    Pulse,
    Row,
    SessionRow,
    Snapshot,
    StillSending,
    StreamRow,
    TypeRow,
)
from app.models.changes import Changes, Link, LinkState
from app.models.clock import BrokerClock
from app.models.ghosts import GHOST_TABLES, Ghost, Graveyard
from app.models.rows import Rows
from app.models.series import Beats

ENDED_KEPT = 500
_ROW_DECODERS = {name: msgspec.json.Decoder(kind) for name, kind in {**ROWS, "audit": AuditRow}.items()}
_BEAT = msgspec.json.Decoder(Beat)
_GONE = msgspec.json.Decoder(Gone)
Decoded = TypeVar("Decoded")
_STILL = msgspec.json.Decoder(StillSending)


class Store:
    """See the module's docstring. Not thread safe: everything happens on the console's loop."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._clock = BrokerClock(monotonic)
        self._rows = Rows()
        self._filling: Rows | None = None
        self._filling_seq = 0
        self._next_part = 1
        self._last_heard: float | None = None
        self._pulse_ahead = -1
        self._listeners: list[Callable[[Changes], None]] = []
        self.hello: Hello | None = None
        self.link = Link("connecting", time.time())
        self.seq = 0
        self.loaded = False
        """True from the first whole snapshot on, also while the link is down."""
        self.in_step = False
        """False from a gap, or a new connection, to the next whole snapshot."""
        self.graveyard = Graveyard(monotonic)
        self.beats = Beats()
        self.ended: deque[NegotiationRow] = deque(maxlen=ENDED_KEPT)
        self.ended_total = 0
        self.failed_total = 0
        """Negotiations that ended since the start, and those of them that ended without an offer."""
        self.unreadable = 0
        """Rows and events that could not be decoded or are of an unknown kind, since the start."""

    # Reading -----------------------------------------------------------------------------------------

    @property
    def streams(self) -> Mapping[str, StreamRow]:
        """Live streams by id, oldest first. Ask again each time: a snapshot replaces the mapping."""
        return self._rows.streams

    @property
    def sessions(self) -> Mapping[str, SessionRow]:
        """Live sessions by id, oldest first."""
        return self._rows.sessions

    @property
    def holds(self) -> Mapping[str, HoldRow]:
        """Holds by id."""
        return self._rows.holds

    @property
    def presets(self) -> Mapping[str, PresetRow]:
        """Presets by id."""
        return self._rows.presets

    @property
    def types(self) -> Mapping[str, TypeRow]:
        """Stream types by id."""
        return self._rows.types

    @property
    def negotiations(self) -> Mapping[str, NegotiationRow]:
        """Running and lately ended negotiations by id."""
        return self._rows.negotiations

    @property
    def health(self) -> Mapping[str, HealthRow]:
        """Parts of the broker by name."""
        return self._rows.health

    def row(self, table: str, row_id: str) -> Row | None:
        """A live row of any table."""
        row: Row | None = self._rows.tables[table].get(row_id)
        return row

    def ghost(self, table: str, row_id: str) -> Ghost | None:
        """The ghost of a row that has gone within the last minute."""
        return self.graveyard.of(table).get(row_id)

    def sessions_of(self, stream_id: str) -> Mapping[str, SessionRow]:
        """Live sessions of one stream by id, oldest first."""
        return self._rows.sessions_by_stream.get(stream_id, {})

    def hold_of(self, session_id: str) -> HoldRow | None:
        """The hold of a session."""
        return self._rows.hold_by_session.get(session_id)

    def running_for(self, stream_id: str) -> NegotiationRow | None:
        """The negotiation of a stream that has run longest, of those that run now."""
        running = self._rows.running_by_stream.get(stream_id)
        return next(iter(running.values())) if running else None

    def carried_by(self, preset_id: str) -> list[SessionRow]:
        """Live sessions that a preset carries now; the same rule as ``app/client/take.py``."""
        preset = self._rows.presets.get(preset_id)
        return list(self._rows.carried_by(preset)) if preset is not None else []

    def presets_of(self, session: SessionRow) -> list[PresetRow]:
        """Presets that carry a session now."""
        return list(self._rows.presets_of(session))

    def presets_on(self, stream_id: str) -> list[PresetRow]:
        """Presets that carry any session of a stream now, each once."""
        if not self._rows.presets:
            return []
        found = {preset.id: preset for one in self.sessions_of(stream_id).values() for preset in self.presets_of(one)}
        return list(found.values())

    def default_preset(self) -> PresetRow | None:
        """The preset that ``R`` takes to."""
        return next((preset for preset in self._rows.presets.values() if preset.default), None)

    def broken_parts(self) -> list[HealthRow]:
        """Parts of the broker that do not work, those that stop every take first."""
        return sorted((part for part in self.health.values() if not part.ok), key=lambda part: not part.take_down)

    def take_down(self) -> HealthRow | None:
        """The broken part because of which no stream can be taken."""
        return next((part for part in self.health.values() if not part.ok and part.take_down), None)

    # Time --------------------------------------------------------------------------------------------

    def broker_now(self) -> float:
        """The broker's clock, seconds since the epoch."""
        return self._clock.now()

    def feed_age(self) -> float | None:
        """Seconds since the last message of the feed; None when there was none yet."""
        return None if self._last_heard is None else self._monotonic() - self._last_heard

    @property
    def live(self) -> bool:
        """The board may be believed: linked, in step with the broker's numbers, heard within 3 s."""
        if not self.in_step or self._last_heard is None:
            return False
        return self.link.state == "live" and self._monotonic() - self._last_heard <= FEED_STALE_AFTER

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
            self._filling, self._filling_seq, self._next_part = Rows(), part.seq, 1
        if self._filling is None or part.part != self._next_part or part.seq != self._filling_seq:
            self._filling, self.in_step = None, False
            return False
        self._next_part += 1
        for table, raws in part.rows.items():
            decoder = _ROW_DECODERS.get(table) if table in self._filling.tables else None
            for raw in raws:
                if decoder is not None and (row := self._decode(decoder, raw)) is not None:
                    self._filling.put(table, row)
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
        self.beats.keep_only(rows.streams)
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

    def _put(self, table: str, event: Event, changes: Changes) -> None:
        row = self._decode(_ROW_DECODERS[table], event.change)
        if row is None:
            return
        if isinstance(row, AuditRow):
            changes.audit.append(row)
            return
        if isinstance(row, NegotiationRow) and row.outcome is not None:
            self.ended.append(row)
            self.ended_total += 1
            self.failed_total += row.outcome != "offer"
        if isinstance(row, PresetRow) and (old := self._rows.presets.get(row.id)) is not None:
            self._touch_all(self._rows.carried_by(old), changes)
        self._rows.put(table, row)
        if table in GHOST_TABLES:
            self.graveyard.revive(table, (row.id,))
        changes.put.setdefault(table, set()).add(row.id)
        self._touch(table, row, changes)

    def _remove(self, table: str, event: Event, changes: Changes) -> None:
        gone = self._decode(_GONE, event.change) or Gone(reason="gone")
        row = self._rows.tables[table].get(event.id)
        if row is None:
            return
        if table in GHOST_TABLES:
            self._bury(table, row, gone, event.at, self._rows)
        self._rows.remove(table, event.id)
        changes.removed.setdefault(table, set()).add(event.id)
        self._touch(table, row, changes)
        if table == "stream":
            self.beats.forget(event.id)
            if orphans := self.sessions_of(event.id):
                changes.touched.setdefault("session", set()).update(orphans)

    def _note(self, table: str, event: Event, changes: Changes) -> None:
        note = self._decode(_STILL, event.change)
        if note is not None and self.graveyard.still_sending(table, event.id, event.at):
            changes.touched.setdefault(table, set()).add(event.id)

    def _touch(self, table: str, row: Row, changes: Changes) -> None:
        """Name the rows that read differently because ``row`` came or went."""
        if isinstance(row, SessionRow | NegotiationRow):
            changes.touched.setdefault("stream", set()).add(row.stream_id)
        elif isinstance(row, HoldRow):
            changes.touched.setdefault("stream", set()).add(row.stream_id)
            changes.touched.setdefault("session", set()).add(row.session_id)
        elif isinstance(row, PresetRow):
            self._touch_all(self._rows.carried_by(row), changes)

    def _touch_all(self, sessions: Iterable[SessionRow], changes: Changes) -> None:
        for session in sessions:
            changes.touched.setdefault("session", set()).add(session.id)
            changes.touched.setdefault("stream", set()).add(session.stream_id)

    def _bury(self, table: str, row: Row, gone: Gone, at: float, rows: Rows) -> None:
        orphans = len(rows.sessions_by_stream.get(row.id, ())) if table == "stream" else 0
        self.graveyard.bury(table, row, gone, at, orphans)

    def _decode(self, decoder: msgspec.json.Decoder[Decoded], raw: msgspec.Raw) -> Decoded | None:
        try:
            return decoder.decode(raw)
        except msgspec.DecodeError:
            self.unreadable += 1
            return None
