"""A panel that asks for values and sends them: create, add and edit panels derive from it.

Owns the scrolling form, the submit button and the time between press and answer: while a call is under way
the button is off, so that a second press sends nothing. A refusal stays in the panel, at its field where the
broker named one. Enter in a one-line field and Ctrl+Enter anywhere submit; Esc closes (``panel.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from app.client.api import ApiError
from app.ui.dialogs.fields import Field, Form
from app.ui.panel import Panel

if TYPE_CHECKING:
    from app.client.api import BrokerClient
    from app.ui.context import Context

NO_BROKER = "No broker is connected, so nothing was sent."


class FormPanel(Panel):
    """Derive, add fields to ``self.form`` in ``__init__``, call ``finish()``, override ``send``."""

    def __init__(self, context: Context, title: str, submit_text: str, *, subtitle: str = "") -> None:
        super().__init__(context, title, subtitle=subtitle)
        self.busy = False
        self.form = Form()
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(0, 4, 10, 4)
        column.addWidget(self.form)
        self.area = QScrollArea()
        self.area.setWidgetResizable(True)
        self.area.setFrameShape(QFrame.Shape.NoFrame)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.area.setWidget(inside)
        self.body.addWidget(self.area, 1)
        self.cancel_button = self.add_button("Cancel")
        self.cancel_button.clicked.connect(self.cancel)
        self.ok_button = self.add_button(submit_text, "primary")
        self.ok_button.clicked.connect(self.submit)
        self.form.submitted.connect(self.submit)
        for keys in ("Ctrl+Return", "Ctrl+Enter"):
            shortcut = QShortcut(QKeySequence(keys), self)
            shortcut.setContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
            shortcut.activated.connect(self.submit)

    def add_pair(self, left: Field, right: Field, *, stretch: tuple[int, int] = (1, 1)) -> None:
        """Two short fields side by side."""
        row = QWidget()
        layout = QHBoxLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(8)
        for field, share in zip((left, right), stretch, strict=True):
            self.form.add(field)
            layout.addWidget(field, share, Qt.AlignmentFlag.AlignTop)
        self.form.add_widget(row)

    def finish(self) -> None:
        """All fields are there."""
        self.form.finish()
        self.first_focus = next(iter(self.form.fields.values())).editor

    def submit(self) -> None:
        """Check here what can be checked here, then send the rest."""
        if self.busy:
            return
        values = self.form.values()
        if values is None:
            return
        client, blocked = self.context.client, self.context.actions.blocked
        if blocked:
            self.form.say(f"{blocked}. Nothing was sent.")
            return
        if client is None:
            self.form.say(NO_BROKER)
            return
        self._set_busy(True)
        self.context.spawn(self._send(client, values), self.title.text())

    async def send(self, client: BrokerClient, values: dict[str, Any]) -> None:
        """Call the broker; ``ApiError`` is shown in the panel, returning closes it."""
        raise NotImplementedError

    async def _send(self, client: BrokerClient, values: dict[str, Any]) -> None:
        try:
            await self.send(client, values)
        except ApiError as error:
            self.form.show_refusal(error.text, error.detail if isinstance(error.detail, list) else ())
            return
        finally:
            self._set_busy(False)
        self.done()

    def _set_busy(self, busy: bool) -> None:
        self.busy = busy
        self.ok_button.setEnabled(not busy)
