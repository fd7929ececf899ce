"""What every section of the Settings page is made of: a column of headed groups, rows of things, copy buttons.

A section is built when it is first shown. ``activate`` runs each time it comes to the front; a section that shows
what the broker knows asks for it there, through ``ask``, which keeps the broker's words when it refuses.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, ClassVar, TypeVar

from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QLayout, QPushButton, QVBoxLayout, QWidget

from app.client.api import ApiError
from app.ui.dialogs.fields import ERROR_SIGN, Field
from app.ui.theme import plain_label

if TYPE_CHECKING:
    from app.client.api import BrokerClient
    from app.ui.context import Context

WIDTH = 760
"""Widest column of a section: longer lines are hard to read, and what belongs together stays together."""

FIELD = 380
"""Width of a one-line field."""

Answer = TypeVar("Answer")


class Section(QWidget):
    """One section. Derive, set ``title`` and ``intro``, build in ``__init__`` with ``group`` and ``row``."""

    title: ClassVar[str] = ""
    intro: ClassVar[str] = ""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context
        self.setMaximumWidth(WIDTH)
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(0, 0, 0, 24)
        self.column.setSpacing(10)
        self.column.addWidget(plain_label(self.title, "title"))
        if self.intro:
            self.column.addWidget(plain_label(self.intro, "hint", wrap=True))
        self.message = plain_label("", "error", wrap=True)
        self.message.hide()
        self.column.addWidget(self.message)

    def activate(self) -> None:
        """The section comes to the front."""

    def deactivate(self) -> None:
        """The section leaves the front."""

    def theme_changed(self) -> None:
        """Painted things look the theme up again."""
        self.update()

    def say(self, text: str) -> None:
        """An error of the whole section; "" takes it back."""
        self.message.setText(ERROR_SIGN + text if text else "")
        self.message.setVisible(bool(text))

    def group(self, heading: str, explanation: str = "") -> QVBoxLayout:
        """A headed group under the last one; returns the layout of its content."""
        self.column.addSpacing(14)
        self.column.addWidget(plain_label(heading, "heading"))
        line = QFrame()
        line.setProperty("role", "line")
        self.column.addWidget(line)
        if explanation:
            self.column.addWidget(plain_label(explanation, "hint", wrap=True))
        layout = QVBoxLayout()
        layout.setSpacing(6)
        self.column.addLayout(layout)
        return layout

    def finish(self) -> None:
        """Nothing comes after this."""
        self.column.addStretch(1)

    def ask(self, call: Callable[[BrokerClient], Awaitable[Answer]], then: Callable[[Answer], None], what: str) -> None:
        """Call the broker and hand its answer to ``then``; a refusal is shown in the section."""
        client = self.context.client
        if client is None:
            self.say("No broker is connected.")
            return
        self.context.spawn(self._ask(call(client), then), what)

    def act(self, call: Callable[[BrokerClient], Awaitable[Answer]], then: Callable[[Answer], None], what: str) -> None:
        """As ``ask``, for what changes something: a board that is not live, or read only, changes nothing."""
        if self.context.actions.blocked:
            self.say(f"{self.context.actions.blocked}. Nothing was sent.")
        else:
            self.ask(call, then, what)

    def tell(self, text: str, label: str, put_back: Callable[[], None]) -> None:
        """Say what was changed in this console's own settings, with Undo and Ctrl+Z."""

        async def undo() -> None:
            put_back()

        self.context.actions.tell(text, label, undo)

    async def _ask(self, call: Awaitable[Answer], then: Callable[[Answer], None]) -> None:
        try:
            answer = await call
        except ApiError as error:
            self.say(error.text)
            return
        self.say("")
        then(answer)


def row(*parts: QWidget | QLayout | int | None) -> QHBoxLayout:
    """Widgets side by side; None is a stretch, a number is space."""
    layout = QHBoxLayout()
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(8)
    for part in parts:
        if part is None:
            layout.addStretch(1)
        elif isinstance(part, int):
            layout.addSpacing(part)
        elif isinstance(part, QLayout):
            layout.addLayout(part)
        else:
            layout.addWidget(part)
    return layout


def button(text: str, clicked: Callable[[], object], kind: str = "plain") -> QPushButton:
    """A push button."""
    made = QPushButton(text)
    made.setProperty("kind", kind)
    made.clicked.connect(lambda: clicked())
    return made


def beside(field: Field, made: QPushButton, *, width: int = FIELD) -> QHBoxLayout:
    """A field of fixed width with its button at the height of the editor."""
    field.setFixedWidth(width)
    lift = QVBoxLayout()
    lift.setSpacing(0)
    lift.addSpacing(field.caption.sizeHint().height() + 3)
    lift.addWidget(made)
    lift.addStretch(1)
    return row(field, lift, None)


def copy_button(context: Context, text: Callable[[], str], what: str) -> QPushButton:
    """A button that puts ``text()`` on the clipboard and says so."""

    def copy() -> None:
        QGuiApplication.clipboard().setText(text())
        context.toast(f"{what} copied")

    made = button("Copy", copy)
    made.setAccessibleName(f"Copy {what}")
    return made


def clear(layout: QLayout) -> None:
    """Take everything out of ``layout`` and let it go."""
    while (item := layout.takeAt(0)) is not None:
        widget, inner = item.widget(), item.layout()
        if widget is not None:
            widget.hide()
            widget.deleteLater()
        elif inner is not None:
            clear(inner)
            inner.deleteLater()


def sentences(lines: Iterable[str]) -> list[QLabel]:
    """Each line as a label of its own, in reading size."""
    labels = []
    for line in lines:
        label = plain_label(line, "value", wrap=True)
        label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        labels.append(label)
    return labels
