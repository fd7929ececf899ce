"""A table of rows that were asked for by page (history, audit): newest first, more at the end on request.

The page of the console fetches; this keeps what came, each id once, and knows where the next page begins. Rows that
happen while it is shown are put in front. Filter and sort work on what has been fetched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from app.contract import Row
from app.models.tables.columns import Item
from app.models.tables.rows import RowTable

MOST_ROWS = 20_000
"""Rows that are kept; what is older is dropped from the end and can be fetched again."""


class PagedTable(RowTable):
    """See the module's docstring. Derived tables say which time orders their rows."""

    @staticmethod
    def time_of(row: Any) -> float:
        """The time by which the broker pages these rows."""
        raise NotImplementedError

    def clear(self) -> None:
        """Forget everything, before another query's first page."""
        self._items = {}
        self._marks.clear()
        self.arrange()

    def append_page(self, rows: Sequence[Row]) -> int:
        """Add an older page; the number of rows that were new."""
        return self._add(rows, front=False)

    def prepend(self, rows: Sequence[Row]) -> int:
        """Add rows that happened just now, newest first; a row that is there already is renewed in place."""
        return self._add(rows, front=True)

    @property
    def oldest(self) -> tuple[float, str] | None:
        """(time, id) before which the next page lies; None while there are no rows."""
        last = next(reversed(self._items.values()), None)
        return None if last is None else (self.time_of(last.row), last.id)

    def _add(self, rows: Iterable[Row], *, front: bool) -> int:
        fresh: dict[str, Item] = {}
        renewed = set()
        for row in rows:
            known = self._items.get(row.id)
            if known is None:
                fresh[row.id] = Item(row.id, row)
            else:
                known.renew(row, None)
                renewed.add(row.id)
        if fresh:
            self._items = {**fresh, **self._items} if front else {**self._items, **fresh}
            for row_id in list(self._items)[MOST_ROWS:]:
                del self._items[row_id]
                self._marks.discard(row_id)
        self.arrange()
        if renewed:
            self.announce_rows(renewed)
        return len(fresh)
