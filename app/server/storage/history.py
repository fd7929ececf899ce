"""From the journal's outbox to the durable tables, history and audit, and out of them after 90 days.

Owned by ``app/server/main.py``; the streams domain asks ``caught_up`` before it reads history. Records are moved in
slices, written so that repeating them changes nothing, and only then forgotten by the journal. While the database
is away they wait there: what waits is bounded by the disk alone, memory holds one slice.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable

import msgspec

from app.contract import AuditRow, HistoryRow
from app.errors import Unavailable
from app.logs import get_logger
from app.server.health import Health
from app.server.storage import records
from app.server.storage.database import Database
from app.server.storage.journal import Journal, OutboxRecord
from app.server.tasks import TaskNode, TaskTree

SLICE = 200
"""Records that are moved at once."""

GATHER = 0.5
"""Seconds in which records gather while nobody waits for them."""

RETRY = (0.25, 0.5, 1.0, 2.0)
RETENTION_DAYS = 90
PURGE_EVERY = 3600.0
PURGE_SLICE = 200
PURGE_PAUSE = 0.05

log = get_logger("history")


class HistoryMover:
    """See the module's docstring."""

    def __init__(
        self,
        journal: Journal,
        database: Database,
        *,
        health: Health | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._journal = journal
        self._database = database
        self._health = health
        self._clock = clock
        self._moved = 0
        self._progress = asyncio.Event()
        self._hurry = asyncio.Event()
        self._waiting = 0
        self._nodes: list[TaskNode] = []

    async def start(self, tasks: TaskTree, parent: TaskNode | None = None) -> None:
        """Start moving and purging; the journal is open."""
        for name, run in (("history", self._move_for_ever), ("retention", self._purge_for_ever)):
            self._nodes.append(tasks.spawn(name, run, parent=parent, restart="on_failure"))

    async def stop(self) -> None:
        """Stop; what has not been moved waits in the journal."""
        nodes, self._nodes = self._nodes, []
        for node in nodes:
            await node.stop()

    async def caught_up(self, timeout: float) -> bool:
        """Wait until everything recorded before this call is in the database; False when it takes too long."""
        target = self._journal.last_record
        if self._moved >= target:
            return True
        self._waiting += 1
        self._hurry.set()
        try:
            async with asyncio.timeout(timeout):
                while self._moved < target:
                    await self._progress.wait()
        except TimeoutError:
            return False
        else:
            return True
        finally:
            self._waiting -= 1

    async def move(self) -> int:
        """Move one slice; how many records there were. Raises ``Unavailable`` when either side is away."""
        target = self._journal.last_record
        batch = await self._journal.read_outbox(SLICE)
        if batch:
            await self._database.write_history(*sort_records(batch))
            await self._journal.acknowledge(batch[-1].n)
            target = batch[-1].n
        self._advance(target)
        return len(batch)

    async def purge(self) -> int:
        """Delete sessions and acts older than the retention, slice by slice; how many rows that were."""
        older_than = self._clock() - RETENTION_DAYS * 86400
        total = 0
        for purge in (self._database.purge_history, self._database.purge_audit):
            while True:
                deleted = await purge(older_than, PURGE_SLICE)
                total += deleted
                if deleted < PURGE_SLICE:
                    break
                await asyncio.sleep(PURGE_PAUSE)
        return total

    def _advance(self, moved: int) -> None:
        self._moved = max(self._moved, moved)
        self._progress.set()
        self._progress = asyncio.Event()

    async def _move_for_ever(self) -> None:
        failures = 0
        while True:
            await self._journal.recorded.wait()
            self._journal.recorded.clear()
            try:
                while await self.move() == SLICE:
                    pass
            except Unavailable as error:
                self._say(False, f"history waits in the journal: {error.message}")
                self._journal.recorded.set()
                await asyncio.sleep(RETRY[min(failures, len(RETRY) - 1)])
                failures += 1
                continue
            failures = 0
            self._say(True, "")
            await self._gather()

    async def _gather(self) -> None:
        """Let records gather, unless somebody waits for them."""
        self._hurry.clear()
        if not self._waiting:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GATHER):
                    await self._hurry.wait()

    async def _purge_for_ever(self) -> None:
        while True:
            try:
                deleted = await self.purge()
            except Unavailable as error:
                log.warning("old history stays for now", reason=error.message)
            else:
                if deleted:
                    log.info("old history deleted", rows=deleted, days=RETENTION_DAYS)
            await asyncio.sleep(PURGE_EVERY)

    def _say(self, ok: bool, text: str) -> None:
        if self._health is not None:
            self._health.set("history", ok, text)


def sort_records(batch: Iterable[OutboxRecord]) -> tuple[list[HistoryRow], list[str], list[AuditRow]]:
    """One row for each session in the batch, ids of sessions that never were, and acts.

    Of two ends of one session the first counts, as it does in the database.
    """
    rows: dict[str, HistoryRow] = {}
    void: list[str] = []
    acts: list[AuditRow] = []
    for record in batch:
        try:
            if record.kind == records.VOID:
                rows.pop(record.body.decode(), None)
                void.append(record.body.decode())
            elif record.kind == records.AUDIT:
                acts.append(records.decode_audit(record.body))
            else:
                row = records.decode_history(record.body)
                known = rows.get(row.id)
                if known is None or known.status == "active":
                    rows[row.id] = row
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            log.error("unreadable record dropped", n=record.n, kind=record.kind, error=str(error))
    return list(rows.values()), void, acts
