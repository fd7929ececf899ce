"""The agent that a broker starts for its own machine, so that a single workstation has something to run sessions.

Owned by ``main.py``; a child process, begun where Xvnc is installed, started again with back-off, gone with the broker.
The desktops it runs live on, and the next agent adopts them. Its key goes through the environment, where others on this
machine cannot see it. What keeps it from starting stands on the board's health, as a warning: the broker works.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from app.errors import CallboardError
from app.logs import get_logger
from app.packaged import is_packaged, own_command
from app.server.bus import children
from app.server.health import Health
from app.server.tasks import TaskNode, TaskTree

log = get_logger("local agent")

PART = "agent"
PROGRAM = "Xvnc"
KEY = "CALLBOARD_AGENT_KEY"
ENDS_WITHIN = 8.0
WELL_AFTER = 5.0
"""A child that lived so long has started: what the health said before is past."""
_LOG_LIMIT = 5 * 1024 * 1024
_TAIL = 4096
_KEPT = ("CALLBOARD_CA", KEY)
"""Variables with our prefix that an agent may see; passwords and tokens of the broker are none of them."""


class AgentEnded(CallboardError):
    """The child ended without being asked to."""

    default_code = "agent_ended"


@dataclass(frozen=True)
class LocalAgentPlace:
    """Where the agent finds its broker, and where it keeps its things."""

    broker: str
    key: str
    state_dir: Path
    log_file: Path
    ca: Path | None = None


class LocalAgent:
    """One supervised ``callboard agent --platform local``."""

    def __init__(
        self, tasks: TaskTree, health: Health, place: LocalAgentPlace, *, command: Callable[[], list[str]] | None = None
    ) -> None:
        self._tasks = tasks
        self._health = health
        self._place = place
        self._command = command or self._own_command
        self._node: TaskNode | None = None
        self.agent_id = agent_id()
        self.pid: int | None = None
        """The child, while it runs."""

    def start(self) -> bool:
        """Begin, where there is something to run desktops with; whether that is so."""
        if shutil.which(PROGRAM) is None:
            log.info("no agent of its own: Xvnc is not installed")
            return False
        self._node = self._tasks.spawn("local agent", self._run, restart="on_failure", kind="child")
        return True

    def change_key(self, key: str) -> None:
        """Use another key from the next start on."""
        self._place = replace(self._place, key=key)

    async def stop(self) -> None:
        """End the agent, not its sessions; safe when it never started."""
        if self._node is not None:
            await self._node.stop(ENDS_WITHIN + 2.0)

    async def _run(self) -> None:
        """One life of the child; ends with ``AgentEnded``, and the tree starts the next."""
        with self._errors() as errors:
            begun = errors.tell()
            try:
                process = await children.start(self._command(), env=self._environment(os.environ), errors=errors)
            except OSError as error:
                raise self._failed(f"it cannot be run: {error.strerror}") from error
            try:
                self.pid = process.pid
                code = await self._watch(process)
                raise self._failed(self._why(begun) or f"it ended with status {code}")
            finally:
                self.pid = None
                await children.stop(process, ENDS_WITHIN)

    async def _watch(self, process: asyncio.subprocess.Process) -> int:
        try:
            async with asyncio.timeout(WELL_AFTER):
                return await process.wait()
        except TimeoutError:
            self._health.set(PART, True)
        return await process.wait()

    def _failed(self, why: str) -> AgentEnded:
        self._health.set(PART, True, f"This machine's own agent does not run: {why}")
        return AgentEnded(why)

    def _own_command(self) -> list[str]:
        place = self._place
        options = ["--platform", "local", "--broker", place.broker, "--agent-id", self.agent_id]
        options += ["--state-dir", str(place.state_dir), "--parent", str(os.getpid())]
        if place.ca is not None:
            options += ["--ca", str(place.ca)]
        return [*own_command(), "agent", *options]

    def _environment(self, environ: Mapping[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in environ.items() if not name.startswith("CALLBOARD_") or name in _KEPT}
        if not is_packaged():  # the child finds the same sources from whatever folder
            root = str(Path(__file__).resolve().parents[3])
            kept["PYTHONPATH"] = os.pathsep.join(filter(None, (root, kept.get("PYTHONPATH", ""))))
        return {**kept, KEY: self._place.key}

    def _errors(self) -> IO[bytes]:
        """The child's log, begun anew when it has grown large."""
        path = self._place.log_file
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and path.stat().st_size > _LOG_LIMIT:
            path.replace(path.with_suffix(".old.log"))
        file = path.open("ab")
        file.seek(0, os.SEEK_END)
        return file

    def _why(self, begun: int) -> str:
        """Its last line since ``begun``."""
        try:
            with self._place.log_file.open("rb") as file:
                file.seek(max(begun, file.seek(0, os.SEEK_END) - _TAIL))
                lines = file.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return ""
        said = [line.strip() for line in lines if line.strip()]
        return said[-1][:300] if said else ""


def agent_id() -> str:
    """``stage-left-local``: the same at each start on one machine."""
    host = re.sub(r"[^A-Za-z0-9.-]+", "-", socket.gethostname()).strip(".-") or "host"
    return f"{host[:90]}-local"
