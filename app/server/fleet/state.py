"""The fleet's rows in memory, each change durable before it is seen, and the slots that sessions take.

Everything in the domain reads here and changes here. A change is decided under the row's own lock on what the row is,
committed together with the commands that belong to it, applied in the order of commits, then told on the feed. What
moves with every heartbeat is only in memory. Rows are replaced, never altered: they have been published.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from app.contract import (
    SLOT_STATES,
    AgentBeat,
    AgentRow,
    DesktopBeat,
    DesktopRow,
    DrainRow,
    Gone,
)
from app.errors import NotFound
from app.server.events import EventLog
from app.server.fleet.commands import Commands
from app.server.fleet.turns import Turns
from app.server.storage.fleet import OPEN_COMMANDS, Change, CommandRow, FleetRows, FleetStore, Put, Remove


@dataclass(frozen=True)
class Edit:
    """What shall become of a session: fields of its row, and commands that begin or end with that."""

    fields: Mapping[str, Any] = field(default_factory=dict)
    commands: tuple[CommandRow, ...] = ()


class FleetState:
    """See the module's docstring."""

    def __init__(self, store: FleetStore, events: EventLog, clock: Callable[[], float]) -> None:
        self.store = store
        self.events = events
        self.clock = clock
        self.commands = Commands(clock)
        self.agents: dict[str, AgentRow] = {}
        self.desktops: dict[str, DesktopRow] = {}
        self.drains: dict[str, DrainRow] = {}
        self.used: Counter[str] = Counter()
        """Slots taken, by agent; what is being made counts already."""
        self.names: set[str] = set()
        self.on_left: list[Callable[[DesktopRow, DesktopRow], None]] = []
        """Called with a session's last row on an agent and its new one when it ended or moved."""
        self._slot: dict[str, str] = {}
        self._of_agent: dict[str, dict[str, None]] = {}
        self._touched: set[str] = set()
        self.turns = Turns(self._abandoned)

    def load(self, rows: FleetRows) -> None:
        """Take over what the database holds. Nobody is connected yet."""
        known = {agent.id for agent in rows.agents}
        self.drains = {row.id: row for row in rows.drains if row.id in known}
        for agent in rows.agents:
            away = {"status": "offline", "connection_id": None, "registered_at": None, "standbys": 0, "sessions": 0}
            self.agents[agent.id] = msgspec.structs.replace(agent, cpu=None, memory=None, **away)
        self.commands.load(rows.commands)
        for desktop in sorted(rows.desktops, key=lambda row: (row.created_at, row.id)):
            self._set(msgspec.structs.replace(desktop, load_cpu=None, load_memory=None))

    # Reading.

    def desktop(self, session_id: str) -> DesktopRow:
        """One session; raises ``NotFound`` (``session_not_found``)."""
        row = self.desktops.get(session_id)
        if row is None:
            raise NotFound(f"No session with ID '{session_id}' exists", code="session_not_found")
        return row

    def agent(self, agent_id: str) -> AgentRow:
        """One agent; raises ``NotFound`` (``agent_not_found``)."""
        row = self.agents.get(agent_id)
        if row is None:
            raise NotFound(f"No agent with ID '{agent_id}' exists", code="agent_not_found")
        return row

    def of_agent(self, agent_id: str) -> list[DesktopRow]:
        """Sessions of an agent that have not ended, oldest first."""
        return [self.desktops[session_id] for session_id in self._of_agent.get(agent_id, ())]

    def count_of(self, agent_id: str) -> int:
        """How many sessions of an agent have not ended."""
        return len(self._of_agent.get(agent_id, ()))

    def online(self, agent_id: str | None) -> AgentRow | None:
        """The agent, if it is connected."""
        row = self.agents.get(agent_id) if agent_id is not None else None
        return row if row is not None and row.status != "offline" else None

    # Sessions.

    async def add_desktop(self, row: DesktopRow, commands: tuple[CommandRow, ...], *, slot: bool) -> DesktopRow:
        """A new session. Its slot and name are taken before this waits for anything."""
        self.names.add(row.name)
        if slot and row.agent_id is not None:
            self._occupy(row.id, row.agent_id)
        done = False

        def apply() -> None:
            nonlocal done
            done = True
            self.commands.apply(commands)
            self._set(row)
            self._tell(row, None)

        changes: list[Change] = [Put("desktop", row), *(Put("command", command) for command in commands)]
        try:
            await self.store.commit(*changes, apply=apply)
        finally:
            if not done and row.id not in self.desktops:
                self._vacate(row.id)
                self.names.discard(row.name)
        return row

    async def change_desktop(self, session_id: str, decide: Callable[[DesktopRow], Edit | None]) -> DesktopRow:
        """Change a session by what ``decide`` says of the row as it is; None leaves it alone.

        Raises what ``decide`` raises, ``NotFound`` and ``Unavailable``.
        """
        async with self.turns.alone(session_id) as release:
            before = self.desktop(session_id)
            edit = decide(before)
            if edit is None:
                return before
            fields = {**edit.fields, "updated_at": self.clock()} if edit.fields else {}
            after = msgspec.structs.replace(before, **fields)
            changes: list[Change] = [Put("command", command) for command in edit.commands]
            if fields:
                changes.append(Put("desktop", after))
            claimed = self._claim(after, edit.commands)

            def apply() -> None:
                self.commands.apply(edit.commands)
                now = self.desktops[session_id]
                new = msgspec.structs.replace(now, **fields)
                self._set(new)
                if fields:
                    self._tell(new, now)
                release()

            try:
                await self.store.commit(*changes, apply=apply)
            except Exception:
                if claimed:
                    self._recount(before)
                raise
            return self.desktops.get(session_id, after)

    async def purge(self, row: DesktopRow) -> None:
        """Forget a session that ended long ago, with its log and its open commands."""
        async with self.turns.alone(row.id) as release:
            commands = [self.commands.ended(each, "cancelled") for each in self.commands.of_session(row.id)]

            def apply() -> None:
                self.commands.apply(commands)
                self._drop(row)
                release()

            ends = (Put("command", each) for each in commands)
            await self.store.commit(Remove("desktop", row.id), Remove("desktop_log", row.id), *ends, apply=apply)

    async def keep_commands(self, session_id: str, commands: tuple[CommandRow, ...]) -> None:
        """Commands that begin or end without moving their session, or whose session is forgotten."""
        async with self.turns.alone(session_id) as release:

            def apply() -> None:
                self.commands.apply(commands)
                row = self.desktops.get(session_id)
                if row is not None:
                    self._recount(row)
                release()

            await self.store.commit(*(Put("command", each) for each in commands), apply=apply)

    def beat_desktop(self, session_id: str, **fields: Any) -> None:
        """Load and activity: only in memory, told when one of them moved."""
        row = self.desktops.get(session_id)
        if row is None:
            return
        new = msgspec.structs.replace(row, **fields)
        if new == row:
            return
        self.desktops[session_id] = new
        beat = DesktopBeat(load_cpu=new.load_cpu, load_memory=new.load_memory, last_activity=new.last_activity)
        self.events.publish("desktop.beat", session_id, beat)

    # Agents.

    async def put_agent(self, agent_id: str, make: Callable[[], AgentRow], apply: Callable[[AgentRow], None]) -> None:
        """Make an agent's row, as it is once nobody else changes that agent; when it is durable, ``apply``."""
        async with self.turns.alone(f"agent {agent_id}") as release:
            row = make()

            def done() -> None:
                apply(row)
                release()

            await self.store.commit(Put("agent", row), apply=done)

    def set_agent(self, row: AgentRow) -> AgentRow:
        """Replace an agent's row and tell; slots and status are derived here."""
        drained = "draining" if row.id in self.drains else "online"
        status = drained if row.connection_id is not None else "offline"
        fields: dict[str, Any] = {"status": status, "sessions": self.used[row.id]}
        row = msgspec.structs.replace(row, **fields)
        self.agents[row.id] = row
        self.events.publish("agent.changed", row.id, row)
        return row

    def beat_agent(self, agent_id: str, **fields: Any) -> None:
        """What a heartbeat moves: only in memory now, and kept a while later."""
        row = self.agents.get(agent_id)
        if row is None:
            return
        row = self.agents[agent_id] = msgspec.structs.replace(row, sessions=self.used[agent_id], **fields)
        self._touched.add(agent_id)
        if row.last_heartbeat is None:
            self.events.publish("agent.changed", agent_id, row)
            return
        beat = AgentBeat(
            last_heartbeat=row.last_heartbeat,
            sessions=row.sessions,
            reported_sessions=row.reported_sessions,
            cpu=row.cpu,
            memory=row.memory,
            warning=row.warning,
        )
        self.events.publish("agent.beat", agent_id, beat)

    async def keep_beats(self) -> None:
        """Write down when agents were heard last, all in one transaction; those being changed come next time."""
        ids = [id for id in self._touched if not self.turns.busy(f"agent {id}")]
        self._touched.difference_update(ids)
        if ids:
            await self.store.commit(*(Put("agent", self.agents[id]) for id in ids))

    def forget_agent(
        self, agent_id: str, ended: Iterable[DesktopRow], cancelled: Iterable[CommandRow], by: str
    ) -> None:
        """An agent was removed for good, and that is durable: so do its drain, its commands and its sessions end."""
        self.commands.apply(cancelled)
        gone = Gone("removed", by=by)
        if self.drains.pop(agent_id, None) is not None:
            self.events.publish("drain.ended", agent_id, gone)
        del self.agents[agent_id]
        self._touched.discard(agent_id)
        for row in ended:
            before = self.desktops[row.id]
            self._set(row)
            self._tell(row, before)
        self._of_agent.pop(agent_id, None)
        del self.used[agent_id]
        self.events.publish("agent.removed", agent_id, gone)

    # Drains.

    async def put_drain(self, row: DrainRow) -> None:
        """Begin a drain, or keep its progress. Raises ``NotFound`` (``agent_not_found``), ``Unavailable``."""
        async with self.turns.alone(f"drain {row.id}") as release:
            self.agent(row.id)

            def apply() -> None:
                self.drains[row.id] = row
                self.events.publish("drain.changed", row.id, row)
                self._set_status(row.id)
                release()

            await self.store.commit(Put("drain", row), apply=apply)

    async def drop_drain(self, agent_id: str, by: str) -> None:
        """End a drain."""
        async with self.turns.alone(f"drain {agent_id}") as release:
            if agent_id not in self.agents:
                return

            def apply() -> None:
                if self.drains.pop(agent_id, None) is not None:
                    self.events.publish("drain.ended", agent_id, Gone("undone", by=by))
                self._set_status(agent_id)
                release()

            await self.store.commit(Remove("drain", agent_id), apply=apply)

    async def keep_drain(self, row: DrainRow) -> None:
        """Write down what ``move_drain`` told; nothing when the drain was undone meanwhile."""
        async with self.turns.alone(f"drain {row.id}") as release:
            if row.id in self.drains:
                await self.store.commit(Put("drain", row), apply=release)

    def move_drain(self, row: DrainRow) -> None:
        """Progress that only memory needs."""
        if row != self.drains.get(row.id):
            self.drains[row.id] = row
            self.events.publish("drain.changed", row.id, row)

    # Inside.

    def _set_status(self, agent_id: str) -> None:
        self.set_agent(msgspec.structs.replace(self.agents[agent_id], updated_at=self.clock()))

    def _abandoned(self, key: str) -> None:
        row = self.desktops.get(key)
        if row is not None:
            self._recount(row)

    def _claim(self, after: DesktopRow, commands: Iterable[CommandRow]) -> bool:
        """Take the slot that a change needs before waiting for the change."""
        opens = any(
            command.status in OPEN_COMMANDS and command.command_type in ("wake_session", "start_session")
            for command in commands
        )
        needs = after.state in SLOT_STATES or (after.state == "hibernated" and opens)
        if not needs or after.agent_id is None or self._slot.get(after.id) == after.agent_id:
            return False
        self._occupy(after.id, after.agent_id)
        return True

    def _set(self, row: DesktopRow) -> None:
        before = self.desktops.get(row.id)
        self.desktops[row.id] = row
        self.names.add(row.name)
        if before is not None and before.agent_id is not None and before.agent_id != row.agent_id:
            self._of_agent.get(before.agent_id, {}).pop(row.id, None)
        if row.agent_id is not None:
            if row.state == "terminated":
                self._of_agent.get(row.agent_id, {}).pop(row.id, None)
            else:
                self._of_agent.setdefault(row.agent_id, {})[row.id] = None
        self._recount(row)

    def _drop(self, row: DesktopRow) -> None:
        self.desktops.pop(row.id, None)
        self.names.discard(row.name)
        if row.agent_id is not None:
            self._of_agent.get(row.agent_id, {}).pop(row.id, None)
        self._vacate(row.id)
        self.events.publish("desktop.removed", row.id, Gone("expired"))

    def _tell(self, row: DesktopRow, before: DesktopRow | None) -> None:
        self.events.publish("desktop.changed", row.id, row)
        if before is None or before.state == "terminated":
            return
        if row.state == "terminated" or row.agent_id != before.agent_id:
            for listener in self.on_left:
                listener(before, row)

    def _recount(self, row: DesktopRow) -> None:
        takes = row.state in SLOT_STATES
        takes = takes or self.commands.wakes(row.id, row.agent_id)  # also of what was ended by force while it began
        if takes and row.agent_id is not None:
            self._occupy(row.id, row.agent_id)
        else:
            self._vacate(row.id)

    def _occupy(self, session_id: str, agent_id: str) -> None:
        held = self._slot.get(session_id)
        if held == agent_id:
            return
        if held is not None:
            self._vacate(session_id)
        self._slot[session_id] = agent_id
        self.used[agent_id] += 1
        self._show_slots(agent_id)

    def _vacate(self, session_id: str) -> None:
        agent_id = self._slot.pop(session_id, None)
        if agent_id is not None:
            self.used[agent_id] -= 1
            self._show_slots(agent_id)

    def _show_slots(self, agent_id: str) -> None:
        row = self.agents.get(agent_id)
        if row is not None and row.sessions != self.used[agent_id]:
            self.beat_agent(agent_id, reported_sessions=None)  # the agent counted before; it counts anew soon
