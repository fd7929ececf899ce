"""Records of the journal's outbox: what a session that began or ended writes into history.

Written by ``memory.py`` in the same transaction as the change itself, read by ``history.py``.
"""

from __future__ import annotations

import msgspec

from app.contract import AuditRow, HistoryRow, SessionRow

OPENED = "open"
"""Body: the ``HistoryRow`` of a session that began."""

CLOSED = "close"
"""Body: the whole ``HistoryRow`` of a session that ended, so that it stands for itself."""

VOID = "void"
"""Body: the id of a session that was written and never came to be."""

AUDIT = "audit"
"""Body: an ``AuditRow``."""

_STATUS = {"withdrawn": "withdrawn", "expired": "expired"}

_encode = msgspec.json.Encoder().encode
_history_decoder = msgspec.json.Decoder(HistoryRow)
_audit_decoder = msgspec.json.Decoder(AuditRow)


def opened(row: SessionRow) -> tuple[str, bytes]:
    """The record of a session that began."""
    return OPENED, _encode(_history_row(row))


def closed(row: SessionRow, reason: str, ended_at: float, duration: float) -> tuple[str, bytes]:
    """The record of a session that ended; every reason that history does not know is ``stopped``."""
    history = _history_row(row)
    history.status = _STATUS.get(reason, "stopped")
    history.ended_at = ended_at
    history.duration_seconds = max(0.0, duration)
    return CLOSED, _encode(history)


def void(session_id: str) -> tuple[str, bytes]:
    """The record that takes back an ``opened`` one."""
    return VOID, session_id.encode()


def audit(row: AuditRow) -> tuple[str, bytes]:
    """The record of an operator's act."""
    return AUDIT, _encode(row)


def decode_history(body: bytes) -> HistoryRow:
    """The row of an ``open`` or ``close`` record. Raises ``msgspec.DecodeError`` for a body of another version."""
    return _history_decoder.decode(body)


def decode_audit(body: bytes) -> AuditRow:
    """The row of an ``audit`` record."""
    return _audit_decoder.decode(body)


def _history_row(row: SessionRow) -> HistoryRow:
    return HistoryRow(
        id=row.id,
        time=row.started_at,
        stream_id=row.stream_id,
        stream_name=row.stream_name,
        stream_type=row.stream_type,
        publisher_id=row.publisher_id,
        publisher_address=row.publisher_address,
        consumer_id=row.consumer_id,
        consumer_address=row.consumer_address,
        protocol=row.protocol,
    )
