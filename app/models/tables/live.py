"""A table that follows the store: gathers changes, flushes them ten times a second, and holds still when asked.

Serves console rules 5 and 8. Rules of the flush:

* a page calls ``start`` when it comes to the front and ``stop`` when it leaves; a stopped table runs no timer and
  only remembers which ids changed;
* only shown rows are announced; cells that change with time are announced once a second, TTL bars twice;
* rows come and go within a quarter of a second, a re-sort happens at most once a second;
* while the order is held (the operator's hand was in the table within 2 s, a menu is open, an action is pending)
  nothing moves: new rows are added at the end, rows that went stay as ghosts in place;
* a snapshot of 10,000 rows is taken in slices, so that no turn of the Qt loop is long.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from PySide6.QtCore import QObject, QTimer, Signal

from app.models.changes import Changes
from app.models.filter import QueryError
from app.models.ghosts import Ghost
from app.models.store import Store
from app.models.tables.columns import Item
from app.models.tables.rows import RowTable

FLUSH_MS = 100
HOLD_SECONDS = 2.0
SLICE = 500
SLICE_GAP_MS = 8
"""Rows that are read in one turn of the loop, and what is left to others between two such turns."""
MOST_DIRTY = 50_000
ROWS_EVERY = 0.25
SORT_EVERY = 1.0
CLOCK_EVERY = 1.0
TTL_EVERY = 0.5


class LiveTable(RowTable):
    """A table of rows of the store's tables ``sources`` (``stream``; ``session`` and ``desktop``), with their ghosts."""

    sources: tuple[str, ...] = ()
    filter_failed = Signal(str)
    """The filter in force had to be given up, and why."""
    hold_changed = Signal(bool)
    """The order is held (True) or free again."""

    def __init__(
        self, store: Store, parent: QObject | None = None, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(store, parent)
        self._store = store
        self._monotonic = monotonic
        self._dirty: dict[str, None] = {}
        self._beaten: set[str] = set()
        self._come: dict[str, Item] = {}
        self._rows_due = False
        self._sort_due = False
        self._arranged_at = 0.0
        self._clock_at = 0.0
        self._ttl_at = 0.0
        self._held_until = 0.0
        self._holds: set[str] = set()
        self._was_held = False
        self._timer = QTimer(self)
        self._timer.setInterval(FLUSH_MS)
        self._timer.timeout.connect(self.flush)
        self._next_slice = QTimer(self)
        self._next_slice.setSingleShot(True)
        self._next_slice.setInterval(SLICE_GAP_MS)
        self._next_slice.timeout.connect(self.flush)
        self._stop_listening = store.listen(self._on_changes)
        self._reread()

    # Life ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """The table is on screen: catch up, then flush ten times a second."""
        self.flush()
        self._timer.start()

    def stop(self) -> None:
        """The table is not on screen: no timer, no signals."""
        self._timer.stop()
        self._next_slice.stop()

    def close(self) -> None:
        """Leave the store; call once before the table is dropped."""
        self.stop()
        self._stop_listening()

    # Holding still --------------------------------------------------------------------------------------

    def touched(self) -> None:
        """The operator's pointer or keyboard was in the table just now: hold the order for two seconds."""
        self._held_until = self._monotonic() + HOLD_SECONDS
        self._note_hold()

    def hold_order(self, reason: str) -> None:
        """Hold the order until ``release_order`` with the same word: ``menu``, ``action:<id>``."""
        self._holds.add(reason)
        self._note_hold()

    def release_order(self, reason: str) -> None:
        """End that hold; an unknown word is nothing."""
        self._holds.discard(reason)
        self._note_hold()

    @property
    def held(self) -> bool:
        """Whether order and filter membership are held now."""
        return bool(self._holds) or self._monotonic() < self._held_until

    def _note_hold(self) -> None:
        held = self.held
        if held != self._was_held:
            self._was_held = held
            self.hold_changed.emit(held)

    # Following the store --------------------------------------------------------------------------------

    def rows(self) -> Mapping[str, Any]:
        """The store's live rows of this table."""
        raise NotImplementedError

    def _reread(self) -> None:
        for source in self.sources:
            self._dirty.update(dict.fromkeys(self._store.graveyard.of(source)))
        self._dirty.update(dict.fromkeys(self.rows()))

    def _on_changes(self, changes: Changes) -> None:
        if changes.reset:
            self._dirty.update(dict.fromkeys(self.rows()))
        for source in self.sources:
            for ids in (changes.put, changes.removed, changes.touched):
                if found := ids.get(source):
                    self._dirty.update(dict.fromkeys(found))
            if found := changes.beat.get(source):
                self._beaten |= found
        if len(self._dirty) > MOST_DIRTY:
            self._forget_the_unknown()

    def _forget_the_unknown(self) -> None:
        """Rows that came and went while the table was not on screen need not be read."""
        rows, items = self.rows(), self._items
        self._dirty = {one: None for one in self._dirty if one in rows or one in items or self._ghost(one)}

    def _ghost(self, row_id: str) -> Ghost | None:
        """The ghost of a row of this table."""
        for source in self.sources:
            if (ghost := self._store.ghost(source, row_id)) is not None:
                return ghost
        return None

    def flush(self) -> None:
        """Bring the table up to date with what was gathered; called by the timer."""
        now = self._monotonic()
        self.moment.now = self._store.broker_now()
        self._note_hold()
        redrawn = self._absorb() if self._dirty else set()
        if not self._dirty:
            self._settle(now)
        if self._beaten:
            redrawn |= self._beaten
            self._sort_due = self._sort_due or self._sort_moves()
            self._beaten = set()
        self._announce(now, redrawn)
        if self._dirty and self._timer.isActive():
            self._next_slice.start()

    def _absorb(self) -> set[str]:
        """Read up to ``SLICE`` changed rows; their ids."""
        read = list(self._dirty)[:SLICE] if len(self._dirty) > SLICE else list(self._dirty)
        rows = self.rows()
        for row_id in read:
            del self._dirty[row_id]
            self._absorb_one(row_id, rows.get(row_id), self._ghost(row_id))
        return set(read)

    def _absorb_one(self, row_id: str, row: Any, ghost: Ghost | None) -> None:
        item = self._items.get(row_id)
        if row is None and ghost is None:
            if item is not None:
                del self._items[row_id]
                self._marks.discard(row_id)
                self._come.pop(row_id, None)
                self._rows_due = True
            return
        if row is None and ghost is not None:
            row = ghost.row
        else:
            ghost = None
        if item is None:
            item = self._items[row_id] = self._come[row_id] = Item(row_id, row, ghost)
            self._rows_due = True
        else:
            item.renew(row, ghost)
            self._sort_due = True
        self.prepare(item)

    def prepare(self, item: Item) -> None:
        """Compute what filter and sort will need, while the row is being read in a slice."""
        item.text = self.search_text(item)
        if self._sort is not None and not self._sort.clock:
            self.sort_key(self._sort)(item)

    def _sort_moves(self) -> bool:
        """Whether time or beats alone may change the order or what passes the filter."""
        return (self._sort is not None and self._sort.clock) or self._query.dynamic

    def _settle(self, now: float) -> None:
        """Put rows where they belong, when it is time and the order is not held."""
        if self._was_held:
            self._append_come()
            return
        since = now - self._arranged_at
        moved = self._sort_due or self._sort_moves()
        if (self._rows_due and since >= ROWS_EVERY) or (moved and since >= SORT_EVERY):
            self._rearrange()

    def arrange(self) -> None:
        """Filter and sort now; also at the operator's own command while the order is held."""
        self._rows_due = self._sort_due = False
        self._come.clear()
        self._arranged_at = self._monotonic()
        super().arrange()

    def _append_come(self) -> None:
        """Add new rows that pass the filter at the end of the held order."""
        if not self._come:
            return
        come = self._passing_or_all(list(self._come.values()))
        self._come.clear()
        self.append(come)

    def _passing_or_all(self, items: list[Item]) -> list[Item]:
        try:
            return self.passing(items)
        except QueryError as error:
            self.give_up_filter(error)
            return items

    def _rearrange(self) -> None:
        try:
            self.arrange()
        except QueryError as error:
            self.give_up_filter(error)

    def give_up_filter(self, error: QueryError) -> None:
        """Show everything, because the filter in force takes too long."""
        self.drop_filter()
        self.filter_failed.emit(error.message)

    def _announce(self, now: float, redrawn: set[str]) -> None:
        if now - self._clock_at >= CLOCK_EVERY:
            self._clock_at = self._ttl_at = now
            self.announce_clock()
        elif now - self._ttl_at >= TTL_EVERY:
            self._ttl_at = now
            self.announce_clock(kind="ttl")
        if redrawn:
            self.announce_rows(redrawn)
