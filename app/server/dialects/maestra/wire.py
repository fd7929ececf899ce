"""Wire shapes of the Maestra Streams API (seed 000): requests are validated against these, ``/docs`` derives from them.

Answers are encoded by msgspec from the rows (``*_json`` below), field for field in the seed's order; a contract test
validates those bytes against the models here.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

import msgspec
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError, core_schema

from app.contract import HistoryRow, SessionRow, StreamRow, TypeRow


def _uuid_text(_source: Any, _handler: Any) -> core_schema.CoreSchema:
    return core_schema.no_info_after_validator_function(
        str, core_schema.uuid_schema(), serialization=core_schema.to_string_ser_schema()
    )


Id = Annotated[str, GetPydanticSchema(_uuid_text), WithJsonSchema({"type": "string", "format": "uuid"})]
"""A UUID: read in any of its written forms, kept and answered in the canonical one."""

Object = dict[str, Any]


class Protocol(StrEnum):
    """The protocols of the seed (``contract.PROTOCOLS``)."""

    TCP = "tcp"
    UDP = "udp"
    NDI = "ndi"
    SRT = "srt"
    WEBRTC = "webrtc"
    SPOUT = "spout"
    SYPHON = "syphon"
    SHARED_MEMORY = "shared_memory"


def known_type(value: Any, info: ValidationInfo) -> Any:
    """Refuse a type that is neither built in nor created, in the words of pydantic's enum error.

    The context is the ``StreamTypes`` of the registry; without one (documentation, tests of shapes) any type passes.
    """
    types = info.context
    if types is not None and not (isinstance(value, str) and value in types.rows):
        raise PydanticCustomError("enum", "Input should be {expected}", {"expected": types.expected})
    return value


StreamTypeName = Annotated[str, BeforeValidator(known_type)]
Port = Annotated[int, Field(ge=0, le=65535)]


def _example(value: dict[str, Any]) -> ConfigDict:
    return ConfigDict(json_schema_extra={"examples": [value]})


class Advertise(BaseModel):
    """A stream, as its publisher advertises it. Unknown fields are ignored."""

    model_config = _example(
        {
            "name": "Main Stage Camera A",
            "stream_type": "ndi",
            "publisher_id": "td-workstation-01",
            "protocol": "ndi",
            "address": "192.168.1.50",
            "port": 5960,
            "config": {"resolution": "1920x1080", "fps": 30},
            "metadata": {"location": "stage-left"},
        }
    )

    name: str = Field(min_length=1, max_length=255)
    stream_type: StreamTypeName = Field(description="A built-in type or the name of a created one.")
    publisher_id: str = Field(min_length=1)
    protocol: Protocol
    address: str = Field(min_length=1)
    port: Port
    entity_id: Id | None = None
    device_id: Id | None = None
    config: Object = {}
    metadata: Object = {}


class RequestStream(BaseModel):
    """Who wants a stream, and where it should go."""

    model_config = _example(
        {
            "consumer_id": "max-workstation-02",
            "consumer_address": "192.168.1.60",
            "consumer_port": 5961,
            "config": {"preferred_codec": "h264"},
        }
    )

    consumer_id: str = Field(min_length=1)
    consumer_address: str = Field(min_length=1)
    consumer_port: Port | None = None
    config: Object = {}


class CreateType(BaseModel):
    """A stream type of the venue's own."""

    model_config = _example(
        {
            "name": "lidar",
            "display_name": "LiDAR Point Cloud",
            "description": "3D point cloud data from LiDAR sensors",
            "icon": "scan",
            "default_config": {"format": "ply", "rate_hz": 10},
        }
    )

    name: str = Field(min_length=1, max_length=100)
    display_name: str = Field(min_length=1, max_length=255)
    description: str | None = None
    icon: str | None = Field(default=None, max_length=50)
    default_config: Object = {}
    metadata: Object = {}


class StreamType(BaseModel):
    """A stream type definition."""

    id: Id
    name: str
    display_name: str
    description: str | None
    icon: str | None
    default_config: Object
    metadata: Object
    created_at: datetime
    updated_at: datetime


class Stream(BaseModel):
    """A live stream."""

    id: Id
    name: str
    stream_type: str
    publisher_id: str
    protocol: str
    address: str
    port: int
    entity_id: Id | None
    device_id: Id | None
    config: Object
    metadata: Object
    advertised_at: datetime
    last_heartbeat: datetime
    active_sessions: int = Field(description="Live sessions of this stream.")


class Offer(BaseModel):
    """What the publisher offers: where the consumer finds the stream, and the session that was opened."""

    session_id: Id
    stream_id: Id
    stream_name: str
    stream_type: str
    protocol: str
    publisher_address: str
    publisher_port: int
    transport_config: Object


