"""What requests of the StreamSpace API look like (seed 001): they are validated against this, ``/docs`` derives from it.

Bodies are strict: a number is no string and a string no number. Query parameters are read from text. What the seed has
not is marked "Callboard's own". What is answered stands in ``answers.py``.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from app.errors import Invalid
from app.quantities import cpu_cores, duration_seconds, memory_bytes

Platform = Literal["kubernetes", "docker", "local", "attach"]
AgentState = Literal["online", "offline", "draining"]
SessionState = Literal["pending", "running", "hibernated", "terminating", "terminated"]
Role = Literal["admin", "user"]

_NUMBER = re.compile(r"-?[0-9]{1,9}")
_WORDS = {"true": True, "1": True, "false": False, "0": False}


def _number(text: Any) -> Any:
    if isinstance(text, str):
        if not _NUMBER.fullmatch(text):
            raise ValueError("Input should be a whole number")
        return int(text)
    return text


def _truth(text: Any) -> Any:
    if isinstance(text, str):
        if text.lower() not in _WORDS:
            raise ValueError("Input should be true or false")
        return _WORDS[text.lower()]
    return text


def _memory(text: str) -> str:
    try:
        memory_bytes(text)
    except Invalid as error:
        raise ValueError(error.message) from error
    return text


def _cpu(text: str) -> str:
    try:
        cpu_cores(text)
    except Invalid as error:
        raise ValueError(error.message) from error
    return text


def _duration(text: str) -> str:
    try:
        duration_seconds(text)
    except Invalid as error:
        raise ValueError(error.message) from error
    return text


def _tags(tags: list[str]) -> list[str]:
    if any(not tag.strip() or "," in tag for tag in tags):
        raise ValueError("A tag has at least one character that is no space, and no comma")
    return list(dict.fromkeys(tags))


Memory = Annotated[str, Field(max_length=40, examples=["2Gi"]), AfterValidator(_memory)]
Cpu = Annotated[str, Field(max_length=40, examples=["1000m"]), AfterValidator(_cpu)]
Duration = Annotated[str, Field(max_length=40, examples=["30m"]), AfterValidator(_duration)]
Tag = Annotated[str, Field(min_length=1, max_length=100)]
Tags = Annotated[list[Tag], Field(max_length=50), AfterValidator(_tags)]
Name = Annotated[str, Field(min_length=1, max_length=100)]
Truth = Annotated[bool, BeforeValidator(_truth)]
Page = Annotated[int, Field(ge=1, description="Page number, from 1"), BeforeValidator(_number)]
Limit = Annotated[int, Field(ge=1, le=100, description="Results per page"), BeforeValidator(_number)]
Tail = Annotated[int, Field(ge=0, description="Lines from the end; 1000 are kept"), BeforeValidator(_number)]


class Request(BaseModel):
    """A body; fields that are not known are ignored."""

    model_config = ConfigDict(strict=True)


class Paged(BaseModel):
    """A page of a list."""

    page: Page = 1
    limit: Limit = 20


class AgentQuery(Paged):
    """Which agents."""

    platform: Platform | None = None
    status: AgentState | None = None
    region: str | None = None


class SessionQuery(Paged):
    """Which sessions, in which order."""

    user: str | None = None
    template: str | None = None
    platform: Platform | None = None
    agent_id: str | None = None
    state: SessionState | None = None
    tags: str | None = Field(None, description="Comma-separated; a session must have all of them")
    sort: Literal["created_at", "updated_at", "user", "state"] = "created_at"
    order: Literal["asc", "desc"] = "desc"


class TemplateQuery(Paged):
    """Which templates."""

    category: str | None = None
    limit: Limit = 50


class UserQuery(Paged):
    """Which users."""

    role: Role | None = None


class DeleteQuery(BaseModel):
    """How a session ends."""

    force: Truth = Field(False, description="Without graceful shutdown; administrators only")


class LogQuery(BaseModel):
    """Which lines."""

    tail: Tail = 100
    follow: Truth = Field(False, description="Stream lines; needs a WebSocket upgrade")
    timestamps: Truth = Field(True, description="Include timestamps")


class Login(Request):
    """Who wants to log in."""

    username: str = Field(examples=["admin"])
    password: str = Field(examples=["your-password"])


class ChangeAgent(Request):
    """The status an agent should have."""

    status: AgentState = Field(description="`draining`: no new sessions, existing ones go on; `online` ends that.")


class Resources(Request):
    """What a session may use."""

    memory: Memory | None = None
    cpu: Cpu | None = None


class CreateSession(Request):
    """The session that is wanted."""

    user: Name = Field(examples=["john.doe"])
    template: Name = Field(examples=["firefox-browser"])
    platform: Platform | None = Field(None, description="Chosen by itself if left out; never `attach`.")
    state: Literal["running", "hibernated"] | None = Field(None, description="`running` if left out.")
    resources: Resources | None = None
    persistent_home: bool = Field(
        True, description="Also where the template says false, which is what dialogs propose."
    )
    idle_timeout: Duration | None = Field(None, description="`0` or null: never. The template's if left out.")
    tags: Tags | None = None
    agent_id: Name | None = Field(None, description="Callboard's own: this agent and no other.")


class ChangeSession(Request):
    """A new state, or new tags (Callboard's own)."""

    state: SessionState | None = None
    tags: Tags | None = None


class Vnc(Request):
    """How a template shows its desktop."""

    enabled: bool = True
    port: int = 5900
    resolution: str = "1920x1080"
    color_depth: int = 24


class DefaultResources(Resources):
    """What a template's sessions may use."""

    storage: Memory | None = None


class ChangeTemplate(Request):
    """A template; ``base_image`` is for container platforms, ``command`` for local agents. What fits is the fleet's word."""

    display_name: str
    category: str = ""
    description: str = ""
    base_image: str = ""
    default_resources: DefaultResources = DefaultResources()
    vnc: Vnc = Vnc()
    environment: dict[str, str] = {}
    persistent_home: bool = True
    idle_timeout: Duration | None = None
    tags: list[str] = []
    icon_url: str | None = None
    command: list[str] | None = Field(None, description="Callboard's own: an argument list. Left out, it stays.")
    hibernate: Literal["freeze", "stop"] | None = Field(None, description="Callboard's own. Left out, it stays.")
    failover: Literal["never", "restart"] | None = Field(None, description="Callboard's own. Left out, it stays.")


class CreateTemplate(ChangeTemplate):
    """A new template."""

    name: str = Field(examples=["firefox-browser"])


class CreateUser(Request):
    """Somebody who may log in."""

    username: str = Field(examples=["john.doe"])
    email: str = Field(examples=["john.doe@example.com"])
    password: str = Field(examples=["secure-password"], description="At least 8 characters")
    role: Role = "user"


class ChangeUser(Request):
    """What changes about a user; what is left out stays."""

    email: str | None = None
    password: str | None = None
    role: Role | None = None
    active: bool | None = None


class CreateAgentKey(Request):
    """A key that agents connect with."""

    name: Name
    agent_id: Name | None = Field(None, description="Only this agent may use it.")
