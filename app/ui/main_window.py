"""The window: strip, rail, pages, the sheet for panels, what waits, the foot; and the keys that are no verbs.

Built by ``main.py`` before anything heavy is imported, so it paints first and fills afterwards. It owns no data:
pages read the store, acts go through ``Actions``. Four times a second ``refresh`` brings the strip, the counts and
the foot up to date and tells ``Actions`` whether the board may act at all (console rule 1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QByteArray, QEvent, Qt, QTimer, Signal
from PySide6.QtGui import QCloseEvent, QKeySequence, QShortcut, QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QSplitter, QStackedWidget, QVBoxLayout, QWidget

from app.ui.foot import Foot
from app.ui.key_repeat import KeyRepeat
from app.ui.keymap_overlay import KeymapOverlay
from app.ui.pending import PendingArea
from app.ui.rail import Rail
from app.ui.sheet import Sheet
from app.ui.strip import Strip, StripState
from app.ui.theme import Theme
from app.ui.toasts import Toasts
from app.ui.verb import Command
from app.ui.viewer.warm import LastInput

if TYPE_CHECKING:
    from app.ui.context import Context
    from app.ui.page import Page

REFRESH_MILLISECONDS = 250


class MainWindow(QWidget):
    """See the module's docstring. ``closing`` is asked before the window goes; it answers whether it may."""

    painted = Signal()
    """The window has been painted for the first time."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.setObjectName("window")
        self.setWindowTitle("Callboard")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setMinimumSize(960, 540)
        self.resize(1520, 900)
        self.theme = theme
        self.pages: dict[str, Page] = {}
        """Pages that have been made, by title."""
        self._makers: dict[str, Callable[[], Page]] = {}
        self.strip_state: Callable[[], StripState] = StripState
        self.closing: Callable[[], bool] = lambda: True
        self._context: Context | None = None
        self.was_painted = False
        self.strip = Strip(theme)
        self.rail = Rail(lambda: self.theme)
        self.stack = QStackedWidget()
        self.sheet = Sheet(self._cover)
        self.foot = Foot()
        self.toasts = Toasts(self, self.stack)
        self._build()
        self._repeats = KeyRepeat(self)
        self.last_input = LastInput(self)
        self._timer = QTimer(self)
        self._timer.setInterval(REFRESH_MILLISECONDS)
        self._timer.timeout.connect(self.refresh)

    def _build(self) -> None:
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(0)
        self._column.addWidget(self.strip)
        middle = QHBoxLayout()
        middle.setContentsMargins(0, 0, 0, 0)
        middle.setSpacing(0)
        middle.addWidget(self.rail)
        self.split = QSplitter(Qt.Orientation.Horizontal)
        self.split.setHandleWidth(1)
        self.split.setChildrenCollapsible(False)
        self.split.addWidget(self.stack)
        self.split.addWidget(self.sheet)
        self.split.setStretchFactor(0, 1)
        middle.addWidget(self.split, 1)
        self._column.addLayout(middle, 1)
        self._column.addWidget(self.foot)

    # -- putting it together -----------------------------------------------------------------------------------

    def bind(self, context: Context) -> None:
        """Give it what keys and counts need; before the first page is added."""
        self._context = context
        self.pending = PendingArea(context.actions, lambda: self.theme)
        self._column.insertWidget(2, self.pending)
        self.overlay = KeymapOverlay(self, context.actions)
        self._declare_keys()

    @property
    def context(self) -> Context:
        """What it was given."""
        if self._context is None:
            raise RuntimeError("MainWindow.bind was not called")
        return self._context

    def add_page(self, page: Page, *, at_foot: bool = False) -> None:
        """Put a page that is made already on the rail."""
        self.declare_page(page.title, page.key, lambda: page, at_foot=at_foot)
        self.made(page.title)

    def declare_page(self, title: str, key: str, make: Callable[[], Page], *, at_foot: bool = False) -> None:
        """Put a page on the rail with its key; ``make`` is called when it is first shown, or by ``making_pages``."""
        self._makers[title] = make
        self.rail.add(title, key, lambda: self.show_page(title), at_foot=at_foot)
        self._key(title.lower(), title, (key,), "Pages", lambda: self.show_page(title))

    def making_pages(self) -> Iterator[None]:
        """Make every page that has not been shown yet, so that its counts are there: one in each step."""
        for title in list(self._makers):
            self.made(title)
            yield
        self.refresh()

    def made(self, title: str) -> Page:
        """The page of that title, made now if it is not there yet."""
        make = self._makers.pop(title, None)
        if make is not None:
            page = self.pages[title] = make()
            self.stack.addWidget(page)
        return self.pages[title]

    def start(self) -> None:
        """Everything is in place: restore the layout and begin to refresh."""
        settings = self.context.settings
        geometry = QByteArray.fromBase64(settings.get("window/geometry").encode())
        if not geometry.isEmpty():
            self.restoreGeometry(geometry)
        wanted = settings.get("window/page")
        self.show_page(wanted if wanted in self.rail.buttons else next(iter(self.rail.buttons)))
        self._timer.start()
        self.refresh()

    def _declare_keys(self) -> None:
        self._key("filter", "Filter the table", ("/", "Ctrl+F"), "Everywhere", self.focus_filter)
        self._key("escape", "Cancel what waits; leave the filter; clear it", ("Esc",), "Everywhere", self.escape)
        self._key("undo", "Undo the last act, or cancel what waits", ("Ctrl+Z",), "Everywhere", self.undo)
        self._key("details", "Details of the row, or close them", ("Enter",), "Table", None)
        self._key("mark", "Mark the row; Ctrl+Space marks the range", ("Space",), "Table", None)
        self._key("mark_all", "Mark all that pass the filter", ("Ctrl+A",), "Table", None)
        self._key("logs", "Log of the desktop, below the table", ("F4",), "Table", self.show_logs)
        self._key("export", "Export what is filtered (CSV, JSON)", ("Ctrl+E",), "Table", self.export)
        self._key("keys", "This map", ("F1",), "Everywhere", self.overlay.toggle)
        self._key("resync", "Ask the broker for everything afresh", ("F5",), "Everywhere", self.resync)
        self._key("next_pane", "Next pane", ("F6",), "Everywhere", self.next_pane)
        self._key("full_screen", "Full screen", ("F11",), "Everywhere", self.full_screen)

    def _key(self, name: str, label: str, keys: tuple[str, ...], group: str, run: Callable[[], None] | None) -> None:
        self.context.actions.add_command(Command(name, label, keys, group, run))
        if run is None:
            return
        for key in keys:
            sequence: Any = QKeySequence(key)  # the stubs do not know that it can be indexed
            shortcut = QShortcut(sequence, self)
            shortcut.setAutoRepeat(False)
            shortcut.activated.connect(partial(self._pressed, sequence[0].key(), run))

    def _pressed(self, key: int, run: Callable[[], None]) -> None:
        if not self._repeats.repeats(key):
            run()

    # -- what keys do ------------------------------------------------------------------------------------------

    resync_wanted = Signal()

    @property
    def page(self) -> Page:
        """The page that is shown."""
        return next(page for page in self.pages.values() if page is self.stack.currentWidget())

    def show_page(self, title: str) -> None:
        """Bring a page to the front."""
        page = self.made(title)
        before = self.stack.currentWidget()
        self.rail.select(title)
        if before is not page:
            panel = self.sheet.current
            if panel is not None and panel.of_page:
                panel.cancel()
            for other in self.pages.values():
                if other is before:
                    other.deactivate()
            self.stack.setCurrentWidget(page)
        page.cover(self.sheet.current is not None)  # panels and details have come and gone since it was shown
        page.activate()
        self.refresh()

    def focus_filter(self) -> None:
        """``/`` and Ctrl+F."""
        box = self.page.filter_box()
        if box is not None:
            box.take_focus()

    def escape(self) -> None:
        """Esc, one step at a time: overlay, what waits, the panel, the filter's focus, the filter, full screen."""
        box = self.page.filter_box()
        table = self.page.table()
        if self.overlay.isVisible():
            self.overlay.leave()
        elif self.context.actions.cancel_all():
            return
        elif self.sheet.current is not None:
            self.sheet.current.cancel()
        elif box is not None and box.has_focus():
            if table is not None:
                table.setFocus()
        elif not self.toasts.dismiss_errors() and not (box is not None and box.clear()) and self.isFullScreen():
            self.full_screen()

    def undo(self) -> None:
        """Ctrl+Z."""
        waits = bool(self.context.actions.pending)
        if self.context.actions.undo() and not waits:
            self.toasts.drop_undo()

    def show_logs(self) -> None:
        """F4."""
        self.page.show_logs()

    def export(self) -> None:
        """Ctrl+E."""
        self.page.export()

    def resync(self) -> None:
        """F5."""
        self.resync_wanted.emit()
        self.context.toast("Asked the broker for everything afresh")

    def next_pane(self) -> None:
        """F6: filter, table, details, panel, and round again."""
        panes = [*self.page.panes()]
        if self.sheet.current is not None:
            panes.append(self.sheet.current.first_focus or self.sheet.current)
        shown = [pane for pane in panes if pane.isVisible() and pane.focusPolicy() != Qt.FocusPolicy.NoFocus]
        if shown:
            focus = self.focusWidget()
            here = next((i for i, pane in enumerate(shown) if pane is focus or pane.isAncestorOf(focus)), -1)
            shown[(here + 1) % len(shown)].setFocus(Qt.FocusReason.TabFocusReason)

    def full_screen(self) -> None:
        """F11."""
        self.setWindowState(self.windowState() ^ Qt.WindowState.WindowFullScreen)

    # -- staying true ------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Strip, counts, foot, and whether acts are possible; four times a second."""
        state = self.strip_state()
        self.strip.set_state(state)
        self.context.actions.set_blocked(state.blocked)
        for title, page in self.pages.items():
            self.rail.buttons[title].set_counts(page.count_text(), page.badges())
        self.page.refresh()
        self.foot.show_text(self.page.status_text(), self.page.hints())

    def set_theme(self, theme: Theme) -> None:
        """Paint with another theme from now on."""
        self.theme = theme
        self.strip.set_theme(theme)
        for page in self.pages.values():
            page.theme_changed()
        self.update()

    def save_layout(self) -> None:
        """Remember what the next start shows."""
        settings = self.context.settings
        settings.set("window/geometry", bytes(self.saveGeometry().toBase64().data()).decode())
        settings.set("window/page", self.page.title)
        for page in self.pages.values():
            page.save_layout()
        settings.sync()

    def _cover(self, covered: bool) -> None:
        """A panel came or went: the page gives it room, and gets the keyboard back after it."""
        if not self.pages:
            return
        self.page.cover(covered)
        table = self.page.table()
        if not covered and table is not None:
            table.setFocus()

    def showEvent(self, event: QShowEvent) -> None:
        """From now on there is a native window, and keys arrive there."""
        super().showEvent(event)
        self.windowHandle().installEventFilter(self._repeats)
        self.windowHandle().installEventFilter(self.last_input)

    def event(self, event: QEvent) -> bool:
        """Notice the first paint."""
        if event.type() == QEvent.Type.Paint and not self.was_painted:
            self.was_painted = True
            QTimer.singleShot(0, self, self.painted.emit)
        return super().event(event)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Ask what is to become of the broker, in place, before the window goes."""
        if self.closing():
            event.accept()
        else:
            event.ignore()
