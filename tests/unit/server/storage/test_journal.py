"""The journal: durable before it answers, refused as a whole, back by itself, closed for good."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import ConfigError, Conflict, PortInUse, Unavailable
from app.server.storage import journal as journal_module
from app.server.storage.journal import Change, Journal, Recovered
from tests.unit.server.storage.conftest import Bench

ROOT = Path(__file__).parents[4]


def put(n: int, size: int = 10, deadline: float | None = None) -> Change:
    return Change().put(n, "stream", b"x" * size, deadline)


async def recovered_from(path: Path) -> Recovered:
    journal = Journal(path)
    recovered = await journal.open()
    await journal.close()
    return recovered


def numbers(recovered: Recovered) -> list[int]:
    return [row.n for row in recovered.rows]


async def test_what_was_answered_is_read_back_in_order(bench: Bench) -> None:
    assert await bench.journal.open() == Recovered([], float("-inf"), 0.0, 0, 0)
    await bench.journal.commit(put(1, deadline=30.0).record("open", b"one"))
    await bench.journal.commit(put(2).put(3, "hold", b"h", None))
    change = Change().touch(1, 42.5, 7.5).drop(2).record("close", b"two").record("audit", b"three")
    change.alive = (12.0, 1000.0)
    await bench.journal.commit(change)
    assert [tuple(record) for record in await bench.journal.read_outbox(2)] == [
        (1, "open", b"one"),
        (2, "close", b"two"),
    ]
    await bench.journal.acknowledge(2)
    await bench.journal.close()
    recovered = await recovered_from(bench.path)
    assert [tuple(row) for row in recovered.rows] == [
        (1, "stream", b"x" * 10, 42.5, 7.5),
        (3, "hold", b"h", None, None),
    ]
    assert recovered[1:] == (12.0, 1000.0, 3, 3)


@pytest.mark.parametrize("count", [1, 2, 16, 17, 32, 33, 63, 64, 65, 200, 1000])
async def test_batches_of_every_size_are_written_whole(bench: Bench, count: int) -> None:
    await bench.journal.open()
    await asyncio.gather(*(bench.journal.commit(put(n).record("r", b"%d" % n)) for n in range(count)))
    await asyncio.gather(*(bench.journal.commit(Change().touch(n, float(n), None)) for n in range(count)))
    await asyncio.gather(*(bench.journal.commit(Change().drop(n)) for n in range(0, count, 3)))
    assert len(await bench.journal.read_outbox(2000)) == count
    await bench.journal.close()
    recovered = await recovered_from(bench.path)
    wanted = [n for n in range(count) if n % 3]
    assert [(row.n, row.deadline) for row in recovered.rows] == [(n, float(n)) for n in wanted]


async def test_queued_commits_share_a_transaction(bench: Bench) -> None:
    await bench.journal.open()
    statements: list[str] = []
    await bench.on_the_writer(lambda connection: connection.set_trace_callback(statements.append))
    await asyncio.gather(*(bench.journal.commit(put(n).record("r", b"")) for n in range(32)))
    await bench.on_the_writer(lambda connection: connection.set_trace_callback(None))
    assert [text.split()[0] for text in statements] == ["BEGIN", "INSERT", "INSERT", "COMMIT"]


async def test_apply_runs_in_the_order_of_commits_and_gives_the_answer(bench: Bench) -> None:
    await bench.journal.open()
    order: list[int] = []

    def apply(n: int) -> int:
        order.append(n)
        return n

    calls = [bench.journal.commit(put(n), lambda n=n: apply(n)) for n in range(10)]
    for call in calls[3:6]:
        call.cancel()
    assert await asyncio.gather(*calls[:3], *calls[6:]) == [0, 1, 2, 6, 7, 8, 9]
    assert order == list(range(10))


async def test_an_apply_that_refuses_answers_its_own_caller_alone(bench: Bench) -> None:
    await bench.journal.open()

    def refuse() -> None:
        raise Conflict("no")

    def break_down() -> None:
        raise ZeroDivisionError

    calls = [
        bench.journal.commit(put(1), refuse),
        bench.journal.commit(put(2), break_down),
        bench.journal.commit(put(3)),
    ]
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(one) for one in done] == [Conflict, ZeroDivisionError, type(None)]


async def test_a_full_disk_refuses_the_whole_batch_and_passes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "PROBE_EVERY", 0.05)
    await bench.journal.open()
    await bench.journal.commit(put(1))
    pages = await bench.on_the_writer(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
    await bench.on_the_writer(lambda c: c.execute(f"PRAGMA max_page_count = {pages}").fetchall())
    undone: list[int] = []
    calls = [
        bench.journal.commit(put(n, size), None, lambda n=n: undone.append(n))
        for n, size in ((2, 10), (3, 100_000), (4, 10))
    ]
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(one) for one in done] == [Unavailable] * 3
    assert undone == [2, 3, 4]
    assert bench.health_of("journal") == (False, "the journal cannot be written: the disk is full", True)
    await bench.on_the_writer(lambda c: c.execute("PRAGMA max_page_count = 100000").fetchall())
    await bench.event("health.changed", lambda event: event.id == "journal" and event.change.ok)
    assert bench.health_of("journal") == (True, "", False)
    await bench.journal.commit(put(5, 100_000))
    await bench.journal.close()
    assert numbers(await recovered_from(bench.path)) == [1, 5]


async def test_a_broken_connection_is_replaced(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "PROBE_EVERY", 0.05)
    await bench.journal.open()
    await bench.journal.commit(put(1))
    await bench.on_the_writer(lambda connection: connection.close())
    with pytest.raises(Unavailable):
        await bench.journal.commit(put(2))
    await bench.event("health.changed", lambda event: event.id == "journal" and event.change.ok)
    await bench.journal.commit(put(3))
    await bench.journal.close()
    assert numbers(await recovered_from(bench.path)) == [1, 3]


class _AmbiguousDisk:
    """A connection whose commits are on the disk and reported as failed once, as a failing fsync does."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, text: str, *values: Any) -> sqlite3.Cursor:
        cursor = self._connection.execute(text, *values)
        if text == "COMMIT":
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
            raise error
        return cursor


