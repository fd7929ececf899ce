"""What every implementation of ``UserStore`` must do. PostgreSQL adds a fixture ``database`` and a subclass."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from app.contract import UserRow
from app.errors import Conflict
from app.server.storage.database import Database
from app.server.storage.people import AgentKeyRow, StoredUser, UserStore


def stored(username: str = "john.doe", **fields: Any) -> StoredUser:
    row = UserRow(
        id=f"id of {username}", username=username, email=f"{username}@example.com", created_at=fields.pop("at", 1.0)
    )
    return StoredUser(row=row, password_hash="$argon2id$…", **fields)


class UserStoreSuite:
    """Cases for one database."""

    async def test_users_are_kept_oldest_first(self, database: Database) -> None:
        store = UserStore(database)
        users = [stored("b", at=2.0), stored("a", at=3.0), stored("c", at=1.0, token_generation=7)]
        for user in users:
            await store.add_user(user)
        assert await UserStore(database).users() == [users[2], users[0], users[1]]

    async def test_a_name_is_taken_once(self, database: Database) -> None:
        store = UserStore(database)
        await store.add_user(stored())
        row = msgspec.structs.replace(stored().row, id="another")
        with pytest.raises(Conflict) as refused:
            await store.add_user(msgspec.structs.replace(stored(), row=row))
        assert refused.value.code == "user_exists"
        assert len(await store.users()) == 1

    async def test_a_user_is_replaced_and_removed(self, database: Database) -> None:
        store = UserStore(database)
        await store.add_user(stored())
        await store.add_user(stored("other"))
        row = msgspec.structs.replace(stored().row, active=False, role="admin", last_login=9.5, email="x@y.z")
        changed = msgspec.structs.replace(stored(), row=row, token_generation=2, password_hash="other")
        await store.save_user(changed)
        for _ in range(2):
            await store.delete_user(stored("other"))
        assert await store.users() == [changed]
        assert await store.former_names() == ["other"]

    async def test_agent_keys_are_kept_replaced_and_removed(self, database: Database) -> None:
        store = UserStore(database)
        first = AgentKeyRow(id="1", name="rack 1", agent_id="docker-host-01", key_hash="h1", created_at=1.0)
        second = AgentKeyRow(id="2", name="any", key_hash="h2", created_at=2.0)
        for row in (second, first):
            await store.save_agent_key(row)
        rotated = msgspec.structs.replace(first, key_hash="h3", rotated_at=5.0)
        await store.save_agent_key(rotated)
        assert await store.agent_keys() == [rotated, second]
        await store.delete_agent_key("2")
        await store.delete_agent_key("nothing")
        assert await store.agent_keys() == [rotated]

    async def test_revoked_tokens_are_kept_until_they_run_out(self, database: Database) -> None:
        store = UserStore(database)
        for token_id, end in (("a", 10.0), ("b", 20.0), ("b", 20.0), ("c", 30.0)):
            await store.revoke_token(token_id, end)
        assert await store.revoked_tokens(15.0) == {"b": 20.0, "c": 30.0}
        assert await store.purge_tokens(20.0) == 2
        assert await store.purge_tokens(20.0) == 0
        assert await store.revoked_tokens(0.0) == {"c": 30.0}
