"""Sessions: create, list, details, changes of state, deletion, logs (seed 001, "Session Lifecycle").

Administrators see and do everything; users only what is theirs: lists are narrowed without a word, anything else of
somebody else's is a 403. Built into the application by ``application.py``, which has the logs' WebSocket too.
"""

from __future__ import annotations

from app.agent_protocol import LOG_LINES
from app.contract import DesktopRow
from app.errors import Forbidden, Invalid, NotFound
from app.server.access.principal import Principal
from app.server.audit import Act
from app.server.dialects.streamspace import answers, rows, wire
from app.server.dialects.streamspace.errors import Json
from app.server.dialects.streamspace.listing import Kept, listed, page_of
from app.server.dialects.streamspace.operations import Call, Operation, answer, nothing
from app.server.dialects.streamspace.services import StreamSpaceServices
from app.server.fleet.registry import SessionWanted

TAG = "Sessions"
VERBS = {"hibernated": "hibernate", "running": "wake", "terminating": "terminate", "terminated": "force"}
_ONE = "/api/v1/sessions/{session_id}"


class Sessions:
    """One method per operation."""

    def __init__(self, services: StreamSpaceServices) -> None:
        self._fleet = services.fleet
        self._users = services.users
        self._audit = services.audit
        self._kept: Kept[DesktopRow] = Kept(services.events, "desktop", rows.session)

    def operations(self) -> list[Operation]:
        """What is served and described."""
        base = "/api/v1/sessions"
        return [
            Operation(
                "POST", base, self.create_session, TAG, answers.SessionCreated, (400, 409, 503), good=202, body=wire.CreateSession
            ),
            Operation("GET", base, self.list_sessions, TAG, answers.SessionList, (400,), query=wire.SessionQuery),
            Operation("GET", _ONE, self.get_session, TAG, answers.SessionDetails, (404,)),
            Operation(
                "PATCH", _ONE, self.change_session, TAG, answers.SessionChanged, (400, 404, 409, 500, 503),
                body=wire.ChangeSession,
            ),
            Operation("DELETE", _ONE, self.delete_session, TAG, None, (400, 404, 409, 503), good=204, query=wire.DeleteQuery),
            Operation("GET", f"{_ONE}/logs", self.session_logs, TAG, answers.Logs, (400, 404, 503), query=wire.LogQuery),
        ]  # fmt: skip

    async def create_session(self, call: Call, body: wire.CreateSession) -> Json:
        """Begin a session. It is pending in the answer; its agent is chosen already."""
        caller = call.caller
        if not caller.is_admin and body.user != caller.username:
            raise Forbidden("Users create sessions for themselves", code="not_permitted")
        if not caller.is_admin and body.platform == "attach":
            raise Forbidden("Attached machines are somebody's: administrators give them out", code="not_permitted")
        user = self._users.get(body.user)
        if user is None or not user.active:
            message = f"User '{body.user}' does not exist" if user is None else f"User '{body.user}' is not active"
            raise Invalid(message, code="validation_failed", detail={"field": "user"})
        wanted = self._wanted(body)
        async with self._act(caller, "create", "") as act:
            act.after = {"user": body.user, "template": body.template}
            try:
                row = await self._fleet.create(wanted, caller.username)
            except NotFound as error:
                if error.code != "template_not_found":
                    raise
                raise _no_template(body.template) from error
            act.object_id, act.after = row.id, row
        return answer(rows.session_created(row), 202)

    async def list_sessions(self, call: Call, query: wire.SessionQuery) -> Json:
        """Sessions, also ended ones until they are purged; newest first unless asked otherwise."""
        caller = call.caller
        user = query.user
        if not caller.is_admin:
            if user and user != caller.username:
                raise Forbidden("Users list their own sessions", code="not_permitted")
            user = caller.username
        tags = [tag for tag in (query.tags or "").split(",") if tag]
        found = [
            row
            for row in self._fleet.desktops.values()
            if (not user or row.user == user)
            and (not query.state or row.state == query.state)
            and (not query.template or row.template == query.template)
            and (not query.platform or row.platform == query.platform)
            and (not query.agent_id or row.agent_id == query.agent_id)
            and all(tag in row.tags for tag in tags)
        ]
        found.sort(key=lambda row: row.id)
        found.sort(key=lambda row: getattr(row, query.sort), reverse=query.order == "desc")
        return listed("sessions", [self._kept.of(row) for row in page_of(found, query)], query, len(found))

    async def get_session(self, call: Call) -> Json:
        """One session, in full; an ended one until it is purged."""
        return answer(rows.session_details(self.known(call.caller, call.ids["session_id"])))

    async def change_session(self, call: Call, body: wire.ChangeSession) -> Json:
        """Hibernate, wake or end a session; or change its tags, which is Callboard's own.

        The answer waits up to 10 s for the agent; if the work goes on longer it has the state as it is.
        """
        caller = call.caller
        row = self.known(caller, call.ids["session_id"])
        if body.state is None and body.tags is None:
            raise Invalid("Field 'state' is required", code="missing_required_field", detail={"field": "state"})
        if body.state is not None:  # first: where it is refused nothing has changed
            async with self._act(caller, VERBS.get(body.state, "change"), row.id) as act:
                act.before = {"state": row.state}
                row = await self._fleet.change_state(row.id, body.state, by=caller.username, admin=caller.is_admin)
                act.after = {"state": row.state}
        if body.tags is not None:
            async with self._act(caller, "tag", row.id) as act:
                act.before = {"tags": row.tags}
                row = await self._fleet.set_tags(row.id, body.tags, caller.username)
                act.after = {"tags": row.tags}
        return answer(rows.session_changed(row, tags=body.tags is not None))

    async def delete_session(self, call: Call, query: wire.DeleteQuery) -> Json:
        """End a session: gracefully, or with `force` (administrators) at once. Doing it again changes nothing.

        Where its agent is offline the session is `terminating` until the agent is back and has ended it.
        """
        caller = call.caller
        row = self.known(caller, call.ids["session_id"])
        if query.force and not caller.is_admin:
            raise Forbidden("Only administrators force an end", code="not_permitted")
        async with self._act(caller, "force" if query.force else "terminate", row.id) as act:
            act.before = {"state": row.state}
            await self._fleet.delete(row.id, force=query.force, by=caller.username, admin=caller.is_admin)
        return nothing()

    async def session_logs(self, call: Call, query: wire.LogQuery) -> Json:
        """The last lines of a session's log. With `follow`, over a WebSocket: one text frame for each line."""
        row = self.known(call.caller, call.ids["session_id"])
        if query.follow:
            message = "Following a log needs a WebSocket upgrade"
            raise Invalid(message, code="invalid_parameter", detail={"field": "follow"})
        lines = await self._fleet.logs(row.id, min(query.tail, LOG_LINES))
        return answer({"logs": lines if query.timestamps else [without_timestamp(line) for line in lines]})

    def known(self, caller: Principal, session_id: str) -> DesktopRow:
        """A session that the caller may see; raises ``NotFound`` and ``Forbidden``."""
        row = self._fleet.desktops.get(session_id) or self._fleet.desktops.get(session_id.lower())
        if row is None:
            raise NotFound(f"No session with ID '{session_id}' exists", code="session_not_found")
        if not caller.is_admin and row.user != caller.username:
            raise Forbidden("This session is somebody else's", code="not_permitted")
        return row

    def _wanted(self, body: wire.CreateSession) -> SessionWanted:
        """What the fleet is asked for; what is None the template decides."""
        if body.template not in self._fleet.templates:
            raise _no_template(body.template)
        timeout = body.idle_timeout or "0" if "idle_timeout" in body.model_fields_set else None
        return SessionWanted(
            user=body.user,
            template=body.template,
            platform=body.platform,
            state=body.state or "running",
            resources=body.resources.model_dump(exclude_none=True) if body.resources else {},
            persistent_home=body.persistent_home,
            idle_timeout=timeout,
            tags=body.tags or [],
            agent_id=body.agent_id,
        )

    def _act(self, caller: Principal, verb: str, session_id: str) -> Act:
        return self._audit.act(caller.username, verb, "desktop", session_id, dialect="streamspace")


def without_timestamp(line: str) -> str:
    """A line without the RFC 3339 time at its beginning, if it has one."""
    head, space, rest = line.partition(" ")
    return rest if space and len(head) >= 20 and head[:4].isdigit() and head[10] == "T" else line


def _no_template(name: str) -> Invalid:
    return Invalid(f"Template '{name}' does not exist", code="template_reference", detail={"field": "template"})
