"""Cells of a table: what the view asks, what delegates read, and how changed cells are announced.

``CellTable`` holds items and their order; ``rows.RowTable`` decides the order. Delegates and pages may call the
plain methods (``item``, ``cell``, ``state_of``, ``spark_of``) instead of ``QModelIndex.data``, which costs a trip
through C++ for each cell. Text from the network is returned as plain text; only tooltips are escaped HTML,
because Qt takes a tooltip that looks like HTML for HTML.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt

from app.contract import LATE_AFTER, STREAM_TTL
from app.models.states import State
from app.models.store import Store
from app.models.tables.arrange import runs
from app.models.tables.columns import (
    ACCESSIBLE_ROLE,
    ALIGN_ROLE,
    ALIGNMENTS,
    DISPLAY_ROLE,
    GHOST_ROLE,
    GROUP_ROLE,
    ID_ROLE,
    KIND_ROLE,
    MARK_ROLE,
    SPARK_ROLE,
    STATE_ROLE,
    TOOLTIP_ROLE,
    TTL_ROLE,
    Column,
    Item,
    Moment,
)

_FLAGS = Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemNeverHasChildren
_HORIZONTAL = Qt.Orientation.Horizontal
Index = QModelIndex | QPersistentModelIndex


class CellTable(QAbstractTableModel):
    """Items in an order, and their cells. Derived tables set ``columns``."""

    columns: tuple[Column, ...] = ()

    def __init__(self, store: Store, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.moment = Moment(store)
        self._items: dict[str, Item] = {}
        self._order: list[Item] = []
        self._positions: dict[str, int] | None = None
        self._by_key = {column.key: number for number, column in enumerate(self.columns)}
        self._shown = (0, 100)

    # What the view asks -------------------------------------------------------------------------------

    def rowCount(self, parent: Index = QModelIndex()) -> int:
        return 0 if parent.isValid() else len(self._order)

    def columnCount(self, parent: Index = QModelIndex()) -> int:
        return 0 if parent.isValid() else len(self.columns)

    def flags(self, index: Index) -> Qt.ItemFlag:
        return _FLAGS if index.isValid() else Qt.ItemFlag.NoItemFlags

    def data(self, index: Index, role: int = DISPLAY_ROLE) -> Any:
        if not index.isValid():
            return None
        item = self._order[index.row()]
        if role == DISPLAY_ROLE:
            return self.cell(item, self.columns[index.column()])
        if role == ALIGN_ROLE:
            return ALIGNMENTS[self.columns[index.column()].align]
        if role >= ID_ROLE:
            return self._own_role(item, index, role)
        if role == TOOLTIP_ROLE:
            return self._tooltip(item, self.columns[index.column()])
        if role == ACCESSIBLE_ROLE:
            return self._spoken(item, self.columns[index.column()])
        return None

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = DISPLAY_ROLE) -> Any:
        if orientation != _HORIZONTAL or not 0 <= section < len(self.columns):
            return None
        column = self.columns[section]
        if role == DISPLAY_ROLE:
            return column.title
        if role == TOOLTIP_ROLE:
            return column.hint
        if role == ALIGN_ROLE:
            return ALIGNMENTS[column.align]
        return column.kind if role == KIND_ROLE else None

    def _own_role(self, item: Item, index: Index, role: int) -> Any:
        if role == ID_ROLE:
            return item.id
        if role == STATE_ROLE:
            return self.state_of(item)
        if role == GHOST_ROLE:
            return item.ghost.cause if item.ghost is not None else ""
        if role == MARK_ROLE:
            return item.marked
        if role == GROUP_ROLE:
            return self.group_title(index.row())
        column = self.columns[index.column()]
        if role == KIND_ROLE:
            return column.kind
        if role == TTL_ROLE:
            return self.ttl_of(item) if column.kind == "ttl" else None
        if role == SPARK_ROLE:
            return list(self.spark_of(item)) if column.kind == "spark" else None
        return None

    def _tooltip(self, item: Item, column: Column) -> str:
        """Escaped, because Qt takes a tooltip that looks like HTML for HTML."""
        text = column.tooltip(item, self.moment) if column.tooltip is not None else self.cell(item, column)
        return f"<p style='white-space:pre-wrap'>{escape(text)}</p>" if text else ""

    def _spoken(self, item: Item, column: Column) -> str:
        """For screen readers: title and cell, since many cells are bare numbers or painted."""
        state = self.state_of(item) if column.kind == "state" else None
        return f"{column.title}: {self.cell(item, column) if state is None else state.sentence}"

    # What a derived table may say ---------------------------------------------------------------------

    def state_of(self, item: Item) -> State | None:
        """State of a row now; None where rows have none."""
        return None

    def ttl_of(self, item: Item) -> float | None:
        """Seconds of TTL left; None for a ghost and where there is no TTL."""
        return None

    spark_full = STREAM_TTL
    """Value at the top of a sparkline."""
    spark_high = LATE_AFTER
    """A last value above it makes the line ``spark_color``."""
    spark_color = "stale"
    spark_steps = 23
    """Samples that fill the cell from left to right."""

    def spark_of(self, item: Item) -> Sequence[float]:
        """Numbers of a row's sparkline, oldest first."""
        return ()

    def search_text(self, item: Item) -> str:
        """What bare filter terms look at, a line each: every cell that does not change with time, and the id."""
        cells = [self.cell(item, column) for column in self.columns if column.searched]
        return "\n".join((*cells, item.id)).lower()

    # Plain reading, for delegates, pages and verbs ------------------------------------------------------

    @property
    def order_items(self) -> list[Item]:
        """The shown items in order; only ``arrange`` changes the list."""
        return self._order

    @property
    def order(self) -> list[str]:
        """Ids of the shown rows in order."""
        return [item.id for item in self._order]

    @property
    def total(self) -> int:
        """Rows with and without the filter."""
        return len(self._items)

    def item(self, row: int) -> Item:
        """The item at a row number of now; bind to its ``id``, never to the number."""
        return self._order[row]

    def find(self, row_id: str) -> Item | None:
        """The item with an id, shown or filtered out."""
        return self._items.get(row_id)

    def row_of(self, row_id: str) -> int:
        """Where an id stands now; -1 when it is not shown."""
        if self._positions is None:
            self._positions = {item.id: row for row, item in enumerate(self._order)}
        return self._positions.get(row_id, -1)

    def index_of(self, row_id: str, column: int = 0) -> QModelIndex:
        """The index of an id; invalid when it is not shown."""
        row = self.row_of(row_id)
        return self.index(row, column) if row >= 0 else QModelIndex()

    def column(self, key: str) -> Column:
        """A column by its key. Raises KeyError."""
        return self.columns[self._by_key[key]]

    def column_number(self, key: str) -> int:
        """Number of a column by its key. Raises KeyError."""
        return self._by_key[key]

    def cell(self, item: Item, column: Column) -> str:
        """The text of a cell, from the item's cache unless it changes with time."""
        if column.clock:
            return column.text(item, self.moment)
        text = item.cells.get(column.key)
        if text is None:
            text = item.cells[column.key] = column.text(item, self.moment)
        return text

    def group_title(self, row: int) -> str:
        """The group's title when ``row`` is the first of its group, else ``""``."""
        group = self._order[row].group
        return group if group and (row == 0 or self._order[row - 1].group != group) else ""

    def record(self, item: Item) -> dict[str, Any]:
        """A row as plain values by column key, and its ``id``; numbers stay numbers, times seconds."""
        values = {
            column.key: self.cell(item, column) if column.value is None else column.value(item, self.moment)
            for column in self.columns
            if column.kind != "button"
        }
        return values | {"id": item.id}

    # For ``arrange`` ------------------------------------------------------------------------------------

    def set_order_items(self, items: list[Item]) -> None:
        """Replace the order without a signal; called between the signals of ``arrange``."""
        self._order = items
        self._positions = None

    def forget_positions(self) -> None:
        """Row numbers changed."""
        self._positions = None

    # Announcing -----------------------------------------------------------------------------------------

    def set_shown(self, first: int, last: int) -> None:
        """The view shows rows ``first`` to ``last``; only these are announced when their cells change."""
        self._shown = (max(0, first), last)

    def announce_rows(self, ids: set[str]) -> None:
        """Say that the cells of those rows changed, as far as they are shown."""
        first, last = self._shown_rows()
        right = len(self.columns) - 1
        for row in range(first, last + 1):
            if self._order[row].id in ids:
                self.dataChanged.emit(self.index(row, 0), self.index(row, right))

    def announce_all(self) -> None:
        """Say that every shown cell may read differently."""
        self._announce_columns(range(len(self.columns)))

    def announce_clock(self, kind: str = "") -> None:
        """Say that shown cells changed with time: every clock column, or those of one kind."""
        self._announce_columns(
            number for number, column in enumerate(self.columns) if column.clock and kind in ("", column.kind)
        )

    def _announce_columns(self, numbers: Iterable[int]) -> None:
        first, last = self._shown_rows()
        if first <= last:
            for left, right in runs(numbers):
                self.dataChanged.emit(self.index(first, left), self.index(last, right))

    def _shown_rows(self) -> tuple[int, int]:
        return self._shown[0], min(self._shown[1], len(self._order) - 1)
