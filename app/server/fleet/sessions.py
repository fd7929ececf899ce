"""What people do with desktop sessions: create, hibernate, wake, terminate, delete, tag.

Called by the registry. A slot is taken before anything waits, a session and its first command are durable before the
answer, and what follows is told by ``outcomes.py``. Serves the StreamSpace document (seed 001, "Session Lifecycle").
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from app.contract import AgentRow, DesktopRow, TemplateRow
from app.errors import CallboardError, Conflict, Forbidden, Invalid
from app.logs import get_logger
from app.quantities import cpu_cores, duration_seconds, memory_bytes
from app.server.fleet import naming, orders, rules, schedule
from app.server.fleet.state import Edit, FleetState
from app.server.fleet.templates import Templates
from app.server.storage.fleet import CommandRow

log = get_logger("fleet")

ANSWER_WITHIN = 10.0
"""Seconds that a change of state waits for its agent before it answers with what is."""
MOST_TAGS = 50
LONGEST_TAG = 100
_NAMESPACE = "streamspace"


@dataclass(frozen=True)
class SessionWanted:
    """What a new session shall be; None where the template decides."""

    user: str
    template: str
    platform: str | None = None
    state: Literal["running", "hibernated"] = "running"
    resources: dict[str, str] = field(default_factory=dict)
    persistent_home: bool | None = None
    idle_timeout: str | None = None
    tags: list[str] = field(default_factory=list)
    agent_id: str | None = None


class _Turn:
    """Changes of state of one session come one after another, also those that wait for an agent."""

    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


class Sessions:
    """See the module's docstring."""

    def __init__(
        self,
        state: FleetState,
        templates: Templates,
        clock: Callable[[], float],
        *,
        answer_within: float = ANSWER_WITHIN,
    ) -> None:
        self._state = state
        self._templates = templates
        self._clock = clock
        self._answer_within = answer_within
        self._making: set[tuple[str, str]] = set()
        self._turns: dict[str, _Turn] = {}

    # Creating.

    async def create(self, wanted: SessionWanted, by: str) -> DesktopRow:
        """A new session; its agent is chosen when this returns, its start under way.

        Raises ``NotFound`` (``template_not_found``, ``agent_not_found``), ``Invalid`` (``template_invalid``,
        ``validation_failed``), ``Conflict`` (``session_already_exists``), ``Unavailable`` (``no_agents_available``,
        ``agent_draining``, ``agent_capacity_exceeded``, ``agent_offline``, or the database).
        """
        template = self._templates.get(wanted.template)
        _check(wanted)
        platforms = schedule.wanted_platforms(template, wanted.platform)
        home = template.persistent_home if wanted.persistent_home is None else wanted.persistent_home
        key = (wanted.user, wanted.template)
        if home:
            self._no_other(key)
        agent = self._place(wanted, template, platforms)
        row = self._row(wanted, template, agent, home)
        commands = self._begin(row, template)
        if home:
            self._making.add(key)
        try:
            await self._state.add_desktop(row, commands, slot=row.state == "pending")
        finally:
            self._making.discard(key)
        log.info("session created", session=row.name, agent=agent.id, by=by)
        return row

    def _no_other(self, key: tuple[str, str]) -> None:
        taken = key in self._making or any(
            row.persistent_home and row.state != "terminated" and (row.user, row.template) == key
            for row in self._state.desktops.values()
        )
        if taken:
            user, template = key
            text = f"'{user}' has a session of template '{template}' with a persistent home already"
            raise Conflict(text, code="session_already_exists")

    def _place(self, wanted: SessionWanted, template: TemplateRow, platforms: tuple[str, ...]) -> AgentRow:
        state, slots = self._state, 1 if wanted.state == "running" else 0
        if wanted.agent_id is None:
            return schedule.choose(state.agents.values(), state.used, template, platforms, slots=slots)
        agent = state.agents.get(wanted.agent_id)
        if wanted.platform is None and agent is not None:
            platforms = schedule.wanted_platforms(template, agent.platform)
        used = state.used[wanted.agent_id] if slots else -1
        return schedule.check(agent, wanted.agent_id, used, template, platforms)

    def _row(self, wanted: SessionWanted, template: TemplateRow, agent: AgentRow, home: bool) -> DesktopRow:
        now = self._clock()
        state: Literal["pending", "hibernated"] = "pending" if wanted.state == "running" else "hibernated"
        defaults = {name: text for name, text in template.default_resources.items() if name in ("memory", "cpu")}
        return DesktopRow(
            id=str(uuid.uuid4()),
            name=naming.session_name(wanted.user, wanted.template, self._state.names),
            namespace=_NAMESPACE,
            user=wanted.user,
            template=wanted.template,
            platform=agent.platform,
            agent_id=agent.id,
            state=state,
            phase=rules.PHASES[state],
            message=rules.MESSAGES[state] if state == "pending" else "Session waits for its first start",
            resources={**defaults, **wanted.resources},
            persistent_home=home,
            idle_timeout=template.idle_timeout if wanted.idle_timeout is None else wanted.idle_timeout,
            tags=list(dict.fromkeys(wanted.tags)),
            created_at=now,
            updated_at=now,
        )

    def _begin(self, row: DesktopRow, template: TemplateRow) -> tuple[CommandRow, ...]:
        if row.state != "pending":
            return ()
        return (self._command(row, "start_session", orders.start(row, template)),)

    # Changing.

    async def change_state(self, session_id: str, wanted: str, *, by: str, admin: bool) -> DesktopRow:
        """Hibernate, wake, terminate or end by force; waits a while for the agent's result.

        Raises what ``rules.act_for`` raises, ``NotFound``, ``Unavailable`` (``agent_offline``,
        ``agent_capacity_exceeded``) and ``CallboardError`` (``provisioning_failed``) with the agent's error.
        """
        self._state.desktop(session_id)
        turn = self._turns.setdefault(session_id, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                return await self._change_state(session_id, wanted, by=by, admin=admin)
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[session_id]

    async def request(
        self, session_id: str, wanted: str, *, by: str, admin: bool, later: bool = False
    ) -> tuple[DesktopRow, str | None]:
        """As ``change_state`` without waiting: the row as it is now, and the command that will change it.

        ``later``: an end whose agent is away is kept for it, in place of ``agent_offline``.
        """
        command_id: str | None = None

        def decide(row: DesktopRow) -> Edit:
            nonlocal command_id
            current = self._state.commands.target(row.id, row.agent_id, row.state)
            act = rules.act_for(current, wanted, admin=admin)
            edit = self._terminate(row, act, later=later) if act in ("terminate", "force") else self._move(row, act)
            if act in ("hibernate", "wake"):
                command_id = edit.commands[-1].id
            return edit

        row = await self._state.change_desktop(session_id, decide)
        log.info("session changes", session=row.name, to=wanted, by=by)
        return row, command_id

    async def delete(self, session_id: str, *, force: bool, by: str, admin: bool) -> None:
        """End a session, by force at once, else also when its agent is back; one that has ended, or is ending, is fine.

        Raises as ``change_state``, without ``agent_offline``.
        """
        if force and not admin:
            raise Forbidden("Only an administrator ends a session by force", code="not_permitted")
        row = self._state.desktop(session_id)
        if row.state == "terminated" or (row.state == "terminating" and not force):
            return
        wanted = "terminated" if force else "terminating"
        try:
            await self.request(session_id, wanted, by=by, admin=admin, later=True)
        except (Conflict, Invalid):
            if self._state.desktop(session_id).state not in ("terminating", "terminated"):
                raise

    async def set_tags(self, session_id: str, tags: list[str], by: str) -> DesktopRow:
        """Replace a session's tags. Raises ``NotFound``, ``Invalid`` (``validation_failed``), ``Unavailable``."""
        _check_tags(tags)
        log.info("tags set", session=session_id, by=by)
        return await self._state.change_desktop(session_id, lambda _row: Edit({"tags": list(dict.fromkeys(tags))}))

    # Inside.

    async def _change_state(self, session_id: str, wanted: str, *, by: str, admin: bool) -> DesktopRow:
        row, command_id = await self.request(session_id, wanted, by=by, admin=admin)
        if command_id is None:
            return row
        ended = await self._state.commands.wait(command_id, self._answer_within)
        if ended is not None and ended.status in ("failed", "expired"):
            detail = {"agent_error": ended.error, "agent_error_code": ended.error_code}
            raise CallboardError(ended.error, code="provisioning_failed", detail=detail)
        return self._state.desktops.get(session_id, row)

    def _move(self, row: DesktopRow, act: str) -> Edit:
        """Hibernate or wake."""
        if row.started_at is None and act == "wake" and row.state == "hibernated":
            return self._first_start(row)
        agent = self._state.online(row.agent_id)
        if agent is None:
            raise schedule.offline(row.agent_id)
        if "hibernate" not in agent.capabilities:
            text = f"Agent '{agent.id}' cannot hibernate sessions"
            raise Invalid(text, code="invalid_state_transition")
        if act == "hibernate":
            command = self._command(row, "hibernate_session", orders.plain(row))
            return Edit({"phase": rules.HIBERNATING}, (command,))
        self._has_room(row, agent)
        template = self._templates.rows.get(row.template)
        data = orders.start(row, template) if template is not None else orders.plain(row)
        return Edit({"phase": rules.WAKING}, (self._command(row, "wake_session", data),))

    def _first_start(self, row: DesktopRow) -> Edit:
        """A session that was created hibernated begins now, on another agent where its own cannot take it."""
        template = self._templates.get(row.template)
        state = self._state
        platforms = (row.platform,)
        agent = state.online(row.agent_id)
        if agent is None or agent.status != "online" or state.used[agent.id] >= agent.max_sessions:
            agent = schedule.choose(state.agents.values(), state.used, template, platforms)
        fields: dict[str, Any] = {"agent_id": agent.id, "phase": rules.WAKING}
        data = orders.start(row, template)
        command = state.commands.make(agent.id, row.id, "start_session", data, row.generation)
        return Edit(fields, (command,))

    def _has_room(self, row: DesktopRow, agent: AgentRow) -> None:
        holds = row.state == "running" or self._state.commands.wakes(row.id, row.agent_id)
        if not holds and self._state.used[agent.id] >= agent.max_sessions:
            raise schedule.full(agent.id)

    def _terminate(self, row: DesktopRow, act: str, *, later: bool) -> Edit:
        """What its agent has not seen is taken back; what it has seen is stopped behind it, ``later`` if need be."""
        commands = self._state.commands
        unsent = commands.unsent(row.id, row.agent_id)
        back = tuple(commands.ended(each, "cancelled", error="the session was ended") for each in unsent)
        seen = row.started_at is not None or len(commands.of_session(row.id, row.agent_id)) > len(unsent)
        force = act == "force"
        now = self._clock()
        gone = {"state": "terminated", "phase": rules.PHASES["terminated"], "ended_at": now}
        gone |= {"message": rules.MESSAGES["terminated"], "load_cpu": None, "load_memory": None}
        if not seen:
            return Edit(gone, back)
        stop = self._command(row, "stop_session", orders.stop(row, graceful=not force))
        if force:
            return Edit({**gone, "message": "Session ended by force"}, (*back, stop))
        words = {"phase": rules.PHASES["terminating"], "message": rules.MESSAGES["terminating"]}
        if self._state.online(row.agent_id) is None:
            if not later:
                raise schedule.offline(row.agent_id)
            words["message"] = rules.ends_when_back(row.agent_id)
            if row.phase == rules.UNKNOWN:  # its agent has been away for longer than the grace
                words["phase"] = rules.UNKNOWN
        return Edit({"state": "terminating", **words}, (*back, stop))

    def _command(self, row: DesktopRow, kind: Any, data: dict[str, Any]) -> CommandRow:
        return self._state.commands.make(row.agent_id or "", row.id, kind, data, row.generation)


def _check(wanted: SessionWanted) -> None:
    if wanted.state not in ("running", "hibernated"):
        raise _invalid("state", "A session begins as running or hibernated")
    if not wanted.user.strip():
        raise _invalid("user", "user may not be empty")
    parse: dict[str, Callable[[str], object]] = {"memory": memory_bytes, "cpu": cpu_cores}
    for name, text in wanted.resources.items():
        if name not in parse:
            raise _invalid("resources", f"{name!r} is not a resource; resources are memory and cpu")
        _quantity(f"resources.{name}", parse[name], text)
    if wanted.idle_timeout is not None:
        _quantity("idle_timeout", duration_seconds, wanted.idle_timeout)
    _check_tags(wanted.tags)


def _check_tags(tags: list[str]) -> None:
    if len(tags) > MOST_TAGS or any(not tag.strip() or len(tag) > LONGEST_TAG or "," in tag for tag in tags):
        raise _invalid("tags", f"At most {MOST_TAGS} tags of 1 to {LONGEST_TAG} characters, without commas")


def _quantity(name: str, parse: Callable[[str], object], text: str) -> None:
    try:
        parse(text)
    except CallboardError as error:
        raise _invalid(name, error.message) from error


def _invalid(name: str, text: str) -> Invalid:
    return Invalid(text, code="validation_failed", detail={"field": name})
