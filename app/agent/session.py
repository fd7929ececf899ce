"""One session of the local platform: its folder, its supervisor, and what the next agent must know about it.

Used by ``local.py``, which serialises the calls. ``record.json`` says what the agent decided, ``state.json`` what the
supervisor is; a supervisor counts as this session's only when pid, start time and boot agree. Serves the StreamSpace
document (seed 001, "Session Lifecycle").
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import marshal
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from app.agent import processes, supervisor
from app.agent.homes import remove
from app.agent.limits import Confinement
from app.agent.platform import AgentFailure, FailureCode
from app.packaged import is_packaged
from app.paths import write_private

MARKER = "CALLBOARD_SESSION"
"""In the environment of every process of a session: ``<state folder's id>:<session id>``."""
READY_WITHIN = 30.0
LOOK_EVERY = 0.02
SWEEPS = 20
"""Looks of one sweep."""
OOM_COUNTS_FOR = 5.0
"""Seconds in which a program that was killed after the kernel wanted memory back was killed for that."""
LAST_WAIT = 5.0
"""Seconds beyond a grace until a supervisor that does not end is ended."""
DISPLAYS = Path("/tmp/.X11-unix")  # noqa: S108 - where X servers keep their sockets


class Record(msgspec.Struct, kw_only=True):
    """What the agent decided about a session."""

    session_id: str
    generation: int
    data: dict[str, Any]
    state: Literal["starting", "running", "hibernated", "stopping"] = "starting"
    frozen: bool = False
    """Hibernated with its processes in memory, not by ending them."""
    kept: bool = False
    """Hibernated before by ending its processes: what is left when a wake breaks off is hibernated, not lost."""
    socket: str = ""
    started_at: str = ""
    limits: str = ""


class Life(msgspec.Struct):
    """``state.json``: a supervisor in its own words."""

    pid: int
    start: str
    boot: str
    state: str
    display: int | None = None
    exit_code: int | None = None
    reason: str = ""
    cause: str = ""
    """``program``, ``display`` or ``asked``: what ended first."""

    @property
    def alive(self) -> bool:
        """Whether this very supervisor runs."""
        return processes.alive(self.pid, self.start, self.boot)


