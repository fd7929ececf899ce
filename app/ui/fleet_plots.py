"""Three plots under the Agents table: sessions, CPU and memory of ten minutes, for the current agent among the others.

The current agent is bright, the others are one dim curve behind it, so that one sees at once whether a machine stands
out. A sample for each heartbeat (``app/models/loads.py``); minutes without one stay a hole. pyqtgraph and numpy are
imported in ``build``, after the window's first paint.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from math import nan
from typing import TYPE_CHECKING, Any

from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QWidget

from app.models.loads import HOLE, SPAN, Load
from app.models.wording import plain
from app.ui.plots import NARROWEST, Curve, Plot, build_each, drawing

if TYPE_CHECKING:
    from app.models.store import Store
    from app.ui.theme import Theme

HEIGHT = 190
MOST_BEHIND = 60
"""Other agents that are drawn behind the current one."""
FIELDS = ("sessions", "cpu", "memory")
PERCENT = 100.0


class AgentPlots(QWidget):
    """See the module's docstring; empty until ``build``."""

    def __init__(self, theme: Theme, store: Store) -> None:
        super().__init__()
        self._theme = theme
        self._store = store
        self._pg: Any = None
        self._numpy: Any = None
        self.setFixedHeight(HEIGHT)
        row = QHBoxLayout(self)
        row.setContentsMargins(4, 0, 4, 0)
        row.setSpacing(0)
        curves = (Curve("line", "bar"), Curve("line", "text"))
        self.plots = tuple(Plot(title, theme, curves) for title in ("Sessions", "CPU, %", "Memory, %"))
        for plot in self.plots:
            row.addWidget(plot, 1)

    def build(self) -> None:
        """Import pyqtgraph and make the plots; once, after the first paint."""
        for _ in self.building():
            pass

    def building(self) -> Iterator[None]:
        """The same in steps, one plot in each."""
        if self._pg is not None:
            return
        yield from build_each(self.plots)
        self._pg, self._numpy = drawing()

    def set_theme(self, theme: Theme) -> None:
        """Paint with another theme from now on."""
        self._theme = theme
        for plot in self.plots:
            plot.set_theme(theme)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Show as many plots as can be read side by side."""
        super().resizeEvent(event)
        fitting = max(1, event.size().width() // NARROWEST)
        for number, plot in enumerate(self.plots):
            plot.setVisible(number < fitting)

    def refresh(self, agent_id: str) -> None:
        """New numbers; does nothing while hidden or not built."""
        if self._pg is None or not self.isVisible():
            return
        now, loads = self._store.broker_now(), self._store.loads
        current = loads.of(agent_id)
        others = [load for one in self._store.agents if one != agent_id and (load := loads.of(one)) is not None]
        name = plain(agent_id) if current is not None else "no agent selected"
        for field, plot in zip(FIELDS, self.plots, strict=True):
            behind = self._arrays(others[:MOST_BEHIND], field, now)
            front = self._arrays([current] if current is not None else [], field, now)
            words = f"{name}  {last_text(current, field)}" if current is not None else name
            plot.show_curves((behind, front), words, None if field == "sessions" else PERCENT)

    def _arrays(self, loads: list[Load], field: str, now: float) -> tuple[Any, Any]:
        x, y = joined(loads, field, now)
        return self._numpy.frombuffer(x, dtype=float), self._numpy.frombuffer(y, dtype=float)


def joined(loads: list[Load], field: str, now: float) -> tuple[array[float], array[float]]:
    """Samples of several agents as one curve, seconds from now, with a hole between agents and where none was heard."""
    x, y = array("d"), array("d")
    for load in loads:
        before = nan
        for at, value in zip(load.at, getattr(load, field), strict=True):
            if at - now < -SPAN:
                continue
            if not at - before <= HOLE:  # also before the first one, which is compared with NaN
                x.append(at - now)
                y.append(nan)
            x.append(at - now)
            y.append(value)
            before = at
    if not x:
        x.append(0.0)
        y.append(nan)
    return x, y


def last_text(load: Load | None, field: str) -> str:
    """The newest number of a field."""
    values = getattr(load, field) if load is not None else array("d")
    if not values or values[-1] != values[-1]:
        return "not told"
    return f"{values[-1]:.0f}" if field == "sessions" else f"{values[-1]:.0f} %"
