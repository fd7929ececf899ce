"""A streams domain on real storage and a real NATS server, without HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from app.server.bus.embedded import EmbeddedNats
from app.server.bus.nats import Bus
from app.server.events import EventLog, Published
from app.server.health import Health
from app.server.storage.database import Database
from app.server.storage.history import HistoryMover
from app.server.storage.journal import Journal
from app.server.storage.memory import MemoryState
from app.server.streams.registry import Streams
from app.server.tasks import TaskTree


class Domain:
    """Everything that ``main.py`` puts under the streams domain. ``away``: the bus looks for a server that is not there."""

    def __init__(self, folder: Path, *, away: bool = False) -> None:
        self.tasks = TaskTree()
        self.events = EventLog()
        self.heard: list[Published] = []
        self.events.subscribe(self.heard.append)
        self.health = Health(self.events)
        self.nats = EmbeddedNats(self.tasks, folder, folder, "127.0.0.1", 0)
        self.bus = Bus(self.tasks, self.health, lambda: "nats://127.0.0.1:1" if away else self.nats.url)
        self.journal = Journal(folder / "journal.db", health=self.health)
        self.state = MemoryState(self.journal, self.events, tasks=self.tasks)
        self.database = Database(folder / "callboard.db")
        self.mover = HistoryMover(self.journal, self.database, health=self.health)
        self.streams = Streams(
            state=self.state,
            events=self.events,
            bus=self.bus,
            database=self.database,
            history=self.mover,
            tasks=self.tasks,
        )
        self._away = away

    async def start(self, cleanup: AsyncExitStack) -> None:
        """In the order of ``main.py``."""
        cleanup.push_async_callback(self.tasks.stop, 3.0)
        cleanup.push_async_callback(self.database.stop)
        await self.database.start()
        if not self._away:
            cleanup.push_async_callback(self.nats.stop)
            await self.nats.start()
        cleanup.push_async_callback(self.bus.stop)
        await self.bus.start(0.0 if self._away else 3.0)
        cleanup.push_async_callback(self.journal.close)
        await self.state.open()
        cleanup.push_async_callback(self.state.close)
        cleanup.push_async_callback(self.mover.stop)
        await self.mover.start(self.tasks)
        await self.streams.start()
        cleanup.push_async_callback(self.streams.stop)

    def kinds(self) -> list[str]:
        """Kinds of what was published, but for health."""
        return [event.kind for event in self.heard if event.kind != "health.changed"]


@pytest.fixture
async def domain(tmp_path: Path) -> AsyncIterator[Domain]:
    """A domain that runs."""
    async with AsyncExitStack() as cleanup:
        made = Domain(tmp_path)
        await made.start(cleanup)
        yield made


@pytest.fixture
async def lonely(tmp_path: Path) -> AsyncIterator[Domain]:
    """A domain whose NATS server is not there."""
    async with AsyncExitStack() as cleanup:
        made = Domain(tmp_path, away=True)
        await made.start(cleanup)
        yield made
