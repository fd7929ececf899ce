"""Takes to one destination that overlap: the later press wins, whichever publisher answers first (console rule 10).

``BrokerClient`` keeps ``Destinations``, ``take.py`` alone uses them. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from app.contract import PresetRow, SessionRow

Consumer = tuple[str, str, int | None]
"""Id, address and port: what makes two destinations the same."""


def consumer_of(row: PresetRow | SessionRow) -> Consumer:
    """Where a preset sends to, or a session goes."""
    return row.consumer_id, row.consumer_address, row.consumer_port


class Destination:
    """The takes to one consumer that are under way."""

    def __init__(self) -> None:
        self.under_way = 0
        self.newest: SessionRow | None = None
        """What the latest press that has its offer put there; the board may not show it yet."""
        self._pressed = 0
        self._won = 0

    def press(self) -> int:
        """A take begins; the number of its press."""
        self._pressed += 1
        return self._pressed

    def winner_over(self, press: int) -> SessionRow | None:
        """What a later press has put there already."""
        return self.newest if self._won > press else None

    def won(self, press: int, session: SessionRow) -> None:
        """That press has its offer, and no later one has."""
        self._won, self.newest = press, session


class Destinations:
    """Destinations that something is being taken to; the others are forgotten."""

    def __init__(self) -> None:
        self._by_consumer: dict[Consumer, Destination] = {}

    @contextmanager
    def at(self, consumer: Consumer) -> Iterator[Destination]:
        """The destination of one take, shared with those that overlap it."""
        destination = self._by_consumer.setdefault(consumer, Destination())
        destination.under_way += 1
        try:
            yield destination
        finally:
            destination.under_way -= 1
            if not destination.under_way:
                del self._by_consumer[consumer]
