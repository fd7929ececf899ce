"""The Sessions page: who takes what from whom, whose desktop runs where, and what can be done about it.

Sessions of streams and of desktops stand in one table, and each takes its own verbs: ``Delete`` kicks the one and
terminates the other after its hold-back, ``R`` takes again what was just lost, ``H`` hibernates and wakes, ``V`` looks.
Ending a stream's session ends it in the registry; the picture stops when the publisher obeys, and a session that is
still beaten after its end shows FAULT "still sending" (console rule 9).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QMenu, QPushButton, QSplitter

from app.models.tables.sessions import Grouping, SessionTable, kind_of
from app.ui.board_page import BoardPage
from app.ui.details import Section
from app.ui.details_fleet import desktop_sections
from app.ui.details_text import session_sections
from app.ui.fleet_troubles import desktops_in_trouble
from app.ui.logs_pane import LogsPane
from app.ui.table_view import TableView
from app.ui.theme import escape_tooltip
from app.ui.troubles import Troubles, sessions_in_trouble
from app.ui.viewers_card import ViewersCard

if TYPE_CHECKING:
    from app.models.store import Store
    from app.ui.context import Context
    from app.ui.dialogs.offer_panel import OfferView

GROUPS: tuple[tuple[Grouping, str, str], ...] = (
    ("stream", "By stream", "Sessions of one stream stand together, and desktops of one template"),
    ("agent", "By agent", "Desktops of one agent stand together"),
)
LEADS: dict[Grouping, str] = {"stream": "what", "agent": "agent"}
"""The column that leads each row of a grouping."""
LEAD_WIDTH = 150
"""Pixels at least for a leading column, which shows how many there are beside the name."""


class SessionsPage(BoardPage):
    """See the module's docstring."""

    title, key, glyph = "Sessions", "Ctrl+2", "sessions"
    kinds, name = ("session", "desktop"), "sessions"

    def __init__(self, context: Context) -> None:
        table = SessionTable(context.store)
        view = TableView(context, table, strong=("who", "what"), chips=("preset", "tags"))
        self._troubles = Troubles(context.store, both_in_trouble)
        self._offer: OfferView | None = None
        self.viewers_card = ViewersCard(context)
        self.table_model = table
        self._place, self._width = 1, LEAD_WIDTH
        super().__init__(context, table, view)
        self.details.extra.addWidget(self.viewers_card)
        self.logs = LogsPane(context)
        self.logs.close_wanted.connect(self._close_logs)
        self._build_logs()
        self._build_groups()
        self.new_button = QPushButton("New session…")
        self.new_button.clicked.connect(self.new_session)
        self.head.addWidget(self.new_button)
        view.double_clicked_id.connect(self._look)

    def _build_logs(self) -> None:
        self.log_split = QSplitter(Qt.Orientation.Vertical)
        self.log_split.setHandleWidth(1)
        self.log_split.setChildrenCollapsible(False)
        self.middle.removeWidget(self.view)
        self.log_split.addWidget(self.view)
        self.log_split.addWidget(self.logs)
        self.log_split.setStretchFactor(0, 1)
        self.middle.addWidget(self.log_split, 1)

    # -- groups ------------------------------------------------------------------------------------------------

    def _build_groups(self) -> None:
        self.group_buttons: dict[Grouping, QPushButton] = {}
        for place, (grouping, words, tip) in enumerate(GROUPS, 2):
            button = QPushButton(words)
            button.setCheckable(True)
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            button.setToolTip(escape_tooltip(tip))
            button.toggled.connect(partial(self._group_toggled, grouping))
            self.group_buttons[grouping] = button
            self.head.insertWidget(place, button)
        self.group_button = self.group_buttons["stream"]
        remembered = self.context.settings.get("sessions/grouping")
        if remembered in self.group_buttons:
            self.group_buttons[remembered].setChecked(True)

    def _group_toggled(self, grouping: Grouping, on: bool) -> None:
        if on:
            for other, button in self.group_buttons.items():
                if other != grouping:
                    button.setChecked(False)
            self.group(grouping)
        elif self.table_model.grouping == grouping:
            self.group("")

    def group(self, grouping: Grouping) -> None:
        """Put rows together under the name of their stream or agent, which then leads each row; or as they are sorted."""
        before = self.table_model.grouping
        if before:
            self.view.move_column(LEADS[before], self._place)
            self.view.setColumnWidth(self.table_model.column_number(LEADS[before]), self._width)
        if grouping:
            number = self.table_model.column_number(LEADS[grouping])
            self._width = self.view.columnWidth(number)
            self.view.setColumnWidth(number, max(self._width, LEAD_WIDTH))
            self._place = self.view.move_column(LEADS[grouping], 1)
            self.view.group_column = LEADS[grouping]
        self.view.grouped = bool(grouping)
        self.table_model.group_by(grouping)
        self.view.fit_columns()
        self.context.settings.set("sessions/grouping", grouping)

    def save_layout(self) -> None:
        """Columns are remembered as they stand without groups."""
        grouping = self.table_model.grouping
        self.group("")
        super().save_layout()
        if grouping:
            self.group(grouping)
        if not self.logs.isHidden():
            self.context.settings.set("sessions/log_height", self.logs.height())

    # -- words -------------------------------------------------------------------------------------------------

    def count_text(self) -> str:
        """Live sessions of both kinds."""
        store = self.context.store
        return str(len(store.sessions) + len(store.desktops)) if store.loaded else ""

    def badges(self) -> list[tuple[str, str]]:
        """Sessions that are a fault or stale."""
        return self._troubles.badges()

    def hints(self) -> str:
        """Keys for the foot, for the kind of row that is selected."""
        if self.kind_of_all(self.view.targets()) == "desktop":
            return "V view    Shift+V control    H hibernate / wake    Delete terminate    F4 log    T tags    F1 keys"
        return "Delete kick    R take again    Ctrl+Z undo    Enter details    Space mark    / filter    F1 keys"

    def empty_words(self) -> tuple[str, str]:
        """No session at all."""
        return "No sessions", "A take on Streams (R) opens one; New session… begins a desktop."

    def kind_of(self, row_id: str) -> str:
        """A session of a stream, or a desktop."""
        item = self.model.find(row_id)
        return self.kinds[0] if item is None else kind_of(item.row)

    def not_for(self, kind: str) -> str:
        """Why a key of the other kind does nothing."""
        return "that is for sessions of streams" if kind == "desktop" else "that is for desktops"

    def sections(self, row_id: str) -> list[Section]:
        """Details of a session of either kind."""
        of = desktop_sections if self.kind_of(row_id) == "desktop" else session_sections
        return of(self.context.store, row_id)

    def _refresh_details(self) -> None:
        """Also how to reach what the session carries, or who looks at the desktop."""
        super()._refresh_details()
        if not self.details.isVisible() or not self._front:
            return
        self.viewers_card.refresh(self.view.current_id)
        row = self.context.store.sessions.get(self.view.current_id)
        if self._offer is None and row is not None:
            from app.ui.dialogs.offer_panel import OfferView

            self._offer = OfferView(self.context)
            self.details.extra.addWidget(self._offer)
        if self._offer is not None and row is not None:
            self._offer.show_offer(row)
        elif self._offer is not None:
            self._offer.forget()

    # -- acts of the page --------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Also the button that begins a session."""
        super().refresh()
        blocked = self.context.actions.blocked
        if self.new_button.isEnabled() == bool(blocked):
            self.new_button.setEnabled(not blocked)
            self.new_button.setToolTip(escape_tooltip(blocked))

    def new_session(self) -> None:
        """The panel that begins a desktop session."""
        from app.ui.dialogs.create_session import CreateSession

        self.context.panels.show(CreateSession(self.context))

    def _look(self, row_id: str) -> None:
        """A double click on a desktop looks at it, view-only; on a stream's session it says nothing."""
        if self.kind_of(row_id) == "desktop" and "view" in self.context.actions.verbs:
            self._press("view", [row_id])

    def show_logs(self) -> None:
        """F4: the log of the current session; once more closes it."""
        row_id = self.view.current_id
        if not self.logs.isHidden() and self.logs.session_id == row_id:
            self._close_logs()
        elif not row_id:
            self.context.toast("Log: nothing is selected")
        elif self.kind_of(row_id) != "desktop":
            self.context.toast(
                "Log: a stream's session has none at this broker; its publisher and consumer keep theirs"
            )
        else:
            self.logs.open_for(row_id)
            self.log_split.setSizes([10_000, self.context.settings.get("sessions/log_height")])

    def _close_logs(self) -> None:
        self.context.settings.set("sessions/log_height", self.logs.height())
        self.logs.stop()
        self.logs.hide()
        self.view.setFocus()

    def panes(self) -> list:
        """Also the log."""
        return [*super().panes(), self.logs.text]

    def theme_changed(self) -> None:
        """Also the log's font."""
        super().theme_changed()
        self.logs.theme_changed()

    def fill_menu(self, menu: QMenu, ids: Sequence[str]) -> None:
        """Also the log and what can be copied."""
        super().fill_menu(menu, ids)
        if len(ids) == 1:
            if self.kind_of(ids[0]) == "desktop":
                menu.addAction("Log\tF4", lambda: self.logs.open_for(ids[0]))
            menu.addAction("Copy id", lambda: self.copy(ids[0]))


def both_in_trouble(store: Store, now: float) -> tuple[int, int]:
    """Faults and stale rows of both kinds."""
    fault, stale = sessions_in_trouble(store, now)
    more_fault, more_stale = desktops_in_trouble(store, now)
    return fault + more_fault, stale + more_stale
