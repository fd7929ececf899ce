"""Rows that have gone and are still shown for a minute, with the cause of death.

Owned by ``store.Store``; read by states and tables. Serves console rules 5 and 9.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from app.contract import GHOST_SECONDS, DesktopRow, Gone, Row
from app.models.wording import plain

GHOST_TABLES = ("stream", "session", "agent", "desktop")
FAILED_SECONDS = 600.0
"""How long a session that failed is shown: whoever began it may look at the board only some minutes later."""
_CAUSES = {
    "expired": "TTL ran out",
    "withdrawn": "withdrawn",
    "stopped": "stopped",
    "superseded": "replaced",
    "released": "released",
    "deleted": "deleted",
    "purged": "forgotten",
    "unseen": "gone while not connected",
}


_WORDS = {
    "superseded": "replaced",
    "terminated": "ended",
    "purged": "forgotten",
    "unseen": "gone",
}
"""The cause of death in one word, where the reason itself is not it."""


class Ghost:
    """A row after its death. ``orphans``: sessions that a stream still had; they are its cost."""

    __slots__ = ("at", "by", "orphans", "reason", "row", "still_sending", "text", "until")

    def __init__(self, row: Row, gone: Gone, at: float, orphans: int, until: float) -> None:
        self.row = row
        self.at = at
        self.reason = gone.reason
        self.text = gone.text
        self.by = gone.by
        self.orphans = orphans
        self.still_sending: float | None = None
        """When a heartbeat last came for it after its end; None: never."""
        self.until = until
        """When it is forgotten, on this machine's monotonic clock: the broker's may be stepped."""

    @property
    def word(self) -> str:
        """The cause of death in one word, for the row itself: ``expired``, ``withdrawn``."""
        return _WORDS.get(self.reason, plain(self.reason))

    @property
    def cause(self) -> str:
        """The cause of death in words: ``TTL ran out``, ``withdrawn by Kim``, ``gone while not connected``."""
        if self.reason == "failed":
            return f"failed: {plain(self.text)}" if self.text else "failed"
        words = _CAUSES.get(self.reason) or plain(self.text) or self.reason
        return f"{words} by {self.by}" if self.by else words


def end_of(row: DesktopRow) -> tuple[Gone, float]:
    """How a terminated session ended, and for how many seconds that is shown."""
    if row.phase == "Failed" or row.error_code:
        return Gone(reason="failed", text=row.message or row.error_code), FAILED_SECONDS
    return Gone(reason="terminated", text=row.message), GHOST_SECONDS


class Graveyard:
    """Ghosts by table and id. Every ``at`` is the broker's time."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._ghosts: dict[str, dict[str, Ghost]] = {table: {} for table in GHOST_TABLES}

    def of(self, table: str) -> Mapping[str, Ghost]:
        """Ghosts of one table by id, oldest first; empty for a table without ghosts."""
        return self._ghosts.get(table, {})

    def bury(
        self, table: str, row: Row, gone: Gone, at: float, orphans: int = 0, seconds: float = GHOST_SECONDS
    ) -> None:
        """Keep ``row``, which went ``at``, for a minute from now, or for so many seconds."""
        self._ghosts[table][row.id] = Ghost(row, gone, at, orphans, self._monotonic() + seconds)

    def revive(self, table: str, ids: Iterable[str]) -> None:
        """Forget ghosts whose rows are there again."""
        ghosts = self._ghosts[table]
        if ghosts:
            for row_id in ids:
                ghosts.pop(row_id, None)

    def still_sending(self, table: str, row_id: str, at: float) -> bool:
        """Mark a ghost that still beats, and keep it a minute longer; False when it is not there any more."""
        ghost = self._ghosts.get(table, {}).get(row_id)
        if ghost is None:
            return False
        ghost.still_sending = at
        ghost.until = self._monotonic() + GHOST_SECONDS
        return True

    def expire(self) -> list[tuple[str, str]]:
        """Remove and return, as (table, id), the ghosts whose time is over."""
        now = self._monotonic()
        over = [(table, one) for table, ghosts in self._ghosts.items() for one, g in ghosts.items() if g.until <= now]
        for table, row_id in over:
            del self._ghosts[table][row_id]
        return over
