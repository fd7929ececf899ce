"""The panel that makes or changes a template: what runs, with what, and what becomes of it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox

from app.errors import Invalid
from app.models.wording import plain
from app.quantities import cpu_cores, duration_seconds, memory_bytes
from app.ui.dialogs.edit_tags import tag_list
from app.ui.dialogs.fields import Field, FieldError, choice, json_edit, json_object, line_edit, object_text, required
from app.ui.dialogs.form_panel import FormPanel

if TYPE_CHECKING:
    from app.client.api import BrokerClient
    from app.contract import TemplateRow
    from app.ui.context import Context

HIBERNATE = (("freeze", "frozen: everything is as it was"), ("stop", "stopped: it starts afresh at the wake"))
FAILOVER = (("never", "it waits for its agent"), ("restart", "it starts again on another agent"))
NOT_SENT = ("id", "built_in", "created_at", "updated_at")


class EditTemplate(FormPanel):
    """Without ``template`` a new one is made; ``saved`` carries its name."""

    saved = Signal(str)

    def __init__(self, context: Context, template: TemplateRow | None = None) -> None:
        title = "New template" if template is None else f"Template {plain(template.display_name)}"
        told = (
            "A built-in template: what is saved stands in its place."
            if template is not None and template.built_in
            else ""
        )
        super().__init__(context, title, "Save", subtitle=told or "Sessions that run keep what they were begun with.")
        self.template = template
        form = self.form
        if template is None:
            form.add(
                Field(
                    "name",
                    "Name",
                    line_edit("cue-player", mono=True),
                    hint="Lower case and dashes; sessions name it.",
                    parse=required,
                )
            )
        shown = Field("display_name", "Shown as", line_edit("Cue player"), parse=required)
        self.add_pair(shown, Field("category", "Category", line_edit("Show")))
        form.add(Field("description", "Description", line_edit("optional")))
        form.add(
            Field(
                "command",
                "Command for local agents",
                line_edit("xterm -fa Mono", mono=True),
                parse=command,
                hint="Run directly, without a shell.",
            )
        )
        form.add(Field("base_image", "Image for containers", line_edit("ghcr.io/venue/cue-player:1", mono=True)))
        self.add_pair(
            Field("memory", "Memory", line_edit("1Gi"), parse=quantity(memory_bytes)),
            Field("cpu", "CPU", line_edit("500m"), parse=quantity(cpu_cores)),
        )
        self.add_pair(
            Field("idle_timeout", "Idle time-out", line_edit("30m"), parse=quantity(duration_seconds)),
            Field("tags", "Tags", line_edit("show"), parse=tag_list),
        )
        form.add(
            Field(
                "environment",
                "Environment",
                json_edit('{"LANG": "C.UTF-8"}', 2),
                hint="JSON object of texts.",
                parse=texts,
            )
        )
        form.add(Field("hibernate", "Hibernated, it is", choice(HIBERNATE)))
        form.add(Field("failover", "When its agent is lost", choice(FAILOVER)))
        self.home = QCheckBox("Keep home folders, unless the session says otherwise")
        self.home.setChecked(template is None or template.persistent_home)
        form.add_widget(self.home)
        self.finish()
        if template is not None:
            self._fill(template)

    def _fill(self, template: TemplateRow) -> None:
        values = {
            "display_name": template.display_name,
            "category": template.category,
            "description": template.description,
            "command": shlex.join(template.command),
            "base_image": template.base_image,
            "memory": template.default_resources.get("memory", ""),
            "cpu": template.default_resources.get("cpu", ""),
            "idle_timeout": template.idle_timeout or "",
            "tags": ", ".join(template.tags),
            "environment": object_text(template.environment),
            "hibernate": template.hibernate,
            "failover": template.failover,
        }
        for name, text in values.items():
            self.form.fields[name].set_text(text)

    async def send(self, client: BrokerClient, values: dict[str, Any]) -> None:
        """Save it; what was there before is what Undo puts back."""
        old, fleet = self.template, client.fleet
        definition = self.definition(values)
        if old is None:
            made = await fleet.create_template(definition)
            self._tell(f"Template {plain(made.display_name)} made", made.name, lambda: fleet.delete_template(made.name))
        else:
            before = definition_of(old)
            await fleet.change_template(old.name, definition)
            self._tell(
                f"Template {plain(old.display_name)} saved", old.name, lambda: fleet.change_template(old.name, before)
            )

    def _tell(self, text: str, name: str, undo: Callable[[], Any]) -> None:
        self.context.actions.tell(text, f"change of the template {name}", undo)
        self.saved.emit(name)

    def definition(self, values: dict[str, Any]) -> dict[str, Any]:
        """What is sent: the old one with what the form says in its place."""
        old = definition_of(self.template) if self.template is not None else {}
        resources = {**old.get("default_resources", {})}
        for name in ("memory", "cpu"):
            text = values.pop(name)
            resources.pop(name, None)
            if text:
                resources[name] = text
        fresh = {**values, "default_resources": resources, "persistent_home": self.home.isChecked()}
        fresh["idle_timeout"] = fresh["idle_timeout"] or None
        return {**old, **fresh}


def definition_of(template: TemplateRow) -> dict[str, Any]:
    """A template as it is sent."""
    fields: dict[str, Any] = msgspec.to_builtins(template)
    return {name: value for name, value in fields.items() if name not in NOT_SENT}


def command(text: str) -> list[str]:
    """A command line as its arguments."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise FieldError(f"a quote is not closed: {error}") from error


def texts(text: str) -> dict[str, str]:
    """A JSON object whose values are texts."""
    found = json_object(text)
    for name, value in found.items():
        if not isinstance(value, str):
            raise FieldError(f"{name} must be a text, such as {json.dumps(str(value))}")
    return found


def quantity(check: Callable[[str], object]) -> Callable[[str], str]:
    """A quantity that must make sense, or nothing."""

    def parse(text: str) -> str:
        if text:
            try:
                check(text)
            except Invalid as error:
                raise FieldError(error.message) from error
        return text

    return parse
