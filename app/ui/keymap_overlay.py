"""F1: every key of the console over the window, derived from the declarations in ``Actions``; any key closes it.

Nothing is written down twice: a verb or command that is declared appears here with its key, tier and guard, and the
keys of viewer windows come from the table that those obey.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QMargins, QObject, QRect, QSize, Qt, Signal
from PySide6.QtGui import QColor, QKeyEvent, QMouseEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import (
    QAbstractSlider,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QScrollBar,
    QVBoxLayout,
    QWidget,
)

from app.ui.theme import plain_label
from app.ui.viewer import keys as viewer_keys

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
MARGIN = 16
CLOSES = "Any key closes this."
SCROLLS = "Up, Down and the page keys show more; any other key closes this."
SCROLL: dict[int, QAbstractSlider.SliderAction] = {
    Qt.Key.Key_Up: QAbstractSlider.SliderAction.SliderSingleStepSub,
    Qt.Key.Key_Down: QAbstractSlider.SliderAction.SliderSingleStepAdd,
    Qt.Key.Key_PageUp: QAbstractSlider.SliderAction.SliderPageStepSub,
    Qt.Key.Key_PageDown: QAbstractSlider.SliderAction.SliderPageStepAdd,
}
Group = tuple[str, list[tuple[str, str, str]]]
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
        self._area = QScrollArea()
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

    def lines(self) -> list[Group]:
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
        for group, told_there in viewer_keys.help_lines(self._actions.context.settings).items():
            groups[group] = [(key_name(key), label, "") for key, label in told_there]
        return list(groups.items())

    @property
    def card_rect(self) -> QRect:
        """Where the card is, of this window."""
        return self._card.geometry() if self._card is not None else QRect()

    @property
    def scroll_bar(self) -> QScrollBar:
        """What the keys that show more move."""
        return self._area.verticalScrollBar()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Cover the window also after it was resized."""
        if event.type() == QEvent.Type.Resize and self.isVisible():
            self.setGeometry(self._window.rect())
        return False

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Any key closes it, and does nothing else; in a small window some show more of it."""
        bar = self.scroll_bar
        if event.key() in SCROLL and bar.maximum() > 0:
            bar.triggerAction(SCROLL[event.key()])
        elif event.key() not in (Qt.Key.Key_Shift, Qt.Key.Key_Control, Qt.Key.Key_Alt, Qt.Key.Key_Meta):
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
        """The card, in as many columns as let all be seen; where none do, its middle scrolls."""
        card = QFrame()
        card.setProperty("role", "card")
        column = QVBoxLayout(card)
        column.setContentsMargins(28, 20, 28, 20)
        column.setSpacing(14)
        closes = plain_label(CLOSES, "caption")
        area = self._area = QScrollArea()
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        area.setFixedSize(0, 0)
        for part in (plain_label("Keys", "title"), area, closes):
            column.addWidget(part)
        room = self._window.size() - card.sizeHint().grownBy(QMargins(0, MARGIN, 0, MARGIN))
        room.setWidth(self._window.width() - 2 * (28 + MARGIN))
        body = self._fitting(room)
        size = body.sizeHint()
        if size.height() > room.height():
            closes.setText(SCROLLS)
            size += QSize(area.verticalScrollBar().sizeHint().width(), 0)
        area.setWidget(body)
        area.setFixedSize(size.boundedTo(room))
        self._tell_log(closes, area.width())
        return card

    def _tell_log(self, closes: QLabel, room: int) -> None:
        """Behind what closes the map: where the log is, cut in its middle rather than wider than the map."""
        words = self._actions.context.log_words
        if words:
            told = f"{closes.text()}   {words}"
            closes.setText(closes.fontMetrics().elidedText(told, Qt.TextElideMode.ElideMiddle, room))

    def _fitting(self, room: QSize) -> QWidget:
        bodies = [_in_columns(self.lines(), count) for count in (2, 3, 1)]
        narrow = [body for body in bodies if body.sizeHint().width() <= room.width()] or bodies[-1:]
        whole = [body for body in narrow if body.sizeHint().height() <= room.height()]
        return whole[0] if whole else min(narrow, key=lambda body: body.sizeHint().height())


def _in_columns(groups: list[Group], count: int) -> QWidget:
    """The groups side by side, in their order and about equally high."""
    body = QWidget()
    columns = QHBoxLayout(body)
    columns.setContentsMargins(0, 0, 0, 0)
    columns.setSpacing(40)
    sides = [QVBoxLayout() for _ in range(count)]
    heights = [2 + sum(2 if guard else 1 for _, _, guard in lines) for _, lines in groups]
    above = 0
    for (title, lines), height in zip(groups, heights, strict=True):
        middle = above + height / 2
        sides[min(count - 1, int(middle * count / sum(heights)))].addLayout(_group(title, lines))
        above += height
    for side in sides:
        side.setSpacing(14)
        side.addStretch(1)
        columns.addLayout(side)
    return body


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
