"""Messages between broker and agents on ``/agent/ws``: one JSON document per text frame, told apart by ``type``.

The StreamSpace document (seed 001, "WebSocket Protocol") defines the messages and their fields; what was added has a
default, so that an agent which speaks the document alone works. Unknown fields are ignored on both sides, unknown types
are counted and ignored. Both sides import this module; it does no I/O.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

HEARTBEAT_INTERVAL = "10s"
REGISTER_WITHIN = 10.0
WINDOW = 8
"""Commands under way at once with one agent."""
FRAME_LIMIT = 1024 * 1024
TUNNEL_PROTOCOL = "streamspace.vnc.v1"
TUNNEL_FRAME = 64 * 1024
LOG_LINES = 1000
"""Lines one ``logs_data`` may carry."""

CommandType = Literal["start_session", "hibernate_session", "wake_session", "stop_session"]
SessionEventName = Literal["started", "exited", "oom", "activity", "state"]


class CloseCode:
    """Why a WebSocket of ours closes, on ``/agent/ws``, on tunnels and towards viewers."""

    NORMAL = 1000
    SHUTDOWN = 1001
    INTERNAL = 1011
    NOT_REGISTERED = 4001
    BAD_REGISTER = 4003
    HEARTBEAT_LOST = 4008
    REPLACED = 4009
    TOKEN = 4401
    KICKED = 4403
    SESSION_GONE = 4404
    TUNNEL_TIMEOUT = 4408
    ENDED = 4410
    HIBERNATED = 4423
    REFUSED = 4502
    AGENT_LOST = 4503


# Agent → broker ---------------------------------------------------------------------------------------------------


class Capacity(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What an agent can hold; in heartbeats only ``current_sessions``."""

    max_sessions: int | None = None
    max_cpu: float | None = None
    max_memory: float | None = None
    current_sessions: int | None = None


class HeldSession(msgspec.Struct, kw_only=True):
    """One line of a registering agent's inventory."""

    session_id: str
    generation: int = 1
    state: str = "running"
    result: dict[str, Any] = {}
    """As in the result of ``start_session``, so that a broker which missed it catches up."""


