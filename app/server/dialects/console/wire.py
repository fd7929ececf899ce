"""Shapes of the console's own API, for its documentation and for checking what comes in.

Answers are the rows of ``app/contract/`` as msgspec writes them; a test holds the models here against them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Name = Annotated[str, Field(min_length=1, max_length=100)]
Text = Annotated[str, Field(min_length=1, max_length=255)]
LongText = Annotated[str, Field(max_length=2000)]
PortNumber = Annotated[int, Field(ge=0, le=65535)]


class Strict(BaseModel):
    """A body: JSON types as they are, no coercion."""

    model_config = ConfigDict(strict=True)


class ConsoleProblem(BaseModel):
    """What went wrong, in one sentence and in one word."""

    detail: str
    code: str


class HealthPart(BaseModel):
    """One part of the broker; a text beside ``ok`` is a warning."""

    id: str
    ok: bool
    since: float
    text: str
    take_down: bool


class HealthReport(BaseModel):
    """Every part, and which are broken."""

    status: Literal["ok", "broken"]
    broken: list[str]
    parts: list[HealthPart]


class BrokerReport(BaseModel):
    """The broker itself."""

    name: str
    version: str
    pid: int
    started_at: float
    data_dir: str
    urls: dict[str, str]
    host: str
    protocol: int


class WhoAmI(BaseModel):
    """Who makes this request."""

    kind: Literal["console", "user"]
    username: str
    role: Literal["admin", "user"]


class Stopping(BaseModel):
    """The broker has begun to stop."""

    stopping: bool = True


class HoldWanted(Strict):
    """Which session to beat."""

    session_id: Text
    preset_id: Text | None = None


class Hold(BaseModel):
    """Callboard beats a session on behalf of its consumer."""

    id: str
    session_id: str
    stream_id: str
    operator: str
    preset_id: str | None
    since: float


class PresetWanted(Strict):
    """A consumer to take streams to."""

    name: Name
    consumer_id: Text
    consumer_address: Text
    consumer_port: PortNumber | None = None
    config: dict[str, Any] = {}
    mode: Literal["replace", "add"] = "replace"
    held_by: Literal["console", "consumer"] = "console"
    default: bool = False


class Preset(PresetWanted):
    """A consumer preset."""

    id: str


class Deleted(BaseModel):
    """What was removed."""

    id: str
    status: Literal["deleted", "released"] = "deleted"


class AuditWanted(Strict):
    """An act that reached no API."""

    verb: Name
    object: Name
    object_id: Annotated[str, Field(max_length=255)] = ""
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    result: Name
    detail: LongText = ""
    milliseconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class AuditEntry(AuditWanted):
    """One act of an operator."""

    id: str
    at: float
    operator: str
    dialect: str


class HistoryEntry(BaseModel):
    """One stream session, past or present."""

    id: str
    time: float
    stream_id: str
    stream_name: str
    stream_type: str
    publisher_id: str
    publisher_address: str
    consumer_id: str
    consumer_address: str
    protocol: str
    status: str
    ended_at: float | None
    duration_seconds: float | None
    bytes_transferred: int
    error_message: str | None


class KeyReport(BaseModel):
    """An API key without the key."""

    id: str
    name: str
    created_at: float


class AccessReport(BaseModel):
    """Who may reach this broker: settings, addresses, and what they mean."""

    host: str
    allow_networks: list[str]
    allow_plain: bool
    urls: list[str]
    words: list[str]
    keys: list[KeyReport]


class AccessWanted(Strict):
    """What to change; what is left out stays."""

    host: Text | None = None
    allow_networks: list[Text] | None = None
    allow_plain: bool | None = None


class KeyWanted(Strict):
    """Who the key is for."""

    name: Name


class KeyMade(BaseModel):
    """A new key, shown this once."""

    id: str
    name: str
    key: str
