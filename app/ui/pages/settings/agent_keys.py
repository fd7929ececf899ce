"""Settings, "Agent keys": what agents on other machines connect with; for administrators.

A key is shown once, when it is made or rotated, and leaves the screen with the section. Revoking cuts off the agents that
use it, so it is held.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, ClassVar

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QVBoxLayout

from app.client.fleet import AgentKey
from app.models.wording import plain
from app.ui.dialogs.fields import Field, FieldError, line_edit, optional, required
from app.ui.pages.settings.grid import Grid
from app.ui.pages.settings.section import Section, button, clear, copy_button, row
from app.ui.panel import HoldButton
from app.ui.theme import plain_label

if TYPE_CHECKING:
    from app.client.api import BrokerClient
    from app.ui.context import Context

HEADS = ("Name", "For agent", "Made", "Last used")
WIDTHS = (190, 190, 150)


class AgentKeysSection(Section):
    """The table of keys, and the making of one."""

    title: ClassVar[str] = "Agent keys"
    intro: ClassVar[str] = (
        "An agent on another machine connects with a key. This machine's own agent needs none of these."
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.keys: dict[str, AgentKey] = {}
        group = self.group("Keys")
        self.fresh = QVBoxLayout()
        group.addLayout(self.fresh)
        self.grid = Grid(HEADS, WIDTHS, "Agent keys")
        self.grid.chosen_changed.connect(self._refresh)
        group.addWidget(self.grid)
        seconds = context.settings.get("hold_seconds")
        self.rotate_button = HoldButton("Hold to rotate", context.theme.color("danger"), seconds=seconds)
        self.rotate_button.fired.connect(self.rotate)
        self.revoke_button = HoldButton("Hold to revoke", context.theme.color("danger"), seconds=seconds)
        self.revoke_button.fired.connect(self.revoke)
        group.addLayout(row(self.rotate_button, None, self.revoke_button))
        self._build_new()
        self.finish()
        self._refresh()

    def _build_new(self) -> None:
        group = self.group("New key", "Give it to callboard agent with --key or CALLBOARD_AGENT_KEY.")
        self.name = Field("name", "Name", line_edit("rack 3, render node"), parse=required)
        hint = "Only this agent may use it; empty: any."
        self.agent = Field("agent_id", "For agent", line_edit("optional", mono=True), hint=hint, parse=optional)
        for field in (self.name, self.agent):
            field.setFixedWidth(300)
            field.entered.connect(self.add)
        fields = row(self.name, self.agent, None)
        for field in (self.name, self.agent):
            fields.setAlignment(field, Qt.AlignmentFlag.AlignTop)
        group.addLayout(fields)
        group.addLayout(row(button("Create key", self.add, "primary"), None))

    def activate(self) -> None:
        """Ask again."""
        self.ask(lambda client: client.fleet.agent_keys(), self.show_keys, "read the agent keys")

    def deactivate(self) -> None:
        """A key does not stay on a screen that nobody looks at."""
        self.forget_fresh()

    def show_keys(self, keys: list[AgentKey]) -> None:
        """Show the broker's answer."""
        self.keys = {key.id: key for key in keys}
        self.grid.fill([(key.id, cells_of(key)) for key in keys])

    @property
    def current(self) -> AgentKey | None:
        """The key that buttons act on."""
        return self.keys.get(self.grid.chosen)

    def add(self) -> None:
        """Make a key; it is shown this one time."""
        try:
            name: str = self.name.value()
        except FieldError as error:
            self.name.set_error(str(error))
            return
        agent_id: str | None = self.agent.value()

        async def add(client: BrokerClient) -> tuple[AgentKey, list[AgentKey]]:
            return await client.fleet.add_agent_key(name, agent_id), await client.fleet.agent_keys()

        def then(answer: tuple[AgentKey, list[AgentKey]]) -> None:
            self.name.set_text("")
            self.agent.set_text("")
            self._show_fresh(*answer)

        self.act(add, then, "create an agent key")

    def rotate(self) -> None:
        """Replace the current key; agents with the old one are cut off."""
        key = self.current
        if key is None:
            return

        async def rotate(client: BrokerClient) -> tuple[AgentKey, list[AgentKey]]:
            return await client.fleet.rotate_agent_key(key.id), await client.fleet.agent_keys()

        self.act(rotate, lambda answer: self._show_fresh(*answer), "rotate an agent key")

    def revoke(self) -> None:
        """Take the current key back: agents that use it are cut off."""
        key = self.current
        if key is None:
            return

        async def revoke(client: BrokerClient) -> list[AgentKey]:
            await client.fleet.delete_agent_key(key.id)
            return await client.fleet.agent_keys()

        def then(keys: list[AgentKey]) -> None:
            self.show_keys(keys)
            self.context.toast(f"Agent key {plain(key.name)} revoked", tone="good")

        self.act(revoke, then, "revoke an agent key")

    def _show_fresh(self, key: AgentKey, keys: list[AgentKey]) -> None:
        self.show_keys(keys)
        clear(self.fresh)
        told = f"The key {plain(key.name)} is shown this once. Copy it now; the broker keeps only its fingerprint."
        self.fresh.addWidget(plain_label(told, "hint", wrap=True))
        self.fresh.addLayout(
            row(
                plain_label(key.key, "mono", copyable=True),
                None,
                copy_button(self.context, lambda: key.key, "Key"),
                button("I have it", self.forget_fresh),
            )
        )

    def forget_fresh(self) -> None:
        """The key leaves the screen."""
        clear(self.fresh)

    def _refresh(self) -> None:
        for one in (self.rotate_button, self.revoke_button):
            one.setEnabled(self.current is not None)


def cells_of(key: AgentKey) -> tuple[str, ...]:
    """A key's cells."""
    return key.name, key.agent_id or "any", moment_text(key.created_at), moment_text(key.last_used) or "never"


def moment_text(at: str | float | None) -> str:
    """A time as the broker wrote it, in the way of this console."""
    if at is None:
        return ""
    if isinstance(at, str):
        return at.replace("T", " ").removesuffix("Z")
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
