"""Carries out commands on the platform: of one session one after another, of different sessions at once.

Fed by ``agent.py`` with commands that ``link.py`` marked as decided; never runs in the read loop. Every command ends,
with a result or a failure, within a time. Serves the StreamSpace document (seed 001, "WebSocket Protocol").
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from app.agent.platform import AgentFailure, FailureCode, Platform
from app.agent_protocol import Command, CommandResult
from app.errors import CallboardError
from app.logs import get_logger
from app.quantities import duration_seconds

log = get_logger("agent.executor")

QUEUED = 1000
"""Commands that may wait; the broker's window is 8, so that only a broker gone mad gets here."""
WITHIN = {"start_session": 120.0, "wake_session": 120.0, "hibernate_session": 45.0}
STOP_BEYOND = 15.0
"""Seconds that a stop may take beyond the grace it was given."""
GRACE = 30.0
GRACE_LIMIT = 40.0
"""A broker waits 60 s for the end of a stop; longer graces than this are cut."""
OCCUPIES = frozenset({"starting", "running", "stopping"})
"""States in which a session takes one of the agent's places; a hibernated one frees its own."""
LEAVES = ("stop_session", "hibernate_session")

Finished = Callable[[Command, CommandResult], None]


class Executor:
    """The queue of each session and the places of this agent."""

    def __init__(self, platform: Platform, max_sessions: int, agent_id: str, finished: Finished) -> None:
        self._platform = platform
        self._max_sessions = max_sessions
        self._agent_id = agent_id
        self._finished = finished
        self._queues: dict[str, deque[Command | int]] = {}
        """Commands, and generations of sessions that are stale."""
        self._last: dict[str, Command | int] = {}
        """The last of each, until all of it is done."""
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._beginning: set[str] = set()
        self._waiting = 0

    @property
    def busy(self) -> bool:
        """Whether a command is under way."""
        return bool(self._workers)

    def submit(self, command: Command) -> None:
        """Carry this out after whatever its session has waiting."""
        if self._waiting >= QUEUED:
            failure = AgentFailure(f"more than {QUEUED} commands wait on this agent", FailureCode.CAPACITY)
            self._finished(command, self._failed(command, failure))
            return
        self._enqueue(command.session_id, command)

    def end_stale(self, session_id: str, generation: int) -> None:
        """End a session that is no longer this agent's to run; one begun since stays. Nobody waits for the result."""
        if generation not in self._queues.get(session_id, ()):
            self._enqueue(session_id, generation)

    async def stop(self, within: float) -> None:
        """Let commands under way come to their end for a while, then cut them; they will be sent again."""
        self._queues.clear()
        self._waiting = 0
        workers = list(self._workers.values())
        if workers:
            _, late = await asyncio.wait(workers, timeout=within)
            for worker in late:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    def _enqueue(self, session_id: str, entry: Command | int) -> None:
        self._queues.setdefault(session_id, deque()).append(entry)
        self._last[session_id] = entry
        self._waiting += 1
        if session_id not in self._workers:
            worker = asyncio.get_running_loop().create_task(self._work(session_id), name=f"session {session_id}")
            self._workers[session_id] = worker
            worker.add_done_callback(lambda done: self._forget(session_id, done))

    def _forget(self, session_id: str, worker: asyncio.Task[Any] | None) -> None:
        if self._workers.get(session_id) is worker:
            del self._workers[session_id]
            self._last.pop(session_id, None)

    async def _work(self, session_id: str) -> None:
        """Everything that one session has waiting."""
        while queue := self._queues.get(session_id):
            entry = queue.popleft()
            self._waiting -= 1
            if isinstance(entry, int):
                await self._end(session_id, entry)
            else:
                self._finished(entry, await self._execute(entry))
        self._queues.pop(session_id, None)
        self._forget(session_id, asyncio.current_task())  # now: a command that comes before our callback needs a worker

    async def _execute(self, command: Command) -> CommandResult:
        within = WITHIN.get(command.command_type) or stop_grace(command.data) + STOP_BEYOND
        try:
            async with asyncio.timeout(within):
                result = await self._perform(command)
        except AgentFailure as failure:
            return self._failed(command, failure)
        except CallboardError as error:  # quantities and names that make no sense
            return self._failed(command, AgentFailure(error.message, FailureCode.TEMPLATE))
        except TimeoutError:
            return self._failed(command, AgentFailure(f"not done within {within:.0f} s", FailureCode.TIMEOUT))
        except Exception as error:
            log.exception("command failed unexpectedly", command=command.command_type, session=command.session_id)
            return self._failed(command, AgentFailure(f"{type(error).__name__}: {error}", FailureCode.INTERNAL))
        result = {"session_id": command.session_id, **result}
        return CommandResult(command_id=command.command_id, status="completed", agent_id=self._agent_id, result=result)

    async def _perform(self, command: Command) -> dict[str, Any]:
        session_id, data = command.session_id, command.data
        if self._superseded(command):
            if command.command_type == "stop_session":
                return {}
            raise AgentFailure("this session was begun anew since", FailureCode.NO_SESSION)
        match command.command_type:
            case "start_session":
                with await self._place(session_id):
                    return await self._platform.run(session_id, data, generation_of(command))
            case "wake_session":
                with await self._place(session_id):
                    return await self._platform.wake(session_id, data, generation_of(command))
            case "hibernate_session":
                return await self._platform.hibernate(session_id)
            case "stop_session":
                return await self._platform.end(
                    session_id,
                    graceful=data.get("graceful", True) is not False,
                    timeout=stop_grace(data),
                    delete_home=data.get("delete_home") is True,
                )

    def _superseded(self, command: Command) -> bool:
        """Whether it speaks of an earlier beginning of its session than the one that is here."""
        said = command.generation or command.data.get("generation")
        return isinstance(said, int) and 0 < said < self._generation_here(command.session_id)

    def _generation_here(self, session_id: str) -> int:
        """Of the session that is here; 0 without one."""
        return next((one.generation for one in self._platform.held() if one.session_id == session_id), 0)

    async def _place(self, session_id: str) -> Place:
        """One of the agent's places, for as long as a session begins; afterwards the session itself holds it.

        A broker counts a session that it ended by force no more, so who comes next may come before that one has gone.
        """
        while True:
            taken = {held.session_id for held in self._platform.held() if held.state in OCCUPIES} | self._beginning
            if session_id in taken or len(taken) < self._max_sessions:
                return Place(self._beginning, session_id)
            leaving = [self._workers[one] for one in taken if self._leaves(one)]
            if not leaving:
                raise AgentFailure(f"all {self._max_sessions} places of this agent are taken", FailureCode.CAPACITY)
            await asyncio.wait(leaving, return_when=asyncio.FIRST_COMPLETED)

    def _leaves(self, session_id: str) -> bool:
        """Whether the last thing that a session has to do, or does now, frees its place."""
        last = self._last.get(session_id)
        return isinstance(last, int) or (last is not None and last.command_type in LEAVES)

    async def _end(self, session_id: str, generation: int) -> None:
        if self._generation_here(session_id) > generation:
            return
        try:
            async with asyncio.timeout(GRACE + STOP_BEYOND):
                await self._platform.end(session_id, graceful=True, timeout=GRACE, delete_home=False)
        except (AgentFailure, TimeoutError) as error:
            log.error("a session that is not ours any more does not end", session=session_id, error=str(error))
        except Exception:
            log.exception("a session that is not ours any more does not end", session=session_id)

    def _failed(self, command: Command, failure: AgentFailure) -> CommandResult:
        log.warning("command failed", command=command.command_type, session=command.session_id, error=failure.message)
        return CommandResult(
            command_id=command.command_id,
            status="failed",
            agent_id=self._agent_id,
            error=failure.message,
            error_code=failure.code,
        )


class Place:
    """Keeps a place for a session that begins."""

    def __init__(self, beginning: set[str], session_id: str) -> None:
        self._beginning = beginning
        self._session_id = session_id

    def __enter__(self) -> None:
        self._beginning.add(self._session_id)

    def __exit__(self, *_: object) -> None:
        self._beginning.discard(self._session_id)


def generation_of(command: Command) -> int:
    """Which beginning of its session a command speaks of."""
    said = command.generation or command.data.get("generation")
    return said if isinstance(said, int) and said > 0 else 1


def stop_grace(data: dict[str, Any]) -> float:
    """Seconds between asking a program to end and ending it."""
    said = data.get("timeout")
    try:
        seconds = float(duration_seconds(said)) if isinstance(said, str) else float(said) if said else GRACE
    except (CallboardError, TypeError, ValueError):
        seconds = GRACE
    return min(max(seconds, 0.0), GRACE_LIMIT)
