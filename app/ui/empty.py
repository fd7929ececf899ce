"""What stands in a table without rows: why it is empty and what to do about it, never a blank."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtWidgets import QVBoxLayout, QWidget

from app.ui.theme import plain_label

if TYPE_CHECKING:
    from PySide6.QtWidgets import QTableView

    from app.ui.context import Context


WIDEST = 560


class EmptyText(QWidget):
    """Two centred lines over the viewport of a table; lets every click through."""

    def __init__(self, view: QTableView, context: Context) -> None:
        super().__init__(view.viewport())
        self._context = context
        self._viewport = view.viewport()
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        column = QVBoxLayout(self)
        column.setAlignment(Qt.AlignmentFlag.AlignCenter)
        column.setSpacing(6)
        self.title = plain_label("", "title")
        self.hint = plain_label("", "hint", wrap=True)
        for label in (self.title, self.hint):
            label.setAlignment(Qt.AlignmentFlag.AlignCenter)
            column.addWidget(label)
        view.viewport().installEventFilter(self)
        self.hide()

    def refresh(self, shown: int, total: int, words: tuple[str, str]) -> None:
        """Show or hide; ``words`` are for a table that has no rows at all."""
        if shown:
            self.hide()
            return
        title, hint = words
        if total:
            title, hint = "No row passes the filter", f"{total} hidden.  Esc clears the filter."
        elif not self._context.store.loaded:
            title, hint = "Waiting for the broker", "The board fills when its first picture has come."
        self.title.setText(title)
        self.hint.setText(hint)
        self._fill()
        self.show()

    def _fill(self) -> None:
        self.hint.setFixedWidth(min(WIDEST, max(120, self._viewport.width() - 48)))  # wrapped, it asks for too little
        self.setGeometry(self._viewport.rect())

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Stay in the middle."""
        if event.type() == QEvent.Type.Resize and self.isVisible():
            self._fill()
        return False
