"""Platform ``local``: each session is a desktop of its own on this machine, as processes under a supervisor.

Run by the agent's core, which serialises the calls for one session. Sessions outlive the agent: the next one on the
same state folder adopts those whose supervisor runs, and ends what was left of the others. Serves the StreamSpace
document (seed 001, "Session Lifecycle", "WebSocket Protocol").
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Literal

from app.agent import desktop, session_log
from app.agent.cgroups import detect
from app.agent.config import LocalSettings
from app.agent.homes import private
from app.agent.idle import idle_seconds
from app.agent.limits import Confinement, Means, SoftMeans, Wanted
from app.agent.local_folder import LocalFolder
from app.agent.local_keeper import Keeper
from app.agent.local_load import Samples
from app.agent.platform import AgentFailure, EventListener, FailureCode, RfbAddress, UnixAddress
from app.agent.session import READY_WITHIN, Record, Session, utc_now, why_it_ended
from app.agent_protocol import AgentLoad, Capacity, HeldSession, SessionEvent
from app.errors import ConfigError
from app.logs import get_logger
from app.quantities import memory_bytes

log = get_logger("agent.local")

GRACE = 30.0
MEMORY_EACH = 0.5
"""GiB that a session is thought to need where nobody says how many sessions fit."""


class LocalPlatform:
    """See the module's docstring. ``state_id`` marks the processes of this state folder's sessions."""

    name = "local"

    def __init__(self, folder: Path, state_id: str, settings: LocalSettings | None = None) -> None:
        self.capabilities = ["hibernate", "logs", "vnc", "thumbnail", "load"]
        self.metadata: dict[str, Any] = {"limits": "soft"}
        self.attached: list[dict[str, Any]] = []
        self.on_event: EventListener = lambda _: None
        self._settings = settings or LocalSettings()
        self._folder = LocalFolder(folder, state_id)
        self._state_id = state_id
        self._log_limit = memory_bytes(self._settings.log_limit)
        self._sessions: dict[str, Session] = {}
        self._leaving: dict[str, Session] = {}
        """Ended sessions whose folder is still there."""
        self._means: Means = SoftMeans()
        self._samples = Samples()
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending: dict[str, asyncio.Task[None]] = {}
        """Ends under way, also such as an earlier agent began."""

    # Life of the platform ----------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Find the means, adopt what runs, end what is left of the rest."""
        if desktop.find(desktop.SERVER) is None:
            text = (
                f"{desktop.SERVER} is not installed: install tigervnc-standalone-server, or choose another --platform."
            )
            raise ConfigError(text)
        self._folder.prepare()
        if self._settings.limits == "auto":
            self._means = await detect(self._state_id)
        self.metadata = {"limits": self._means.name}
        for session in self._folder.known():
            await self._adopt(session)
        keeper = Keeper(self._folder, self._sessions, self._look, self._samples.memory_of, self._tell)
        keeper.sweep(self._folder.marked())
        self._folder.prune_logs()
        self._spawn(keeper.run())

    async def stop(self, *, end_sessions: bool = False) -> None:
        """Let go of the sessions, or end them."""
        if end_sessions:
            ends = (self.end(one, graceful=True, timeout=10.0, delete_home=False) for one in list(self._sessions))
            await asyncio.gather(*ends)
        for session in self._sessions.values():
            session.let_go()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._means.release()

    def capacity(self) -> Capacity:
        """As many as memory allows, four for each CPU at most."""
        capacity = self._samples.capacity()
        fit = min(int((capacity.max_memory or 4.0) / MEMORY_EACH), 4 * int(capacity.max_cpu or 1))
        capacity.max_sessions = self._settings.max_sessions or max(1, fit)
        return capacity

    async def _adopt(self, session: Session) -> None:
        record = session.record
        try:
            session.confinement = self._confinement(session)
        except AgentFailure as failure:
            log.warning("limits of a session cannot be found again", session=session.id, error=failure.message)
        if record.state == "starting":
            await self._finish_start(session)
        stopped = record.state == "hibernated" and not record.frozen
        alive = record.state != "starting" and session.adopt(self._gone(session))
        if not stopped and not alive:
            log.warning("what is left of a session is ended", session=session.id, state=record.state)
            await self._clear(session)
            return
        self._sessions[session.id] = session
        if session.confinement is not None:
            session.ooms = session.confinement.count_oom()
        if alive and (stopped or record.state == "stopping"):
            session.ask_no_more()
            self._begin_end(session, session.grace_left(GRACE))
        elif record.state == "running" and record.frozen:
            await self._thaw(session)  # the agent ended while it was freezing it
        log.info("session adopted", session=session.id, state=record.state)

    async def _finish_start(self, session: Session) -> None:
        """A start that the agent did not live to see the end of: the supervisor goes on with it, so it counts.

        Begun again, its program would have run twice.
        """
        record = session.record
        if await session.comes_up(READY_WITHIN):
            record.state, record.frozen, record.started_at = "running", False, utc_now()
            record.limits = session.confinement.name if session.confinement is not None else ""
            session.write()
        elif record.kept:
            self._put_to_sleep(session)

    # Verbs -------------------------------------------------------------------------------------------------------

    async def run(self, session_id: str, data: dict[str, Any], generation: int) -> dict[str, Any]:
        """Start a session, or find it running."""
        leaving = self._leaving.get(session_id)
        if leaving is not None:
            await leaving.cleared.wait()
        known = self._sessions.get(session_id)
        if known is not None:
            if known.record.generation > generation:
                raise AgentFailure("a newer beginning of this session runs here")
            if known.record.generation == generation and known.record.state != "stopping":
                return await self._continue(known)
            await self.end(session_id, graceful=True, timeout=GRACE, delete_home=False)
        session = self._folder.new(session_id, Record(session_id=session_id, generation=generation, data=data))
        self._sessions[session_id] = session
        try:
            await self._begin(session)
        except BaseException:
            self._sessions.pop(session_id, None)
            await asyncio.shield(self._clear(session))
            raise
        return self._result(session)

    async def hibernate(self, session_id: str) -> dict[str, Any]:
        """Freeze, or end the processes and keep the folders, as the template says."""
        session = self._sessions.get(session_id)
        if session is None:
            raise AgentFailure("there is no such session on this agent", FailureCode.NO_SESSION)
        if session.record.state != "hibernated":
            if session.record.data.get("hibernate") == "stop":
                self._put_to_sleep(session)  # first: should this agent end now, the next one must not take it for lost
                self._begin_end(session, GRACE)
            else:
                await self._freeze(session)
        await self._settled(session)
        return {"hibernate": "freeze" if session.record.frozen else "stop"}

    async def wake(self, session_id: str, data: dict[str, Any], generation: int) -> dict[str, Any]:
        """Thaw or start again; a session never started is started from ``data``."""
        known = self._sessions.get(session_id)
        if known is not None and known.record.generation >= generation:
            return await self._continue(known)
        if not data.get("command"):
            raise AgentFailure("there is no such session on this agent", FailureCode.NO_SESSION)
        return await self.run(session_id, data, generation)

    async def end(self, session_id: str, *, graceful: bool, timeout: float, delete_home: bool) -> dict[str, Any]:
        """End a session and take its folder away."""
        session = self._sessions.get(session_id)
        if session is None:
            return {}
        session.record.state = "stopping"
        try:
            session.write()
        except OSError as error:  # it ends all the same: that may be the only way to get room on a full disk
            log.warning("the end of a session is not kept", session=session_id, error=str(error))
        session.ask_no_more()
        self._begin_end(session, timeout if graceful else 0.0)
        await self._settled(session)
        if delete_home and persists(session.record):
            await asyncio.to_thread(self._folder.homes.delete, *owner_of(session.record))
        return {}

    # Questions ---------------------------------------------------------------------------------------------------

    def held(self) -> list[HeldSession]:
        """Every session here."""
        return [
            HeldSession(
                session_id=one.id,
                generation=one.record.generation,
                state=one.record.state,
                result=self._result(one) if one.record.started_at else {},
            )
            for one in self._sessions.values()
        ]

    async def load(self) -> AgentLoad:
        """What the machine and each session use."""
        await self._look()
        awake = [one for one in self._sessions.values() if one.record.state == "running" and one.display is not None]
        idle = await asyncio.gather(*(idle_seconds(one.display or 0, one.authority) for one in awake))
        now = time.time()
        active = {one.id: now - away for one, away in zip(awake, idle, strict=True) if away is not None}
        return self._samples.load(self._sessions, active)

    async def rfb_address(self, session_id: str) -> RfbAddress:
        """The socket file of a running session."""
        session = self._sessions.get(session_id)
        if session is None or session.record.state in ("starting", "stopping"):
            raise AgentFailure("this session does not run here", FailureCode.VNC_NOT_FOUND)
        if session.record.state == "hibernated":
            raise AgentFailure("this session is hibernated", FailureCode.VNC_HIBERNATED)
        return UnixAddress(session.record.socket)

    def picture_refused(self, session_id: str) -> str:
        """Never: these desktops ask for no password."""
        return ""

    async def logs(self, session_id: str, tail: int) -> list[str]:
        """The last lines, of a session that ended today too."""
        return await session_log.tail_in_thread(self._log_of(session_id), tail)

    async def follow(self, session_id: str, tail: int) -> AsyncIterator[list[str]]:
        """The last lines and further ones until the session is gone."""
        path = self._log_of(session_id)
        async for lines in session_log.follow(path, tail, lambda: session_id not in self._sessions):
            yield lines

    def missing(self, programs: list[str]) -> list[str]:
        """Programs that cannot be run here."""
        return [program for program in programs if desktop.find(program) is None]

    # Beginning and end of one session ----------------------------------------------------------------------------

    async def _begin(self, session: Session) -> None:
        """From the record to a desktop that can be seen. Raises ``AgentFailure``; the folder is the caller's."""
        data = session.record.data
        program = desktop.program_command(data.get("command"))
        home, lock = self._home(session)
        session.record.state = "starting"
        session.write()
        confinement = session.confinement = self._confinement(session)
        session.ooms = confinement.count_oom()
        spec = desktop.specification(session, program, home, self._settings.window_manager)
        spec |= {
            "home_lock": str(lock or ""),
            "joins": confinement.joins,
            "affinity": confinement.affinity,
            "nice": confinement.nice,
            "data_limit": confinement.data_limit,
            "grace": GRACE,
            "log_limit": self._log_limit,
        }
        await session.launch(spec, confinement, self._gone(session))
        session.record.state, session.record.frozen = "running", False
        session.record.limits = confinement.name
        session.write()

    async def _continue(self, session: Session) -> dict[str, Any]:
        """Wake a hibernated session the way it was put to sleep; one that runs needs nothing."""
        await self._settled(session)
        if session.record.state == "hibernated" and session.record.frozen:
            await self._thaw(session)
            if not session.pid:
                raise AgentFailure("the session ended while it was hibernated", FailureCode.NO_SESSION)
        elif session.record.state == "hibernated":
            try:
                await self._begin(session)
            except BaseException:
                self._put_to_sleep(session)
                raise
        return self._result(session)

    def _put_to_sleep(self, session: Session) -> None:
        """From here on this session is its folder; processes that are left will be ended."""
        session.record.state, session.record.frozen, session.record.kept = "hibernated", False, True
        session.write()

    async def _freeze(self, session: Session) -> None:
        """Written down before and after: whoever finds it half done undoes it."""
        session.record.frozen = True
        session.write()
        try:
            await self._confined(session).freezer.freeze()
            if not session.pid:
                raise AgentFailure("the session ended", FailureCode.NO_SESSION)
        except AgentFailure:
            session.record.frozen = False
            session.write()
            raise
        session.record.state = "hibernated"
        session.write()

    async def _thaw(self, session: Session) -> None:
        await self._confined(session).freezer.thaw()
        session.record.state, session.record.frozen = "running", False
        session.write()

    def _begin_end(self, session: Session, grace: float) -> None:
        """End a session's processes, once; an end that is under way is hastened."""
        if session.id in self._ending:
            session.ask_to_end(grace)
            return
        ending = self._ending[session.id] = self._spawn(self._finish_end(session, grace))
        ending.add_done_callback(lambda _: self._ending.pop(session.id, None))

    async def _finish_end(self, session: Session, grace: float) -> None:
        if session.record.frozen:
            await self._confined(session).freezer.thaw()
            session.record.frozen = False
        await session.end(grace)
        if session.record.state == "stopping":  # and not on its way into hibernation
            self._sessions.pop(session.id, None)
            await self._clear(session)

    async def _settled(self, session: Session) -> None:
        """Wait for an end that is under way, whoever asked for it; it goes on when nobody waits any more."""
        ending = self._ending.get(session.id)
        if ending is not None:
            await asyncio.shield(ending)

    async def _clear(self, session: Session) -> None:
        """Nothing of a session stays but its log and, where it persists, its home."""
        self._leaving[session.id] = session
        try:
            await session.sweep()
            if session.record.frozen:  # some freezers keep even what was killed
                with contextlib.suppress(AgentFailure):
                    await self._confined(session).freezer.thaw()
            try:
                await asyncio.to_thread(self._folder.keep_log, session)
            except OSError as error:
                log.warning("the log of an ended session is lost", session=session.id, error=str(error))
            await session.remove()
        finally:
            session.cleared.set()
            if self._leaving.get(session.id) is session:
                del self._leaving[session.id]

    def _gone(self, session: Session) -> Callable[[], None]:
        """What to do when a supervisor ends without being asked to: its program did, or something went wrong."""
        return lambda: self._on_gone(session)

    def _on_gone(self, session: Session) -> None:
        text, code = why_it_ended(session)
        if session.confinement is not None and session.confinement.count_oom() > session.ooms:
            self._tell(session, "oom", "the session used more memory than it may", "OUT_OF_MEMORY")
            code = "OUT_OF_MEMORY"
        log.info("session ended by itself", session=session.id, why=text)
        self._leaving[session.id] = self._sessions.pop(session.id, session)
        self._tell(session, "exited", text, code)
        self._spawn(self._clear(session))

    def _tell(self, session: Session, event: Literal["exited", "oom"], text: str, code: str) -> None:
        generation = session.record.generation
        self.on_event(
            SessionEvent(
                session_id=session.id, event=event, generation=generation, message=text, code=code, at=time.time()
            )
        )

    # Housekeeping ------------------------------------------------------------------------------------------------

    def _spawn(self, coroutine: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _look(self) -> None:
        await self._samples.take({one.id: one.pid for one in self._sessions.values() if one.pid})

    # Small parts -------------------------------------------------------------------------------------------------

    def _home(self, session: Session) -> tuple[Path, Path | None]:
        """Where HOME is, and the lock for it where it outlives the session."""
        if not persists(session.record):
            home = session.folder / "home"
            private(home)
            return home, None
        owner = owner_of(session.record)
        return self._folder.homes.make(*owner), self._folder.homes.lock(*owner)

    def _confinement(self, session: Session) -> Confinement:
        wanted = Wanted.of(session.record.data.get("resources"))
        try:
            return self._means.confine(session.id, wanted, lambda: session.pid)
        except OSError as error:
            raise AgentFailure(f"limits cannot be set: {error}", FailureCode.RESOURCES) from error

    def _confined(self, session: Session) -> Confinement:
        if session.confinement is None:
            session.confinement = self._confinement(session)
        return session.confinement

    def _result(self, session: Session) -> dict[str, Any]:
        """Result fields of a start."""
        return {
            "session_id": session.id,
            "pod_ip": None,
            "pod_name": None,
            "started_at": session.record.started_at,
            "generation": session.record.generation,
            "limits": session.record.limits,
            "platform_metadata": {"display": session.display, "host": os.uname().nodename},
        }

    def _log_of(self, session_id: str) -> Path:
        session = self._sessions.get(session_id) or self._leaving.get(session_id)
        if session is not None and session.log.exists():
            return session.log
        return self._folder.ended_log(session_id)


def owner_of(record: Record) -> tuple[str, str]:
    """Whose home, of which template."""
    return str(record.data.get("user") or "nobody"), str(record.data.get("template") or "template")


def persists(record: Record) -> bool:
    """Whether the home stays; one that does not lies in the session's folder, and no other is this session's."""
    return record.data.get("persistent_home", True) is not False
