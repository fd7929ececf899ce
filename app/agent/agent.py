"""The agent's core: protocol, connection, commands, tunnels and questions around one platform.

Made by ``main.py``; tests run one in their own loop with ``async with Agent(...)``. Serves the StreamSpace document
(seed 001, "Agent Management", "WebSocket Protocol").
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from app import __version__
from app.agent.connection import Connection
from app.agent.executor import OCCUPIES, Executor
from app.agent.folder import StateFolder
from app.agent.journal import SqliteJournal
from app.agent.link import Ask, Beat, Effect, EndStale, Execute, HangUp, Link, Registered, Send
from app.agent.options import AgentOptions
from app.agent.platform import Platform
from app.agent.questions import Questions
from app.agent.tunnels import Tunnels
from app.agent_protocol import (
    AgentLoad,
    Capacity,
    CloseCode,
    Command,
    CommandResult,
    FromAgent,
    Heartbeat,
    Register,
    SessionEvent,
    VncProxyRequest,
)
from app.errors import Unavailable
from app.logs import get_logger

log = get_logger("agent")

COMMANDS_END_WITHIN = 5.0
FLUSH_WITHIN = 1.0
LOAD_WITHIN = 5.0
PRUNE_EVERY = 3600.0
ENDS = {
    "hibernate_session": (CloseCode.HIBERNATED, "the session is hibernated"),
    "stop_session": (CloseCode.ENDED, "the session ended"),
}
"""Commands that close a session's viewers as soon as they begin, and why."""


class Agent:
    """One agent, from ``start`` to ``stop``. ``folder`` must be locked by the caller, or be its own."""

    def __init__(self, options: AgentOptions, platform: Platform, journal: SqliteJournal) -> None:
        self.options = options
        self.platform = platform
        self.instance_id = secrets.token_hex(8)
        self._journal = journal
        self._capacity = Capacity()
        self.link = Link(self._register, platform.held, journal)
        self.connection = Connection(options, self.link, self._act)
        self.tunnels = Tunnels(options, platform, self.connection.send)
        self._questions = Questions(platform, self.connection.deliver)
        self._executor: Executor | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._beating: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Adopt what runs, then connect and stay connected."""
        self.platform.on_event = self._on_event
        await self.platform.start()
        capacity = self.platform.capacity()
        if self.options.max_sessions is not None:
            capacity.max_sessions = self.options.max_sessions
        self._capacity = capacity
        self._executor = Executor(self.platform, capacity.max_sessions or 1, self.options.name, self._finished)
        self._spawn(self.connection.run())
        self._spawn(self._prune())
        log.info(
            "agent started",
            agent=self.options.name,
            platform=self.platform.name,
            sessions=len(self.platform.held()),
            places=capacity.max_sessions,
            **{f"platform_{name}": value for name, value in self.platform.metadata.items()},
        )

    async def stop(self) -> None:
        """End what this process does. Sessions live on, unless the options say otherwise."""
        if self._executor is not None:
            await self._executor.stop(COMMANDS_END_WITHIN)
        await self.connection.flush(FLUSH_WITHIN)
        await self._questions.stop()
        await self.tunnels.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.platform.stop(end_sessions=self.options.end_sessions)
        log.info("agent stopped", agent=self.options.name, sessions=len(self.platform.held()))

    def _spawn(self, coroutine: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a task of the agent failed", exc_info=task.exception())

    # What the link decided ---------------------------------------------------------------------------------------

    def _act(self, effect: Effect) -> None:
        match effect:
            case Send():
                self.connection.send(effect.message)
            case Execute():
                self.connection.proved()
                self._execute(effect.command)
            case EndStale():
                for session_id, generation in effect.sessions:
                    self.tunnels.close_session(session_id, CloseCode.ENDED, "the session is not this agent's any more")
                    self._executor_there.end_stale(session_id, generation)
            case Ask():
                if isinstance(effect.question, VncProxyRequest):
                    self.tunnels.request(effect.question)
                else:
                    self._questions.ask(effect.question)
            case Beat():
                if self._beating is None or self._beating.done():
                    self._beating = self._spawn(self._beat())
            case Registered():
                self._questions.forget()  # whoever asked on an earlier connection does not listen any more
                self.connection.up.set()
                log.info("registered", broker=self.options.broker, standby=effect.standby, epoch=effect.epoch)
            case HangUp():
                self.connection.hang_up(effect.reason)

    @property
    def _executor_there(self) -> Executor:
        if self._executor is None:
            raise RuntimeError("the agent was not started")
        return self._executor

    def _execute(self, command: Command) -> None:
        log.info("command", command=command.command_type, session=command.session_id, id=command.command_id)
        reason = ENDS.get(command.command_type)
        if reason is not None:
            self.tunnels.close_session(command.session_id, *reason)
        self._executor_there.submit(command)

    def _finished(self, command: Command, result: CommandResult) -> None:
        log.info("command done", command=command.command_type, session=command.session_id, status=result.status)
        self.connection.carry_out(self.link.finished(command, result, time.monotonic()))

    def _on_event(self, event: SessionEvent) -> None:
        if event.event == "exited":
            self.tunnels.close_session(event.session_id, CloseCode.ENDED, "the session ended")
        self.connection.carry_out(self.link.happened(event, time.monotonic()))

    # Messages of our own -----------------------------------------------------------------------------------------

    def _register(self) -> Register:
        metadata = {
            "agent_version": __version__,
            "host": socket.gethostname(),
            "instance_id": self.instance_id,
            **self.platform.metadata,
        }
        return Register(
            agent_id=self.options.name,
            platform=self.platform.name,
            region=self.options.region,
            capacity=self._capacity,
            metadata=metadata,
            instance_id=self.instance_id,
            capabilities=list(self.platform.capabilities),
            attached=self.platform.attached,
        )

    async def _beat(self) -> None:
        """A heartbeat with the load; without it when that cannot be had in time."""
        load: AgentLoad | None = None
        try:
            async with asyncio.timeout(LOAD_WITHIN):
                load = await self.platform.load()
        except TimeoutError:
            log.warning("the load could not be measured in time")
        except Exception:
            log.exception("the load could not be measured")
        self.connection.send(self._heartbeat(load))

    def _heartbeat(self, load: AgentLoad | None) -> FromAgent:
        now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        current = sum(held.state in OCCUPIES for held in self.platform.held())
        capacity = Capacity(current_sessions=current)
        return Heartbeat(agent_id=self.options.name, timestamp=now, capacity=capacity, load=load)

    async def _prune(self) -> None:
        while True:
            await asyncio.sleep(PRUNE_EVERY)
            try:
                self._journal.prune()
            except Unavailable as error:  # a full disk: there is a next time
                log.warning("the journal was not pruned", error=error.message)


def platform_for(options: AgentOptions, folder: StateFolder) -> Platform:
    """The platform that the options name. Raises ``ConfigError``."""
    from app.agent.config import load_agent_config

    config = load_agent_config(options.config)
    state: Path = folder.path
    match options.platform:
        case "attach":
            from app.agent.attach import AttachPlatform

            return AttachPlatform(config.target, state)
        case "docker":
            from app.agent.docker import DockerPlatform

            return DockerPlatform(config.docker, options.name, state)
        case _:
            from app.agent.local import LocalPlatform

            return LocalPlatform(state, folder.id, config.local)
