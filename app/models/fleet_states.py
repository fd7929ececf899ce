"""What of an agent or a desktop session folds into which of the six words (``states``).

Read by the tables, the filter, the badges and the details. The rules:

* an agent is LIVE while it is connected and heard within 12 s, STALE from then on, HELD while it is drained, OFF
  while it is not connected, and FAULT ``offline with 4 sessions`` when it left some behind;
* a desktop is LIVE while it runs, CHANGING ``starting``, ``ending``, ``waking`` and the like on its way, HELD
  while it hibernates, FAULT when it failed or when its agent has been away for longer than the broker waits (phase
  ``Unknown``), STALE while its agent is late or has just been lost;
* while the feed is not live, everything is STALE: it is only what was known last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.contract import AGENT_HEARTBEAT_EVERY, AgentRow, DesktopRow
from app.models.states import CHANGING, FAULT, HELD, LIVE, OFF, STALE, State, not_live
from app.models.wording import age_text, plain

if TYPE_CHECKING:
    from app.models.ghosts import Ghost
    from app.models.picture import Picture

AGENT_LATE_AFTER = AGENT_HEARTBEAT_EVERY + 2.0
_PHASES = {
    "Hibernating": "hibernating",
    "Waking": "waking",
    "Creating": "starting",
    "Starting": "starting",
    "Terminating": "ending",
}
"""Phases in which a session is on its way, and the word for it."""


def heartbeat_age(row: AgentRow | None, now: float) -> float | None:
    """Seconds since an agent was last heard; None when it never was."""
    return None if row is None or row.last_heartbeat is None else max(0.0, now - row.last_heartbeat)


def sessions_text(count: int) -> str:
    """``1 session``, ``4 sessions``."""
    return "1 session" if count == 1 else f"{count} sessions"


def is_draining(row: AgentRow, store: Picture) -> bool:
    """Whether it takes no new sessions, connected or not."""
    return row.status == "draining" or row.id in store.drains


def is_on_its_way(row: DesktopRow) -> bool:
    """Whether it starts, ends, falls asleep or wakes."""
    return row.state in ("pending", "terminating") or row.phase in _PHASES


def state_of_agent(row: AgentRow, store: Picture, now: float, ghost: Ghost | None = None) -> State:
    """State of an agent, or of its ghost when one is given. ``now`` is the broker's clock."""
    if ghost is not None:
        return State(OFF, now - ghost.at, ghost.cause, ghost.word)
    age = heartbeat_age(row, now)
    if not store.live:
        return not_live(store, age)
    if row.status == "offline":
        left = len(store.desktops_on(row.id))
        if left:
            return State(FAULT, age, f"offline with {sessions_text(left)}", "offline")
        return State(OFF, age, "offline")
    if age is not None and age >= AGENT_LATE_AFTER:
        return State(STALE, age, "heartbeat late" + (", draining" if is_draining(row, store) else ""))
    if is_draining(row, store):
        drain = store.drains.get(row.id)
        stuck = f", stuck: {plain(drain.stuck)}" if drain is not None and drain.stuck else ""
        return State(HELD, age, f"takes no new sessions{stuck}", "draining")
    return State(LIVE, age, plain(row.warning) or "online")


def state_of_desktop(row: DesktopRow, store: Picture, now: float, ghost: Ghost | None = None) -> State:
    """State of a desktop session, or of its ghost when one is given. ``now`` is the broker's clock."""
    if ghost is not None:
        return State(FAULT if ghost.reason == "failed" else OFF, now - ghost.at, ghost.cause, ghost.word)
    agent = store.agents.get(row.agent_id) if row.agent_id is not None else None
    heard = heartbeat_age(agent, now)
    if not store.live:
        return not_live(store, heard)
    told = plain(row.message)
    if row.phase in ("Failed", "Unknown") or row.state == "terminated":
        word = "agent lost" if row.phase == "Unknown" else "failed"
        return State(FAULT, now - row.updated_at, told or row.phase.lower(), word)
    if is_on_its_way(row):
        word = {"pending": "starting", "terminating": "ending"}.get(row.state) or _PHASES[row.phase]
        return State(CHANGING, now - row.updated_at, told, word)
    away = _agent_away(row, agent, heard)
    if row.state == "hibernated":
        return State(HELD, None, ", ".join(filter(None, (told, away))), "hibernated")
    if away:
        return State(STALE, heard, away)
    return State(LIVE, None, told)


def _agent_away(row: DesktopRow, agent: AgentRow | None, heard: float | None) -> str:
    """What is wrong with the agent that runs it, "" when nothing is."""
    if row.agent_id is None:
        return ""
    if agent is None or agent.status == "offline":
        return "agent not connected"
    if heard is not None and heard >= AGENT_LATE_AFTER:
        return f"agent not heard for {age_text(heard)}"
    return ""
