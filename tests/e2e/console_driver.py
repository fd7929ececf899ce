"""The real console as a process of its own, with a hand on its keyboard: ``python -m tests.e2e.console_driver DATA OPTIONS…``.

It runs ``app.ui.main.main`` as ``callboard`` does. Beside it, in the same process, a thread reads lines from standard
input, each a key sequence such as ``R`` or ``Ctrl+2``, and has Qt click it where the keyboard is. Whenever the window
refreshes, what an operator could read on it goes to standard output as one JSON line, with the number of keys that have
been pressed by then. The product knows nothing of this.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, Qt, QTimer, Signal
from PySide6.QtGui import QKeySequence
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel

from app.ui.main import application, main
from app.ui.main_window import MainWindow


class Hand(QObject):
    """Presses keys and reads the window; lives on the main thread."""

    wanted = Signal(str)

    def __init__(self, app: QApplication) -> None:
        super().__init__()
        self._app = app
        self._window: MainWindow | None = None
        self._pressed = 0
        self.wanted.connect(self.press, Qt.ConnectionType.QueuedConnection)
        self._look = QTimer(self)
        self._look.timeout.connect(self.find)
        self._look.start(10)

    def find(self) -> None:
        """Wait for the window, then follow its own refresh."""
        for widget in self._app.topLevelWidgets():
            if isinstance(widget, MainWindow) and widget.was_painted:
                self._look.stop()
                self._window = widget
                widget.resize(1440, 880)
                widget.activateWindow()
                widget._timer.timeout.connect(self.tell)

    def press(self, keys: str) -> None:
        """One key at the native window, where every key arrives first; without a window it is pressed in vain."""
        self._pressed += 1
        if self._window is not None:
            combination = QKeySequence(keys)[0]
            QTest.keyClick(self._window.windowHandle(), combination.key(), combination.keyboardModifiers())

    def tell(self) -> None:
        """What can be read now."""
        window = self._window
        if window is None:
            return
        labels = (label for label in window.findChildren(QLabel) if label.isVisible() and label.text())
        seen: dict[str, Any] = {
            "pressed": self._pressed,
            "page": window.page.title,
            "strip": window.strip.accessibleName(),
            "live": window.strip.state.live,
            "labels": [label.text() for label in labels],
            "rows": rows(window),
        }
        sys.stdout.write(json.dumps(seen) + "\n")
        sys.stdout.flush()


def rows(window: MainWindow) -> dict[str, dict[str, str]]:
    """The table in front: cells by column, by the id of the row."""
    view = window.page.table()
    if view is None:
        return {}
    table = view.table
    return {
        item.id: {column.key: table.cell(item, column) for column in table.columns}
        | {"current": item.id == view.current_id}
        for item in table.order_items
    }


def listen(hand: Hand) -> None:
    """Pass keys from standard input on to the main thread, until it ends."""
    for line in sys.stdin:
        hand.wanted.emit(line.strip())


if __name__ == "__main__":
    data = Path(sys.argv[1])
    hand = Hand(application())
    threading.Thread(target=listen, args=(hand,), daemon=True).start()
    sys.exit(main(None, data, sys.argv[2:], config=data.parent))
