"""The journal: what was acknowledged survives ``kill -9``.

One writer thread takes everything that is queued into one transaction (group commit, no timer) and reports a
whole batch with one call into the loop. ``MemoryState`` commits through it, ``HistoryMover`` reads its outbox.

* ``commit`` returns a future. ``apply`` runs on the loop once the change is durable, in the order of commits
  and whether or not the caller still waits, so that memory and journal never part.
* A transaction that fails makes every commit in it raise ``Unavailable``; nothing of it was written, ``undo``
  runs, the health part ``journal`` says why, and a probe goes on trying until writing works again.
* The queue holds ``QUEUE_LIMIT`` changes; beyond that ``commit`` raises ``Unavailable`` at once.
* A transaction stuck for ``STALL`` seconds in the operating system fails the callers that wait for it; should
  it succeed later, it is applied then.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from app.errors import CallboardError, Unavailable
from app.logs import get_logger
from app.server.health import Health
from app.server.storage.journal_file import Change, JournalFile, OutboxRecord, Recovered, error_name

__all__ = ["Change", "Journal", "OutboxRecord", "Recovered"]

QUEUE_LIMIT = 10_000
STALL = 5.0
PROBE_EVERY = 1.0

log = get_logger("journal")

T = TypeVar("T")


class _Commit:
    __slots__ = ("apply", "change", "future", "undo")

    def __init__(
        self,
        change: Change,
        apply: Callable[[], Any] | None,
        undo: Callable[[], None] | None,
        future: asyncio.Future[Any],
    ) -> None:
        self.change = change
        self.apply = apply
        self.undo = undo
        self.future = future

    def settle(self, error: str | None) -> None:
        """Apply or undo on the loop, and answer the caller if it still waits."""
        future = self.future
        if error is not None:
            if self.undo is not None:
                self.undo()
            if not future.done():
                future.set_exception(Unavailable(error))
            return
        try:
            result = None if self.apply is None else self.apply()
        except CallboardError as refusal:
            if not future.done():
                future.set_exception(refusal)
        except Exception as problem:
            log.exception("a durable change was not applied")
            if not future.done():
                future.set_exception(problem)
        else:
            if not future.done():
                future.set_result(result)


class _Job:
    """Something else for the writer thread: opening and reading."""

    __slots__ = ("future", "work")

    def __init__(self, work: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        self.work = work
        self.future = future


class Journal:
    """See the module's docstring. Every method is called on the loop."""

    def __init__(
        self,
        path: Path,
        durability: Literal["normal", "power"] = "normal",
        *,
        health: Health | None = None,
    ) -> None:
        self._file = JournalFile(path, full_sync=durability == "power")
        self._health = health
        self._queue: queue.SimpleQueue[list[_Commit] | _Job | None] = queue.SimpleQueue()
        self._unsent: list[_Commit] = []
        self._unsettled: dict[_Commit, float] = {}
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._closing = False
        self.ok = True
        self.last_record = 0
        """Number of the newest durable record of the outbox."""
        self.recorded = asyncio.Event()
        """Set when the outbox has grown; whoever reads the outbox clears it."""

    @property
    def waiting(self) -> int:
        """Changes that are not durable yet."""
        return len(self._unsettled)

    async def open(self) -> Recovered:
        """Start the writer thread and read what survived. Raises ``ConfigError`` or ``PortInUse``."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=False)
        self._thread.start()
        try:
            recovered = cast(Recovered, await self._job(self._file.open))
        except CallboardError:
            await self.close()
            raise
        self.last_record = recovered.last_record
        if recovered.last_record:
            self.recorded.set()
        self._say(True, "")
        return recovered

    async def close(self, timeout: float = 8.0) -> None:
        """Write what is queued, close the file, end the thread."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._closing = True
        for timer in self._timers.values():
            timer.cancel()
        self._send()
        self._queue.put(None)
        await asyncio.to_thread(thread.join, timeout)
        for commit in self._unsettled:
            if not commit.future.done():
                commit.future.set_exception(Unavailable("the journal was closed before it could be written"))

    def commit(
        self,
        change: Change,
        apply: Callable[[], T] | None = None,
        undo: Callable[[], None] | None = None,
    ) -> asyncio.Future[T]:
        """Make ``change`` durable, then run ``apply``; awaiting gives its result. See the module's docstring."""
        loop = self._loop
        if loop is None or self._closing:
            raise Unavailable("the journal is closed")
        if len(self._unsettled) >= QUEUE_LIMIT:
            raise Unavailable(f"the journal is {QUEUE_LIMIT} changes behind")
        future: asyncio.Future[T] = loop.create_future()
        commit = _Commit(change, apply, undo, future)
        self._unsettled[commit] = time.monotonic()
        if not self._unsent:
            loop.call_soon(self._send)
        self._unsent.append(commit)
        if "stall" not in self._timers:
            self._timers["stall"] = loop.call_later(STALL, self._look_for_stall)
        return future

    async def read_outbox(self, limit: int) -> list[OutboxRecord]:
        """The oldest records of the outbox. Raises ``Unavailable``."""
        return cast(list[OutboxRecord], await self._job(lambda: self._file.outbox(limit)))

    async def acknowledge(self, up_to: int) -> None:
        """Forget the records up to number ``up_to``."""
        change = Change()
        change.acked = up_to
        await self.commit(change)

    def _send(self) -> None:
        commits, self._unsent = self._unsent, []
        if commits:
            self._queue.put(commits)

    async def _job(self, work: Callable[[], Any]) -> Any:
        if self._loop is None or self._thread is None or self._closing:
            raise Unavailable("the journal is closed")
        job = _Job(work, self._loop.create_future())
        self._queue.put(job)
        return await job.future

    # The writer thread.

    def _run(self) -> None:
        running = True
        while running:
            commits: list[_Commit] = []
            jobs: list[_Job] = []
            item = self._queue.get()
            while True:
                if item is None:
                    running = False
                elif isinstance(item, _Job):
                    jobs.append(item)
                else:
                    commits += item
                if self._queue.empty():
                    break
                item = self._queue.get_nowait()
            if commits:
                self._report(self._finish, commits, *self._write(commits))
            for job in jobs:
                self._report(_finish_job, job, *_do(job))
        self._file.close()

    def _write(self, commits: list[_Commit]) -> tuple[int, str | None]:
        try:
            return self._file.write([commit.change for commit in commits]), None
        except (sqlite3.Error, CallboardError) as error:
            return 0, self._recover_from(error)
        except Exception as error:
            log.exception("a batch could not be written")
            return 0, _in_words(error)

    def _recover_from(self, error: Exception) -> str:
        text = _in_words(error)
        if error_name(error) == "SQLITE_FULL":
            return text
        try:
            self._file.reopen()
        except (sqlite3.Error, CallboardError) as again:
            return f"{text}; opening it again: {_in_words(again)}"
        return text

    def _report(self, callback: Callable[..., None], *arguments: Any) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(callback, *arguments)

    # Back on the loop.

    def _finish(self, commits: list[_Commit], last_record: int, error: str | None) -> None:
        grown = error is None and last_record > self.last_record
        if error is None:
            self.last_record = last_record
            if not self.ok:
                self._say(True, "")
        else:
            self._say(False, error)
            self._probe_later()
        unsettled = self._unsettled
        for commit in commits:
            del unsettled[commit]
            commit.settle(error)
        if grown:  # whoever waits for an answer goes on before whoever moves the outbox
            self.recorded.set()

    def _say(self, ok: bool, text: str) -> None:
        self.ok = ok
        if self._health is not None:
            self._health.set("journal", ok, text, take_down=not ok)

    def _probe_later(self) -> None:
        if self._loop is not None and not self._closing and "probe" not in self._timers:
            self._timers["probe"] = self._loop.call_later(PROBE_EVERY, self._probe)

    def _probe(self) -> None:
        """Try whether writing works again; it takes as much space as a batch of changes would."""
        del self._timers["probe"]
        if self.ok or self._closing:
            return
        if len(self._unsettled) >= QUEUE_LIMIT:
            self._probe_later()
            return
        self._try_space(True, lambda: self._try_space(False, None))

    def _try_space(self, take: bool, then: Callable[[], None] | None) -> None:
        change = Change()
        change.probe = take
        self.commit(change, then).add_done_callback(_retrieve)

    def _look_for_stall(self) -> None:
        del self._timers["stall"]
        if not self._unsettled or self._loop is None or self._closing:
            return
        now = time.monotonic()
        oldest = next(iter(self._unsettled.values()))
        if now - oldest >= STALL:
            text = f"the journal has not answered for {now - oldest:.0f} s"
            self._say(False, text)
            for commit, since in self._unsettled.items():
                if now - since >= STALL and not commit.future.done():
                    commit.future.set_exception(Unavailable(text))
            oldest = now
        self._timers["stall"] = self._loop.call_later(max(0.1, oldest + STALL - now), self._look_for_stall)


def _do(job: _Job) -> tuple[Any, Exception | None]:
    try:
        return job.work(), None
    except sqlite3.Error as error:
        return None, Unavailable(_in_words(error))
    except CallboardError as error:
        return None, error


def _finish_job(job: _Job, result: Any, error: Exception | None) -> None:
    if job.future.done():
        return
    if error is not None:
        job.future.set_exception(error)
    else:
        job.future.set_result(result)


def _retrieve(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


def _in_words(error: Exception) -> str:
    name = error_name(error)
    if name == "SQLITE_FULL":
        return "the journal cannot be written: the disk is full"
    if name.startswith("SQLITE_IOERR"):
        return "the journal cannot be written: the disk reports an error"
    return f"the journal cannot be written: {error}"