async def test_a_commit_that_failed_and_was_written_after_all_blocks_nothing(bench: Bench) -> None:
    await bench.journal.open()
    file = bench.journal._file

    def break_disk(connection: sqlite3.Connection) -> None:
        file.connection = _AmbiguousDisk(connection)  # type: ignore[assignment]

    await bench.on_the_writer(break_disk)
    with pytest.raises(Unavailable, match="the disk reports an error"):
        await bench.journal.commit(put(1).record("r", b"reported as lost"))
    await bench.journal.commit(put(2).record("r", b"answered"))
    found = await bench.journal.read_outbox(5)
    assert [record.body for record in found] == [b"reported as lost", b"answered"]
    assert bench.journal.last_record == found[-1].n


async def test_a_full_queue_refuses_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "QUEUE_LIMIT", 50)
    await bench.journal.open()
    release = await bench.stall()
    calls = [bench.journal.commit(put(n)) for n in range(50)]
    with pytest.raises(Unavailable, match="50 changes behind"):
        bench.journal.commit(put(50))
    release()
    await asyncio.gather(*calls)
    await bench.journal.commit(put(51))
    await bench.journal.close()
    assert numbers(await recovered_from(bench.path)) == [*range(50), 51]


async def test_a_stuck_disk_fails_the_callers_and_is_applied_when_it_moves(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bench.journal.open()
    release = await bench.stall()
    monkeypatch.setattr(journal_module, "STALL", 0.1)
    applied = asyncio.Event()
    with pytest.raises(Unavailable, match="has not answered"):
        await bench.journal.commit(put(1), applied.set)
    assert bench.health_of("journal")[0] is False
    assert not applied.is_set()
    release()
    async with asyncio.timeout(15):
        await applied.wait()
    assert bench.health_of("journal")[0] is True
    await bench.journal.close()
    assert numbers(await recovered_from(bench.path)) == [1]


async def test_after_the_end_everything_is_refused_and_the_thread_is_gone(bench: Bench) -> None:
    await bench.journal.open()
    last = bench.journal.commit(put(1))
    await bench.journal.close()
    assert last.done()
    with pytest.raises(Unavailable):
        bench.journal.commit(put(2))
    with pytest.raises(Unavailable):
        await bench.journal.read_outbox(1)
    assert "journal" not in [thread.name for thread in threading.enumerate()]
    assert not bench.path.with_name("journal.db-wal").exists()


async def test_a_second_broker_is_kept_out(bench: Bench) -> None:
    await bench.journal.open()
    code = textwrap.dedent("""
        import asyncio, sys
        from pathlib import Path
        from app.errors import PortInUse
        from app.server.storage.journal import Journal
        try:
            asyncio.run(Journal(Path(sys.argv[1])).open())
        except PortInUse as error:
            print(error.message)
    """)
    run = [sys.executable, "-c", code, str(bench.path)]
    done = await asyncio.to_thread(subprocess.run, run, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (done.stdout.strip(), done.returncode) == (f"{bench.path} is in use by another process", 0), done.stderr
    assert PortInUse.default_code == "in_use"


async def test_a_newer_journal_is_refused(bench: Bench) -> None:
    await bench.journal.open()
    await bench.journal.close()
    with sqlite3.connect(bench.path) as connection:
        connection.execute("UPDATE meta SET value = 2 WHERE key = 'schema'")
    connection.close()
    with pytest.raises(ConfigError, match="schema version 2; this broker knows 1"):
        await Journal(bench.path).open()


async def test_a_file_that_is_no_journal_is_a_configuration_error(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(b"not a database at all " * 500)
    with pytest.raises(ConfigError, match="cannot be opened"):
        await Journal(path).open()


async def test_power_safety_is_asked_of_sqlite(tmp_path: Path) -> None:
    found = []
    for durability in ("normal", "power"):
        bench = Bench(tmp_path / durability)
        bench.journal = Journal(bench.path, durability)  # type: ignore[arg-type]
        await bench.journal.open()
        found.append(await bench.on_the_writer(lambda c: c.execute("PRAGMA synchronous").fetchone()[0]))
        await bench.journal.close()
    assert found == [1, 2]


@settings(max_examples=25, deadline=None, database=None)
@given(data=st.data())
def test_whatever_is_lost_of_the_log_whole_commits_stay(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """A power cut may cost the end of the write-ahead log; a commit is then there whole or not at all."""
    folder = tmp_path_factory.mktemp("journal")
    changes = data.draw(st.lists(st.lists(st.integers(1, 5000), min_size=1, max_size=5), min_size=1, max_size=8))

    async def write() -> list[int]:
        journal = Journal(folder / "journal.db")
        await journal.open()
        ends = []
        for index, sizes in enumerate(changes):
            change = Change()
            for place, size in enumerate(sizes):
                change.put(index * 10 + place, "stream", b"x" * size, None)
            await journal.commit(change)
            ends.append((folder / "journal.db-wal").stat().st_size)
        copy = folder / "copy"
        copy.mkdir()
        for name in ("journal.db", "journal.db-wal"):
            shutil.copy(folder / name, copy / name)
        await journal.close()
        return ends

    ends = asyncio.run(write())
    kept = data.draw(st.integers(0, ends[-1]))
    with (folder / "copy" / "journal.db-wal").open("r+b") as log:
        log.truncate(kept)
    found = {row.n for row in asyncio.run(recovered_from(folder / "copy" / "journal.db")).rows}
    whole = [index for index, end in enumerate(ends) if end <= kept]
    wanted = {index * 10 + place for index in whole for place in range(len(changes[index]))}
    assert found == wanted


WRITER = """
import asyncio, os, sys, time
from pathlib import Path
from app.server.storage.journal import Change, Journal

async def write(journal, worker):
    n = worker * 1_000_000
    while True:
        n += 1
        await journal.commit(Change().put(n, "stream", b"x" * 700, None).record("open", b"%d" % n))
        os.write(1, b"+%d\\n" % n)
        if n % 3 == 0:
            await journal.commit(Change().drop(n - 1))
            os.write(1, b"-%d\\n" % (n - 1))

async def main():
    journal = Journal(Path(sys.argv[1]))
    await journal.open()
    await asyncio.gather(*(write(journal, worker) for worker in range(8)))

asyncio.run(main())
"""


@pytest.mark.parametrize("seed", range(3))
def test_what_was_answered_before_kill_9_is_there(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "journal.db"
    wanted = random.Random(seed).randint(50, 3000)
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stdout=subprocess.PIPE)
    assert child.stdout is not None
    lines = [child.stdout.readline() for _ in range(wanted)]
    child.send_signal(signal.SIGKILL)
    lines += child.stdout.read().splitlines()
    child.stdout.close()
    assert child.wait(10) == -signal.SIGKILL
    added = {int(line) for line in lines if line.startswith(b"+") and line.strip()[1:]}
    dropped = {abs(int(line)) for line in lines if line.startswith(b"-") and line.strip()[1:]}

    async def look() -> tuple[set[int], set[int]]:
        journal = Journal(path)
        rows = {row.n for row in (await journal.open()).rows}
        records = {int(record.body) for record in await journal.read_outbox(1_000_000)}
        await journal.close()
        return rows, records

    rows, records = asyncio.run(look())
    assert added <= records
    assert not dropped & rows
    lost = added - dropped - rows
    assert all((n + 1) % 3 == 0 for n in lost), "only a drop that was under way may have taken a row"
    assert len(lost) <= 8
