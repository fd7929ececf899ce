"""Control groups of both versions and systemd scopes as means of confining sessions, and which of them works here.

Used by ``local.py`` through ``detect``. A means counts as working only after it was tried: containers show trees that
cannot be written, and cgroup v2 without the controllers that are needed. Serves the StreamSpace document (seed 001,
"Session Lifecycle": resources).
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from app.agent.limits import (
    PERIOD,
    Confinement,
    FileFreezer,
    Freezer,
    Means,
    SignalFreezer,
    SoftMeans,
    Wanted,
    give_back,
    give_back_all,
    make,
    short,
)
from app.logs import get_logger
from app.packaged import foreign_environment

log = get_logger("agent.limits")

TREE = Path("/sys/fs/cgroup")
NEEDED = frozenset({"memory", "cpu"})
TRY_WITHIN = 5.0
RUNNING = Path("/run/systemd/system")
"""There where systemd is the init of this machine."""


class Hierarchy:
    """Where this process stands in the machine's control groups."""

    def __init__(self, tree: Path = TREE, own: str | None = None) -> None:
        self.tree = tree
        self._own = Path("/proc/self/cgroup").read_text(encoding="utf-8") if own is None else own

    def v1(self, controller: str) -> Path | None:
        """Our folder below one v1 controller."""
        for line in self._own.splitlines():
            _, names, path = line.split(":", 2)
            if controller in names.split(","):
                return self._existing(self.tree / names, self.tree / controller, path)
        return None

    def v2(self) -> Path | None:
        """Our folder in the unified tree, alone or beside v1."""
        for line in self._own.splitlines():
            if line.startswith("0::"):
                for root in (self.tree, self.tree / "unified"):
                    if (root / "cgroup.controllers").exists():
                        return self._existing(root, root, line[3:])
        return None

    @staticmethod
    def _existing(first: Path, second: Path, path: str) -> Path | None:
        """Inside a container the path may name what lies outside of it; then the root is where we are."""
        for root in (first, second):
            for folder in (root / path.lstrip("/"), root):
                if (folder / "cgroup.procs").exists():
                    return folder
        return None


class Cgroup2:
    """Own groups in the unified tree."""

    name = "cgroup2"

    def __init__(self, base: Path) -> None:
        self._base = base

    def confine(self, session_id: str, wanted: Wanted, pid: Callable[[], int]) -> Confinement:
        """Memory without swap beyond it, CPU by quota."""
        folder = make(self._base / short(session_id))
        if wanted.memory is not None:
            (folder / "memory.max").write_text(str(wanted.memory), encoding="ascii")
            swap = folder / "memory.swap.max"
            if swap.exists():
                swap.write_text("0", encoding="ascii")
        if wanted.cores is not None:
            (folder / "cpu.max").write_text(f"{quota(wanted.cores)} {PERIOD}", encoding="ascii")
        return Confinement(
            name=self.name,
            freezer=FileFreezer(folder, unified=True),
            folders=[folder],
            count_oom=lambda: counted(folder / "memory.events"),
        )

    def release(self) -> None:
        """The folder of this agent."""
        give_back_all(self._base)


class Cgroup1:
    """Own groups below the v1 controllers, and the freezer of whichever version there is."""

    name = "cgroup1"

    def __init__(self, memory: Path, cpu: Path, freezer: Path | None, *, unified: bool) -> None:
        self._memory = memory
        self._cpu = cpu
        self._freezer = freezer
        self._unified = unified

    def confine(self, session_id: str, wanted: Wanted, pid: Callable[[], int]) -> Confinement:
        """Memory and CPU in two trees, which may be the same folder."""
        memory, cpu = make(self._memory / short(session_id)), make(self._cpu / short(session_id))
        if wanted.memory is not None:
            for name in ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"):  # with swap, where that is counted
                if name == "memory.limit_in_bytes" or (memory / name).exists():
                    (memory / name).write_text(str(wanted.memory), encoding="ascii")
        if wanted.cores is not None:
            (cpu / "cpu.cfs_period_us").write_text(str(PERIOD), encoding="ascii")
            (cpu / "cpu.cfs_quota_us").write_text(str(quota(wanted.cores)), encoding="ascii")
        folders = [memory] if memory == cpu else [memory, cpu]
        freezer: Freezer = SignalFreezer(pid)
        if self._freezer is not None:
            frozen = make(self._freezer / short(session_id))
            folders.append(frozen)
            freezer = FileFreezer(frozen, unified=self._unified)
        return Confinement(
            name=self.name,
            freezer=freezer,
            folders=folders,
            count_oom=lambda: counted(memory / "memory.oom_control"),
        )

    def release(self) -> None:
        """The folders of this agent."""
        give_back_all(self._memory, self._cpu, self._freezer)


