"""What Streams and Sessions have in common: filter and buttons above, table in the middle, details at the right.

A ``Page`` whose rows are objects that verbs act on. Derived pages give the table, the kind of object, the details
and what else stands around them; everything from keys to menus to remembered columns is here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication, QKeyEvent, QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QMenu, QSplitter, QVBoxLayout, QWidget

from app.models.filter import QueryError
from app.models.tables.live import LiveTable
from app.models.wording import counted
from app.ui.details import DetailsPane, Section
from app.ui.empty import EmptyText
from app.ui.filter_box import FilterBox
from app.ui.page import Page
from app.ui.table_view import TableView
from app.ui.theme import Theme
from app.ui.verb_button import VerbButton
from app.ui.verb_keys import MIXED, fill_menu, meant, of_key, pressed_text

if TYPE_CHECKING:
    from app.ui.context import Context
    from app.ui.verb import Verb

FILTER_ROOM = 260
"""Pixels that the filter has before buttons keep their keys: a few words, and how many rows pass beside them."""


class BoardPage(Page):
    """See the module's docstring. ``kinds`` are the kinds of verb, ``name`` the key of what is remembered."""

    kinds: ClassVar[tuple[str, ...]] = ()
    name: ClassVar[str] = ""

    def __init__(self, context: Context, table: LiveTable, view: TableView) -> None:
        super().__init__(context)
        self.model = table
        self.view = view
        self.filter = FilterBox()
        self.details = DetailsPane(context)
        self.buttons: list[VerbButton] = []
        self._held_for: set[str] = set()
        self._covered = False
        self._front = False
        self.empty = EmptyText(view, context)
        self._build()
        self._connect()
        self._restore()

    # -- building ----------------------------------------------------------------------------------------------

    def _build(self) -> None:
        self.head = QHBoxLayout()
        self.head.setContentsMargins(12, 7, 12, 7)
        self.head.setSpacing(8)
        self.filter.setMinimumWidth(160)
        self.filter.setMaximumWidth(780)
        self.head.addWidget(self.filter, 3)
        self.head.addStretch(1)
        for kind in self.kinds:
            self._build_buttons(self.context.actions.of_kind(kind))
        self.middle = QVBoxLayout()
        self.middle.setContentsMargins(0, 0, 0, 0)
        self.middle.setSpacing(0)
        self.middle.addWidget(self.view, 1)
        left = QWidget()
        left.setLayout(self.middle)
        self.split = QSplitter(Qt.Orientation.Horizontal)
        self.split.setHandleWidth(1)
        self.split.setChildrenCollapsible(False)
        self.split.addWidget(left)
        self.split.addWidget(self.details)
        self.split.setStretchFactor(0, 1)
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(0, 0, 0, 0)
        self.column.setSpacing(0)
        self.column.addLayout(self.head)
        self.column.addWidget(self.split, 1)

    def _build_buttons(self, verbs: Sequence[Verb]) -> None:
        """One button for each verb that has one; two that take each other back share theirs."""
        shared: dict[str, VerbButton] = {}
        for verb in verbs:
            if verb.pair in shared:
                shared[verb.pair].add(verb)
            elif verb.button:
                button = shared[verb.name] = VerbButton(self.context, verb, self.view.targets)
                self.buttons.append(button)
                self.head.addWidget(button)

    def kind_of(self, row_id: str) -> str:
        """Which kind of verb a row takes."""
        return self.kinds[0]

    def kind_of_all(self, ids: Sequence[str]) -> str:
        """The one kind of all these rows; "" when they are of several."""
        found = {self.kind_of(one) for one in ids}
        return found.pop() if len(found) == 1 else ("" if found else self.kinds[0])

    def _connect(self) -> None:
        view, actions = self.view, self.context.actions
        self.filter.changed.connect(self.apply_filter)
        self.filter.left.connect(view.setFocus)
        view.verb_key = self.dispatch_key
        view.fill_menu = self.fill_menu
        view.activated_id.connect(lambda _: self.toggle_details())
        view.current_changed.connect(lambda _: self._refresh_details())
        self.details.close_wanted.connect(self.toggle_details)
        self.model.marks_changed.connect(self.refresh)
        self.model.order_changed.connect(self._count)
        self.model.filter_failed.connect(lambda words: self.filter.show_result("", words))
        actions.changed.connect(self._acts_changed)

    def _restore(self) -> None:
        settings = self.context.settings
        self.view.set_layout_of_columns(settings.get("columns/", self.name))
        sort = settings.get("sort/", self.name)
        if len(sort) == 2 and isinstance(sort[0], str) and isinstance(sort[1], bool):
            self.view.set_sort(sort[0], sort[1])
        self.filter.set_text(settings.get("filter/", self.name))
        self.details.setVisible(settings.get("window/details_open"))
        self.split.setSizes([10_000, settings.get("window/details_width")])

    # -- life --------------------------------------------------------------------------------------------------

    def activate(self) -> None:
        """To the front."""
        self._front = True
        self.model.start()
        self._count()
        self.refresh()
        super().activate()

    def deactivate(self) -> None:
        """To the back: no timer runs here any more."""
        self._front = False
        self.model.stop()

    def table(self) -> TableView:
        """The page's table."""
        return self.view

    def filter_box(self) -> FilterBox:
        """The page's filter."""
        return self.filter

    def panes(self) -> list[QWidget]:
        """Filter, table, details."""
        return [self.filter.edit, self.view, self.details]

    def cover(self, covered: bool) -> None:
        """A panel took the right side: the details make room."""
        self._covered = covered
        self.details.setVisible(not covered and self.context.settings.get("window/details_open"))
        self._refresh_details()

    def theme_changed(self) -> None:
        """Painted things look it up again."""
        self.view.set_theme(self.context.theme)
        self.details.theme_changed()

    def save_layout(self) -> None:
        """Columns, sort, filter, details."""
        settings = self.context.settings
        settings.set("columns/", self.view.layout_of_columns(), self.name)
        settings.set("sort/", list(self.model.sorted_by), self.name)
        settings.set("filter/", self.filter.text, self.name)
        if self.details.isVisible() and self.details.width() >= Theme.SHEET // 2:
            settings.set("window/details_width", self.details.width())

    def refresh(self) -> None:
        """Buttons, countdowns and details; called a few times a second by the window, and when something changed."""
        hidden, ids = self.model.hidden_marks(), self.view.targets()
        kind = self.kind_of_all(ids)
        for button in self.buttons:
            button.setVisible(button.verb.kind == (kind or self.kinds[0]))
            button.refresh(hidden)
        self._fit_head()
        self.view.set_blocked(bool(self.context.actions.blocked))
        if not self.model.rowCount():
            self._count()  # an empty board says at once whether it waits, or has been told that there is nothing
        self._refresh_details()

    def _fit_head(self) -> None:
        """Buttons leave their keys out where the line is too short for all: words are never cut."""
        room = self.width() - self.head.contentsMargins().left() - self.head.contentsMargins().right()
        items = [self.head.itemAt(number) for number in range(self.head.count())]
        for widget in [item.widget() for item in items if item is not None]:
            if widget is None or widget.isHidden():
                continue
            shown = FILTER_ROOM if widget is self.filter else widget.sizeHint().width()
            room -= self.head.spacing() + (widget.whole_width if isinstance(widget, VerbButton) else shown)
        for button in self.buttons:
            button.set_short(room < 0)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._fit_head()

    # -- filter ------------------------------------------------------------------------------------------------

    def apply_filter(self, text: str) -> None:
        """Narrow the table; a filter that cannot be read keeps the rows as they are and says so."""
        before = self.view.current_id
        error = self.model.apply_filter(text)
        if isinstance(error, QueryError):
            self.filter.show_result("", error.message)
        else:
            self.filter.show_result("")
            self.view.keep_current_or_first(before)
            self._count()

    def _counts(self) -> tuple[int, int]:
        """Rows shown, and all; a ghost that stays because the order is held is no row of the board any more."""
        shown = self.model.rowCount()
        return shown, max(shown, self.model.total)

    def _count(self) -> None:
        shown, total = self._counts()
        if not self.filter.is_invalid:
            self.filter.show_result(f"{shown} of {total}" if shown != total else "")
        self.empty.refresh(shown, total, self.empty_words())

    def empty_words(self) -> tuple[str, str]:
        """Title and hint of the empty table."""
        return "Nothing here", ""

    # -- verbs -------------------------------------------------------------------------------------------------

    def dispatch_key(self, event: QKeyEvent) -> bool:
        """Run the verb on that key for what is marked or current."""
        if event.isAutoRepeat():
            return False
        actions, ids = self.context.actions, self.view.targets()
        pressed = pressed_text(event)
        found = of_key(actions, self.kinds, pressed)
        if not found:
            return False
        kind = self.kind_of_all(ids)
        if not kind:
            self.context.toast(f"{found[0].label}: {MIXED}")
            return True
        verbs = [verb for verb in found if verb.kind == kind]
        if not verbs:
            self.context.toast(f"{found[0].label}: {self.not_for(kind)}")
            return True
        verb = meant(actions, verbs, ids)
        actions.press(verb.name, ids, panel=pressed == verb.panel_key)
        self.refresh()
        return True

    def not_for(self, kind: str) -> str:
        """Why a verb of another kind of row is not for this one."""
        return f"not for a {kind}"

    def fill_menu(self, menu: QMenu, ids: Sequence[str]) -> None:
        """Every verb of these objects, with its key, and the reason where it cannot be done."""
        fill_menu(menu, self.context.actions, self.kind_of_all(ids), ids, self._press)
        menu.addSeparator()
        menu.addAction("Details\tEnter", self.toggle_details)

    def _press(self, name: str, ids: list[str]) -> None:
        self.context.actions.press(name, ids)
        self.refresh()

    def _acts_changed(self) -> None:
        """While an act waits for one of these rows, rows do not move."""
        waiting = {one for (_, one) in self.context.actions.pending if self.model.find(one) is not None}
        for one in waiting - self._held_for:
            self.view.hold_order(f"action:{one}", True)
        for one in self._held_for - waiting:
            self.view.hold_order(f"action:{one}", False)
        self._held_for = waiting
        if self._front:
            self.refresh()
            self.view.viewport().update()

    # -- details -----------------------------------------------------------------------------------------------

    def toggle_details(self) -> None:
        """Enter: open or close the details."""
        wanted = not self.context.settings.get("window/details_open")
        self.context.settings.set("window/details_open", wanted)
        self.details.setVisible(wanted and not self._covered)
        self._refresh_details()
        if not wanted:
            self.view.setFocus()

    def sections(self, row_id: str) -> list[Section]:
        """What the details say about a row."""
        return []

    def _refresh_details(self) -> None:
        if self.details.isVisible() and self._front:
            row_id = self.view.current_id
            self.details.show_sections(row_id, self.sections(row_id) if row_id else [])

    # -- counts ------------------------------------------------------------------------------------------------

    def status_text(self) -> str:
        """What is shown, marked and hidden."""
        shown, total = self._counts()
        parts = [f"{shown} of {total} rows" if shown != total else counted(total, "rows")]
        marked, hidden = len(self.model.marked()), self.model.hidden_marks()
        if marked:
            parts.append(f"{marked} marked")
        if hidden:
            parts.append(f"{hidden} marked but hidden by the filter, not acted on")
        if self.model.held:
            parts.append("order held")
        return "    ".join(parts)

    # -- what leaves the page ----------------------------------------------------------------------------------

    def export(self) -> None:
        """Ctrl+E."""
        from app.ui.export import ExportPanel, extract_of

        self.context.panels.show(ExportPanel(self.context, extract_of(self.model, self.name)))

    def copy(self, text: str) -> None:
        """To the clipboard, and say so."""
        QGuiApplication.clipboard().setText(text)
        self.context.toast(f"Copied {text}")
