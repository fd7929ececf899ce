"""Which state of a desktop session may follow which, and in what words a state is told.

Pure; called by ``sessions.py`` and ``outcomes.py``. Serves the StreamSpace document (seed 001, "Update Session State"):
its table, and what it leaves open decided strictly: a session that has not begun may be cancelled and nothing else, what
ends already conflicts, a state is no transition to itself.
"""

from __future__ import annotations

from typing import Literal

from app.contract import DESKTOP_STATES, DesktopState
from app.errors import Conflict, Forbidden, Invalid

Act = Literal["hibernate", "wake", "terminate", "force"]

_TABLE: dict[tuple[str, str], Act] = {
    ("running", "hibernated"): "hibernate",
    ("hibernated", "running"): "wake",
    ("running", "terminating"): "terminate",
    ("hibernated", "terminating"): "terminate",
    ("pending", "terminating"): "terminate",
}

PHASES: dict[DesktopState, str] = {
    "pending": "Pending",
    "running": "Running",
    "hibernated": "Hibernated",
    "terminating": "Terminating",
    "terminated": "Terminated",
}
MESSAGES: dict[DesktopState, str] = {
    "pending": "Session provisioning in progress...",
    "running": "Session is running",
    "hibernated": "Session hibernated successfully",
    "terminating": "Session is terminating",
    "terminated": "Session terminated",
}
HIBERNATING = "Hibernating"
WAKING = "Waking"
FAILED = "Failed"
UNKNOWN = "Unknown"
AGENT_OFFLINE = "agent offline"


def ends_when_back(agent_id: str | None) -> str:
    """What is told of a session that ends, and whose agent is away: nobody but its agent can stop it."""
    return f"Ends when its agent '{agent_id}' is back, which is offline"


def act_for(current: str, wanted: str, *, admin: bool) -> Act:
    """What leads from ``current`` to ``wanted``.

    Raises ``Invalid`` (``invalid_state_transition``, ``validation_failed``), ``Conflict`` (``session_terminating``) and
    ``Forbidden`` (``not_permitted``: only administrators end a session by force).
    """
    if wanted not in DESKTOP_STATES:
        known = ", ".join(DESKTOP_STATES)
        raise Invalid(f"'{wanted}' is not a state; states are {known}", code="validation_failed")
    forced = wanted == "terminated" and current != "terminated"
    if forced and admin:
        return "force"
    if current == "terminating":
        raise Conflict("The session is terminating", code="session_terminating")
    if forced:
        raise Forbidden("Only an administrator ends a session by force", code="not_permitted")
    act = _TABLE.get((current, wanted))
    if act is None:
        raise Invalid(f"Cannot transition from '{current}' to '{wanted}'", code="invalid_state_transition")
    return act
