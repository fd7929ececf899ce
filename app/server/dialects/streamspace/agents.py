"""Agents: list, details, status, figures (seed 001, "Agent Management"). Everybody who has logged in may read.

Built into the application by ``application.py``.
"""

from __future__ import annotations

from collections import Counter

from app.contract import AgentRow
from app.errors import Invalid, NotFound
from app.server.dialects.streamspace import answers, rows, wire
from app.server.dialects.streamspace.errors import Json
from app.server.dialects.streamspace.listing import Kept, listed, page_of
from app.server.dialects.streamspace.operations import Call, Operation, answer
from app.server.dialects.streamspace.services import StreamSpaceServices
from app.server.events import Published

TAG = "Agents"


class Agents:
    """One method per operation."""

    def __init__(self, services: StreamSpaceServices) -> None:
        self._fleet = services.fleet
        self._audit = services.audit
        self._kept: Kept[AgentRow] = Kept(services.events, "agent", rows.agent)
        self._order: list[str] | None = None
        """Ids of all agents, oldest first, until one comes or goes."""
        services.events.subscribe(self._forget_order, "agent.changed", "agent.removed")

    def operations(self) -> list[Operation]:
        """What is served and described."""
        one, base = "/api/v1/agents/{agent_id}", "/api/v1/agents"
        return [
            Operation("GET", base, self.list_agents, TAG, answers.AgentList, (400,), query=wire.AgentQuery),
            Operation("GET", f"{base}/stats", self.agent_stats, TAG, answers.AgentStats),
            Operation("GET", one, self.get_agent, TAG, answers.AgentDetails, (404,)),
            Operation(
                "PATCH",
                one,
                self.change_agent,
                TAG,
                answers.AgentChanged,
                (400, 404),
                body=wire.ChangeAgent,
                admin=True,
            ),
        ]

    async def list_agents(self, _: Call, query: wire.AgentQuery) -> Json:
        """All registered agents, oldest first."""
        agents = self._fleet.agents
        if self._order is None:
            self._order = sorted(agents, key=lambda agent_id: (agents[agent_id].created_at, agent_id))
        found = self._order
        if query.platform or query.status or query.region:
            found = [agent_id for agent_id in found if _fits(agents[agent_id], query)]
        items = [self._kept.of(agents[agent_id]) for agent_id in page_of(found, query)]
        return listed("agents", items, query, len(found))

    async def get_agent(self, call: Call) -> Json:
        """One agent with its sessions that have not ended; users see only their own among them."""
        row = self._known(call.ids["agent_id"])
        caller = call.caller
        sessions = [
            desktop for desktop in self._fleet.sessions_of(row.id) if caller.is_admin or desktop.user == caller.username
        ]
        return answer(rows.agent_details(row, sessions))

    async def change_agent(self, call: Call, body: wire.ChangeAgent) -> Json:
        """Drain an agent, or end its drain; `offline` is set by the control plane alone."""
        row = self._known(call.ids["agent_id"])
        if body.status == "offline":
            message = "An agent is offline when it disconnects; the status cannot be set"
            raise Invalid(message, code="validation_failed", detail={"field": "status"})
        verb, by = ("drain" if body.status == "draining" else "undrain"), call.caller.username
        async with self._audit.act(by, verb, "agent", row.id, dialect="streamspace") as act:
            act.before = {"status": row.status}
            row = await (self._fleet.drain(row.id, by) if verb == "drain" else self._fleet.undrain(row.id, by))
            act.after = {"status": row.status}
        return answer(rows.agent_changed(row))

    async def agent_stats(self, _: Call) -> Json:
        """Figures across all agents; capacity and sessions are those of connected ones."""
        agents = list(self._fleet.agents.values())
        statuses = Counter(row.status for row in agents)
        connected = [row for row in agents if row.status != "offline"]
        most = sum(row.max_sessions for row in connected)
        used = sum(rows.occupied(row) for row in connected)
        return answer(
            {
                "total_agents": len(agents),
                "online_agents": statuses["online"],
                "offline_agents": statuses["offline"],
                "draining_agents": statuses["draining"],
                "by_platform": Counter(row.platform for row in agents),
                "total_capacity": {"max_sessions": most, "current_sessions": used},
                "utilization": {
                    "percentage": round(100 * used / most, 1) if most else 0.0,
                    "sessions_available": max(0, most - used),
                },
            }
        )

    def _known(self, agent_id: str) -> AgentRow:
        row = self._fleet.agents.get(agent_id)
        if row is None:
            raise NotFound(f"No agent with ID '{agent_id}' exists", code="agent_not_found")
        return row

    def _forget_order(self, _: Published) -> None:
        self._order = None


def _fits(row: AgentRow, query: wire.AgentQuery) -> bool:
    return (
        (not query.platform or row.platform == query.platform)
        and (not query.status or row.status == query.status)
        and (not query.region or row.region == query.region)
    )
