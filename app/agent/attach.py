"""Platform ``attach``: VNC servers that run already, put onto the board under a name.

How a venue's macOS and Windows workstations get there. Run by the agent's core. The targets come from the agent's own
configuration alone; a command names one of them by the template it carries, and nothing else it carries is looked at.
Starting a session checks that the server greets, ending one forgets it: the server goes on either way. One session
holds one target; further people look in as its viewers. Serves the StreamSpace document (seed 001, "WebSocket
Protocol").
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import psutil

from app.agent.config import Target
from app.agent.greeting import security_types
from app.agent.platform import AgentFailure, FailureCode, RfbAddress, TcpAddress, UnixAddress
from app.agent.rfb import NO_SECURITY
from app.agent_protocol import AgentLoad, Capacity, HeldSession, SessionEvent
from app.logs import get_logger

log = get_logger("agent")

FILE = "attached.json"


class Attachment(msgspec.Struct, kw_only=True):
    """One session: which target it shows. ``security`` is what the server offered when it began."""

    session_id: str
    target: str
    generation: int
    started_at: str
    security: list[int]


class AttachPlatform:
    """See the module's docstring. ``state_dir`` keeps which sessions there are while no agent runs."""

    name = "attach"

    def __init__(self, targets: Sequence[Target], state_dir: Path) -> None:
        self.capabilities = ["vnc", "thumbnail", "load"]
        self.metadata: dict[str, Any] = {"targets": len(targets)}
        self.attached: list[dict[str, Any]] = [
            {"name": target.name, "title": target.title or target.name} for target in targets
        ]
        self.on_event: Callable[[SessionEvent], None] = _ignore
        self._targets = {target.name: target for target in targets}
        self._file = state_dir / FILE
        self._sessions: dict[str, Attachment] = {}

    async def start(self) -> None:
        """Adopt what was attached before, as far as it is still configured."""
        if not self._targets:
            raise AgentFailure("The configuration names no [[target]], so there is nothing to attach to.")
        try:
            known = msgspec.json.decode(self._file.read_bytes(), type=list[Attachment])
        except FileNotFoundError:
            known = []
        except (OSError, msgspec.DecodeError) as error:
            log.warning("what was attached before cannot be read", file=str(self._file), error=str(error))
            known = []
        self._sessions = {one.session_id: one for one in known if one.target in self._targets}
        psutil.cpu_percent(None)  # the first answer is of no use

    async def stop(self, *, end_sessions: bool = False) -> None:
        """Let go; the servers go on."""
        if end_sessions:
            self._sessions.clear()
            self._save()

    def capacity(self) -> Capacity:
        """A session for each target."""
        return Capacity(max_sessions=max(1, len(self._targets)))

    async def run(self, session_id: str, data: dict[str, Any], generation: int) -> dict[str, Any]:
        """Attach a session to the target that its template names, once that greets."""
        present = self._sessions.get(session_id)
        if present is not None and present.generation > generation:
            raise AgentFailure("a newer generation of this session is attached", FailureCode.INTERNAL)
        target = self._target(data)
        self._refuse_a_second(target, session_id)
        if present is not None and present.generation == generation and present.target == target.name:
            return self._result(present)
        taken = Attachment(
            session_id=session_id, target=target.name, generation=generation, started_at=_now(), security=[]
        )
        self._sessions[session_id] = taken  # before the first await: two starts of one target must not both pass
        try:
            taken.security = await security_types(_address(target), f"{target.title or target.name} ({target.place})")
            self._save()
        except BaseException:
            if self._sessions.get(session_id) is taken:
                del self._sessions[session_id]
            raise
        return self._result(taken)

    async def hibernate(self, session_id: str) -> dict[str, Any]:
        """Not offered: what was not started here cannot be frozen here."""
        raise AgentFailure("An attached desktop cannot be hibernated: it runs on its own.", FailureCode.UNSUPPORTED)

    async def wake(self, session_id: str, data: dict[str, Any], generation: int) -> dict[str, Any]:
        """A session that was reserved hibernated begins here; one that is attached is awake."""
        present = self._sessions.get(session_id)
        if present is not None and present.generation == generation:
            return self._result(present)
        return await self.run(session_id, data, generation)

    async def end(self, session_id: str, *, graceful: bool, timeout: float, delete_home: bool) -> dict[str, Any]:
        """Forget a session."""
        if self._sessions.pop(session_id, None) is not None:
            self._save()
        return {"session_id": session_id}

    def held(self) -> list[HeldSession]:
        """Every session that is attached."""
        return [
            HeldSession(session_id=one.session_id, generation=one.generation, result=self._result(one))
            for one in self._sessions.values()
        ]

    async def load(self) -> AgentLoad:
        """The load of the agent's own machine; what the servers use is theirs to know."""
        return AgentLoad(cpu=psutil.cpu_percent(None), memory=psutil.virtual_memory().percent)

    async def rfb_address(self, session_id: str) -> RfbAddress:
        """Where the target of a session is served."""
        return _address(self._targets[self._session(session_id).target])

    def picture_refused(self, session_id: str) -> str:
        """Why no picture is made of a session: a server with a password shuts out who keeps asking without it."""
        one = self._session(session_id)
        if NO_SECURITY in one.security:
            return ""
        return f"{one.target} asks for a password, so that only its viewers see it"

    async def logs(self, session_id: str, tail: int) -> list[str]:
        """Not offered: the log of a server elsewhere is not ours to read."""
        raise AgentFailure("An attached desktop has no log here.", FailureCode.UNSUPPORTED)

    async def follow(self, session_id: str, tail: int) -> AsyncIterator[list[str]]:
        """Not offered either."""
        for lines in [await self.logs(session_id, tail)]:
            yield lines

    def missing(self, programs: list[str]) -> list[str]:
        """Nothing is run here, so nothing is missed."""
        return []

    def _target(self, data: dict[str, Any]) -> Target:
        name = str(data.get("template", ""))
        target = self._targets.get(name)
        if target is None:
            known = ", ".join(sorted(self._targets))
            raise AgentFailure(f"This agent has no target {name!r}; it has {known}.", FailureCode.TEMPLATE)
        return target

    def _refuse_a_second(self, target: Target, session_id: str) -> None:
        for other in self._sessions.values():
            if other.target == target.name and other.session_id != session_id:
                raise AgentFailure(
                    f"{target.title or target.name} is on the board already, as session {other.session_id}",
                    FailureCode.CAPACITY,
                )

    def _session(self, session_id: str) -> Attachment:
        one = self._sessions.get(session_id)
        if one is None:
            raise AgentFailure(f"session {session_id} is not attached here", FailureCode.VNC_NOT_FOUND)
        return one

    def _result(self, one: Attachment) -> dict[str, Any]:
        target = self._targets[one.target]
        return {
            "session_id": one.session_id,
            "started_at": one.started_at,
            "generation": one.generation,
            "platform_metadata": {"target": target.name, "title": target.title, "security_types": one.security},
        } | ({} if target.unix else {"vnc_port": target.port})

    def _save(self) -> None:
        """Write the sessions down whole, so that a crash leaves the old list or the new one."""
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = self._file.with_suffix(".new")
            fresh.write_bytes(msgspec.json.encode(list(self._sessions.values())))
            os.replace(fresh, self._file)
        except OSError as error:
            raise AgentFailure(f"{self._file} cannot be written: {error.strerror}", FailureCode.INTERNAL) from error


def _address(target: Target) -> RfbAddress:
    return UnixAddress(target.unix) if target.unix else TcpAddress(target.host, target.port)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _ignore(event: SessionEvent) -> None:
    """Nothing happens to an attached session by itself."""
