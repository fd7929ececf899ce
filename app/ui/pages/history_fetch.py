"""Pages of history and audit: what was asked for, what has come, and whether there is more.

Used by ``history.py``, one per tab. A query that was replaced by another one throws its late answer away. What
happens while the page is in front is fetched again from the newest row on, because an event said so, never on a timer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Signal

from app.client.api import ApiError
from app.client.shapes import Page
from app.models.tables.paged import PagedTable

if TYPE_CHECKING:
    from app.client.api import BrokerClient
    from app.ui.context import Context

PAGE = 200
"""Rows of one request."""
FRESH = 100
"""Rows that are asked for when something new has happened."""

Ask = Callable[["BrokerClient", Page], Awaitable[Sequence[Any]]]


class Fetcher(QObject):
    """Fills ``table`` from ``ask``; ``changed`` after anything that a person could see."""

    changed = Signal()

    def __init__(self, context: Context, table: PagedTable, ask: Ask, noun: str) -> None:
        super().__init__()
        self.context = context
        self.table = table
        self.noun = noun
        self.since: float | None = None
        self.until: float | None = None
        self.busy = False
        self.complete = False
        """Nothing older is left in the asked span."""
        self.error = ""
        self.asked = False
        self._ask = ask
        self._query = 0

    def restart(self, since: float | None, until: float | None) -> None:
        """Another span of time: forget what was there and ask for its first page."""
        self.since, self.until = since, until
        self._query += 1
        self.busy = self.complete = False
        self.error = ""
        self.asked = True
        self.table.clear()
        self.older()

    def older(self) -> None:
        """The next older page, unless one is on its way or nothing is left."""
        if self.busy or self.complete:
            return
        client = self.context.client
        if client is None:
            self.error = "No broker is connected."
            self.changed.emit()
            return
        self.busy = True
        self.changed.emit()
        page = Page(since=self.since, until=self.until, before=self.table.oldest, limit=PAGE)
        self.context.spawn(self._older(client, page, self._query), f"read {self.noun}")

    def newest(self) -> None:
        """Something happened: put the newest rows in front; so many that there is a gap, and all is asked for again."""
        client = self.context.client
        if client is None or not self.asked or self.until is not None:
            return
        page = Page(since=self.since, limit=FRESH)
        self.context.spawn(self._newest(client, page, self._query), f"read new {self.noun}")

    async def _older(self, client: BrokerClient, page: Page, query: int) -> None:
        try:
            rows = await self._ask(client, page)
        except ApiError as error:
            if query == self._query:
                self.busy, self.error = False, error.text
                self.changed.emit()
            return
        if query != self._query:
            return
        self.busy, self.error = False, ""
        self.complete = len(rows) < PAGE
        self.table.append_page(rows)
        self.changed.emit()

    async def _newest(self, client: BrokerClient, page: Page, query: int) -> None:
        try:
            rows = await self._ask(client, page)
        except ApiError as error:
            if query == self._query:
                self.error = error.text
                self.changed.emit()
            return
        if query == self._query:
            self.error = ""
            had = self.table.total
            if had and self.table.prepend(rows) == FRESH:
                self.restart(self.since, self.until)
            elif not had:
                self.table.append_page(rows)
            self.changed.emit()
