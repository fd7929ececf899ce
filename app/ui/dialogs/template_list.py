"""Templates in two lines: what they are and, where nothing could run one now, why; such a one cannot be chosen.

Used by the panel that begins a session and by Settings, Templates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QListWidget, QListWidgetItem

from app.models.fleet_words import is_attached, platforms_of, why_not_runnable
from app.models.wording import natural, plain
from app.ui.dialogs.two_line import HEIGHT, TwoLineDelegate, add_lines

if TYPE_CHECKING:
    from app.contract import TemplateRow
    from app.ui.context import Context

NAME_ROLE = int(Qt.ItemDataRole.UserRole)


class TemplateList(QListWidget):
    """See the module's docstring. ``greyed``: what cannot run cannot be chosen."""

    picked = Signal(str)
    """Enter or a double click on a template that can be chosen."""

    def __init__(self, context: Context, *, greyed: bool = True, most: int = 6) -> None:
        super().__init__()
        self.context = context
        self.platform: str | None = None
        self._greyed = greyed
        self._most = most
        self.setItemDelegate(TwoLineDelegate(context, self))
        self.setUniformItemSizes(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setAccessibleName("Templates")
        self.itemActivated.connect(lambda item: self.picked.emit(item.data(NAME_ROLE)))

    @property
    def chosen(self) -> TemplateRow | None:
        """The template that is chosen; None while none is, or it has gone."""
        item = self.currentItem()
        if item is None or not item.flags() & Qt.ItemFlag.ItemIsEnabled:
            return None
        return self.context.store.template_named(item.data(NAME_ROLE))

    def choose(self, name: str) -> bool:
        """Choose a template by its name, if it can be."""
        for number in range(self.count()):
            item = self.item(number)
            if item.data(NAME_ROLE) == name and item.flags() & Qt.ItemFlag.ItemIsEnabled:
                self.setCurrentItem(item)
                return True
        return False

    def fill(self) -> None:
        """Read the templates again; the chosen one is kept, also when it cannot run any more: never another instead."""
        store = self.context.store
        current = self.currentItem().data(NAME_ROLE) if self.currentItem() is not None else ""
        reasons = {row.id: why_not_runnable(row, store.agents, self.platform) for row in store.templates.values()}
        rows = sorted(
            store.templates.values(),
            key=lambda row: (bool(reasons[row.id]) and self._greyed, natural(row.display_name)),
        )
        self.blockSignals(True)
        self.clear()
        for row in rows:
            self._add(row, reasons[row.id])
        self.setCurrentRow(-1)
        self.blockSignals(False)
        if not self._stay_at(current):
            self._choose_first()
        self.setFixedHeight(HEIGHT * min(self._most, max(1, self.count())) + 2)

    def _add(self, row: TemplateRow, reason: str) -> None:
        item = QListWidgetItem()
        item.setData(NAME_ROLE, row.name)
        where = (
            "published by an agent" if is_attached(row, self.context.store.agents) else " or ".join(platforms_of(row))
        )
        told = " · ".join(filter(None, (plain(row.category), plain(row.description) or where)))
        add_lines(item, plain(row.display_name or row.name), f"cannot run now: {reason}" if reason else told)
        if reason and self._greyed:
            item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEnabled)
        item.setToolTip("")
        self.addItem(item)

    def _stay_at(self, name: str) -> bool:
        """Whether the template is still there; then it is the current one, greyed or not."""
        for number in range(self.count()):
            if self.item(number).data(NAME_ROLE) == name:
                self.setCurrentRow(number)
                return True
        return False

    def _choose_first(self) -> None:
        for number in range(self.count()):
            if self.item(number).flags() & Qt.ItemFlag.ItemIsEnabled:
                self.setCurrentRow(number)
                return

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """No type-ahead: a letter is not a choice."""
        if event.text().isprintable() and event.text() and event.key() != Qt.Key.Key_Space:
            event.ignore()
        else:
            super().keyPressEvent(event)
