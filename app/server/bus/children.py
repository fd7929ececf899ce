"""Children that die with the broker, and telling a process from another with the same number.

Used by ``embedded.py`` and ``fleet/local_agent.py``. Linux: the child asks the kernel for a signal at its parent's death. That signal
follows the *thread* which forked, so ``start`` must be called on the main thread, which lives as long as the
process. Windows: a job object that ends its processes with its last handle. Elsewhere the next start ends what
a killed broker left behind.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import psutil

from app.logs import get_logger

log = get_logger("children")

PR_SET_PDEATHSIG = 1
JOB_EXTENDED_LIMITS = 9
JOB_KILL_ON_CLOSE = 0x2000


async def start(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, errors: IO[bytes] | None = None
) -> asyncio.subprocess.Process:
    """Start a program without input and output that ends when this process does; its complaints go to ``errors``."""
    if threading.current_thread() is not threading.main_thread():
        log.warning("child started outside the main thread: it may end early", program=command[0])
    options: dict[str, Any] = {"stdin": asyncio.subprocess.DEVNULL, "stdout": asyncio.subprocess.DEVNULL}
    if sys.platform == "linux":
        options["preexec_fn"] = _die_with_parent()
    if os.name == "posix":
        options["start_new_session"] = True  # Ctrl+C in a terminal is for the broker, which ends its children
    stderr = asyncio.subprocess.DEVNULL if errors is None else errors
    process = await asyncio.create_subprocess_exec(*command, stderr=stderr, env=env, **options)
    if sys.platform == "win32":
        _join_job(process.pid)
    return process


async def stop(process: asyncio.subprocess.Process, within: float) -> None:
    """End a child: ask first, and kill it after ``within`` seconds, or at once when its owner is cancelled meanwhile.

    Whatever happens, it has ended when this returns: an owner that is stopped while it stops leaves nothing behind.
    """
    if process.returncode is not None:
        return
    process.terminate()
    try:
        async with asyncio.timeout(within):
            await process.wait()
    except TimeoutError:
        log.warning("child does not end when it is asked to", pid=process.pid, within=within)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def identity(pid: int) -> str | None:
    """A text that no other process with this number ever has; None when there is no such process.

    On Linux it is made of kernel ticks and the boot's id, which a stepped clock does not move.
    """
    if sys.platform == "linux":
        return _kernel_identity(pid)
    else:
        try:
            return repr(psutil.Process(pid).create_time())
        except psutil.Error:
            return None


def _kernel_identity(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
        fields = stat.rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] == "Z" else f"{boot}:{pid}:{fields[19]}"


def end(pid: int, wanted: str, timeout: float = 3.0) -> bool:
    """End a process that is still the one meant; whether it was there."""
    if identity(pid) != wanted:
        return False
    try:
        process = psutil.Process(pid)
        process.terminate()
        if not _ends(pid, wanted, timeout):
            process.kill()
            if not _ends(pid, wanted, timeout):
                log.error("process does not end, not even by force", pid=pid)
    except psutil.NoSuchProcess:
        return True
    return True


def _ends(pid: int, wanted: str, within: float) -> bool:
    """Whether a process ends in time. Its number may stay: in a container there may be nobody who takes orphans away."""
    deadline = time.monotonic() + within
    while identity(pid) == wanted:
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)
    return True


def _die_with_parent() -> Callable[[], None]:
    """What runs in the child between fork and exec: two system calls, no import and no lock taken."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def prepare() -> None:
        prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:  # the parent died before the request was made
            os._exit(1)

    return prepare


if sys.platform == "win32":

    class _BasicLimits(ctypes.Structure):
        _fields_ = [
            ("process_time", ctypes.c_int64),
            ("job_time", ctypes.c_int64),
            ("flags", ctypes.c_uint32),
            ("min_set", ctypes.c_size_t),
            ("max_set", ctypes.c_size_t),
            ("active", ctypes.c_uint32),
            ("affinity", ctypes.c_size_t),
            ("priority", ctypes.c_uint32),
            ("scheduling", ctypes.c_uint32),
        ]

    class _ExtendedLimits(ctypes.Structure):
        _fields_ = [("basic", _BasicLimits), ("io", ctypes.c_uint64 * 6), ("memory", ctypes.c_size_t * 4)]

    def _join_job(pid: int) -> None:
        """Put a process in a job whose only handle is ours: the kernel closes it, and the job, when we end."""
        kernel = ctypes.WinDLL("kernel32", use_last_error=True)
        for name in ("CreateJobObjectW", "OpenProcess"):
            getattr(kernel, name).restype = ctypes.c_void_p
        job = kernel.CreateJobObjectW(None, None)
        limits = _ExtendedLimits()
        limits.basic.flags = JOB_KILL_ON_CLOSE
        size = ctypes.sizeof(limits)
        kernel.SetInformationJobObject(ctypes.c_void_p(job), JOB_EXTENDED_LIMITS, ctypes.byref(limits), size)
        handle = kernel.OpenProcess(0x0101, False, pid)  # set quota and terminate: what a job needs
        if not kernel.AssignProcessToJobObject(ctypes.c_void_p(job), ctypes.c_void_p(handle)):
            log.warning("child is in no job object", pid=pid, error=ctypes.get_last_error())
        kernel.CloseHandle(ctypes.c_void_p(handle))
