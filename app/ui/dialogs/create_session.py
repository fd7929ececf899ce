"""The panel that begins a desktop session from a template (StreamSpace document, "Create Session").

A template that nothing could run now is greyed with the reason. What is left empty comes from the template; platform
"automatic" lets the broker choose the agent. A refusal stands at its field, in the broker's own words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QRadioButton

from app.models.fleet_words import idle_limit, is_attached, offered_by, platforms_of
from app.models.wording import plain
from app.quantities import cpu_cores, duration_seconds, memory_bytes
from app.ui.dialogs.edit_tags import tag_list
from app.ui.dialogs.edit_template import quantity
from app.ui.dialogs.fields import ERROR_SIGN, Field, choice, line_edit, required
from app.ui.dialogs.form_panel import FormPanel
from app.ui.dialogs.template_list import TemplateList
from app.ui.theme import plain_label

if TYPE_CHECKING:
    from app.client.api import BrokerClient
    from app.client.fleet import Desktop
    from app.models.changes import Changes
    from app.ui.context import Context

AUTOMATIC = "auto"
FROM_TEMPLATE = "from the template"


class CreateSession(FormPanel):
    """See the module's docstring; ``created`` carries the id."""

    created = Signal(str)

    def __init__(self, context: Context) -> None:
        super().__init__(
            context, "New session", "Begin session", subtitle="A desktop for one person, made from a template."
        )
        self._shown = ""
        form = self.form
        form.add_widget(plain_label("Template", "hint"))
        self.templates = TemplateList(context)
        form.add_widget(self.templates)
        self.template_error = plain_label("", "error", wrap=True)
        self.template_error.hide()
        form.add_widget(self.template_error)
        users = choice((name, name) for name in known_users(context))
        users.setEditable(True)
        form.add(Field("user", "User", users, hint="Whose desktop it is.", parse=required))
        self.platforms = choice([])
        form.add(Field("platform", "Platform", self.platforms))
        self.add_pair(
            Field("memory", "Memory", line_edit(FROM_TEMPLATE), parse=quantity(memory_bytes)),
            Field("cpu", "CPU", line_edit(FROM_TEMPLATE), parse=quantity(cpu_cores)),
        )
        self.add_pair(
            Field("idle_timeout", "Idle time-out", line_edit(FROM_TEMPLATE), parse=quantity(duration_seconds)),
            Field("tags", "Tags", line_edit("rehearsal, act 2"), parse=tag_list),
        )
        self.home = QCheckBox("Keep the home folder after the session ends")
        form.add_widget(self.home)
        self.now = QRadioButton("Run it now")
        self.later = QRadioButton("Reserve it hibernated; the first wake starts it")
        self.now.setChecked(True)
        form.add_widget(self.now)
        form.add_widget(self.later)
        self.finish()
        self.first_focus = self.templates
        self._fill()
        self.templates.currentRowChanged.connect(lambda _: self._template_changed())
        self.templates.picked.connect(lambda _: self.form.fields["user"].editor.setFocus())
        self.platforms.currentIndexChanged.connect(lambda _: self._platform_changed())
        self._stop = context.store.listen(self._on_changes)
        self.closed.connect(self._stop)

    def _fill(self) -> None:
        last = self.context.settings.get("create_session/last")
        self.templates.fill()
        if isinstance(last.get("template"), str):
            self.templates.choose(last["template"])
        self.form.fields["user"].set_text(str(last.get("user") or ""))
        self._template_changed()

    def _on_changes(self, changes: Changes) -> None:
        if changes.reset or changes.redrawn("template") or changes.redrawn("agent"):
            self.templates.fill()
            self._template_changed()

    def _template_changed(self) -> None:
        """What the template says stands in the fields as what an empty one means."""
        template = self.templates.chosen
        some = self.templates.count() > 0
        none = "No template can run now." if some else "There is no template yet: Settings, Templates makes one."
        if self.templates.currentItem() is not None:
            none = "This template cannot run now. Choose another, or wait for an agent."
        self._say_template("" if template is not None else none)
        if template is None:
            return
        defaults = template.default_resources
        for name, value in (
            ("memory", defaults.get("memory")),
            ("cpu", defaults.get("cpu")),
            ("idle_timeout", template.idle_timeout),
        ):
            editor = self.form.fields[name].editor
            editor.setPlaceholderText(f"{plain(value)} ({FROM_TEMPLATE})" if value else "no limit")
        if not idle_limit(template):
            self.form.fields["idle_timeout"].editor.setPlaceholderText("never")
        if template.name != self._shown:  # what the operator ticked stays when an agent comes or goes
            self._shown = template.name
            self.home.setChecked(template.persistent_home)
        self._fill_platforms()

    def _fill_platforms(self) -> None:
        template, agents = self.templates.chosen, self.context.store.agents
        if template is None:
            return
        names = list(platforms_of(template))
        if any(template.name in offered_by(row) for row in agents.values()):
            names.append("attach")
        pairs = [] if is_attached(template, agents) else [(AUTOMATIC, f"automatic: {' or '.join(names)}")]
        pairs += [(name, name) for name in names]
        if [(self.platforms.itemData(n), self.platforms.itemText(n)) for n in range(self.platforms.count())] == pairs:
            return
        before = self.platforms.currentData()
        self.platforms.blockSignals(True)
        self.platforms.clear()
        for data, words in pairs:
            self.platforms.addItem(words, data)
        self.platforms.setCurrentIndex(max(0, self.platforms.findData(before)))
        self.platforms.blockSignals(False)

    def _platform_changed(self) -> None:
        self._say_template("")

    def _say_template(self, text: str) -> None:
        self.template_error.setText(ERROR_SIGN + text if text else "")
        self.template_error.setVisible(bool(text))

    def submit(self) -> None:
        """Without a template there is nothing to begin."""
        if self.templates.chosen is None:
            self._template_changed()
            self.templates.setFocus()
            return
        super().submit()

    async def send(self, client: BrokerClient, values: dict[str, Any]) -> None:
        """Ask for it; its row shows how it goes on."""
        context, template = self.context, self.templates.chosen
        if template is None:
            return
        resources = {name: values[name] for name in ("memory", "cpu") if values[name]}
        made = await client.fleet.create_session(
            values["user"],
            template.name,
            platform=None if values["platform"] == AUTOMATIC else values["platform"],
            state="hibernated" if self.later.isChecked() else None,
            resources=resources or None,
            persistent_home=self.home.isChecked(),
            idle_timeout=values["idle_timeout"] or None,
            tags=values["tags"] or None,
        )
        context.settings.set("create_session/last", {"template": template.name, "user": values["user"]})
        self._tell(client, made)
        self.created.emit(made.id)

    def _tell(self, client: BrokerClient, made: Desktop) -> None:
        name = f"{plain(made.user)} ← {plain(made.template)}"
        where = f" on {plain(made.agent_id)}" if made.agent_id else ""
        self.context.actions.tell(
            f"{name} begins{where}", f"begin {name}", lambda: client.fleet.delete_session(made.id)
        )


def known_users(context: Context) -> list[str]:
    """Users who have sessions now, for the list; any other name can be typed."""
    return sorted({row.user for row in context.store.desktops.values()}, key=str.casefold)
