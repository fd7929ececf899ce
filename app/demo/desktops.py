"""Desktops of the demo: two real agents of this machine, people with sessions on them, and a drain that comes and goes.

Run by ``main.py`` beside the venue, where Xvnc is installed. The agents are child processes that end their sessions when
they end, which they do with this process however it dies; a broker that comes back elsewhere gets them back with
everything still running. Whatever an operator does on the board in between, the people take as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import secrets
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from app.client.api import BrokerClient
from app.client.broker_file import read_agent_key
from app.client.calls import ApiError
from app.client.child import open_log
from app.client.fleet import FleetClient
from app.demo.desks import DESKS, GRAPHICS_RACK, PEOPLE, PLACES, RACKS, TEMPLATES, Desk
from app.demo.house import Place
from app.logs import get_logger
from app.packaged import own_command
from app.paths import log_dir

log = get_logger("demo")

T = TypeVar("T")

PROGRAM = "Xvnc"
CLEAN_UP_WITHIN = 4.0
ENDS_WITHIN = 12.0
"""Seconds for an agent to end its sessions; it gives them ten."""
LOOK_EVERY = 1.0
TRY_AGAIN = 0.5
APART = 0.3
"""Seconds between two people, so that a small machine has time for its board too."""
BACK_AFTER = (15.0, 30.0)
GONE_FOR = (20.0, 45.0)
STAYS = (60.0, 120.0)
SLEEPS, WAKES_FOR = (60.0, 120.0), (20.0, 40.0)
OPEN_FOR = (60.0, 90.0)
"""Seconds that the draining rack takes sessions between two drains."""
EMPTY_FOR = 30.0
OPERATOR = "demo"
LEAVING = sum(1 for desk in DESKS if desk.mood == "leaving")


def can_run() -> bool:
    """Whether this machine has what desktops are made of."""
    return shutil.which(PROGRAM) is not None and shutil.which("xterm") is not None


class Rack:
    """One agent as a child process."""

    def __init__(self, name: str, data_dir: Path) -> None:
        self.name = name
        self._data_dir = data_dir
        self._state_dir = data_dir / "agents" / name
        self._process: subprocess.Popen[bytes] | None = None
        self._changing = asyncio.Lock()

    def start(self, place: Place) -> None:
        """Be an agent of the broker at ``place``."""
        command = [*own_command(), "agent", "--platform", "local", "--broker", place.url, "--agent-id", self.name]
        command += ["--state-dir", str(self._state_dir), "--max-sessions", str(PLACES)]
        command += ["--end-sessions", "--parent", str(os.getpid()), "--log-level", "warning"]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("CALLBOARD_")}
        key = read_agent_key(self._data_dir) or ""
        with open_log(log_dir(self._data_dir) / f"{self.name}.log") as said:
            self._process = subprocess.Popen(
                command,
                env=kept | {"CALLBOARD_AGENT_KEY": key},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                start_new_session=True,
            )

    async def move(self, place: Place) -> None:
        """Serve a broker elsewhere: killed outright, an agent leaves its sessions for the next one to adopt."""
        async with self._changing:
            if self._process is not None:
                self._process.kill()
                await asyncio.to_thread(self._process.wait)
            self.start(place)

    async def revive(self, place: Place) -> None:
        """Start an agent that died; it adopts what the dead one left."""
        async with self._changing:
            if self._process is not None and self._process.poll() is not None:
                self.start(place)

    async def end(self) -> None:
        """End the agent, and it its sessions."""
        async with self._changing:
            process, self._process = self._process, None
            if process is not None:
                await self._end(process)

    async def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)
            await asyncio.to_thread(self._end_left)

    def _end_left(self) -> None:
        """Ask the supervisors of sessions to end them, as the agent had no time to."""
        import psutil

        for one in psutil.process_iter(["cmdline"]):
            if any(word.startswith(str(self._state_dir)) for word in one.info["cmdline"] or ()):
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.terminate()


class Desktops:
    """The racks and their people. ``async with Desktops(…) as desktops: await desktops.run()``."""

    def __init__(self, place: Place, data_dir: Path, *, seed: int | None = None) -> None:
        self.place = place
        self._client = BrokerClient(place.url, place.token, OPERATOR)
        self._racks = [Rack(name, data_dir) for name in RACKS]
        self._dice = random.Random(seed)
        self._open = asyncio.Event()
        """Whether the rack that drains takes sessions just now."""
        self._open.set()
        self._leaving = 0
        """Sessions of the people who leave that rack by and by."""
        self._full, self._empty = asyncio.Event(), asyncio.Event()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            async with asyncio.timeout(CLEAN_UP_WITHIN):
                await asyncio.gather(*(_despite(self._fleet.terminate_all(rack.name)) for rack in self._racks))
        except TimeoutError:
            log.info("the sessions end with their agents")
        finally:
            await asyncio.gather(*(rack.end() for rack in self._racks))
            await self._client.close()

    async def run(self) -> None:
        """Live for ever; cancel to end."""
        for rack in self._racks:
            rack.start(self.place)
        await self._furnish()
        async with asyncio.TaskGroup() as group:
            for number, desk in enumerate(DESKS):
                group.create_task(self._occupy(desk, number * APART, random.Random(self._dice.random())))
            group.create_task(self._drain_now_and_then())
            group.create_task(self._keep_racks())

    async def move(self, place: Place) -> None:
        """The broker has another address now."""
        before, self._client = self._client, BrokerClient(place.url, place.token, OPERATOR)
        self.place = place
        await before.close()
        for rack in self._racks:
            await rack.move(place)

    @property
    def _fleet(self) -> FleetClient:
        return self._client.fleet

    # -- the venue's things ------------------------------------------------------------------------------------

    async def _furnish(self) -> None:
        """People and templates, as far as they are not there from the last time."""
        await self._until(self._people)
        await self._until(self._templates)

    async def _people(self) -> None:
        known = {user.username for user in await self._fleet.users()}
        for name in PEOPLE:
            if name not in known:
                await self._fleet.create_user(name, f"{name}@venue.example", secrets.token_urlsafe(16))

    async def _templates(self) -> None:
        known = {template.name for template in await self._fleet.templates()}
        for template in TEMPLATES:
            if template["name"] in known:
                await self._fleet.change_template(template["name"], template)
            else:
                await self._fleet.create_template(template)

    async def _keep_racks(self) -> None:
        """An agent that died is started again and adopts what it left."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            for rack in self._racks:
                await rack.revive(self.place)

    # -- people ------------------------------------------------------------------------------------------------

    async def _occupy(self, desk: Desk, delay: float, dice: random.Random) -> None:
        """Have the desk's session, in its mood, for ever."""
        await asyncio.sleep(delay)
        while True:
            if desk.mood == "leaving":
                await self._open.wait()
            session_id = await self._begin(desk)
            if session_id is None:
                await asyncio.sleep(dice.uniform(*BACK_AFTER))
                continue
            match desk.mood:
                case "sleeper":
                    await self._sleep(session_id, dice)
                case "passing":
                    await self._stay(session_id, dice)
                    await asyncio.sleep(dice.uniform(*GONE_FOR))
                case "leaving":
                    self._count(1)
                    await self._stay(session_id, dice)
                    self._count(-1)
                case _:
                    await self._while_there(session_id, None)
                    await asyncio.sleep(dice.uniform(*BACK_AFTER))

    async def _begin(self, desk: Desk) -> str | None:
        """Start a session; None when the broker does not want it, for longer than agents take to come."""
        for _ in range(20):
            try:
                begun = await self._fleet.create_session(
                    desk.user,
                    desk.template,
                    platform="local",
                    agent_id=desk.rack,
                    tags=desk.tags,
                    persistent_home=False,
                )
            except ApiError as error:
                if error.status not in (0, 429, 503):
                    log.info("a session was refused", user=desk.user, template=desk.template, error=error.text)
                    return None
                await asyncio.sleep(TRY_AGAIN)
                continue
            return begun.id
        return None

    async def _while_there(self, session_id: str, seconds: float | None) -> bool:
        """Wait, at most ``seconds``, for somebody to end the session; whether it is still there."""
        loop = asyncio.get_running_loop()
        end = None if seconds is None else loop.time() + seconds
        while end is None or loop.time() < end:
            await asyncio.sleep(LOOK_EVERY)
            try:
                state = (await self._fleet.session(session_id)).state
            except ApiError as error:
                if error.status == 404:
                    return False
                continue
            if state in ("terminating", "terminated"):
                return False
        return True

    async def _stay(self, session_id: str, dice: random.Random) -> None:
        """Work for a while, then go."""
        if await self._while_there(session_id, dice.uniform(*STAYS)):
            await _despite(self._fleet.delete_session(session_id))

    async def _sleep(self, session_id: str, dice: random.Random) -> None:
        """Hibernate, wake up for a while, and again, until somebody ends the session."""
        while await self._settle(session_id, "hibernated"):
            there = await self._while_there(session_id, dice.uniform(*SLEEPS))
            if not there or not await self._settle(session_id, "running"):
                return
            await self._while_there(session_id, dice.uniform(*WAKES_FOR))

    async def _settle(self, session_id: str, state: str) -> bool:
        """Bring a session into a state, however long it takes to be ready for that; whether it is still there."""
        while await self._while_there(session_id, LOOK_EVERY):
            change = await _despite(self._fleet.set_state(session_id, state))
            if change is not None and change.state == state:
                return True
        return False

    async def _drain_now_and_then(self) -> None:
        """Drain one rack, let it stand empty for a while, open it again."""
        while True:
            await self._full.wait()
            self._open.clear()
            await self._until(lambda: self._fleet.drain(GRAPHICS_RACK))
            await self._empty.wait()
            await asyncio.sleep(EMPTY_FOR)
            await self._until(lambda: self._fleet.undrain(GRAPHICS_RACK))
            self._open.set()
            await asyncio.sleep(self._dice.uniform(*OPEN_FOR))

    def _count(self, change: int) -> None:
        self._leaving += change
        for event, holds in ((self._full, self._leaving == LEAVING), (self._empty, self._leaving == 0)):
            event.set() if holds else event.clear()

    async def _until(self, act: Callable[[], Awaitable[None]]) -> None:
        """Do it until it is done; the broker may be away, or not ready for it."""
        while True:
            try:
                return await act()
            except ApiError as error:
                log.debug("the broker is not ready", error=error.text)
            await asyncio.sleep(TRY_AGAIN)


async def _despite(act: Awaitable[T]) -> T | None:
    """Do it, unless the broker is away or somebody was there before."""
    try:
        return await act
    except ApiError as error:
        log.debug("not done", error=error.text)
        return None
