"""Taking an agent off the board that will not come back.

Called by the registry. With the agent go its drain and its open commands, and its sessions end, since nobody else could
end them: all in one commit. Should it come back all the same it registers as a new one, and what it still holds is told
to it as stale. Serves the StreamSpace document (seed 001, "Agent Management"), which has no end for agents.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

import msgspec

from app.contract import AgentRow, DesktopRow
from app.errors import Conflict
from app.logs import get_logger
from app.server.fleet.outcomes import ended_fields
from app.server.fleet.state import FleetState
from app.server.storage.fleet import Change, CommandRow, Put, Remove

log = get_logger("fleet")


class Removal:
    """See the module's docstring. ``forget`` is told the id of an agent that is gone."""

    def __init__(self, state: FleetState, forget: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._state = state
        self._forget = forget
        self._clock = clock

    async def remove(self, agent_id: str, by: str) -> list[DesktopRow]:
        """Remove an agent that is offline; the sessions that ended with it.

        Raises ``NotFound`` (``agent_not_found``), ``Conflict`` (``agent_connected``) and ``Unavailable``.
        """
        ended = None
        while ended is None:
            ended = await self._attempt(agent_id, by)
        log.info("agent removed", agent=agent_id, sessions=len(ended), by=by)
        return ended

    async def _attempt(self, agent_id: str, by: str) -> list[DesktopRow] | None:
        """Remove it; None where it got a session that nobody knew of while this waited for those it had.

        The agent's own turn is the last, so that one that returns meanwhile need not wait: it is not removed then.
        """
        state = self._state
        _check(state.agent(agent_id))
        there = self._sessions(agent_id)
        async with AsyncExitStack() as turns:
            held: list[Callable[[], None]] = []
            try:
                for key in (*sorted(there), f"agent {agent_id}", f"drain {agent_id}"):
                    release = await turns.enter_async_context(state.turns.alone(key))
                    held.append(release)
                _check(state.agent(agent_id))
                await state.store.commit()  # a session that was being made while the agent was here is in its list now
            except asyncio.CancelledError:
                for release in held:  # nothing is under way that they had to wait for
                    release()
                raise
            if not self._sessions(agent_id) <= there:
                return None
            return await self._commit(agent_id, by, held)

    def _sessions(self, agent_id: str) -> set[str]:
        """Those it has, and those that it has still to do something about."""
        commands = self._state.commands.of_agent(agent_id)
        return {row.id for row in self._state.of_agent(agent_id)} | {command.session_id for command in commands}

    async def _commit(self, agent_id: str, by: str, held: list[Callable[[], None]]) -> list[DesktopRow]:
        ended, cancelled = self._ends(agent_id)

        def apply() -> None:
            self._state.forget_agent(agent_id, ended, cancelled, by)
            self._forget(agent_id)
            for release in held:
                release()

        changes: list[Change] = [Remove("agent", agent_id), Remove("drain", agent_id)]
        changes += [Put("desktop", row) for row in ended]
        changes += [Put("command", command) for command in cancelled]
        await self._state.store.commit(*changes, apply=apply)
        return ended

    def _ends(self, agent_id: str) -> tuple[list[DesktopRow], list[CommandRow]]:
        """Its sessions and its open commands, as they end; nobody else changes them meanwhile."""
        now, words = self._clock(), f"Its agent '{agent_id}' was removed"
        fields = {**ended_fields(now, words), "updated_at": now}
        ended = [msgspec.structs.replace(row, **fields) for row in self._state.of_agent(agent_id)]
        commands = self._state.commands
        return ended, [commands.ended(each, "cancelled", error=words) for each in commands.of_agent(agent_id)]


def _check(agent: AgentRow) -> None:
    if agent.status != "offline" or agent.standbys:
        what = "is connected" if agent.status != "offline" else "has a standby that is connected"
        raise Conflict(f"Agent '{agent.id}' {what}; only an agent that is offline is removed", code="agent_connected")
