"""Operations of the console's own API: what no dialect offers. All need the console's token.

Built into the application by ``application.py``. What an operator changes here is audited here; a route
translates and nothing else.
"""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.contract import AuditRow, PresetRow
from app.errors import Invalid
from app.server.access.exposure import Stored
from app.server.access.requests import operator_name
from app.server.audit import Act
from app.server.dialects.console import wire
from app.server.dialects.console.services import Services
from app.server.dialects.console.strict import StrictRoute
from app.server.storage.database import AuditQuery, HistoryQuery

NOBODY = "unnamed"
"""Stands in the audit where a console sent no operator's name."""

Seconds = Annotated[float | None, Query(allow_inf_nan=False)]
Before = Annotated[str | None, Query(description="`time,id` of the last row of the page before", max_length=300)]
Filter = Annotated[str | None, Query(max_length=255)]
Limit = Annotated[int, Query(ge=1, le=500)]


def answer(content: Any, status: int = 200) -> Response:
    """Rows of the contract as they stand on the feed too."""
    return Response(msgspec.json.encode(content), status, media_type="application/json")


def page_before(text: str | None) -> tuple[float, str] | None:
    """Where a page begins: after this time and id. Raises ``Invalid``."""
    if text is None:
        return None
    time, _, row_id = text.partition(",")
    try:
        value = float(time)
    except ValueError:
        value = float("nan")
    if not abs(value) < 1e15:
        raise Invalid("before: expected the time and the id of a row, with a comma between")
    return value, row_id


