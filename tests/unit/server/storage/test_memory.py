"""``MemoryState`` on real clocks and with a journal that stalls; its rules are in ``tests/contract``."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator

import pytest

from app.contract import SessionRow, StreamRow
from app.errors import Unavailable
from app.server.storage import journal as journal_module
from app.server.storage import memory as memory_module
from app.server.storage.memory import MemoryState
from tests.fakes.clock import Clock
from tests.unit.server.storage.conftest import Bench


def stream(**fields: object) -> StreamRow:
    now = time.time()
    values = {
        "id": str(uuid.uuid4()),
        "name": "CAM A",
        "stream_type": "ndi",
        "publisher_id": "td",
        "protocol": "ndi",
        "address": "10.0.0.1",
        "port": 5960,
        "advertised_at": now,
        "last_heartbeat": now,
        "expires_at": 0.0,
    }
    return StreamRow(**values | fields)  # type: ignore[arg-type]


def session(of: StreamRow) -> SessionRow:
    return SessionRow(
        id=str(uuid.uuid4()),
        stream_id=of.id,
        stream_name=of.name,
        stream_type=of.stream_type,
        publisher_id=of.publisher_id,
        publisher_address=of.address,
        publisher_port=of.port,
        consumer_id="c",
        consumer_address="10.0.0.2",
        protocol=of.protocol,
        started_at=time.time(),
        expires_at=0.0,
    )


@pytest.fixture
async def state(bench: Bench) -> AsyncIterator[MemoryState]:
    """A state whose reaper and flush run, as in the broker."""
    state = MemoryState(bench.journal, bench.log, tasks=bench.tasks)
    await state.open()
    yield state
    await state.close()


async def test_rows_expire_by_themselves_at_their_deadline(
    bench: Bench, state: MemoryState, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    late = 0.0

    async def watch() -> None:
        """How late the loop itself is: for as long nobody can be told anything."""
        nonlocal late
        while True:
            begun = loop.time()
            await asyncio.sleep(0.01)
            late = max(late, loop.time() - begun)

    watching = asyncio.ensure_future(watch())
    kept = await state.advertise(stream())
    for name in ("STREAM_TTL", "SESSION_TTL"):
        monkeypatch.setattr(memory_module, name, 0.4)
    taken = await state.open_session(session(kept))
    row = await state.advertise(stream())
    for kind, gone in (("session.expired", taken), ("stream.expired", row)):
        event = await bench.event(kind)
        assert event.id == gone.id
        assert 0 <= event.at - gone.expires_at < 1 + late
    watching.cancel()
    assert list(state.streams) == [kept.id]
    assert not state.sessions


async def test_a_beaten_row_does_not_expire(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    ahead = 0.0
    state = MemoryState(bench.journal, bench.log, monotonic=lambda: time.monotonic() + ahead, tasks=bench.tasks)
    await state.open()
    beaten, left = await state.advertise(stream()), await state.advertise(stream())
    monkeypatch.setattr(memory_module, "STREAM_TTL", 300.0)
    await state.heartbeat_stream(beaten.id)
    ahead = 31.0
    state._wake.set()
    assert (await bench.event("stream.expired")).id == left.id
    assert list(state.streams) == [beaten.id]
    await state.close()


async def test_deadlines_are_flushed_each_second(bench: Bench, state: MemoryState) -> None:
    row = await state.advertise(stream())
    await state.heartbeat_stream(row.id)

    async def written() -> int:
        return int(await bench.on_the_writer(lambda c: c.execute("SELECT count(*) FROM deadlines").fetchone()[0]))

    async with asyncio.timeout(10):
        while not await written():
            await asyncio.sleep(0.05)


async def test_thousands_of_rows_that_end_together_leave_the_loop_free(bench: Bench) -> None:
    clock = Clock()
    state = MemoryState(bench.journal, bench.log, clock=clock.time, monotonic=clock.monotonic)
    await state.open()
    for _ in range(
        20
    ):  # all at once would keep a slow machine from hearing of the journal for longer than it may be stuck
        await asyncio.gather(*(state.advertise(stream()) for _ in range(250)))
    bench.events.clear()
    clock.advance(31)
    slices: list[int] = []

    async def count() -> None:
        while not slices or slices[-1] < 5000:
            slices.append(len(bench.events))
            await asyncio.sleep(0)

    await asyncio.gather(state.reap(), count())
    assert not state.streams
    assert len({n for n in slices if n}) >= 5, "other work must get its turn between the slices"
    assert len({event.id for event in bench.events if event.kind == "stream.expired"}) == 5000


async def test_expiry_does_not_wait_for_a_stuck_journal(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "STALL", 600.0)  # which would let it go on as well
    clock = Clock()
    state = MemoryState(bench.journal, bench.log, clock=clock.time, monotonic=clock.monotonic)
    await state.open()
    row = await state.advertise(stream())
    release = await bench.stall()
    clock.advance(30)
    reaping = asyncio.ensure_future(state.reap())
    await asyncio.sleep(0)
    assert row.id not in state.streams
    try:
        async with asyncio.timeout(10):
            assert (await bench.event("stream.expired")).id == row.id
    finally:
        release()
        await reaping


async def test_a_withdrawal_under_way_at_the_deadline_decides_how_it_ended(bench: Bench) -> None:
    clock = Clock()
    state = MemoryState(bench.journal, bench.log, clock=clock.time, monotonic=clock.monotonic)
    await state.open()
    row = await state.advertise(stream())
    clock.advance(15)
    kept = await state.open_session(session(row))
    release = await bench.stall()
    withdrawal = asyncio.ensure_future(state.withdraw(row.id))
    await asyncio.sleep(0)
    clock.advance(15)
    await state.reap()
    assert row.id not in state.streams, "nobody sees a row past its deadline"
    assert await state.heartbeat_stream(row.id) is None
    assert bench.events[-1].kind == "session.started", "and nobody is told how it ended yet"
    release()
    removed = await withdrawal
    assert removed is not None
    assert removed.sessions == [kept]
    await state.reap()
    assert [event.kind for event in bench.events[2:]] == ["session.stopped", "stream.withdrawn"]
    assert not state.sessions


async def test_a_withdrawal_that_fails_after_the_deadline_was_an_expiry(bench: Bench) -> None:
    clock = Clock()
    state = MemoryState(bench.journal, bench.log, clock=clock.time, monotonic=clock.monotonic)
    await state.open()
    row = await state.advertise(stream())
    clock.advance(15)
    kept = await state.open_session(session(row))
    await bench.on_the_writer(lambda connection: connection.execute("PRAGMA query_only = 1"))
    release = await bench.stall()
    withdrawal = asyncio.ensure_future(state.withdraw(row.id))
    await asyncio.sleep(0)
    clock.advance(15)
    await state.reap()
    release()
    with pytest.raises(Unavailable):
        await withdrawal
    await state.reap()
    kinds = [event.kind for event in bench.events if event.kind != "health.changed"]
    assert kinds == ["stream.advertised", "session.started", "stream.expired"]
    assert list(state.sessions) == [kept.id]
    assert list(state.sessions_of(row.id)) == [kept]


async def test_a_clean_stop_forgets_no_expiry_under_way(bench: Bench) -> None:
    clock = Clock()
    state = MemoryState(bench.journal, bench.log, clock=clock.time, monotonic=clock.monotonic)
    await state.open()
    row = await state.advertise(stream())
    release = await bench.stall()
    clock.advance(31)
    reaping = asyncio.ensure_future(state.reap())
    await asyncio.sleep(0)
    reaping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reaping
    assert [event.id for event in bench.events if event.kind == "stream.expired"] == [row.id]
    release()
