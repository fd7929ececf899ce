"""How many agents and desktops are in trouble, for the rail: tight loops over plain rows, also with 2,000 of them.

Follows the rules of ``app/models/fleet_states.py`` without making a ``State`` per row; the tests compare both.
"""

from __future__ import annotations

from app.contract import DesktopRow
from app.models.fleet_states import AGENT_LATE_AFTER, is_on_its_way
from app.models.store import Store
from app.ui.troubles import Badges, counted


def agent_badges(store: Store) -> Badges:
    """(state token, text) of what is wrong with agents, worst first; nothing while the board is not live."""
    if not store.live:
        return []
    fault, stale, stuck = agents_in_trouble(store, store.broker_now())
    found = (("fault", fault, "fault"), ("held", stuck, "stuck"), ("stale", stale, "stale"))
    return [(token, counted(number, word)) for token, number, word in found if number][:2]  # as many as fit


def agents_in_trouble(store: Store, now: float) -> tuple[int, int, int]:
    """Agents that left sessions behind, that are late, and drains that are stuck."""
    late = now - AGENT_LATE_AFTER
    fault = stale = 0
    for row in store.agents.values():
        if row.status == "offline":
            fault += bool(store.desktops_on(row.id))
        else:
            stale += row.last_heartbeat is not None and row.last_heartbeat <= late
    return fault, stale, sum(bool(drain.stuck) and drain.left > 0 for drain in store.drains.values())


def desktops_in_trouble(store: Store, now: float) -> tuple[int, int]:
    """Desktops that are a fault, ghosts of failed ones among them, and desktops whose agent is late or away."""
    late = now - AGENT_LATE_AFTER
    away = {
        row.id
        for row in store.agents.values()
        if row.status == "offline" or (row.last_heartbeat is not None and row.last_heartbeat <= late)
    }
    fault = stale = 0
    for row in store.desktops.values():
        if row.phase in ("Failed", "Unknown"):
            fault += 1
        elif row.state == "running" and row.agent_id is not None and not is_on_its_way(row):
            stale += row.agent_id in away or row.agent_id not in store.agents
    ghosts = store.graveyard.of("desktop").values()
    return fault + sum(isinstance(ghost.row, DesktopRow) and ghost.reason == "failed" for ghost in ghosts), stale
