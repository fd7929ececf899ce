"""Settings, "Templates": what desktop sessions are made of; made, changed and removed here by administrators.

Templates come with the feed. One that nothing could run now says why, as it does where a session is begun.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from app.models.fleet_words import resource_text, time_out_text
from app.models.wording import plain
from app.ui.dialogs.edit_template import EditTemplate, definition_of
from app.ui.dialogs.template_list import TemplateList
from app.ui.pages.settings.section import Section, button, row
from app.ui.theme import plain_label

if TYPE_CHECKING:
    from app.contract import TemplateRow
    from app.models.changes import Changes
    from app.ui.context import Context

MOST_SHOWN = 12
WORDS = {"cpu": "CPU"}


class TemplatesSection(Section):
    """The list of templates with what can be done to the current one."""

    title: ClassVar[str] = "Templates"
    intro: ClassVar[str] = (
        "A template says what a desktop session runs: a command for local agents, an image for containers."
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._stop: Callable[[], None] | None = None
        group = self.group("Templates")
        self.empty = plain_label("There is no template: no session can be begun.", "value", wrap=True)
        self.list = TemplateList(context, greyed=False, most=MOST_SHOWN)
        self.list.picked.connect(lambda _name: self.edit())
        self.list.currentRowChanged.connect(lambda _row: self._refresh())
        group.addWidget(self.empty)
        group.addWidget(self.list)
        self.new_button = button("New template…", self.new, "primary")
        self.edit_button = button("Change…", self.edit)
        self.delete_button = button("Delete", self.delete)
        self.told = plain_label("", "hint", wrap=True)
        group.addWidget(self.told)
        group.addLayout(row(self.new_button, self.edit_button, None, self.delete_button))
        self.finish()
        self._refresh()

    def activate(self) -> None:
        """Show what the store has, and follow it."""
        self.fill()
        if self._stop is None:
            self._stop = self.context.store.listen(self._on_changes)

    def deactivate(self) -> None:
        """Stop following."""
        if self._stop is not None:
            self._stop()
            self._stop = None

    def fill(self) -> None:
        """Read the templates again."""
        self.list.fill()
        self._refresh()

    def new(self) -> None:
        """Make one, in a panel."""
        self.context.panels.show(EditTemplate(self.context))

    def edit(self) -> None:
        """Change the current one, in a panel."""
        if self.list.chosen is not None:
            self.context.panels.show(EditTemplate(self.context, self.list.chosen))

    def delete(self) -> None:
        """Remove the current one, with Undo; sessions made of it go on."""
        template = self.list.chosen
        if template is None:
            return
        definition, name = definition_of(template), plain(template.display_name)

        async def put_back() -> None:
            await self.context.connected.fleet.create_template(definition)

        def then(_nothing: None) -> None:
            told = f"Template {name} deleted; sessions made of it go on"
            self.context.actions.tell(told, f"delete template {name}", put_back)

        self.act(lambda client: client.fleet.delete_template(template.name), then, "delete a template")

    def _on_changes(self, changes: Changes) -> None:
        if changes.reset or changes.redrawn("template") or changes.redrawn("agent"):
            self.fill()

    def _refresh(self) -> None:
        template = self.list.chosen
        self.empty.setVisible(self.list.count() == 0)
        self.list.setVisible(self.list.count() > 0)
        self.edit_button.setEnabled(template is not None)
        self.delete_button.setEnabled(template is not None and not template.built_in)
        self.delete_button.setToolTip("Built-in templates stay" if template is not None and template.built_in else "")
        self.told.setText("" if template is None else told_of(template))


def told_of(template: TemplateRow) -> str:
    """What a template runs and with what, in a few lines."""
    runs = [f"Command: {plain(' '.join(template.command))}"] if template.command else []
    runs += [f"Image: {plain(template.base_image)}"] if template.base_image else []
    given = ", ".join(
        f"{WORDS.get(key, plain(key))} {resource_text(key, value)}" for key, value in template.default_resources.items()
    )
    made = "built in" if template.built_in else "made here"
    return "\n".join([f"{plain(template.name)}, {made}", *runs, f"{given or 'no limits'}; {time_out_text(template)}"])
