"""The state vocabulary: six words, their glyphs, and the rules.

Read by the tables, the filter, the strip and the theme. Colour is never alone: a state is always written as a
word, drawn as a shape and carries its age; the colours are in ``palettes``.

What folds into what, for Maestra:

* a stream is LIVE while its heartbeat is younger than 12 s, STALE from then on (``heartbeat late``, from 20 s
  ``no heartbeat``) and while a restarted broker has not heard it again, CHANGING while it negotiates;
* a session that Callboard beats for its consumer is HELD, unless the consumer has been heard itself: the board
  never claims that a consumer is alive because we hold its place;
* a session whose source is gone is FAULT ``source lost``; so is the ghost of a stream whose TTL ran out while it
  had sessions, and the ghost of a session for which heartbeats still come. Every other ghost is OFF;
* agents and desktop sessions are in ``fleet_states``;
* while the feed is not live, what looked well is STALE: it is only what was known last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from app.contract import LATE_AFTER, STALE_AFTER, SessionRow, StreamRow
from app.models.wording import age_text, plain

if TYPE_CHECKING:
    from app.models.ghosts import Ghost
    from app.models.picture import Picture


class Word(NamedTuple):
    """One of the six: ``key`` names it in colour tables and filters, ``rank`` sorts trouble to the top."""

    key: str
    text: str
    glyph: str
    shape: str
    """What a delegate paints: disc, half, bars, ring, triangle, dash."""
    rank: int


FAULT = Word("fault", "FAULT", "\N{WARNING SIGN}", "triangle", 0)
STALE = Word("stale", "STALE", "\N{WHITE CIRCLE}", "ring", 1)
CHANGING = Word("changing", "CHANGING", "\N{CIRCLE WITH LEFT HALF BLACK}", "half", 2)
HELD = Word("held", "HELD", "\N{DOUBLE VERTICAL LINE}", "bars", 3)
LIVE = Word("live", "LIVE", "\N{BLACK CIRCLE}", "disc", 4)
OFF = Word("off", "OFF", "\N{EN DASH}", "dash", 5)
WORDS = {word.key: word for word in (LIVE, CHANGING, HELD, STALE, FAULT, OFF)}


@dataclass(slots=True)
class State:
    """State of one object now. ``age``: seconds behind it (heartbeat, cause of death), None where there is none."""

    word: Word
    age: float | None = None
    reason: str = ""
    note: str = ""
    """A word of the object's own kind behind the state's: ``hibernated``, ``withdrawn``, ``by Callboard``."""

    @property
    def text(self) -> str:
        """What stands in the cell: the word, and the age where it matters."""
        word = self.word
        text = f"{word.text} {self.note}" if self.note else word.text
        if self.age is None or word is LIVE or word is CHANGING or word is HELD:
            return text
        return f"{text} {age_text(self.age)}"

    @property
    def sentence(self) -> str:
        """Word, reason and age, for tooltips and screen readers."""
        reason = f", {self.reason}" if self.reason else ""
        age = f", {age_text(self.age)}" if self.age is not None else ""
        return f"{self.word.text}{reason}{age}"


def state_of_stream(row: StreamRow, store: Picture, now: float, ghost: Ghost | None = None) -> State:
    """State of a live stream, or of its ghost when one is given. ``now`` is the broker's clock."""
    if ghost is not None:
        if ghost.reason == "expired" and ghost.orphans:
            lost = "1 session" if ghost.orphans == 1 else f"{ghost.orphans} sessions"
            return State(FAULT, now - ghost.at, f"{ghost.cause} while it had {lost}", ghost.word)
        return State(OFF, now - ghost.at, ghost.cause, ghost.word)
    age = now - row.last_heartbeat
    if not store.live:
        return not_live(store, age)
    running = store.running_for(row.id)
    if running is not None:
        left = max(0.0, running.deadline - now)
        return State(
            CHANGING, now - running.started_at, f"negotiating with {plain(running.consumer_id)}, {left:.0f} s left"
        )
    return _heartbeat(age, row.confirmed)


def state_of_session(row: SessionRow, store: Picture, now: float, ghost: Ghost | None = None) -> State:
    """State of a live session, or of its ghost when one is given. ``now`` is the broker's clock."""
    if ghost is not None:
        if ghost.still_sending is not None:
            return State(FAULT, now - ghost.still_sending, f"still sending ({ghost.cause})", "still sending")
        return State(OFF, now - ghost.at, ghost.cause, ghost.word)
    heard = row.last_heartbeat
    age = now - (row.started_at if heard is None else heard)
    if not store.live:
        return not_live(store, age)
    if row.stream_id not in store.streams:
        source = store.ghost("stream", row.stream_id)
        return State(FAULT, now - source.at if source is not None else None, "source lost", "source lost")
    if store.hold_of(row.id) is not None and (heard is None or age >= LATE_AFTER or not row.confirmed):
        consumer = "consumer never heard" if heard is None else f"consumer last heard {age_text(age)} ago"
        return State(HELD, None if heard is None else age, f"held by Callboard, {consumer}", "by Callboard")
    return _heartbeat(age, row.confirmed)


def _heartbeat(age: float, confirmed: bool) -> State:
    if not confirmed:
        return State(STALE, age, "not heard since the broker restarted")
    if age < LATE_AFTER:
        return State(LIVE, age)
    return State(STALE, age, "heartbeat late" if age < STALE_AFTER else "no heartbeat")


def not_live(store: Picture, age: float | None) -> State:
    """What a row is while the board may not be believed."""
    feed = store.feed_age()
    since = "" if feed is None else f" for {age_text(feed)}"
    return State(STALE, age, f"the board is not live{since}, this is what was known last")


def rank(state: State) -> float:
    """A sort key: trouble first, the oldest trouble on top. A plain number, which costs the collector nothing."""
    return state.word.rank * 1e9 - (state.age or 0.0)