class Session:
    """A session's folder and the supervisor in it, running or not."""

    def __init__(self, folder: Path, record: Record, marker: str) -> None:
        self.folder = folder
        self.record = record
        self.marker = marker
        self.confinement: Confinement | None = None
        self.display: int | None = None
        self.ooms = 0
        """Of how many processes ended for want of memory the broker knows."""
        self.oom_at = -OOM_COUNTS_FOR
        """When it was last told of one."""
        self.out_of_memory = False
        self.gone = asyncio.Event()
        """Set when there is no supervisor."""
        self.gone.set()
        self.cleared = asyncio.Event()
        """Set when the folder of an ended session is gone."""
        self._pid = 0
        self._forget: Callable[[], None] = lambda: None
        self._on_gone: Callable[[], None] = lambda: None

    @property
    def id(self) -> str:
        """The session's id."""
        return self.record.session_id

    @property
    def pid(self) -> int:
        """The supervisor's process; 0 when there is none."""
        return self._pid

    @property
    def log(self) -> Path:
        """What the session printed."""
        return self.folder / "session.log"

    @property
    def authority(self) -> Path:
        """The secret of the display."""
        return self.folder / "Xauthority"

    def write(self) -> None:
        """Make the record outlive us, and, where there is nothing else to a session, a power cut too."""
        data = msgspec.json.encode(self.record)
        if self.record.state == "hibernated" and not self.record.frozen:
            write_private(self.folder / "record.json", data)
        else:
            write_quickly(self.folder / "record.json", data)

    def life(self) -> Life | None:
        """What the supervisor says of itself, if it said anything yet."""
        try:
            return msgspec.json.decode((self.folder / "state.json").read_bytes(), type=Life)
        except (OSError, msgspec.DecodeError):
            return None

    async def launch(self, spec: dict[str, Any], confinement: Confinement, on_gone: Callable[[], None]) -> None:
        """Start a supervisor and wait until the desktop can be seen. Raises ``AgentFailure``; then nothing runs."""
        self.confinement = confinement
        (self.folder / "state.json").unlink(missing_ok=True)
        (self.folder / "grace").unlink(missing_ok=True)
        write_quickly(self.folder / "spec", marshal.dumps(spec))
        answer, told = os.pipe2(os.O_CLOEXEC)
        try:
            self._pid = spawn(self.folder, confinement.wrap, self.marker, told)
        except OSError as error:
            os.close(answer)
            raise AgentFailure(f"the session's supervisor cannot be started: {error}") from error
        finally:
            os.close(told)
        self._watch(on_gone)
        try:
            async with asyncio.timeout(READY_WITHIN):
                said = json.loads(await first_line(answer) or "{}")
        except TimeoutError as error:
            await self.end(0)
            raise AgentFailure("the desktop was not ready in time", FailureCode.TIMEOUT) from error
        except BaseException:
            self.ask_no_more()
            supervisor.signal_all([*processes.descendants(self._pid), self._pid], signal.SIGKILL)
            raise
        finally:
            (self.folder / "spec").unlink(missing_ok=True)
        if "display" not in said:
            self.ask_no_more()
            await self._await_gone(LAST_WAIT)
            text = str(said.get("error") or "the session's supervisor ended before the desktop was ready")
            raise AgentFailure(text, str(said.get("code") or FailureCode.PROVISIONING))
        self.display = int(said["display"])
        self.record.started_at = utc_now()

    async def comes_up(self, within: float) -> bool:
        """Whether a start that an earlier agent began has come to its end, or does so now, and the desktop is there."""
        deadline = asyncio.get_running_loop().time() + within
        while (life := self.life()) is None or life.state == "starting":
            lives = life.alive if life is not None else bool(self._marked())
            if not lives or asyncio.get_running_loop().time() > deadline:
                return False
            await asyncio.sleep(LOOK_EVERY)
        return life.alive and life.display is not None

    def adopt(self, on_gone: Callable[[], None]) -> bool:
        """Take over a supervisor that an earlier agent started; False when it does not run."""
        life = self.life()
        if life is None or not life.alive or life.display is None:
            return False
        self._pid, self.display = life.pid, life.display
        try:
            self._watch(on_gone)
        except ProcessLookupError:
            self._pid = 0
            return False
        return True

    def _watch(self, on_gone: Callable[[], None]) -> None:
        self._on_gone = on_gone
        self.gone.clear()
        try:
            self._forget = processes.when_ended(self._pid, self._ended)
        except ProcessLookupError:
            self.gone.set()
            raise

    def _ended(self) -> None:
        self._pid = 0
        self.gone.set()
        self._on_gone()

    def ask_no_more(self) -> None:
        """This end is wanted: ``on_gone`` is not called for it."""
        self._on_gone = lambda: None

    def ask_to_end(self, grace: float) -> None:
        """Begin the end without waiting for it, or hasten it."""
        if self._pid:
            with contextlib.suppress(OSError):  # a full disk: then the supervisor takes its own measure
                (self.folder / "grace").write_text(str(grace), encoding="ascii")
            supervisor.signal_all([self._pid], signal.SIGTERM)

    def grace_left(self, otherwise: float) -> float:
        """Seconds that are left of an end that an earlier agent began."""
        path = self.folder / "grace"
        try:
            grace = float(path.read_text(encoding="ascii"))
            return min(max(0.0, path.stat().st_mtime + grace - time.time()), grace)
        except (OSError, ValueError):
            return otherwise

    async def end(self, grace: float) -> None:
        """End every process, gracefully for so long; returns when none is left. ``on_gone`` is not called."""
        self.ask_no_more()
        if self._pid:
            self.ask_to_end(grace)
            if not await self._await_gone(grace + LAST_WAIT):
                supervisor.signal_all([*processes.descendants(self._pid), self._pid], signal.SIGKILL)
                await self._await_gone(LAST_WAIT)
        await self.sweep()

    async def _await_gone(self, within: float) -> bool:
        try:
            async with asyncio.timeout(within):
                await self.gone.wait()
        except TimeoutError:
            return False
        return True

    def _marked(self) -> set[int]:
        """Every process of this session; not of one whose id only begins as ours does."""
        return {pid for pid, rest in processes.marked(MARKER, self.marker).items() if not rest}

    async def sweep(self) -> int:
        """End what a supervisor that is gone left behind, and what that began meanwhile; how many processes that were.

        What goes on beginning others beyond ``SWEEPS`` looks is left to the next sweep: it must not hold its agent.
        """
        ended = {self._pid}
        for _ in range(SWEEPS):
            left = await self._left() - ended
            if not left:
                break
            processes.kill_all(left)
            ended |= left
        clear_display(self.display)
        return len(ended) - 1

    async def _left(self) -> set[int]:
        """Processes of this session as they are now."""
        left = await asyncio.to_thread(self._marked)
        if self.confinement is not None:
            left.update(self.confinement.leftovers())
        return left

    def let_go(self) -> None:
        """Stop watching; the session lives on for the next agent."""
        self._forget()
        self.ask_no_more()

    async def remove(self) -> None:
        """Take the folder away, and the groups; the processes must have ended."""
        if self.confinement is not None:
            await self.confinement.remove()
        Path(self.record.socket).unlink(missing_ok=True)
        await asyncio.to_thread(remove, self.folder)


