"""Labelled fields with their error underneath, and the form that hands a broker's 422 list to them.

Used by the panels of this package and by the settings pages. A field is a caption, an editor, a hint and, when
something is wrong with it, the sentence that says so, with a sign before it so that colour is never alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from PySide6.QtCore import QPointF, Qt, Signal
from PySide6.QtGui import QPainter, QPaintEvent, QPalette, QPen, QWheelEvent
from PySide6.QtWidgets import QComboBox, QLineEdit, QPlainTextEdit, QVBoxLayout, QWidget

from app.ui.theme import plain_label, set_role

ERROR_SIGN = "▲ "

Editor = QLineEdit | QPlainTextEdit | QComboBox


class FieldError(ValueError):
    """What was typed cannot be sent; the text says why."""


class CalmComboBox(QComboBox):
    """A choice that the wheel does not change while the pointer merely passes over it, and that shows it is one."""

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Leave the wheel to what scrolls."""
        event.ignore()

    def paintEvent(self, event: QPaintEvent) -> None:
        """The box, and the arrow that the style sheet leaves out."""
        super().paintEvent(event)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        role = QPalette.ColorRole.Text if self.isEnabled() else QPalette.ColorRole.PlaceholderText
        painter.setPen(QPen(self.palette().color(role), 1.3))
        x, y = self.width() - 13.5, self.height() / 2 - 1.5
        painter.drawPolyline([QPointF(x - 3.5, y), QPointF(x, y + 3.5), QPointF(x + 3.5, y)])
        painter.end()


class Field(QWidget):
    """One value: ``name`` is its key on the wire, ``parse`` turns the text into it or raises ``FieldError``."""

    changed = Signal()
    entered = Signal()
    """Enter in a one-line editor."""

    def __init__(
        self, name: str, caption: str, editor: Editor, *, hint: str = "", parse: Callable[[str], Any] | None = None
    ) -> None:
        super().__init__()
        self.name = name
        self.editor = editor
        self._parse = parse or str
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        self.caption = plain_label(caption, "hint")
        self.caption.setBuddy(editor)
        layout.addWidget(self.caption)
        layout.addWidget(editor)
        self.hint = plain_label(hint, "caption", wrap=True)
        self.hint.setVisible(bool(hint))
        layout.addWidget(self.hint)
        self.error = plain_label("", "error", wrap=True)
        self.error.hide()
        layout.addWidget(self.error)
        editor.setAccessibleName(caption)
        if isinstance(editor, QPlainTextEdit):
            editor.setTabChangesFocus(True)
            editor.textChanged.connect(self._on_changed)
        elif isinstance(editor, QComboBox):
            editor.currentTextChanged.connect(self._on_changed)
        else:
            editor.textChanged.connect(self._on_changed)
            editor.returnPressed.connect(self.entered)

    def text(self) -> str:
        """What stands in the editor, without outer blanks; a choice gives its data."""
        if isinstance(self.editor, QPlainTextEdit):
            return self.editor.toPlainText().strip()
        if isinstance(self.editor, QComboBox):
            if self.editor.isEditable():
                return self.editor.currentText().strip()
            data = self.editor.currentData()
            return str(data) if data is not None else self.editor.currentText()
        return self.editor.text().strip()

    def set_text(self, text: str) -> None:
        """Put ``text`` into the editor; a choice is made by its data, then by its words."""
        if isinstance(self.editor, QPlainTextEdit):
            self.editor.setPlainText(text)
        elif isinstance(self.editor, QComboBox):
            index = self.editor.findData(text)
            index = index if index >= 0 else self.editor.findText(text)
            if index >= 0:
                self.editor.setCurrentIndex(index)
            elif self.editor.isEditable():
                self.editor.setEditText(text)
        else:
            self.editor.setText(text)

    def value(self) -> Any:
        """The parsed value; raises ``FieldError``."""
        return self._parse(self.text())

    def set_error(self, text: str) -> None:
        """Say what is wrong with this field; "" takes it back."""
        self.error.setText(ERROR_SIGN + text if text else "")
        self.error.setVisible(bool(text))
        set_role(self.editor, "true" if text else "false", name="invalid")

    def _on_changed(self) -> None:
        if not self.error.isHidden():
            self.set_error("")
        self.changed.emit()


