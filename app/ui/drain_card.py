"""The card on top of an agent's details: how its drain goes, its undo, and what can be done to what is still on it.

The undo stands here for the whole time of the drain; what holds a drain up is said in words and nothing is ever ended
by the drain itself. Every button ends in ``Actions.press`` with the agent's id.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout

from app.models.fleet_states import is_draining, sessions_text
from app.models.fleet_words import drain_share, drain_text
from app.models.wording import age_text, clock_text, plain
from app.ui.theme import escape_tooltip, plain_label

if TYPE_CHECKING:
    from app.contract import AgentRow, DrainRow
    from app.ui.context import Context

BUTTONS = (
    ("drain", "Drain   D", "primary"),
    ("undrain", "Undo drain   D", "primary"),
    ("hibernate_all", "Hibernate all", "plain"),
    ("terminate_all", "Terminate all…", "plain"),
    ("remove_agent", "Remove…   Delete", "plain"),
)


class DrainCard(QFrame):
    """See the module's docstring; hidden while no agent is selected."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context
        self.agent_id = ""
        self._share: float | None = None
        self.setProperty("role", "card")
        column = QVBoxLayout(self)
        column.setContentsMargins(12, 10, 12, 14)
        column.setSpacing(6)
        self.title = plain_label("", "heading")
        self.text = plain_label("", "value", wrap=True, copyable=True)
        self.cause = plain_label("", "error", wrap=True)
        self.hint = plain_label("", "hint", wrap=True)
        for label in (self.title, self.text, self.cause, self.hint):
            column.addWidget(label)
        row = QHBoxLayout()
        row.setSpacing(8)
        self.buttons: dict[str, QPushButton] = {}
        for name, words, kind in BUTTONS:
            button = QPushButton(words)
            button.setProperty("kind", kind)
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            button.clicked.connect(self._presser(name))
            self.buttons[name] = button
            row.addWidget(button)
        row.addStretch(1)
        column.addLayout(row)
        self.hide()

    def _presser(self, name: str) -> Callable[[], None]:
        def press() -> None:
            self.context.actions.press(name, [self.agent_id])

        return press

    def refresh(self, agent_id: str) -> None:
        """Show what there is to say about that agent."""
        self.agent_id = agent_id
        store = self.context.store
        row = store.agents.get(agent_id)
        self.setVisible(row is not None)
        if row is None:
            return
        drain = store.drains.get(agent_id)
        if drain is not None:
            self._show_drain(drain)
        else:
            self._show_idle(row)
        self._show_buttons(row)

    def _show_drain(self, drain: DrainRow) -> None:
        now = self.context.store.broker_now()
        since = f"{clock_text(drain.since, now)} ({age_text(now - drain.since)})"
        word = "Draining" if drain.left > 0 else "Drained"
        self._say(self.title, f"{word} since {since}, by {plain(drain.operator)}")
        shown = drain_text(drain, now).removeprefix(f"STUCK: {plain(drain.stuck)} - ")
        self._say(self.text, shown)
        self._say(self.cause, f"▲ Stuck: {plain(drain.stuck)}" if drain.stuck and drain.left else "")
        hint = (
            "Nobody is on it any more. It takes no sessions until the drain is undone."
            if drain.left <= 0
            else "Sessions leave by themselves: their users end them, or they idle out. Nothing is ended by force."
        )
        self._say(self.hint, hint)
        self._fill(drain_share(drain))

    def _show_idle(self, row: AgentRow) -> None:
        there = sessions_text(len(self.context.store.desktops_on(row.id)))
        takes = "It is offline." if row.status == "offline" else "It takes new sessions."
        self._say(self.title, f"{there} on it")
        self._say(self.text, takes)
        self._say(self.cause, "")
        self._say(self.hint, "")
        self._fill(None)

    def _show_buttons(self, row: AgentRow) -> None:
        actions, drains = self.context.actions, is_draining(row, self.context.store)
        self.buttons["drain"].setVisible(not drains)
        self.buttons["undrain"].setVisible(drains)
        self.buttons["hibernate_all"].setVisible(row.status != "offline")
        self.buttons["remove_agent"].setVisible(row.status == "offline")
        for name, button in self.buttons.items():
            reason = actions.why_not(name, [row.id])
            if button.isEnabled() == bool(reason):
                button.setEnabled(not reason)
            tip = escape_tooltip(reason or actions.verbs[name].help)
            if button.toolTip() != tip:
                button.setToolTip(tip)

    def _say(self, label: QLabel, words: str) -> None:
        if label.text() != words:
            label.setText(words)
        label.setVisible(bool(words))

    def _fill(self, share: float | None) -> None:
        if share != self._share:
            self._share = share
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """The card, with the progress along its foot."""
        super().paintEvent(event)
        if self._share is not None:
            painter = QPainter(self)
            theme = self.context.theme
            foot = QRectF(1, self.height() - 5, self.width() - 2, 4)
            painter.fillRect(foot, theme.color("bar"))
            painter.fillRect(QRectF(foot.x(), foot.y(), foot.width() * self._share, 4), theme.color("held"))
            painter.end()
