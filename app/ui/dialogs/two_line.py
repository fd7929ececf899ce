"""Two lines per row: what it is, and under it, in grey, what there is to say about it. For lists in panels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QRect, QSize, Qt
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import QListWidgetItem, QStyle, QStyledItemDelegate, QStyleOptionViewItem, QWidget

if TYPE_CHECKING:
    from app.ui.context import Context

FIRST_ROLE = int(Qt.ItemDataRole.DisplayRole)
SECOND_ROLE = int(Qt.ItemDataRole.UserRole) + 1
HEIGHT = 42
MARGIN = 10


class TwoLineDelegate(QStyledItemDelegate):
    """Paints both lines as plain text, elided at the right."""

    def __init__(self, context: Context, parent: QWidget) -> None:
        super().__init__(parent)
        self.context = context

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:
        """The same for every row."""
        return QSize(100, HEIGHT)

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """Ground, edge of the current row, two lines."""
        theme = self.context.theme
        rect: QRect = option.rect
        selected = bool(option.state & QStyle.StateFlag.State_Selected)
        if selected:
            painter.fillRect(rect, theme.color("select"))
            painter.fillRect(QRect(rect.left(), rect.top(), 2, rect.height()), theme.color("accent"))
        width = rect.width() - 2 * MARGIN
        lines = ((FIRST_ROLE, "body", "text", 5), (SECOND_ROLE, "small", "text2", 22))
        enabled = bool(option.state & QStyle.StateFlag.State_Enabled)
        for role, font, color, top in lines:
            painter.setFont(theme.font(font))
            painter.setPen(theme.color(color if enabled else "text3"))
            text = painter.fontMetrics().elidedText(str(index.data(role) or ""), Qt.TextElideMode.ElideRight, width)
            place = QRect(rect.left() + MARGIN, rect.top() + top, width, 16)
            painter.drawText(place, int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter), text)


def add_lines(item: QListWidgetItem, first: str, second: str) -> None:
    """Give ``item`` its two lines; a reader of the screen hears both."""
    item.setText(first)
    item.setData(SECOND_ROLE, second)
    item.setData(int(Qt.ItemDataRole.AccessibleTextRole), f"{first}, {second}")
