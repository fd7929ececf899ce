"""The destinations above the Streams table: every preset, and what it carries now, without opening anything.

console rule 10. One cell per preset: name and, below it, the stream with its time, or "free"; the default one carries
the key that takes to it. A click shows what it carries in the table. Painted by hand, repainted only when a word of
it changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from PySide6.QtCore import QEvent, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QFontMetrics, QMouseEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.models.states import state_of_session
from app.models.wording import age_text, plain
from app.ui.shapes import draw_shape
from app.ui.theme import escape_tooltip

if TYPE_CHECKING:
    from app.ui.context import Context

HEIGHT = 40
WIDEST, NARROWEST = 240, 150


class Cell(NamedTuple):
    """One preset as it is shown."""

    preset_id: str
    name: str
    default: bool
    what: str
    age: str
    shape: str
    token: str
    stream_id: str
    more: int


class Destinations(QWidget):
    """See the module's docstring. ``chosen`` carries the id of the stream that the clicked preset shows."""

    chosen = Signal(str)
    edit_wanted = Signal(str)
    """A preset was double-clicked: edit it."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context
        self.cells: list[Cell] = []
        self._hover = -1
        self.setMouseTracking(True)
        self.setFixedHeight(HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.hide()

    def refresh(self) -> None:
        """Read presets and sessions again."""
        store = self.context.store
        now = store.broker_now()
        presets = sorted(store.presets.values(), key=lambda row: (not row.default, row.name.casefold()))
        cells = []
        for preset in presets:
            sessions = store.carried_by(preset.id)
            newest = sessions[-1] if sessions else None
            if newest is None:
                cells.append(Cell(preset.id, plain(preset.name), preset.default, "free", "", "", "off", "", 0))
                continue
            word = state_of_session(newest, store, now).word
            age = age_text(now - newest.started_at)
            what, more = plain(newest.stream_name), len(sessions) - 1
            cells.append(
                Cell(
                    preset.id,
                    plain(preset.name),
                    preset.default,
                    what,
                    age,
                    word.shape,
                    word.key,
                    newest.stream_id,
                    more,
                )
            )
        if cells != self.cells:
            self.cells = cells
            self.setVisible(bool(cells))
            self.setAccessibleName("; ".join(f"{cell.name}: {cell.what} {cell.age}" for cell in cells))
            self.update()

    def sizeHint(self) -> QSize:
        """One line of cells."""
        return QSize(NARROWEST * 2, HEIGHT)

    def cell_width(self) -> int:
        """Cells share the width evenly within limits; what does not fit is counted at the end."""
        return max(NARROWEST, min(WIDEST, (self.width() - 24) // max(1, len(self.cells))))

    def paintEvent(self, event: QPaintEvent) -> None:
        """Cell by cell."""
        theme = self.context.theme
        painter = QPainter(self)
        painter.setPen(theme.color("line"))
        painter.drawLine(0, 0, self.width(), 0)
        painter.drawLine(0, self.height() - 1, self.width(), self.height() - 1)
        width, fitting = self.cell_width(), self._fitting()
        for number, cell in enumerate(self.cells[:fitting]):
            self._cell(painter, QRectF(12 + number * width, 0, width, self.height()), cell, number)
        if fitting < len(self.cells):
            painter.setPen(theme.color("text3"))
            painter.setFont(theme.font("caption"))
            box = QRectF(12 + fitting * width, 0, 80, self.height())
            painter.drawText(box, Qt.AlignmentFlag.AlignVCenter, f"+{len(self.cells) - fitting}")
        painter.end()

    def _fitting(self) -> int:
        return max(1, (self.width() - 48) // self.cell_width()) if self.cells else 0

    def _cell(self, painter: QPainter, box: QRectF, cell: Cell, number: int) -> None:
        theme = self.context.theme
        if number == self._hover:
            painter.fillRect(box.adjusted(0, 1, 0, -1), theme.color("hover"))
        if number:
            painter.fillRect(QRectF(box.x(), 9, 1, box.height() - 18), theme.color("line"))
        left, right = box.x() + (12 if number else 0), box.right() - 12
        painter.setFont(theme.font("caption"))
        painter.setPen(theme.color("text2"))
        metrics = QFontMetrics(theme.font("caption"))
        name = metrics.elidedText(cell.name, Qt.TextElideMode.ElideRight, int(right - left - 24))
        painter.drawText(QRectF(left, 4, right - left, 15), Qt.AlignmentFlag.AlignVCenter, name)
        if cell.default:
            painter.setPen(theme.color("accent"))
            painter.drawText(
                QRectF(left, 4, right - left, 15), Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, "R"
            )
        x = left
        if cell.shape:
            painter.save()
            painter.translate(x, 22)
            draw_shape(painter, cell.shape, theme.color(cell.token), 12.0)
            painter.restore()
            x += 17
        painter.setFont(theme.font("caption"))
        painter.setPen(theme.color("text3"))
        age = cell.age + (f"  +{cell.more}" if cell.more else "")
        painter.drawText(
            QRectF(left, 20, right - left, 16), Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, age
        )
        painter.setFont(theme.font("heading" if cell.shape else "body"))
        painter.setPen(theme.color("text" if cell.shape else "text3"))
        room = right - x - metrics.horizontalAdvance(age) - 8
        what = QFontMetrics(theme.font("heading")).elidedText(cell.what, Qt.TextElideMode.ElideRight, int(room))
        painter.drawText(QRectF(x, 20, room + 2, 16), Qt.AlignmentFlag.AlignVCenter, what)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Hover and tooltip."""
        number = self._at(event.position().x())
        if number != self._hover:
            self._hover = number
            cell = self.cells[number] if number >= 0 else None
            more = " and more" if cell is not None and cell.more else ""
            words = f"{cell.name}: {cell.what}{more}\nDouble click edits the preset" if cell is not None else ""
            self.setToolTip(escape_tooltip(words))
            self.update()

    def leaveEvent(self, event: QEvent) -> None:
        """The pointer left."""
        self._hover = -1
        self.update()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Show what it carries in the table."""
        number = self._at(event.position().x())
        if number >= 0 and self.cells[number].stream_id:
            self.chosen.emit(self.cells[number].stream_id)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Edit the preset."""
        number = self._at(event.position().x())
        if number >= 0:
            self.edit_wanted.emit(self.cells[number].preset_id)

    def _at(self, x: float) -> int:
        number = int((x - 12) // self.cell_width()) if self.cells and x >= 12 else -1
        return number if 0 <= number < min(self._fitting(), len(self.cells)) else -1
