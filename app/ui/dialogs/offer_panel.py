"""What a take has brought: the offer's connection string to copy, and programs that open it.

``OfferView`` lives in the details pane and is given an offer, a session or a stream. A command is shown in full
before its first use and starts only at the second press, on the words "Start it"; afterwards one press is enough.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from app.client.connect import Endpoint, OpenCommand, build, connection_string, display
from app.errors import CallboardError
from app.models.wording import pairs_text, plain
from app.ui.open_with import commands_for, start, was_seen
from app.ui.theme import plain_label

if TYPE_CHECKING:
    from app.client.shapes import Offer
    from app.contract import SessionRow, StreamRow
    from app.ui.context import Context


class OfferView(QWidget):
    """Nothing to see until ``show_offer``; ``forget`` empties it again."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context
        self.endpoint: Endpoint | None = None
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        self.caption = plain_label("Connect to", "caption")
        column.addWidget(self.caption)
        line = QHBoxLayout()
        line.setSpacing(8)
        self.address = plain_label("", "mono", copyable=True, wrap=True)
        line.addWidget(self.address, 1)
        self.copy_button = _button("Copy", self.copy)
        line.addWidget(self.copy_button)
        column.addLayout(line)
        self.config = plain_label("", "hint", copyable=True, wrap=True)
        column.addWidget(self.config)
        self._programs = QGridLayout()
        self._programs.setSpacing(6)
        column.addLayout(self._programs)
        self._card = _CommandCard()
        self._card.hide()
        column.addWidget(self._card)
        self.buttons: list[QPushButton] = []
        self.hide()

    def show_offer(self, offer: Offer | SessionRow | StreamRow, session_row: SessionRow | None = None) -> None:
        """Show how to reach what ``offer`` speaks of; ``session_row`` wins where both are there."""
        source = session_row if session_row is not None else offer
        endpoint = Endpoint.of(source)
        if endpoint == self.endpoint and not self.isHidden():
            return
        self.endpoint = endpoint
        self._card.hide()
        self.address.setText(plain(connection_string(endpoint)))
        text = pairs_text(endpoint.config)
        self.config.setText(text)
        self.config.setVisible(bool(text))
        self._show_programs(endpoint)
        self.show()

    def forget(self) -> None:
        """There is no offer any more."""
        self.endpoint = None
        self.hide()

    def copy(self) -> None:
        """Put the connection string on the clipboard."""
        if self.endpoint is not None:
            text = connection_string(self.endpoint)
            QGuiApplication.clipboard().setText(text)
            self.context.toast(f"Copied {plain(text)}")

    def press(self, command: OpenCommand) -> None:
        """A program's button: show the command the first time, start it afterwards."""
        endpoint = self.endpoint
        if endpoint is None:
            return
        if was_seen(self.context.settings, command):
            self._start(command, endpoint)
            return
        try:
            arguments = build(command, endpoint)
        except CallboardError as error:
            self.context.toast(f"{command.title}: {error.message}", tone="error")
            return
        self._card.ask(display(arguments), lambda: self._start(command, endpoint))

    def _start(self, command: OpenCommand, endpoint: Endpoint) -> None:
        self._card.hide()
        self.context.spawn(start(self.context, command, endpoint), f"open with {command.title}")

    def _show_programs(self, endpoint: Endpoint) -> None:
        while (item := self._programs.takeAt(0)) is not None:
            if (widget := item.widget()) is not None:
                widget.hide()
                widget.deleteLater()
        self.buttons = []
        for number, command in enumerate(commands_for(self.context.settings, endpoint.protocol)):
            made = _button(f"Open with {command.title}", partial(self.press, command))
            made.setToolTip("" if was_seen(self.context.settings, command) else "Shows the command first")
            self._programs.addWidget(made, number // 2, number % 2)
            self.buttons.append(made)


class _CommandCard(QFrame):
    """The command as it will be started, and the press that starts it."""

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "card")
        column = QVBoxLayout(self)
        column.setContentsMargins(10, 8, 10, 8)
        column.addWidget(plain_label("This program will be started, without a shell:", "hint", wrap=True))
        self.command = plain_label("", "mono", copyable=True, wrap=True)
        column.addWidget(self.command)
        row = QHBoxLayout()
        row.addStretch(1)
        row.addWidget(_button("Not now", self.hide))
        self.start_button = _button("Start it", self._on_start)
        self.start_button.setProperty("kind", "primary")
        row.addWidget(self.start_button)
        column.addLayout(row)
        self._then: Callable[[], None] | None = None

    def ask(self, command: str, then: Callable[[], None]) -> None:
        """Show ``command`` and wait for the press."""
        self.command.setText(command)
        self._then = then
        self.show()
        self.start_button.setFocus()

    def _on_start(self) -> None:
        if self._then is not None:
            self._then()


def _button(text: str, clicked: Callable[[], object]) -> QPushButton:
    made = QPushButton(text)
    made.clicked.connect(lambda: clicked())
    return made
