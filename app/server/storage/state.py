"""The protocol of live state: streams, sessions and holds with their TTLs.

Called by the streams domain alone. Implementations: ``memory.py`` (journalled), and Redis for the set-up
of several brokers. ``tests/contract/state_suite.py`` runs the same cases against each of them.

Promises of every implementation:

* a coroutine that changes something returns after the change is durable, and only then is its event
  published (``EventLog``), its history record queued and the row visible to readers;
* when it cannot be made durable it raises ``Unavailable`` and nothing has changed;
* of two callers that withdraw or close the same object exactly one gets it, the other gets ``None``;
* a row is expired within 1 s of its deadline, exactly once, with its event; deadlines are monotonic, so a
  stepped wall clock ends nothing early and keeps nothing too long;
* reads are plain calls on a local mirror, in a stable order (oldest first), and never show a dead row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from app.contract import HoldRow, SessionRow, StreamRow


class Removed(NamedTuple):
    """What a withdrawal took away."""

    stream: StreamRow
    sessions: list[SessionRow]


class LiveState(Protocol):
    """See the module's docstring for the promises."""

    @property
    def streams(self) -> Mapping[str, StreamRow]:
        """Live streams by id, oldest first. Read only; rows are the live objects."""

    @property
    def sessions(self) -> Mapping[str, SessionRow]:
        """Live sessions by id, oldest first."""

    @property
    def holds(self) -> Mapping[str, HoldRow]:
        """Holds by id."""

    def sessions_of(self, stream_id: str) -> Iterable[SessionRow]:
        """Live sessions of one stream, oldest first; empty for an unknown stream."""

    async def open(self) -> None:
        """Load what survived, give it one fresh TTL and ``confirmed = False``, expire the rest, start the reaper."""

    async def close(self) -> None:
        """Flush deadlines and stop; nothing acknowledged is lost."""

    async def advertise(self, row: StreamRow) -> StreamRow:
        """Add a stream; the caller has made the id. Deadlines are set here."""

    async def heartbeat_stream(self, stream_id: str) -> StreamRow | None:
        """Give a stream a fresh TTL; None when it is not live. Not journalled one by one."""

    async def heartbeat_session(self, session_id: str, *, by_hold: bool = False) -> SessionRow | None:
        """The same for a session; ``by_hold`` leaves ``last_heartbeat`` and ``confirmed`` alone."""

    async def withdraw(self, stream_id: str, *, by: str = "") -> Removed | None:
        """Remove a stream with its sessions and their holds; None when another was first or it is gone."""

    async def open_session(self, row: SessionRow) -> SessionRow:
        """Add a session. Raises ``Expired`` when its stream is not live at the moment of the commit."""

    async def close_session(self, session_id: str, *, reason: str = "stopped", by: str = "") -> SessionRow | None:
        """Remove a session and its hold; None when another was first or it is gone."""

    async def put_hold(self, row: HoldRow) -> HoldRow:
        """Add a hold. Raises ``Expired`` when the session is not live, ``Conflict`` when it is held already."""

    async def drop_hold(self, hold_id: str, *, by: str = "") -> HoldRow | None:
        """Remove a hold; the session lives on its own TTL."""
