"""The fleet's half of a broker's client that writes down what it is asked and answers as told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from app.client.api import ApiError
from app.client.fleet import AgentKey, Desktop, StateChange, Template, User
from app.client.pace import Pace

USERS = [
    User("user-1", "admin", "admin@venue.example", "admin", True, "2026-01-05T10:00:00Z", "2026-03-14T18:02:11Z"),
    User("user-2", "john.doe", "john.doe@venue.example", "user", True, "2026-02-01T10:00:00Z"),
    User("user-3", "old.hand", "old.hand@venue.example", "user", False, "2025-02-01T10:00:00Z", "2025-12-01T09:00:00Z"),
]
KEYS = [
    AgentKey("key-1", "rack 3, render node", "rack-3", "2026-01-05T10:00:00Z", "2026-03-14T20:14:00Z"),
    AgentKey("key-2", "spare", None, 1_767_607_200.0),
]


class ScriptedFleet:
    """``calls`` are what was asked; ``refusal`` is raised when it is set, or ``refuse`` for one id alone."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.refusal: ApiError | None = None
        self.refuse: dict[str, ApiError] = {}
        self.pace = Pace()
        self.state_now = ""
        """What ``set_state`` answers, where that is not what was asked."""
        self.lines: list[str | ApiError] = []
        self.made = Desktop("desk-new", "john-doe-xterm-aaaaaa", "john.doe", "xterm", "local", "rack-1", "pending")
        self.known_users = list(USERS)
        self.known_keys = list(KEYS)

    def _note(self, *call: Any) -> None:
        self.calls.append(call)
        if self.refusal is not None:
            raise self.refusal
        if len(call) > 1 and isinstance(call[1], str) and call[1] in self.refuse:
            raise self.refuse[call[1]]

    def named(self, verb: str) -> list[tuple[Any, ...]]:
        """Calls of one verb."""
        return [call for call in self.calls if call[0] == verb]

    async def create_session(self, user: str, template: str, **more: Any) -> Desktop:
        self._note("create_session", user, template, more)
        return replace(self.made, user=user, template=template)

    async def set_state(self, session_id: str, state: str) -> StateChange:
        self._note("set_state", session_id, state)
        return StateChange(session_id, self.state_now or state, {"phase": "Hibernating"})

    async def set_tags(self, session_id: str, tags: Sequence[str]) -> None:
        self._note("set_tags", session_id, list(tags))

    async def delete_session(self, session_id: str, *, force: bool = False) -> None:
        self._note("delete_session", session_id, force)

    async def follow_logs(self, session_id: str, tail: int = 100, *, timestamps: bool = True) -> AsyncIterator[str]:
        self._note("follow_logs", session_id, tail)
        for line in self.lines:
            if isinstance(line, ApiError):
                raise line
            yield line

    async def kick_viewer(self, viewer_id: str, reason: str = "") -> None:
        self._note("kick_viewer", viewer_id)

    async def kick_viewers(self, session_id: str, reason: str = "") -> None:
        self._note("kick_viewers", session_id)

    async def drain(self, agent_id: str) -> None:
        self._note("drain", agent_id)

    async def undrain(self, agent_id: str) -> None:
        self._note("undrain", agent_id)

    async def hibernate_all(self, agent_id: str) -> None:
        self._note("hibernate_all", agent_id)

    async def terminate_all(self, agent_id: str) -> None:
        self._note("terminate_all", agent_id)

    async def remove_agent(self, agent_id: str) -> None:
        self._note("remove_agent", agent_id)

    async def create_template(self, definition: dict[str, Any]) -> Template:
        self._note("create_template", definition)
        return Template("template-new", definition["name"], definition["display_name"])

    async def change_template(self, name: str, definition: dict[str, Any]) -> Template:
        self._note("change_template", name, definition)
        return Template("template-old", name, definition["display_name"])

    async def delete_template(self, name: str) -> None:
        self._note("delete_template", name)

    async def users(self) -> list[User]:
        self._note("users")
        return list(self.known_users)

    async def create_user(self, username: str, email: str, password: str, role: str = "user") -> User:
        self._note("create_user", username, email, password, role)
        made = User(f"user-{username}", username, email, role)
        self.known_users.append(made)
        return made

    async def change_user(self, user_id: str, **changes: Any) -> User:
        self._note("change_user", user_id, changes)
        plain = {key: value for key, value in changes.items() if key != "password"}
        self.known_users = [replace(one, **plain) if one.id == user_id else one for one in self.known_users]
        return next(one for one in self.known_users if one.id == user_id)

    async def delete_user(self, user_id: str) -> None:
        self._note("delete_user", user_id)
        self.known_users = [one for one in self.known_users if one.id != user_id]

    async def agent_keys(self) -> list[AgentKey]:
        self._note("agent_keys")
        return list(self.known_keys)

    async def add_agent_key(self, name: str, agent_id: str | None = None) -> AgentKey:
        self._note("add_agent_key", name, agent_id)
        made = AgentKey("key-new", name, agent_id, 1_773_519_247.0)
        self.known_keys.append(made)
        return replace(made, key="cba_p3Vt9c0Zr2yJmE6sWqLd8xTb4nUhA1fK")

    async def rotate_agent_key(self, key_id: str) -> AgentKey:
        self._note("rotate_agent_key", key_id)
        return replace(
            next(one for one in self.known_keys if one.id == key_id), key="cba_rotatedZr2yJmE6sWqLd8xTb4nUhA"
        )

    async def delete_agent_key(self, key_id: str) -> None:
        self._note("delete_agent_key", key_id)
        self.known_keys = [one for one in self.known_keys if one.id != key_id]
