"""A journal, its events and health, for the tests of storage."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from app.server.events import EventLog, Published
from app.server.health import Health
from app.server.storage.journal import Journal
from app.server.tasks import TaskTree


class Bench:
    """What a test of storage works on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = EventLog()
        self.events: list[Published] = []
        self.log.subscribe(self.events.append)
        self.health = Health(self.log)
        self.journal = Journal(path, health=self.health)
        self.tasks = TaskTree()

    async def on_the_writer(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        """Run ``work`` with the journal's own connection, on its thread."""

        def run() -> Any:
            connection = self.journal._file.connection
            assert connection is not None
            return work(connection)

        return await self.journal._job(run)

    def health_of(self, part: str) -> tuple[bool, str, bool]:
        row = next(row for row in self.health.rows() if row.id == part)
        return row.ok, row.text, row.take_down

    async def event(self, kind: str, wanted: Callable[[Published], bool] = lambda event: True) -> Published:
        """The first event of a kind that fits, told already or to come."""
        found: asyncio.Future[Published] = asyncio.get_running_loop().create_future()

        def look(event: Published) -> None:
            if event.kind == kind and wanted(event) and not found.done():
                found.set_result(event)

        for event in self.events:
            look(event)
        unsubscribe = self.log.subscribe(look)
        try:
            async with asyncio.timeout(20):
                return await found
        finally:
            unsubscribe()

    async def stall(self) -> Callable[[], None]:
        """Keep the writer thread busy until the answer is called."""
        busy, gate = threading.Event(), threading.Event()

        def run(_connection: sqlite3.Connection) -> None:
            busy.set()
            gate.wait(30)

        waiting = asyncio.ensure_future(self.on_the_writer(run))
        waiting.add_done_callback(lambda future: future.cancelled() or future.exception())
        await asyncio.to_thread(busy.wait, 10)
        return gate.set


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(tmp_path / "journal.db")
    yield bench
    await bench.tasks.stop()
    await bench.journal.close()
