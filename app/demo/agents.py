"""Simulated agents: WebSocket clients that speak the agents' protocol, accept every command and run nothing.

A load for the broker and a crowd for the demo (``--agents N``), used by ``simulation.py`` and the benchmarks. What they say of
sessions and load is made up, and their metadata says so. Serves the StreamSpace document (seed 001, "WebSocket
Protocol").
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from app.agent_protocol import (
    FRAME_LIMIT,
    AgentLoad,
    BadMessage,
    Capacity,
    CloseCode,
    Command,
    CommandAck,
    CommandResult,
    FromAgent,
    Heartbeat,
    HeldSession,
    LogsData,
    LogsRequest,
    ProgramsReport,
    ProgramsRequest,
    Register,
    RegisterAck,
    ResultAck,
    SessionLoad,
    ThumbnailData,
    ThumbnailRequest,
    UnknownType,
    VncProxyError,
    VncProxyRequest,
    encode,
    to_agent,
)
from app.client.transport import ssl_context_for

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

HEARTBEAT_EVERY = 10.0
RETRY_FIRST, RETRY_LAST = 0.5, 30.0
OPEN_TIMEOUT = 30.0
"""Hundreds may come at once."""
RESULTS_KEPT = 1000
TAKES = {"start_session": (0.3, 1.2), "wake_session": (0.1, 0.4), "hibernate_session": (0.1, 0.4)}
"""Seconds that commands seem to take; an end takes none."""
STATES = {"start_session": "running", "wake_session": "running", "hibernate_session": "hibernated"}
LEAVE_WITHIN = 5.0


@dataclass
class Tally:
    """What a crowd of agents has done so far."""

    registered: int = 0
    """Agents that are registered now."""
    registrations: int = 0
    beats: int = 0
    commands: int = 0
    lost: int = 0
    """Connections that ended without our doing."""


@dataclass
class _Held:
    """One session that seems to run."""

    generation: int
    state: str
    result: dict[str, Any] = field(default_factory=dict)


class SimulatedAgent:
    """One agent over any number of connections. ``slow`` scales how long commands seem to take."""

    platform = "kubernetes"

    def __init__(
        self, url: str, agent_id: str, key: str, tally: Tally, dice: random.Random, *, places: int, slow: float = 1.0
    ) -> None:
        self.agent_id = agent_id
        self.sessions: dict[str, _Held] = {}
        self.url = url
        self._key = key
        self._tally = tally
        self._dice = dice
        self._places = places
        self._slow = slow
        self._results: OrderedDict[str, CommandResult] = OrderedDict()
        self._owed: OrderedDict[str, CommandResult] = OrderedDict()
        """Results that the broker has not acknowledged, oldest first."""
        self._connection: ClientConnection | None = None
        self._under_way: dict[str, asyncio.Task[None]] = {}

    async def run(self, first_beat: float) -> None:
        """Be an agent for ever, the first heartbeat ``first_beat`` seconds after registering; cancel to end."""
        from websockets.exceptions import ConnectionClosed, WebSocketException

        failures = 0
        try:
            while True:
                try:
                    await self._one_connection(first_beat)
                    failures = 0
                except ConnectionClosed as closed:
                    failures = 0
                    if closed.rcvd is not None and closed.rcvd.code == CloseCode.REPLACED:
                        return
                except (OSError, TimeoutError, WebSocketException):
                    failures += 1
                self._tally.lost += 1
                wait = min(RETRY_LAST, RETRY_FIRST * 2.0**failures)
                await asyncio.sleep(wait * self._dice.uniform(0.5, 1.0))
        finally:
            for task in self._under_way.values():
                task.cancel()

    async def cut(self) -> None:
        """Break the connection as a network does; it comes back by itself."""
        if self._connection is not None:
            self._connection.transport.abort()

    async def _one_connection(self, first_beat: float) -> None:
        from websockets.asyncio.client import connect

        query = urlencode({"agent_id": self.agent_id, "platform": self.platform, "region": "simulated"})
        url = f"ws{self.url.removeprefix('http')}/agent/ws?{query}"
        async with connect(
            url,
            additional_headers={"Authorization": f"Bearer {self._key}"},
            ssl=ssl_context_for(self.url) if url.startswith("wss:") else None,
            open_timeout=OPEN_TIMEOUT,
            close_timeout=LEAVE_WITHIN,
            compression=None,
            proxy=None,
            max_size=FRAME_LIMIT,
            user_agent_header=None,
        ) as connection:
            self._connection = connection
            beating: asyncio.Task[None] | None = None
            registered = False
            try:
                await connection.send(encode(self._register()))
                async for frame in connection:
                    try:
                        message = to_agent(frame)
                    except (BadMessage, UnknownType):
                        continue
                    if isinstance(message, RegisterAck) and not registered:
                        registered = True
                        self._tally.registered += 1
                        self._tally.registrations += 1
                        beating = asyncio.create_task(self._beat(connection, first_beat))
                    for answer in self._answers(message):
                        await connection.send(encode(answer))
            finally:
                self._tally.registered -= registered
                self._connection = None
                if beating is not None:
                    beating.cancel()

    # -- what it says ------------------------------------------------------------------------------------------

    def _register(self) -> Register:
        held = [
            HeldSession(session_id=name, generation=one.generation, state=one.state, result=one.result)
            for name, one in self.sessions.items()
        ]
        return Register(
            agent_id=self.agent_id,
            platform=self.platform,
            region="simulated",
            capacity=Capacity(max_sessions=self._places, max_cpu=64.0, max_memory=256.0),
            metadata={"simulated": True, "agent_version": "simulated", "cluster_name": "no cluster"},
            capabilities=["hibernate", "load", "logs"],
            sessions=held,
        )

    async def _beat(self, connection: ClientConnection, first: float) -> None:
        from websockets.exceptions import ConnectionClosed

        loop = asyncio.get_running_loop()
        due = loop.time() + first
        try:
            while True:
                await asyncio.sleep(max(0.0, due - loop.time()))
                due += HEARTBEAT_EVERY
                await connection.send(encode(self.heartbeat()))
                self._tally.beats += 1
        except ConnectionClosed:
            return

    def heartbeat(self) -> Heartbeat:
        """What it seems to use just now."""
        running = [name for name, one in self.sessions.items() if one.state == "running"]
        sessions = [
            SessionLoad(
                session_id=name, cpu=round(self._dice.uniform(1, 60), 1), memory=self._dice.randrange(1, 8) << 26
            )
            for name in running
        ]
        part = 100.0 * len(running) / max(1, self._places)
        return Heartbeat(
            agent_id=self.agent_id,
            timestamp=_now(),
            capacity=Capacity(current_sessions=len(running)),
            load=AgentLoad(
                cpu=round(part * self._dice.uniform(0.6, 0.9), 1), memory=round(20 + part * 0.6, 1), sessions=sessions
            ),
        )

    def _answers(self, message: object) -> Sequence[FromAgent]:
        """What is said at once to a message of the broker's."""
        match message:
            case RegisterAck():
                for session_id in message.stop:
                    self.sessions.pop(session_id, None)
                return list(self._owed.values())[:1]
            case ResultAck():
                self._owed.pop(message.command_id, None)
                return list(self._owed.values())[:1]
            case Command():
                return self._command(message)
            case LogsRequest():
                line = f"{_now()} this session is simulated by {self.agent_id}"
                return [LogsData(request_id=message.request_id, lines=[line], eof=True)]
            case ThumbnailRequest():
                return [
                    ThumbnailData(
                        request_id=message.request_id, session_id=message.session_id, error="a simulated session"
                    )
                ]
            case VncProxyRequest():
                error = "a simulated session has no desktop"
                return [VncProxyError(proxy_id=message.proxy_id, session_id=message.session_id, error=error)]
            case ProgramsRequest():
                return [ProgramsReport(missing=message.programs)]
        return []

    def _command(self, command: Command) -> Sequence[FromAgent]:
        ack = CommandAck(command_id=command.command_id, agent_id=self.agent_id)
        done = self._results.get(command.command_id)
        if done is not None:
            return [ack, done]
        if command.command_id not in self._under_way:
            task = asyncio.create_task(self._carry_out(command))
            self._under_way[command.command_id] = task
            task.add_done_callback(lambda _: self._under_way.pop(command.command_id, None))
        return [ack]

    async def _carry_out(self, command: Command) -> None:
        from websockets.exceptions import ConnectionClosed

        least, most = TAKES.get(command.command_type, (0.0, 0.0))
        await asyncio.sleep(self._slow * self._dice.uniform(least, most))
        result = self._done(command)
        self._tally.commands += 1
        self._results[command.command_id] = self._owed[command.command_id] = result
        while len(self._results) > RESULTS_KEPT:
            self._results.popitem(last=False)
        connection = self._connection
        if connection is not None:
            try:
                await connection.send(encode(result))
            except ConnectionClosed:
                return  # owed, and told again on the next connection

    def _done(self, command: Command) -> CommandResult:
        """The effect of a command, and how it is told."""
        name = command.session_id
        held = self.sessions.get(name)
        told: dict[str, Any] = {"session_id": name}
        if command.command_type == "stop_session":
            self.sessions.pop(name, None)
        elif held is None and command.command_type == "hibernate_session":
            return CommandResult(
                command_id=command.command_id, agent_id=self.agent_id, status="failed",
                error="no such session here", error_code="SESSION_NOT_FOUND",
            )  # fmt: skip
        else:
            if held is None or held.generation < command.generation:
                number = self._dice.randrange(1 << 16)
                held = self.sessions[name] = _Held(command.generation, "running")
                held.result = {
                    "session_id": name, "pod_ip": f"10.1.{number >> 8}.{number & 255}", "pod_name": f"sim-{name[:8]}",
                    "vnc_port": 5900, "started_at": _now(), "generation": command.generation,
                }  # fmt: skip
            held.state = STATES[command.command_type]
            told = held.result
        return CommandResult(command_id=command.command_id, agent_id=self.agent_id, status="completed", result=told)


class AgentCrowd:
    """``count`` agents on one broker; ``run()`` for ever, cancel to end."""

    def __init__(
        self,
        url: str,
        key: str,
        count: int,
        *,
        places: int = 20,
        prefix: str = "simulated",
        slow: float = 1.0,
        seed: int | None = None,
    ) -> None:
        dice = random.Random(seed)
        self.tally = Tally()
        self.agents = [
            SimulatedAgent(
                url, f"{prefix}-{number:03d}", key, self.tally, random.Random(dice.random()), places=places, slow=slow
            )
            for number in range(1, count + 1)
        ]

    def move(self, url: str) -> None:
        """The broker has another address: connections from now on go there."""
        for agent in self.agents:
            agent.url = url

    async def run(self, during: float = 0.0) -> None:
        """Come within ``during`` seconds, beat evenly spread, and stay."""
        count = max(1, len(self.agents))
        async with asyncio.TaskGroup() as group:
            for number, agent in enumerate(self.agents):
                group.create_task(self._one(agent, during * number / count, HEARTBEAT_EVERY * number / count))

    async def _one(self, agent: SimulatedAgent, delay: float, first_beat: float) -> None:
        await asyncio.sleep(delay)
        await agent.run(first_beat)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
