"""Sorting out a journal: who lives on, who expired while the broker was away, what cannot be read."""

from __future__ import annotations

import msgspec

from app.contract import HoldRow
from app.server.storage import records
from app.server.storage.journal_file import LiveRecord, Recovered
from app.server.storage.recovery import sort_out
from tests.unit.server.storage.test_memory import session, stream


def test_a_row_that_had_run_out_before_the_broker_died_is_expired() -> None:
    alive, dead = stream(), stream()
    lost = session(dead)
    lost.started_at = 900.0
    hold = HoldRow(id="h", session_id=lost.id, stream_id=dead.id, operator="kim", since=1.0)
    recovered = Recovered(
        rows=[
            LiveRecord(1, "stream", msgspec.json.encode(alive), 50.1, 990.0),
            LiveRecord(2, "stream", msgspec.json.encode(dead), 50.0, None),
            LiveRecord(3, "session", msgspec.json.encode(lost), 45.0, None),
            LiveRecord(4, "hold", msgspec.json.encode(hold), None, None),
        ],
        alive=50.0,
        alive_wall=1000.0,
        last_n=4,
        last_record=0,
    )
    survived = sort_out(recovered, 7.0, 5000.0)
    (kept,) = survived.streams
    assert (kept.row.id, kept.deadline, kept.row.expires_at) == (alive.id, 37.0, 5030.0)
    assert (kept.row.last_heartbeat, kept.row.confirmed) == (990.0, False)
    assert not survived.sessions
    assert not survived.holds
    assert survived.change.drops == [2, 3, 4]
    assert survived.gone == [("stream.expired", dead.id), ("session.expired", lost.id), ("hold.ended", "h")]
    ((kind, body),) = survived.change.records
    row = records.decode_history(body)
    assert (kind, row.status, row.ended_at, row.duration_seconds) == ("close", "expired", 995.0, 95.0)


def test_what_cannot_be_read_is_dropped_and_the_rest_lives() -> None:
    good = stream()
    recovered = Recovered(
        rows=[
            LiveRecord(1, "stream", b"{rubbish", 60.0, None),
            LiveRecord(2, "unheard-of", b"{}", 60.0, None),
            LiveRecord(3, "stream", msgspec.json.encode(good), 60.0, None),
        ],
        alive=50.0,
        alive_wall=1000.0,
        last_n=3,
        last_record=0,
    )
    survived = sort_out(recovered, 0.0, 0.0)
    assert [entry.row.id for entry in survived.streams] == [good.id]
    assert survived.change.drops == [1, 2]
    assert survived.gone == []
