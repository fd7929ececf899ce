"""Which parts of the broker work: what ``/healthz``, the strip of the console and TAKE DOWN read.

Every part sets its own line: ``nats`` (the bus), ``journal`` and ``history`` (storage), ``disk`` and ``clock``
(``watch.py``). A line with ``ok`` and a text is a warning: the part works, and somebody should look.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from app.contract import HealthRow
from app.server.events import EventLog

PARTS = ("nats", "journal", "history", "disk", "clock")


class Health:
    """The parts and their state; publishes ``health.changed`` when one changes, and only then."""

    def __init__(self, events: EventLog, *, clock: Callable[[], float] = time.time) -> None:
        self._events = events
        self._clock = clock
        now = clock()
        self._rows = {part: HealthRow(id=part, ok=True, since=now) for part in PARTS}

    def set(self, part: str, ok: bool, text: str = "", *, take_down: bool = False) -> None:
        """Say how a part is. ``take_down``: no stream can be taken while it is broken."""
        known = self._rows.get(part)
        take_down = take_down and not ok
        if known is not None and (known.ok, known.text, known.take_down) == (ok, text, take_down):
            return
        since = known.since if known is not None and known.ok == ok else self._clock()
        row = HealthRow(id=part, ok=ok, since=since, text=text, take_down=take_down)
        self._rows[part] = row
        self._events.publish("health.changed", part, row)

    def rows(self) -> list[HealthRow]:
        """Every part, in a fixed order."""
        return list(self._rows.values())

    @property
    def ok(self) -> bool:
        """Whether every part works."""
        return all(row.ok for row in self._rows.values())
