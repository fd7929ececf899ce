"""What the store tells its listeners: one ``Changes`` for each message that changed something, and the link.

Made by ``store.Store``; read by the tables, the strip and the pages.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from app.contract import AuditRow

LinkState = Literal["connecting", "live", "down"]


class Link(msgspec.Struct, frozen=True):
    """What the client says about its connection; ``since`` is seconds since the epoch on this machine."""

    state: LinkState
    since: float
    text: str = ""


class Changes:
    """What one message changed, by table: ids of whole rows, of beats, of removals and of rows they concern.

    ``touched`` holds rows that are the same but read differently now: a stream whose sessions changed, a
    session whose hold or source went. ``reset`` is True after a snapshot; the id sets then hold everything.
    """

    __slots__ = ("audit", "beat", "put", "removed", "reset", "touched")

    def __init__(self, *, reset: bool = False) -> None:
        self.put: dict[str, set[str]] = {}
        self.beat: dict[str, set[str]] = {}
        self.removed: dict[str, set[str]] = {}
        self.touched: dict[str, set[str]] = {}
        self.audit: list[AuditRow] = []
        self.reset = reset

    def __bool__(self) -> bool:
        return bool(self.put or self.beat or self.removed or self.touched or self.audit or self.reset)

    def redrawn(self, table: str) -> set[str]:
        """Ids whose row must be read again, other than for a beat."""
        nothing: set[str] = set()
        return self.put.get(table, nothing) | self.removed.get(table, nothing) | self.touched.get(table, nothing)
