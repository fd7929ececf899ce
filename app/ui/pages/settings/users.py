"""Settings, "Users": who may log in at this broker (StreamSpace document, "User Management"); for administrators.

Asked for when the section comes to the front: users are not on the feed. Deactivating can be taken back, deleting is
held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from app.client.fleet import User
from app.models.wording import plain
from app.ui.dialogs.edit_user import EditUser
from app.ui.pages.settings.grid import Grid
from app.ui.pages.settings.section import Section, button, row
from app.ui.panel import HoldButton
from app.ui.theme import plain_label

if TYPE_CHECKING:
    from app.client.api import BrokerClient
    from app.ui.context import Context

HEADS = ("User", "Mail", "Role", "State", "Last login")
WIDTHS = (150, 220, 110, 90)
BEFORE_DELETING = "Deactivate users who may come back: a deleted user's name is never given again."


class UsersSection(Section):
    """The table of users with what can be done to the current one."""

    title: ClassVar[str] = "Users"
    intro: ClassVar[str] = (
        "Who may log in at this broker's API and, as an administrator, with a console from elsewhere."
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.users: dict[str, User] = {}
        group = self.group("People")
        self.grid = Grid(HEADS, WIDTHS, "Users")
        self.grid.picked.connect(lambda _: self.change())
        self.grid.chosen_changed.connect(self._refresh)
        group.addWidget(self.grid)
        self.new_button = button("New user…", self.new, "primary")
        self.change_button = button("Change…", self.change)
        self.active_button = button("Deactivate", self.toggle_active)
        self.delete_button = HoldButton(
            "Hold to delete", context.theme.color("danger"), seconds=context.settings.get("hold_seconds")
        )
        self.delete_button.fired.connect(self.delete)
        self.delete_button.setToolTip(BEFORE_DELETING)
        group.addLayout(row(self.new_button, self.change_button, self.active_button, None, self.delete_button))
        group.addLayout(row(None, plain_label(BEFORE_DELETING, "hint")))
        self.finish()
        self._refresh()

    def activate(self) -> None:
        """Ask again: another administrator may have changed them."""
        self.ask(lambda client: client.fleet.users(), self.show_users, "read the users")

    def show_users(self, users: list[User]) -> None:
        """Show the broker's answer."""
        self.users = {user.id: user for user in sorted(users, key=lambda user: user.username.casefold())}
        rows = [(user.id, cells_of(user)) for user in self.users.values()]
        self.grid.fill(rows, lambda one: not self.users[one].active, self.context.theme.color("text3"))

    @property
    def current(self) -> User | None:
        """The user that buttons act on."""
        return self.users.get(self.grid.chosen)

    def new(self) -> None:
        """Let somebody log in, in a panel."""
        self._open(EditUser(self.context))

    def change(self) -> None:
        """Change the current one, in a panel."""
        if self.current is not None:
            self._open(EditUser(self.context, self.current))

    def _open(self, panel: EditUser) -> None:
        panel.saved.connect(self.activate)
        self.context.panels.show(panel)

    def toggle_active(self) -> None:
        """May log in, or may not; with Undo."""
        user = self.current
        if user is not None:
            self._set_active(user, not user.active)

    def _set_active(self, user: User, active: bool) -> None:
        async def change(client: BrokerClient) -> list[User]:
            await client.fleet.change_user(user.id, active=active)
            return await client.fleet.users()

        async def put_back() -> None:
            self.show_users(await change_back())

        async def change_back() -> list[User]:
            client = self.context.connected
            await client.fleet.change_user(user.id, active=not active)
            return await client.fleet.users()

        def then(users: list[User]) -> None:
            self.show_users(users)
            told = f"{plain(user.username)} may {'log in again' if active else 'no longer log in'}"
            self.context.actions.tell(told, f"change of {plain(user.username)}", put_back)

        self.act(change, then, "change a user")

    def delete(self) -> None:
        """Remove the current one."""
        user = self.current
        if user is None:
            return

        async def delete(client: BrokerClient) -> list[User]:
            await client.fleet.delete_user(user.id)
            return await client.fleet.users()

        def then(users: list[User]) -> None:
            self.show_users(users)
            self.context.toast(f"User {plain(user.username)} deleted", tone="good")

        self.act(delete, then, "delete a user")

    def _refresh(self) -> None:
        user = self.current
        for one in (self.change_button, self.active_button, self.delete_button):
            one.setEnabled(user is not None)
        self.active_button.setText("Deactivate" if user is None or user.active else "Activate")


def cells_of(user: User) -> tuple[str, ...]:
    """A user's cells."""
    role = "administrator" if user.role == "admin" else user.role
    last = (user.last_login or "never").replace("T", " ").removesuffix("Z")
    return user.username, user.email, role, "active" if user.active else "inactive", last
