"""A table whose columns can be moved, sized, hidden, sorted by and remembered, each by its key.

The half of ``TableView`` that knows nothing of rows. ``layout_of_columns`` is what a page writes into the settings,
``set_layout_of_columns`` takes it back at the next start, also when columns have come or gone since. Where the table is
too narrow for all, columns that may yield do (``Column.yields``), but for the one it is sorted by and those the
operator asked for; they come back with the room. Where there is room to spare, columns grow to the width of their
longest usual text (``Column.wide``) before the last one takes the rest; what the operator sized stays as it is.
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
        self._yielding: dict[int, int] = {}
        """Columns that are hidden only for want of room, with their widths."""
        self._asked_for: set[int] = set()
        self._grown: dict[int, tuple[int, int]] = {}
        """Columns that were given room to spare: their own width, and the one they have now."""

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
            title = column.title or column.key
            action = QAction(f"{title} (no room)" if number in self._yielding else title, menu)
            action.setCheckable(True)
            action.setChecked(not self.isColumnHidden(number))
            action.toggled.connect(lambda on, number=number: self._show_column(number, on))
            menu.addAction(action)
        menu.addSeparator()
        menu.addAction("As they came", self.reset_columns)

    def reset_columns(self) -> None:
        """Order, widths and visibility as the table declares them."""
        head = self.horizontalHeader()
        self._yielding.clear()
        self._asked_for.clear()
        self._grown.clear()
        for number, column in enumerate(self.table.columns):
            head.moveSection(head.visualIndex(number), number)
            head.resizeSection(number, column.width)
            self.setColumnHidden(number, column.hidden)
        self.fit_columns()

    def layout_of_columns(self) -> list[dict[str, Any]]:
        """Columns from left to right by key, with visibility, and with the width where the operator made it another."""
        head = self.horizontalHeader()
        order = sorted(range(len(self.table.columns)), key=head.visualIndex)
        return [
            {
                "key": self.table.columns[number].key,
                "shown": not self.isColumnHidden(number) or number in self._yielding,
            }
            | ({} if self._width_of(number) == self.table.columns[number].width else {"width": self._width_of(number)})
            for number in order
        ]

    def fit_columns(self) -> None:
        """Columns that may yield do where there is no room for all, and come back where there is."""
        wanted = self._wanted()
        yielding: set[int] = set()
        may = [number for number in wanted if self._may_yield(number)]
        for number in sorted(may, key=lambda one: -self.table.columns[one].yields):
            if self._needed([one for one in wanted if one not in yielding]) <= self.viewport().width():
                break
            yielding.add(number)
        widths = {number: self._width_of(number) for number in yielding}
        stretched = self._last_of(self._shown())
        for number in self._yielding.keys() - yielding:
            self.setColumnHidden(number, False)
        for number in yielding - self._yielding.keys():
            self.setColumnHidden(number, True)
        self._yielding = widths
        if stretched >= 0 and stretched != self._last_of(self._shown()) and stretched not in yielding:
            self.horizontalHeader().resizeSection(stretched, self.table.columns[stretched].width)
        self._grow()
        self._find_first_column()

    def _grow(self) -> None:
        """Share out what room there is to spare, from the right: what stands first was declared wide enough for most."""
        head, shown = self.horizontalHeader(), self._shown()
        spare = self.viewport().width() - self._needed(shown)
        last = self._last_of(shown)
        own = {number: self._width_of(number) for number in shown if number != last}
        for number in sorted(own, reverse=True):
            column, width = self.table.columns[number], own[number]
            more = min(max(0, spare), max(0, column.wide - width)) if width == column.width else 0
            spare -= more
            self._grown[number] = width, width + more
            if head.sectionSize(number) != width + more:
                head.resizeSection(number, width + more)

    def _shown(self) -> list[int]:
        return [one for one in range(len(self.table.columns)) if not self.isColumnHidden(one)]

    def _wanted(self) -> list[int]:
        """Columns that would be shown if there were room."""
        count = len(self.table.columns)
        return [one for one in range(count) if not self.isColumnHidden(one) or one in self._yielding]

    def _may_yield(self, number: int) -> bool:
        column = self.table.columns[number]
        return column.yields > 0 and number not in self._asked_for and column.key != self.table.sorted_by[0]

    def _width_of(self, number: int) -> int:
        """As declared or as the operator made it; the last one is stretched, which says nothing."""
        if number == self._last_of(self._shown()):
            return self.table.columns[number].width
        size = self.horizontalHeader().sectionSize(number)
        own, given = self._grown.get(number, (0, -1))
        if size == given:
            return own
        size = self._yielding.get(number) or size
        return size or self.table.columns[number].width

    def _last_of(self, numbers: list[int]) -> int:
        return max(numbers, key=self.horizontalHeader().visualIndex, default=-1)

    def _needed(self, numbers: list[int]) -> int:
        """The last one takes what is left, but not less than it was declared with."""
        last = self._last_of(numbers)
        return sum(self.table.columns[one].width if one == last else self._width_of(one) for one in numbers)

    def set_layout_of_columns(self, layout: list[Any]) -> None:
        """Take a remembered layout; columns it does not know keep their place, rubbish in it is passed over."""
        head = self.horizontalHeader()
        keys = {column.key: number for number, column in enumerate(self.table.columns)}
        self._grown.clear()
        for one, column in enumerate(self.table.columns):
            head.resizeSection(one, column.width)
        while self._yielding:
            self.setColumnHidden(self._yielding.popitem()[0], False)
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
        self.fit_columns()

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
        self.fit_columns()

    def _show_column(self, number: int, on: bool) -> None:
        shown = sum(not self.isColumnHidden(one) for one in range(len(self.table.columns)))
        if on or shown > 1:
            self._yielding.pop(number, None)
            (self._asked_for.add if on else self._asked_for.discard)(number)
            self.setColumnHidden(number, not on)
            self.fit_columns()

    def _find_first_column(self) -> None:
        head = self.horizontalHeader()
        shown = (number for number in range(len(self.table.columns)) if not self.isColumnHidden(number))
        self.first_column = min(shown, key=head.visualIndex, default=0)
        self.viewport().update()
