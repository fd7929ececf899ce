"""From one order of rows to the next with as few and as gentle model signals as possible.

Called by ``rows.RowTable``. Selection, current row and scroll position survive row moves, insertions and
removals; only when a large part of the rows changes is a reset cheaper, and the view then finds its row by id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from PySide6.QtCore import QModelIndex

if TYPE_CHECKING:
    from app.models.tables.cells import CellTable
    from app.models.tables.columns import Item

MOST_RANGES = 40
"""Insertions and removals beyond this many runs of rows become one reset."""


def rearrange(table: CellTable, new: list[Item]) -> bool:
    """Make ``new`` the table's order and announce it; False when nothing had to be said."""
    old = table.order_items
    if new == old:
        return False
    before, after = set(old), set(new)
    if before == after:
        _relayout(table, new)
        return True
    lost = list(runs([row for row, item in enumerate(old) if item not in after]))
    come = list(runs([row for row, item in enumerate(new) if item not in before]))
    if not old or not new or len(lost) + len(come) > MOST_RANGES:
        table.beginResetModel()
        table.set_order_items(new)
        table.endResetModel()
        return True
    nowhere = QModelIndex()
    for first, last in reversed(lost):
        table.beginRemoveRows(nowhere, first, last)
        del old[first : last + 1]
        table.forget_positions()  # who hears of the change asks where rows are now
        table.endRemoveRows()
    kept = [item for item in new if item in before]
    if kept != old:
        _relayout(table, kept)
    for first, last in come:
        table.beginInsertRows(nowhere, first, last)
        table.order_items[first:first] = new[first : last + 1]
        table.forget_positions()
        table.endInsertRows()
    return True


def _relayout(table: CellTable, new: list[Item]) -> None:
    table.layoutAboutToBeChanged.emit()
    old = table.order_items
    held = table.persistentIndexList()
    table.set_order_items(new)
    if held:
        position = {item: row for row, item in enumerate(new)}
        moved = [table.index(position[old[index.row()]], index.column()) for index in held]
        table.changePersistentIndexList(held, moved)
    table.layoutChanged.emit()


def runs(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Ascending numbers as (first, last) of each unbroken run."""
    first = last = -1
    for row in numbers:
        if last >= 0 and row == last + 1:
            last = row
            continue
        if last >= 0:
            yield first, last
        first = last = row
    if last >= 0:
        yield first, last
