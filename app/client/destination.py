"""Takes to one destination that overlap (console rule 10): of one console the later press wins, whichever publisher
answers first; of two consoles the session that began later.

``BrokerClient`` keeps ``Destinations``, ``take.py`` alone uses them. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from app.contract import PresetRow, SessionRow

Consumer = tuple[str, str, int | None]
"""Id, address and port: what makes two destinations the same."""


def consumer_of(row: PresetRow | SessionRow) -> Consumer:
    """Where a preset sends to, or a session goes."""
    return row.consumer_id, row.consumer_address, row.consumer_port


def is_later(one: SessionRow, other: SessionRow) -> bool:
    """Which of two sessions began later; every console says the same."""
    return _began(one) > _began(other)


def _began(session: SessionRow) -> tuple[float, str]:
    return session.started_at, session.id


class Destination:
    """The takes to one consumer that are under way."""

    def __init__(self) -> None:
        self.under_way = 0
        self.newest: SessionRow | None = None
        """What the latest press that has its offer put there; the board may not show it yet."""
        self.asking: list[str] = []
        """Streams that this console asks for: their sessions are no strangers', whatever comes first, feed or answer."""
        self._pressed = 0
        self._won = 0

    def press(self) -> int:
        """A take begins; the number of its press."""
        self._pressed += 1
        return self._pressed

    def strangers(self, sessions: Iterable[SessionRow], mine: SessionRow) -> list[SessionRow]:
        """Of what is there, oldest first, what another console took after ``mine``."""
        ours = list(self.asking)
        if mine.stream_id in ours:
            ours.remove(mine.stream_id)
        return sorted((one for one in sessions if is_later(one, mine) and one.stream_id not in ours), key=_began)

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
    def at(self, consumer: Consumer, stream_id: str) -> Iterator[Destination]:
        """The destination of one take of that stream, shared with those that overlap it."""
        destination = self._by_consumer.setdefault(consumer, Destination())
        destination.under_way += 1
        destination.asking.append(stream_id)
        try:
            yield destination
        finally:
            destination.under_way -= 1
            destination.asking.remove(stream_id)
            if not destination.under_way:
                del self._by_consumer[consumer]
