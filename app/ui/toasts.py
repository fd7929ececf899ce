"""Sentences at the foot of the window: what was done, with Undo for 10 s, and what went wrong, until dismissed.

``Toasts`` floats over the lower right corner of the pages and never takes the keyboard: acts that wait stand below
it, panels at its right, and their buttons stay free. At most four are shown; the oldest goes first. The text is plain. Called through ``context.toast``.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QEvent, QObject, Qt, QTimer
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QToolButton, QVBoxLayout, QWidget

from app.models.wording import plain
from app.ui.theme import plain_label

SECONDS = 6.0
UNDO_SECONDS = 10.0
MOST = 4
WIDTH = 420


class Toast(QFrame):
    """One sentence, with its buttons and its time."""

    def __init__(self, text: str, tone: str, undo: Callable[[], None] | None, gone: Callable[[Toast], None]) -> None:
        super().__init__()
        self.text = text
        self.tone = tone
        self._undo = undo
        self._gone = gone
        self.setProperty("role", "toast")
        self.setProperty("tone", tone)
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 6, 6, 6)
        row.setSpacing(8)
        self.label = plain_label(text, "value", wrap=True, copyable=tone == "error")
        row.addWidget(self.label, 1)
        self.undo_button: QPushButton | None = None
        if undo is not None:
            self.undo_button = QPushButton("Undo")
            self.undo_button.setProperty("kind", "link")
            self.undo_button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            self.undo_button.clicked.connect(self._press_undo)
            row.addWidget(self.undo_button)
        close = QToolButton()
        close.setText("✕")
        close.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        close.clicked.connect(self.leave)
        row.addWidget(close, 0, Qt.AlignmentFlag.AlignTop)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.leave)
        if tone != "error":
            self._timer.start(int(1000 * (UNDO_SECONDS if undo else SECONDS)))

    def leave(self) -> None:
        """Its time is over, or it was dismissed."""
        self._timer.stop()
        self._gone(self)

    def name_key(self, newest: bool) -> None:
        """Ctrl+Z takes back the newest act alone; the buttons of older ones do not claim it."""
        if self.undo_button is not None:
            self.undo_button.setText("Undo  Ctrl+Z" if newest else "Undo")

    def _press_undo(self) -> None:
        if self._undo is not None:
            undo, self._undo = self._undo, None
            self.leave()
            undo()


class Toasts(QWidget):
    """The stack of toasts of one window."""

    def __init__(self, window: QWidget, over: QWidget) -> None:
        super().__init__(window)
        self._window = window
        self._over = over
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents, False)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(6)
        self.items: list[Toast] = []
        over.installEventFilter(self)
        self.hide()

    def say(self, text: str, *, undo: Callable[[], None] | None = None, tone: str = "info") -> None:
        """Show one more; the same sentence twice in a row is shown once, afresh. Names in it may be anything."""
        text = plain(text)
        for other in list(self.items):
            if other.text == text:
                self._remove(other)
        toast = Toast(text, tone, undo, self._remove)
        self.items.append(toast)
        self._column.addWidget(toast)
        while len(self.items) > MOST:
            self._remove(self.items[0])
        self._place()

    def dismiss_errors(self) -> bool:
        """Remove the errors that wait to be read; True when there were any (Esc)."""
        errors = [toast for toast in self.items if toast.tone == "error"]
        for toast in errors:
            self._remove(toast)
        return bool(errors)

    def drop_undo(self) -> None:
        """Ctrl+Z took back the newest act: its toast has nothing to offer any more."""
        for toast in self._undoable()[-1:]:
            self._remove(toast)

    def _undoable(self) -> list[Toast]:
        return [toast for toast in self.items if toast.undo_button is not None]

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Stay in the corner."""
        if event.type() in (QEvent.Type.Resize, QEvent.Type.Move) and self.items:
            self._place()
        return False

    def _remove(self, toast: Toast) -> None:
        if toast in self.items:
            self.items.remove(toast)
            self._column.removeWidget(toast)
            toast.hide()
            toast.deleteLater()
            self._place()

    def _place(self) -> None:
        if not self.items:
            self.hide()
            return
        for toast in self.items:
            toast.name_key(toast in self._undoable()[-1:])
        width = min(WIDTH, self._over.width() - 24)
        height = sum(max(toast.heightForWidth(width), 32) for toast in self.items) + 6 * (len(self.items) - 1)
        corner = self._over.mapTo(self._window, self._over.rect().bottomRight())
        self.setGeometry(corner.x() - width - 12, corner.y() - height - 11, width, height)
        self.show()
        self.raise_()
