"""The panel before an act that costs many or cannot be taken back: who loses what, then hold 1.5 s.

Tier 2 of console rule 2: withdraw, kick of several, stop of the broker. Names and count stand in the
panel, the tables stay in view, and nothing happens until the button was held for its whole time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from app.models.wording import plain
from app.ui.panel import HoldButton, Panel
from app.ui.theme import escape_tooltip, plain_label

if TYPE_CHECKING:
    from app.ui.context import Context

Losses = Sequence[tuple[str, str]]
GAP = 16


class LossTable(QTableWidget):
    """Who loses what: two columns, read only, all of them, never abbreviated to a number."""

    def __init__(self, losses: Losses, heads: tuple[str, str] = ("Who", "Loses")) -> None:
        super().__init__(len(losses), 2)
        self.setHorizontalHeaderLabels(list(heads))
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(22)
        self.horizontalHeader().setSectionResizeMode(0, QHeaderView.ResizeMode.Interactive)
        self.horizontalHeader().setStretchLastSection(True)
        self.horizontalHeader().setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setShowGrid(False)
        self.setWordWrap(False)
        for row, pair in enumerate(losses):
            for column, text in enumerate(pair):
                item = QTableWidgetItem(plain(text))
                item.setToolTip(escape_tooltip(plain(text)))
                self.setItem(row, column, item)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """The first column takes what its names need, at most half: what is lost is told in more words."""
        super().resizeEvent(event)
        self.setColumnWidth(0, min(self.sizeHintForColumn(0) + GAP, self.viewport().width() // 2))


class ConfirmPanel(Panel):
    """``confirmed`` is emitted once, after the hold; Esc emits nothing and changes nothing."""

    confirmed = Signal()
    of_page = True

    def __init__(self, context: Context, title: str, losses: Losses, verb_text: str, *, note: str = "") -> None:
        super().__init__(context, title, subtitle=note)
        self.losses = list(losses)
        self.count = plain_label(loss_count(len(self.losses)), "heading", wrap=True)
        self.body.addWidget(self.count)
        if self.losses:
            self.body.addWidget(LossTable(self.losses), 1)
        else:
            self.body.addStretch(1)
        seconds = context.settings.get("hold_seconds")
        self.body.addWidget(
            plain_label(
                f"Hold the button (or Enter) for {seconds:g} s. Esc leaves everything as it is.", "hint", wrap=True
            )
        )
        self.blocked = plain_label("", "error", wrap=True)
        self.blocked.hide()
        self.body.addWidget(self.blocked)
        self.cancel_button = self.add_button("Keep everything")
        self.cancel_button.clicked.connect(self.cancel)
        self.hold_button = HoldButton(verb_text, context.theme.color("danger"), seconds=seconds)
        self.hold_button.fired.connect(self._on_fired)
        self.buttons.addWidget(self.hold_button)
        self.first_focus = self.hold_button

    def set_blocked(self, reason: str) -> None:
        """Nothing can be done now, and why; "" ends that."""
        self.hold_button.setEnabled(not reason)
        self.blocked.setText(reason)
        self.blocked.setVisible(bool(reason))

    def _on_fired(self) -> None:
        if not self._finished:
            self.confirmed.emit()
            self.done()


def loss_count(count: int) -> str:
    """How many lose something, as a sentence."""
    if count == 0:
        return "Nobody loses anything."
    return "1 loses what it has:" if count == 1 else f"{count} lose what they have:"
