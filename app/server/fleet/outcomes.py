"""What the end of a command, and what an agent tells of its own accord, make of a session.

Called by the roster, as ``registry.py`` wires it, and by ``reconcile.py``, ``failover.py`` and ``removal.py``. A
result is durable, with what it does to its session, before the agent hears that it need not repeat it; one that comes
again does nothing. Serves the StreamSpace document (seed 001, "Command Result").
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from app.agent_protocol import CommandResult, SessionEvent
from app.contract import DesktopRow, DesktopState
from app.errors import CallboardError, NotFound
from app.logs import get_logger
from app.server.fleet import bounds, orders, rules
from app.server.fleet.link import Finished
from app.server.fleet.state import Edit, FleetState
from app.server.storage.fleet import CommandRow

log = get_logger("fleet")

MOST_WORDS = 1000
"""Characters of an agent's error that are kept."""
_TEXTS = ("pod_ip", "pod_name", "container_id", "limits")
_DONE: dict[str, DesktopState] = {
    "start_session": "running",
    "wake_session": "running",
    "hibernate_session": "hibernated",
    "stop_session": "terminated",
}


class Outcomes:
    """See the module's docstring."""

    def __init__(self, state: FleetState, clock: Callable[[], float]) -> None:
        self._state = state
        self._clock = clock

    async def finished(self, effect: Finished) -> bool:
        """A command has ended; False when that could not be kept and is to be tried again."""
        row = self._state.commands.get(effect.command_id)
        if row is None:
            return True
        if effect.result is None:
            ended = self._state.commands.ended(row, "expired", error=effect.why, code=effect.code)
        else:
            ended = self._told(row, effect.result)
        return await self._keep(ended)

    async def late(self, agent_id: str, result: CommandResult) -> bool:
        """A result that its connection did not wait for; as ``finished``.

        It counts when the command is open, having gone out on another connection of the same agent, and when it was
        given up and nothing has happened to the session since.
        """
        commands = self._state.commands
        row = commands.get(result.command_id)
        if row is not None and row.agent_id == agent_id:
            return await self._keep(self._told(row, result))
        row = commands.expired(result.command_id)
        session_id = row.session_id if row is not None else result.result.get("session_id")
        desktop = self._state.desktops.get(session_id) if isinstance(session_id, str) else None
        if desktop is None:
            return True
        if desktop.agent_id != agent_id or desktop.state == "terminated":
            begun = row.command_type != "stop_session" if row is not None else "started_at" in result.result
            return result.status != "completed" or not begun or await self._stop_stray(agent_id, desktop)
        if row is None or commands.of_session(row.session_id, agent_id):
            return True
        return await self._keep(self._told(row, result))

    async def event(self, agent_id: str, event: SessionEvent) -> bool:
        """Something happened to a session without a command; as ``finished``."""
        row = self._state.desktops.get(event.session_id)
        if row is None or row.agent_id != agent_id or event.generation < row.generation:
            return True
        if event.event == "activity":
            at = self._clock() if event.at is None else min(event.at, self._clock())
            if at > (row.last_activity or 0.0):
                self._state.beat_desktop(row.id, last_activity=at)
            return True
        try:
            await self._state.change_desktop(event.session_id, lambda known: self._event(known, event))
        except NotFound:  # purged meanwhile
            return True
        except CallboardError as error:
            log.error("what an agent told is not kept yet", session=row.name, told=event.event, why=error.message)
            return False
        return True

    # Results.

    async def _stop_stray(self, agent_id: str, row: DesktopRow) -> bool:
        """An agent began a session that has ended, or is elsewhere: it must not run on there."""
        opened = self._state.commands.of_session(row.id, agent_id)
        if any(each.command_type == "stop_session" for each in opened):
            return True
        data = {**orders.stop(row, graceful=False), "delete_home": False}
        stop = self._state.commands.make(agent_id, row.id, "stop_session", data, row.generation)
        try:
            await self._state.keep_commands(row.id, (stop,))
        except CallboardError as error:
            return _not_kept(stop, error)
        return True

    def _told(self, row: CommandRow, result: CommandResult) -> CommandRow:
        error, code = result.error[:MOST_WORDS], result.error_code[:100]
        if result.status == "failed" and not error:
            error = "the agent gave no reason"
        return self._state.commands.ended(
            row, result.status, error=error, code=code, result=bounds.result_within(result.result)
        )

    async def _keep(self, ended: CommandRow) -> bool:
        try:
            await self._state.change_desktop(ended.session_id, lambda row: self._edit(row, ended))
        except NotFound:  # purged meanwhile
            try:
                await self._state.keep_commands(ended.session_id, (ended,))
            except CallboardError as error:
                return _not_kept(ended, error)
        except CallboardError as error:
            return _not_kept(ended, error)
        return True

    def _edit(self, row: DesktopRow, ended: CommandRow) -> Edit:
        if ended.agent_id != row.agent_id or ended.generation != row.generation:
            return Edit(commands=(ended,))
        if ended.status == "completed":
            return Edit(self._completed(row, ended), (ended,))
        return self._failed(row, ended)

    def _completed(self, row: DesktopRow, ended: CommandRow) -> dict[str, Any]:
        now = self._clock()
        fields = _result_fields(ended.result) if ended.command_type in ("start_session", "wake_session") else {}
        if "started_at" in fields or ended.command_type == "start_session":
            fields.setdefault("started_at", now)
        state = _DONE[ended.command_type]
        if row.state == "terminated" or (row.state == "terminating") != (state == "terminated"):
            return fields
        fields |= {"state": state, "phase": rules.PHASES[state], "message": rules.MESSAGES[state], "error_code": ""}
        if state == "running":
            fields["last_activity"] = now
        elif state == "terminated":
            fields["ended_at"] = now
        if state != "running":
            fields |= {"load_cpu": None, "load_memory": None}
        later = self._state.commands.of_session(row.id, row.agent_id)
        if any(each.command_type == "hibernate_session" and each.id != ended.id for each in later):
            fields["phase"] = rules.HIBERNATING
        elif any(each.command_type == "wake_session" and each.id != ended.id for each in later):
            fields["phase"] = rules.WAKING
        return fields

    def _failed(self, row: DesktopRow, ended: CommandRow) -> Edit:
        kind = ended.command_type
        error = {"message": ended.error, "error_code": ended.error_code}
        if kind == "stop_session":
            return self._stop_failed(row, ended)
        if kind == "start_session" and row.state == "pending":
            now = self._clock()
            dead = {**error, "state": "terminated", "phase": rules.FAILED, "ended_at": now}
            clean = (self._stop(row),) if ended.status == "expired" else ()
            return Edit(dead, (ended, *clean))
        if row.state in ("running", "hibernated"):
            perhaps = {"started_at": self._clock()} if kind == "start_session" and ended.status == "expired" else {}
            return Edit({**error, **perhaps, "phase": rules.PHASES[row.state]}, (ended,))
        return Edit(commands=(ended,))

    def _stop_failed(self, row: DesktopRow, ended: CommandRow) -> Edit:
        """Asked nicely without success, it is forced; forced without success, the agent is left with it."""
        if row.state != "terminating":
            return Edit(commands=(ended,))
        if ended.data.get("graceful"):
            return Edit({"message": f"{ended.error}; ending it by force"}, (ended, self._stop(row)))
        dead = {"state": "terminated", "phase": rules.FAILED, "ended_at": self._clock(), "error_code": ended.error_code}
        return Edit({**dead, "message": f"its agent did not confirm the end: {ended.error}"}, (ended,))

    def _stop(self, row: DesktopRow) -> CommandRow:
        data = orders.stop(row, graceful=False)
        return self._state.commands.make(row.agent_id or "", row.id, "stop_session", data, row.generation)

    # Events.

    def _event(self, row: DesktopRow, event: SessionEvent) -> Edit | None:
        message = event.message[:MOST_WORDS]
        if row.state not in ("running", "hibernated"):
            return None
        if event.event == "exited":
            return self._exited(row, message, event.code)
        if event.event == "oom":
            return Edit({"message": message or "Out of memory", "error_code": event.code or "OUT_OF_MEMORY"})
        if event.event == "state":
            return self._said(row, event.code or message)
        return None

    def _exited(self, row: DesktopRow, message: str, code: str) -> Edit:
        cancelled = tuple(
            self._state.commands.ended(each, "cancelled", error="the session has ended")
            for each in self._state.commands.of_session(row.id, row.agent_id)
        )
        return Edit(ended_fields(self._clock(), message or "The program ended", code), cancelled)

    def _said(self, row: DesktopRow, state: str) -> Edit | None:
        """An agent says what a session is; what a command will make of it counts more."""
        if (
            state == row.state
            or state not in ("running", "hibernated")
            or self._state.commands.of_session(row.id, row.agent_id)
        ):
            return None
        known: DesktopState = "running" if state == "running" else "hibernated"
        return Edit(told_fields(row, known, {}, self._clock()))


