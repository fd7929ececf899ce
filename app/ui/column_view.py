"""A table whose columns can be moved, sized, hidden, sorted by and remembered, each by its key.

The half of ``TableView`` that knows nothing of rows. ``layout_of_columns`` is what a page writes into the settings,
``set_layout_of_columns`` takes it back at the next start, also when columns have come or gone since.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu, QTableView

from app.ui.theme import Theme

if TYPE_CHECKING:
    from app.models.tables.rows import RowTable


class ColumnView(QTableView):
    """See the module's docstring. The derived view sets the model, once it can hear of a current row."""

    def __init__(self, table: RowTable) -> None:
        super().__init__()
        self.table = table
        self.first_column = 0
        """Number of the column that is shown at the left."""

    def configure_columns(self) -> None:
        """Dress the header and show the columns as the table declares them."""
        head = self.horizontalHeader()
        head.setSectionsMovable(True)
        head.setSectionsClickable(True)
        head.setHighlightSections(False)
        head.setFixedHeight(Theme.ROW + 2)
        head.setMinimumSectionSize(28)
        head.setSortIndicatorShown(True)
        head.setStretchLastSection(True)
        head.setSortIndicatorClearable(True)
        head.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        head.sectionMoved.connect(lambda: self._find_first_column())
        head.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.reset_columns()
        self.set_sort(*self.table.sorted_by)
        head.sortIndicatorChanged.connect(self._sorted)

    def fill_columns(self, menu: QMenu) -> None:
        """Which columns are shown."""
        for number, column in enumerate(self.table.columns):
            action = QAction(column.title or column.key, menu)
            action.setCheckable(True)
            action.setChecked(not self.isColumnHidden(number))
            action.toggled.connect(lambda on, number=number: self._show_column(number, on))
            menu.addAction(action)
        menu.addSeparator()
        menu.addAction("As they came", self.reset_columns)

    def reset_columns(self) -> None:
        """Order, widths and visibility as the table declares them."""
        head = self.horizontalHeader()
        for number, column in enumerate(self.table.columns):
            head.moveSection(head.visualIndex(number), number)
            head.resizeSection(number, column.width)
            self.setColumnHidden(number, column.hidden)
        self._find_first_column()

    def layout_of_columns(self) -> list[dict[str, Any]]:
        """Columns from left to right with width and visibility, by key."""
        head = self.horizontalHeader()
        order = sorted(range(len(self.table.columns)), key=head.visualIndex)
        return [
            {
                "key": self.table.columns[number].key,
                "width": head.sectionSize(number) or self.table.columns[number].width,
                "shown": not self.isColumnHidden(number),
            }
            for number in order
        ]

    def set_layout_of_columns(self, layout: list[Any]) -> None:
        """Take a remembered layout; columns it does not know keep their place, rubbish in it is passed over."""
        head = self.horizontalHeader()
        keys = {column.key: number for number, column in enumerate(self.table.columns)}
        place = 0
        for entry in layout:
            number = keys.get(entry.get("key", "")) if isinstance(entry, dict) else None
            if number is None:
                continue
            head.moveSection(head.visualIndex(number), place)
            place += 1
            width = entry.get("width")
            if isinstance(width, int) and 28 <= width <= 2000:
                head.resizeSection(number, width)
            self.setColumnHidden(number, entry.get("shown") is False)
        self._find_first_column()

    def move_column(self, key: str, place: int) -> int:
        """Put a column at a place from the left; where it was."""
        head, number = self.horizontalHeader(), self.table.column_number(key)
        before = head.visualIndex(number)
        head.moveSection(before, place)
        return before

    def set_sort(self, key: str, descending: bool) -> None:
        """Show and apply a sort order."""
        keys = [column.key for column in self.table.columns]
        number = keys.index(key) if key in keys else -1
        order = Qt.SortOrder.DescendingOrder if descending else Qt.SortOrder.AscendingOrder
        self.horizontalHeader().setSortIndicator(number, order)
        if self.table.sorted_by != (key, descending):
            self.table.sort_by(key, descending=descending)

    def _sorted(self, number: int, order: Qt.SortOrder) -> None:
        key = self.table.columns[number].key if 0 <= number < len(self.table.columns) else ""
        self.table.sort_by(key, descending=order == Qt.SortOrder.DescendingOrder)

    def _show_column(self, number: int, on: bool) -> None:
        shown = sum(not self.isColumnHidden(one) for one in range(len(self.table.columns)))
        if on or shown > 1:
            self.setColumnHidden(number, not on)
            self._find_first_column()

    def _find_first_column(self) -> None:
        head = self.horizontalHeader()
        shown = (number for number in range(len(self.table.columns)) if not self.isColumnHidden(number))
        self.first_column = min(shown, key=head.visualIndex, default=0)
        self.viewport().update()
