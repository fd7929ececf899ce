"""Settings, "Stream types": what publishers may advertise, built in and created."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from app.models.wording import pairs_text, plain
from app.ui.dialogs.create_type import CreateType
from app.ui.pages.settings.section import Section, button, row

if TYPE_CHECKING:
    from app.models.changes import Changes
    from app.ui.context import Context

HEADS = ("Name", "Shown as", "Made", "Default configuration", "Description")
WIDTHS = (110, 150, 70, 210)


class TypesSection(Section):
    """The table of types and the button that creates one."""

    title: ClassVar[str] = "Stream types"
    intro: ClassVar[str] = "Publishers may advertise these types and no others. A type cannot be changed or removed."

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._stop: Callable[[], None] | None = None
        group = self.group("Types")
        self.table = QTableWidget(0, len(HEADS))
        self.table.setHorizontalHeaderLabels(list(HEADS))
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(22)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setShowGrid(False)
        self.table.setWordWrap(False)
        self.table.setTabKeyNavigation(False)
        self.table.setMinimumHeight(320)
        head = self.table.horizontalHeader()
        head.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        head.setSectionResizeMode(len(HEADS) - 1, QHeaderView.ResizeMode.Stretch)
        for column, width in enumerate(WIDTHS):
            self.table.setColumnWidth(column, width)
        group.addWidget(self.table)
        group.addLayout(row(button("Create type…", self.create_type, "primary"), None))
        self.finish()

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

    def create_type(self) -> None:
        """Ask for a new one, in a panel."""
        self.context.panels.show(CreateType(self.context))

    def fill(self) -> None:
        """Created types first, then by name."""
        rows = sorted(self.context.store.types.values(), key=lambda one: (one.built_in, one.name))
        self.table.setRowCount(len(rows))
        for number, one in enumerate(rows):
            made = "built in" if one.built_in else "created"
            cells = (one.name, one.display_name, made, pairs_text(one.default_config), one.description or "")
            for column, text in enumerate(cells):
                self.table.setItem(number, column, QTableWidgetItem(plain(text)))

    def _on_changes(self, changes: Changes) -> None:
        if changes.reset or changes.redrawn("type"):
            self.fill()
