"""How cells are painted: state shapes, TTL bars, sparklines, badges, the take cell; one delegate for every table.

``CellDelegate`` reads the model's plain methods (``item``, ``cell``, ``state_of``), never ``QModelIndex.data``, and
looks nothing up twice: shapes are pixmaps made once, text widths are measured once per text. A full repaint of 480
cells stays in single-digit milliseconds. Colours come from the theme; the six state
colours are used for states only.
"""

from __future__ import annotations

from math import isnan
from typing import TYPE_CHECKING

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QPointF, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFontMetrics, QPainter, QPen, QPixmap, QPolygonF
from PySide6.QtWidgets import QStyledItemDelegate, QStyleOptionViewItem

from app.contract import LATE_AFTER, STREAM_TTL
from app.ui.shapes import draw_shape
from app.ui.theme import Theme

if TYPE_CHECKING:
    from app.models.tables.columns import Column, Item
    from app.models.tables.rows import RowTable
    from app.ui.table_view import TableView

PAD = 6
BAR = 60
"""Pixels of a full TTL bar: two for each second."""
_LEFT = int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
_RIGHT = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
_CENTER = int(Qt.AlignmentFlag.AlignCenter)
_ELIDE = Qt.TextElideMode.ElideRight
ALIGN = {"left": _LEFT, "right": _RIGHT, "center": _CENTER}
WIDTHS_KEPT = 20_000
INDENT = 18
BAR_NUMBER = 34
"""Pixels that the number beside a bar has at least, so that bars of one column end in one line."""
NEARLY_FULL = 0.9
MOST_COUNTED = 999
NARROW_CHIP = 56
"""Pixels below which a further chip would be a letter and dots; it is counted instead."""


