"""After a restart: which rows of the journal live on, and what is written about those that do not.

Used once, by ``MemoryState.open``. The rule: a row whose TTL had not run out when the broker was
last known alive gets one fresh TTL, however long the broker was away; the others expired in its absence.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from app.contract import SESSION_TTL, STREAM_TTL, HoldRow, SessionRow, StreamRow
from app.logs import get_logger
from app.server.storage import records
from app.server.storage.deadlines import Entry
from app.server.storage.journal_file import Change, LiveRecord, Recovered

log = get_logger("journal")

_KINDS: dict[str, type[StreamRow] | type[SessionRow] | type[HoldRow]] = {
    "stream": StreamRow,
    "session": SessionRow,
    "hold": HoldRow,
}


@dataclass
class Survived:
    """What ``sort_out`` found: entries that live on, and the change and events of those that do not."""

    last_n: int
    streams: list[Entry[StreamRow]] = field(default_factory=list)
    sessions: list[Entry[SessionRow]] = field(default_factory=list)
    holds: list[Entry[HoldRow]] = field(default_factory=list)
    change: Change = field(default_factory=Change)
    gone: list[tuple[str, str]] = field(default_factory=list)
    """Kind of event and id, of each row that expired."""


def sort_out(recovered: Recovered, now: float, wall: float) -> Survived:
    """Divide what the journal held; ``now`` is monotonic, ``wall`` the wall clock."""
    survived = Survived(recovered.last_n)
    kept: set[str] = set()
    for record in recovered.rows:
        row = _decode(record)
        if row is None:
            survived.change.drop(record.n)
        elif isinstance(row, HoldRow):
            if row.session_id in kept:
                survived.holds.append(Entry(row, record.n, float("inf"), now))
            else:
                survived.change.drop(record.n)
                survived.gone.append(("hold.ended", row.id))
        elif record.deadline is not None and record.deadline > recovered.alive:
            kept.add(row.id)
            _keep(survived, row, record, now, wall)
        else:
            _expire(survived, row, record, recovered)
    return survived


def _decode(record: LiveRecord) -> StreamRow | SessionRow | HoldRow | None:
    try:
        return msgspec.json.decode(record.body, type=_KINDS[record.kind])
    except (KeyError, RecursionError, msgspec.DecodeError) as error:
        log.error("unreadable row dropped", n=record.n, kind=record.kind, error=str(error))
        return None


def _keep(survived: Survived, row: StreamRow | SessionRow, record: LiveRecord, now: float, wall: float) -> None:
    row.confirmed = False
    if isinstance(row, StreamRow):
        row.last_heartbeat = record.heard if record.heard is not None else row.last_heartbeat
        row.expires_at = wall + STREAM_TTL
        survived.streams.append(Entry(row, record.n, now + STREAM_TTL, now))
        return
    row.last_heartbeat = record.heard if record.heard is not None else row.last_heartbeat
    row.expires_at = wall + SESSION_TTL
    began = now - max(0.0, wall - row.started_at)
    survived.sessions.append(Entry(row, record.n, now + SESSION_TTL, began))


def _expire(survived: Survived, row: StreamRow | SessionRow, record: LiveRecord, recovered: Recovered) -> None:
    survived.change.drop(record.n)
    if isinstance(row, StreamRow):
        survived.gone.append(("stream.expired", row.id))
        return
    late = recovered.alive - record.deadline if record.deadline is not None else 0.0
    ended_at = recovered.alive_wall - late
    survived.change.record(*records.closed(row, "expired", ended_at, ended_at - row.started_at))
    survived.gone.append(("session.expired", row.id))
