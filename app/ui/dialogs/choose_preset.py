"""The panel of Shift+R: which preset the selected stream goes to, and what each of them carries now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QListWidget, QListWidgetItem

from app.models.wording import age_text, endpoint, plain
from app.ui.dialogs.preset_editor import PresetEditor
from app.ui.dialogs.two_line import TwoLineDelegate, add_lines
from app.ui.panel import Panel
from app.ui.theme import plain_label

if TYPE_CHECKING:
    from app.contract import PresetRow
    from app.models.changes import Changes
    from app.ui.context import Context

ID_ROLE = int(Qt.ItemDataRole.UserRole)


class PresetList(QListWidget):
    """Presets with what they carry; a digit chooses, letters do nothing (type-ahead would be a wrong take)."""

    picked = Signal(str)
    digits = True

    def __init__(self, context: Context, stream_id: str = "") -> None:
        super().__init__()
        self.context = context
        self.stream_id = stream_id
        self.setItemDelegate(TwoLineDelegate(context, self))
        self.setUniformItemSizes(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.itemActivated.connect(lambda item: self.picked.emit(item.data(ID_ROLE)))
        self.fill()

    def fill(self) -> None:
        """Read the presets again and keep the current one."""
        store = self.context.store
        current = self.currentItem().data(ID_ROLE) if self.currentItem() is not None else None
        if current is None and (default := store.default_preset()) is not None:
            current = default.id
        self.clear()
        presets = sorted(store.presets.values(), key=lambda row: (not row.default, row.name.casefold()))
        for number, preset in enumerate(presets, 1):
            item = QListWidgetItem()
            item.setData(ID_ROLE, preset.id)
            digit = f"{number}   " if self.digits and number < 10 else ""
            add_lines(item, digit + preset_line(preset), self.describe(preset))
            self.addItem(item)
            if preset.id == current:
                self.setCurrentItem(item)
        if self.currentRow() < 0 and self.count():
            self.setCurrentRow(0)

    def describe(self, preset: PresetRow) -> str:
        """The second line."""
        return carries_text(self.context, preset, self.stream_id)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Digits choose at once; other letters go to nobody."""
        text = event.text()
        if (
            self.digits
            and text.isascii()
            and text.isdigit()
            and 0 < int(text) <= self.count()
            and not event.isAutoRepeat()
        ):
            self.picked.emit(self.item(int(text) - 1).data(ID_ROLE))
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            if self.currentItem() is not None and not event.isAutoRepeat():
                self.picked.emit(self.currentItem().data(ID_ROLE))
        elif text.isprintable() and text:
            event.accept()
        else:
            super().keyPressEvent(event)


class ChoosePreset(Panel):
    """``chosen`` carries the preset's id, once."""

    chosen = Signal(str)
    of_page = True

    def __init__(self, context: Context, stream_id: str) -> None:
        self.stream_id = stream_id
        stream = context.store.streams.get(stream_id)
        name = plain(stream.name) if stream is not None else "the stream"
        super().__init__(
            context, f"Take {name} to", subtitle="1–9 or Enter takes at once. Esc leaves everything as it is."
        )
        self.list = PresetList(context, stream_id)
        self.empty = plain_label(
            "There is no preset yet. A preset names a consumer, its address and how a take treats it.",
            "hint",
            wrap=True,
        )
        self.body.addWidget(self.empty)
        self.body.addWidget(self.list, 1)
        self.body.addStretch(0)
        self.new_button = self.add_button("New preset…")
        self.new_button.clicked.connect(self._new)
        self.take_button = self.add_button("Take", "primary")
        self.take_button.clicked.connect(self._take)
        self.list.picked.connect(self._picked)
        self.first_focus = self.list if self.list.count() else self.new_button
        self._refresh()
        self._stop = context.store.listen(self._on_changes)
        self.closed.connect(self._stop)

    def _on_changes(self, changes: Changes) -> None:
        if changes.reset or changes.redrawn("preset") or changes.redrawn("session") or changes.redrawn("hold"):
            self.list.fill()
            self._refresh()

    def _refresh(self) -> None:
        some = self.list.count() > 0
        self.empty.setVisible(not some)
        self.list.setVisible(some)
        self.take_button.setEnabled(some)

    def _take(self) -> None:
        if self.list.currentItem() is not None:
            self._picked(self.list.currentItem().data(ID_ROLE))

    def _picked(self, preset_id: str) -> None:
        if not self._finished:
            self.chosen.emit(preset_id)
            self.done()

    def _new(self) -> None:
        """A preset is made in its own panel; the take is a press of its own, with the new one in the list."""
        context = self.context
        self.done()
        context.panels.show(PresetEditor(context))


def preset_line(preset: PresetRow) -> str:
    """First line of a preset in a list."""
    default = "  (default)" if preset.default else ""
    return f"{plain(preset.name)}{default}"


def where_text(preset: PresetRow) -> str:
    """Where a preset's pictures go and how it behaves."""
    mode = "one picture" if preset.mode == "replace" else "several"
    kept = "held by Callboard" if preset.held_by == "console" else "keeps itself alive"
    return f"{plain(preset.consumer_id)} · {endpoint(preset.consumer_address, preset.consumer_port)} · {mode} · {kept}"


def carries_text(context: Context, preset: PresetRow, stream_id: str = "") -> str:
    """What a preset carries now and what a take of that stream does to it."""
    sessions: Sequence = context.store.carried_by(preset.id)
    if not sessions:
        return f"free · {endpoint(preset.consumer_address, preset.consumer_port)}"
    now = context.store.broker_now()
    for one in sessions:
        if one.stream_id == stream_id:
            return f"there already, for {age_text(now - one.started_at)}"
    newest = sessions[-1]
    more = f" and {len(sessions) - 1} more" if len(sessions) > 1 else ""
    verb = "replaces" if preset.mode == "replace" else "adds to"
    hold = context.store.hold_of(newest.id)
    of = f" of {plain(hold.operator)}" if hold is not None and hold.operator not in ("", context.operator) else ""
    return f"{verb} {plain(newest.stream_name)}{of}{more}, there for {age_text(now - newest.started_at)}"
