"""What a registering agent holds against what the broker knows of it.

Called by ``roster.py``: ``stale`` for the answer to ``register``, ``settle`` after it. An agent without an inventory is
not reconciled. Sessions with open commands are left to those: they go out again, and the agent's journal knows which it
has done. Serves the StreamSpace document (seed 001, "Connection Lifecycle").
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from app.agent_protocol import HeldSession
from app.contract import DesktopRow, DesktopState
from app.errors import CallboardError, Unavailable
from app.logs import get_logger
from app.server.fleet import orders, rules
from app.server.fleet.outcomes import ended_fields, told_fields
from app.server.fleet.state import Edit, FleetState
from app.server.fleet.templates import Templates

log = get_logger("fleet")

LOST = "SESSION_LOST"
_OVER = ("exited", "terminated")


class Reconciler:
    """See the module's docstring."""

    def __init__(self, state: FleetState, templates: Templates, clock: Callable[[], float]) -> None:
        self._state = state
        self._templates = templates
        self._clock = clock

    def stale(self, agent_id: str, held: list[HeldSession]) -> list[str]:
        """Sessions that this agent must end: unknown, ended, moved, or begun anew since."""
        stale = []
        for one in held:
            row = self._state.desktops.get(one.session_id)
            gone = row is None or row.state == "terminated" or row.agent_id != agent_id
            if one.state not in _OVER and (row is None or gone or one.generation < row.generation):
                stale.append(one.session_id)
        return stale

    async def settle(self, agent_id: str, held: list[HeldSession] | None) -> bool:
        """Bring the rows of an agent in line with what it holds; False when the database could not keep some of it."""
        kept = True
        inventory = None if held is None else {one.session_id: one for one in held}
        for row in self._state.of_agent(agent_id):
            one = inventory.get(row.id) if inventory is not None else None
            if self._decide(row, agent_id, one, inventory is not None) is None:
                continue
            try:
                decide = partial(self._decide, agent_id=agent_id, one=one, known=inventory is not None)
                await self._state.change_desktop(row.id, decide)
            except CallboardError as error:
                log.error("session not reconciled", session=row.id, agent=agent_id, why=error.message)
                kept = kept and not isinstance(error, Unavailable)
        return kept

    def _decide(self, row: DesktopRow, agent_id: str, one: HeldSession | None, known: bool) -> Edit | None:
        if row.agent_id != agent_id or row.state == "terminated":
            return None
        back = row.phase == rules.UNKNOWN or row.message == rules.ends_when_back(agent_id)
        if not known:
            return Edit(_plainly(row)) if back else None
        opened = self._state.commands.of_session(row.id, agent_id)
        if one is not None and one.state in _OVER and row.state in ("running", "hibernated"):
            cancelled = tuple(self._state.commands.ended(each, "cancelled", error="it has ended") for each in opened)
            return Edit(ended_fields(self._clock(), "The program ended"), cancelled)
        if opened or row.state not in ("running", "hibernated"):
            return Edit(_plainly(row)) if back else None
        if one is None or one.generation < row.generation:
            return self._lost(row)
        if one.state in ("running", "hibernated") and one.state != row.state:
            state: DesktopState = "running" if one.state == "running" else "hibernated"
            return Edit(told_fields(row, state, one.result, self._clock()))
        if one.generation > row.generation:
            return Edit({**_plainly(row), "generation": one.generation})
        return Edit(_plainly(row)) if back else None

    def _lost(self, row: DesktopRow) -> Edit | None:
        """The agent came back without it."""
        if row.started_at is None and row.state == "hibernated":  # never begun: there was nothing to keep
            return Edit(_plainly(row)) if row.phase == rules.UNKNOWN else None
        template = self._templates.rows.get(row.template)
        if row.state == "hibernated" and template is not None and template.hibernate == "stop":
            return Edit({**_plainly(row), "started_at": None})
        if row.state == "running" and template is not None and template.failover == "restart":
            return self.restart(row, row.agent_id or "", "lost by its agent; begun anew")
        return Edit(ended_fields(self._clock(), "Lost: its agent came back without it", LOST, rules.FAILED))

    def restart(self, row: DesktopRow, agent_id: str, message: str) -> Edit:
        """Begin a session anew on an agent; whatever is left of the old one is stale."""
        template = self._templates.get(row.template)
        fields: dict[str, Any] = {
            "agent_id": agent_id,
            "generation": row.generation + 1,
            "state": "pending",
            "phase": rules.PHASES["pending"],
            "message": message,
            "error_code": "",
            "pod_name": None,
            "pod_ip": None,
            "container_id": None,
            "vnc_port": None,
            "started_at": None,
            "load_cpu": None,
            "load_memory": None,
        }
        moved = msgspec.structs.replace(row, **fields)
        data = orders.start(moved, template)
        command = self._state.commands.make(agent_id, row.id, "start_session", data, moved.generation)
        return Edit(fields, (command,))


def _words(state: str) -> dict[str, str]:
    for known, phase in rules.PHASES.items():
        if known == state:
            return {"phase": phase, "message": rules.MESSAGES[known], "error_code": ""}
    return {}


def _plainly(row: DesktopRow) -> dict[str, Any]:
    """The state in its plain words again."""
    return {**_words(row.state), "error_code": row.error_code}
