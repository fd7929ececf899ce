"""A small read-only table for a section: rows with an id, one of them current, texts as plain text."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QColor, QKeyEvent
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from app.models.wording import plain

ID_ROLE = int(Qt.ItemDataRole.UserRole)
ROW = 22
MOST_SHOWN = 14


class Grid(QTableWidget):
    """See the module's docstring. Enter or a double click emits ``picked``; the table is as high as its rows."""

    picked = Signal(str)
    chosen_changed = Signal()

    def __init__(self, heads: Sequence[str], widths: Sequence[int], name: str) -> None:
        super().__init__(0, len(heads))
        self.setAccessibleName(name)
        self.setHorizontalHeaderLabels(list(heads))
        self.verticalHeader().hide()
        self.verticalHeader().setMinimumSectionSize(ROW)
        self.verticalHeader().setDefaultSectionSize(ROW)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)
        head = self.horizontalHeader()
        head.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        head.setHighlightSections(False)
        head.setSectionResizeMode(len(heads) - 1, QHeaderView.ResizeMode.Stretch)
        for column, width in enumerate(widths):
            self.setColumnWidth(column, width)
        self.itemSelectionChanged.connect(self.chosen_changed)
        self.itemDoubleClicked.connect(lambda _: self.picked.emit(self.chosen))

    @property
    def chosen(self) -> str:
        """Id of the current row; "" for none."""
        item = self.item(self.currentRow(), 0) if self.currentRow() >= 0 else None
        return "" if item is None else str(item.data(ID_ROLE))

    def fill(
        self,
        rows: Sequence[tuple[str, Sequence[str]]],
        dim: Callable[[str], bool] | None = None,
        color: QColor | None = None,
    ) -> None:
        """Show (id, cells) and keep the current row; rows for which ``dim`` says so are in ``color``."""
        before = self.chosen
        self.blockSignals(True)
        self.setRowCount(len(rows))
        current = 0 if rows else -1
        for number, (row_id, cells) in enumerate(rows):
            for column, text in enumerate(cells):
                item = QTableWidgetItem(plain(text))
                if column == 0:
                    item.setData(ID_ROLE, row_id)
                if dim is not None and color is not None and dim(row_id):
                    item.setForeground(color)
                self.setItem(number, column, item)
            current = number if row_id == before else current
        self.setCurrentCell(current, 0)
        self.blockSignals(False)
        self.setFixedHeight(ROW * min(MOST_SHOWN, max(2, len(rows))) + self.horizontalHeader().sizeHint().height() + 4)
        self.chosen_changed.emit()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter is a choice; letters go to nobody."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            if self.chosen and not event.isAutoRepeat():
                self.picked.emit(self.chosen)
        elif event.text().isprintable() and event.text():
            event.accept()
        else:
            super().keyPressEvent(event)
