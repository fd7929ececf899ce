"""Acts that wait or are under way, above the foot of the window: what happens, when, and how to stop it.

One line for each press of tier 1 in its hold-back, with the shrinking bar and buttons for the mouse, and one for each
act on many objects that is under way ("12 of 40, waiting 12 s"). Shown only while there is something; painted at 20 Hz
while something waits, and otherwise when it changes. Reads ``Actions.pending`` and ``Actions.bulks``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import QRectF, Qt, QTimer
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from app.ui.theme import Theme, plain_label

if TYPE_CHECKING:
    from app.ui.actions import Actions
    from app.ui.bulk import Bulk
    from app.ui.verb import Pending

LINES = 4


class PendingLine(QWidget):
    """One press that waits, for one object or for ``count``."""

    def __init__(self, actions: Actions, pending: Pending, theme: Callable[[], Theme], count: int = 1) -> None:
        super().__init__()
        self.pending = pending
        self.count = count
        self._theme = theme
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 3, 12, 5)
        row.setSpacing(10)
        self.label = plain_label("", "heading")
        row.addWidget(self.label)
        row.addStretch(1)
        row.addWidget(plain_label("Esc cancels", "caption"))
        for text, kind, run in (
            ("Cancel", "plain", lambda: actions.cancel(pending)),
            ("Send now", "danger", lambda: actions.send_now(pending)),
        ):
            button = QPushButton(text)
            button.setProperty("kind", kind)
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            button.clicked.connect(run)
            row.addWidget(button)
        self.tick()

    def tick(self) -> None:
        """Say how much time is left."""
        what = self.pending.name if self.count == 1 else f"{self.count}, {self.pending.name} and others,"
        self.label.setText(f"{self.pending.verb.label} {what} in {self.pending.left:.1f} s")
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """The bar that shrinks."""
        painter = QPainter(self)
        theme = self._theme()
        painter.fillRect(self.rect(), theme.color("raised"))
        bar = QRectF(0, self.height() - 2, self.width() * self.pending.fraction, 2)
        painter.fillRect(bar, theme.color("accent"))
        painter.end()


class BulkLine(QWidget):
    """One act on many objects that is under way."""

    def __init__(self, bulk: Bulk, theme: Callable[[], Theme]) -> None:
        super().__init__()
        self.bulk = bulk
        self._theme = theme
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 3, 12, 5)
        row.setSpacing(10)
        self.label = plain_label(bulk.text, "heading")
        row.addWidget(self.label)
        row.addStretch(1)
        row.addWidget(plain_label("Esc stops", "caption"))
        self.stop_button = QPushButton("Stop")
        self.stop_button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.stop_button.clicked.connect(bulk.stop)
        row.addWidget(self.stop_button)

    def refresh(self) -> None:
        """Say how far it is."""
        if self.label.text() != self.bulk.text:
            self.label.setText(self.bulk.text)
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """The bar that grows."""
        painter = QPainter(self)
        theme = self._theme()
        painter.fillRect(self.rect(), theme.color("raised"))
        share = self.bulk.done / max(1, self.bulk.total)
        painter.fillRect(QRectF(0, self.height() - 2, self.width() * share, 2), theme.color("text3"))
        painter.end()


class PendingArea(QWidget):
    """Everything that waits or is under way, newest last; at most four lines of each, the rest as a count."""

    def __init__(self, actions: Actions, theme: Callable[[], Theme]) -> None:
        super().__init__()
        self._actions = actions
        self._theme = theme
        self.lines: list[PendingLine] = []
        self.bulk_lines: list[BulkLine] = []
        self._more = plain_label("", "caption")
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(1)
        self._column.addWidget(self._more)
        self._timer = QTimer(self)
        self._timer.setInterval(50)
        self._timer.timeout.connect(self._tick)
        actions.changed.connect(self.refresh)
        self.refresh()

    def refresh(self) -> None:
        """Take what waits and what is under way now."""
        presses: dict[int, list[Pending]] = {}
        for pending in self._actions.pending.values():
            presses.setdefault(pending.press, []).append(pending)
        shown = dict(list(presses.items())[:LINES])
        self._show_presses(shown)
        self._show_bulks([bulk for bulk in self._actions.bulks if not bulk.stopped][:LINES])
        hidden = len(presses) - len(shown)
        self._more.setText(f"and {hidden} more" if hidden else "")
        self._more.setVisible(hidden > 0)
        self.setVisible(bool(presses or self.bulk_lines))
        if presses:
            self._timer.start()
        else:
            self._timer.stop()

    def _show_presses(self, presses: dict[int, list[Pending]]) -> None:
        for line in [line for line in self.lines if line.pending not in presses.get(line.pending.press, ())]:
            self.lines.remove(line)
            self._drop(line)
        known = {line.pending.press: line for line in self.lines}
        for number, some in presses.items():
            if number in known:
                known[number].count = len(some)
                continue
            line = PendingLine(self._actions, some[0], self._theme, len(some))
            self.lines.append(line)
            self._column.insertWidget(self._column.count() - 1, line)

    def _show_bulks(self, bulks: list[Bulk]) -> None:
        for line in [line for line in self.bulk_lines if line.bulk not in bulks]:
            self.bulk_lines.remove(line)
            self._drop(line)
        known = {id(line.bulk): line for line in self.bulk_lines}
        for bulk in bulks:
            if id(bulk) in known:
                known[id(bulk)].refresh()
                continue
            fresh = BulkLine(bulk, self._theme)
            self.bulk_lines.append(fresh)
            self._column.insertWidget(self._column.count() - 1, fresh)

    def _drop(self, line: QWidget) -> None:
        self._column.removeWidget(line)
        line.hide()
        line.deleteLater()

    def _tick(self) -> None:
        for line in self.lines:
            line.tick()
