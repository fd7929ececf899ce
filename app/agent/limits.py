"""Limits of memory and CPU for one session, and its freezing, by the best means this machine has.

Chosen once at the agent's start by ``detect`` and shown in ``metadata.limits``: a systemd scope, cgroup v2, cgroup v1 (as
root), else soft: affinity, priority, a limit on each process's data, and a watchdog on the sum. Freezing uses whichever
freezer can be had, else SIGSTOP for the whole tree. Used by ``local.py``. Serves the StreamSpace document (seed 001,
"Session Lifecycle": resources, hibernate).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from app.agent.platform import AgentFailure, FailureCode
from app.agent.supervisor import descendants, stat_of
from app.quantities import cpu_cores, memory_bytes

FREEZE_WITHIN = 10.0
LOOK_EVERY = 0.002
PERIOD = 100_000
"""Microseconds over which CPU time is shared out."""
SMALLEST_MEMORY = 64 * 1024 * 1024
NICE = 5


@dataclass(frozen=True)
class Wanted:
    """What a session may use; None is as much as there is."""

    memory: int | None = None
    cores: float | None = None

    @classmethod
    def of(cls, resources: Any) -> Wanted:
        """From ``resources`` of a start. Raises ``Invalid`` for what is no quantity."""
        said = resources if isinstance(resources, dict) else {}
        memory, cores = said.get("memory"), said.get("cpu")
        return cls(
            max(memory_bytes(str(memory)), SMALLEST_MEMORY) if memory else None,
            cpu_cores(str(cores)) if cores else None,
        )


class Freezer(Protocol):
    """Stops and continues every process of a session."""

    async def freeze(self) -> None:
        """Return when nothing runs any more. Raises ``AgentFailure``."""

    async def thaw(self) -> None:
        """Let everything go on."""

    def frozen(self) -> bool:
        """Whether it stands still."""


@dataclass(frozen=True)
class Confinement:
    """How one session is held: what its supervisor and its processes have to do, and how it is frozen."""

    name: str
    """``systemd``, ``cgroup2``, ``cgroup1`` or ``soft``."""
    freezer: Freezer
    wrap: list[str] = field(default_factory=list)
    """Words before the supervisor's command."""
    folders: list[Path] = field(default_factory=list)
    """Control groups that each process of the session joins."""
    affinity: list[int] = field(default_factory=list)
    nice: int = 0
    data_limit: int = 0
    memory: int | None = None
    """What the watchdog has to watch itself; None where the kernel does."""
    count_oom: Callable[[], int] = lambda: 0

    @property
    def joins(self) -> list[str]:
        """Files into which a process writes itself."""
        return [str(folder / "cgroup.procs") for folder in self.folders]

    def leftovers(self) -> list[int]:
        """Processes that are still in the session's groups."""
        found: set[int] = set()
        for path in self.joins:
            try:
                found.update(int(line) for line in Path(path).read_text(encoding="ascii").split())
            except OSError:
                continue
        return sorted(found)

    async def remove(self) -> None:
        """Give the groups back once they are empty."""
        for folder in self.folders:
            for _ in range(50):
                try:
                    folder.rmdir()
                except FileNotFoundError:
                    break
                except OSError:  # a process that was killed a moment ago
                    await asyncio.sleep(0.02)
                else:
                    break


class Means(Protocol):
    """One way of confining, for every session of an agent."""

    name: str

    def confine(self, session_id: str, wanted: Wanted, pid: Callable[[], int]) -> Confinement:
        """Prepare or find the confinement of a session; ``pid`` tells its supervisor once there is one."""

    def release(self) -> None:
        """Take away what no session uses."""


class SignalFreezer:
    """SIGSTOP for everything below a supervisor, again until nothing new appeared; works everywhere."""

    def __init__(self, pid: Callable[[], int]) -> None:
        self._pid = pid

    async def freeze(self) -> None:
        """Parents before children, so that no shell sees its child stop."""
        deadline = time.monotonic() + FREEZE_WITHIN
        told: set[int] = set()
        while running := [pid for pid in descendants(self._pid()) if pid not in told or not standing(pid)]:
            for pid in running:
                send(pid, signal.SIGSTOP)
            told.update(running)
            if time.monotonic() > deadline:
                await self.thaw()
                raise AgentFailure("the session's processes could not all be stopped", FailureCode.TIMEOUT)
            await asyncio.sleep(LOOK_EVERY)

    async def thaw(self) -> None:
        """Children before parents."""
        for pid in reversed(descendants(self._pid())):
            send(pid, signal.SIGCONT)

    def frozen(self) -> bool:
        """Whether nothing runs."""
        below = descendants(self._pid())
        return bool(below) and all(standing(pid) for pid in below)


