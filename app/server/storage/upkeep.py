"""What the journal is owed: moved deadlines, the alive mark, and changes it could not take at their time.

Owned by ``memory.py``, whose flush calls it once a second. What is owed is bounded by the rows that were live
when the journal went away, since nothing new is accepted without it.
"""

from __future__ import annotations

import asyncio
from functools import partial

from app.errors import Unavailable
from app.server.storage.journal import Change, Journal
from app.server.storage.view import TimedEntry


class Upkeep:
    """Collects and writes what nobody waits for."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._owed = Change()
        self.dirty: set[TimedEntry] = set()
        """Live rows whose deadline has moved since it was written."""

    @property
    def in_debt(self) -> bool:
        """Whether a change waits for the journal to work again."""
        return bool(self._owed.drops or self._owed.records)

    def owe(self, change: Change) -> asyncio.Future[None] | None:
        """Write removals now or, when the journal cannot, with the first flush that succeeds."""
        later = partial(self.owe_later, change)
        try:
            written: asyncio.Future[None] = self._journal.commit(change, None, later)
        except Unavailable:
            later()
            return None
        written.add_done_callback(_retrieve)
        return written

    def owe_later(self, change: Change) -> None:
        """Write removals with the next flush."""
        self._owed.absorb(change)

    async def flush(self, monotonic: float, wall: float) -> None:
        """Write all of it and the alive mark. Raises ``Unavailable``; then it is still owed."""
        owed, self._owed = self._owed, Change()
        moved = {entry for entry in self.dirty if not entry.claims}
        self.dirty -= moved
        change = Change()
        change.absorb(owed)
        change.alive = (monotonic, wall)
        for entry in moved:
            change.touch(entry.n, entry.deadline, entry.row.last_heartbeat)

        def restore() -> None:
            self.owe_later(owed)
            self.dirty.update(entry for entry in moved if entry.live)

        try:
            written: asyncio.Future[None] = self._journal.commit(change, None, restore)
        except Unavailable:
            restore()
            raise
        await written


def _retrieve(future: asyncio.Future[None]) -> None:
    if not future.cancelled():
        future.exception()
