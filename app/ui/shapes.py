"""The six shapes of the state vocabulary, drawn: disc, half, bars, ring, triangle, dash.

Drawn rather than written, because no font has all six glyphs in one weight. Used by the delegates and the destinations.
"""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen, QPolygonF


def draw_shape(painter: QPainter, shape: str, color: QColor, size: float) -> None:
    """Draw ``shape`` into a square of ``size`` at the painter's origin."""
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    unit = size / 12
    painter.scale(unit, unit)
    pen = QPen(color, 1.6)
    painter.setPen(pen)
    if shape == "disc":
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(color)
        painter.drawEllipse(QPointF(6, 6), 4.4, 4.4)
    elif shape == "half":
        painter.drawEllipse(QPointF(6, 6), 4.0, 4.0)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(color)
        painter.drawPie(QRectF(2, 2, 8, 8), 90 * 16, 180 * 16)
    elif shape == "bars":
        painter.setPen(Qt.PenStyle.NoPen)
        painter.fillRect(QRectF(2.5, 2, 2.6, 8), color)
        painter.fillRect(QRectF(6.9, 2, 2.6, 8), color)
    elif shape == "ring":
        painter.drawEllipse(QPointF(6, 6), 3.8, 3.8)
    elif shape == "triangle":
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(color)
        painter.drawPolygon(QPolygonF([QPointF(6, 0.8), QPointF(11.6, 11), QPointF(0.4, 11)]))
        painter.setPen(QPen(QColor("#000000"), 1.4))
        painter.drawLine(QPointF(6, 4.2), QPointF(6, 7.2))
        painter.drawPoint(QPointF(6, 9.2))
    else:
        painter.drawLine(QPointF(2.5, 6), QPointF(9.5, 6))
    painter.restore()
