"""What every row of the feed is, and the rows of the shared floor: health of the parts, acts of operators."""

from __future__ import annotations

from typing import Any

import msgspec

GHOST_SECONDS = 60.0
"""How long the console shows what has gone."""


class Row(msgspec.Struct, kw_only=True):
    """Base of everything the store keeps by id."""

    id: str


class HealthRow(Row, kw_only=True):
    """State of one part of the broker; ``id`` is the part: nats, journal, history, disk, clock."""

    ok: bool
    since: float
    text: str = ""
    take_down: bool = False
    """True when no stream can be taken while this part is broken."""


class AuditRow(Row, kw_only=True):
    """One act of an operator, also a cancelled one."""

    at: float
    operator: str
    verb: str
    object: str
    object_id: str = ""
    dialect: str = "maestra"
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    result: str
    """``ok``, ``cancelled`` or the error code."""
    detail: str = ""
    milliseconds: float | None = None


class Gone(msgspec.Struct):
    """Change of every removal: why, in one word and in words."""

    reason: str
    """``withdrawn``, ``expired``, ``stopped``, ``released``, ``deleted``, ``removed``, ``superseded``."""
    text: str = ""
    by: str = ""
    """The operator, where one did it."""