class Session(BaseModel):
    """A live session."""

    session_id: Id
    stream_id: Id
    stream_name: str
    stream_type: str
    publisher_id: str
    publisher_address: str
    consumer_id: str
    consumer_address: str
    protocol: str
    transport_config: Object
    started_at: datetime
    status: Literal["active"]


class HistoricSession(BaseModel):
    """A session, past or present."""

    time: datetime
    session_id: Id
    stream_id: Id
    stream_name: str
    stream_type: str
    publisher_id: str
    consumer_id: str
    protocol: str
    status: Literal["active", "stopped", "withdrawn", "expired"]
    duration_seconds: float | None
    bytes_transferred: int
    error_message: str | None


class RegistryState(BaseModel):
    """The whole registry."""

    streams: list[Stream]
    sessions: list[Session]
    stream_types: list[StreamType]


class Withdrawn(BaseModel):
    """A stream was withdrawn."""

    status: Literal["withdrawn"]
    stream_id: Id


class Stopped(BaseModel):
    """A session was stopped."""

    status: Literal["stopped"]
    session_id: Id


class StreamBeat(BaseModel):
    """A stream has a fresh TTL."""

    status: Literal["ok"]
    stream_id: Id


class SessionBeat(BaseModel):
    """A session has a fresh TTL."""

    status: Literal["ok"]
    session_id: Id


class Problem(BaseModel):
    """What went wrong, in one sentence."""

    detail: str


def time_of(epoch: float) -> datetime:
    """Seconds since the epoch as a UTC time, which msgspec writes as ``YYYY-MM-DDTHH:MM:SS[.ffffff]Z``."""
    return datetime.fromtimestamp(epoch, UTC)


def stream_json(row: StreamRow, active_sessions: int) -> bytes:
    """A ``Stream``."""
    return msgspec.json.encode(
        {
            "id": row.id,
            "name": row.name,
            "stream_type": row.stream_type,
            "publisher_id": row.publisher_id,
            "protocol": row.protocol,
            "address": row.address,
            "port": row.port,
            "entity_id": row.entity_id,
            "device_id": row.device_id,
            "config": row.config,
            "metadata": row.metadata,
            "advertised_at": time_of(row.advertised_at),
            "last_heartbeat": time_of(row.last_heartbeat),
            "active_sessions": active_sessions,
        }
    )


def offer_json(row: SessionRow) -> bytes:
    """An ``Offer``."""
    return msgspec.json.encode(
        {
            "session_id": row.id,
            "stream_id": row.stream_id,
            "stream_name": row.stream_name,
            "stream_type": row.stream_type,
            "protocol": row.protocol,
            "publisher_address": row.publisher_address,
            "publisher_port": row.publisher_port,
            "transport_config": row.transport_config,
        }
    )


def session_json(row: SessionRow) -> bytes:
    """A ``Session``."""
    return msgspec.json.encode(
        {
            "session_id": row.id,
            "stream_id": row.stream_id,
            "stream_name": row.stream_name,
            "stream_type": row.stream_type,
            "publisher_id": row.publisher_id,
            "publisher_address": row.publisher_address,
            "consumer_id": row.consumer_id,
            "consumer_address": row.consumer_address,
            "protocol": row.protocol,
            "transport_config": row.transport_config,
            "started_at": time_of(row.started_at),
            "status": "active",
        }
    )


def type_json(row: TypeRow) -> bytes:
    """A ``StreamType``."""
    return msgspec.json.encode(
        {
            "id": row.id,
            "name": row.name,
            "display_name": row.display_name,
            "description": row.description,
            "icon": row.icon,
            "default_config": row.default_config,
            "metadata": row.metadata,
            "created_at": time_of(row.created_at),
            "updated_at": time_of(row.updated_at),
        }
    )


def historic_json(row: HistoryRow) -> bytes:
    """A ``HistoricSession``."""
    return msgspec.json.encode(
        {
            "time": time_of(row.time),
            "session_id": row.id,
            "stream_id": row.stream_id,
            "stream_name": row.stream_name,
            "stream_type": row.stream_type,
            "publisher_id": row.publisher_id,
            "consumer_id": row.consumer_id,
            "protocol": row.protocol,
            "status": row.status,
            "duration_seconds": row.duration_seconds,
            "bytes_transferred": row.bytes_transferred,
            "error_message": row.error_message,
        }
    )


def enclosed(head: bytes, items: list[bytes], tail: bytes) -> list[bytes]:
    """Encoded items with what stands around their array; joining them with commas, once, is all that is left to do.

    One join into the final bytes: a second copy of some 400 kB costs more than everything else in a listing.
    """
    if not items:
        return [head + tail]
    items[0] = head + items[0]
    items[-1] += tail
    return items


def array(items: list[bytes]) -> bytes:
    """A JSON array of encoded items; ``items`` is used up."""
    return b",".join(enclosed(b"[", items, b"]"))
