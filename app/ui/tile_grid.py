"""A grid of tiles, painted by hand: only what is seen is painted, and a hundred tiles cost what a screenful costs.

Used by ``pages/wall.py``, which says what each tile shows. One tile is current; arrows move it. A click means a tile only
when press and release hit the same one, and it is bound to the session's id (console rule 8).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PySide6.QtCore import QPoint, QRect, QSize, Qt, Signal
from PySide6.QtGui import (
    QContextMenuEvent,
    QFontMetrics,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QResizeEvent,
)
from PySide6.QtWidgets import QAbstractScrollArea, QFrame

from app.models.states import State
from app.ui.theme import Theme

NARROWEST = 260
WIDEST = 600
"""Of one tile: few desktops get large tiles, but no larger than that."""
SHAPE = 9 / 16
FOOT = 40
GAP = 12
FADED = 0.28


@dataclass(frozen=True, slots=True)
class Tile:
    """What one tile shows; ``note`` stands across the picture."""

    id: str
    name: str
    line: str
    state: State
    image: QImage | None
    note: str = ""
    faded: bool = False


class TileGrid(QAbstractScrollArea):
    """See the module's docstring. ``tile`` gives a tile by id when it is painted."""

    activated_id = Signal(str)
    current_changed = Signal(str)
    seen_changed = Signal()
    menu_wanted = Signal(str, QPoint)

    def __init__(self, theme: Callable[[], Theme], tile: Callable[[str], Tile | None]) -> None:
        super().__init__()
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName("Desktops")
        self.ids: list[str] = []
        self.current_id = ""
        self.verb_key: Callable[[QKeyEvent], bool] = lambda event: False
        self._theme = theme
        self._tile = tile
        self._pressed = ""
        self._columns = 1
        self._size = QSize(NARROWEST, round(NARROWEST * SHAPE))
        self.verticalScrollBar().valueChanged.connect(lambda _: self.seen_changed.emit())

    # -- what it shows -----------------------------------------------------------------------------------------

    def show_ids(self, ids: Sequence[str]) -> None:
        """Show these, in this order; the current one stays current while it is there."""
        if list(ids) == self.ids:
            self.viewport().update()
            return
        place = self.ids.index(self.current_id) if self.current_id in self.ids else 0
        self.ids = list(ids)
        if self.current_id not in self.ids:
            self._set_current(self.ids[min(place, len(self.ids) - 1)] if self.ids else "")
        self._measure()
        self.viewport().update()
        self.seen_changed.emit()

    def seen(self) -> list[str]:
        """Ids of the tiles that are on the screen."""
        shown = self.viewport().rect()
        return [one for number, one in enumerate(self.ids) if self._rect(number).intersects(shown)]

    def update_tile(self, tile_id: str) -> None:
        """Repaint one."""
        if tile_id in self.ids:
            self.viewport().update(self._rect(self.ids.index(tile_id)))

    # -- geometry ----------------------------------------------------------------------------------------------

    def _fitting(self) -> int:
        """As few columns as show every tile without scrolling, so that each is as large as it can be; else many."""
        room = self.viewport().size()
        most = max(1, (room.width() - GAP) // (NARROWEST + GAP))
        for columns in range(1, most):
            size = self._size_in(columns)
            if size.width() <= WIDEST and self._height(columns, size) <= room.height():
                return columns
        return most

    def _size_in(self, columns: int) -> QSize:
        """Of one picture: tiles share the width."""
        width = (self.viewport().width() - GAP) // columns - GAP
        return QSize(width, round(width * SHAPE))

    def _height(self, columns: int, size: QSize) -> int:
        """Of everything."""
        return GAP + -(-len(self.ids) // columns) * (size.height() + FOOT + GAP)

    @property
    def picture_width(self) -> int:
        """Pixels of the screen that one picture is wide."""
        return round(self._size.width() * self.devicePixelRatioF())

    def _rect(self, number: int) -> QRect:
        row, column = divmod(number, self._columns)
        size = self._size
        x = GAP + column * (size.width() + GAP)
        y = GAP + row * (size.height() + FOOT + GAP) - self.verticalScrollBar().value()
        return QRect(x, y, size.width(), size.height() + FOOT)

    def _at(self, point: QPoint) -> str:
        return next((one for number, one in enumerate(self.ids) if self._rect(number).contains(point)), "")

    def _measure(self) -> None:
        self._columns = self._fitting()
        size = self._size = self._size_in(self._columns)
        whole = self._height(self._columns, size)
        bar = self.verticalScrollBar()
        bar.setPageStep(self.viewport().height())
        bar.setSingleStep(size.height() // 2)
        bar.setRange(0, max(0, whole - self.viewport().height()))

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._measure()
        self.seen_changed.emit()

    # -- painting ----------------------------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:
        painter = QPainter(self.viewport())
        painter.fillRect(event.rect(), self._theme().color("bg"))
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        for number, one in enumerate(self.ids):
            rect = self._rect(number)
            if rect.intersects(event.rect()):
                tile = self._tile(one)
                if tile is not None:
                    self._paint(painter, rect, tile)
        painter.end()

    def _paint(self, painter: QPainter, rect: QRect, tile: Tile) -> None:
        theme = self._theme()
        picture = rect.adjusted(0, 0, 0, -FOOT)
        painter.fillRect(picture, theme.color("strip"))
        if tile.image is not None and not tile.image.isNull():
            size = tile.image.size().scaled(picture.size(), Qt.AspectRatioMode.KeepAspectRatio)
            place = QRect(QPoint(0, 0), size)
            place.moveCenter(picture.center())
            painter.setOpacity(FADED if tile.faded else 1.0)
            painter.drawImage(place, tile.image)
            painter.setOpacity(1.0)
        if tile.note:
            painter.setPen(theme.color("text2"))
            painter.setFont(theme.font("body"))
            flags = Qt.AlignmentFlag.AlignCenter | Qt.TextFlag.TextWordWrap
            painter.drawText(picture.adjusted(12, 8, -12, -8), flags, tile.note)
        current = tile.id == self.current_id
        painter.setPen(
            QPen(theme.color("accent" if current and self.hasFocus() else "line2" if current else "line"), 1)
        )
        painter.drawRect(picture.adjusted(0, 0, -1, -1))
        self._paint_foot(painter, QRect(rect.left(), picture.bottom() + 4, rect.width(), FOOT - 4), tile)

    def _paint_foot(self, painter: QPainter, rect: QRect, tile: Tile) -> None:
        theme = self._theme()
        word = tile.state.text
        painter.setFont(theme.font("caption"))
        width = QFontMetrics(theme.font("caption")).horizontalAdvance(word) + 4
        painter.setPen(theme.color(tile.state.word.key))
        painter.drawText(rect.adjusted(0, 0, 0, -rect.height() // 2), Qt.AlignmentFlag.AlignRight, word)
        top = rect.adjusted(0, 0, -width - 6, 0)
        painter.setFont(theme.font("heading"))
        painter.setPen(theme.color("text"))
        painter.drawText(top, Qt.AlignmentFlag.AlignLeft, _cut(theme, "heading", tile.name, top.width()))
        painter.setFont(theme.font("caption"))
        painter.setPen(theme.color("text3"))
        line = rect.adjusted(0, rect.height() // 2, 0, 0)
        painter.drawText(line, Qt.AlignmentFlag.AlignLeft, _cut(theme, "caption", tile.line, line.width()))

    # -- hands -------------------------------------------------------------------------------------------------

    def mousePressEvent(self, event: QMouseEvent) -> None:
        self._pressed = self._at(event.position().toPoint())
        if self._pressed:
            self._set_current(self._pressed)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        pressed, self._pressed = self._pressed, ""
        left = event.button() == Qt.MouseButton.LeftButton
        if left and pressed and pressed == self._at(event.position().toPoint()):
            self.activated_id.emit(pressed)

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        one = self._at(event.pos()) or self.current_id
        if one:
            self._set_current(one)
            self.menu_wanted.emit(one, event.globalPos())

    def keyPressEvent(self, event: QKeyEvent) -> None:
        steps = {
            Qt.Key.Key_Left: -1, Qt.Key.Key_Right: 1, Qt.Key.Key_Up: -self._columns, Qt.Key.Key_Down: self._columns,
        }  # fmt: skip
        if event.key() in steps and self.ids:
            here = self.ids.index(self.current_id) if self.current_id in self.ids else 0
            to = here + steps[Qt.Key(event.key())]
            if 0 <= to < len(self.ids):
                self._set_current(self.ids[to])
                self._reveal(to)
        elif event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            if self.current_id and not event.isAutoRepeat():
                self.activated_id.emit(self.current_id)
        elif not self.verb_key(event):
            super().keyPressEvent(event)

    def _reveal(self, number: int) -> None:
        rect, shown = self._rect(number), self.viewport().rect()
        bar = self.verticalScrollBar()
        if rect.top() < shown.top():
            bar.setValue(bar.value() + rect.top() - GAP)
        elif rect.bottom() > shown.bottom():
            bar.setValue(bar.value() + rect.bottom() - shown.bottom() + GAP)

    def _set_current(self, tile_id: str) -> None:
        if tile_id != self.current_id:
            self.current_id = tile_id
            self.viewport().update()
            self.current_changed.emit(tile_id)


def _cut(theme: Theme, font: str, text: str, width: int) -> str:
    return QFontMetrics(theme.font(font)).elidedText(text, Qt.TextElideMode.ElideRight, width)
