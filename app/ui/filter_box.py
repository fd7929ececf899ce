"""The one filter box of a page: what is typed narrows the table while it is typed.

``changed`` comes at most every 60 ms and never for text that means the same. An expression that cannot be read
keeps the rows of the last good one and says what is wrong. Esc and ``/`` are the window's; Enter and Down
go back to the table. Language: ``app/models/filter.py``.
"""

from __future__ import annotations

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QSizePolicy, QWidget

from app.ui.theme import escape_tooltip, plain_label, set_role

PLACEHOLDER = "Filter   /   cam  -audio  state:stale  10.0.0.0/24  age>20"
HELP = (
    'Words and "quoted words" must all occur; -word must not.\n'
    "state:stale  from:stage  type:ndi  look in one column.\n"
    "10.0.0.0/24 finds addresses of a network, age>20 compares, re:^cam\\d is a regular expression."
)


class _Edit(QLineEdit):
    """A line that gives the keyboard back on Enter or Down."""

    left = Signal()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter and Down leave; all else is typing."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Down):
            self.left.emit()
            return
        super().keyPressEvent(event)


class FilterBox(QWidget):
    """The line, what is wrong with it, and how many rows pass."""

    changed = Signal(str)
    left = Signal()

    def __init__(self) -> None:
        super().__init__()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(8)
        self.edit = _Edit()
        self.edit.setPlaceholderText(PLACEHOLDER)
        self.edit.setClearButtonEnabled(True)
        self.edit.setAccessibleName("Filter")
        self.edit.setMaxLength(500)
        self.edit.setToolTip(escape_tooltip(HELP))
        self.edit.left.connect(self._leave)
        self.edit.setMinimumWidth(140)
        row.addWidget(self.edit, 5)
        self.note = plain_label("", "caption", wrap=True)
        self.note.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)
        self.note.setFixedHeight(26)
        row.addWidget(self.note, 3)  # a place of its own, also when empty: the line must not jump while one types
        self._sent = ""
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(60)
        self._timer.timeout.connect(self.flush)
        self.edit.textChanged.connect(lambda: self._timer.start())

    def _leave(self) -> None:
        """What was typed counts before the keyboard goes to the rows."""
        self.flush()
        self.left.emit()

    @property
    def text(self) -> str:
        """What stands in it."""
        return self.edit.text()

    def set_text(self, text: str) -> None:
        """Put a filter into it and apply it now."""
        self.edit.setText(text)
        self.flush()

    def flush(self) -> None:
        """Apply what was typed without waiting for the next pause."""
        self._timer.stop()
        text = self.edit.text().strip()
        if text != self._sent:
            self._sent = text
            self.changed.emit(text)

    def take_focus(self) -> None:
        """``/`` or Ctrl+F: type here, replacing what is there."""
        self.edit.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.edit.selectAll()

    def has_focus(self) -> bool:
        """Whether keys go here."""
        return self.edit.hasFocus()

    def clear(self) -> bool:
        """Show everything again; False when nothing was filtered."""
        if not self.edit.text():
            return False
        self.set_text("")
        return True

    @property
    def is_invalid(self) -> bool:
        """Whether what stands in it cannot be read."""
        return bool(self.edit.property("invalid") == "true")

    def show_result(self, note: str, error: str = "") -> None:
        """Say how many rows pass, or what is wrong with the expression."""
        self.note.setText(error or note)
        self.note.setToolTip(escape_tooltip(error))
        set_role(self.note, "error" if error else "caption")
        set_role(self.edit, "true" if error else "false", name="invalid")
