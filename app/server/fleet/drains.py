"""Drains: an agent gets no new sessions, what it has goes on, and how far that is.

A drain is a row of its own, so it survives heartbeats, reconnects and restarts, and its undo is its removal. It ends by
nobody but an operator; empty, it says since when. Called by the registry and driven by the domain's clock. Serves the
StreamSpace document (seed 001, "Update Agent Status"), which only knows the status.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from app.contract import AGENT_HEARTBEAT_EVERY, STUCK_AFTER, AgentRow, DesktopRow, DrainRow
from app.errors import CallboardError
from app.logs import get_logger
from app.server.fleet import rules, schedule
from app.server.fleet.state import FleetState

log = get_logger("fleet")

RATE_OVER = 600.0
EXITS_KEPT = 100
_ETA_STEP = 10.0
_LATE_AFTER = 1.5 * AGENT_HEARTBEAT_EVERY


class Drains:
    """Begins, follows and undoes drains. ``idle_at``: when a session's idle time-out ends it, if that is known."""

    def __init__(
        self, state: FleetState, idle_at: Callable[[DesktopRow], float | None], clock: Callable[[], float]
    ) -> None:
        self._state = state
        self._idle_at = idle_at
        self._clock = clock
        self._unkept: set[str] = set()
        state.on_left.append(self._left)

    async def begin(self, agent_id: str, by: str) -> AgentRow:
        """Drain an agent, also one that is away; again is fine. Raises ``NotFound``, ``Unavailable``."""
        self._state.agent(agent_id)
        if agent_id not in self._state.drains:
            now = self._clock()
            left = self._state.count_of(agent_id)
            done = now if not left else None
            row = DrainRow(id=agent_id, operator=by, since=now, initial=left, left=left, done_at=done)
            await self._state.put_drain(row)
            log.info("drain begun", agent=agent_id, sessions=left, by=by)
            self.tick()
        return self._state.agent(agent_id)

    async def undo(self, agent_id: str, by: str) -> AgentRow:
        """Take new sessions again. Raises ``NotFound``, ``Unavailable``; also for an agent that is only away."""
        agent = self._state.agent(agent_id)
        if agent_id in self._state.drains:
            await self._state.drop_drain(agent_id, by)
            log.info("drain undone", agent=agent_id, by=by)
        elif agent.status == "offline":
            raise schedule.offline(agent_id)
        return self._state.agent(agent_id)

    def tick(self) -> None:
        """Every few seconds: what moved by time alone."""
        for row in list(self._state.drains.values()):
            self._state.move_drain(self._progress(row))

    async def keep(self) -> None:
        """Write down which sessions left; a restart in between forgets some of the times, never the drain."""
        unkept, self._unkept = self._unkept, set()
        for agent_id in unkept:
            row = self._state.drains.get(agent_id)
            if row is None:
                continue
            try:
                await self._state.keep_drain(row)
            except CallboardError as error:
                self._unkept.add(agent_id)
                log.warning("a drain's progress is not kept yet", agent=agent_id, why=error.message)

    def _left(self, before: DesktopRow, _after: DesktopRow) -> None:
        """A session ended, or moved away."""
        row = self._state.drains.get(before.agent_id or "")
        if row is not None:
            exits = [*row.exits, self._clock()][-EXITS_KEPT:]
            self._state.move_drain(self._progress(msgspec.structs.replace(row, exits=exits)))
            self._unkept.add(row.id)

    def _progress(self, row: DrainRow) -> DrainRow:
        now = self._clock()
        left = self._state.count_of(row.id)
        if not left:
            done = row.done_at if row.done_at is not None else now
            return msgspec.structs.replace(
                row, left=0, done_at=done, per_minute=None, eta=None, next_idle=None, stuck=""
            )
        lately = [at for at in row.exits if now - at <= RATE_OVER]
        per_minute = eta = None
        if len(lately) >= 2:
            minutes = max(1.0, min(RATE_OVER, now - row.since) / 60.0)
            per_minute = round(len(lately) / minutes, 2)
            eta = round((now + left / per_minute * 60.0) / _ETA_STEP) * _ETA_STEP if per_minute else None
        ends = [at for each in self._state.of_agent(row.id) if (at := self._idle_at(each)) is not None]
        return msgspec.structs.replace(
            row,
            left=left,
            initial=max(row.initial, left),
            done_at=None,
            per_minute=per_minute,
            eta=eta,
            next_idle=min(ends, default=None),
            stuck=self._stuck(row, now),
        )

    def _stuck(self, row: DrainRow, now: float) -> str:
        agent = self._state.agents[row.id]
        if agent.status == "offline":
            return rules.AGENT_OFFLINE
        if agent.last_heartbeat is not None and now - agent.last_heartbeat > _LATE_AFTER:
            return "the agent's heartbeat is late"
        quiet = now - max(row.since, row.exits[-1] if row.exits else row.since)
        if quiet < STUCK_AFTER:
            return ""
        return f"no session has left for {int(STUCK_AFTER // 60)} min or longer"
