"""The mover: everything arrives, once, however often it is interrupted; old rows leave."""

from __future__ import annotations

import asyncio
import sqlite3
import time
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.contract import AuditRow
from app.server.storage import database as database_module
from app.server.storage import history as history_module
from app.server.storage import records
from app.server.storage.database import AuditQuery, Database, HistoryQuery
from app.server.storage.history import HistoryMover
from app.server.storage.journal import Change
from tests.contract.database_suite import audit_row, ended, history_row
from tests.unit.server.storage.conftest import Bench
from tests.unit.server.storage.test_memory import session, stream

EVERYTHING = HistoryQuery(limit=500)


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "callboard.db")
    await database.start()
    yield database
    await database.stop()


@pytest.fixture
async def mover(bench: Bench, database: Database) -> AsyncIterator[HistoryMover]:
    await bench.journal.open()
    mover = HistoryMover(bench.journal, database, health=bench.health)
    yield mover
    await mover.stop()


def record_of(number: int) -> Change:
    row = session(stream())
    row.consumer_id = f"c{number}"
    return Change().record(*records.opened(row))


async def test_a_query_sees_what_was_answered_before_it(bench: Bench, database: Database, mover: HistoryMover) -> None:
    await mover.start(bench.tasks)
    for number in range(1, 30):
        await bench.journal.commit(record_of(number))
        assert await mover.caught_up(5)
        assert len(await database.history(EVERYTHING)) == number
    assert await bench.journal.read_outbox(10) == []


async def test_catching_up_does_not_wait_for_records_to_gather(
    bench: Bench, mover: HistoryMover, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_module, "GATHER", 60.0)
    await mover.start(bench.tasks)
    for number in range(3):
        await bench.journal.commit(record_of(number))
        assert await mover.caught_up(5)


async def test_nothing_is_lost_or_doubled_when_the_mover_is_killed_between_write_and_acknowledgement(
    bench: Bench, database: Database, mover: HistoryMover
) -> None:
    row, end = history_row(1.0), ended(history_row(2.0))
    act = audit_row(3.0)
    change = Change().record(records.OPENED, records._encode(row)).record(records.CLOSED, records._encode(end))
    await bench.journal.commit(change.record(*records.audit(act)))
    batch = await bench.journal.read_outbox(10)
    await database.write_history(*history_module.sort_records(batch))
    assert await mover.move() == 3
    assert await mover.move() == 0
    assert await database.history(EVERYTHING) == [end, row]
    assert await database.audit(AuditQuery()) == [act]


async def test_history_waits_in_the_journal_while_the_database_is_away(
    bench: Bench, database: Database, mover: HistoryMover, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_module, "TIME_LIMIT", 0.2)
    monkeypatch.setattr(history_module, "RETRY", (0.01,))
    await mover.start(bench.tasks)
    other = sqlite3.connect(tmp_path / "callboard.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    await asyncio.gather(*(bench.journal.commit(record_of(n)) for n in range(450)))
    assert await mover.caught_up(0.05) is False
    waiting = await bench.event("health.changed", lambda event: event.id == "history" and not event.change.ok)
    assert waiting.change.text.startswith("history waits in the journal: the database could not be written")
    assert waiting.change.take_down is False
    assert len(await bench.journal.read_outbox(1000)) == 450
    monkeypatch.setattr(database_module, "TIME_LIMIT", 5.0)
    other.execute("ROLLBACK")
    other.close()
    assert await mover.caught_up(20)
    assert bench.health_of("history")[0] is True
    assert len(await database.history(EVERYTHING)) == 450
    assert await bench.journal.read_outbox(1) == []


async def test_the_outbox_survives_a_restart(bench: Bench, database: Database) -> None:
    await bench.journal.open()
    await bench.journal.commit(record_of(1))
    await bench.journal.close()
    again = Bench(bench.path)
    await again.journal.open()
    mover = HistoryMover(again.journal, database)
    await mover.start(again.tasks)
    assert await mover.caught_up(5)
    assert len(await database.history(EVERYTHING)) == 1
    await mover.stop()
    await again.journal.close()


async def test_memory_holds_one_slice_however_much_waits(bench: Bench, mover: HistoryMover) -> None:
    for _ in range(20):
        await asyncio.gather(*(bench.journal.commit(record_of(n)) for n in range(500)))
    tracemalloc.start()
    base = tracemalloc.get_traced_memory()[0]
    while await mover.move():
        pass
    peak = tracemalloc.get_traced_memory()[1] - base
    tracemalloc.stop()
    assert peak < 3_000_000


async def test_an_unreadable_record_does_not_stop_the_others(
    bench: Bench, database: Database, mover: HistoryMover
) -> None:
    await bench.journal.commit(Change().record("open", b"{rubbish").record("what", b"\xff").record("void", b"\xff"))
    await bench.journal.commit(record_of(1))
    assert await mover.move() == 4
    assert len(await database.history(EVERYTHING)) == 1


async def test_of_two_ends_the_first_counts(database: Database) -> None:
    row = history_row(1.0)
    first, second = ended(row, "withdrawn", 5.0), ended(row, "stopped", 6.0)
    batch = [
        history_module.OutboxRecord(n, kind, records._encode(body))
        for n, (kind, body) in enumerate([("open", row), ("close", first), ("close", second)])
    ]
    rows, void, acts = history_module.sort_records(batch)
    assert (rows, void, acts) == ([first], [], [])


async def test_rows_older_than_90_days_are_deleted_at_the_start(
    bench: Bench, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_module, "PURGE_PAUSE", 0.001)
    now = time.time()
    old = [history_row(now - 91 * 86400 - n) for n in range(450)]
    kept = [history_row(now - 89 * 86400 - n) for n in range(3)]
    await database.write_history(old + kept)
    await bench.journal.open()
    mover = HistoryMover(bench.journal, database)
    await mover.start(bench.tasks)
    async with asyncio.timeout(10):
        while len(await database.history(EVERYTHING)) > 3:
            await asyncio.sleep(0.01)
    assert await database.history(EVERYTHING) == kept
    await mover.stop()


async def test_acts_older_than_90_days_are_deleted_too(bench: Bench, database: Database, mover: HistoryMover) -> None:
    now = time.time()
    ages = (200.0, 91.0, 89.0, 0.0)
    acts = [
        AuditRow(id=f"{age}", at=now - age * 86400, operator="o", verb="v", object="x", result="ok") for age in ages
    ]
    await database.write_history([history_row(now - 91 * 86400)], acts=acts)
    assert await mover.purge() == 3
    assert [row.id for row in await database.audit(AuditQuery())] == ["0.0", "89.0"]


async def test_writers_get_their_turn_while_old_rows_are_deleted(
    bench: Bench, database: Database, mover: HistoryMover, monkeypatch: pytest.MonkeyPatch
) -> None:
    await database.write_history([history_row(float(n)) for n in range(2000)])
    purging = asyncio.ensure_future(mover.purge())
    written = 0
    while not purging.done():
        act = AuditRow(id=str(written), at=time.time(), operator="o", verb="v", object="x", result="ok")
        await database.write_history([], acts=[act])
        written += 1
        await asyncio.sleep(0.01)
    assert await purging == 2000
    assert written >= 10
