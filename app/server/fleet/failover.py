"""What becomes of sessions whose agent does not come back.

Driven by the domain's clock. An agent that drops has ``AGENT_GRACE`` seconds; then its sessions that had not begun go to
another agent of the same platform, its own region first, and the others are told as unknown: a desktop may outlive its
agent. Only a template that says ``failover: restart`` is begun anew elsewhere, and never with a home that stays on the
lost machine. Serves the StreamSpace document (seed 001, "Disconnection").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from app.contract import AGENT_GRACE, DesktopRow
from app.errors import CallboardError
from app.logs import get_logger
from app.server.fleet import orders, rules, schedule
from app.server.fleet.outcomes import ended_fields
from app.server.fleet.reconcile import Reconciler
from app.server.fleet.state import Edit, FleetState
from app.server.fleet.templates import Templates

log = get_logger("fleet")

_SHARED_HOMES = ("kubernetes",)
"""Platforms whose persistent homes are reached from every agent."""


class Failover:
    """See the module's docstring."""

    def __init__(
        self,
        state: FleetState,
        templates: Templates,
        reconciler: Reconciler,
        *,
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        grace: float = AGENT_GRACE,
    ) -> None:
        self._state = state
        self._templates = templates
        self._reconciler = reconciler
        self._clock = clock
        self._monotonic = monotonic
        self._grace = grace
        self._lost: dict[str, float] = {}

    def begin(self, agent_ids: Iterable[str]) -> None:
        """The broker has started: everybody has the grace to come back."""
        for agent_id in agent_ids:
            self.lost(agent_id)

    def lost(self, agent_id: str) -> None:
        """An agent dropped."""
        self._lost[agent_id] = self._monotonic() + self._grace

    def back(self, agent_id: str) -> None:
        """It is here again."""
        self._lost.pop(agent_id, None)

    async def tick(self) -> None:
        """About once a second."""
        now = self._monotonic()
        for agent_id in [agent_id for agent_id, due in self._lost.items() if now >= due]:
            waits = False
            for row in self._state.of_agent(agent_id):
                if agent_id not in self._lost:
                    break
                try:
                    after = await self._state.change_desktop(row.id, partial(self._decide, agent_id=agent_id))
                    waits = waits or (after.agent_id == agent_id and self._moves(after))
                except CallboardError as error:
                    waits = True
                    log.warning("session not moved yet", session=row.id, agent=agent_id, why=error.message)
            if agent_id not in self._lost:
                continue
            if waits:
                self._lost[agent_id] = now + self._grace / 12
            else:
                del self._lost[agent_id]

    def _decide(self, row: DesktopRow, agent_id: str) -> Edit | None:
        if row.agent_id != agent_id or self._state.online(agent_id) is not None:
            return None
        if self._moves(row):
            return self._move(row, agent_id)
        if row.state == "hibernated" and row.started_at is None and not self._state.commands.of_session(row.id):
            return None
        if row.state == "terminated" or row.phase == rules.UNKNOWN:
            return None
        unmeasured = {"load_cpu": None, "load_memory": None}
        told = rules.ends_when_back(agent_id) if row.state == "terminating" else rules.AGENT_OFFLINE
        return Edit({"phase": rules.UNKNOWN, "message": told, **unmeasured})

    def _moves(self, row: DesktopRow) -> bool:
        """Whether it is to be begun elsewhere as soon as that is possible."""
        if row.state != "running":
            return row.state == "pending"
        template = self._templates.rows.get(row.template)
        kept_there = row.persistent_home and row.platform not in _SHARED_HOMES
        return template is not None and template.failover == "restart" and not kept_there

    def _move(self, row: DesktopRow, agent_id: str) -> Edit | None:
        """To another agent. The old one is told to stop it when it comes back, before anything else of it."""
        cancelled = tuple(
            self._state.commands.ended(each, "cancelled", error=rules.AGENT_OFFLINE)
            for each in self._state.commands.of_session(row.id)
            if each.agent_id == agent_id and each.command_type != "stop_session"
        )
        data = orders.stop(row, graceful=False)
        data["delete_home"] = False
        fence = self._state.commands.make(agent_id, row.id, "stop_session", data, row.generation)
        lost = self._state.agents.get(agent_id)
        try:
            template = self._templates.get(row.template)
            agent = schedule.choose(
                self._state.agents.values(),
                self._state.used,
                template,
                (row.platform,),
                region=lost.region if lost is not None else None,
            )
        except CallboardError as error:
            if error.code == "template_not_found":
                gone = ended_fields(self._clock(), error.message, "TEMPLATE_NOT_FOUND", rules.FAILED)
                return Edit(gone, (*cancelled, fence))
            told = {"phase": rules.UNKNOWN, "message": f"{rules.AGENT_OFFLINE}; {error.message}"}
            return None if told["message"] == row.message else Edit(told)
        edit = self._reconciler.restart(row, agent.id, f"{rules.AGENT_OFFLINE}; begun anew on {agent.id}")
        return Edit(edit.fields, (*cancelled, fence, *edit.commands))
