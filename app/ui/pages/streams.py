"""The Streams page: every stream of the house, what each destination shows, and the take.

Table, destinations and plots around it, details at the right with the running negotiation, its offer or the reason
why there is none. A take starts by ``R``, by the row's cell, by a double click or by the button; all of them end in
``Actions.press`` with the stream's id.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from PySide6.QtGui import QAction
from PySide6.QtWidgets import QMenu, QPushButton, QToolButton

from app.contract import NEGOTIATION_TIMEOUT, StreamRow
from app.models.series import Plots
from app.models.states import STALE, state_of_stream
from app.models.tables.columns import Item, Moment
from app.models.tables.streams import StreamTable
from app.models.wording import age_text
from app.ui.board_page import BoardPage
from app.ui.destinations import Destinations
from app.ui.details import Section
from app.ui.details_text import stream_sections
from app.ui.plots import PlotBand
from app.ui.table_view import Countdown, TableView
from app.ui.take_card import TakeCard
from app.ui.theme import escape_tooltip
from app.ui.troubles import Troubles, streams_in_trouble
from app.ui.verbs import take_warning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.ui.context import Context


def take_cell(item: Item, moment: Moment) -> str:
    """What a press of the row's take cell would do, in a word or three."""
    store = moment.store
    row = store.streams.get(item.id)
    if row is None:
        return ""
    preset = store.default_preset()
    if preset is not None:
        carried = next((one for one in store.carried_by(preset.id) if one.stream_id == item.id), None)
        if carried is not None:
            return "taken " + " ".join(age_text(moment.now - carried.started_at).split()[:2])
    if not store.live:
        return "Take"
    if store.take_down() is not None:
        return "Take: DOWN"
    return "Take STALE" if state_of_stream(row, store, moment.now).word is STALE else "Take"


ROOM_FOR_DETAILS = 1100
"""A take opens the details only on a page that is at least this wide."""
LOOKS: dict[str, dict[str, Any]] = {
    "state": {"width": 140},
    "name": {"width": 176, "wide": 240},
    "take": {"width": 92, "text": take_cell, "clock": True, "hint": "Takes to the default preset (R, double click)"},
    "type": {"width": 56, "yields": 3},
    "from": {"width": 112, "wide": 140, "yields": 1},
    "protocol": {"width": 64, "wide": 108},
    "address": {"width": 136, "wide": 156, "yields": 2},
    "format": {"width": 148, "wide": 184},
    "beats": {"width": 64},
    "consumers": {"width": 78},
    "on": {"width": 120, "wide": 152},
    "ttl": {"width": 92},
    "age": {"width": 52},
    "since": {"hidden": True},
    "tags": {"width": 68},
}
"""How this page wants the columns of the table: widths that fit 1440 px and those for more room, and what the take cell says."""


class BoardTable(StreamTable):
    """Streams with the cell that takes them."""

    columns = cast(Any, tuple(replace(column, **LOOKS.get(column.key, {})) for column in StreamTable.columns))


