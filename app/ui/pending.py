"""Acts that wait for their time, above the foot of the window: what will happen, when, and how to stop it.

One line per act of tier 1 in its hold-back, with the shrinking bar and buttons for the mouse. Shown only
while something waits; painted at 20 Hz then, and not at all otherwise. Reads ``Actions.pending``.
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
    from app.ui.verb import Pending

LINES = 4


class PendingLine(QWidget):
    """One act that waits."""

    def __init__(self, actions: Actions, pending: Pending, theme: Callable[[], Theme]) -> None:
        super().__init__()
        self.pending = pending
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
        self.label.setText(f"{self.pending.verb.label} {self.pending.name} in {self.pending.left:.1f} s")
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """The bar that shrinks."""
        painter = QPainter(self)
        theme = self._theme()
        painter.fillRect(self.rect(), theme.color("raised"))
        bar = QRectF(0, self.height() - 2, self.width() * self.pending.fraction, 2)
        painter.fillRect(bar, theme.color("accent"))
        painter.end()


class PendingArea(QWidget):
    """All acts that wait, newest last; at most four lines, the rest as a count."""

    def __init__(self, actions: Actions, theme: Callable[[], Theme]) -> None:
        super().__init__()
        self._actions = actions
        self._theme = theme
        self.lines: list[PendingLine] = []
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
        """Take what waits now."""
        wanted = list(self._actions.pending.values())
        shown = wanted[:LINES]
        for line in [line for line in self.lines if line.pending not in shown]:
            self.lines.remove(line)
            self._column.removeWidget(line)
            line.hide()
            line.deleteLater()
        known = [line.pending for line in self.lines]
        for pending in shown:
            if pending not in known:
                line = PendingLine(self._actions, pending, self._theme)
                self.lines.append(line)
                self._column.insertWidget(len(self.lines) - 1, line)
        self._more.setText(f"and {len(wanted) - LINES} more" if len(wanted) > LINES else "")
        self._more.setVisible(len(wanted) > LINES)
        self.setVisible(bool(wanted))
        if wanted:
            self._timer.start()
        else:
            self._timer.stop()

    def _tick(self) -> None:
        for line in self.lines:
            line.tick()
