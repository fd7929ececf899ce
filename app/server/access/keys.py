"""API keys: how machines off this one reach the dialects without a login. Only their hashes are kept.

Used by the guard (on every request from a network that is not allowed) and by the console's access routes.
"""

from __future__ import annotations

import hashlib
import secrets
import time
import uuid
from collections.abc import Callable

from starlette.types import Scope

from app.errors import NotFound
from app.server.access.requests import bearer, header
from app.server.storage.database import ApiKeyRow, Database


class ApiKeys:
    """The keys of this broker, mirrored in memory so that checking one is a look-up."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._rows: dict[str, ApiKeyRow] = {}

    async def load(self) -> None:
        """Read the keys; called once at start."""
        self._rows = {row.key_hash: row for row in await self._database.api_keys()}

    def rows(self) -> list[ApiKeyRow]:
        """The keys without the keys themselves, oldest first."""
        return sorted(self._rows.values(), key=lambda row: (row.created_at, row.id))

    async def add(self, name: str) -> tuple[ApiKeyRow, str]:
        """A new key; its text is in this answer and nowhere else."""
        key = f"cbk_{secrets.token_urlsafe(30)}"
        row = ApiKeyRow(id=str(uuid.uuid4()), name=name, key_hash=_hash(key), created_at=self._clock())
        await self._database.add_api_key(row)
        self._rows[row.key_hash] = row
        return row, key

    async def delete(self, key_id: str) -> ApiKeyRow:
        """Withdraw a key; raises ``NotFound``."""
        row = next((row for row in self._rows.values() if row.id == key_id), None)
        if row is None:
            raise NotFound("There is no such API key")
        await self._database.delete_api_key(key_id)
        self._rows.pop(row.key_hash, None)
        return row

    def carried_by(self, scope: Scope) -> bool:
        """Whether a request carries one of the keys, as ``X-API-Key`` or as a bearer's token."""
        if not self._rows:
            return False
        value = header(scope, b"x-api-key")
        key = value.decode("latin-1") if value else bearer(scope)
        return bool(key) and _hash(key) in self._rows


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
