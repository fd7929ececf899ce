"""What the StreamSpace API answers (seed 001), as ``/docs`` shows it.

The bytes are written by ``rows.py``, field for field in the seed's order; a contract test validates them against the
models here. Nothing is validated with these when a request is served.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, WithJsonSchema

from app.server.dialects.streamspace.wire import AgentState, Role, SessionState

Object = dict[str, Any]
Timestamp = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
Uuid = Annotated[str, WithJsonSchema({"type": "string", "format": "uuid"})]


class Pagination(BaseModel):
    """Where a page stands."""

    page: int
    limit: int
    total: int
    total_pages: int


class LoginUser(BaseModel):
    """Who has logged in."""

    id: Uuid
    username: str
    email: str
    role: Role
    created_at: Timestamp


class LoggedIn(BaseModel):
    """A token and whose it is."""

    token: str
    user: LoginUser
    expires_at: Timestamp


class Done(BaseModel):
    """What was done, in words."""

    message: str


class Capacity(BaseModel):
    """What an agent can hold, and holds."""

    max_cpu: float | None = None
    max_memory: float | None = None
    max_sessions: int
    current_sessions: int


class Agent(BaseModel):
    """An agent."""

    id: Uuid
    agent_id: str
    platform: str
    region: str | None
    status: AgentState
    capacity: Capacity
    metadata: Object
    websocket_conn_id: str | None
    last_heartbeat: Timestamp | None
    created_at: Timestamp
    updated_at: Timestamp


class AgentList(BaseModel):
    """A page of agents."""

    agents: list[Agent]
    pagination: Pagination


class AgentSession(BaseModel):
    """A session as its agent lists it."""

    id: Uuid
    name: str
    user: str
    template: str
    state: SessionState


class AgentDetails(Agent):
    """An agent with its sessions that have not ended."""

    uptime_seconds: int
    sessions: list[AgentSession]


class AgentChanged(BaseModel):
    """The status an agent has now."""

    id: Uuid
    agent_id: str
    status: AgentState
    updated_at: Timestamp


class TotalCapacity(BaseModel):
    """What all connected agents can hold, and hold."""

    max_sessions: int
    current_sessions: int


class Utilization(BaseModel):
    """How full they are."""

    percentage: float
    sessions_available: int


class AgentStats(BaseModel):
    """Figures across all agents; capacity is that of connected ones."""

    total_agents: int
    online_agents: int
    offline_agents: int
    draining_agents: int
    by_platform: dict[str, int]
    total_capacity: TotalCapacity
    utilization: Utilization


class SessionStatusBrief(BaseModel):
    """How a session is, in two words and in a sentence."""

    phase: str
    message: str


class SessionStatus(SessionStatusBrief):
    """How a session is; ``error_code`` only where something went wrong."""

    pod_ip: str | None
    vnc_url: str | None
    error_code: str | None = None


class SessionStatusDetails(SessionStatus):
    """How a session is, in full."""

    pod_name: str | None
    container_id: str | None
    started_at: Timestamp | None


class Session(BaseModel):
    """A session as lists have it."""

    id: Uuid
    name: str
    user: str
    template: str
    platform: str
    agent_id: str | None
    state: SessionState
    resources: dict[str, str]
    tags: list[str]
    status: SessionStatus
    created_at: Timestamp
    updated_at: Timestamp


class SessionList(BaseModel):
    """A page of sessions."""

    sessions: list[Session]
    pagination: Pagination


class SessionCreated(Session):
    """A session that begins."""

    namespace: str
    persistent_home: bool
    idle_timeout: str | None


class SessionDetails(SessionCreated):
    """A session in full."""

    status: SessionStatusDetails
    platform_metadata: Object
    last_activity: Timestamp | None


class SessionChanged(BaseModel):
    """The state a session has now; its tags, where they were changed."""

    id: Uuid
    state: SessionState
    status: SessionStatusBrief
    tags: list[str] | None = None
    updated_at: Timestamp


class Logs(BaseModel):
    """Lines of a session's log."""

    logs: list[str]


class TemplateResources(BaseModel):
    """What a template's sessions may use."""

    memory: str | None = None
    cpu: str | None = None


class TemplateVnc(BaseModel):
    """Whether and where a template shows its desktop."""

    enabled: bool
    port: int


class Template(BaseModel):
    """A template as lists have it."""

    id: Uuid
    name: str
    display_name: str
    category: str
    description: str
    base_image: str
    default_resources: TemplateResources
    vnc: TemplateVnc
    tags: list[str]
    created_at: Timestamp
    updated_at: Timestamp


class TemplateList(BaseModel):
    """A page of templates."""

    templates: list[Template]
    pagination: Pagination


class TemplateResourcesDetails(TemplateResources):
    """With the size of a home."""

    storage: str | None = None


class TemplateVncDetails(TemplateVnc):
    """With the size of the picture."""

    resolution: str
    color_depth: int


class TemplateDetails(Template):
    """A template in full."""

    default_resources: TemplateResourcesDetails
    vnc: TemplateVncDetails
    environment: dict[str, str]
    persistent_home: bool
    idle_timeout: str | None
    icon_url: str | None


class TemplateSaved(TemplateDetails):
    """A template with what Callboard adds."""

    command: list[str]
    hibernate: Literal["freeze", "stop"]
    failover: Literal["never", "restart"]
    built_in: bool


class UserCreated(BaseModel):
    """A user who is new."""

    id: Uuid
    username: str
    email: str
    role: Role
    active: bool
    created_at: Timestamp


class User(UserCreated):
    """A user."""

    last_login: Timestamp | None


class UserList(BaseModel):
    """A page of users."""

    users: list[User]
    pagination: Pagination


class AgentKey(BaseModel):
    """An agent key without the key."""

    id: str
    name: str
    agent_id: str | None
    created_at: Timestamp
    rotated_at: Timestamp | None


class AgentKeyList(BaseModel):
    """Every agent key."""

    agent_keys: list[AgentKey]


class AgentKeyMade(AgentKey):
    """An agent key; this is the one time that the key itself is told."""

    key: str


class Problem(BaseModel):
    """What went wrong."""

    error: str = Field(description="Short error message")
    message: str = Field(description="Detailed error description")
    code: str = Field(examples=["SESSION_NOT_FOUND"])
    details: Object
    timestamp: Timestamp
    request_id: str = Field(examples=["req-abc123"])


class TooMany(Problem):
    """The limit is reached."""

    retry_after: int = Field(description="Seconds until the limit resets")
