"""Who is connected: registration, heartbeats, replacement, standbys.

Called by connections with what their links heard, by the registry and by the domain's clock. Serves the StreamSpace
document (seed 001, "Connection Lifecycle"), with what it leaves open: of two agents of one id the newer counts and the
older is closed 4009; an agent is offline only when the connection that counts ends; one that is not the leader waits as
a standby and takes over when the leader drops.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import msgspec

from app.agent_protocol import (
    WINDOW,
    CloseCode,
    CommandResult,
    Heartbeat,
    HeldSession,
    LogsData,
    ProgramsReport,
    ProgramsRequest,
    Register,
    RegisterAck,
    SessionEvent,
    SessionLoad,
    ThumbnailData,
    VncProxyError,
)
from app.contract import AgentRow
from app.errors import CallboardError
from app.logs import get_logger
from app.server.fleet import bounds
from app.server.fleet.commands import Commands
from app.server.fleet.connection import AgentConnection
from app.server.fleet.link import NO_ACK, Acked, Effect, Finished, Heard, Sent, Stray
from app.server.fleet.questions import Questions
from app.server.fleet.schedule import COMMAND_PLATFORMS
from app.server.fleet.state import FleetState
from app.server.storage.fleet import CommandRow

log = get_logger("agents")

MOST_UNKEPT = 10_000
"""Events that wait for the database to come back; of a later one its agent's next inventory tells."""
SEED_CAPABILITIES = ["hibernate", "vnc", "logs"]
"""Of an agent that names none: what the document has, and logs, which it may know or pass over."""


