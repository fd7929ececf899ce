"""The table every screen uses: filter and sort in Python, and marks by id.

``RowTable`` knows nothing of where rows come from: ``live.LiveTable`` feeds it from the store, ``paged.PagedTable``
with pages of history and audit. No proxy model stands between this and the view: sorting 10,000 rows would cost
it 500 ms (measured), here it costs 10. A mark that the filter hides is counted and never acted
on (console rule 8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from PySide6.QtCore import QModelIndex, QObject, Qt, Signal

from app.models.filter import Field, Query, QueryError, parse
from app.models.store import Store
from app.models.tables.arrange import rearrange
from app.models.tables.cells import CellTable
from app.models.tables.columns import Column, Item
from app.models.wording import natural


class RowTable(CellTable):
    """Rows in an order of their own. Derived tables set ``columns``, ``default_sort`` and maybe ``aliases``."""

    default_sort = ""
    aliases: dict[str, str] = {}
    """Other names under which the filter knows a column."""
    extra_fields: dict[str, Field] = {}
    """Fields of the filter that have no column."""
    order_changed = Signal()
    """After rows came, went or moved, or the filter changed: counts are read anew."""
    marks_changed = Signal()

    def __init__(self, store: Store, parent: QObject | None = None) -> None:
        super().__init__(store, parent)
        self.fields = {column.key: self.field_of(column) for column in self.columns if column.kind != "button"}
        self.fields |= {"id": Field("text", lambda item, _moment: item.id), **self.extra_fields}
        self.fields |= {alias: self.fields[key] for alias, key in self.aliases.items()}
        self._query = Query()
        self._sort = self.column(self.default_sort) if self.default_sort else None
        self._descending = False
        self._marks: set[str] = set()

    # Filter and sort ------------------------------------------------------------------------------------

    @property
    def query(self) -> Query:
        """The filter that is in force."""
        return self._query

    @property
    def sorted_by(self) -> tuple[str, bool]:
        """Key of the sorted column ("" for the order of arrival) and whether it runs downwards."""
        return (self._sort.key if self._sort is not None else "", self._descending)

    def apply_filter(self, text: str) -> QueryError | None:
        """Show only what matches; a bad query is returned as an error and the old filter stays."""
        query = parse(text, self.fields)
        if isinstance(query, QueryError):
            return query
        old, self._query = self._query, query
        try:
            self.arrange()
        except QueryError as error:
            self._query = old
            return error
        return None

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by the column with that number; -1: the order in which rows came."""
        key = self.columns[column].key if 0 <= column < len(self.columns) else ""
        self.sort_by(key, descending=order == Qt.SortOrder.DescendingOrder)

    def sort_by(self, key: str, *, descending: bool = False) -> None:
        """Sort by a column's key; "" for the order of arrival. An unknown key is taken for ""."""
        self._sort = self.column(key) if key in self._by_key else None
        self._descending = descending
        self.arrange()

    def arrange(self) -> None:
        """Filter and sort now and announce what became of it."""
        self.moment.now = self.moment.store.broker_now()
        new = self.sorted_items(self.passing(self._items.values()))
        if rearrange(self, new):
            self.order_changed.emit()

    def passing(self, items: Iterable[Item]) -> list[Item]:
        """Those items that the filter lets through."""
        found = list(items)
        if not self._query.terms:
            return found
        for item in found:
            if not item.text:
                item.text = self.search_text(item)
        return self._query.select(found, self.moment)

    def sorted_items(self, items: list[Item]) -> list[Item]:
        """``items`` in the order of the sorted column, equal ones in the order of arrival."""
        if self._sort is None:
            return items[::-1] if self._descending else items
        return sorted(items, key=self.sort_key(self._sort), reverse=self._descending)

    def sort_key(self, column: Column) -> Callable[[Item], Any]:
        """What ``sorted`` compares for a column; cached in the item where it does not change with time."""
        moment, name, function = self.moment, column.key, column.sort
        if function is not None and column.clock:
            return lambda item: function(item, moment)

        def cached(item: Item) -> Any:
            key = item.keys.get(name)
            if key is None:
                key = natural(self.cell(item, column)) if function is None else function(item, moment)
                item.keys[name] = key
            return key

        return cached

    def field_of(self, column: Column) -> Field:
        """The filter's field for a column: its own, or its text."""
        if column.field is not None:
            return column.field
        return Field("text", lambda item, _moment: self.cell(item, column), dynamic=column.clock)

    def drop_filter(self) -> None:
        """Show everything."""
        self._query = Query()
        self.arrange()

    def append(self, items: list[Item]) -> None:
        """Add items at the end of the shown order without sorting."""
        if items:
            first = len(self._order)
            self.beginInsertRows(QModelIndex(), first, first + len(items) - 1)
            self._order.extend(items)
            self.forget_positions()
            self.endInsertRows()
            self.order_changed.emit()

    # Marks ----------------------------------------------------------------------------------------------

    def set_mark(self, row_id: str, on: bool) -> None:
        """Mark or unmark one row."""
        self._set((row_id,), on)

    def toggle_mark(self, row_id: str) -> None:
        """Turn one mark round."""
        item = self.find(row_id)
        if item is not None:
            self._set((row_id,), not item.marked)

    def mark_span(self, first: int, last: int) -> None:
        """Mark the shown rows from one row number to another, both included, in either order."""
        low, high = sorted((first, last))
        self._set([item.id for item in self.order_items[max(0, low) : high + 1]], True)

    def mark_filtered(self) -> None:
        """Mark every row that passes the filter and is alive."""
        self._set([item.id for item in self.order_items if item.ghost is None], True)

    def clear_marks(self) -> None:
        """Unmark everything, also what the filter hides."""
        self._set(self._marks, False)

    def marked(self) -> list[str]:
        """Ids of marked rows that pass the filter and are alive, in the shown order: what a verb acts on."""
        shown = sorted((self.row_of(row_id), row_id) for row_id in self._alive_marks())
        return [row_id for row, row_id in shown if row >= 0]

    def hidden_marks(self) -> int:
        """How many marked, living rows the filter hides."""
        return sum(self.row_of(row_id) < 0 for row_id in self._alive_marks())

    def _alive_marks(self) -> list[str]:
        alive = [item for item in map(self.find, self._marks) if item is not None and item.ghost is None]
        return [item.id for item in alive]

    def _set(self, ids: Iterable[str], on: bool) -> None:
        changed = set()
        for row_id in ids:
            item = self.find(row_id)
            if item is not None and item.marked != on:
                item.marked = on
                changed.add(row_id)
        if changed:
            self._marks = self._marks | changed if on else self._marks - changed
            self.announce_rows(changed)
            self.marks_changed.emit()
