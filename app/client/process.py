"""The embedded broker: find it or start it, watch it, start it again after a crash, stop it when asked.

Called by ``app/ui/connection.py`` and the demo; serves "who owns the broker's life" of ARCHITECTURE.md (the token goes
by the child's standard input). No Qt.

* A broker that runs for the data folder is **adopted**: ``broker.json`` names it, its process is verified by number
  and start time or by the lock it has open, ``/healthz`` answers, ``console.token`` opens it. One of another version is ``read_only`` until the
  operator calls ``restart()``.
* Otherwise one is started in a session of its own. Of two consoles that start one at once, the loser's child exits 3
  and the loser adopts the winner's.
* A crash is followed by a start with back-off; a clean stop is not, but a broker that somebody starts later is adopted.
* The end of the console, however it comes, never ends the broker: only ``stop()`` and ``restart()`` do.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from app import __version__
from app.client.api import ApiError, BrokerClient
from app.client.broker_file import (
    KnownProcess,
    folder_is_held,
    main_url,
    read_broker_file,
    read_token,
    running_broker,
    trust_own_broker,
)
from app.client.child import Child, spawn
from app.client.transport import base_url_of
from app.packaged import own_command
from app.paths import BrokerInfo, DataFolder

START_TIMEOUT = 30.0
"""Seconds a broker may take from its start to its readiness line."""
ADOPT_TIMEOUT = 10.0
"""Seconds a running broker may take to answer before the console says that it does not."""
STOP_TIMEOUT = 12.0
"""Seconds for a clean stop (10 are promised) before the signal, and again before the next."""
WATCH_EVERY = 1.0
POLL_EVERY = 0.1
BACKOFF_FIRST = 0.25
BACKOFF_LAST = 8.0
STEADY_AFTER = 30.0
"""Seconds a broker has to run before a crash counts as the first one again."""
EXIT_IN_USE = 3

ProcessState = Literal["looking", "starting", "running", "restarting", "stopping", "stopped", "failed"]


@dataclass(frozen=True)
class BrokerState:
    """How the embedded broker stands; ``text`` is for the strip, empty when there is nothing to say."""

    state: ProcessState
    url: str | None = None
    token: str | None = field(default=None, repr=False)
    pid: int | None = None
    version: str = ""
    adopted: bool = False
    read_only: bool = False
    """True when the broker is of another version: look, but do not act, until the operator restarts it."""
    text: str = ""


class EmbeddedBroker:
    """The broker of one data folder; ``on_change`` is called on the loop with each new ``state``."""

    def __init__(
        self,
        data_dir: Path,
        on_change: Callable[[BrokerState], None] | None = None,
        *,
        options: Sequence[str] = (),
        command: Sequence[str] | None = None,
        backoff: tuple[float, float] = (BACKOFF_FIRST, BACKOFF_LAST),
        start_timeout: float = START_TIMEOUT,
    ) -> None:
        self.data_dir = data_dir
        self.log_path = DataFolder(data_dir).logs / "broker.log"
        self.state = BrokerState("looking")
        self._on_change = on_change or (lambda state: None)
        self._arguments = [*(command or own_command()), "serve", "--data-dir", str(data_dir), *options]
        self._backoff = backoff
        self._start_timeout = start_timeout
        self._token: str | None = None
        self._child: Child | None = None
        self._process: KnownProcess | None = None
        self._wake = asyncio.Event()
        self._stopping = False
        self._busy = asyncio.Lock()

    async def start(self) -> BrokerState:
        """Adopt the running broker or start one; the state says ``running``, or ``failed`` and why."""
        async with self._busy:
            self._stopping = False
            self._set(BrokerState("looking"))
            if not await self._adopt():
                await self._start_or_adopt()
        return self.state

    async def run(self) -> None:
        """``start``, then watch for ever: start again after a crash, adopt what somebody else started. Cancel to end."""
        await self.start()
        failures = 0
        while True:
            since = time.monotonic()
            if self.state.state == "running":
                crashed = await self._until_gone()
                failures = 0 if time.monotonic() - since > STEADY_AFTER else failures
            else:
                crashed = self.state.state == "restarting"
            if crashed and not self._stopping:
                failures += 1
                await self._again(failures)
            else:
                await self._until_somebody_starts()

    async def restart(self) -> BrokerState:
        """End the broker that runs, whoever started it and of whatever version, and start this program's own."""
        await self.stop()
        return await self.start()

    async def stop(self) -> None:
        """End the broker: ask it, then signal it, then kill it; returns when its process is gone."""
        self._stopping = True
        async with self._busy:
            process = self._process
            if process is None or not await self._runs(process):
                self._set(BrokerState("stopped"))
                return
            self._set(replace(self.state, state="stopping", text="The broker is stopping."))
            if await self._end(process):
                self._child = self._process = None
                self._set(BrokerState("stopped", text="The broker was stopped."))
            else:
                self._set(replace(self.state, state="failed", text=f"The broker, process {process.pid}, does not end."))
            self._wake.set()

    # -- adopting ----------------------------------------------------------------------------------------------

    async def _adopt(self, timeout: float | None = None) -> bool:
        """Take over a broker that runs already. False: there is none; a silent one is ``failed`` and counts as there."""
        found = await asyncio.to_thread(running_broker, self.data_dir)
        if found is None:
            return False
        deadline = time.monotonic() + (ADOPT_TIMEOUT if timeout is None else timeout)
        while found is not None:
            self._process = await asyncio.to_thread(KnownProcess, found.pid)
            if await self._answers(found):
                return True
            if time.monotonic() >= deadline:
                text = f"A broker runs in {self.data_dir} as process {found.pid}, but does not answer."
                url = main_url(found)
                self._set(BrokerState("failed", url=url, pid=found.pid, version=found.version, text=text))
                return True
            await asyncio.sleep(POLL_EVERY)
            found = await asyncio.to_thread(running_broker, self.data_dir)
        return False

    async def _answers(self, found: BrokerInfo) -> bool:
        """Whether that broker answers on its address; if so it is ours from now on."""
        url, token = main_url(found), read_token(self.data_dir)
        if url is None or token is None:
            return False
        async with BrokerClient(url, token) as client:
            try:
                await client.healthz()
            except ApiError:
                return False
        other = found.version != __version__
        text = ""
        if other:
            text = (
                f"The broker is version {found.version or 'unknown'} and this console {__version__}: "
                "read only until you restart the broker."
            )
        self._token = token
        adopted = self._child is None or self._child.pid != found.pid
        self._set(BrokerState("running", url, token, found.pid, found.version, adopted, other, text))
        return True

    # -- starting ----------------------------------------------------------------------------------------------

    async def _start_or_adopt(self) -> None:
        """Start a broker; when another was faster, adopt that one."""
        if self.state.state != "restarting":
            self._set(BrokerState("starting", text="The broker is starting."))
        token = self._token or secrets.token_urlsafe(32)
        try:
            child = await spawn(self._arguments, token, self.log_path)
        except OSError as error:
            self._set(BrokerState("failed", text=f"The broker could not be started: {error.strerror or error}"))
            return
        self._child = child
        try:
            async with asyncio.timeout(self._start_timeout):
                ready = await asyncio.shield(child.ready)
                if ready is None:
                    await asyncio.shield(child.exited)
        except TimeoutError:
            child.kill()
            text = f"The broker did not get ready within {self._start_timeout:g} s; its log is {self.log_path}."
            self._set(BrokerState("failed", text=text))
            return
        if ready is None:
            await self._refused(child)
            return
        self._token = token
        trust_own_broker(self.data_dir)
        self._process = await asyncio.to_thread(KnownProcess, child.pid)
        self._set(BrokerState("running", base_url_of(str(ready.get("main", ""))), token, child.pid, __version__))

    async def _refused(self, child: Child) -> None:
        """Our child ended before it was ready: another broker has the folder, or it said why it cannot."""
        code = await child.exited
        self._child = None
        if code == EXIT_IN_USE and await self._winner():
            return
        words = child.last_words().removeprefix("callboard: ")
        silent = f"The broker ended with status {code}; its log is {self.log_path}."
        self._set(BrokerState("failed", text=f"The broker does not start: {words}" if words else silent))

    async def _winner(self) -> bool:
        """After status 3: adopt the broker that has the folder. It may be so new that it has not said where it is."""
        deadline = time.monotonic() + self._start_timeout
        while not await self._adopt():
            if time.monotonic() >= deadline or not await asyncio.to_thread(folder_is_held, self.data_dir):
                return False
            await asyncio.sleep(POLL_EVERY)
        return True

    # -- watching ----------------------------------------------------------------------------------------------

    async def _until_gone(self) -> bool:
        """Wait for the end of the broker; True when it was a crash."""
        child, process = self._child, self._process
        if child is not None and process is not None and child.pid == process.pid:
            code = await asyncio.shield(child.exited)
            self._child = None
            return self._gone(code != 0, f"The broker ended {_how(code)}.")
        while process is not None and await self._runs(process):
            await self._nap(WATCH_EVERY)
            process = self._process
        left = await asyncio.to_thread(read_broker_file, self.data_dir)
        crashed = process is not None and left is not None and left.pid == process.pid
        return self._gone(crashed, "The broker crashed.")

    def _gone(self, crashed: bool, text: str) -> bool:
        """Say that the broker is gone, unless ``stop`` is saying so."""
        self._process = None
        if self._stopping:
            return False
        if crashed:
            self._set(BrokerState("restarting", token=self._token, text=f"{text} It is being started again."))
        else:
            self._set(BrokerState("stopped", text="The broker was stopped."))
        return crashed

    async def _again(self, failures: int) -> None:
        """Start again after a crash, later each time."""
        first, last = self._backoff
        if failures > 1:
            await self._nap(min(last, first * 2.0 ** min(failures - 2, 16)))
        async with self._busy:
            if not self._stopping and not await self._adopt():
                await self._start_or_adopt()
        if self.state.state == "failed":
            self._set(replace(self.state, state="restarting"))

    async def _until_somebody_starts(self) -> None:
        """After a clean stop or a failure: adopt whatever broker appears, or go on after ``start``."""
        while self.state.state != "running":
            await self._nap(WATCH_EVERY)
            if not self._busy.locked() and await asyncio.to_thread(running_broker, self.data_dir) is not None:
                async with self._busy:
                    self._stopping = False
                    await self._adopt(timeout=0.0)

    async def _nap(self, seconds: float) -> None:
        """Sleep, or be woken by ``start`` or ``stop``."""
        self._wake.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    # -- ending ------------------------------------------------------------------------------------------------

    async def _end(self, process: KnownProcess) -> bool:
        """Ask, signal, kill; each with its time. True when the process is gone."""
        url = self.state.url
        if url is not None:
            async with BrokerClient(url, self._token or read_token(self.data_dir)) as client:
                asked = await _asked_to_stop(client)
            if asked and await self._ends_within(process, STOP_TIMEOUT):
                return True
        for number in (signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
            try:
                os.kill(process.pid, number)
            except ProcessLookupError:
                return True
            except PermissionError:
                return False
            if await self._ends_within(process, STOP_TIMEOUT):
                return True
        return False

    async def _ends_within(self, process: KnownProcess, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while await self._runs(process):
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(POLL_EVERY)
        return True

    async def _runs(self, process: KnownProcess) -> bool:
        """Whether that process runs; of our own child the exit status says so."""
        if self._child is not None and self._child.pid == process.pid:
            return not self._child.exited.done()
        return await asyncio.to_thread(process.runs)

    def _set(self, state: BrokerState) -> None:
        if state != self.state:
            self.state = state
            self._on_change(state)


async def _asked_to_stop(client: BrokerClient) -> bool:
    """Whether the broker took the request to stop."""
    try:
        await client.stop_broker()
    except ApiError:
        return False
    return True


def _how(code: int) -> str:
    """An exit status in words."""
    if code < 0:
        try:
            return f"by {signal.Signals(-code).name}"
        except ValueError:
            return f"by signal {-code}"
    return f"with status {code}"
