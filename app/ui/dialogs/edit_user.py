"""The panel that lets somebody log in, or changes who may: mail, role, active, a new password."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QLineEdit

from app.models.wording import plain
from app.ui.dialogs.fields import Field, FieldError, choice, line_edit, required
from app.ui.dialogs.form_panel import FormPanel

if TYPE_CHECKING:
    from app.client.api import BrokerClient
    from app.client.fleet import User
    from app.ui.context import Context

SHORTEST_PASSWORD = 8
ROLES = (("user", "user: own sessions alone"), ("admin", "administrator: everything"))
_MAIL = re.compile(r"[^@\s]+@[^@\s]+")


class EditUser(FormPanel):
    """Without ``user`` a new one is made; ``saved`` is emitted when the broker has it."""

    saved = Signal()

    def __init__(self, context: Context, user: User | None = None) -> None:
        title = "New user" if user is None else f"User {plain(user.username)}"
        super().__init__(context, title, "Create user" if user is None else "Save")
        self.user = user
        form = self.form
        if user is None:
            form.add(Field("username", "User name", line_edit("john.doe"), parse=required))
        form.add(Field("email", "Mail", line_edit("john.doe@venue.example"), parse=mail))
        hint = f"At least {SHORTEST_PASSWORD} characters." + ("" if user is None else " Empty: it stays as it is.")
        secret = line_edit("")
        secret.setEchoMode(QLineEdit.EchoMode.Password)
        form.add(Field("password", "Password", secret, hint=hint, parse=password if user is None else new_password))
        form.add(Field("role", "Role", choice(ROLES)))
        self.active = QCheckBox("May log in")
        self.active.setChecked(user is None or user.active)
        self.active.setVisible(user is not None)
        form.add_widget(self.active)
        self.finish()
        if user is not None:
            form.fields["email"].set_text(user.email)
            form.fields["role"].set_text(user.role)

    async def send(self, client: BrokerClient, values: dict[str, Any]) -> None:
        """Make or change the user and say so."""
        if self.user is None:
            made = await client.fleet.create_user(
                values["username"], values["email"], values["password"], values["role"]
            )
            self.context.toast(f"{plain(made.username)} may log in", tone="good")
        else:
            changes = self._changes(self.user, values)
            if changes:
                await client.fleet.change_user(self.user.id, **changes)
            self.context.toast(f"User {plain(self.user.username)} saved", tone="good")
        self.saved.emit()

    def _changes(self, user: User, values: dict[str, Any]) -> dict[str, Any]:
        """What differs; a password that was not typed stays."""
        now = {"email": user.email, "role": user.role, "active": user.active}
        wanted = {"email": values["email"], "role": values["role"], "active": self.active.isChecked()}
        changes: dict[str, Any] = {key: value for key, value in wanted.items() if value != now[key]}
        if values["password"]:
            changes["password"] = values["password"]
        return changes


def mail(text: str) -> str:
    """Something that looks like a mail address."""
    if not _MAIL.fullmatch(text):
        raise FieldError("a mail address is needed, such as john.doe@venue.example")
    return text


def password(text: str) -> str:
    """A password of some length."""
    if len(text) < SHORTEST_PASSWORD:
        raise FieldError(f"at least {SHORTEST_PASSWORD} characters")
    return text


def new_password(text: str) -> str:
    """The same, or nothing."""
    return password(text) if text else ""
