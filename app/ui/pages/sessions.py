"""The Sessions page: who takes what from whom, who keeps it alive, and the kick.

``Delete`` kicks after its hold-back, ``R`` on a session that has just ended takes it again with the same config.
Rows can be put together by stream. Ending a session ends it in the registry; the picture stops when the publisher
obeys, and a session that is still beaten after its end shows FAULT "still sending" (console rule 9).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtWidgets import QMenu, QPushButton

from app.models.tables.sessions import SessionTable
from app.ui.board_page import BoardPage
from app.ui.details import Section
from app.ui.details_text import session_sections
from app.ui.table_view import TableView
from app.ui.theme import escape_tooltip
from app.ui.troubles import Troubles, sessions_in_trouble

if TYPE_CHECKING:
    from app.ui.context import Context
    from app.ui.dialogs.offer_panel import OfferView


class SessionsPage(BoardPage):
    """See the module's docstring."""

    title, key, glyph = "Sessions", "Ctrl+2", "sessions"
    kind, name = "session", "sessions"

    def __init__(self, context: Context) -> None:
        table = SessionTable(context.store)
        view = TableView(context, table, strong=("who", "what"), chips=("preset",))
        self._troubles = Troubles(context.store, sessions_in_trouble)
        self._offer: OfferView | None = None
        self.table_model = table
        self._place = 1
        view.group_column = "what"
        super().__init__(context, table, view)
        self.group_button = QPushButton("Group by stream")
        self.group_button.setCheckable(True)
        self.group_button.setToolTip(escape_tooltip("Sessions of one stream stand together"))
        self.group_button.toggled.connect(self.group)
        self.head.insertWidget(2, self.group_button)
        self.group_button.setChecked(context.settings.get("sessions/grouped"))

    def group(self, on: bool) -> None:
        """Put sessions of one stream together under its name, which then leads each row; or as they are sorted."""
        if on:
            self._place = self.view.move_column("what", 1)
        else:
            self.view.move_column("what", self._place)
        self.view.grouped = on
        self.table_model.group_by("stream" if on else "")
        self.context.settings.set("sessions/grouped", on)

    def save_layout(self) -> None:
        """Columns are remembered as they stand without groups."""
        grouped = self.group_button.isChecked()
        self.group_button.setChecked(False)
        super().save_layout()
        self.group_button.setChecked(grouped)

    def count_text(self) -> str:
        """Live sessions."""
        return str(len(self.context.store.sessions)) if self.context.store.loaded else ""

    def badges(self) -> list[tuple[str, str]]:
        """Sessions that are a fault or stale."""
        return self._troubles.badges()

    def hints(self) -> str:
        """Keys for the foot."""
        return "Delete kick    R re-take    Ctrl+Z undo    Enter details    Space mark    / filter    F1 keys"

    def empty_words(self) -> tuple[str, str]:
        """No session at all."""
        return "No sessions", "A take on Streams (R) opens one."

    def sections(self, row_id: str) -> list[Section]:
        """Details of a session."""
        return session_sections(self.context.store, row_id)

    def _refresh_details(self) -> None:
        """Also how to reach what the session carries."""
        super()._refresh_details()
        if not self.details.isVisible():
            return
        row = self.context.store.sessions.get(self.view.current_id)
        if self._offer is None and row is not None:
            from app.ui.dialogs.offer_panel import OfferView

            self._offer = OfferView(self.context)
            self.details.extra.addWidget(self._offer)
        if self._offer is not None and row is not None:
            self._offer.show_offer(row)
        elif self._offer is not None:
            self._offer.forget()

    def fill_menu(self, menu: QMenu, ids: Sequence[str]) -> None:
        """Also what can be copied."""
        super().fill_menu(menu, ids)
        if len(ids) == 1:
            menu.addAction("Copy id", lambda: self.copy(ids[0]))
