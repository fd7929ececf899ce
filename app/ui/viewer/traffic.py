"""What a viewer's connection carries, as the broker measures it: throughput and round trip of our own viewer row.

Used by ``window.py``. The broker does not tell a window which viewer row is its own, so it is the one of this session
and mode that began when this window connected.
"""

from __future__ import annotations

from app.contract import ViewerMode, ViewerRow
from app.models.fleet_words import rate_text
from app.models.store import Store

NEAR = 15.0
"""Seconds that the row's beginning may lie from ours: clocks of two machines, and the login of the VNC server."""


class ViewerTraffic:
    """See the module's docstring."""

    def __init__(self, store: Store, session_id: str, mode: ViewerMode) -> None:
        self._store = store
        self._session_id = session_id
        self._mode = mode
        self._since: float | None = None
        self._id = ""

    def set_connected(self, connected: bool) -> None:
        """A connection began or ended."""
        self._since = self._store.broker_now() if connected else None
        self._id = ""

    @property
    def row(self) -> ViewerRow | None:
        """Our viewer, as the broker sees it."""
        if self._since is None:
            return None
        known = self._store.viewers.get(self._id)
        if known is not None:
            return known
        since = self._since
        mine = [row for row in self._store.viewers_of(self._session_id).values() if row.mode == self._mode]
        near = sorted((abs(row.since - since), row.id) for row in mine if abs(row.since - since) <= NEAR)
        self._id = near[0][1] if near else ""
        return self._store.viewers.get(self._id)

    @property
    def text(self) -> str:
        """``1.2 MB/s  3 ms``; "" while nothing is known."""
        row = self.row
        if row is None:
            return ""
        parts = [rate_text(row.down_rate)]
        if row.rtt is not None:
            parts.append(f"{row.rtt:.0f} ms" if row.rtt >= 1 else "< 1 ms")
        return "   ".join(parts)
