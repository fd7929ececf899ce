"""Operations on the fleet that no published API offers: viewers, tickets, pictures, and whole agents at once.

Built into the application by ``application.py`` beside ``routes.py``, under the same token. The console kicks and looks
with these; everything else it does to desktops goes through the StreamSpace API like everybody's.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from app.contract import ViewerRow
from app.server.access.requests import operator_name
from app.server.audit import Act
from app.server.dialects.console.routes import NOBODY, answer
from app.server.dialects.console.services import Services
from app.server.dialects.console.strict import StrictRoute
from app.server.dialects.console.wire import ConsoleProblem, Strict

Reason = Annotated[str, Field(max_length=100)]
Width = Annotated[int, Query(ge=32, le=1920)]


class KickWanted(Strict):
    """Why; the viewer is told, with the operator's name."""

    reason: Reason = ""


class TicketWanted(Strict):
    """How to look."""

    mode: Literal["view", "control"]


class Kicked(BaseModel):
    """Whose view was closed."""

    id: str
    session_id: str
    user: str


class TicketMade(BaseModel):
    """What opens the viewer's WebSocket once, within 60 s; ``url`` is its path."""

    ticket: str
    url: str
    mode: Literal["view", "control"]


class BulkDone(BaseModel):
    """Sessions that the act was sent for, and why it was not for others."""

    done: list[str]
    refused: dict[str, str]


class AgentRemoved(BaseModel):
    """The agent that is gone, and the sessions that ended with it."""

    id: str
    ended: list[str]


class FleetOperations:
    """One method per operation."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def router(self) -> APIRouter:
        """Every route with its place in the documentation."""
        router = APIRouter(prefix="/console/v1", route_class=StrictRoute)
        tags: list[str | Enum] = ["Fleet"]
        missing = _problem(404, "There is no such object.")
        state = _problem(409, "Its state forbids that; or view-only cannot be enforced there.")
        away = _problem(503, "Its agent is offline.")
        add = router.add_api_route
        add("/viewers/{viewer_id}/kick", self.kick, methods=["POST"], tags=tags, response_model=Kicked,
            responses=missing)  # fmt: skip
        add("/desktops/{session_id}/kick-viewers", self.kick_all, methods=["POST"], tags=tags,
            response_model=list[Kicked], responses=missing)  # fmt: skip
        add("/desktops/{session_id}/ticket", self.ticket, methods=["POST"], status_code=201, tags=tags,
            response_model=TicketMade, responses=missing | state | away | _problem(501, "Nothing to look at there."))  # fmt: skip
        picture: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}}
        slow = _problem(504, "Its agent did not answer in time.") | _problem(502, "Its agent could not make one.")
        add("/desktops/{session_id}/thumbnail", self.thumbnail, tags=tags, response_class=Response,
            responses=picture | missing | state | away | slow | _problem(501, "Its agent makes no pictures."))  # fmt: skip
        for name, operation in (("hibernate-all", self.hibernate_all), ("terminate-all", self.terminate_all)):
            add(f"/agents/{{agent_id}}/{name}", operation, methods=["POST"], tags=tags, response_model=BulkDone,
                responses=missing)  # fmt: skip
        add("/agents/{agent_id}", self.remove, methods=["DELETE"], tags=tags, response_model=AgentRemoved,
            responses=missing | _problem(409, "It is connected."))  # fmt: skip
        return router

    async def kick(self, request: Request, viewer_id: str, body: KickWanted | None = None) -> Response:
        """Close one viewer. The session goes on; that user is refused there for a minute."""
        operator = operator_name(request.scope) or NOBODY
        async with self._act(request, "kick", "viewer", viewer_id) as act:
            row = self._services.viewers.kick(viewer_id, operator, body.reason if body is not None else "")
            act.before = _about(row)
        return answer(_about(row))

    async def kick_all(self, request: Request, session_id: str, body: KickWanted | None = None) -> Response:
        """Close every viewer of a session. The session goes on; users are refused there for a minute, the caller not."""
        operator = operator_name(request.scope) or NOBODY
        own = self._services.callers.caller(request.scope).username
        async with self._act(request, "kick viewers", "desktop", session_id) as act:
            self._services.fleet.desktop(session_id)
            reason = body.reason if body is not None else ""
            rows = self._services.viewers.kick_all(session_id, operator, reason, operator=own)
            act.before = {"viewers": [_about(row) for row in rows]}
        return answer([_about(row) for row in rows])

    async def ticket(self, request: Request, session_id: str, body: TicketWanted) -> Response:
        """A ticket for one viewer of one session, for 60 s. Only a look; controlling counts as the desktop's use."""
        services = self._services
        principal = services.callers.caller(request.scope)
        async with self._act(request, "view" if body.mode == "view" else "control", "desktop", session_id):
            desktop = services.viewers.admit(session_id, principal.username)
            shadow = body.mode == "view"
            if shadow:
                await services.viewers.check_view_only(desktop.id)
            ticket = services.tokens.issue_ticket(principal, desktop.id, body.mode, shadow=shadow)
        url = f"/vnc-viewer/{quote(desktop.id, safe='')}?token={ticket}"
        return answer({"ticket": ticket, "url": url, "mode": body.mode}, 201)

    async def thumbnail(self, session_id: str, width: Width = 320) -> Response:
        """A picture of a running desktop, a moment old at most."""
        made = await self._services.fleet.thumbnail(session_id, width)
        headers = {"cache-control": "no-store", "x-content-type-options": "nosniff", "x-taken-at": f"{made.at:.3f}"}
        return Response(made.jpeg, headers=headers, media_type="image/jpeg")

    async def hibernate_all(self, request: Request, agent_id: str) -> Response:
        """Hibernate every running session of an agent; their states tell how that goes."""
        operator = operator_name(request.scope) or NOBODY
        async with self._act(request, "hibernate all", "agent", agent_id) as act:
            bulk = await self._services.fleet.hibernate_all(agent_id, operator)
            act.after = {"done": bulk.done, "refused": bulk.refused}
        return answer({"done": bulk.done, "refused": bulk.refused})

    async def terminate_all(self, request: Request, agent_id: str) -> Response:
        """End every session of an agent, gracefully; their states tell how that goes."""
        operator = operator_name(request.scope) or NOBODY
        async with self._act(request, "terminate all", "agent", agent_id) as act:
            bulk = await self._services.fleet.terminate_all(agent_id, operator)
            act.after = {"done": bulk.done, "refused": bulk.refused}
        return answer({"done": bulk.done, "refused": bulk.refused})

    async def remove(self, request: Request, agent_id: str) -> Response:
        """Take an agent off the board that is offline for good; its sessions end with it.

        Should it come back it registers as a new one, and is told to stop what it still holds.
        """
        operator, fleet = operator_name(request.scope) or NOBODY, self._services.fleet
        async with self._act(request, "remove", "agent", agent_id) as act:
            agent = fleet.agent(agent_id)
            act.before = {"platform": agent.platform, "status": agent.status, "last_heartbeat": agent.last_heartbeat}
            ended = await fleet.remove_agent(agent_id, operator)
            act.after = {"ended": [{"id": row.id, "user": row.user, "template": row.template} for row in ended]}
        return answer({"id": agent_id, "ended": [row.id for row in ended]})

    def _act(self, request: Request, verb: str, object: str, object_id: str) -> Act:
        return self._services.audit.act(operator_name(request.scope) or NOBODY, verb, object, object_id)


def _about(row: ViewerRow) -> dict[str, Any]:
    return {"id": row.id, "session_id": row.session_id, "user": row.user}


def _problem(status: int, description: str) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ConsoleProblem, "description": description}}
