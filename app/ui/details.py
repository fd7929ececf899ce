"""The details pane: everything of one row, each value to be selected and copied, brought up to date in place.

``BoardPage`` gives it sections of label and value (``details_text.py``); the pane keeps its labels as long as the
structure is the same and only changes texts, so a value that is being selected is not torn away. ``extra`` is the
place for what a page adds on top: the negotiation and its offer. Text from the network is plain text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QFontMetrics, QGuiApplication
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.ui.theme import Theme, escape_tooltip, plain_label

if TYPE_CHECKING:
    from app.models.states import State
    from app.ui.context import Context

LABEL = 92
"""Pixels of the words before a value."""


class Line(NamedTuple):
    """One value with its label; ``mono`` for addresses and JSON."""

    label: str
    value: str
    mono: bool = False


class Section(NamedTuple):
    """A titled group of lines. The first section's title is the row's name, its ``state`` stands below it."""

    title: str
    lines: Sequence[Line]
    state: State | None = None


class DetailsPane(QScrollArea):
    """See the module's docstring."""

    close_wanted = Signal()

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumWidth(Theme.SHEET - 80)
        self.setMaximumWidth(Theme.SHEET + 200)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._shape: object = None
        self._values: list[QLabel] = []
        self._texts: list[str] = []
        self._sections: Sequence[Section] = ()
        inside = QFrame()
        inside.setProperty("role", "panel")
        self._column = QVBoxLayout(inside)
        self._column.setContentsMargins(16, 10, 16, 12)
        self._column.setSpacing(12)
        self._column.addLayout(self._head())
        self.extra = QVBoxLayout()
        self.extra.setSpacing(8)
        self._column.addLayout(self.extra)
        self._body = QWidget()
        self._column.addWidget(self._body)
        self._column.addStretch(1)
        self.setWidget(inside)

    def _head(self) -> QVBoxLayout:
        head = QVBoxLayout()
        head.setSpacing(2)
        row = QHBoxLayout()
        self.title = plain_label("", "title", wrap=True, copyable=True)
        row.addWidget(self.title, 1)
        for text, tip, run in (
            ("Copy all", "Copy everything that stands here", self.copy_all),
            ("✕", "Close (Enter)", self.close_wanted.emit),
        ):
            button = QToolButton()
            button.setText(text)
            button.setToolTip(tip)
            button.setFocusPolicy(Qt.FocusPolicy.NoFocus)
            button.clicked.connect(run)
            row.addWidget(button, 0, Qt.AlignmentFlag.AlignTop)
        head.addLayout(row)
        self.state = plain_label("", "value", wrap=True)
        head.addWidget(self.state)
        return head

    def show_sections(self, row_id: str, sections: Sequence[Section]) -> None:
        """Show these; labels are only rebuilt when titles or labels changed."""
        self._sections = sections
        if not sections:
            self.title.setText("Nothing selected")
            self.state.setText("")
        else:
            first = sections[0]
            if self.title.text() != first.title:
                self.title.setText(first.title)
            self._show_state(first.state)
        shape = [
            (section.title if number else "", [line.label for line in section.lines])
            for number, section in enumerate(sections)
        ]
        if shape != self._shape:
            self._shape = shape
            self._rebuild(sections)
        texts = [line.value for section in sections for line in section.lines]
        if texts != self._texts:
            self._texts = texts
            for label, text in zip(self._values, texts, strict=True):
                if label.text() != text:
                    label.setText(text)

    def copy_all(self) -> None:
        """Everything that stands here as text."""
        QGuiApplication.clipboard().setText(self.as_text())
        self.context.toast("Copied all details")

    def as_text(self) -> str:
        """Everything that stands here as text."""
        blocks = []
        for section in self._sections:
            lines = [section.title, *(f"  {line.label}: {line.value}" for line in section.lines)]
            blocks.append("\n".join(lines))
        return "\n\n".join(blocks)

    def theme_changed(self) -> None:
        """The state's colour is another one now."""
        self.state.setStyleSheet("")

    def _show_state(self, state: State | None) -> None:
        text = "" if state is None else ", ".join(filter(None, (state.word.text, state.reason)))  # ages stand below
        if self.state.text() != text:
            self.state.setText(text)
        if state is not None:
            sheet = f"color: {self.context.theme.colors[state.word.key]}"
            if self.state.styleSheet() != sheet:
                self.state.setStyleSheet(sheet)

    def _rebuild(self, sections: Sequence[Section]) -> None:
        body = QWidget()
        column = QVBoxLayout(body)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(14)
        self._values, self._texts = [], []
        for number, section in enumerate(sections):
            if not section.lines:
                continue
            block = QVBoxLayout()
            block.setSpacing(4)
            if number:
                block.addWidget(plain_label(section.title, "heading"))
            block.addLayout(self._grid(section))
            column.addLayout(block)
        old, self._body = self._body, body
        self._column.replaceWidget(old, body)
        old.hide()
        old.deleteLater()

    def _grid(self, section: Section) -> QGridLayout:
        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(12)
        grid.setVerticalSpacing(3)
        grid.setColumnStretch(1, 1)
        metrics = QFontMetrics(self.context.theme.font("caption"))
        for row, line in enumerate(section.lines):
            label = plain_label(metrics.elidedText(line.label, Qt.TextElideMode.ElideRight, LABEL), "caption")
            label.setToolTip(escape_tooltip(line.label) if label.text() != line.label else "")
            label.setFixedWidth(LABEL)
            grid.addWidget(label, row, 0, Qt.AlignmentFlag.AlignTop)
            value = plain_label("", "mono" if line.mono else "value", copyable=True, wrap=True)
            value.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
            grid.addWidget(value, row, 1)
            self._values.append(value)
        return grid