class Form(QWidget):
    """Fields under each other, in Tab order, and one line for what belongs to none of them."""

    submitted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, Field] = {}
        self.layout_ = QVBoxLayout(self)
        self.layout_.setContentsMargins(0, 0, 0, 0)
        self.layout_.setSpacing(10)
        self.message = plain_label("", "error", wrap=True)
        self.message.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.message.hide()

    def add(self, field: Field) -> Field:
        """Put ``field`` below the last one; Enter in a one-line editor submits the form."""
        self.fields[field.name] = field
        self.layout_.addWidget(field)
        field.entered.connect(self.submitted)
        return field

    def add_widget(self, widget: QWidget) -> None:
        """Anything between the fields."""
        self.layout_.addWidget(widget)

    def finish(self) -> None:
        """Close the form with the line for general errors."""
        self.layout_.addWidget(self.message)
        self.layout_.addStretch(1)

    def say(self, text: str) -> None:
        """An error that belongs to no single field; "" takes it back."""
        self.message.setText(ERROR_SIGN + text if text else "")
        self.message.setVisible(bool(text))

    def clear_errors(self) -> None:
        """A new try begins."""
        self.say("")
        for field in self.fields.values():
            field.set_error("")

    def values(self) -> dict[str, Any] | None:
        """All parsed values by name, or None after saying at each field what is wrong with it."""
        self.clear_errors()
        values: dict[str, Any] = {}
        wrong: list[Field] = []
        for name, field in self.fields.items():
            try:
                values[name] = field.value()
            except FieldError as error:
                field.set_error(str(error))
                wrong.append(field)
        if wrong:
            wrong[0].editor.setFocus()
            return None
        return values

    def show_refusal(self, text: str, errors: Iterable[Any] = ()) -> None:
        """Show the broker's answer: each entry of a 422 list at its field, the rest as the broker said it."""
        self.clear_errors()
        rest: list[str] = []
        first: Field | None = None
        for name, message in field_errors(errors):
            field = self.fields.get(name)
            if field is None:
                rest.append(f"{name}: {message}" if name else message)
            else:
                field.set_error(message)
                first = first or field
        if first is None and not rest:
            rest.append(text)
        self.say("; ".join(rest))
        if first is not None:
            first.editor.setFocus()


def field_errors(errors: Iterable[Any]) -> list[tuple[str, str]]:
    """``(field, sentence)`` of each entry of a 422 ``detail`` list, whatever else is in there."""
    found: list[tuple[str, str]] = []
    for entry in errors:
        if not isinstance(entry, dict):
            continue
        loc = [str(part) for part in entry.get("loc") or [] if part not in ("body", "query", "path")]
        found.append((loc[0] if loc else "", str(entry.get("msg") or "not accepted")))
    return found


def required(text: str) -> str:
    """A text that must be there."""
    if not text:
        raise FieldError("must not be empty")
    return text


def optional(text: str) -> str | None:
    """A text, or nothing."""
    return text or None


def port(text: str) -> int:
    """A port number that must be there."""
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise FieldError("a port is a number from 0 to 65535")
    return int(text)


def optional_port(text: str) -> int | None:
    """A port number, or nothing."""
    return port(text) if text else None


def json_object(text: str) -> dict[str, Any]:
    """A JSON object; nothing typed is the empty one."""
    if not text:
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        raise FieldError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise FieldError('must be a JSON object, such as {"key": "value"}')
    return value


def object_text(value: dict[str, Any]) -> str:
    """A JSON object as it stands in its editor; nothing for the empty one."""
    return json.dumps(value, ensure_ascii=False) if value else ""


def line_edit(placeholder: str = "", *, mono: bool = False) -> QLineEdit:
    """A one-line editor."""
    edit = QLineEdit()
    edit.setPlaceholderText(placeholder)
    if mono:
        edit.setProperty("role", "mono")
    return edit


def json_edit(placeholder: str = "{ }", lines: int = 3) -> QPlainTextEdit:
    """An editor for a small JSON object."""
    edit = QPlainTextEdit()
    edit.setPlaceholderText(placeholder)
    edit.setFixedHeight(16 * lines + 14)
    edit.setProperty("role", "mono")
    return edit


def choice(pairs: Iterable[tuple[str, str]]) -> CalmComboBox:
    """A choice of ``(data, words)``."""
    box = CalmComboBox()
    for data, words in pairs:
        box.addItem(words, data)
    return box
