"""Four plots under the Streams table: live streams, sessions, negotiations and their latency over ten minutes.

Each has a shape of its own, since colours are for states: streams are a line, sessions an area, negotiations sticks
with a red dot where one failed, and the slowest of a second is a dot: it has no neighbours to be joined with.

pyqtgraph and numpy are imported in ``PlotBand.build``, after the window's first paint. Pens are 1 px, antialiasing
is off and ranges are set by hand; a refresh happens once a second while the band is
shown and never otherwise. Numbers come from ``app/models/series.py``; holes (NaN) stay holes: a board that was not
live shows a gap, not a zero.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from math import isnan
from typing import TYPE_CHECKING, Any, NamedTuple

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QVBoxLayout, QWidget

from app.models.series import SECONDS
from app.ui.theme import Theme, plain_label

if TYPE_CHECKING:
    from app.models.series import Plots, Ring

HEIGHT = 138
NARROWEST = 200
MARGIN = 44
"""Seconds left and right of the ten minutes, so that the outer labels have room."""


class Curve(NamedTuple):
    """One series of a plot: ``line``, ``sticks`` from the ground or ``dots``, and the token of its colour."""

    shape: str
    token: str


class Plot(QWidget):
    """One plot: title with the newest value above, one or two curves below, minutes on the x axis."""

    def __init__(self, title: str, theme: Theme, curves: tuple[Curve, ...]) -> None:
        super().__init__()
        self.curves = curves
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 6, 4, 2)
        column.setSpacing(2)
        head = QHBoxLayout()
        head.setContentsMargins(4, 0, 8, 0)
        head.addWidget(plain_label(title, "caption"), 1)
        self.value = plain_label("", "heading")
        self.value.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.value.setMinimumWidth(72)
        head.addWidget(self.value)
        column.addLayout(head)
        self._column = column
        self._theme = theme
        self._items: list[Any] = []
        self._pg: Any = None
        self._plot: Any = None
        self._top = 0.0

    @property
    def built(self) -> bool:
        """Whether there is something to draw on."""
        return self._plot is not None

    def build(self, pg: Any) -> None:
        """Make the pyqtgraph part."""
        self._pg = pg
        theme = self._theme
        self._plot = pg.PlotWidget(background=theme.color("bg"))
        self._plot.setFrameShape(self._plot.Shape.NoFrame)
        self._plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        item = self._plot.getPlotItem()
        item.setMenuEnabled(False)
        item.hideButtons()
        item.setMouseEnabled(False, False)
        view = item.getViewBox()
        view.disableAutoRange()
        view.setRange(QRectF(-SECONDS - MARGIN, 0, SECONDS + 2 * MARGIN, 4), padding=0)
        left, bottom = item.getAxis("left"), item.getAxis("bottom")
        for axis in (left, bottom):
            axis.setPen(pg.mkPen(theme.color("line"), width=1))
            axis.setTextPen(pg.mkPen(theme.color("text3"), width=1))
            axis.setStyle(tickFont=theme.font("caption"), tickLength=-3, tickTextOffset=4)
            axis.setStyle(hideOverlappingLabels=False)
        left.setWidth(40)
        bottom.setHeight(20)
        bottom.setTicks([[(-600, "-10 min"), (-300, "-5"), (0, "now")], []])
        item.showGrid(x=False, y=True, alpha=0.12)
        for curve in self.curves:
            if curve.shape == "dots":
                drawn = pg.ScatterPlotItem(size=4, pen=None)
            else:
                drawn = pg.PlotCurveItem(antialias=False, connect="finite" if curve.shape == "line" else "pairs")
            item.addItem(drawn)
            self._items.append(drawn)
        self._color()
        self._column.addWidget(self._plot, 1)

    def _color(self) -> None:
        pg = self._pg
        for curve, drawn in zip(self.curves, self._items, strict=True):
            color = self._theme.color(curve.token)
            if curve.shape == "dots":
                drawn.setBrush(pg.mkBrush(color))
            else:
                drawn.setPen(pg.mkPen(color, width=1))

    def set_theme(self, theme: Theme) -> None:
        """Another theme."""
        self._theme = theme
        pg = self._pg
        if pg is None:
            return
        self._plot.setBackground(QColor(theme.color("bg")))
        item = self._plot.getPlotItem()
        for axis in (item.getAxis("left"), item.getAxis("bottom")):
            axis.setPen(pg.mkPen(theme.color("line"), width=1))
            axis.setTextPen(pg.mkPen(theme.color("text3"), width=1))
        self._color()

    def show_values(self, x: Any, values: Any, words: str) -> None:
        """New numbers over one time axis."""
        self.show_curves([(x, series) for series in values], words)

    def show_curves(self, curves: Any, words: str, top: float | None = None) -> None:
        """New numbers, each curve over its own times; ``top`` fixes the y range, which else only moves when they leave
        it or fill less than a third of it."""
        if self.value.text() != words:
            self.value.setText(words)
        peak = 0.0
        for curve, drawn, (x, series) in zip(self.curves, self._items, curves, strict=True):
            known = series == series
            if curve.shape != "line":
                known &= series > 0
            if known.any():
                peak = max(peak, float(series[known].max()))
            if curve.shape == "sticks":
                feet = x[known].repeat(2)
                tops = series[known].repeat(2)
                tops[::2] = 0.0
                drawn.setData(feet, tops)
            elif curve.shape == "dots":
                drawn.setData(x[known], series[known])
            else:
                drawn.setData(x, series)
        wanted = top if top is not None else _round_up(peak)
        if wanted != self._top and (top is not None or not self._top / 3 <= peak <= self._top or self._top == 0.0):
            self._top = wanted
            self._plot.getPlotItem().getViewBox().setRange(yRange=(0, self._top * 1.15), padding=0)
            self._plot.getPlotItem().getAxis("left").setTicks([_ticks(self._top), []])


def drawing() -> tuple[Any, Any]:
    """pyqtgraph, set up for these plots, and numpy: imported when the first plot is made, after the first paint."""
    os.environ.setdefault("PYQTGRAPH_QT_LIB", "PySide6")
    import numpy
    import pyqtgraph

    pyqtgraph.setConfigOptions(antialias=False)
    return pyqtgraph, numpy


def build_each(plots: Iterable[Plot]) -> Iterator[None]:
    """Make those plots that are not made yet, one in each step."""
    pyqtgraph, _ = drawing()
    for plot in plots:
        if not plot.built:
            plot.build(pyqtgraph)
            yield


class PlotBand(QWidget):
    """The four plots side by side; empty until ``build``."""

    def __init__(self, theme: Theme, series: Plots) -> None:
        super().__init__()
        self._theme = theme
        self._series = series
        self._pg: Any = None
        self._x: Any = None
        self.setFixedHeight(HEIGHT)
        row = QHBoxLayout(self)
        row.setContentsMargins(4, 0, 4, 0)
        row.setSpacing(0)
        self.plots = (
            Plot("Live streams", theme, (Curve("line", "text2"),)),
            Plot("Sessions of streams", theme, (Curve("sticks", "bar"), Curve("line", "text2"))),
            Plot("Negotiations/s", theme, (Curve("sticks", "text2"), Curve("dots", "fault"))),
            Plot("Slowest negotiation, ms", theme, (Curve("dots", "text2"),)),
        )
        for plot in self.plots:
            row.addWidget(plot, 1)

    def build(self) -> None:
        """Import pyqtgraph and make the plots; once, after the first paint."""
        for _ in self.building():
            pass

    def building(self) -> Iterator[None]:
        """The same in steps, one plot in each: all of them together hold the window up."""
        if self._pg is not None:
            return
        yield from build_each(self.plots)
        self._pg, self._numpy = drawing()
        self._x = self._numpy.arange(-SECONDS + 1, 1, dtype=float)
        self.refresh()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Show as many plots as can be read side by side."""
        super().resizeEvent(event)
        fitting = max(1, event.size().width() // NARROWEST)
        for number, plot in enumerate(self.plots):
            plot.setVisible(number < fitting)

    def set_theme(self, theme: Theme) -> None:
        """Paint with another theme from now on."""
        self._theme = theme
        for plot in self.plots:
            plot.set_theme(theme)

    def refresh(self) -> None:
        """New numbers; does nothing while hidden or not built."""
        if self._pg is None or not self.isVisible():
            return
        series = self._series
        self._show(0, (series.streams,), _whole(series.streams))
        self._show(1, (series.sessions, series.sessions), _whole(series.sessions))
        self._show(2, (series.negotiations, series.failures), _ended(series))
        last = next((value for value in reversed(series.latency.ordered()) if not isnan(value)), None)
        self._show(3, (series.latency,), "none yet" if last is None else f"{last:.0f} ms")

    def _show(self, number: int, rings: tuple[Ring, ...], words: str) -> None:
        values = [self._numpy.frombuffer(ring.ordered(), dtype=float) for ring in rings]
        self.plots[number].show_values(self._x, values, words)


def _whole(ring: Ring) -> str:
    return "–" if isnan(ring.last) else f"{ring.last:.0f}"


def _ended(series: Plots) -> str:
    failed = series.failures.last
    if isnan(series.negotiations.last):
        return "–"
    return _whole(series.negotiations) + (f", {failed:.0f} failed" if failed > 0 else "")


def _round_up(peak: float) -> float:
    """The next of 4, 6, 8, 10, 20, 40, 60, 80, 100, 200 … that is not below ``peak``; half of it is whole too."""
    scale = 1.0
    while True:
        for step in (4, 6, 8, 10, 20):
            if step * scale >= peak:
                return step * scale
        scale *= 10


def _ticks(top: float) -> list[tuple[float, str]]:
    return [(0.0, "0"), (top / 2, f"{top / 2:g}"), (top, f"{top:g}")]