class CellDelegate(QStyledItemDelegate):
    """Paints every cell of one ``TableView``."""

    def __init__(self, view: TableView, theme: Theme) -> None:
        super().__init__(view)
        self._view = view
        self._widths: dict[str, int] = {}
        self._shapes: dict[tuple[str, str, float], QPixmap] = {}
        self.set_theme(theme)

    def set_theme(self, theme: Theme) -> None:
        """Paint with another theme from now on."""
        self.theme = theme
        self._shapes.clear()
        self._widths.clear()
        self._body = theme.font("body")
        self._mono = theme.font("mono")
        self._caption = theme.font("caption")
        self._heading = theme.font("heading")
        self._metrics = QFontMetrics(self._body)
        self._heading_metrics = QFontMetrics(self._heading)
        self._mono_metrics = QFontMetrics(self._mono)
        self._caption_metrics = QFontMetrics(self._caption)
        self._struck = QPen(theme.color("text3"), 1)

    def sizeHint(self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex) -> QSize:
        """Rows are 22 px; columns have fixed widths."""
        return QSize(80, Theme.ROW)

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """One cell."""
        view = self._view
        model = view.table
        row, number = index.row(), index.column()
        item = model.item(row)
        column = model.columns[number]
        rect: QRect = option.rect
        self._ground(painter, rect, row, item, number)
        kind = column.kind
        if kind == "state":
            self._state(painter, rect, model, item)
        elif kind == "ttl":
            self._ttl(painter, rect, model, item, column)
        elif kind == "spark":
            self._spark(painter, rect, model, item)
        elif kind == "bar":
            self._bar(painter, rect, model, item, column)
        elif kind == "drain":
            self._drain(painter, rect, model, item, column)
        elif kind == "button":
            self._button(painter, rect, model, item, column, row)
        elif view.grouped and column.key == view.group_column:
            self._group(painter, rect, model, row, model.cell(item, column))
        elif column.key in view.chips:
            self._chips(painter, rect, model.cell(item, column), item)
        else:
            self._text(painter, rect, model.cell(item, column), item, column)

    # -- grounds and text --------------------------------------------------------------------------------------

    def _ground(self, painter: QPainter, rect: QRect, row: int, item: Item, number: int) -> None:
        theme, view = self.theme, self._view
        if row == view.current_row:
            painter.fillRect(rect, theme.color("select" if view.has_keys else "raised"))
        elif item.marked:
            painter.fillRect(rect, theme.color("raised"))
        elif row == view.hover_row:
            painter.fillRect(rect, theme.color("hover"))
        if view.grouped and row and view.table.group_title(row):
            painter.fillRect(rect.x(), rect.y(), rect.width(), 1, theme.color("line2"))
        if number == view.first_column:
            if item.marked:
                painter.fillRect(rect.x(), rect.y(), 4, rect.height(), theme.color("mark"))
            elif row == view.current_row and view.has_keys:
                painter.fillRect(rect.x(), rect.y(), 2, rect.height(), theme.color("accent"))

    def _text(self, painter: QPainter, rect: QRect, text: str, item: Item, column: Column) -> None:
        if not text:
            return
        mono = column.kind == "mono"
        metrics = self._mono_metrics if mono else self._metrics
        painter.setFont(self._mono if mono else self._body)
        ghost = item.ghost is not None
        token = "text3" if ghost or text == "0" else ("text" if column.key in self._view.strong else "text2")
        painter.setPen(self.theme.color(token))
        room = rect.width() - 2 * PAD
        width = self._width(text, metrics, mono)
        if width > room:
            text, width = metrics.elidedText(text, _ELIDE, room), room
        painter.drawText(rect.adjusted(PAD, 0, -PAD, 0), ALIGN[column.align], text)
        if ghost and column.align == "left" and column.key in self._view.strong:
            y, left = rect.y() + rect.height() // 2 + 1, rect.x() + PAD
            painter.setPen(self._struck)
            painter.drawLine(left, y, left + width, y)

    def _group(self, painter: QPainter, rect: QRect, model: RowTable, row: int, text: str) -> None:
        """The name and number of a group in its first row; below it the name again, set back and dim."""
        theme, box = self.theme, rect.adjusted(PAD, 0, -PAD, 0)
        title = model.group_title(row)
        if not title:
            painter.setFont(self._body)
            painter.setPen(theme.color("text3"))
            painter.drawText(
                box.adjusted(INDENT, 0, 0, 0), _LEFT, self._metrics.elidedText(text, _ELIDE, box.width() - INDENT)
            )
            return
        painter.setFont(self._heading)
        number = f"{_group_size(model, row)}"
        painter.setPen(theme.color("text3"))
        painter.drawText(box, _RIGHT, number)
        painter.setPen(theme.color("text"))
        room = box.width() - self._heading_metrics.horizontalAdvance(number) - PAD
        painter.drawText(box, _LEFT, self._heading_metrics.elidedText(text or title, _ELIDE, room))

    def _width(self, text: str, metrics: QFontMetrics, mono: bool) -> int:
        key = f"\0{text}" if mono else text
        width = self._widths.get(key)
        if width is None:
            if len(self._widths) > WIDTHS_KEPT:
                self._widths.clear()
            width = self._widths[key] = metrics.horizontalAdvance(text)
        return width

    # -- state -------------------------------------------------------------------------------------------------

    def _state(self, painter: QPainter, rect: QRect, model: RowTable, item: Item) -> None:
        state = model.state_of(item)
        if state is None:
            return
        pending = self._view.pending_for(item.id)
        key = state.word.key
        y = rect.y() + (rect.height() - 12) // 2
        painter.drawPixmap(rect.x() + PAD + 2, y, self._shape(state.word.shape, key, painter))
        painter.setFont(self._body)
        painter.setPen(self.theme.color(key if pending is None else "text"))
        text = state.text if pending is None else f"{pending.verb.label} {pending.left:.0f} s"
        box = rect.adjusted(PAD + 20, 0, -2, 0)
        if self._width(text, self._metrics, False) > box.width():
            text = self._metrics.elidedText(text, _ELIDE, box.width())
        painter.drawText(box, _LEFT, text)
        if pending is not None:
            whole = rect.width() - 2 * PAD
            painter.fillRect(QRect(rect.x() + PAD, rect.bottom() - 2, whole, 2), self.theme.color("bar"))
            left = int(whole * pending.fraction)
            painter.fillRect(QRect(rect.x() + PAD, rect.bottom() - 2, left, 2), self.theme.color("accent"))

    def _shape(self, shape: str, token: str, painter: QPainter) -> QPixmap:
        ratio = painter.device().devicePixelRatio()
        key = (shape, token, ratio)
        pixmap = self._shapes.get(key)
        if pixmap is None:
            pixmap = QPixmap(int(12 * ratio), int(12 * ratio))
            pixmap.setDevicePixelRatio(ratio)
            pixmap.fill(QColor(0, 0, 0, 0))
            inner = QPainter(pixmap)
            draw_shape(inner, shape, self.theme.color(token), 12.0)
            inner.end()
            self._shapes[key] = pixmap
        return pixmap

    # -- TTL, sparkline, badges, take --------------------------------------------------------------------------

    def _ttl(self, painter: QPainter, rect: QRect, model: RowTable, item: Item, column: Column) -> None:
        left = model.ttl_of(item)
        theme = self.theme
        if left is None:
            self._text(painter, rect, model.cell(item, column), item, column)
            return
        number = f"{max(0.0, left):.0f}"
        painter.setFont(self._body)
        width = min(BAR, rect.width() - 2 * PAD - 24)
        bar = QRect(rect.x() + PAD, rect.y() + rect.height() // 2 - 2, width, 5)
        painter.fillRect(bar, theme.color("bar"))
        share = min(1.0, max(0.0, left / STREAM_TTL))
        token = "text3" if left > STREAM_TTL - LATE_AFTER else "stale"
        painter.fillRect(QRect(bar.x(), bar.y(), int(bar.width() * share), bar.height()), theme.color(token))
        ground = theme.color("bg")
        for tick in (10, 20):
            painter.fillRect(bar.x() + bar.width() * tick // 30, bar.y() - 1, 1, bar.height() + 2, ground)
        painter.setPen(theme.color("text2" if token == "text3" else token))
        painter.drawText(QRect(bar.right() + 2, rect.y(), 22, rect.height()), _RIGHT, number)

    def _spark(self, painter: QPainter, rect: QRect, model: RowTable, item: Item) -> None:
        values = model.spark_of(item)
        if len(values) < 2:
            return
        theme = self.theme
        left, right = rect.x() + PAD, rect.right() - PAD
        top, height = rect.y() + 4, rect.height() - 8
        step = (right - left) / max(model.spark_steps, len(values) - 1)
        x0 = right - step * (len(values) - 1)
        points = [
            QPointF(x0 + step * i, top + height * (1 - min(1.0, value / model.spark_full)))
            for i, value in enumerate(values)
            if not isnan(value)
        ]
        high = values[-1] > model.spark_high
        painter.setPen(QPen(theme.color(model.spark_color if high else "text3"), 1))
        painter.drawPolyline(QPolygonF(points))

    def _bar(self, painter: QPainter, rect: QRect, model: RowTable, item: Item, column: Column) -> None:
        """How full something is, and the number; what is nearly full is bright."""
        share = column.share(item, model.moment) if column.share is not None and item.ghost is None else None
        text = model.cell(item, column)
        if share is None:
            self._text(painter, rect, text, item, column)
            return
        theme = self.theme
        painter.setFont(self._body)
        number = max(BAR_NUMBER, self._width(text, self._metrics, False))
        bar = QRect(rect.x() + PAD, rect.y() + rect.height() // 2 - 2, rect.width() - 3 * PAD - number, 5)
        high = share >= NEARLY_FULL
        if bar.width() > 8:
            painter.fillRect(bar, theme.color("bar"))
            full = QRect(bar.x(), bar.y(), round(bar.width() * min(1.0, share)), bar.height())
            painter.fillRect(full, theme.color("text" if high else "text3"))
        painter.setPen(theme.color("text" if high else "text2"))
        painter.drawText(rect.adjusted(PAD, 0, -PAD, 0), _RIGHT, text)

    def _drain(self, painter: QPainter, rect: QRect, model: RowTable, item: Item, column: Column) -> None:
        """The progress of a drain in words, and as a line below them; what is stuck is a fault."""
        text = model.cell(item, column)
        share = column.share(item, model.moment) if column.share is not None else None
        if not text or share is None:
            return
        theme = self.theme
        painter.setFont(self._body)
        painter.setPen(theme.color("fault" if text.startswith("STUCK") else "text"))
        room = rect.width() - 2 * PAD
        painter.drawText(rect.adjusted(PAD, 0, -PAD, -2), _LEFT, self._metrics.elidedText(text, _ELIDE, room))
        whole = min(room, self._width(text, self._metrics, False))
        line = QRect(rect.x() + PAD, rect.bottom() - 2, whole, 2)
        painter.fillRect(line, theme.color("bar"))
        painter.fillRect(QRect(line.x(), line.y(), int(whole * share), 2), theme.color("held"))

    def _chips(self, painter: QPainter, rect: QRect, text: str, item: Item) -> None:
        if not text:
            return
        theme = self.theme
        painter.setFont(self._caption)
        x = rect.x() + PAD
        names = text.split(", ")
        for number, name in enumerate(names):
            left = len(names) - number
            room = rect.right() - PAD - x - (20 if left > 1 else 0)
            whole = self._caption_metrics.horizontalAdvance(name) + 10
            if room < min(whole, 30 if number == 0 else NARROW_CHIP):
                painter.setPen(theme.color("text2"))
                painter.drawText(QRectF(x, rect.y(), 24, rect.height()), _LEFT, f"+{left}")
                break
            word = self._caption_metrics.elidedText(name, _ELIDE, room - 10)
            width = self._caption_metrics.horizontalAdvance(word) + 10
            box = QRectF(x, rect.y() + 3, width, rect.height() - 6)
            painter.fillRect(box, theme.color("line2"))
            painter.fillRect(box.adjusted(1, 1, -1, -1), theme.color("bar"))
            painter.setPen(theme.color("text" if item.ghost is None else "text3"))
            painter.drawText(box, _CENTER, word)
            x += width + 4

    def _button(self, painter: QPainter, rect: QRect, model: RowTable, item: Item, column: Column, row: int) -> None:
        text = model.cell(item, column)
        if not text or item.ghost is not None:
            return
        theme, view = self.theme, self._view
        near = row in (view.hover_row, view.current_row)
        alive = not view.blocked
        painter.setFont(self._body)
        countdown = view.countdown_for(item.id)
        box = rect.adjusted(PAD - 2, 2, -PAD, -2)
        if countdown is not None:
            painter.fillRect(box, theme.color("bar"))
            width = int(box.width() * countdown.fraction)
            painter.fillRect(QRect(box.x(), box.y(), width, box.height()), theme.color("line2"))
            painter.setPen(theme.color("changing"))
            painter.drawText(box, _CENTER, countdown.text)
            return
        warned = view.warns(item.id)
        if near and alive:
            pressed = view.pressed_id == item.id
            painter.setPen(QPen(theme.color("accent"), 1))
            painter.setBrush(theme.color("select" if pressed else "bg"))
            painter.drawRoundedRect(QRectF(box).adjusted(0.5, 0.5, -0.5, -0.5), 3, 3)
            painter.setBrush(Qt.BrushStyle.NoBrush)
        token = "stale" if warned else ("text" if near and alive else "text3")
        painter.setPen(theme.color(token if alive else "text3"))
        shown = text
        if self._width(shown, self._metrics, False) > box.width() - 8:
            shown = self._metrics.elidedText(shown, _ELIDE, box.width() - 8)
        painter.drawText(box, _CENTER, shown)


def _group_size(model: RowTable, row: int) -> int:
    """How many rows the group that begins with ``row`` has."""
    last = min(model.rowCount(), row + MOST_COUNTED)
    return next((below - row for below in range(row + 1, last) if model.group_title(below)), last - row)
