"""Logging in and out, users, and agent keys (seed 001, "Authentication", "User Management"; keys are Callboard's own).

Users and keys are for administrators. A password or a key is never written down: not in a log, not in the audit.
Built into the application by ``application.py``.
"""

from __future__ import annotations

import msgspec

from app.errors import Forbidden, NotFound
from app.server.access.principal import Principal
from app.server.access.requests import bearer
from app.server.audit import Act
from app.server.dialects.streamspace import answers, rows, wire
from app.server.dialects.streamspace.errors import Json, rfc3339
from app.server.dialects.streamspace.listing import listed, page_of
from app.server.dialects.streamspace.operations import Call, Operation, answer, nothing
from app.server.dialects.streamspace.services import StreamSpaceServices

TAG = "Users"
KEYS = "Agent keys"


class People:
    """One method per operation."""

    def __init__(self, services: StreamSpaceServices) -> None:
        self._users = services.users
        self._tokens = services.tokens
        self._keys = services.agent_keys
        self._audit = services.audit

    def operations(self) -> list[Operation]:
        """What is served and described."""
        auth, users, keys = "/api/v1/auth", "/api/v1/users", "/api/v1/agent-keys"
        user, key = users + "/{user_id}", keys + "/{key_id}"
        return [
            Operation("POST", f"{auth}/login", self.login, "Authentication", answers.LoggedIn, (400,), body=wire.Login, open=True),
            Operation("POST", f"{auth}/logout", self.logout, "Authentication", answers.Done),
            Operation("GET", users, self.list_users, TAG, answers.UserList, (400,), query=wire.UserQuery, admin=True),
            Operation("POST", users, self.create_user, TAG, answers.UserCreated, (400, 409), good=201, body=wire.CreateUser, admin=True),
            Operation("PATCH", user, self.change_user, TAG, answers.User, (400, 404, 409), body=wire.ChangeUser, admin=True, own=True),
            Operation("DELETE", user, self.delete_user, TAG, None, (404, 409), good=204, admin=True, own=True),
            Operation("GET", keys, self.list_agent_keys, KEYS, answers.AgentKeyList, admin=True, own=True),
            Operation("POST", keys, self.create_agent_key, KEYS, answers.AgentKeyMade, (400, 409), good=201, body=wire.CreateAgentKey, admin=True, own=True),
            Operation("DELETE", key, self.delete_agent_key, KEYS, None, (404, 409), good=204, admin=True, own=True),
            Operation("POST", f"{key}/rotate", self.rotate_agent_key, KEYS, answers.AgentKeyMade, (404, 409), admin=True, own=True),
        ]  # fmt: skip

    async def login(self, _: Call, body: wire.Login) -> Json:
        """A token for 24 hours."""
        row = await self._users.verify(body.username, body.password)
        token, expires_at = self._tokens.issue(row)
        return answer({"token": token, "user": rows.login_user(row), "expires_at": rfc3339(expires_at)})

    async def logout(self, call: Call) -> Json:
        """End the token that this request carries."""
        if call.caller.kind != "user":
            raise Forbidden("The console's own token cannot be logged out", code="not_permitted")
        await self._tokens.revoke(bearer(call.scope))
        return answer({"message": "Logout successful"})

    async def list_users(self, _: Call, query: wire.UserQuery) -> Json:
        """Everybody who may log in, oldest first."""
        found = [row for row in self._users.rows() if not query.role or row.role == query.role]
        items = [msgspec.json.encode(rows.user(row)) for row in page_of(found, query)]
        return listed("users", items, query, len(found))

    async def create_user(self, call: Call, body: wire.CreateUser) -> Json:
        """Let somebody log in."""
        async with self._act(call.caller, "create", "user", "") as act:
            act.after = {"username": body.username, "role": body.role}
            row = await self._users.create(body.username, body.email, body.password, body.role)
            act.object_id, act.after = row.id, row
        return answer(rows.user_created(row), 201)

    async def change_user(self, call: Call, body: wire.ChangeUser) -> Json:
        """Change a user; a new password, another role or deactivation ends the user's tokens."""
        user_id = call.ids["user_id"]
        async with self._act(call.caller, "change", "user", user_id) as act:
            act.before = self._users.by_id(user_id)
            row = await self._users.change(
                user_id, active=body.active, role=body.role, password=body.password, email=body.email
            )
            act.after = {**msgspec.to_builtins(row), "password_changed": body.password is not None}
        return answer(rows.user(row))

    async def delete_user(self, call: Call) -> Json:
        """Remove a user."""
        user_id = call.ids["user_id"]
        async with self._act(call.caller, "delete", "user", user_id) as act:
            act.before = self._users.by_id(user_id)
            await self._users.delete(user_id)
        return nothing()

    async def list_agent_keys(self, _: Call) -> Json:
        """Keys that agents connect with, without the keys themselves."""
        return answer({"agent_keys": [rows.agent_key(row) for row in self._keys.rows()]})

    async def create_agent_key(self, call: Call, body: wire.CreateAgentKey) -> Json:
        """Make a key; the key itself is in this answer and never again."""
        async with self._act(call.caller, "create", "agent key", "") as act:
            act.after = {"name": body.name, "agent_id": body.agent_id}
            row, key = await self._keys.add(body.name, body.agent_id)
            act.object_id = row.id
        return answer({**rows.agent_key(row), "key": key}, 201)

    async def delete_agent_key(self, call: Call) -> Json:
        """Withdraw a key; agents that use it are cut off."""
        row_id = call.ids["key_id"]
        async with self._act(call.caller, "delete", "agent key", row_id) as act:
            act.before = self._known_key(row_id)
            await self._keys.revoke(row_id)
        return nothing()

    async def rotate_agent_key(self, call: Call) -> Json:
        """Replace a key: the old one stops working, the new one is in this answer and never again."""
        row_id = call.ids["key_id"]
        async with self._act(call.caller, "rotate", "agent key", row_id) as act:
            act.before = self._known_key(row_id)
            row, key = await self._keys.rotate(row_id)
        return answer({**rows.agent_key(row), "key": key})

    def _known_key(self, row_id: str) -> dict[str, str | None]:
        for row in self._keys.rows():
            if row.id == row_id:
                return {"name": row.name, "agent_id": row.agent_id}
        raise NotFound(f"No agent key with ID '{row_id}' exists", code="key_not_found")

    def _act(self, caller: Principal, verb: str, object: str, object_id: str) -> Act:
        return self._audit.act(caller.username, verb, object, object_id, dialect="streamspace")
