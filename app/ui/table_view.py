"""The table of every page: 22 px rows, one current row, marks, keys, and an order that holds still under the hand.

A ``QTableView`` over a ``RowTable`` (``LiveTable`` where it follows the store). What it adds (console rule 8):
verbs bind to ids at the press (``targets``), a double click counts only when both presses hit the same id, pointer
and keyboard in the table hold its order for 2 s, an open menu and waiting acts hold it too, type-ahead is off.
Space marks, Ctrl+Space marks the range, Ctrl+A all that pass the filter. Columns are ``column_view``'s.

Painting is ``delegates.CellDelegate``; which verbs a key means is the page's business (``verb_key``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from PySide6.QtCore import QEvent, QItemSelectionModel, QModelIndex, QPersistentModelIndex, QPoint, Qt, Signal
from PySide6.QtGui import QFocusEvent, QKeyEvent, QMouseEvent, QResizeEvent
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QMenu, QTableView

from app.models.tables.live import LiveTable
from app.ui.column_view import ColumnView
from app.ui.delegates import CellDelegate
from app.ui.theme import Theme

if TYPE_CHECKING:
    from app.models.tables.rows import RowTable
    from app.ui.context import Context
    from app.ui.verb import Pending

Index = QModelIndex | QPersistentModelIndex
_ENTER = (Qt.Key.Key_Return, Qt.Key.Key_Enter)
_ENDS = (Qt.Key.Key_Home, Qt.Key.Key_End)
_ROWS = QItemSelectionModel.SelectionFlag.ClearAndSelect | QItemSelectionModel.SelectionFlag.Rows


class Countdown(NamedTuple):
    """What the take cell of a row shows while it negotiates."""

    text: str
    fraction: float


class RowLooks(Protocol):
    """What only the page knows about how a row looks now."""

    def countdown(self, row_id: str) -> Countdown | None:
        """The negotiation of that row."""

    def warned(self, row_id: str) -> bool:
        """Whether its take cell warns."""


class TableView(ColumnView):
    """See the module's docstring."""

    current_changed = Signal(str)
    """The id of the current row, "" for none."""
    activated_id = Signal(str)
    """Enter: show details of that row."""
    double_clicked_id = Signal(str)
    """Both presses of a double click hit that row."""
    button_clicked = Signal(str)
    """The row's take cell was pressed and let go."""

    def __init__(
        self,
        context: Context,
        table: RowTable,
        *,
        strong: tuple[str, ...] = ("name",),
        chips: tuple[str, ...] = (),
    ) -> None:
        super().__init__(table)
        self.context = context
        self.strong = frozenset(strong)
        """Keys of the columns that are read first: full text colour, struck through when the row is a ghost."""
        self.chips = frozenset(chips)
        """Keys of the columns whose comma-separated words are shown as chips."""
        self.current_row = -1
        self.current_id = ""
        self.hover_row = -1
        self.pressed_id = ""
        self.has_keys = False
        self.blocked = False
        self.grouped = False
        """Whether a line stands above the first row of each group, and its name in ``group_column``."""
        self.group_column = ""
        self.looks: RowLooks | None = None
        self.verb_key: Callable[[QKeyEvent], bool] = lambda event: False
        self.fill_menu: Callable[[QMenu, list[str]], None] = lambda menu, ids: None
        self._press_id = ""
        self._kept = ("", 0)
        self._menu: QMenu | None = None
        self.setModel(table)
        self.delegate = CellDelegate(self, context.theme)
        self.setItemDelegate(self.delegate)
        self._configure()
        table.modelAboutToBeReset.connect(self._keep_current)
        table.modelReset.connect(self._take_current_back)
        table.layoutChanged.connect(self._find_current)
        table.rowsInserted.connect(self._follow_current)
        table.rowsRemoved.connect(self._follow_current)
        table.order_changed.connect(self._find_current)

    def _configure(self) -> None:
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerItem)
        self.setWordWrap(False)
        self.setShowGrid(False)
        self.setMouseTracking(True)
        self.setTabKeyNavigation(False)
        self.setAutoScroll(False)
        self.setFrameShape(QTableView.Shape.NoFrame)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(self.open_menu)
        rows = self.verticalHeader()
        rows.hide()
        rows.setMinimumSectionSize(Theme.ROW)
        rows.setDefaultSectionSize(Theme.ROW)
        rows.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        self.configure_columns()
        head = self.horizontalHeader()
        head.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        head.customContextMenuRequested.connect(self.open_column_menu)
        self.verticalScrollBar().valueChanged.connect(self._tell_shown)

    # -- what verbs act on -------------------------------------------------------------------------------------

    def targets(self) -> list[str]:
        """Ids a verb acts on: marked rows that pass the filter, else the current row."""
        marked = self.table.marked()
        if marked:
            return marked
        return [self.current_id] if self.current_id and self.table.row_of(self.current_id) >= 0 else []

    def select_id(self, row_id: str) -> bool:
        """Make a row the current one; False when it is not shown."""
        index = self.table.index_of(row_id)
        if not index.isValid():
            return False
        self.setCurrentIndex(index)
        return True

    def currentChanged(self, current: Index, previous: Index) -> None:
        """The current row is another one."""
        super().currentChanged(current, previous)
        self.current_row = current.row()
        row_id = self.table.item(current.row()).id if current.isValid() else ""
        if row_id != self.current_id:
            self.current_id = row_id
            self.current_changed.emit(row_id)
        self.viewport().update()

    def keep_current_or_first(self, row_id: str) -> None:
        """After the operator's filter: ``row_id`` is the current row still or, where it hides it, the first is."""
        if not self.select_id(row_id) and self.table.rowCount():
            self.setCurrentIndex(self.table.index(0, 0))

    def _follow_current(self) -> None:
        """Amid a change, when the table cannot be asked for rows by id yet: Qt's own index has moved along."""
        self.current_row = self.currentIndex().row()

    def _keep_current(self) -> None:
        self._kept = (self.current_id, self.verticalScrollBar().value())

    def _take_current_back(self) -> None:
        """A reset takes away the current row and would leave the first one: it is the same object still."""
        self.current_id, scrolled = self._kept
        self._find_current()
        self.verticalScrollBar().setValue(scrolled)

    def _find_current(self) -> None:
        """Rows moved: keep the current row by its id."""
        row = self.table.row_of(self.current_id) if self.current_id else -1
        self.current_row = row
        if row < 0 and not self.current_id and self.has_keys and self.table.rowCount():
            self.setCurrentIndex(self.table.index(0, 0))
        elif row >= 0 and self.currentIndex().row() != row:
            self.selectionModel().setCurrentIndex(self.table.index(row, 0), _ROWS)
        self._tell_shown()

    # -- what the delegate asks --------------------------------------------------------------------------------

    def pending_for(self, row_id: str) -> Pending | None:
        """The act that waits for this row."""
        actions = self.context.actions
        return actions.pending_for(row_id) if actions.pending else None

    def countdown_for(self, row_id: str) -> Countdown | None:
        """The negotiation of this row."""
        return self.looks.countdown(row_id) if self.looks is not None else None

    def warns(self, row_id: str) -> bool:
        """Whether the take cell of this row warns."""
        return self.looks is not None and self.looks.warned(row_id)

    def set_blocked(self, blocked: bool) -> None:
        """Grey what acts; the rows stay readable."""
        if blocked != self.blocked:
            self.blocked = blocked
            self.viewport().update()

    def set_theme(self, theme: Theme) -> None:
        """Paint with another theme from now on."""
        self.delegate.set_theme(theme)
        self.viewport().update()

    # -- holding still -----------------------------------------------------------------------------------------

    def hand(self) -> None:
        """The operator's hand is in the table: nothing moves for 2 s."""
        if isinstance(self.table, LiveTable):
            self.table.touched()

    def hold_order(self, reason: str, on: bool) -> None:
        """Hold the order while a menu is open or an act waits."""
        if isinstance(self.table, LiveTable):
            if on:
                self.table.hold_order(reason)
            else:
                self.table.release_order(reason)

    # -- keyboard ----------------------------------------------------------------------------------------------

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Marks, details and both ends here, verbs by the page, arrows by Qt; type-ahead never."""
        self.hand()
        key, control = event.key(), bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
        if key == Qt.Key.Key_Space:
            self._mark(range_=control)
        elif key == Qt.Key.Key_A and control:
            self._mark_all()
        elif key in _ENDS and not control:
            self._go_to_end(last=key == Qt.Key.Key_End)
        elif key in _ENTER:
            if self.current_id and not event.isAutoRepeat():
                self.activated_id.emit(self.current_id)
        elif self.verb_key(event):
            event.accept()
        elif event.text().isprintable() and event.text() and not control:
            event.ignore()
        else:
            super().keyPressEvent(event)

    def _go_to_end(self, *, last: bool) -> None:
        """Home and End go to a row: to Qt they mean a cell, which is nothing where rows are chosen whole."""
        rows = self.model().rowCount()
        if rows:
            column = max(0, self.currentIndex().column())
            self.setCurrentIndex(self.model().index(rows - 1 if last else 0, column))

    def _mark(self, *, range_: bool) -> None:
        if self.current_row < 0:
            return
        if range_:
            above = [row for row, item in enumerate(self.table.order_items) if item.marked and row != self.current_row]
            nearest = min(above, key=lambda row: abs(row - self.current_row), default=self.current_row)
            self.table.mark_span(nearest, self.current_row)
            return
        self.table.toggle_mark(self.current_id)
        below = self.table.index(self.current_row + 1, self.currentIndex().column())
        if below.isValid():
            self.setCurrentIndex(below)

    def _mark_all(self) -> None:
        """Mark all that pass the filter; once more takes the marks away again."""
        alive = sum(item.ghost is None for item in self.table.order_items)
        if alive and len(self.table.marked()) == alive:
            self.table.clear_marks()
        else:
            self.table.mark_filtered()

    # -- pointer -----------------------------------------------------------------------------------------------

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Bind to the id under the pointer; Ctrl marks, Shift marks the range."""
        self.hand()
        index = self.indexAt(event.position().toPoint())
        row_id = self.table.item(index.row()).id if index.isValid() else ""
        self._press_id = row_id
        if row_id and event.button() == Qt.MouseButton.LeftButton:
            self._press_left(event, index, row_id)
        super().mousePressEvent(event)

    def _press_left(self, event: QMouseEvent, index: QModelIndex, row_id: str) -> None:
        if self.table.columns[index.column()].kind == "button":
            self.pressed_id = row_id
            self.viewport().update()
        elif event.modifiers() & Qt.KeyboardModifier.ControlModifier:
            self.table.toggle_mark(row_id)
        elif event.modifiers() & Qt.KeyboardModifier.ShiftModifier and self.current_row >= 0:
            self.table.mark_span(self.current_row, index.row())

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """The take cell acts when it is let go over the row it was pressed on."""
        self.hand()
        super().mouseReleaseEvent(event)
        pressed, self.pressed_id = self.pressed_id, ""
        if pressed:
            index = self.indexAt(event.position().toPoint())
            same = index.isValid() and self.table.item(index.row()).id == pressed
            if same and self.table.columns[index.column()].kind == "button":
                self.button_clicked.emit(pressed)
            self.viewport().update()

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """The second press: a double click only on the id of the first."""
        self.hand()
        index = self.indexAt(event.position().toPoint())
        row_id = self.table.item(index.row()).id if index.isValid() else ""
        first, self._press_id = self._press_id, ""
        if event.button() != Qt.MouseButton.LeftButton or not row_id or row_id != first:
            return
        if self.table.columns[index.column()].kind == "button":
            return
        self.double_clicked_id.emit(row_id)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Follow the pointer with the hover colour."""
        self.hand()
        self._hover(self.rowAt(int(event.position().y())))
        super().mouseMoveEvent(event)

    def leaveEvent(self, event: QEvent) -> None:
        """The pointer left."""
        self._hover(-1)
        super().leaveEvent(event)

    def _hover(self, row: int) -> None:
        if row != self.hover_row:
            old, self.hover_row = self.hover_row, row
            for one in (old, row):
                if one >= 0:
                    self._repaint_row(one)

    def _repaint_row(self, row: int) -> None:
        self.viewport().update(0, self.rowViewportPosition(row), self.viewport().width(), Theme.ROW)

    def focusInEvent(self, event: QFocusEvent) -> None:
        """Keys go here now; a table without a current row gets its first."""
        super().focusInEvent(event)
        self.has_keys = True
        if not self.currentIndex().isValid() and self.table.rowCount():
            self.setCurrentIndex(self.table.index(0, 0))
        self.viewport().update()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """Keys go elsewhere."""
        super().focusOutEvent(event)
        self.has_keys = False
        self.viewport().update()

    # -- menus -------------------------------------------------------------------------------------------------

    def open_menu(self, position: QPoint) -> None:
        """The context menu of what is marked, else of the row under the pointer; the order holds while it is open."""
        ids = self.targets()
        if ids:
            self._pop_up(lambda menu: self.fill_menu(menu, ids), self.viewport().mapToGlobal(position))

    def open_column_menu(self, position: QPoint) -> None:
        """Which columns are shown."""
        self._pop_up(self.fill_columns, self.horizontalHeader().mapToGlobal(position))

    def _pop_up(self, fill: Callable[[QMenu], None], where: QPoint) -> None:
        menu = QMenu(self)
        fill(menu)
        self.hold_order("menu", True)
        menu.aboutToHide.connect(lambda: self.hold_order("menu", False))
        menu.aboutToHide.connect(menu.deleteLater)
        self._menu = menu
        menu.popup(where)

    # -- the shown span ----------------------------------------------------------------------------------------

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Another number of rows fits."""
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self.fit_columns()
        self._tell_shown()

    def _tell_shown(self) -> None:
        first = max(0, self.rowAt(0))
        self.table.set_shown(first, first + self.viewport().height() // Theme.ROW + 1)
