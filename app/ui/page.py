"""The base of the pages, and what the main window asks of one.

A page is made once with its ``Context`` and lives as long as the window; the window calls ``activate()`` when it
comes to the front and ``deactivate()`` when it leaves: a page in the back does not repaint, does not query and
starts no timer. Keys that no child wants bubble up to ``keyPressEvent`` here, which asks ``dispatch_key``.

Derive, set ``title``, ``key`` and ``glyph``, build widgets in ``__init__`` (cheap: it runs before the first paint;
heavy work belongs into the first ``activate()``), and override what applies. Import no pyqtgraph, numpy, httpx,
websockets or keyring at module level.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QWidget

if TYPE_CHECKING:
    from app.ui.context import Context
    from app.ui.filter_box import FilterBox
    from app.ui.table_view import TableView


class Page(QWidget):
    """One screen of the console."""

    title: ClassVar[str] = ""
    key: ClassVar[str] = ""
    glyph: ClassVar[str] = ""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context

    def activate(self) -> None:
        """The page comes to the front: catch up, start repainting, give the keyboard to its table."""
        view = self.table()
        if view is not None:
            view.setFocus()

    def refresh(self) -> None:
        """Bring what changes with time up to date; called four times a second while the page is in front."""

    def deactivate(self) -> None:
        """The page leaves the front: stop repainting."""

    def table(self) -> TableView | None:
        """The page's table, for F6, Enter and the verbs; None for a page without one."""
        return None

    def filter_box(self) -> FilterBox | None:
        """The box that ``/`` and Ctrl+F go to."""
        return None

    def count_text(self) -> str:
        """The live count beside the page's name in the rail; "" for none."""
        return ""

    def badges(self) -> list[tuple[str, str]]:
        """Small counts of what is wrong here, as (state colour token, text), beside the page's name in the rail."""
        return []

    def hints(self) -> str:
        """The keys that matter on this page now, for the foot of the window."""
        return "/ filter    F1 keys" if self.filter_box() is not None else "F1 keys"

    def panes(self) -> list[QWidget]:
        """Widgets that F6 goes through, in order; those that are hidden are passed over."""
        widgets: list[QWidget] = []
        box, view = self.filter_box(), self.table()
        if box is not None:
            widgets.append(box.edit)
        if view is not None:
            widgets.append(view)
        return widgets

    def cover(self, covered: bool) -> None:
        """A panel opened at the right (or closed): give it room, such as by hiding the details pane meanwhile."""

    def status_text(self) -> str:
        """One line for the foot of the window: what is shown, marked, hidden."""
        return ""

    def toggle_details(self) -> None:
        """Enter: open or close the details pane."""

    def show_logs(self) -> None:
        """F4: the log of the current row, where rows have one."""
        self.context.toast("Log: desktops have one; select one on Sessions")

    def export(self) -> None:
        """Ctrl+E: export what is filtered."""

    def theme_changed(self) -> None:
        """The theme is another one now; style sheets follow by themselves, painted things look it up again."""

    def save_layout(self) -> None:
        """Put columns, sort and filter into the settings; called when the window closes."""

    def dispatch_key(self, event: QKeyEvent) -> bool:
        """Run the verb on that key for what is selected; True when there was one."""
        return False

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Keys that no child wanted."""
        if not self.dispatch_key(event):
            super().keyPressEvent(event)