class FileFreezer:
    """The kernel's freezer, v1 or v2: write a word, then wait until a file confirms it."""

    def __init__(self, folder: Path, *, unified: bool) -> None:
        self._folder = folder
        self._unified = unified

    async def freeze(self) -> None:
        """Everything in the group, what forks meanwhile included."""
        await self._set(True)

    async def thaw(self) -> None:
        """Let it go on."""
        await self._set(False)

    def frozen(self) -> bool:
        """What the kernel says."""
        try:
            if self._unified:
                return "frozen 1" in (self._folder / "cgroup.events").read_text(encoding="ascii")
            return (self._folder / "freezer.state").read_text(encoding="ascii").strip() == "FROZEN"
        except OSError:
            return False

    async def _set(self, on: bool) -> None:
        path, word = (
            (self._folder / "cgroup.freeze", "1" if on else "0")
            if self._unified
            else (self._folder / "freezer.state", "FROZEN" if on else "THAWED")
        )
        try:
            path.write_text(word, encoding="ascii")
            for _ in range(int(FREEZE_WITHIN / LOOK_EVERY)):
                if self.frozen() is on:
                    return
                await asyncio.sleep(LOOK_EVERY)
        except FileNotFoundError:
            return  # the session ended meanwhile
        except OSError as error:
            raise AgentFailure(f"the session cannot be frozen or thawed: {error.strerror}") from error
        with contextlib.suppress(OSError):
            path.write_text("0" if self._unified else "THAWED", encoding="ascii")
        raise AgentFailure("the session does not freeze or thaw", FailureCode.TIMEOUT)


class SoftMeans:
    """No control groups: what a process can be told about itself, and a watchdog."""

    name = "soft"

    def __init__(self, freezer_base: Path | None = None, *, unified: bool = False) -> None:
        self._freezer_base = freezer_base
        self._unified = unified

    def confine(self, session_id: str, wanted: Wanted, pid: Callable[[], int]) -> Confinement:
        """Affinity to as many CPUs as asked for, and a limit on each process's data."""
        folders: list[Path] = []
        freezer: Freezer = SignalFreezer(pid)
        if self._freezer_base is not None:
            folders = [make(self._freezer_base / short(session_id))]
            freezer = FileFreezer(folders[0], unified=self._unified)
        return Confinement(
            name=self.name,
            freezer=freezer,
            folders=folders,
            affinity=some_cpus(session_id, wanted.cores),
            nice=NICE,
            data_limit=wanted.memory or 0,
            memory=wanted.memory,
        )

    def release(self) -> None:
        """Nothing but the freezer's folder."""
        give_back_all(self._freezer_base)


def give_back(*folders: Path | None) -> None:
    """Remove control groups that are empty; others belong to sessions that live on."""
    for folder in folders:
        if folder is not None:
            with contextlib.suppress(OSError):
                folder.rmdir()


def give_back_all(*folders: Path | None) -> None:
    """The same with what is in them: groups of sessions that ended while nobody looked."""
    for folder in folders:
        if folder is not None and folder.is_dir():
            give_back(*(path for path in folder.iterdir() if path.is_dir()), folder)


def some_cpus(session_id: str, cores: float | None) -> list[int]:
    """As many CPUs as were asked for, spread by session; empty when all may be used."""
    available = sorted(os.sched_getaffinity(0))
    if cores is None or math.ceil(cores) >= len(available):
        return []
    first = int.from_bytes(hashlib.sha256(session_id.encode()).digest()[:4], "big") % len(available)
    return sorted(available[(first + number) % len(available)] for number in range(math.ceil(cores)))


def short(session_id: str) -> str:
    """A folder name for any session id."""
    return hashlib.sha256(session_id.encode()).hexdigest()[:24]


def make(folder: Path) -> Path:
    """A control group that may be there already."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def standing(pid: int) -> bool:
    """Whether a process that was told to stop runs no more.

    One that waits in the kernel (D) stops before its next instruction; it may wait for a stopped child, as after vfork.
    """
    try:
        return stat_of(pid)[0] in ("T", "t", "Z", "X", "D")
    except OSError:
        return True


def send(pid: int, number: signal.Signals) -> None:
    """A signal to a process that may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
