"""Who looks at a desktop, on top of its details: mode, throughput, round trip, and a kick for each.

Kicking one viewer waits its three seconds like every act that costs one consumer, and never stands behind a bulk; the
session goes on. Fed a few times a second by the Sessions page; labels are kept and only their texts change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from app.models.fleet_words import rate_text, viewer_text
from app.models.wording import age_text, plain
from app.ui.theme import escape_tooltip, plain_label

if TYPE_CHECKING:
    from app.contract import ViewerRow
    from app.ui.context import Context

MOST = 8


class ViewerLine(QWidget):
    """One viewer with its button."""

    def __init__(self, context: Context, viewer_id: str) -> None:
        super().__init__()
        self.context = context
        self.viewer_id = viewer_id
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(8)
        words = QVBoxLayout()
        words.setSpacing(0)
        self.who = plain_label("", "value")
        self.how = plain_label("", "caption")
        words.addWidget(self.who)
        words.addWidget(self.how)
        row.addLayout(words, 1)
        self.button = QPushButton("Kick")
        self.button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.button.clicked.connect(lambda: context.actions.press("kick_viewer", [viewer_id]))
        row.addWidget(self.button, 0, Qt.AlignmentFlag.AlignVCenter)

    def show_row(self, row: ViewerRow, now: float) -> None:
        """What it is doing now."""
        trip = "" if row.rtt is None else f"   {row.rtt:.0f} ms"
        how = f"{plain(row.address)}   {age_text(now - row.since)}   ↓ {rate_text(row.down_rate)}   ↑ {rate_text(row.up_rate)}{trip}"
        for label, text in ((self.who, viewer_text(row)), (self.how, how)):
            if label.text() != text:
                label.setText(text)
        actions = self.context.actions
        pending = actions.pending.get(("kick_viewer", self.viewer_id))
        words = "Kick" if pending is None else f"Kick in {pending.left:.0f} s"
        if self.button.text() != words:
            self.button.setText(words)
        reason = actions.why_not("kick_viewer", [self.viewer_id])
        self.button.setEnabled(not reason)
        self.button.setToolTip(escape_tooltip(reason or "Close this viewer; the session goes on"))


class ViewersCard(QFrame):
    """See the module's docstring; hidden while nobody looks."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context
        self.lines: dict[str, ViewerLine] = {}
        self._desktop = ""
        self.setProperty("role", "card")
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(12, 10, 12, 12)
        self._column.setSpacing(6)
        head = QHBoxLayout()
        self.title = plain_label("", "heading")
        head.addWidget(self.title, 1)
        self.all_button = QPushButton("Kick all   K")
        self.all_button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.all_button.clicked.connect(lambda: context.actions.press("kick_viewers", [self._desktop]))
        head.addWidget(self.all_button)
        self._column.addLayout(head)
        self.more = plain_label("", "caption")
        self._column.addWidget(self.more)
        self.hide()

    def refresh(self, desktop_id: str) -> None:
        """Show who looks at that desktop now."""
        store = self.context.store
        rows = dict(list(store.viewers_of(desktop_id).items())[:MOST])
        total = len(store.viewers_of(desktop_id))
        self._desktop = desktop_id
        self.setVisible(bool(rows))
        for gone in [one for one in self.lines if one not in rows]:
            line = self.lines.pop(gone)
            self._column.removeWidget(line)
            line.hide()
            line.deleteLater()
        self.title.setText("1 viewer" if total == 1 else f"{total} viewers")
        self.all_button.setVisible(total > 1)
        self.all_button.setEnabled(not self.context.actions.why_not("kick_viewers", [desktop_id]))
        now = store.broker_now()
        for viewer_id, row in rows.items():
            if viewer_id not in self.lines:
                self.lines[viewer_id] = ViewerLine(self.context, viewer_id)
                self._column.insertWidget(self._column.count() - 1, self.lines[viewer_id])
            self.lines[viewer_id].show_row(row, now)
        self.more.setText(f"and {total - MOST} more" if total > MOST else "")
        self.more.setVisible(total > MOST)
