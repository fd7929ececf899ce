"""The History page: sessions of the last 90 days and every act of every operator, two tabs, one filter.

Rows come by page as one scrolls (``history_fetch.py``), words come from ``history_text.py``. Two marked rows show what
changed between them. ``R`` takes again what a row tells of, where its stream still lives; ``Delete`` kicks a session
that still runs, with the same hold-back as on Sessions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QKeyEvent, QKeySequence
from PySide6.QtWidgets import (
    QButtonGroup,
    QHBoxLayout,
    QMenu,
    QPushButton,
    QSplitter,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from app.contract import AuditRow, HistoryRow
from app.models.changes import Changes
from app.models.filter import QueryError
from app.models.tables.audit import AuditTable
from app.models.tables.history import HistoryTable
from app.models.tables.paged import PagedTable
from app.models.wording import counted, date_text
from app.ui.details import DetailsPane, Section
from app.ui.empty import EmptyText
from app.ui.export import ExportPanel, extract_of
from app.ui.filter_box import FilterBox
from app.ui.page import Page
from app.ui.pages import history_text as text
from app.ui.pages.history_acts import OTHER_LIST, declare
from app.ui.pages.history_fetch import Fetcher
from app.ui.pages.time_range import TimeRange
from app.ui.table_view import TableView
from app.ui.theme import escape_tooltip, plain_label

if TYPE_CHECKING:
    from app.ui.context import Context

NEAR_END = 30
"""Rows above the end of the list at which the next page is asked for."""
SETTLE_MILLISECONDS = 700
"""After a session began or ended, its history row is asked for this much later: several come together."""
WORDS: dict[str, dict[str, Any]] = {
    "operator": {"width": 100}, "verb": {"width": 84},
    "object": {"width": 230, "text": lambda item, moment: text.object_text(item.row, moment.store)},
    "change": {"width": 300, "text": lambda item, _: text.change_text(item.row), "yields": 1},
    "result": {"width": 260, "wide": 360, "text": lambda item, _: text.result_text(item.row)}, "ms": {"width": 56, "yields": 2},
}  # fmt: skip
"""The audit's cells in an operator's words."""
WIDTHS: dict[str, dict[str, Any]] = {
    "status": {"width": 176}, "what": {"width": 190}, "type": {"width": 60, "yields": 3},
    "from": {"width": 112, "wide": 140, "yields": 1},
    "who": {"width": 124, "wide": 140}, "way": {"width": 246, "yields": 2}, "protocol": {"width": 72, "wide": 108, "yields": 4},
    "duration": {"width": 78}, "ended": {"hidden": True},
    "error": {"hidden": True},
}  # fmt: skip
"""Columns of the sessions as they fit beside each other at 1440 px; the end is in the details, and a duration away."""


class ActsTable(AuditTable):
    """The audit as an operator reads it."""

    columns: Any = tuple(replace(column, **WORDS.get(column.key, {})) for column in AuditTable.columns)


class PastTable(HistoryTable):
    """Sessions of the past."""

    columns: Any = tuple(replace(column, **WIDTHS.get(column.key, {})) for column in HistoryTable.columns)


class Tab:
    """One of the two lists."""

    def __init__(self, context: Context, name: str, table: PagedTable, strong: tuple[str, ...], ask: Any) -> None:
        self.name = name
        self.table = table
        self.view = TableView(context, table, strong=strong)
        self.empty = EmptyText(self.view, context)
        self.fetcher = Fetcher(context, table, ask, name)


class HistoryPage(Page):
    """See the module's docstring."""

    title: ClassVar[str] = "History"
    key: ClassVar[str] = "Ctrl+7"
    glyph: ClassVar[str] = "history"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._front = False
        self._covered = False
        self.tabs = (
            Tab(context, "sessions of the past", PastTable(context.store), ("what", "who"), lambda client, page: client.history(page=page)),
            Tab(context, "acts", ActsTable(context.store), ("object", "verb"), lambda client, page: client.audit(page=page)),
        )  # fmt: skip
        self.filter = FilterBox()
        self.filter.edit.setPlaceholderText("Filter   /   wall  -rec  to:truck  10.0.0.0/24  time<5m")
        self.range = TimeRange(context)
        self.details = DetailsPane(context)
        self._fresh = QTimer(self)
        self._fresh.setSingleShot(True)
        self._fresh.setInterval(SETTLE_MILLISECONDS)
        self._fresh.timeout.connect(self.tabs[0].fetcher.newest)
        self._build()
        self._connect()
        declare(context.actions, self._row)
        context.store.listen(self._on_changes)

    # -- building ----------------------------------------------------------------------------------------------

    def _build(self) -> None:
        head = QHBoxLayout()
        head.setContentsMargins(12, 7, 12, 7)
        head.setSpacing(8)
        self.switch = QButtonGroup(self)
        for number, words in enumerate(("Sessions", "Audit")):
            button = QPushButton(words)
            button.setToolTip(f"{OTHER_LIST} shows the other list")
            button.setCheckable(True)
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            button.setChecked(number == 0)
            self.switch.addButton(button, number)
            head.addWidget(button)
        head.addSpacing(8)
        self.filter.setMinimumWidth(220)
        self.filter.setMaximumWidth(560)
        head.addWidget(self.filter, 3)
        head.addStretch(1)
        head.addWidget(self.range)
        self.again_button = QPushButton("Take again   R")
        self.again_button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        head.addWidget(self.again_button)
        self.stack = QStackedWidget()
        for tab in self.tabs:
            self.stack.addWidget(tab.view)
        self.foot = plain_label("", "caption")
        self.foot.setContentsMargins(12, 4, 12, 4)
        left = QWidget()
        column = QVBoxLayout(left)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.stack, 1)
        column.addWidget(self.foot)
        self.split = QSplitter(Qt.Orientation.Horizontal)
        self.split.setHandleWidth(1)
        self.split.setChildrenCollapsible(False)
        self.split.addWidget(left)
        self.split.addWidget(self.details)
        self.split.setStretchFactor(0, 1)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(0)
        whole.addLayout(head)
        whole.addWidget(self.split, 1)

    def _connect(self) -> None:
        self.switch.idClicked.connect(self.show_tab)
        self.range.changed.connect(self.restart)
        self.again_button.clicked.connect(self.take_again)
        self.filter.changed.connect(self.apply_filter)
        self.filter.left.connect(lambda: self.tab.view.setFocus())
        self.details.close_wanted.connect(self.toggle_details)
        settings = self.context.settings
        self.details.setVisible(settings.get("window/details_open"))
        self.split.setSizes([10_000, settings.get("window/details_width")])
        for tab, name in zip(self.tabs, ("history", "audit"), strict=True):
            tab.view.set_layout_of_columns(settings.get("columns/", name))
            tab.view.verb_key = self.dispatch_key
            tab.view.fill_menu = self.fill_menu
            tab.view.activated_id.connect(lambda _: self.toggle_details())
            tab.view.current_changed.connect(lambda _: self.refresh())
            tab.view.verticalScrollBar().valueChanged.connect(lambda _: self._near_end())
            tab.table.marks_changed.connect(self.refresh)
            tab.table.order_changed.connect(self._count)
            tab.fetcher.changed.connect(self._fetched)

    def view_of(self, number: int) -> TableView:
        """The list of one tab."""
        return self.tabs[number].view

    # -- life --------------------------------------------------------------------------------------------------

    @property
    def tab(self) -> Tab:
        """The list that is shown."""
        return self.tabs[self.stack.currentIndex()]

    def activate(self) -> None:
        """To the front: the first time it asks, later it asks for what is new."""
        self._front = True
        if self.tab.fetcher.asked:
            self.tab.fetcher.newest()
        else:
            self.restart()
        self.refresh()
        super().activate()

    def deactivate(self) -> None:
        """To the back: it asks for nothing any more."""
        self._front = False
        self._fresh.stop()

    def table(self) -> TableView:
        """The list that is shown."""
        return self.tab.view

    def filter_box(self) -> FilterBox:
        """One box for both lists."""
        return self.filter

    def panes(self) -> list[QWidget]:
        """Filter, list, details."""
        return [self.filter.edit, self.tab.view, self.details]

    def cover(self, covered: bool) -> None:
        """A panel took the right side."""
        self._covered = covered
        self.details.setVisible(not covered and self.context.settings.get("window/details_open"))
        self.refresh()

    def theme_changed(self) -> None:
        """Painted things look it up again."""
        self.details.theme_changed()
        for tab in self.tabs:
            tab.view.set_theme(self.context.theme)

    def save_layout(self) -> None:
        """Columns of both lists."""
        for tab, name in zip(self.tabs, ("history", "audit"), strict=True):
            self.context.settings.set("columns/", tab.view.layout_of_columns(), name)

    def hints(self) -> str:
        """Keys for the foot."""
        return "A other list    R take again    Space mark two: what changed between    Enter details    Ctrl+E export    / filter"

    def status_text(self) -> str:
        """What is shown."""
        shown, total = self.tab.table.rowCount(), self.tab.table.total
        marked = len(self.tab.table.marked())
        words = f"{shown} of {total} {self.tab.name}" if shown != total else counted(total, self.tab.name)
        return f"{words}    {marked} marked" if marked else words

    # -- tabs, time, filter ------------------------------------------------------------------------------------

    def show_tab(self, number: int) -> None:
        """Sessions or audit; filter and time stay."""
        button = self.switch.button(number)
        button.setChecked(True)
        self.stack.setCurrentIndex(number)
        self.apply_filter(self.filter.text)
        self.activate()

    def restart(self) -> None:
        """Another span of time: both lists begin anew, the hidden one when it is shown."""
        since, until = self.range.span()
        for tab in self.tabs:
            tab.fetcher.asked = False
        self.tab.fetcher.restart(since, until)

    def apply_filter(self, words: str) -> None:
        """Narrow what has been fetched; and fetch more when too little of it is left to fill the view."""
        before = self.tab.view.current_id
        error = self.tab.table.apply_filter(words)
        if isinstance(error, QueryError):
            self.filter.show_result("", error.message)
            return
        self.filter.show_result("")
        self.tab.view.keep_current_or_first(before)
        self._count()
        self._near_end()

    def export(self) -> None:
        """Ctrl+E: what has been fetched and passes the filter, and the panel says how far back that is."""
        noun = "sessions" if self.tab is self.tabs[0] else "acts"
        oldest = self.tab.table.oldest
        note = "" if self.tab.fetcher.complete or oldest is None else (
            f"What the filter shows of the rows fetched so far, back to {date_text(oldest[0])}. Scroll down to fetch more."
        )  # fmt: skip
        self.context.panels.show(ExportPanel(self.context, extract_of(self.tab.table, noun, note=note)))

    def _near_end(self) -> None:
        if not self._front or not self.tab.fetcher.asked or self.tab.fetcher.error:
            return
        view = self.tab.view
        last = view.rowAt(view.viewport().height() - 1)
        if last < 0 or last >= self.tab.table.rowCount() - NEAR_END:
            self.tab.fetcher.older()

    def _fetched(self) -> None:
        self._count()
        self.refresh()
        if not self.tab.fetcher.busy:
            QTimer.singleShot(0, self, self._near_end)

    def _count(self) -> None:
        tab = self.tab
        shown, total = tab.table.rowCount(), tab.table.total
        if not self.filter.is_invalid:
            self.filter.show_result(f"{shown} of {total}" if shown != total else "")
        title = "Asking the broker…" if tab.fetcher.busy else "Nothing in this time"
        words = (
            ("The broker refused", tab.fetcher.error)
            if tab.fetcher.error
            else (title, "Another span of time is chosen above.")
        )
        tab.empty.refresh(shown, total, words)
        self.foot.setText(self._reach())

    def _reach(self) -> str:
        """How far back the list goes, and whether there is more."""
        fetcher, oldest = self.tab.fetcher, self.tab.table.oldest
        if fetcher.error:
            return f"▲ {fetcher.error}"
        if oldest is None:
            return ""
        if fetcher.complete:
            return f"Everything of {self.range.words()} is here, back to {date_text(oldest[0])}."
        more = "Fetching older rows…" if fetcher.busy else "Older rows come as you scroll."
        return f"Fetched back to {date_text(oldest[0])}. {more}"

    def _on_changes(self, changes: Changes) -> None:
        if not self._front:
            return
        if changes.audit and self.tabs[1].fetcher.asked and self.range.open_ended:
            acts = sorted(changes.audit, key=lambda row: -row.at)
            self.tabs[1].table.prepend(acts)
        if changes.put.get("session") or changes.removed.get("session"):
            self._fresh.start()

    # -- details -----------------------------------------------------------------------------------------------

    def toggle_details(self) -> None:
        """Enter: open or close the details."""
        wanted = not self.context.settings.get("window/details_open")
        self.context.settings.set("window/details_open", wanted)
        self.details.setVisible(wanted and not self._covered)
        self.refresh()

    def refresh(self) -> None:
        """Details and the button."""
        ids = self.tab.view.targets()
        reason = self.context.actions.why_not("take_again", ids)
        self.again_button.setEnabled(not reason)
        self.again_button.setToolTip(escape_tooltip(reason))
        if self.details.isVisible() and self._front:
            key = " ".join(ids) if len(ids) > 1 else self.tab.view.current_id
            self.details.show_sections(key, self.sections())

    def sections(self) -> list[Section]:
        """The current row; of two marked ones, what changed between."""
        table, marked = self.tab.table, self.tab.table.marked()
        if len(marked) == 2:
            return self._between(*(table.row_of(one) for one in marked))
        item = table.find(self.tab.view.current_id)
        if item is None:
            return []
        row = item.row
        return (
            text.history_sections(row, self.context.store)
            if isinstance(row, HistoryRow)
            else text.audit_sections(row, self.context.store)
        )

    def _between(self, one: int, other: int) -> list[Section]:
        table = self.tab.table
        times = sorted(table.time_of(table.item(number).row) for number in (one, other))
        rows: list[Any] = [item.row for item in table.order_items if times[0] <= table.time_of(item.row) <= times[1]]
        if self.tab is self.tabs[1]:
            return text.between_acts(rows, self.context.store)
        every: list[HistoryRow] = [item.row for item in table.order_items]
        return text.between_sessions(every, times[0], times[1])

    # -- acts --------------------------------------------------------------------------------------------------

    def dispatch_key(self, event: QKeyEvent) -> bool:
        """``R`` takes again, ``Delete`` kicks what still runs, ``A`` shows the other list."""
        if event.isAutoRepeat():
            return False
        pressed = QKeySequence(event.keyCombination()).toString(QKeySequence.SequenceFormat.PortableText)
        if pressed == "R":
            self.take_again()
        elif pressed == "Del":
            self.kick()
        elif pressed == OTHER_LIST:
            self.show_tab(1 - self.stack.currentIndex())
        else:
            return False
        return True

    def take_again(self) -> None:
        """Of the current row."""
        self.context.actions.press("take_again", self.tab.view.targets())
        self.refresh()

    def kick(self) -> None:
        """End the sessions that the rows tell of and that still run."""
        rows = [row for row in map(self._row, self.tab.view.targets()) if row is not None]
        ids = [one for one in map(text.session_of, rows) if one]
        self.context.actions.press("kick", ids)

    def fill_menu(self, menu: QMenu, ids: Sequence[str]) -> None:
        """What can be done from here, and why not."""
        rows = [row for row in map(self._row, ids) if row is not None]
        sessions = [one for one in map(text.session_of, rows) if one]
        for name, targets, key, run in (
            ("take_again", list(ids), "R", self.take_again),
            ("kick", sessions, "Del", self.kick),
        ):
            label = self.context.actions.verbs[name].label
            reason = self.context.actions.why_not(name, targets)
            action = menu.addAction(f"{label}: {reason}".replace("&", "&&") if reason else f"{label}\t{key}", run)
            action.setEnabled(not reason)
        menu.addSeparator()
        menu.addAction("Details\tEnter", self.toggle_details)

    def _row(self, row_id: str) -> AuditRow | HistoryRow | None:
        for tab in self.tabs:
            item = tab.table.find(row_id)
            if item is not None:
                row: AuditRow | HistoryRow = item.row
                return row
        return None
