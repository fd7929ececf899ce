"""Settings, "Open with": per protocol the programs that open a stream, each shown as it would be started."""

from __future__ import annotations

import shlex
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from PySide6.QtWidgets import QVBoxLayout

from app.client.connect import PLACEHOLDERS, Endpoint, OpenCommand, build, check_command, display
from app.contract import PROTOCOLS
from app.errors import CallboardError
from app.ui.dialogs.fields import Field, FieldError, choice, line_edit, required
from app.ui.open_with import commands_for, restore_defaults, save_commands
from app.ui.pages.settings.section import FIELD, Section, button, clear, row
from app.ui.theme import plain_label

if TYPE_CHECKING:
    from app.ui.context import Context

SAMPLE_NAME = "Stage left camera"
SAMPLE_ADDRESS = "10.0.40.21"
SAMPLE_PORT = 5960


class OpenWithSection(Section):
    """Chooses a protocol, lists its commands, adds and removes them."""

    title: ClassVar[str] = "Open with"
    intro: ClassVar[str] = (
        "Programs on this machine that open an offered stream. They are started as a list of arguments, never by a shell, and each command is shown before its first use."
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        group = self.group("Protocol")
        self.protocol = choice((name, name) for name in PROTOCOLS)
        self.protocol.setCurrentText("srt")
        self.protocol.setFixedWidth(180)
        self.protocol.setAccessibleName("Protocol")
        self.protocol.currentTextChanged.connect(lambda _text: self.fill())
        self.known = plain_label("", "hint")
        group.addLayout(row(self.protocol, self.known, None))
        self.commands = self.group("Commands")
        self.list = QVBoxLayout()
        self.list.setSpacing(12)
        self.commands.addLayout(self.list)
        self.defaults_button = button("Back to the default commands", self.restore)
        self.commands.addLayout(row(self.defaults_button, None))
        self._build_new()
        self.finish()
        self.fill()

    def _build_new(self) -> None:
        group = self.group("Add a command")
        self.title_field = Field("title", "Name on the button", line_edit("mpv"), parse=required)
        self.title_field.setMaximumWidth(FIELD)
        self.command_field = Field(
            "command", "Program and arguments", line_edit("mpv --profile=low-latency {url}", mono=True), parse=arguments
        )
        self.command_field.changed.connect(self._preview)
        self.command_field.entered.connect(self.add)
        self.preview = plain_label("", "hint", wrap=True)
        group.addWidget(self.title_field)
        group.addWidget(self.command_field)
        group.addWidget(self.preview)
        self.add_button = button("Add command", self.add)
        group.addLayout(row(self.add_button, None))

    @property
    def chosen(self) -> str:
        """The protocol that is shown."""
        return self.protocol.currentText()

    def fill(self) -> None:
        """Show the commands of the chosen protocol."""
        known = "  ".join(f"{{{word}}}" for word in PLACEHOLDERS[self.chosen])
        self.known.setText(f"Placeholders: {known}")
        clear(self.list)
        commands = commands_for(self.context.settings, self.chosen)
        if not commands:
            self.list.addWidget(plain_label(f"No program opens {self.chosen} streams yet.", "value"))
        for command in commands:
            told = QVBoxLayout()
            told.setSpacing(2)
            remove = button("Remove", partial(self.remove, command))
            remove.setAccessibleName(f"Remove {command.title}")
            told.addLayout(row(plain_label(command.title), None, remove))
            told.addWidget(plain_label(display(command.arguments), "mono", copyable=True, wrap=True))
            told.addWidget(plain_label(f"would start   {rendered(command)}", "caption", wrap=True))
            self.list.addLayout(told)
        self.defaults_button.setVisible(bool(self.context.settings.get("open_with/", self.chosen)))
        self._preview()

    def add(self) -> None:
        """Keep what was typed, if it may be kept."""
        try:
            title: str = self.title_field.value()
        except FieldError as error:
            self.title_field.set_error(str(error))
            self.title_field.editor.setFocus()
            return
        have = commands_for(self.context.settings, self.chosen)
        if any(command.title == title for command in have):
            self.title_field.set_error(f"{title} is in the list already")
            return
        try:
            command = OpenCommand(title, self.chosen, self.command_field.value())
            save_commands(self.context.settings, self.chosen, [*have, command])
        except FieldError as error:
            self.command_field.set_error(str(error))
        except CallboardError as error:
            self.command_field.set_error(error.message)
        else:
            self.title_field.set_text("")
            self.command_field.set_text("")
            self.fill()

    def remove(self, command: OpenCommand) -> None:
        """Take a command off the list, with Undo."""
        settings, protocol = self.context.settings, self.chosen
        have = commands_for(settings, protocol)
        save_commands(settings, protocol, [one for one in have if one != command])
        self.fill()

        def put_back() -> None:
            save_commands(settings, protocol, have)
            self.fill()

        self.tell(f"{command.title} no longer opens {protocol}", f"remove {command.title}", put_back)

    def restore(self) -> None:
        """Back to what Callboard comes with, with Undo."""
        settings, protocol = self.context.settings, self.chosen
        have = commands_for(settings, protocol)
        restore_defaults(settings, protocol)
        self.fill()

        def put_back() -> None:
            save_commands(settings, protocol, have)
            self.fill()

        self.tell(f"The default commands open {protocol} again", f"default commands for {protocol}", put_back)

    def _preview(self) -> None:
        """Show what a command would start while it is typed."""
        text = self.command_field.text()
        if not text:
            self.preview.setText(
                "One line; quote an argument with blanks. The first word is the program and takes no placeholder."
            )
            return
        try:
            command = OpenCommand("", self.chosen, arguments(text))
            check_command(command)
        except FieldError as error:
            self.preview.setText(str(error))
        except CallboardError as error:
            self.preview.setText(error.message)
        else:
            self.preview.setText(f"would start   {rendered(command)}")


def sample(protocol: str) -> Endpoint:
    """A stream as there might be one, to show what a command becomes."""
    return Endpoint(protocol, SAMPLE_ADDRESS, SAMPLE_PORT, SAMPLE_NAME)


def rendered(command: OpenCommand) -> str:
    """The command as it would be started for the sample stream."""
    try:
        return display(build(command, sample(command.protocol)))
    except CallboardError as error:
        return error.message


def arguments(text: str) -> tuple[str, ...]:
    """A typed line as an argument list: quotes and blanks as a shell reads them, and nothing else a shell does."""
    try:
        parts = tuple(shlex.split(text))
    except ValueError as error:
        raise FieldError(f"a quote is open: {error}") from error
    if not parts:
        raise FieldError("a program is needed")
    return parts
