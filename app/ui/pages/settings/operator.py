"""Settings, "Operator and guards": the name that stands in every audit row, and how long the guards wait."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, ClassVar

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDoubleSpinBox, QVBoxLayout

from app.ui.dialogs.fields import Field, FieldError, line_edit
from app.ui.pages.settings.section import Section, beside, button, row
from app.ui.theme import plain_label

if TYPE_CHECKING:
    from app.ui.context import Context

LONGEST = 80

GUARDS = (
    ("hold_back_seconds", "A kick waits before it is sent", 1.0, 10.0, "Esc or Ctrl+Z takes it back while it waits; a second press sends it now."),
    ("hold_seconds", "A button that costs many is held down for", 0.5, 5.0, "Withdraw, kick of several, stop of the broker."),
)  # fmt: skip


class OperatorSection(Section):
    """Name and guards of this console."""

    title: ClassVar[str] = "Operator and guards"
    intro: ClassVar[str] = (
        "Everything an operator does is written down with this name; it is the account's name unless you say otherwise."
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        group = self.group("Name")
        self.name = Field(
            "operator",
            "Operator",
            line_edit(account_name()),
            hint=f"Empty: {account_name()}, the name of this account.",
            parse=operator_name,
        )
        self.name.set_text(context.settings.get("operator"))
        self.name.entered.connect(self.save_name)
        group.addLayout(beside(self.name, button("Save name", self.save_name)))
        group = self.group("Guards")
        self.guards: dict[str, QDoubleSpinBox] = {}
        for key, words, least, most, explanation in GUARDS:
            box = QDoubleSpinBox()
            box.setRange(least, most)
            box.setSingleStep(0.5)
            box.setDecimals(1)
            box.setSuffix(" s")
            box.setFixedWidth(72)
            box.setAlignment(Qt.AlignmentFlag.AlignCenter)
            box.setValue(float(context.settings.get(key)))
            box.setAccessibleName(words)
            box.valueChanged.connect(lambda value, key=key: context.settings.set(key, float(value)))
            self.guards[key] = box
            told = QVBoxLayout()
            told.setSpacing(1)
            told.addWidget(plain_label(words))
            told.addWidget(plain_label(explanation, "hint", wrap=True))
            group.addLayout(row(box, 4, told))
            group.addSpacing(6)
        group = self.group("Log")
        self.log = plain_label(context.log_words, copyable=True, wrap=True)
        group.addWidget(self.log)
        group.addWidget(
            plain_label(
                "What went wrong in this window stands there. It and one older file are kept, 2 MiB each.",
                "hint",
                wrap=True,
            )
        )
        self.finish()

    def activate(self) -> None:
        """Guards may have come with a file."""
        for key, box in self.guards.items():
            box.setValue(float(self.context.settings.get(key)))

    def save_name(self) -> None:
        """From now on acts carry this name."""
        try:
            name: str = self.name.value()
        except FieldError as error:
            self.name.set_error(str(error))
            return
        context = self.context
        context.settings.set("operator", name)
        context.operator = name or account_name()
        client = context.client
        if client is not None:
            client.operator = context.operator
            context.spawn(client.close(), "use the new operator name")
        context.toast(f"Acts are written down as {context.operator}", tone="good")


def account_name() -> str:
    """The name of the account that runs the console; "operator" where the system knows none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "operator"


def operator_name(text: str) -> str:
    """A name that fits into a log line."""
    if len(text) > LONGEST:
        raise FieldError(f"a name has at most {LONGEST} characters")
    if not text.isprintable():
        raise FieldError("a name has no control characters")
    return text
