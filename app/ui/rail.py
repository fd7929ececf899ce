"""The rail at the left of the window: the pages, their live counts, and what is wrong on them.

Painted by hand so that counts stay aligned and a change of a number repaints one small rectangle. Made by the
main window, which calls ``set_counts`` a few times a second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QFontMetrics, QPainter, QPainterPath, QPaintEvent, QPen
from PySide6.QtWidgets import QAbstractButton, QButtonGroup, QSizePolicy, QVBoxLayout, QWidget

from app.ui.theme import Theme

WIDTH = 148

Badge = tuple[str, str]
"""Colour token and text of a small count beside the total, such as ("stale", "1")."""


class RailButton(QAbstractButton):
    """One page: icon, title, count; below it the key, or what is wrong there instead."""

    def __init__(self, title: str, key: str, theme: Callable[[], Theme]) -> None:
        super().__init__()
        self.setText(title)
        self.setCheckable(True)
        self.setAccessibleName(title)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setToolTip(f"{title} ({key})")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.key = key
        self.count = ""
        self.badges: tuple[Badge, ...] = ()
        self._theme = theme

    def sizeHint(self) -> QSize:
        """Two lines."""
        return QSize(WIDTH, 46)

    def set_counts(self, count: str, badges: Sequence[Badge]) -> None:
        """Show another count; nothing happens when it is the same."""
        if (count, tuple(badges)) != (self.count, self.badges):
            self.count, self.badges = count, tuple(badges)
            self.setAccessibleDescription(" ".join([count, *(text for _, text in badges)]))
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """See the class."""
        theme = self._theme()
        painter = QPainter(self)
        if self.isChecked():
            painter.fillRect(self.rect(), theme.color("raised"))
            painter.fillRect(0, 0, 2, self.height(), theme.color("accent"))
        elif self.underMouse():
            painter.fillRect(self.rect(), theme.color("hover"))
        token = "text" if self.isChecked() else "text2"
        painter.setPen(QPen(theme.color(token), 1.2))
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.translate(14, 9)
        painter.drawPath(icon(self.text()))
        painter.translate(-14, -9)
        painter.setPen(theme.color(token))
        painter.setFont(theme.font("heading"))
        painter.drawText(QRectF(38, 6, self.width() - 48, 20), Qt.AlignmentFlag.AlignVCenter, self.text())
        painter.drawText(
            QRectF(38, 6, self.width() - 50, 20),
            Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight,
            self.count,
        )
        self._second_line(painter, theme)
        painter.end()

    def _second_line(self, painter: QPainter, theme: Theme) -> None:
        painter.setFont(theme.font("caption"))
        metrics = QFontMetrics(theme.font("caption"))
        if not self.badges:
            painter.setPen(theme.color("text3"))
            painter.drawText(QRectF(38, 24, 60, 16), Qt.AlignmentFlag.AlignVCenter, self.key)
        x = 38.0
        for token, text in self.badges:
            width = metrics.horizontalAdvance(text)
            painter.setPen(theme.color(token))
            painter.drawText(QRectF(x, 24, width + 2, 16), Qt.AlignmentFlag.AlignVCenter, text)
            x += width + 8


class Rail(QWidget):
    """The column of buttons; ``settings`` pages sit at its foot."""

    def __init__(self, theme: Callable[[], Theme]) -> None:
        super().__init__()
        self.setObjectName("rail")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFixedWidth(WIDTH)
        self.buttons: dict[str, RailButton] = {}
        self._theme = theme
        self._group = QButtonGroup(self)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 6, 0, 6)
        self._column.setSpacing(1)
        self._column.addStretch(1)

    def add(self, title: str, key: str, chosen: Callable[[], None], *, at_foot: bool = False) -> None:
        """Add a page."""
        button = RailButton(title, key, self._theme)
        button.clicked.connect(chosen)
        self._group.addButton(button)
        if at_foot:
            self._column.addWidget(button)
        else:
            self._column.insertWidget(self._column.count() - 1, button)
        self.buttons[title] = button

    def select(self, title: str) -> None:
        """Mark the page that is shown."""
        self.buttons[title].setChecked(True)


def icon(title: str) -> QPainterPath:
    """A 14 px line drawing for a page."""
    path = QPainterPath()
    ICONS.get(title, _sliders)(path)
    return path


def _waves(path: QPainterPath) -> None:
    path.addEllipse(QPointF(7, 7), 1.6, 1.6)
    for radius in (4.2, 7.0):
        box = QRectF(7 - radius, 7 - radius, 2 * radius, 2 * radius)
        for start in (-45, 135):
            path.arcMoveTo(box, start)
            path.arcTo(box, start, 90)


def _link(path: QPainterPath) -> None:
    path.addEllipse(QRectF(0, 4, 6, 6))
    path.addEllipse(QRectF(8.5, 4, 6, 6))
    path.moveTo(6, 7)
    path.lineTo(8.5, 7)


def _rack(path: QPainterPath) -> None:
    for y in (1.0, 5.5, 10.0):
        path.addRect(QRectF(0.5, y, 13, 3.2))
        path.moveTo(10.2, y + 1.6)
        path.lineTo(11.4, y + 1.6)


def _tiles(path: QPainterPath) -> None:
    for x in (0.5, 7.5):
        for y in (1.5, 7.5):
            path.addRect(QRectF(x, y, 6, 5))


def _clock(path: QPainterPath) -> None:
    path.addEllipse(QRectF(0.5, 0.5, 13, 13))
    path.moveTo(7, 3.5)
    path.lineTo(7, 7.5)
    path.lineTo(10, 9)


def _sliders(path: QPainterPath) -> None:
    for y, knob in ((2.5, 9.5), (7.0, 4.0), (11.5, 8.0)):
        path.moveTo(0, y)
        path.lineTo(knob - 1.8, y)
        path.addEllipse(QPointF(knob, y), 1.8, 1.8)
        path.moveTo(knob + 1.8, y)
        path.lineTo(14, y)


ICONS: dict[str, Callable[[QPainterPath], None]] = {
    "Streams": _waves, "Sessions": _link, "Agents": _rack, "Wall": _tiles, "History": _clock,
}  # fmt: skip
