"""The surroundings of a ``MemoryState``: a real journal, clocks of the test's own, kills by copying the files."""

from __future__ import annotations

import asyncio
import resource
import shutil
from pathlib import Path

from app.contract import HistoryRow
from app.errors import Unavailable
from app.server.events import EventLog, Published
from app.server.health import Health
from app.server.storage.history import sort_records
from app.server.storage.journal import Journal
from app.server.storage.memory import MemoryState
from tests.contract.venue import Venue
from tests.fakes.clock import Clock


class MemoryVenue(Venue):
    """See the module's docstring. Nothing runs by itself: ``advance`` reaps and flushes as the broker would."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lives = 0
        self._history: dict[str, HistoryRow] = {}
        self._limits: tuple[int, int] | None = None
        self.clock = Clock()
        self.events: list[Published] = []

    @property
    def path(self) -> Path:
        return self._folder / f"life-{self._lives}" / "journal.db"

    @property
    def now(self) -> float:
        return self.clock.wall

    async def start(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        log = EventLog(clock=self.clock.time)
        log.subscribe(self.events.append)
        self.health = Health(log, clock=self.clock.time)
        self.journal = Journal(self.path, health=self.health)
        self.state = MemoryState(self.journal, log, clock=self.clock.time, monotonic=self.clock.monotonic)
        await self.state.open()

    async def stop(self) -> None:
        await self.mend_storage()
        await self.journal.close()

    async def advance(self, seconds: float) -> None:
        while seconds > 0:
            step = min(0.5, seconds)
            seconds -= step
            self.clock.advance(step)
            await self.state.reap()
            try:
                await self.state.flush()
            except Unavailable:
                assert not self.journal.ok
            while self.journal.waiting:  # the reaper does not wait for ever; a slow disk has written it before a kill
                await asyncio.sleep(0.001)

    def step_wall_clock(self, seconds: float) -> None:
        self.clock.step(seconds)

    async def kill_and_restart(self, *, away: float = 0.0) -> None:
        files = list(self.path.parent.iterdir())
        self._lives += 1
        self.path.parent.mkdir(parents=True)
        for file in files:
            shutil.copy(file, self.path.parent)
        await self.journal.close()
        await self._next_life(away)

    async def stop_and_restart(self, *, away: float = 0.0) -> None:
        await self.state.close()
        await self.journal.close()
        await self._next_life(away)

    async def _next_life(self, away: float) -> None:
        self.clock.advance(away)
        self.clock.elapsed = 5.0  # another process, perhaps another boot
        await self.start()

    async def break_storage(self) -> None:
        """The operating system refuses every write beyond the first page of a file, as a full disk does."""
        self._limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, self._limits[1]))

    async def mend_storage(self) -> None:
        if self._limits is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, self._limits)

    async def history(self) -> dict[str, HistoryRow]:
        while batch := await self.journal.read_outbox(50):
            rows, void, _ = sort_records(batch)
            for row in rows:
                known = self._history.get(row.id)
                if known is None or known.status == "active":
                    self._history[row.id] = row
            for session_id in void:
                self._history.pop(session_id, None)
            await self.journal.acknowledge(batch[-1].n)
        await asyncio.sleep(0)
        return self._history