def spawn(folder: Path, wrap: list[str], marker: str, told: int) -> int:
    """A supervisor in a session of its own, which no signal to our process group reaches; its pid."""
    if is_packaged():
        command = [*wrap, sys.executable, "--supervise", str(folder)]
    else:
        command = [*wrap, sys.executable, "-I", "-S", str(supervisor.__file__), str(folder)]
    log = os.open(folder / "session.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    kept = ("PATH", "LANG", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment[MARKER] = marker
    try:
        return os.posix_spawn(
            command[0],
            command,
            environment,
            file_actions=[(os.POSIX_SPAWN_DUP2, source, at) for at, source in enumerate((nothing, told, log))],
            setsid=True,
            setsigmask=[],
            setsigdef=[signal.SIGTERM, signal.SIGINT, signal.SIGPIPE, signal.SIGCHLD],
        )
    finally:
        os.close(log)
        os.close(nothing)


def why_it_ended(session: Session) -> tuple[str, str]:
    """A sentence and a code from what the supervisor left."""
    life = session.life()
    killed = life is not None and life.exit_code == -signal.SIGKILL
    if session.out_of_memory or (killed and time.monotonic() - session.oom_at < OOM_COUNTS_FOR):
        return "the session used more memory than it may", "OUT_OF_MEMORY"
    if life is None or life.state != "ended":
        return "the session's supervisor was ended from outside", "SUPERVISOR_LOST"
    if life.cause == "display":
        return life.reason, "DISPLAY_LOST"
    if life.cause != "program":
        return "the session was ended from outside", ""
    program = Path(str((session.record.data.get("command") or ["the program"])[0])).name
    return f"{program} {life.reason}", "" if life.exit_code == 0 else "PROGRAM_FAILED"


def utc_now() -> str:
    """RFC 3339, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def write_quickly(path: Path, data: bytes) -> None:
    """Replace a file in one step, without waiting for the disk: ``kill -9`` cannot undo it, and a power cut may."""
    new = path.with_name(path.name + ".new")
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)
    new.replace(path)


async def first_line(handle: int) -> str:
    """Read a pipe until its first newline or its end, and close it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    data = bytearray()

    def readable() -> None:
        part = os.read(handle, 4096)
        data.extend(part)
        if (not part or data.endswith(b"\n")) and not done.done():
            done.set_result(None)

    os.set_blocking(handle, False)
    loop.add_reader(handle, readable)
    try:
        await done
    finally:
        loop.remove_reader(handle)
        os.close(handle)
    return data.decode("utf-8", "replace").strip()


def clear_display(number: int | None) -> None:
    """A display server that was killed leaves its socket file; one that lives answers on the name without a file."""
    path = DISPLAYS / f"X{number}"
    if number is None or not path.exists():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(b"\0" + os.fsencode(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except OSError:
            return
