"""Pages of lists, and encoded rows that are kept from one listing to the next.

Which rows there are, and their order, is asked of the fleet each time; only the bytes are remembered. Used by the modules
with the endpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from app.contract import Row
from app.server.dialects.streamspace.errors import Json
from app.server.dialects.streamspace.wire import Paged
from app.server.events import EventLog, Published

R = TypeVar("R", bound=Row)
S = TypeVar("S")


class Kept(Generic[R]):
    """The rows of one table as bytes, each as long as the fleet keeps that very row: rows are replaced, not altered."""

    def __init__(self, events: EventLog, table: str, shape: Callable[[R], Any]) -> None:
        self._shape = shape
        self._known: dict[str, tuple[R, bytes]] = {}
        events.subscribe(self._on_removed, f"{table}.removed")

    def of(self, row: R) -> bytes:
        """One row."""
        known = self._known.get(row.id)
        if known is not None and known[0] is row:
            return known[1]
        encoded = msgspec.json.encode(self._shape(row))
        self._known[row.id] = (row, encoded)
        return encoded

    def _on_removed(self, event: Published) -> None:
        self._known.pop(event.id, None)


def page_of(rows: Sequence[S], query: Paged) -> Sequence[S]:
    """The rows of one page; none beyond the end."""
    begin = (query.page - 1) * query.limit
    return rows[begin : begin + query.limit]


def listed(name: str, items: Sequence[bytes], query: Paged, total: int) -> Json:
    """A page as it is answered."""
    pages = -(-total // query.limit)
    return Json(
        b'{"%b":[%b],"pagination":{"page":%d,"limit":%d,"total":%d,"total_pages":%d}}'
        % (name.encode(), b",".join(items), query.page, query.limit, total, pages)
    )
