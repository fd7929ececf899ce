"""Users, agents' keys and revoked tokens as durable rows; of passwords and keys only hashes.

Called by ``app/server/access`` (``users``, ``agent_keys``, ``tokens``), which mirrors them in memory.
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Table, delete, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.contract import UserRow
from app.errors import Conflict
from app.server.storage import tables
from app.server.storage.database import Database
from app.server.storage.engines import upsert


class StoredUser(msgspec.Struct, frozen=True, kw_only=True):
    """A user as kept. ``token_generation`` grows whenever every token of the user is to end."""

    row: UserRow
    password_hash: str
    token_generation: int = 1


class AgentKeyRow(msgspec.Struct, frozen=True, kw_only=True):
    """An agent's key. ``agent_id`` None: it opens for any agent."""

    id: str
    name: str
    agent_id: str | None = None
    key_hash: str
    created_at: float
    rotated_at: float | None = None

    def opens(self, agent_id: str) -> bool:
        """Whether an agent may register under this id with the key."""
        return self.agent_id is None or self.agent_id == agent_id


class UserStore:
    """See the module's docstring. Every call raises ``Unavailable`` when the database cannot do it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def users(self) -> list[StoredUser]:
        """Every user, oldest first."""
        return [_user(values) for values in await self._all(tables.users)]

    async def add_user(self, user: StoredUser) -> None:
        """Add a user. Raises ``Conflict`` (``user_exists``) when the name is taken."""
        try:
            await self._database.execute(insert(tables.users).values(_values(user)))
        except IntegrityError as error:
            raise Conflict(f"There is a user '{user.row.username}' already", code="user_exists") from error

    async def save_user(self, user: StoredUser) -> None:
        """Replace a user."""
        await self._save(tables.users, _values(user))

    async def delete_user(self, user: StoredUser) -> None:
        """Remove a user; the name is kept among those that are not given again. Doing so again changes nothing."""
        table, former, name = tables.users, tables.former_users, user.row.username

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(delete(table).where(table.c.id == user.row.id))
            await connection.execute(delete(former).where(former.c.username == name))
            await connection.execute(insert(former).values(username=name))

        await self._database.write(work)

    async def former_names(self) -> list[str]:
        """Names of users who were deleted."""
        return [row["username"] for row in await self._database.read(select(tables.former_users))]

    async def agent_keys(self) -> list[AgentKeyRow]:
        """Every key, oldest first."""
        return [AgentKeyRow(**values) for values in await self._all(tables.agent_keys)]

    async def save_agent_key(self, row: AgentKeyRow) -> None:
        """Add or replace a key."""
        await self._save(tables.agent_keys, msgspec.structs.asdict(row))

    async def delete_agent_key(self, key_id: str) -> None:
        """Remove a key."""
        await self._database.execute(delete(tables.agent_keys).where(tables.agent_keys.c.id == key_id))

    async def revoked_tokens(self, now: float) -> dict[str, float]:
        """Ids of revoked tokens that have not run out yet, and when they do."""
        table = tables.revoked_tokens
        rows = await self._database.read(select(table).where(table.c.expires_at > now))
        return {row["id"]: row["expires_at"] for row in rows}

    async def revoke_token(self, token_id: str, expires_at: float) -> None:
        """Keep that a token is revoked; doing so again changes nothing."""
        await self._save(tables.revoked_tokens, {"id": token_id, "expires_at": expires_at})

    async def purge_tokens(self, now: float) -> int:
        """Forget revoked tokens that have run out; how many there were."""
        table = tables.revoked_tokens
        return await self._database.execute(delete(table).where(table.c.expires_at <= now))

    async def _all(self, table: Table) -> list[dict[str, Any]]:
        return await self._database.read(select(table).order_by(table.c.created_at, table.c.id))

    async def _save(self, table: Table, values: dict[str, Any]) -> None:
        changed = [name for name in values if name != "id"]
        await self._database.execute(upsert(table, self._database.dialect, ["id"], changed).values(values))


def _values(user: StoredUser) -> dict[str, Any]:
    return {
        **msgspec.structs.asdict(user.row),
        "password_hash": user.password_hash,
        "token_generation": user.token_generation,
    }


def _user(values: dict[str, Any]) -> StoredUser:
    password_hash, generation = values.pop("password_hash"), values.pop("token_generation")
    return StoredUser(row=UserRow(**values), password_hash=password_hash, token_generation=generation)