class StreamsPage(BoardPage):
    """See the module's docstring."""

    title, key, glyph = "Streams", "Ctrl+1", "streams"
    kinds, name = ("stream",), "streams"

    def __init__(self, context: Context, series: Plots) -> None:
        table = BoardTable(context.store)
        view = TableView(context, table, strong=("name", "consumers"), chips=("on",))
        view.looks = self
        self.destinations = Destinations(context)
        self.plots = PlotBand(context.theme, series)
        self.take_card = TakeCard(context)
        self._built = False
        self._troubles = Troubles(context.store, streams_in_trouble)
        super().__init__(context, table, view)
        self.column.insertWidget(1, self.destinations)
        self.middle.addWidget(self.plots)
        self.details.extra.addWidget(self.take_card)
        self.plots.setVisible(context.settings.get("window/plots_open"))
        self._add_tools()
        view.button_clicked.connect(self.take)
        view.double_clicked_id.connect(self.take)
        self.destinations.chosen.connect(self._go_to)
        self.destinations.edit_wanted.connect(self._edit_preset)
        context.actions.finished.connect(self._finished)

    def _add_tools(self) -> None:
        self.add_button = QPushButton("Add stream…")
        self.add_button.clicked.connect(self.add_stream)
        self.more_button = QToolButton()
        self.more_button.setText("⋯")
        self.more_button.setAccessibleName("More")
        self.more_button.clicked.connect(self._open_more)
        self.head.addWidget(self.add_button)
        self.head.addWidget(self.more_button)

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

    def refresh(self) -> None:
        """Also destinations and the take card."""
        super().refresh()
        self.destinations.refresh()
        blocked = self.context.actions.blocked
        if self.add_button.isEnabled() == bool(blocked):
            self.add_button.setEnabled(not blocked)
            self.add_button.setToolTip(escape_tooltip(blocked))
        if self.details.isVisible():
            self.take_card.refresh(self.view.current_id)
        if self.context.store.negotiations or self.context.actions.running:
            self.view.viewport().update()

    def second(self) -> None:
        """Once a second: the plots."""
        if self._front:
            self.plots.refresh()

    def theme_changed(self) -> None:
        """Also plots and destinations."""
        super().theme_changed()
        self.plots.set_theme(self.context.theme)
        self.destinations.update()

    def toggle_plots(self) -> None:
        """Show or hide the plots; hidden ones are not drawn."""
        shown = not self.plots.isVisibleTo(self)
        self.plots.setVisible(shown)
        self.context.settings.set("window/plots_open", shown)
        if shown and self._built:
            self.plots.build()
            self.plots.refresh()

    # -- words -------------------------------------------------------------------------------------------------

    def count_text(self) -> str:
        """Live streams."""
        return str(len(self.context.store.streams)) if self.context.store.loaded else ""

    def badges(self) -> list[tuple[str, str]]:
        """Streams that are stale, and ghosts that are a fault."""
        return self._troubles.badges()

    def hints(self) -> str:
        """Keys for the foot."""
        return "R take    Shift+R take to…    Enter details    Space mark    Delete withdraw    / filter    F1 keys"

    def empty_words(self) -> tuple[str, str]:
        """No stream at all."""
        return (
            "No streams yet",
            "Publishers advertise themselves at this broker; Settings shows the address to give to them.",
        )

    def sections(self, row_id: str) -> list[Section]:
        """Details of a stream."""
        return stream_sections(self.context.store, row_id)

    # -- the take ----------------------------------------------------------------------------------------------

    def take(self, stream_id: str) -> None:
        """The row's cell or a double click."""
        self.context.actions.press("take", [stream_id])
        self.refresh()

    def _acts_changed(self) -> None:
        """A take that begins opens the details, where its countdown, offer or reason stands; if there is room."""
        began = {one for verb, one in self.context.actions.running if verb in ("take", "take_to")}
        room = self._front and self.width() >= ROOM_FOR_DETAILS
        if room and self.view.current_id in began and not self.context.settings.get("window/details_open"):
            self.toggle_details()
        super()._acts_changed()

    def countdown(self, row_id: str) -> Countdown | None:
        """The 5 s of a negotiation in its row."""
        store = self.context.store
        running = store.running_for(row_id)
        if running is not None:
            left = max(0.0, running.deadline - store.broker_now())
            return Countdown(f"{left:.1f} s", min(1.0, left / NEGOTIATION_TIMEOUT))
        if any((verb, row_id) in self.context.actions.running for verb in ("take", "take_to")):
            return Countdown("asking…", 1.0)
        return None

    def warned(self, row_id: str) -> bool:
        """Whether taking it deserves a second look."""
        return bool(take_warning(self.context, row_id))

    def _finished(self, verb: str, row_id: str, result: object) -> None:
        if verb in ("take", "take_to"):
            self.take_card.keep(row_id, result)
            self.refresh()

    # -- menus -------------------------------------------------------------------------------------------------

    def add_stream(self) -> None:
        """The panel that advertises a stream by hand."""
        from app.ui.dialogs.add_stream import AddStream

        self.context.panels.show(AddStream(self.context))

    def create_type(self) -> None:
        """The panel that creates a stream type."""
        from app.ui.dialogs.create_type import CreateType

        self.context.panels.show(CreateType(self.context))

    def new_preset(self) -> None:
        """The panel that makes a preset."""
        from app.ui.dialogs.preset_editor import PresetEditor

        self.context.panels.show(PresetEditor(self.context))

    def fill_menu(self, menu: QMenu, ids: Sequence[str]) -> None:
        """Also what can be copied."""
        super().fill_menu(menu, ids)
        row = self.context.store.streams.get(ids[0]) if len(ids) == 1 else None
        if row is not None:
            menu.addAction("Copy connection string", lambda: self._copy_address(row))
            menu.addAction("Copy id", lambda: self.copy(row.id))

    def _copy_address(self, row: StreamRow) -> None:
        from app.client.connect import Endpoint, connection_string

        self.copy(connection_string(Endpoint.of(row)))

    def _open_more(self) -> None:
        menu = QMenu(self)
        for words, act in (("New preset…", self.new_preset), ("Create stream type…", self.create_type)):
            menu.addAction(words, act).setEnabled(not self.context.actions.blocked)
        menu.addAction("Export…\tCtrl+E", self.export)
        menu.addSeparator()
        plots = QAction("Plots", menu)
        plots.setCheckable(True)
        plots.setChecked(self.plots.isVisibleTo(self))
        plots.toggled.connect(lambda _: self.toggle_plots())
        menu.addAction(plots)
        menu.aboutToHide.connect(menu.deleteLater)
        menu.popup(self.more_button.mapToGlobal(self.more_button.rect().bottomLeft()))

    def _go_to(self, stream_id: str) -> None:
        if not self.view.select_id(stream_id):
            self.context.toast("That stream is not shown: the filter hides it, or it is gone")
        self.view.setFocus()

    def _edit_preset(self, preset_id: str) -> None:
        from app.ui.dialogs.preset_editor import PresetEditor

        self.context.panels.show(PresetEditor(self.context, preset_id))
