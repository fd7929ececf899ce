"""How many rows are in trouble, for the rail: one tight loop a second over plain rows, also with 10,000 of them.

Follows the rules of ``app/models/states.py`` without making a ``State`` per row, which would cost the Qt thread
15 ms each time; ``tests/ui/test_troubles.py`` compares both.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from app.contract import LATE_AFTER, SessionRow, StreamRow
from app.models.states import FAULT, state_of_session, state_of_stream
from app.models.store import Store

EVERY = 1.0
Badges = list[tuple[str, str]]


class Troubles:
    """Remembers the count of ``count`` for a second."""

    def __init__(self, store: Store, count: Callable[[Store, float], tuple[int, int]]) -> None:
        self._store = store
        self._count = count
        self._at = -EVERY
        self._badges: Badges = []

    def badges(self) -> Badges:
        """(state token, text) of what is wrong, worst first; nothing while the board is not live."""
        now = time.monotonic()
        if now - self._at >= EVERY:
            self._at = now
            self._badges = self.fresh()
        return self._badges if self._store.live else []

    def fresh(self) -> Badges:
        """Count now."""
        fault, stale = self._count(self._store, self._store.broker_now())
        return [(token, counted(number, token)) for token, number in (("fault", fault), ("stale", stale)) if number]


def counted(number: int, word: str) -> str:
    """``1 fault``, ``3 faults``, ``2 stale``: what a fault is can be counted, how a row is cannot."""
    return f"{number} {word}s" if word == "fault" and number != 1 else f"{number} {word}"


def streams_in_trouble(store: Store, now: float) -> tuple[int, int]:
    """Ghosts of streams that are a fault, and streams that are stale."""
    late = now - LATE_AFTER
    negotiating = {row.stream_id for row in store.negotiations.values() if row.outcome is None}
    stale = sum(
        (row.last_heartbeat <= late or not row.confirmed) and row.id not in negotiating
        for row in store.streams.values()
    )
    fault = sum(
        isinstance(ghost.row, StreamRow) and state_of_stream(ghost.row, store, now, ghost).word is FAULT
        for ghost in store.graveyard.of("stream").values()
    )
    return fault, stale


def sessions_in_trouble(store: Store, now: float) -> tuple[int, int]:
    """Sessions and ghosts of sessions that are a fault, and sessions that are stale."""
    late, streams = now - LATE_AFTER, store.streams
    held = {hold.session_id for hold in store.holds.values()}
    fault = stale = 0
    for row in store.sessions.values():
        if row.stream_id not in streams:
            fault += 1
        elif row.id not in held:
            heard = row.started_at if row.last_heartbeat is None else row.last_heartbeat
            stale += heard <= late or not row.confirmed
    for ghost in store.graveyard.of("session").values():
        if isinstance(ghost.row, SessionRow) and state_of_session(ghost.row, store, now, ghost).word is FAULT:
            fault += 1
    return fault, stale