class SessionLoad(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What one session uses: percent of one core, bytes; ``active_at`` is the last input seen, epoch seconds."""

    session_id: str
    cpu: float | None = None
    memory: int | None = None
    active_at: float | None = None


class AgentLoad(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What the machine uses, in percent, and each session on it."""

    cpu: float | None = None
    memory: float | None = None
    sessions: list[SessionLoad] = []


class Register(msgspec.Struct, tag="register", tag_field="type", kw_only=True):
    """First message of a connection. ``sessions`` None: an agent without inventory; what it runs is not reconciled."""

    agent_id: str
    platform: str
    region: str | None = None
    capacity: Capacity = msgspec.field(default_factory=Capacity)
    metadata: dict[str, Any] = {}
    protocol_version: int = 1
    instance_id: str = ""
    capabilities: list[str] | None = None
    """Verbs beyond start and stop: ``hibernate``, ``logs``, ``vnc``, ``thumbnail``, ``load``. None: all of the seed."""
    sessions: list[HeldSession] | None = None
    attached: list[dict[str, Any]] = []
    """Platform ``attach``: the targets of the agent's own configuration, ``{name, title}``; each may be started."""


class Heartbeat(msgspec.Struct, tag="heartbeat", tag_field="type", kw_only=True):
    """Every 10 s."""

    agent_id: str
    timestamp: str = ""
    capacity: Capacity = msgspec.field(default_factory=Capacity)
    load: AgentLoad | None = None


class CommandAck(msgspec.Struct, tag="command_ack", tag_field="type", kw_only=True):
    """The command arrived and is in the agent's journal."""

    command_id: str
    agent_id: str = ""
    status: str = "acknowledged"


class CommandResult(msgspec.Struct, tag="command_result", tag_field="type", kw_only=True, omit_defaults=True):
    """How a command ended; repeated, oldest first and one at a time, until ``result_ack``.

    ``result`` of a start: session_id, pod_ip, pod_name, vnc_port, container_id, started_at (RFC 3339), generation,
    limits, platform_metadata.
    """

    command_id: str
    status: Literal["completed", "failed"]
    agent_id: str = ""
    result: dict[str, Any] = {}
    error: str = ""
    error_code: str = ""


class SessionEvent(msgspec.Struct, tag="session_event", tag_field="type", kw_only=True, omit_defaults=True):
    """Something happened to a session without a command: its program ended, it ran out of memory, somebody used it."""

    session_id: str
    event: SessionEventName
    generation: int = 1
    message: str = ""
    code: str = ""
    at: float | None = None


class LogsData(msgspec.Struct, tag="logs_data", tag_field="type", kw_only=True):
    """Lines of a session's log, each ``<RFC 3339 UTC> <text>``; ``eof`` when no more will come for this request."""

    request_id: str
    lines: list[str] = []
    eof: bool = False
    error: str = ""


class ProgramsReport(msgspec.Struct, tag="programs_report", tag_field="type", kw_only=True):
    """Which of the programs asked for are not on this machine."""

    missing: list[str] = []


class ThumbnailData(msgspec.Struct, tag="thumbnail_data", tag_field="type", kw_only=True, omit_defaults=True):
    """A picture asked for, JPEG in base64; ``error`` where there is none."""

    request_id: str
    session_id: str
    jpeg: str = ""
    width: int = 0
    height: int = 0
    error: str = ""


class VncProxyError(msgspec.Struct, tag="vnc_proxy_error", tag_field="type", kw_only=True):
    """The agent cannot open the desktop: ``VNC_CONNECT_FAILED``, ``VNC_NOT_FOUND``, ``VNC_HIBERNATED``."""

    proxy_id: str
    session_id: str
    error: str
    error_code: str = "VNC_CONNECT_FAILED"


FromAgent = (
    Register | Heartbeat | CommandAck | CommandResult | SessionEvent | LogsData | ProgramsReport | ThumbnailData
    | VncProxyError
)  # fmt: skip


# Broker → agent ---------------------------------------------------------------------------------------------------


class RegisterAck(msgspec.Struct, tag="register_ack", tag_field="type", kw_only=True, omit_defaults=True):
    """``status`` ``registered`` or, for an agent that is not the leader, ``standby``."""

    agent_id: str
    status: Literal["registered", "standby"]
    heartbeat_interval: str = msgspec.field(default_factory=lambda: HEARTBEAT_INTERVAL)
    epoch: int = 0
    """Grows with each registration of this agent."""
    max_inflight: int = 0
    server_time: str = ""
    stop: list[str] = []
    """Sessions of the inventory that this agent must end: they are gone, or were begun anew elsewhere."""


class Command(msgspec.Struct, tag="command", tag_field="type", kw_only=True, omit_defaults=True):
    """One thing to do; a repeated ``command_id`` is the same thing.

    ``data`` of a start: name, namespace, user, template, image, resources, vnc {port, resolution, color_depth},
    persistent_home, environment and, of ours: command (argument list), hibernate (freeze | stop), generation.
    Of hibernate and wake: name, namespace, generation; wake of a session that was never started carries all of start.
    Of stop: name, namespace, graceful, timeout ("30s"), delete_home.
    """

    command_id: str
    command_type: CommandType
    session_id: str
    data: dict[str, Any] = {}
    attempt: int = 0
    generation: int = 0


class ResultAck(msgspec.Struct, tag="result_ack", tag_field="type", kw_only=True):
    """The result is durable with the broker; the agent need not repeat it."""

    command_id: str


class VncProxyRequest(msgspec.Struct, tag="vnc_proxy_request", tag_field="type", kw_only=True):
    """Open the desktop and dial back.

    ``data``: pod_name, namespace, vnc_port and, of ours: tunnel_url, tunnel_token (single use, 15 s), mode.
    """

    session_id: str
    proxy_id: str
    data: dict[str, Any] = {}


class LogsRequest(msgspec.Struct, tag="logs_request", tag_field="type", kw_only=True):
    """``data``: tail (lines), follow. Answered by one or more ``logs_data``."""

    request_id: str
    session_id: str
    data: dict[str, Any] = {}


class LogsCancel(msgspec.Struct, tag="logs_cancel", tag_field="type", kw_only=True):
    """Nobody follows this request any more."""

    request_id: str


class ThumbnailRequest(msgspec.Struct, tag="thumbnail_request", tag_field="type", kw_only=True):
    """A picture of a running desktop, at most ``width`` pixels wide."""

    request_id: str
    session_id: str
    width: int = 320


class ProgramsRequest(msgspec.Struct, tag="programs_request", tag_field="type", kw_only=True):
    """Which of these programs are not on the agent's machine? Sent after registering and when templates change."""

    programs: list[str]


ToAgent = (
    RegisterAck | Command | ResultAck | VncProxyRequest | LogsRequest | LogsCancel | ThumbnailRequest | ProgramsRequest
)

_encode = msgspec.json.encode
_FROM_AGENT = msgspec.json.Decoder(FromAgent)
_TO_AGENT = msgspec.json.Decoder(ToAgent)
_KIND = msgspec.json.Decoder(dict[str, Any])
_UNREADABLE = (msgspec.DecodeError, UnicodeError, RecursionError)
"""What a decoder raises: text that is none stands within a document, and one may be nested deeper than a stack."""
_FROM_TYPES = frozenset(
    ("register", "heartbeat", "command_ack", "command_result", "session_event", "logs_data", "programs_report",
     "thumbnail_data", "vnc_proxy_error")
)  # fmt: skip
_TO_TYPES = frozenset(
    ("register_ack", "command", "result_ack", "vnc_proxy_request", "logs_request", "logs_cancel", "thumbnail_request",
     "programs_request")
)  # fmt: skip


class UnknownType(Exception):
    """A message of a type this side does not know; to be counted and ignored."""


class BadMessage(Exception):
    """A frame that is no message: not JSON, not an object, or a known type with fields that do not fit."""


def encode(message: FromAgent | ToAgent) -> str:
    """One text frame."""
    return _encode(message).decode()


def from_agent(frame: str | bytes) -> FromAgent:
    """Decode what an agent sent; a field that is null counts as left out. Raises ``UnknownType`` and ``BadMessage``."""
    try:
        message: FromAgent = _FROM_AGENT.decode(frame)
    except _UNREADABLE as error:
        message = _again(frame, _FROM_TYPES, error, FromAgent)
    return message


def to_agent(frame: str | bytes) -> ToAgent:
    """Decode what a broker sent, as ``from_agent``."""
    try:
        message: ToAgent = _TO_AGENT.decode(frame)
    except _UNREADABLE as error:
        message = _again(frame, _TO_TYPES, error, ToAgent)
    return message


def _again(frame: str | bytes, known: frozenset[str], error: Exception, wanted: Any) -> Any:
    """A second look at what was no message: many a program writes null for a map or a text that it has not."""
    try:
        document = _KIND.decode(frame)
        said_kind = document.get("type")
        kind = said_kind if isinstance(said_kind, str) else ""  # a list cannot even be looked up
        if kind in known and None in document.values():
            said = {name: value for name, value in document.items() if value is not None}
            return msgspec.convert(said, wanted)
    except _UNREADABLE as again:
        raise BadMessage(str(again)) from error
    if kind in known:
        raise BadMessage(str(error)) from error
    raise UnknownType(kind) from error
