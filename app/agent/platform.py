"""What an agent runs sessions on: the interface that ``local``, ``attach`` and ``docker`` implement.

Owned by the agent's core (``main``, ``executor``, ``tunnel``), which knows nothing of processes or containers. Serves
the StreamSpace document (seed 001, "WebSocket Protocol"): each verb of a command is one method here. Methods are level
triggered and idempotent: what is already so succeeds, since a broker may ask again after a fault.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Protocol

from app.agent_protocol import AgentLoad, Capacity, HeldSession, SessionEvent


class AgentFailure(Exception):
    """A command, view or question that cannot be answered; goes to the broker as ``error`` and ``error_code``."""

    def __init__(self, message: str, code: str = "SESSION_PROVISIONING_FAILED") -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class FailureCode:
    """Codes of ``AgentFailure``; those of the StreamSpace document, and ours where it has none."""

    PROVISIONING = "SESSION_PROVISIONING_FAILED"
    NO_SESSION = "SESSION_NOT_FOUND"
    RESOURCES = "INSUFFICIENT_RESOURCES"
    CAPACITY = "AGENT_CAPACITY_EXCEEDED"
    TEMPLATE = "TEMPLATE_INVALID"
    PROGRAM = "PROGRAM_MISSING"
    HOME_IN_USE = "HOME_IN_USE"
    UNSUPPORTED = "UNSUPPORTED"
    TIMEOUT = "TIMEOUT"
    INTERNAL = "INTERNAL"
    INTERRUPTED = "INTERRUPTED"
    VNC_CONNECT = "VNC_CONNECT_FAILED"
    VNC_NOT_FOUND = "VNC_NOT_FOUND"
    VNC_HIBERNATED = "VNC_HIBERNATED"


@dataclass(frozen=True)
class UnixAddress:
    """A socket file on which an RFB server listens."""

    path: str
    exposed: bool = False
    """Others may write to its folder, as a container does: what they put there in its place is not followed."""


@dataclass(frozen=True)
class TcpAddress:
    """An RFB server on a host; only from the agent's own configuration, never from a broker's message."""

    host: str
    port: int


RfbAddress = UnixAddress | TcpAddress
EventListener = Callable[[SessionEvent], None]
"""Called on the agent's loop; must not block."""


class Platform(Protocol):
    """One way of running sessions. All methods are called on the agent's loop.

    The caller runs commands of one session one after another, of different sessions at once, and never more than
    ``max_sessions`` that occupy a slot. Failures are ``AgentFailure``; anything else counts as a bug and is logged.
    """

    name: str
    """``local``, ``attach`` or ``docker``: the ``platform`` of ``register``."""
    capabilities: list[str]
    """Verbs beyond start and stop: ``hibernate``, ``logs``, ``vnc``, ``thumbnail``, ``load``."""
    metadata: dict[str, Any]
    """For ``register``: ``limits`` (systemd | cgroup2 | cgroup1 | engine | soft) and what else describes the place."""
    attached: list[dict[str, Any]]
    """For ``register``: targets that an ``attach`` agent offers; empty elsewhere."""
    on_event: EventListener
    """Set by the caller before ``start``."""

    async def start(self) -> None:
        """Get ready and adopt what runs already. Raises ``AgentFailure`` when this place can run nothing at all."""

    async def stop(self, *, end_sessions: bool = False) -> None:
        """Let go. Sessions live on unless they shall end; nothing of this process is left behind."""

    def capacity(self) -> Capacity:
        """What fits here when nobody says otherwise; without ``current_sessions``."""

    async def run(self, session_id: str, data: dict[str, Any], generation: int) -> dict[str, Any]:
        """Start a session, or find it running; returns the result fields of ``start_session``.

        A session of an older generation is ended first; one of a newer generation is a failure.
        """

    async def hibernate(self, session_id: str) -> dict[str, Any]:
        """Freeze or stop a session so that ``wake`` brings it back; returns further result fields."""

    async def wake(self, session_id: str, data: dict[str, Any], generation: int) -> dict[str, Any]:
        """Bring a session back, or start it when ``data`` carries all of a start; returns result fields as ``run``."""

    async def end(self, session_id: str, *, graceful: bool, timeout: float, delete_home: bool) -> dict[str, Any]:
        """End a session; one that is unknown is ended already."""

    def held(self) -> list[HeldSession]:
        """Every session here, with its state and the result of its start."""

    async def load(self) -> AgentLoad:
        """What the machine and each session use now."""

    async def rfb_address(self, session_id: str) -> RfbAddress:
        """Where the desktop is served. Raises ``VNC_NOT_FOUND`` and ``VNC_HIBERNATED``."""

    def picture_refused(self, session_id: str) -> str:
        """Why nobody may try to take a picture of a session; empty where one may."""

    async def logs(self, session_id: str, tail: int) -> list[str]:
        """The last lines of a session's log, each ``<RFC 3339 UTC> <text>``, also just after its end."""

    def follow(self, session_id: str, tail: int) -> AsyncIterator[list[str]]:
        """The last ``tail`` lines, then further ones as they come, until the session has ended."""

    def missing(self, programs: list[str]) -> list[str]:
        """Which of these programs cannot be run here."""
