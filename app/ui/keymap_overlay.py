"""F1: every key of the console over the window, derived from the declarations in ``Actions``; any key closes it.

Nothing is written down twice: a verb or command that is declared appears here with its key, tier and guard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QColor, QKeyEvent, QMouseEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from app.ui.theme import plain_label

if TYPE_CHECKING:
    from app.ui.actions import Actions
    from app.ui.verb import Verb

GUARDS = {
    0: "at once; Undo for 10 s",
    1: "sent after 3 s; Esc cancels, a second press sends now",
    2: "asks in place, then hold 1.5 s",
}
KINDS = {
    "stream": "On a stream",
    "session": "On a session of a stream",
    "agent": "On an agent",
    "desktop": "On a desktop",
    "history": "On a row of the history",
}
KEY_NAMES = {"Return": "Enter", "Del": "Delete", "Shift+Del": "Shift+Delete", "Esc": "Esc"}


class KeymapOverlay(QFrame):
    """The overlay; a child of the window that covers it while shown."""

    closed = Signal()

    def __init__(self, window: QWidget, actions: Actions) -> None:
        super().__init__(window)
        self._actions = actions
        self._window = window
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._card: QFrame | None = None
        self._before: QWidget | None = None
        outer = QVBoxLayout(self)
        self._outer = outer
        window.installEventFilter(self)
        self.hide()

    def toggle(self) -> None:
        """Show or hide."""
        if self.isVisible():
            self.leave()
            return
        if self._card is not None:
            self._outer.removeWidget(self._card)
            self._card.deleteLater()
        self._before = self._window.focusWidget()
        self._card = self._build()
        self._outer.addWidget(self._card, 0, Qt.AlignmentFlag.AlignCenter)
        self.setGeometry(self._window.rect())
        self.show()
        self.raise_()
        self.setFocus()

    def leave(self) -> None:
        """Give the window back."""
        self.hide()
        if self._before is not None:
            self._before.setFocus()
        self.closed.emit()

    def lines(self) -> list[tuple[str, list[tuple[str, str, str]]]]:
        """Groups of (key, what it does, guard), as declared."""
        groups: dict[str, list[tuple[str, str, str]]] = {}
        for command in self._actions.commands:
            keys = "   ".join(key_name(key) for key in command.keys)
            groups.setdefault(command.group, []).append((keys, command.label, ""))
        told: set[str] = set()
        for verb in self._actions.verbs.values():
            told.add(verb.name)
            if verb.key and verb.pair not in told:  # what takes another back is told with it
                groups.setdefault(KINDS.get(verb.kind, verb.kind), []).extend(_verb_lines(verb))
        return list(groups.items())

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Cover the window also after it was resized."""
        if event.type() == QEvent.Type.Resize and self.isVisible():
            self.setGeometry(self._window.rect())
        return False

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Any key closes it, and does nothing else."""
        if event.key() not in (Qt.Key.Key_Shift, Qt.Key.Key_Control, Qt.Key.Key_Alt, Qt.Key.Key_Meta):
            self.leave()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """So does a click."""
        self.leave()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Dim what is behind, without hiding it."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(0, 0, 0, 150))
        painter.end()

    def _build(self) -> QFrame:
        card = QFrame()
        card.setProperty("role", "card")
        column = QVBoxLayout(card)
        column.setContentsMargins(28, 20, 28, 20)
        column.setSpacing(14)
        column.addWidget(plain_label("Keys", "title"))
        columns = QHBoxLayout()
        columns.setSpacing(40)
        groups = self.lines()
        half = (len(groups) + 1) // 2
        for part in (groups[:half], groups[half:]):
            side = QVBoxLayout()
            side.setSpacing(14)
            for title, lines in part:
                side.addLayout(_group(title, lines))
            side.addStretch(1)
            columns.addLayout(side)
        column.addLayout(columns)
        column.addWidget(plain_label("Any key closes this.", "caption"))
        return card


def key_name(key: str) -> str:
    """A key as it stands on the keyboard."""
    return KEY_NAMES.get(key, key)


def _verb_lines(verb: Verb) -> list[tuple[str, str, str]]:
    lines = [(key_name(verb.key), verb.help or verb.label, "" if verb.shows else GUARDS[verb.tier])]
    if verb.panel_key:
        lines.append((key_name(verb.panel_key), f"{verb.label}, after listing who loses what", GUARDS[2]))
    return lines


def _group(title: str, lines: list[tuple[str, str, str]]) -> QGridLayout:
    grid = QGridLayout()
    grid.setHorizontalSpacing(16)
    grid.setVerticalSpacing(4)
    grid.addWidget(plain_label(title, "caption"), 0, 0, 1, 2)
    for number, (keys, label, guard) in enumerate(lines, start=1):
        key = plain_label(keys, "key")
        key.setMinimumWidth(96)
        grid.addWidget(key, number, 0, Qt.AlignmentFlag.AlignTop)
        text: QLabel = plain_label(label + (f"\n{guard}" if guard else ""), "value")
        grid.addWidget(text, number, 1)
    grid.setColumnStretch(1, 1)
    return grid
