"""The wall: every desktop as a tile with its picture, to find the one that looks wrong; click or Enter looks into it.

Pictures come from the agents through the broker (``GET /console/v1/desktops/{id}/thumbnail``), every 5 s for tiles that
are seen, one at a time, and only while this page is in front. What does not run is faded and says why. All verbs of
desktops work here with their keys.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QPoint
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QHBoxLayout, QMenu, QVBoxLayout, QWidget

from app.contract import DesktopRow
from app.models.filter import Field, Query, QueryError, parse
from app.models.fleet_states import state_of_desktop
from app.models.states import FAULT, LIVE, STALE
from app.models.wording import age_text, counted, natural, plain
from app.ui.filter_box import FilterBox
from app.ui.page import Page
from app.ui.theme import plain_label
from app.ui.thumbnails import EVERY, Thumbnails
from app.ui.tile_grid import Tile, TileGrid
from app.ui.verb_keys import fill_menu, meant, of_key, pressed_text

if TYPE_CHECKING:
    from app.models.changes import Changes
    from app.ui.context import Context

KIND = "desktop"
OLD = 3 * EVERY
"""Seconds after which a picture says how old it is."""


class _Found:
    """A desktop as the filter sees it."""

    __slots__ = ("row", "text")

    def __init__(self, row: DesktopRow) -> None:
        self.row = row
        cells = (row.name, row.user, row.template, row.agent_id or "", row.platform, row.state, *row.tags)
        self.text = "\n".join(cells).lower()


def _field(get: Callable[[DesktopRow], str]) -> Field:
    return Field("text", lambda found, _: get(found.row))


FIELDS: dict[str, Field] = {
    "name": _field(lambda row: row.name),
    "user": _field(lambda row: row.user),
    "template": _field(lambda row: row.template),
    "agent": _field(lambda row: row.agent_id or ""),
    "platform": _field(lambda row: row.platform),
    "tags": _field(lambda row: " ".join(row.tags)),
}


class WallPage(Page):
    """See the module's docstring."""

    title, key, glyph = "Wall", "Ctrl+0", "wall"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.filter = FilterBox()
        self.grid = TileGrid(lambda: self.context.theme, self._tile)
        self.empty = plain_label("", "hint")
        self.thumbnails = Thumbnails(context, self._wanted, self.grid.update_tile, lambda: self.grid.picture_width)
        self._query = Query()
        self._front = False
        self._build()
        context.store.listen(self._store_changed)

    def _build(self) -> None:
        head = QHBoxLayout()
        head.setContentsMargins(12, 7, 12, 7)
        self.filter.setMaximumWidth(780)
        self.filter.edit.setPlaceholderText("Filter   /   ann  agent:rack-1  -firefox  tags:show")
        head.addWidget(self.filter, 3)
        head.addWidget(self.empty, 2)
        head.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addLayout(head)
        column.addWidget(self.grid, 1)
        self.filter.changed.connect(self.apply_filter)
        self.filter.left.connect(self.grid.setFocus)
        self.grid.verb_key = self.dispatch_key
        self.grid.activated_id.connect(lambda one: self._press("view", one))
        self.grid.seen_changed.connect(self.thumbnails.look_again)
        self.grid.menu_wanted.connect(self._show_menu)

    # -- life --------------------------------------------------------------------------------------------------

    def activate(self) -> None:
        """To the front: pictures are asked for from now on."""
        self._front = True
        self._fill()
        self.thumbnails.start()
        self.grid.setFocus()

    def deactivate(self) -> None:
        """To the back: no picture is asked for."""
        self._front = False
        self.thumbnails.stop()

    def hideEvent(self, event: Any) -> None:
        """A window that is hidden or minimised asks for nothing either."""
        super().hideEvent(event)
        self.thumbnails.stop()

    def showEvent(self, event: Any) -> None:
        super().showEvent(event)
        if self._front:
            self.thumbnails.start()

    def refresh(self) -> None:
        """Ages of pictures go on."""
        self.grid.viewport().update()

    def filter_box(self) -> FilterBox:
        """The page's filter."""
        return self.filter

    def panes(self) -> list[QWidget]:
        """Filter and grid."""
        return [self.filter.edit, self.grid]

    def theme_changed(self) -> None:
        self.grid.viewport().update()

    def status_text(self) -> str:
        """How many tiles there are."""
        shown, total = len(self.grid.ids), len(self.context.store.desktops)
        return f"{shown} of {total} desktops" if shown != total else counted(total, "desktops")

    def hints(self) -> str:
        return "Enter, V view    Shift+V control    / filter    F1 keys"

    # -- tiles -------------------------------------------------------------------------------------------------

    def apply_filter(self, text: str) -> None:
        """Narrow the wall; what cannot be read keeps it as it is and says so."""
        query = parse(text, FIELDS)
        if isinstance(query, QueryError):
            self.filter.show_result("", query.message)
            return
        self._query = query
        self.filter.show_result("")
        self._fill()

    def _store_changed(self, changes: Changes) -> None:
        if self._front and (changes.reset or changes.redrawn(KIND)):
            self._fill()

    def _fill(self) -> None:
        rows = sorted(self.context.store.desktops.values(), key=lambda row: (natural(row.name), row.id))
        try:
            found = self._query.select([_Found(row) for row in rows])
        except QueryError as error:
            self.filter.show_result("", error.message)
            return
        self.grid.show_ids([one.row.id for one in found])
        self.empty.setText("" if found else "No desktop passes the filter" if rows else "No desktop session runs")

    def _wanted(self) -> list[str]:
        """Tiles that are seen and whose desktops run; a frozen one cannot be asked."""
        if not self.isVisible() or not self.context.store.live:
            return []
        desktops = self.context.store.desktops
        return [one for one in self.grid.seen() if one in desktops and desktops[one].state == "running"]

    def _tile(self, session_id: str) -> Tile | None:
        store = self.context.store
        row = store.desktops.get(session_id)
        if row is None:
            return None
        state = state_of_desktop(row, store, store.broker_now())
        shot = self.thumbnails.of(session_id)
        runs = row.state == "running" and state.word is LIVE
        trouble = state.word in (FAULT, STALE)
        note = "" if runs else plain((state.reason if trouble else "") or state.text)
        if runs and shot is not None and shot.trouble:
            note = plain(shot.trouble)
        elif runs and (shot is None or shot.image.isNull()):
            note = "…"
        elif runs and shot is not None and time.monotonic() - shot.at > OLD:
            note = f"{age_text(time.monotonic() - shot.at)} old"
        viewers = len(store.viewers_of(session_id))
        looks = counted(viewers, "viewers") if viewers else ""
        line = ", ".join(part for part in (plain(row.user), plain(row.agent_id or ""), looks) if part)
        image = shot.image if shot is not None else None
        return Tile(row.id, plain(row.name), line, state, image, note, faded=bool(note) and note != "…")

    # -- verbs -------------------------------------------------------------------------------------------------

    def dispatch_key(self, event: QKeyEvent) -> bool:
        """Run the verb on that key for the current tile."""
        actions, pressed = self.context.actions, pressed_text(event)
        verbs = of_key(actions, (KIND,), pressed)
        if event.isAutoRepeat() or not verbs:
            return False
        ids = [self.grid.current_id] if self.grid.current_id else []
        verb = meant(actions, verbs, ids)
        actions.press(verb.name, ids, panel=pressed == verb.panel_key)
        return True

    def _press(self, name: str, session_id: str) -> None:
        self.context.actions.press(name, [session_id])

    def _show_menu(self, session_id: str, at: QPoint) -> None:
        menu = QMenu(self)
        fill_menu(menu, self.context.actions, KIND, [session_id], lambda name, ids: self._press(name, ids[0]))
        menu.aboutToHide.connect(menu.deleteLater)
        menu.popup(at)
