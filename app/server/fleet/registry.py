"""The fleet: what the dialects, the agents' socket and the viewers call.

Owned by ``main.py``. Reads are plain, writes are durable before they return, everything is told on the feed. The rules
stand in the modules beside this one, which only wires them together and keeps their clock. Serves the StreamSpace
document (seed 001). Raises the tree of ``app/errors.py`` and nothing else.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from app.agent_protocol import VncProxyError, VncProxyRequest
from app.contract import PLATFORMS, AgentRow, DesktopRow, DrainRow, Row, TemplateRow, Thumbnail
from app.errors import CallboardError, Conflict, Invalid, Unsupported
from app.logs import get_logger
from app.server.events import EventLog
from app.server.fleet import naming, schedule
from app.server.fleet.connection import AgentConnection
from app.server.fleet.drains import Drains
from app.server.fleet.failover import Failover
from app.server.fleet.follow import Follows
from app.server.fleet.idle import Idle
from app.server.fleet.link import AgentLink
from app.server.fleet.logs import Logs
from app.server.fleet.outcomes import Outcomes
from app.server.fleet.questions import Questions
from app.server.fleet.reconcile import Reconciler
from app.server.fleet.removal import Removal
from app.server.fleet.roster import Roster
from app.server.fleet.sessions import Sessions, SessionWanted
from app.server.fleet.state import FleetState
from app.server.fleet.templates import Templates
from app.server.fleet.thumbnails import Thumbnails
from app.server.storage.fleet import PURGE_SLICE, FleetStore
from app.server.tasks import TaskTree

__all__ = ["Bulk", "Fleet", "SessionWanted"]

log = get_logger("fleet")

CLOCK_EVERY = 0.5
UPKEEP_EVERY = 5.0
PURGE_EVERY = 60.0
PURGE_AFTER = 24 * 3600.0
PURGED_AT_ONCE = 200
PURGE_SLICES = 20


@dataclass(frozen=True)
class Bulk:
    """What became of an act on many sessions: ids it was sent for, and reasons by id where it was not."""

    done: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


class Fleet:
    """One per broker."""

    def __init__(
        self,
        *,
        store: FleetStore,
        events: EventLog,
        tasks: TaskTree,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        purge_after: float = PURGE_AFTER,
    ) -> None:
        self._clock = clock
        self._monotonic = monotonic
        self._tasks = tasks
        self._node = tasks.group("fleet")
        self._agents_node = tasks.group("agents", parent=self._node)
        self._purge_after = purge_after
        self._next_purge = 0.0
        state = self._state = FleetState(store, events, clock)
        self._templates = Templates(store, events, clock)
        self._questions = Questions()
        self._roster = Roster(
            state, self._questions, programs=self._templates.programs, clock=clock, monotonic=monotonic
        )
        self.on_proxy_error: list[Callable[[str, VncProxyError], None]] = self._roster.on_proxy_error
        """Told the agent's id and its message when it cannot open a desktop."""
        self._sessions = Sessions(state, self._templates, clock)
        self._idle = Idle(state, self._sessions, clock, monotonic)
        self._drains = Drains(state, self._idle.due, clock)
        self._logs = Logs(state, self._roster, self._questions, events)
        self._follows = Follows(state, self._logs, self._questions, events, tasks, self._node)
        self._thumbnails = Thumbnails(state, self._roster, self._questions, clock)
        reconciler = Reconciler(state, self._templates, clock)
        outcomes = Outcomes(state, clock)
        self._failover = Failover(state, self._templates, reconciler, clock=clock, monotonic=monotonic)
        self._removal = Removal(state, self._forget, clock)
        self._templates.on_changed = self._roster.ask_programs
        self._roster.stale = reconciler.stale
        self._roster.reconcile = reconciler.settle
        self._roster.finished = outcomes.finished
        self._roster.late = outcomes.late
        self._roster.event = outcomes.event
        self._roster.on_lost.append(self._failover.lost)
        self._roster.on_back.append(self._failover.back)
        self._roster.on_back.append(self._offer)

    async def start(self) -> None:
        """Load what is kept and keep time. Raises ``Unavailable``."""
        rows = await self._state.store.load()
        self._templates.load(rows.templates)
        self._state.load(rows)
        self._failover.begin(self._state.agents)
        for agent_id in self._state.agents:
            self._offer(agent_id)
        for name, factory in (
            ("fleet clock", self._keep_clock),
            ("fleet upkeep", self._keep_up),
            ("logs of ended sessions", self._logs.keep_ended),
        ):
            self._tasks.spawn(name, factory, parent=self._node, restart="on_failure", kind="clock")

    async def stop(self) -> None:
        """Let the agents go, keep what is only in memory; task nodes end with the tree."""
        self._roster.close_all()
        self._logs.stop()
        self._follows.stop()
        try:
            await self._state.keep_beats()
            await self._drains.keep()
            await self._state.store.close()
        except CallboardError as error:
            log.warning("the last heartbeats are not kept", why=error.message)

    # Reading.

    @property
    def agents(self) -> Mapping[str, AgentRow]:
        """Every agent that registered and was not removed, by its id."""
        return MappingProxyType(self._state.agents)

    @property
    def desktops(self) -> Mapping[str, DesktopRow]:
        """Every session, also those that ended and are not purged yet."""
        return MappingProxyType(self._state.desktops)

    @property
    def templates(self) -> Mapping[str, TemplateRow]:
        """Every template, by name."""
        return self._templates.rows

    @property
    def drains(self) -> Mapping[str, DrainRow]:
        """Drains under way, by agent."""
        return MappingProxyType(self._state.drains)

    def snapshot(self) -> dict[str, list[Row]]:
        """Rows of this domain for the feed, by table."""
        return {
            "agent": list(self._state.agents.values()),
            "desktop": list(self._state.desktops.values()),
            "drain": list(self._state.drains.values()),
            "template": list(self._templates.rows.values()),
        }

    def agent(self, agent_id: str) -> AgentRow:
        """One agent; raises ``NotFound`` (``agent_not_found``)."""
        return self._state.agent(agent_id)

    def desktop(self, session_id: str) -> DesktopRow:
        """One session; raises ``NotFound`` (``session_not_found``)."""
        return self._state.desktop(session_id)

    def sessions_of(self, agent_id: str) -> list[DesktopRow]:
        """Sessions of an agent that have not ended."""
        return self._state.of_agent(agent_id)

    def gauges(self) -> dict[str, float]:
        """Figures for the metrics."""
        online = sum(1 for row in self._state.agents.values() if row.status != "offline")
        return {
            "callboard_agents_online": online,
            "callboard_desktops": len(self._state.desktops),
            "callboard_commands_open": len(self._state.commands),
            "callboard_agent_strays": self._roster.strays,
        }

    # Sessions.

    async def create(self, wanted: SessionWanted, by: str) -> DesktopRow:
        """See ``Sessions.create``."""
        return await self._sessions.create(wanted, by)

    async def change_state(self, session_id: str, state: str, *, by: str, admin: bool) -> DesktopRow:
        """See ``Sessions.change_state``."""
        return await self._sessions.change_state(session_id, state, by=by, admin=admin)

    async def delete(self, session_id: str, *, force: bool, by: str, admin: bool) -> None:
        """See ``Sessions.delete``."""
        await self._sessions.delete(session_id, force=force, by=by, admin=admin)

    async def set_tags(self, session_id: str, tags: list[str], by: str) -> DesktopRow:
        """See ``Sessions.set_tags``."""
        return await self._sessions.set_tags(session_id, tags, by)

    # Agents.

    async def drain(self, agent_id: str, by: str) -> AgentRow:
        """See ``Drains.begin``."""
        return await self._drains.begin(agent_id, by)

    async def undrain(self, agent_id: str, by: str) -> AgentRow:
        """See ``Drains.undo``."""
        return await self._drains.undo(agent_id, by)

    async def remove_agent(self, agent_id: str, by: str) -> list[DesktopRow]:
        """See ``Removal.remove``."""
        return await self._removal.remove(agent_id, by)

    async def hibernate_all(self, agent_id: str, by: str) -> Bulk:
        """Hibernate every running session of an agent; does not wait for results. Raises ``NotFound``."""
        return await self._bulk(agent_id, "hibernated", ("running",), by)

    async def terminate_all(self, agent_id: str, by: str) -> Bulk:
        """End every session of an agent, gracefully, when it is back if it is away; does not wait for results.

        Raises ``NotFound``.
        """
        return await self._bulk(agent_id, "terminating", ("pending", "running", "hibernated"), by)

    # Templates.

    async def save_template(self, row: TemplateRow) -> TemplateRow:
        """See ``Templates.save``."""
        return await self._templates.save(row)

    async def delete_template(self, name: str) -> None:
        """See ``Templates.delete``."""
        await self._templates.delete(name)

    # Logs and pictures.

    async def logs(self, session_id: str, tail: int) -> list[str]:
        """See ``Logs.read``."""
        return await self._logs.read(session_id, tail)

    def follow(self, session_id: str, tail: int) -> AsyncIterator[list[str]]:
        """See ``Follows.follow``; to be closed with ``aclose`` where it is not read to its end."""
        return self._follows.follow(session_id, tail)

    async def thumbnail(self, session_id: str, width: int) -> Thumbnail:
        """See ``Thumbnails.get``."""
        return await self._thumbnails.get(session_id, width)

    # Agents' sockets and viewers.

    def connect(
        self,
        agent_id: str,
        platform: str,
        region: str | None,
        send: Callable[[str], Awaitable[None]],
        close: Callable[[int, str], Awaitable[None]],
        address: str = "",
        key_id: str | None = None,
    ) -> AgentConnection:
        """An agent's socket was opened. Raises ``Invalid`` (``invalid_parameter``) for names that cannot be."""
        if not naming.AGENT_ID.fullmatch(agent_id):
            text = "agent_id is 1 to 100 letters, digits, dots, dashes and underscores"
            raise Invalid(text, code="invalid_parameter", detail={"field": "agent_id"})
        if platform not in PLATFORMS:
            text = f"platform is one of {', '.join(PLATFORMS)}"
            raise Invalid(text, code="invalid_parameter", detail={"field": "platform"})
        link = AgentLink(agent_id, platform, region, self._monotonic())
        connection = AgentConnection(
            link,
            self._roster,
            send,
            close,
            self._tasks,
            self._agents_node,
            self._monotonic,
            address=address,
            key_id=key_id,
        )
        self._roster.add(connection)
        return connection

    def vnc_target(self, session_id: str) -> tuple[DesktopRow, AgentRow]:
        """The session to be looked at and its agent.

        Raises ``NotFound``, ``Conflict`` (``session_terminating``, ``session_not_running``), ``Unavailable``
        (``agent_offline``) and ``Unsupported``.
        """
        row = self._state.desktop(session_id)
        if row.state == "terminating":
            raise Conflict("The session is terminating", code="session_terminating")
        if row.state != "running":
            raise Conflict(f"The session is {row.state}", code="session_not_running", detail={"state": row.state})
        agent = self._state.online(row.agent_id)
        if agent is None:
            raise schedule.offline(row.agent_id)
        if "vnc" not in agent.capabilities:
            raise Unsupported(f"Agent '{agent.id}' does not show desktops")
        return row, agent

    async def send_proxy_request(self, agent_id: str, message: VncProxyRequest) -> None:
        """Ask an agent to dial back. Raises ``Unavailable`` (``agent_offline``)."""
        connection = self._roster.connection(agent_id)
        if connection is None:
            raise schedule.offline(agent_id)
        connection.say(message)

    def viewer_opened(self, session_id: str, counts_as_activity: bool) -> None:
        """A viewer connected; see ``Idle``."""
        self._idle.opened(session_id, counts=counts_as_activity)

    def viewer_closed(self, session_id: str, counts_as_activity: bool) -> None:
        """A viewer has gone; see ``Idle``."""
        self._idle.closed(session_id, counts=counts_as_activity)

    # Time.

    def tick(self) -> None:
        """What is due on connections."""
        self._roster.tick()

    async def upkeep(self) -> None:
        """What is due of sessions and drains, and what is to be written down."""
        await self._failover.tick()
        await self._idle.tick()
        self._drains.tick()
        now = self._monotonic()
        try:
            await self._drains.keep()
            if now >= self._next_purge:
                self._next_purge = now + PURGE_EVERY
                await self._state.keep_beats()
                await self._purge()
        except CallboardError as error:
            log.warning("upkeep of the fleet waits", why=error.message)

    async def _purge(self) -> None:
        before = self._clock() - self._purge_after
        old = [
            row
            for row in self._state.desktops.values()
            if row.state == "terminated" and (row.ended_at or row.updated_at) < before
        ]
        for row in old[:PURGED_AT_ONCE]:
            await self._state.purge(row)
        for _ in range(PURGE_SLICES):
            if await self._state.store.purge_commands(before, PURGE_SLICE) < PURGE_SLICE:
                break

    async def _keep_clock(self) -> None:
        while True:
            await asyncio.sleep(CLOCK_EVERY)
            self.tick()

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(UPKEEP_EVERY)
            await self.upkeep()

    async def _bulk(self, agent_id: str, wanted: str, states: tuple[str, ...], by: str) -> Bulk:
        self._state.agent(agent_id)
        bulk = Bulk()
        for row in self._state.of_agent(agent_id):
            if row.state not in states:
                continue
            try:
                await self._sessions.request(row.id, wanted, by=by, admin=True, later=True)
                bulk.done.append(row.id)
            except CallboardError as error:
                bulk.refused[row.id] = error.message
        return bulk

    def _forget(self, agent_id: str) -> None:
        """An agent was removed: nobody waits for it, and nothing is offered in its name."""
        self._failover.back(agent_id)
        self._templates.offer(agent_id, None)

    def _offer(self, agent_id: str) -> None:
        """What ``attach`` agents publish may be started by its name, like a template."""
        agent = self._state.agents.get(agent_id)
        if agent is not None and agent.platform == schedule.ATTACH:
            self._templates.offer(agent_id, agent.metadata.get("attached"))
