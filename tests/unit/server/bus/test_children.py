from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from app.server.bus import children

PARENT = """
import asyncio, sys
from app.server.bus import children

async def main():
    process = await children.start([sys.executable, "-c", "import time; time.sleep(60)"])
    print(process.pid, flush=True)
    await process.wait()

asyncio.run(main())
"""


async def test_a_child_dies_with_a_killed_parent() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = psutil.Process(int(await asyncio.to_thread(parent.stdout.readline)))
    assert child.is_running()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    await asyncio.to_thread(psutil.wait_procs, [child], 5)
    assert children.identity(child.pid) is None


async def test_a_child_has_no_terminal_and_no_output_of_ours(capfd: pytest.CaptureFixture[str]) -> None:
    process = await children.start([sys.executable, "-c", "import sys; print('out'); print(repr(sys.stdin.read()))"])
    assert await process.wait() == 0
    assert capfd.readouterr().out == ""


def test_identity_tells_processes_apart() -> None:
    own = children.identity(os.getpid())
    assert own
    assert own == children.identity(os.getpid())
    assert children.identity(os.getppid()) != own
    assert children.identity(2**22 + 1) is None


def test_a_zombie_is_no_process() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert children.identity(process.pid) is None
    process.wait()


DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); {}; time.sleep(600)"


async def deaf(folder: Path) -> asyncio.subprocess.Process:
    """A child that does not end when it is asked to."""
    told = folder / "told"
    process = await children.start([sys.executable, "-c", DEAF.format(f"open({str(told)!r}, 'w')")])
    async with asyncio.timeout(20):
        while not told.exists():
            await asyncio.sleep(0.01)
    return process


async def test_a_child_that_does_not_end_is_killed(tmp_path: Path) -> None:
    process = await deaf(tmp_path)
    await children.stop(process, 0.05)
    assert process.returncode == -signal.SIGKILL
    await children.stop(process, 0.05)


async def test_whoever_is_stopped_while_it_ends_a_child_still_ends_it(tmp_path: Path) -> None:
    process = await deaf(tmp_path)
    ending = asyncio.ensure_future(children.stop(process, 600))
    await asyncio.sleep(0)
    ending.cancel()
    await asyncio.wait([ending], timeout=30)
    assert ending.cancelled()
    assert process.returncode == -signal.SIGKILL


def test_only_the_process_that_was_meant_is_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    identity = children.identity(process.pid) or ""
    assert not children.end(process.pid, "another boot:1:1")
    assert process.poll() is None
    assert children.end(process.pid, identity)
    assert children.identity(process.pid) is None
    assert not children.end(process.pid, identity)
    process.wait()


CARELESS = "import subprocess, sys, time; print(subprocess.Popen(sys.argv[1:]).pid, flush=True); time.sleep(60)"


def test_one_whose_remains_nobody_takes_away_has_ended() -> None:
    command = [sys.executable, "-c", CARELESS, "sleep", "60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        try:
            assert children.end(pid, children.identity(pid) or "", timeout=10.0)
            assert psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        finally:
            parent.kill()


def test_one_that_ignores_us_is_killed(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    assert children.end(process.pid, children.identity(process.pid) or "", timeout=0.2)
    assert children.identity(process.pid) is None
    process.wait()
    process.stdout.close()
