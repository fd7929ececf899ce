"""Agents in the test's own loop and as processes; sessions on a real Xvnc; nothing of them stays."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.agent import processes
from app.agent.cgroups import Hierarchy
from app.agent.config import LocalSettings
from app.agent.folder import StateFolder
from app.agent.local import LocalPlatform
from app.agent.session import MARKER
from app.agent_protocol import SessionEvent

SLEEPER = ["xterm", "-e", "sh", "-c", "echo shown; while :; do sleep 1; done"]


def start_data(command: list[str] | None = None, **more: Any) -> dict[str, Any]:
    """Data of a start."""
    return {
        "name": "john-doe-xterm-abc123",
        "user": "john.doe",
        "template": "xterm",
        "command": command or SLEEPER,
        "vnc": {"resolution": "640x480"},
        "persistent_home": False,
        **more,
    }


async def until(condition: Any, within: float = 30.0) -> None:
    """Wait for what no event tells."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
def state() -> Iterator[Path]:
    """A state folder with a short path, since sockets stand in it; no process of it survives the test."""
    folder = Path(tempfile.mkdtemp(prefix="cb-", dir="/tmp"))
    yield folder
    for pid in os.listdir("/proc"):
        try:
            arguments = Path("/proc", pid, "cmdline").read_bytes()
        except OSError:
            continue
        if pid.isdigit() and os.fsencode(folder) in arguments and int(pid) != os.getpid():
            with contextlib.suppress(ProcessLookupError):  # it was about to end
                os.kill(int(pid), signal.SIGKILL)
    give_groups_back(folder)
    shutil.rmtree(folder, ignore_errors=True)


def give_groups_back(folder: Path) -> None:
    """Control groups of agents that were ended before they could."""
    if not (folder / "journal.sqlite").exists():
        return
    with StateFolder(folder) as state:
        name = f"callboard-{state.id}"
    where = Hierarchy()
    for base in (where.v1("memory"), where.v1("cpu"), where.v1("freezer"), where.v2()):
        if base is not None and (base / name).is_dir():
            for group in [*(path for path in (base / name).iterdir() if path.is_dir()), base / name]:
                for _ in range(200):  # until what was killed has gone
                    try:
                        group.rmdir()
                    except OSError:
                        time.sleep(0.01)
                    else:
                        break


class Local:
    """Local platforms one after the other on one state folder, and what they told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state_id = secrets.token_hex(6)
        self.events: list[SessionEvent] = []
        self._open: list[LocalPlatform] = []

    async def __call__(self, **settings: Any) -> LocalPlatform:
        """One that is started."""
        platform = LocalPlatform(self.folder, self.state_id, LocalSettings(**settings))
        platform.on_event = self.events.append
        self._open.append(platform)
        await platform.start()
        return platform

    def marked(self) -> dict[int, str]:
        """Processes of these platforms' sessions."""
        return processes.marked(MARKER, f"{self.state_id}:")

    async def close(self) -> None:
        """End everything."""
        for platform in self._open:
            await platform.stop(end_sessions=platform is self._open[-1])
        processes.kill_all(self.marked())


@pytest.fixture
async def local(state: Path, tmp_path: Path) -> AsyncIterator[Local]:
    """Makes local platforms; their sessions end before the test's folder goes, where a program may wait for a file."""
    maker = Local(state)
    yield maker
    await maker.close()
