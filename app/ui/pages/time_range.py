"""The span of time that History shows: the last five minutes in one press, some usual spans, or from … to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PySide6.QtCore import QDateTime, Qt, Signal
from PySide6.QtWidgets import QDateTimeEdit, QHBoxLayout, QPushButton, QWidget

from app.ui.dialogs.fields import CalmComboBox
from app.ui.theme import plain_label

if TYPE_CHECKING:
    from app.ui.context import Context

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
SPANS = (
    ("Last 5 minutes", 5 * MINUTE),
    ("Last hour", HOUR),
    ("Last 12 hours", 12 * HOUR),
    ("Last 7 days", 7 * DAY),
    ("Last 90 days", 90 * DAY),
)
START = 4
BETWEEN = len(SPANS)


class TimeRange(QWidget):
    """``changed`` when another span is wanted; ``span()`` is since and until on the broker's clock."""

    changed = Signal()

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        self.recent = QPushButton("Last 5 minutes")
        self.recent.setCheckable(True)
        self.recent.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.choice = CalmComboBox()
        self.choice.addItems([words for words, _ in SPANS])
        self.choice.addItem("From … to …")
        self.choice.setCurrentIndex(START)
        self.choice.setAccessibleName("Span of time")
        self.since = _moment("From")
        self.until = _moment("To")
        self.dash = plain_label("to", "hint")
        for widget in (self.recent, self.choice, self.since, self.dash, self.until):
            row.addWidget(widget)
        self._before = START
        self._show()
        self.recent.clicked.connect(self._on_recent)
        self.choice.currentIndexChanged.connect(self._on_choice)
        for edit in (self.since, self.until):
            edit.editingFinished.connect(self.changed)

    @property
    def open_ended(self) -> bool:
        """Whether what happens now belongs to the span."""
        return self.choice.currentIndex() != BETWEEN

    def span(self) -> tuple[float | None, float | None]:
        """Since and until; None: open."""
        index = self.choice.currentIndex()
        if index == BETWEEN:
            first, last = (edit.dateTime().toMSecsSinceEpoch() / 1000 for edit in (self.since, self.until))
            return min(first, last), max(first, last) + 0.999
        return self.context.store.broker_now() - SPANS[index][1], None

    def words(self) -> str:
        """The span in a sentence."""
        index = self.choice.currentIndex()
        return "this span" if index == BETWEEN else f"the {SPANS[index][0].lower()}"

    def _on_recent(self, on: bool) -> None:
        """Five minutes, and with the next press what was shown before."""
        if on:
            self._before = self.choice.currentIndex() or START
        self.choice.setCurrentIndex(0 if on else self._before)

    def _on_choice(self, index: int) -> None:
        if index == BETWEEN:
            now = self.context.store.broker_now()
            for edit, at in ((self.since, now - HOUR), (self.until, now)):
                edit.blockSignals(True)
                edit.setDateTime(QDateTime.fromMSecsSinceEpoch(int(at * 1000)))
                edit.blockSignals(False)
        self._show()
        self.changed.emit()

    def _show(self) -> None:
        between = self.choice.currentIndex() == BETWEEN
        self.recent.setChecked(self.choice.currentIndex() == 0)
        for widget in (self.since, self.dash, self.until):
            widget.setVisible(between)


def _moment(name: str) -> QDateTimeEdit:
    edit = QDateTimeEdit()
    edit.setDisplayFormat("yyyy-MM-dd HH:mm:ss")
    edit.setAccessibleName(name)
    edit.setButtonSymbols(QDateTimeEdit.ButtonSymbols.NoButtons)
    edit.setKeyboardTracking(False)
    return edit
