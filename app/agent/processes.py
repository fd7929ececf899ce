"""Processes of sessions as ``/proc`` shows them: trees, use of CPU and memory, markers, the end of one.

Used by the local platform and its limits. Linux only, as is Xvnc. Scans take milliseconds and run beside the loop where
they are periodic. Serves the StreamSpace document (seed 001, "Agent Management": capacity).
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

from app.agent.supervisor import boot_id, descendants, signal_all, start_of, stat_of

__all__ = ["alive", "boot_id", "descendants", "kill_all", "marked", "pss", "start_of", "use_of", "when_ended"]

TICKS = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


def alive(pid: int, start: str, boot: str) -> bool:
    """Whether this very process still runs: a pid alone may have been given to another."""
    if boot != boot_id():
        return False
    try:
        fields = stat_of(pid)
    except OSError:
        return False
    return fields[19] == start and fields[0] not in ("Z", "X")


def marked(variable: str, prefix: str) -> dict[int, str]:
    """Processes whose environment carries ``variable=prefix…``: pid → the rest of the value."""
    needle = f"{variable}={prefix}".encode()
    found: dict[int, str] = {}
    for name in os.listdir(PROC):
        if not name.isdigit():
            continue
        try:
            environment = (PROC / name / "environ").read_bytes()
        except OSError:
            continue  # another user's, or gone
        if needle not in environment:
            continue
        for entry in environment.split(b"\0"):
            if entry.startswith(needle):
                found[int(name)] = entry[len(needle) :].decode("utf-8", "replace")
    return found


def kill_all(pids: Iterable[int]) -> int:
    """End processes without asking; how many there were."""
    targets = [pid for pid in pids if pid != os.getpid()]
    signal_all(targets, signal.SIGKILL)
    return len(targets)


def use_of(roots: dict[str, int]) -> dict[str, tuple[float, int]]:
    """What everything below each process uses: CPU seconds so far (of what lives now), bytes of proportional memory.

    One scan for all, since each session's own would cost as much as the whole machine has processes.
    """
    ticks: dict[int, int] = {}
    children: dict[int, list[int]] = {}
    for name in os.listdir(PROC):
        if name.isdigit():
            try:
                fields = stat_of(int(name))
            except OSError:
                continue  # it ended meanwhile
            children.setdefault(int(fields[1]), []).append(int(name))
            ticks[int(name)] = sum(int(field) for field in fields[11:15])
    used: dict[str, tuple[float, int]] = {}
    for key, root in roots.items():
        below = list(children.get(root, ()))
        for pid in below:
            below.extend(children.get(pid, ()))
        used[key] = sum(ticks[pid] for pid in below) / TICKS, sum(pss(pid) for pid in below)
    return used


def pss(pid: int) -> int:
    """A process's own share of memory in bytes; nothing for one that ended."""
    try:
        for line in (PROC / str(pid) / "smaps_rollup").read_bytes().splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0


def when_ended(pid: int, call: Callable[[], None]) -> Callable[[], None]:
    """Call once on the running loop when a process has ended, child of ours or not; returns what undoes that.

    Raises ``ProcessLookupError`` when there is no such process.
    """
    loop = asyncio.get_running_loop()
    handle = os.pidfd_open(pid)

    def forget() -> None:
        nonlocal handle
        if handle >= 0:
            loop.remove_reader(handle)
            os.close(handle)
            handle = -1

    def ended() -> None:
        forget()
        reap(pid)
        call()

    loop.add_reader(handle, ended)
    return forget


def reap(pid: int) -> None:
    """Let a child of ours that ended go for good; somebody else's child is theirs."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
