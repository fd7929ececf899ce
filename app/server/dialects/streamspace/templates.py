"""Templates: list, details, and what is Callboard's own: creating, changing and deleting them (seed 001).

Everybody who has logged in may read, administrators may write. Built into the application by ``application.py``.
"""

from __future__ import annotations

import msgspec

from app.contract import TemplateRow
from app.errors import Conflict, NotFound
from app.server.access.principal import Principal
from app.server.audit import Act
from app.server.dialects.streamspace import answers, rows, wire
from app.server.dialects.streamspace.errors import Json
from app.server.dialects.streamspace.listing import listed, page_of
from app.server.dialects.streamspace.operations import Call, Operation, answer, nothing
from app.server.dialects.streamspace.services import StreamSpaceServices

TAG = "Templates"


class Templates:
    """One method per operation."""

    def __init__(self, services: StreamSpaceServices) -> None:
        self._fleet = services.fleet
        self._audit = services.audit

    def operations(self) -> list[Operation]:
        """What is served and described."""
        one, base, saved = "/api/v1/templates/{template_name}", "/api/v1/templates", answers.TemplateSaved
        return [
            Operation("GET", base, self.list_templates, TAG, answers.TemplateList, (400,), query=wire.TemplateQuery),
            Operation(
                "POST", base, self.create_template, TAG, saved, (400, 409), good=201, body=wire.CreateTemplate, admin=True, own=True
            ),
            Operation("GET", one, self.get_template, TAG, answers.TemplateDetails, (404,)),
            Operation("PUT", one, self.change_template, TAG, saved, (400, 404), body=wire.ChangeTemplate, admin=True, own=True),
            Operation("DELETE", one, self.delete_template, TAG, None, (404, 409), good=204, admin=True, own=True),
        ]  # fmt: skip

    async def list_templates(self, _: Call, query: wire.TemplateQuery) -> Json:
        """All templates, by name."""
        found = sorted(self._fleet.templates.values(), key=lambda row: row.name)
        if query.category:
            found = [row for row in found if row.category == query.category]
        items = [msgspec.json.encode(rows.template(row)) for row in page_of(found, query)]
        return listed("templates", items, query, len(found))

    async def get_template(self, call: Call) -> Json:
        """One template, in full."""
        return answer(rows.template_details(self._known(call.ids["template_name"])))

    async def create_template(self, call: Call, body: wire.CreateTemplate) -> Json:
        """Add a template."""
        if body.name in self._fleet.templates:
            raise Conflict(f"There is a template '{body.name}' already", code="template_exists")
        async with self._act(call.caller, "create", body.name) as act:
            row = act.after = await self._fleet.save_template(_row(body, body.name, None))
        return answer(rows.template_saved(row), 201)

    async def change_template(self, call: Call, body: wire.ChangeTemplate) -> Json:
        """Replace a template; a built-in one is covered by it until it is deleted."""
        known = self._known(call.ids["template_name"])
        async with self._act(call.caller, "change", known.name) as act:
            act.before = known
            row = act.after = await self._fleet.save_template(_row(body, known.name, known))
        return answer(rows.template_saved(row))

    async def delete_template(self, call: Call) -> Json:
        """Remove a template; sessions made of it go on."""
        known = self._known(call.ids["template_name"])
        async with self._act(call.caller, "delete", known.name) as act:
            act.before = known
            await self._fleet.delete_template(known.name)
        return nothing()

    def _known(self, name: str) -> TemplateRow:
        row = self._fleet.templates.get(name)
        if row is None:
            raise NotFound(f"No template with name '{name}' exists", code="template_not_found")
        return row

    def _act(self, caller: Principal, verb: str, name: str) -> Act:
        return self._audit.act(caller.username, verb, "template", name, dialect="streamspace")


def _row(body: wire.ChangeTemplate, name: str, known: TemplateRow | None) -> TemplateRow:
    """The row that is wanted; id and times are the fleet's, and what the document does not know stays as it was."""
    fields = body.model_dump(exclude={"name", "default_resources", "command", "hibernate", "failover"})
    own = {key: getattr(body, key) for key in ("command", "hibernate", "failover") if getattr(body, key) is not None}
    kept = {} if known is None else {key: getattr(known, key) for key in ("command", "hibernate", "failover")}
    resources = body.default_resources.model_dump(exclude_none=True)
    return TemplateRow(
        id="", name=name, created_at=0.0, updated_at=0.0, default_resources=resources, **fields, **(kept | own)
    )