class Roster:
    """See the module's docstring. What it does not decide itself goes to the callables below."""

    def __init__(
        self,
        state: FleetState,
        questions: Questions,
        *,
        programs: Callable[[], list[str]],
        clock: Callable[[], float],
        monotonic: Callable[[], float],
    ) -> None:
        self._state = state
        self._questions = questions
        self._programs = programs
        self._clock = clock
        self._monotonic = monotonic
        self._current: dict[str, AgentConnection] = {}
        self._standbys: dict[str, list[tuple[AgentConnection, Register]]] = {}
        self._all: dict[AgentConnection, None] = {}
        self._epoch = 0
        self._unkept: list[tuple[AgentConnection, Finished | Heard]] = []
        self.strays = 0
        """Results of commands that nobody sent."""
        self.stale: Callable[[str, list[HeldSession]], list[str]] = lambda _agent, _held: []
        self.reconcile: Callable[[str, list[HeldSession] | None], Awaitable[bool]]
        self.finished: Callable[[Finished], Awaitable[bool]]
        self.late: Callable[[str, CommandResult], Awaitable[bool]]
        self.event: Callable[[str, SessionEvent], Awaitable[bool]]
        self.on_proxy_error: list[Callable[[str, VncProxyError], None]] = []
        self.on_lost: list[Callable[[str], None]] = []
        self.on_back: list[Callable[[str], None]] = []
        state.commands.on_opened = self._opened
        state.commands.on_closed = self._closed

    @property
    def commands(self) -> Commands:
        """The open commands."""
        return self._state.commands

    def connection(self, agent_id: str | None) -> AgentConnection | None:
        """The connection that counts."""
        return self._current.get(agent_id) if agent_id is not None else None

    def add(self, connection: AgentConnection) -> None:
        """A socket was opened; it says nothing yet."""
        self._all[connection] = None

    def tick(self) -> None:
        """About once a second."""
        now = self._monotonic()
        unkept, self._unkept = self._unkept, []
        for connection, effect in unkept:  # the database could not keep it a moment ago
            connection.perform([effect])
        for connection in list(self._all):
            connection.tick(now)

    def ask_programs(self) -> None:
        """Templates changed: what do the machines lack now?"""
        for connection in self._current.values():
            self._ask_programs(connection)

    def close_all(self) -> None:
        """The broker stops."""
        for connection in list(self._all):
            connection.end(CloseCode.SHUTDOWN, "the broker stops")

    # What connections tell.

    async def handle(self, connection: AgentConnection, effect: Effect) -> None:
        """See ``connection.Domain``."""
        if isinstance(effect, Finished):
            await self._finish(connection, effect)
        elif isinstance(effect, Stray):
            await self._stray(connection, effect)
        elif isinstance(effect, Heard):
            message = effect.message
            if isinstance(message, Register):
                await self._register(connection, message)
            elif self._current.get(connection.agent_id) is connection:
                await self._heard(connection, message)

    def sent(self, effect: Sent | Acked) -> None:
        """See ``connection.Domain``."""
        if isinstance(effect, Sent):
            self.commands.sent(effect.command_id, effect.attempt)
        else:
            self.commands.acked(effect.command_id)

    def dropped(self, connection: AgentConnection) -> None:
        """See ``connection.Domain``: only the end of the connection that counts takes the agent offline."""
        self._all.pop(connection, None)
        self._questions.lost(connection)
        agent_id = connection.agent_id
        if self._leave_standbys(connection):
            self._show_standbys(agent_id)
        if self._current.get(agent_id) is not connection:
            return
        del self._current[agent_id]
        row = self._state.agents[agent_id]
        away = {"connection_id": None, "registered_at": None, "cpu": None, "memory": None}
        self._state.set_agent(msgspec.structs.replace(row, updated_at=self._clock(), **away))
        for lost in self.on_lost:
            lost(agent_id)
        self._promote(agent_id)

    # Registering.

    async def _register(self, connection: AgentConnection, message: Register) -> None:
        leader = message.metadata.get("is_leader")
        connection.leader = leader if isinstance(leader, bool) else None
        connection.registered = message
        current = self._current.get(connection.agent_id)
        if connection.leader is False and current is not None and current is not connection:
            self._park(connection, message)
            return
        try:
            await self._state.put_agent(
                connection.agent_id,
                lambda: self._row(connection, message),  # not before its turn: it may just be taken off the board
                lambda row: self._install(connection, row, message),
            )
        except CallboardError as error:
            log.error("agent not registered", agent=connection.agent_id, why=error.message)
            connection.end(CloseCode.INTERNAL, "the broker cannot keep the registration now")
            return
        if self._current.get(connection.agent_id) is not connection:
            return
        if await self.reconcile(connection.agent_id, message.sessions):
            self._ask_programs(connection)
        else:  # it comes again, with what it holds then
            connection.end(CloseCode.INTERNAL, "the broker cannot keep what the agent holds now")

    def _install(self, connection: AgentConnection, row: AgentRow, message: Register) -> None:
        """The row is durable: from here on this connection counts."""
        if connection.over:
            return
        self._leave_standbys(connection)
        old = self._current.get(row.id)
        self._current[row.id] = connection
        self._state.set_agent(msgspec.structs.replace(row, standbys=len(self._standbys.get(row.id, ()))))
        if old is not None and old is not connection:
            if old.leader is False:
                self._demote(old)
            else:
                old.end(CloseCode.REPLACED, "another connection of this agent took over")
        for back in self.on_back:
            back(row.id)
        self._epoch = max(self._epoch + 1, int(self._clock() * 1000))
        ack = RegisterAck(
            agent_id=row.id,
            status="registered",
            epoch=self._epoch,
            max_inflight=WINDOW,
            server_time=_rfc3339(self._clock()),
            stop=self.stale(row.id, message.sessions or []),
        )
        connection.perform(connection.link.accept(ack, self.commands.of_agent(row.id), self._monotonic()))
        log.info("agent registered", agent=row.id, platform=row.platform, region=row.region, address=connection.address)

    def _row(self, connection: AgentConnection, message: Register) -> AgentRow:
        now = self._clock()
        known = self._state.agents.get(connection.agent_id)
        capacity, warning = bounds.capacity_within(message.capacity)
        metadata = message.metadata
        if not bounds.fits(metadata, bounds.MOST_METADATA):
            metadata, warning = {}, "its metadata is too large and was left out"
        connection.claim = warning
        if message.attached:
            metadata = {**metadata, "attached": bounds.targets_within(message.attached)}
        capabilities = SEED_CAPABILITIES if message.capabilities is None else bounds.names_within(message.capabilities)
        region = message.region if message.region is not None else connection.link.region
        return AgentRow(
            id=connection.agent_id,
            uuid=known.uuid if known is not None else str(uuid.uuid4()),
            platform=connection.link.platform,
            region=None if region is None else region[: bounds.LONGEST_NAME],
            max_sessions=capacity.max_sessions or 0,
            max_cpu=capacity.max_cpu,
            max_memory=capacity.max_memory,
            metadata=metadata,
            capabilities=list(capabilities),
            missing_programs=known.missing_programs if known is not None else [],
            version=str(metadata.get("agent_version", ""))[:100],
            leader=connection.leader,
            connection_id=connection.id,
            last_heartbeat=now,
            registered_at=now,
            warning=warning,
            created_at=known.created_at if known is not None else now,
            updated_at=now,
        )

    # Standbys.

    def _park(self, connection: AgentConnection, message: Register) -> None:
        self._leave_standbys(connection)
        self._standbys.setdefault(connection.agent_id, []).append((connection, message))
        ack = RegisterAck(agent_id=connection.agent_id, status="standby", server_time=_rfc3339(self._clock()))
        connection.perform(connection.link.park(ack))
        self._show_standbys(connection.agent_id)

    def _demote(self, connection: AgentConnection) -> None:
        self._questions.lost(connection)
        if connection.registered is not None:
            self._park(connection, connection.registered)

    def _promote(self, agent_id: str) -> None:
        """The leader dropped: the standby that waited longest registers in its place.

        What it held when it was parked is long past: nothing is ended or given up for that.
        """
        waiting = self._standbys.get(agent_id)
        if waiting:
            connection, message = waiting[0]
            connection.perform([Heard(msgspec.structs.replace(message, sessions=None))])

    def _leave_standbys(self, connection: AgentConnection) -> bool:
        waiting = self._standbys.get(connection.agent_id, [])
        left = [each for each in waiting if each[0] is not connection]
        if len(left) == len(waiting):
            return False
        if left:
            self._standbys[connection.agent_id] = left
        else:
            del self._standbys[connection.agent_id]
        return True

    def _show_standbys(self, agent_id: str) -> None:
        row = self._state.agents.get(agent_id)
        count = len(self._standbys.get(agent_id, ()))
        if row is not None and row.standbys != count:
            self._state.set_agent(msgspec.structs.replace(row, standbys=count))

    # Messages of the connection that counts.

    async def _heard(self, connection: AgentConnection, message: object) -> None:
        agent_id = connection.agent_id
        if isinstance(message, Heartbeat):
            self._beat(agent_id, message)
        elif isinstance(message, SessionEvent):
            if not await self.event(agent_id, message) and len(self._unkept) < MOST_UNKEPT:
                self._unkept.append((connection, Heard(message)))
        elif isinstance(message, LogsData | ThumbnailData):
            self._questions.answered(connection, message)
        elif isinstance(message, ProgramsReport):
            row = self._state.agents[agent_id]
            missing = sorted(set(message.missing) & set(self._programs()))
            if missing != row.missing_programs:
                self._state.set_agent(msgspec.structs.replace(row, missing_programs=missing))
        elif isinstance(message, VncProxyError):
            for listener in self.on_proxy_error:
                listener(agent_id, message)

    def _beat(self, agent_id: str, message: Heartbeat) -> None:
        now = self._clock()
        reported = message.capacity.current_sessions
        reported = reported if reported is not None and 0 <= reported <= bounds.MOST_SESSIONS else None
        load = message.load
        self._state.beat_agent(
            agent_id,
            last_heartbeat=now,
            reported_sessions=reported,
            cpu=bounds.percent_within(load.cpu) if load is not None else None,
            memory=bounds.percent_within(load.memory) if load is not None else None,
            warning=self._difference(agent_id, reported) or self._current[agent_id].claim,
        )
        for one in load.sessions if load is not None else ():
            self._load(agent_id, one, now)

    def _difference(self, agent_id: str, reported: int | None) -> str:
        """What the agent says against what the broker counts; sessions that come and go are given both ways."""
        if reported is None:
            return ""
        rows = self._state.of_agent(agent_id)
        most = len(rows)
        least = sum(1 for row in rows if row.state == "running" and not self.commands.of_session(row.id))
        if least <= reported <= most:
            return ""
        return f"the agent reports {reported} sessions, the broker knows {most}"

    def _load(self, agent_id: str, load: SessionLoad, now: float) -> None:
        row = self._state.desktops.get(load.session_id)
        if row is None or row.agent_id != agent_id or row.state == "terminated":
            return
        fields = bounds.load_within(load)
        active = load.active_at
        if active is not None and active <= now and active > (row.last_activity or 0.0) + 1.0:
            fields["last_activity"] = active
        self._state.beat_desktop(row.id, **fields)

    # Commands.

    async def _finish(self, connection: AgentConnection, effect: Finished) -> None:
        if not await self.finished(effect):
            self._unkept.append((connection, effect))
            return
        told = effect.result is not None
        connection.perform(connection.link.settled(effect.command_id, self._monotonic(), answer=told))
        if effect.code == NO_ACK:  # it may still read what it was sent: its next inventory tells what it made of that
            connection.end(CloseCode.HEARTBEAT_LOST, "commands are not acknowledged")

    async def _stray(self, connection: AgentConnection, effect: Stray) -> None:
        """A result that nobody waits for is answered all the same, so that the agent stops repeating it."""
        self.strays += 1
        connection.link.unknown += 1
        if not await self.late(connection.agent_id, effect.result):
            return  # without an answer the agent tells it again
        settled = connection.link.settled(effect.result.command_id, self._monotonic(), answer=True)
        connection.perform(settled)

    def _opened(self, row: CommandRow) -> None:
        connection = self._current.get(row.agent_id)
        if connection is not None:
            connection.perform(connection.link.submit(row, self._monotonic()))

    def _closed(self, row: CommandRow) -> None:
        """Ended, by its agent's word or by the domain: what waits behind it may go."""
        connection = self._current.get(row.agent_id)
        if connection is not None:
            connection.perform(connection.link.settled(row.id, self._monotonic(), answer=False))

    def _ask_programs(self, connection: AgentConnection) -> None:
        if connection.link.platform in COMMAND_PLATFORMS:
            connection.say(ProgramsRequest(programs=self._programs()))


def _rfc3339(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
