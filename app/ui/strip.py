"""The 24 px strip on top of every window: which broker, how old the feed is, what is broken, what time it is.

Feed age over 3 s turns it into the stale pattern with "NOT LIVE since hh:mm:ss"; a part of the broker that stops
takes shows as "TAKE DOWN since hh:mm:ss: NATS is away". Nothing on it can be clicked away. Fed four times a second
by the main window with a ``StripState``; it repaints only when what it shows has changed.
"""

from __future__ import annotations

from dataclasses import dataclass

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFontMetrics, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.ui.theme import Theme, escape_tooltip


@dataclass(frozen=True, slots=True)
class StripState:
    """What the strip says. ``age`` is None while there has never been a feed; ``problems`` come worst first."""

    broker: str = ""
    age: float | None = None
    live: bool = False
    not_live: str = ""
    """Why and since when the board is not live, in words; "" when it is."""
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """Things to know that stop nothing: read only, remote, plain text allowed."""
    blocked: str = ""
    """Why nothing can be acted on now; "" when everything can."""
    operator: str = ""
    clock: str = ""
    zone: str = ""
    """Of the clock and of every time on the board; logs of desktops are in UTC."""

    @property
    def text(self) -> str:
        """Everything that is said, left to right; what tests and screen readers read."""
        parts = [self.broker, self.not_live, *self.problems, *self.notes, self.operator, self.clock, self.zone]
        return "   ".join(part for part in parts if part)


class Strip(QWidget):
    """Paints a ``StripState``."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self.state = StripState()
        self._theme = theme
        self._shown = ""
        self.setFixedHeight(Theme.STRIP)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)

    def set_state(self, state: StripState) -> None:
        """Show ``state``; cheap when nothing visible changed."""
        self.state = state
        shown = f"{state.text}|{_age(state)}|{state.live}"
        if shown != self._shown:
            self._shown = shown
            self.setAccessibleName(state.text)
            said = (state.not_live, *state.problems, *state.notes)  # whole, where the strip has to cut it short
            self.setToolTip(escape_tooltip("\n".join(words for words in said if words)))
            self.update()

    def set_theme(self, theme: Theme) -> None:
        """Paint with another theme from now on."""
        self._theme = theme
        self.update()

    def sizeHint(self) -> QSize:
        """As wide as it gets, 24 px high."""
        return QSize(640, Theme.STRIP)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Left: broker, age, what is wrong. Right: operator, clock and its zone."""
        theme, state = self._theme, self.state
        painter = QPainter(self)
        painter.fillRect(self.rect(), theme.color("strip"))
        if not state.live:
            self._hatch(painter)
        right = self._right(painter)
        x = 12.0
        x = self._dot(painter, x)
        x = self._text(painter, x, right, state.broker or "no broker", "text", "heading") + 10
        if state.live:
            x = self._text(painter, x, right, f"feed {_age(state)}", "text3", "caption") + 14
        else:
            x = self._chip(painter, x, right, state.not_live or "NOT LIVE", "stale") + 8
        for problem in state.problems:
            x = self._chip(painter, x, right, problem, "fault") + 8
        for note in state.notes:
            x = self._text(painter, x, right, note, "text2", "caption") + 14
        painter.setPen(theme.color("line"))
        painter.drawLine(0, self.height() - 1, self.width(), self.height() - 1)
        painter.end()

    def _right(self, painter: QPainter) -> float:
        theme, x = self._theme, float(self.width() - 12)
        state, small = self.state, ("text2", "caption")
        for text, token, role in ((state.zone, *small), (state.clock, "text", "heading"), (state.operator, *small)):
            if text:
                painter.setFont(theme.font(role))
                width = QFontMetrics(theme.font(role)).horizontalAdvance(text)
                painter.setPen(theme.color(token))
                painter.drawText(
                    QRectF(x - width - 2, 0, width + 4, self.height() - 1), Qt.AlignmentFlag.AlignVCenter, text
                )
                x -= width + (6 if text == state.zone else 16)
        return x

    def _dot(self, painter: QPainter, x: float) -> float:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        color = self._theme.color("live" if self.state.live else "stale")
        painter.setPen(QPen(color, 1.5))
        painter.setBrush(color if self.state.live else Qt.BrushStyle.NoBrush)
        painter.drawEllipse(QPointF(x + 3.5, (self.height() - 1) / 2), 3.5, 3.5)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
        return x + 15

    def _text(self, painter: QPainter, x: float, right: float, text: str, token: str, role: str) -> float:
        metrics = QFontMetrics(self._theme.font(role))
        room = max(0.0, right - x)
        shown = metrics.elidedText(text, Qt.TextElideMode.ElideRight, int(room))
        width = metrics.horizontalAdvance(shown)
        painter.setFont(self._theme.font(role))
        painter.setPen(self._theme.color(token))
        painter.drawText(QRectF(x, 0, width + 4, self.height() - 1), Qt.AlignmentFlag.AlignVCenter, shown)
        return x + width

    def _chip(self, painter: QPainter, x: float, right: float, text: str, token: str) -> float:
        metrics = QFontMetrics(self._theme.font("heading"))
        shown = metrics.elidedText(text, Qt.TextElideMode.ElideRight, int(max(0.0, right - x - 16)))
        width = metrics.horizontalAdvance(shown) + 16
        box = QRectF(x, 2, width, self.height() - 5)
        if token == "fault":
            painter.fillRect(box, self._theme.color("on_air"))
            painter.setPen(self._theme.color("on_air_text"))
        else:
            painter.fillRect(box, self._theme.color("strip"))
            painter.setPen(self._theme.color(token))
        painter.setFont(self._theme.font("heading"))
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, shown)
        return x + width

    def _hatch(self, painter: QPainter) -> None:
        color = QColor(self._theme.color("stale"))
        color.setAlpha(56)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(color, 3))
        height = self.height()
        for x in range(-height, self.width(), 12):
            painter.drawLine(x, height, x + height, 0)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)


def _age(state: StripState) -> str:
    return "–" if state.age is None else f"{max(0.0, state.age):.0f} s"
