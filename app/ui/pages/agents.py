"""The Agents page: how each machine fares, what is still on it, and its drain.

``D`` drains, ``D`` again takes the drain back for as long as it lasts; the row says how it goes, the card on top of the
details what holds it up and who is still there. ``Delete`` removes what is offline for good. Plots below the table show
ten minutes of the current agent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QMenu, QPushButton

from app.models.tables.agents import AgentTable
from app.ui.board_page import BoardPage
from app.ui.details import Section
from app.ui.details_fleet import agent_sections
from app.ui.drain_card import DrainCard
from app.ui.fleet_plots import AgentPlots
from app.ui.fleet_troubles import agent_badges
from app.ui.table_view import TableView

if TYPE_CHECKING:
    from app.ui.context import Context

PLOTS_EVERY = 2
"""Seconds between two drawings of the plots: a heartbeat comes every ten."""


class AgentsPage(BoardPage):
    """See the module's docstring."""

    title, key, glyph = "Agents", "Ctrl+3", "agents"
    kinds, name = ("agent",), "agents"

    def __init__(self, context: Context) -> None:
        table = AgentTable(context.store)
        view = TableView(context, table, strong=("agent", "sessions"))
        self.plots = AgentPlots(context.theme, context.store)
        self.card = DrainCard(context)
        self._built = False
        self._seconds = 0
        super().__init__(context, table, view)
        self.middle.addWidget(self.plots)
        self.details.extra.addWidget(self.card)
        self.plots.setVisible(context.settings.get("agents/plots_open"))
        self.filter.edit.setPlaceholderText("Filter   /   rack  -docker  state:held  region:foh  cpu>80")
        self.plots_button = QPushButton("Plots")
        self.plots_button.setCheckable(True)
        self.plots_button.setChecked(context.settings.get("agents/plots_open"))
        self.plots_button.toggled.connect(self._show_plots)
        self.head.addWidget(self.plots_button)
        view.button_clicked.connect(lambda row_id: self._press("undrain", [row_id]))
        view.current_changed.connect(lambda _: self._draw_plots())

    # -- life --------------------------------------------------------------------------------------------------

    def build_plots(self) -> None:
        """Import pyqtgraph and draw, after the first paint."""
        for _ in self.building_plots():
            pass

    def building_plots(self) -> Iterator[None]:
        """The same in steps that leave the window its turns."""
        self._built = True
        if self.plots.isVisibleTo(self):
            yield from self.plots.building()
            self._draw_plots()

    def activate(self) -> None:
        """Also the plots, which are not drawn in the back."""
        super().activate()
        self._draw_plots()

    def refresh(self) -> None:
        """Also whether there is anything to draw."""
        super().refresh()
        wanted = self.context.settings.get("agents/plots_open") and bool(self.context.store.agents)
        if wanted == self.plots.isHidden():
            self._place_plots(wanted)

    def second(self) -> None:
        """Once a second: the plots, every other time."""
        self._seconds += 1
        if self._seconds % PLOTS_EVERY == 0:
            self._draw_plots()

    def _draw_plots(self) -> None:
        if self._front:
            self.plots.refresh(self.view.current_id)

    def _show_plots(self, shown: bool) -> None:
        """Show or hide them; hidden ones are not drawn."""
        self.context.settings.set("agents/plots_open", shown)
        self._place_plots(shown and bool(self.context.store.agents))

    def _place_plots(self, shown: bool) -> None:
        self.plots.setVisible(shown)
        if shown and self._built:
            self.plots.build()
            self._draw_plots()

    def theme_changed(self) -> None:
        """Also plots and card."""
        super().theme_changed()
        self.plots.set_theme(self.context.theme)
        self.card.update()

    # -- words -------------------------------------------------------------------------------------------------

    def count_text(self) -> str:
        """Agents that are known."""
        return str(len(self.context.store.agents)) if self.context.store.loaded else ""

    def badges(self) -> list[tuple[str, str]]:
        """Agents that are a fault, late, or whose drain is stuck."""
        return agent_badges(self.context.store)

    def hints(self) -> str:
        """Keys for the foot."""
        return "D drain / undo drain    Enter who is on it    Space mark    Delete remove    / filter    F1 keys"

    def empty_words(self) -> tuple[str, str]:
        """No agent at all."""
        return (
            "No agent yet",
            "callboard agent --platform local runs desktops on a machine; Settings, Agent keys makes the key for it.",
        )

    def sections(self, row_id: str) -> list[Section]:
        """Details of an agent."""
        return agent_sections(self.context.store, row_id)

    def _refresh_details(self) -> None:
        super()._refresh_details()
        if self.details.isVisible() and self._front:
            self.card.refresh(self.view.current_id)

    def fill_menu(self, menu: QMenu, ids: Sequence[str]) -> None:
        """Also what can be copied."""
        super().fill_menu(menu, ids)
        if len(ids) == 1:
            menu.addAction("Copy id", lambda: self.copy(ids[0]))
