"""The panel that makes or changes a consumer preset: where a take goes and what happens to what was there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QButtonGroup, QCheckBox, QRadioButton

from app.contract import PresetRow
from app.ui.dialogs.fields import Field, json_edit, json_object, line_edit, object_text, optional_port, required
from app.ui.dialogs.form_panel import FormPanel
from app.ui.theme import plain_label

if TYPE_CHECKING:
    from app.client.api import BrokerClient
    from app.ui.context import Context

MODES = {
    "replace": ("It shows one picture", "A take asks for the new one first and ends the old one only when the offer is there. If that fails, the old one stays."),
    "add": ("It takes several", "A take adds a session; what it has already stays until somebody kicks it."),
}  # fmt: skip
"""What ``replace`` and ``add`` mean, in words."""

HELD_BY = {
    "console": ("Callboard keeps the session alive", "For consumers that send no heartbeats, as most do. The broker beats until kick, release or withdraw, also while no console is open; it does not know whether the consumer lives."),
    "consumer": ("The consumer keeps it alive", "It must send a heartbeat every 10 s, or the session ends after 30 s."),
}  # fmt: skip
"""What ``held_by`` means, in words."""


class PresetEditor(FormPanel):
    """``saved`` carries the preset's id. Without a ``preset_id`` a new one is made."""

    saved = Signal(str)

    def __init__(self, context: Context, preset_id: str | None = None) -> None:
        old = context.store.presets.get(preset_id) if preset_id else None
        title = f"Preset {old.name}" if old is not None else "New consumer preset"
        super().__init__(context, title, "Save", subtitle="A consumer that streams are taken to with one key.")
        self.preset_id = old.id if old is not None else ""
        form = self.form
        form.add(Field("name", "Name", line_edit("Main wall"), hint="How operators call it.", parse=required))
        form.add(
            Field("consumer_id", "Consumer", line_edit("wall-main"), hint="consumer_id on the wire.", parse=required)
        )
        address = Field("consumer_address", "Address", line_edit("10.0.40.50", mono=True), parse=required)
        number = Field("consumer_port", "Port", line_edit("optional", mono=True), parse=optional_port)
        self.add_pair(address, number, stretch=(3, 1))
        config = json_edit('{"resolution": "1080p50"}', 2)
        form.add(Field("config", "Configuration sent with each take", config, hint="JSON object.", parse=json_object))
        self.mode = self._choice("When it carries a stream already", MODES)
        self.held_by = self._choice("Who keeps its sessions alive", HELD_BY)
        self.default = QCheckBox("R and double click take to this preset")
        form.add_widget(self.default)
        self.finish()
        self._fill(old)

    async def send(self, client: BrokerClient, values: dict[str, Any]) -> None:
        """Save it and say so."""
        saved = await client.save_preset(self._row(values))
        self.context.toast(f"Preset {saved.name} saved", tone="good")
        self.saved.emit(saved.id)

    def _row(self, values: dict[str, Any]) -> PresetRow:
        return PresetRow(
            id=self.preset_id,
            mode="add" if self.mode["add"].isChecked() else "replace",
            held_by="consumer" if self.held_by["consumer"].isChecked() else "console",
            default=self.default.isChecked(),
            **values,
        )

    def _choice(self, caption: str, words: dict[str, tuple[str, str]]) -> dict[str, QRadioButton]:
        self.form.add_widget(plain_label(caption, "heading"))
        group = QButtonGroup(self)
        buttons: dict[str, QRadioButton] = {}
        for key, (title, explanation) in words.items():
            button = QRadioButton(title)
            button.setAccessibleDescription(explanation)
            group.addButton(button)
            self.form.add_widget(button)
            told = plain_label(explanation, "hint", wrap=True)
            told.setContentsMargins(20, 0, 0, 0)
            self.form.add_widget(told)
            buttons[key] = button
        next(iter(buttons.values())).setChecked(True)
        return buttons

    def _fill(self, old: PresetRow | None) -> None:
        if old is None:
            self.default.setChecked(self.context.store.default_preset() is None)
            return
        fields = self.form.fields
        fields["name"].set_text(old.name)
        fields["consumer_id"].set_text(old.consumer_id)
        fields["consumer_address"].set_text(old.consumer_address)
        fields["consumer_port"].set_text("" if old.consumer_port is None else str(old.consumer_port))
        fields["config"].set_text(object_text(old.config))
        self.mode[old.mode].setChecked(True)
        self.held_by[old.held_by].setChecked(True)
        self.default.setChecked(old.default)
