"""Rows of the fleet domain: agents, desktop sessions, viewers, drains and templates.

A desktop's two names: ``id`` is its UUID, ``name`` what people read (``john-doe-xterm-k3v9qa``). An agent's ``id`` is
the identifier it registers with; ``uuid`` is only for the published API.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from app.contract.rows import Row

AGENT_HEARTBEAT_EVERY = 10.0
AGENT_LOST_AFTER = 30.0
AGENT_GRACE = 60.0
"""Seconds an agent that dropped has to come back before its pending sessions go elsewhere."""
STUCK_AFTER = 900.0
"""A drain without an exit for so long says that it is stuck."""

AgentStatus = Literal["online", "draining", "offline"]
DesktopState = Literal["pending", "running", "hibernated", "terminating", "terminated"]
ViewerMode = Literal["view", "control"]
PLATFORMS = ("kubernetes", "docker", "local", "attach")
DESKTOP_STATES = ("pending", "running", "hibernated", "terminating", "terminated")
SLOT_STATES = frozenset({"pending", "running", "terminating"})
"""States in which a session occupies one of its agent's slots."""


class AgentRow(Row, kw_only=True):
    """An agent, connected or not. ``sessions`` is the broker's own count of slots in use, ``reported_sessions`` the
    agent's word; ``max_memory`` is GiB; ``cpu`` and ``memory`` are percent of the machine, None where it does not say."""

    uuid: str
    platform: str
    region: str | None = None
    status: AgentStatus = "offline"
    max_sessions: int
    max_cpu: float | None = None
    max_memory: float | None = None
    sessions: int = 0
    reported_sessions: int | None = None
    cpu: float | None = None
    memory: float | None = None
    metadata: dict[str, Any] = {}
    capabilities: list[str] = []
    missing_programs: list[str] = []
    """Programs that templates need and this machine lacks."""
    version: str = ""
    leader: bool | None = None
    standbys: int = 0
    connection_id: str | None = None
    last_heartbeat: float | None = None
    registered_at: float | None = None
    """Start of the present registration; None while offline."""
    warning: str = ""
    created_at: float
    updated_at: float


class DesktopRow(Row, kw_only=True):
    """A desktop session. ``load_cpu`` is percent of one core, ``load_memory`` bytes, both as the agent measured."""

    name: str
    namespace: str = "streamspace"
    user: str
    template: str
    platform: str
    agent_id: str | None
    state: DesktopState
    phase: str
    message: str = ""
    error_code: str = ""
    resources: dict[str, str] = {}
    persistent_home: bool = True
    idle_timeout: str | None = None
    tags: list[str] = []
    pod_name: str | None = None
    pod_ip: str | None = None
    container_id: str | None = None
    vnc_port: int | None = None
    platform_metadata: dict[str, Any] = {}
    generation: int = 1
    """Grows each time the session is begun anew on an agent; older ones are stopped where they turn up."""
    limits: str = ""
    """How the agent enforces the resources: ``systemd``, ``cgroup2``, ``cgroup1``, ``engine`` or ``soft``."""
    load_cpu: float | None = None
    load_memory: int | None = None
    started_at: float | None = None
    created_at: float
    updated_at: float
    last_activity: float | None = None
    ended_at: float | None = None


class ViewerRow(Row, kw_only=True):
    """One person looking at a desktop; ``id`` is the proxy id. Rates are bytes a second, ``rtt`` milliseconds."""

    session_id: str
    session_name: str
    agent_id: str
    user: str
    mode: ViewerMode
    shadow: bool = False
    """An operator's look that does not count as the user's activity."""
    address: str = ""
    since: float
    open: bool = False
    down_bytes: int = 0
    up_bytes: int = 0
    down_rate: float = 0.0
    up_rate: float = 0.0
    rtt: float | None = None


class DrainRow(Row, kw_only=True):
    """A drain of the agent ``id``, from the press to its undo. ``eta`` and ``next_idle`` are times, or unknown."""

    operator: str
    since: float
    initial: int
    left: int
    exits: list[float] = []
    """When sessions left since the drain began, the last 100."""
    per_minute: float | None = None
    eta: float | None = None
    next_idle: float | None = None
    stuck: str = ""
    """Why nothing moves, in words; empty while it does."""
    done_at: float | None = None


class TemplateRow(Row, kw_only=True):
    """What a session is made of. ``command`` is an argument list for local agents, ``base_image`` for container ones."""

    name: str
    display_name: str
    category: str = ""
    description: str = ""
    base_image: str = ""
    command: list[str] = []
    default_resources: dict[str, str] = {}
    vnc: dict[str, Any] = {}
    environment: dict[str, str] = {}
    persistent_home: bool = True
    idle_timeout: str | None = None
    icon_url: str | None = None
    tags: list[str] = []
    hibernate: Literal["freeze", "stop"] = "freeze"
    failover: Literal["never", "restart"] = "never"
    built_in: bool = False
    created_at: float
    updated_at: float


class UserRow(Row, kw_only=True):
    """A person who may log in. Users are asked for over the API and are not on the feed."""

    username: str
    email: str
    role: Literal["admin", "user"] = "user"
    active: bool = True
    created_at: float
    last_login: float | None = None


class AgentBeat(msgspec.Struct):
    """Change of ``agent.beat``: what a heartbeat moves."""

    last_heartbeat: float
    sessions: int
    reported_sessions: int | None = None
    cpu: float | None = None
    memory: float | None = None
    warning: str = ""


class DesktopBeat(msgspec.Struct):
    """Change of ``desktop.beat``: a session's load and activity, only when one of them moved."""

    load_cpu: float | None = None
    load_memory: int | None = None
    last_activity: float | None = None


class ViewerBeat(msgspec.Struct):
    """Change of ``viewer.beat``: what a viewer's connection carries."""

    open: bool
    down_bytes: int
    up_bytes: int
    down_rate: float
    up_rate: float
    rtt: float | None = None


class Thumbnail(msgspec.Struct):
    """A picture of a desktop; not on the feed, since only visible tiles ask for it."""

    session_id: str
    at: float
    width: int
    height: int
    jpeg: bytes
