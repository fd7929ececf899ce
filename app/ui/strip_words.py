"""What the strip says, out of what is known: store, connection, failures. Plain functions, tested without a window.

Serves console rule 1: "NOT LIVE since hh:mm:ss", "TAKE DOWN since hh:mm:ss: NATS is away".
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from app.contract import HealthRow
from app.models.store import Store
from app.models.wording import plain, zone_text
from app.ui.strip import StripState

NAMES = {"nats": "NATS", "journal": "the journal", "history": "history", "disk": "the disk", "clock": "the clock"}


@dataclass(frozen=True, slots=True)
class Connected:
    """What the connection knows: where to, what it is doing, whether acting is allowed."""

    name: str = ""
    """Shown until the broker has said its own name."""
    text: str = ""
    """What is going on, in words: starting, failed and why; "" when nothing is."""
    read_only: str = ""
    """Why this console must not act on that broker; "" when it may."""
    remote: bool = False


def strip_state(
    store: Store, connected: Connected, failures: Sequence[str], operator: str, notices: Mapping[str, str] | None = None
) -> StripState:
    """Everything for one refresh of the strip."""
    not_live = "" if store.live else not_live_text(store, connected)
    return StripState(
        broker=plain(store.hello.broker) if store.hello is not None else connected.name,
        age=store.feed_age(),
        live=store.live,
        not_live=not_live,
        problems=(*(problem_text(part) for part in store.broken_parts()), *failures, *(notices or {}).values()),
        notes=tuple(note for note in (connected.read_only, *warnings(store)) if note),
        blocked=not_live or connected.read_only,
        operator=operator,
        clock=time.strftime("%H:%M:%S"),
        zone=zone_text(time.time()),
    )


def warnings(store: Store) -> list[str]:
    """What wants somebody to look at it although every part works: a disk that fills, a clock that jumped."""
    said = [plain(part.text) for part in store.health.values() if part.ok and part.text]
    if store.unreadable:
        said.append(f"{store.unreadable} messages of the broker could not be read: the board may lack something")
    return said


def not_live_text(store: Store, connected: Connected) -> str:
    """Why the board may not be believed, and since when."""
    age = store.feed_age()
    if not store.loaded or age is None:
        return connected.text or store.link.text or "Connecting"
    since = time.strftime("%H:%M:%S", time.localtime(time.time() - age))
    reason = connected.text or store.link.text
    return f"NOT LIVE since {since}" + (f": {reason}" if reason else "")


def problem_text(part: HealthRow) -> str:
    """A broken part of the broker in words."""
    since = time.strftime("%H:%M:%S", time.localtime(part.since))
    words = plain(part.text) or f"{NAMES.get(part.id, part.id)} is away"
    if part.take_down:
        return f"TAKE DOWN since {since}: {words}"
    return f"{NAMES.get(part.id, part.id)} since {since}: {words}"