def ended_fields(now: float, message: str, code: str = "", phase: str = rules.PHASES["terminated"]) -> dict[str, Any]:
    """What becomes of the row of a session that ended by itself."""
    gone = {"state": "terminated", "phase": phase, "ended_at": now, "load_cpu": None, "load_memory": None}
    return {**gone, "message": message, "error_code": code[:100]}


def told_fields(row: DesktopRow, state: DesktopState, result: dict[str, Any], now: float) -> dict[str, Any]:
    """What becomes of a row whose agent holds it in another state; ``result`` as of a start that was missed."""
    fields = _result_fields(result)
    fields["started_at"] = row.started_at or fields.get("started_at") or now
    return {**fields, "state": state, "phase": rules.PHASES[state], "message": rules.MESSAGES[state], "error_code": ""}


def _result_fields(result: dict[str, Any]) -> dict[str, Any]:
    """What an agent says of a session that it started; what does not fit is passed over."""
    fields: dict[str, Any] = {
        name: result[name][:500] for name in _TEXTS if isinstance(result.get(name), str) and result[name]
    }
    port = result.get("vnc_port")
    if type(port) is int and 0 < port <= 65535:
        fields["vnc_port"] = port
    metadata = result.get("platform_metadata")
    if isinstance(metadata, dict) and bounds.fits(metadata, bounds.MOST_RESULT):
        fields["platform_metadata"] = metadata
    started = result.get("started_at")
    if isinstance(started, str):
        try:
            at = datetime.fromisoformat(started)
            fields["started_at"] = (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            log.debug("an agent's time is none", started_at=started[:100])
    return fields


def _not_kept(ended: CommandRow, error: CallboardError) -> bool:
    log.error("a command's end is not kept yet", command=ended.id, status=ended.status, why=error.message)
    return False
