"""The foot of the window: what the page shows, and the keys that matter on it right now."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QWidget

from app.ui.theme import plain_label


class Foot(QWidget):
    """Two texts in 20 px."""

    HEIGHT = 20

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("foot")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFixedHeight(self.HEIGHT)
        row = QHBoxLayout(self)
        row.setContentsMargins(12, 0, 12, 0)
        self.status = plain_label("", "caption")
        self.hints = plain_label("", "caption")
        row.addWidget(self.status, 1)
        row.addWidget(self.hints)

    def show_text(self, status: str, hints: str) -> None:
        """Show both; nothing happens when they are the same."""
        if self.status.text() != status:
            self.status.setText(status)
        if self.hints.text() != hints:
            self.hints.setText(hints)
