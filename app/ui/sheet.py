"""The place at the right of the tables where panels appear: one at a time, the newest wins.

The ``Panels`` of ``context.py``. Showing a panel gives it the keyboard; closing gives it back to the table (the
main window's ``cover`` callback does that). Nothing here is modal: the tables stay readable and live.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QVBoxLayout, QWidget

from app.ui.panel import Panel
from app.ui.theme import Theme


class Sheet(QWidget):
    """Holds at most one panel; hidden without one."""

    def __init__(self, covered: Callable[[bool], None]) -> None:
        super().__init__()
        self._covered = covered
        self._panel: Panel | None = None
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self.setMinimumWidth(Theme.SHEET)
        self.setMaximumWidth(Theme.SHEET + 160)
        self.setVisible(False)

    @property
    def current(self) -> Panel | None:
        """The panel that is shown."""
        return self._panel

    def show_panel(self, panel: Panel) -> None:
        """Show ``panel``; one that was there is cancelled first."""
        if self._panel is panel:
            return
        if self._panel is not None:
            self._panel.cancel()
        self._panel = panel
        self._column.addWidget(panel)
        self.setVisible(True)
        self._covered(True)
        panel.show()
        target = panel.first_focus or panel
        QTimer.singleShot(0, panel, lambda: target.setFocus())

    def close_panel(self, panel: Panel | None = None) -> None:
        """Remove ``panel`` (None: whichever is there); another one that took its place stays."""
        shown = self._panel
        if shown is None or (panel is not None and panel is not shown):
            return
        self._panel = None
        self._column.removeWidget(shown)
        shown.hide()
        shown.deleteLater()
        self.setVisible(False)
        self._covered(False)


class SheetPanels:
    """The sheet as ``context.panels``; its names would hide those of ``QWidget``."""

    def __init__(self, sheet: Sheet) -> None:
        self._sheet = sheet

    def show(self, panel: Panel) -> None:
        """See ``context.Panels``."""
        self._sheet.show_panel(panel)

    def close(self, panel: Panel | None = None) -> None:
        """See ``context.Panels``."""
        self._sheet.close_panel(panel)

    @property
    def current(self) -> Panel | None:
        """See ``context.Panels``."""
        return self._sheet.current
