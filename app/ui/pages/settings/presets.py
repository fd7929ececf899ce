"""Settings, "Consumer presets": where R takes a stream to; made, changed and removed here."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

import msgspec
from PySide6.QtWidgets import QVBoxLayout

from app.models.wording import plain
from app.ui.dialogs.choose_preset import ID_ROLE, PresetList, where_text
from app.ui.dialogs.preset_editor import HELD_BY, MODES, PresetEditor
from app.ui.dialogs.two_line import HEIGHT
from app.ui.pages.settings.section import Section, button, row
from app.ui.theme import plain_label

if TYPE_CHECKING:
    from app.contract import PresetRow
    from app.models.changes import Changes
    from app.ui.context import Context


MOST_SHOWN = 10
"""Presets that the list shows without scrolling."""


class PresetsSection(Section):
    """The list of presets with what can be done to the current one."""

    title: ClassVar[str] = "Consumer presets"
    intro: ClassVar[str] = (
        "A preset names a consumer that streams are taken to. R takes to the default one, Shift+R asks which."
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._stop: Callable[[], None] | None = None
        group = self.group("Presets")
        self.list = _List(context)
        self.list.picked.connect(lambda _preset_id: self.edit())
        self.list.currentRowChanged.connect(lambda _row: self._refresh())
        self.empty = plain_label("There is no preset yet: R has nowhere to take a stream to.", "value", wrap=True)
        group.addWidget(self.empty)
        group.addWidget(self.list)
        self.new_button = button("New preset…", self.new, "primary")
        self.edit_button = button("Change…", self.edit)
        self.default_button = button("Make default", self.make_default)
        self.delete_button = button("Delete", self.delete)
        group.addLayout(row(self.new_button, self.edit_button, self.default_button, None, self.delete_button))
        words = self.group("What the words mean")
        words.setSpacing(10)
        for title, explanation in (*MODES.values(), *HELD_BY.values()):
            pair = QVBoxLayout()
            pair.setSpacing(1)
            pair.addWidget(plain_label(title, "value"))
            pair.addWidget(plain_label(explanation, "hint", wrap=True))
            words.addLayout(pair)
        self.finish()
        self._refresh()

    def activate(self) -> None:
        """Show what the store has, and follow it."""
        self.list.fill()
        self._refresh()
        if self._stop is None:
            self._stop = self.context.store.listen(self._on_changes)

    def deactivate(self) -> None:
        """Stop following."""
        if self._stop is not None:
            self._stop()
            self._stop = None

    def current(self) -> PresetRow | None:
        """The preset that buttons act on."""
        item = self.list.currentItem()
        return None if item is None else self.context.store.presets.get(item.data(ID_ROLE))

    def new(self) -> None:
        """Make one, in a panel."""
        self.context.panels.show(PresetEditor(self.context))

    def edit(self) -> None:
        """Change the current one, in a panel."""
        preset = self.current()
        if preset is not None:
            self.context.panels.show(PresetEditor(self.context, preset.id))

    def make_default(self) -> None:
        """R takes to the current one from now on."""
        preset = self.current()
        if preset is None:
            return
        wanted = msgspec.structs.replace(preset, default=True)

        def then(saved: PresetRow) -> None:
            self.context.toast(f"R takes to {plain(saved.name)}", tone="good")

        self.act(lambda client: client.save_preset(wanted), then, "make a preset the default")

    def delete(self) -> None:
        """Remove the current one, with Undo; what it carries goes on."""
        preset = self.current()
        if preset is None:
            return

        async def put_back() -> None:
            if self.context.client is not None:
                await self.context.client.save_preset(msgspec.structs.replace(preset, id=""))

        def then(_nothing: None) -> None:
            name = plain(preset.name)
            told = f"Preset {name} deleted; what it carries goes on"
            self.context.actions.tell(told, f"delete preset {name}", put_back)

        self.act(lambda client: client.delete_preset(preset.id), then, "delete a preset")

    def _on_changes(self, changes: Changes) -> None:
        if changes.reset or changes.redrawn("preset") or changes.redrawn("session") or changes.redrawn("hold"):
            self.list.fill()
            self._refresh()

    def _refresh(self) -> None:
        preset = self.current()
        self.empty.setVisible(self.list.count() == 0)
        self.list.setFixedHeight(HEIGHT * min(MOST_SHOWN, max(1, self.list.count())) + 2)
        self.list.setVisible(self.list.count() > 0)
        self.edit_button.setEnabled(preset is not None)
        self.delete_button.setEnabled(preset is not None)
        self.default_button.setEnabled(preset is not None and not preset.default)


class _List(PresetList):
    """Here the second line says how a preset behaves, and digits choose nothing."""

    digits = False

    def describe(self, preset: PresetRow) -> str:
        """Where it goes and how."""
        return where_text(preset)