class Operations:
    """One method per operation."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def router(self) -> APIRouter:
        """Every route with its place in the documentation."""
        router = APIRouter(prefix="/console/v1", route_class=StrictRoute)
        broker, holds, presets, records, access = map(
            _tag, ("Broker", "Holds", "Presets", "Audit and history", "Access")
        )
        missing = _problem(404, "There is no such object.")
        conflict = _problem(409, "Its state, or the command line, forbids that.")
        away = _problem(503, "The storage is away; nothing has changed.")
        add = router.add_api_route
        add("/broker", self.broker, tags=broker, response_model=wire.BrokerReport)
        add("/whoami", self.whoami, tags=access, response_model=wire.WhoAmI)
        add("/stop", self.stop, methods=["POST"], status_code=202, tags=broker, response_model=wire.Stopping)
        add("/holds", self.hold, methods=["POST"], status_code=201, tags=holds, response_model=wire.Hold,
            responses=missing | conflict | away)  # fmt: skip
        add("/holds/{hold_id}", self.release, methods=["DELETE"], tags=holds, response_model=wire.Deleted,
            responses=missing | away)  # fmt: skip
        add("/presets", self.presets, tags=presets, response_model=list[wire.Preset])
        add("/presets", self.create_preset, methods=["POST"], status_code=201, tags=presets,
            response_model=wire.Preset, responses=away)  # fmt: skip
        add("/presets/{preset_id}", self.change_preset, methods=["PUT"], tags=presets, response_model=wire.Preset,
            responses=missing | away)  # fmt: skip
        add("/presets/{preset_id}", self.delete_preset, methods=["DELETE"], tags=presets,
            response_model=wire.Deleted, responses=missing | away)  # fmt: skip
        add("/audit", self.record, methods=["POST"], status_code=201, tags=records, response_model=wire.AuditEntry,
            responses=away)  # fmt: skip
        add("/audit", self.audit, tags=records, response_model=list[wire.AuditEntry], responses=away)
        add("/history", self.history, tags=records, response_model=list[wire.HistoryEntry], responses=away)
        add("/access", self.access, tags=access, response_model=wire.AccessReport)
        add("/access", self.change_access, methods=["PUT"], tags=access, response_model=wire.AccessReport,
            responses=conflict | away)  # fmt: skip
        add("/access/keys", self.add_key, methods=["POST"], status_code=201, tags=access,
            response_model=wire.KeyMade, responses=away)  # fmt: skip
        add("/access/keys/{key_id}", self.delete_key, methods=["DELETE"], tags=access, response_model=wire.Deleted,
            responses=missing | conflict | away)  # fmt: skip
        return router

    async def broker(self) -> Response:
        """The broker's name, version, process and addresses."""
        return answer(self._services.broker())

    async def whoami(self, request: Request) -> Response:
        """Whose token this request carries: the console's own, or an administrator's login."""
        caller = self._services.callers.caller(request.scope)
        return answer({"kind": caller.kind, "username": caller.username, "role": caller.role})

    async def stop(self, request: Request) -> Response:
        """Stop the broker cleanly; streams and sessions are kept for the next start as long as their TTL lasts."""
        async with self._act(request, "stop", "broker"):
            self._services.stop()
        return answer({"stopping": True}, 202)

    async def hold(self, request: Request, body: wire.HoldWanted) -> Response:
        """Beat a session from now on, until it is kicked, released or withdrawn."""
        operator = operator_name(request.scope) or NOBODY
        async with self._act(request, "hold", "session", body.session_id) as act:
            row = await self._services.streams.hold(body.session_id, operator, body.preset_id)
            act.after = row
        return answer(row, 201)

    async def release(self, request: Request, hold_id: str) -> Response:
        """End a hold; its session lives on its own TTL."""
        operator = operator_name(request.scope) or NOBODY
        async with self._act(request, "release", "hold", hold_id) as act:
            act.before = await self._services.streams.release(hold_id, by=operator)
        return answer({"id": hold_id, "status": "released"})

    async def presets(self) -> Response:
        """Consumer presets, by name."""
        return answer(self._services.presets.rows())

    async def create_preset(self, request: Request, body: wire.PresetWanted) -> Response:
        """Add a preset; a new default takes that mark off the old one."""
        async with self._act(request, "create", "preset") as act:
            row = await self._services.presets.create(PresetRow(id="", **body.model_dump()))
            act.object_id, act.after = row.id, row
        return answer(row, 201)

    async def change_preset(self, request: Request, preset_id: str, body: wire.PresetWanted) -> Response:
        """Replace a preset."""
        async with self._act(request, "change", "preset", preset_id) as act:
            act.before = self._services.presets.get(preset_id)
            act.after = row = await self._services.presets.change(PresetRow(id=preset_id, **body.model_dump()))
        return answer(row)

    async def delete_preset(self, request: Request, preset_id: str) -> Response:
        """Remove a preset; what was taken with it goes on."""
        operator = operator_name(request.scope) or NOBODY
        async with self._act(request, "delete", "preset", preset_id) as act:
            act.before = await self._services.presets.delete(preset_id, by=operator)
        return answer({"id": preset_id, "status": "deleted"})

    async def record(self, request: Request, body: wire.AuditWanted) -> Response:
        """Write down an act that reached no API, such as a cancelled kick."""
        operator = operator_name(request.scope) or NOBODY
        row = await self._services.audit.note(operator, AuditRow(id="", at=0.0, operator=operator, **body.model_dump()))
        return answer(row, 201)

    async def audit(
        self,
        operator: Filter = None,
        verb: Filter = None,
        object_id: Filter = None,
        since: Seconds = None,
        until: Seconds = None,
        before: Before = None,
        limit: Limit = 100,
    ) -> Response:
        """Acts of operators, newest first."""
        query = AuditQuery(
            operator=operator, verb=verb, object_id=object_id, since=since, until=until,
            before=page_before(before), limit=limit,
        )  # fmt: skip
        return answer(await self._services.audit.query(query))

    async def history(
        self,
        stream_id: Filter = None,
        publisher_id: Filter = None,
        consumer_id: Filter = None,
        since: Seconds = None,
        until: Seconds = None,
        before: Before = None,
        limit: Limit = 100,
    ) -> Response:
        """Stream sessions of the last 90 days, newest first."""
        query = HistoryQuery(
            stream_id=stream_id, publisher_id=publisher_id, consumer_id=consumer_id, since=since, until=until,
            before=page_before(before), limit=limit,
        )  # fmt: skip
        return answer(await self._services.streams.history(query))

    async def access(self) -> Response:
        """Who may reach this broker."""
        return answer(self._services.exposure.view(*self._services.ports()))

    async def change_access(self, request: Request, body: wire.AccessWanted) -> Response:
        """Change it: networks at once, the address to listen on at the next start."""
        services = self._services
        async with self._act(request, "change", "access") as act:
            act.before = _settings(services.exposure.view(*services.ports()))
            await services.exposure.change(Stored(**body.model_dump()))
            view = services.exposure.view(*services.ports())
            act.after = _settings(view)
        return answer(view)

    async def add_key(self, request: Request, body: wire.KeyWanted) -> Response:
        """Make an API key; the key itself is in this answer and never again."""
        async with self._act(request, "create", "api key") as act:
            row, key = await self._services.keys.add(body.name)
            act.object_id, act.after = row.id, {"name": row.name}
        return answer({"id": row.id, "name": row.name, "key": key}, 201)

    async def delete_key(self, request: Request, key_id: str) -> Response:
        """Withdraw an API key."""
        async with self._act(request, "delete", "api key", key_id) as act:
            act.before = {"name": (await self._services.exposure.delete_key(key_id)).name}
        return answer({"id": key_id, "status": "deleted"})

    def _act(self, request: Request, verb: str, object: str, object_id: str = "") -> Act:
        return self._services.audit.act(operator_name(request.scope) or NOBODY, verb, object, object_id)


def _settings(view: dict[str, Any]) -> dict[str, Any]:
    return {name: view[name] for name in ("host", "allow_networks", "allow_plain")}


def _tag(name: str) -> list[str | Enum]:
    return [name]


def _problem(status: int, description: str) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": wire.ConsoleProblem, "description": description}}