class Systemd:
    """A transient scope of the user's or the system's service manager; the supervisor stands in it too."""

    name = "systemd"

    def __init__(self, command: list[str], tree: Path = TREE) -> None:
        self._command = command
        self._tree = tree

    def confine(self, session_id: str, wanted: Wanted, pid: Callable[[], int]) -> Confinement:
        """The scope is made by ``systemd-run`` when the supervisor starts, and goes with its last process."""
        properties = ["-p", "CPUAccounting=yes", "-p", "MemoryAccounting=yes"]
        if wanted.memory is not None:
            properties += ["-p", f"MemoryMax={wanted.memory}", "-p", "MemorySwapMax=0"]
        if wanted.cores is not None:
            properties += ["-p", f"CPUQuota={max(1, round(wanted.cores * 100))}%"]
        unit = f"--unit=callboard-{short(session_id)}-{os.urandom(3).hex()}"
        return Confinement(
            name=self.name,
            freezer=ScopeFreezer(pid, self._tree),
            wrap=[*self._command, "--collect", unit, *properties, "--"],
            count_oom=lambda: counted((scope_of(pid(), self._tree) or self._tree) / "memory.events"),
        )

    def release(self) -> None:
        """Scopes go by themselves."""


class ScopeFreezer:
    """The freezer of the scope in which a supervisor finds itself."""

    def __init__(self, pid: Callable[[], int], tree: Path) -> None:
        self._pid = pid
        self._tree = tree

    def _actual(self) -> Freezer:
        folder = scope_of(self._pid(), self._tree)
        return SignalFreezer(self._pid) if folder is None else FileFreezer(folder, unified=True)

    async def freeze(self) -> None:
        """Everything in the scope."""
        await self._actual().freeze()

    async def thaw(self) -> None:
        """Let it go on."""
        await self._actual().thaw()

    def frozen(self) -> bool:
        """What the kernel says."""
        return self._actual().frozen()


def scope_of(pid: int, tree: Path) -> Path | None:
    """The folder of the scope that we made around this process, if we may freeze it."""
    try:
        text = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("0::") and "/callboard-" in line:
            folder = tree / line[3:].lstrip("/")
            if os.access(folder / "cgroup.freeze", os.W_OK):
                return folder
    return None


async def detect(state_id: str, hierarchy: Hierarchy | None = None) -> Means:
    """The best means that really works here, for the agent of one state folder."""
    where = hierarchy or Hierarchy()
    name = f"callboard-{state_id}"
    return await _systemd(where.tree) or _cgroup2(where, name) or _cgroup1(where, name) or _soft(where, name)


async def _systemd(tree: Path) -> Means | None:
    program = shutil.which("systemd-run")
    if program is None or not RUNNING.is_dir():
        return None
    command = [program, "--scope", "--quiet", *([] if os.geteuid() == 0 else ["--user"])]
    try:
        null = asyncio.subprocess.DEVNULL
        trial = await asyncio.create_subprocess_exec(
            *command, *("-p", "MemoryMax=64M", "--", "true"),
            stdin=null, stdout=null, stderr=null, env=foreign_environment(),
        )  # fmt: skip
        try:
            async with asyncio.timeout(TRY_WITHIN):
                if await trial.wait() == 0:
                    return Systemd(command, tree)
        finally:
            if trial.returncode is None:
                trial.kill()
                await trial.wait()
    except (OSError, TimeoutError) as error:
        log.info("no systemd scopes", error=str(error))
    return None


def _cgroup2(where: Hierarchy, name: str) -> Means | None:
    own = where.v2()
    if own is None:
        return None
    base = own / name
    try:
        offered = set((own / "cgroup.controllers").read_text(encoding="ascii").split())
        if NEEDED - offered:
            return None
        make(base)
        for folder in (own, base):
            (folder / "cgroup.subtree_control").write_text("+memory +cpu", encoding="ascii")
    except OSError as error:
        log.info("no control groups v2", error=str(error))
        give_back(base)
        return None
    return Cgroup2(base)


def _cgroup1(where: Hierarchy, name: str) -> Means | None:
    memory, cpu = where.v1("memory"), where.v1("cpu")
    if memory is None or cpu is None:
        return None
    bases = memory / name, cpu / name
    try:
        for folder, file in zip(bases, ("memory.limit_in_bytes", "cpu.cfs_quota_us"), strict=True):
            if not os.access(make(folder) / file, os.W_OK):
                give_back(*bases)
                return None
    except OSError as error:
        log.info("no control groups v1", error=str(error))
        give_back(*bases)
        return None
    freezer, unified = _freezer(where, name)
    return Cgroup1(*bases, freezer, unified=unified)


def _soft(where: Hierarchy, name: str) -> Means:
    freezer, unified = _freezer(where, name)
    return SoftMeans(freezer, unified=unified)


def _freezer(where: Hierarchy, name: str) -> tuple[Path | None, bool]:
    """A folder whose groups can be frozen: in the unified tree, else below the v1 freezer."""
    for own, unified, file in ((where.v2(), True, "cgroup.freeze"), (where.v1("freezer"), False, "freezer.state")):
        if own is None:
            continue
        try:
            if os.access(make(own / name) / file, os.W_OK):
                return own / name, unified
        except OSError as error:
            log.debug("no freezer here", folder=str(own), error=str(error))
        give_back(own / name)
    return None, False


def quota(cores: float) -> int:
    """CPU time in each period."""
    return max(1000, round(cores * PERIOD))


def counted(path: Path) -> int:
    """How often the kernel ended a process of a group for want of memory."""
    try:
        for line in path.read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except OSError:
        return 0
    return 0
