"""Agents' keys: made, rotated and revoked by administrators, kept as hashes; and the machine's own key.

Called by the agent sockets of the StreamSpace dialect (seed 001, "Agent WebSocket Connection", which says nothing of a
login) and its key routes. The machine's own key opens from this machine alone; it lies in ``<data>/agent.key``, its
owner's alone, where agents started here by the same person find it, or is given as ``CALLBOARD_AGENT_KEY``.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import time
import uuid
from collections.abc import Callable, Mapping
from urllib.parse import parse_qs

import msgspec
from starlette.types import Scope

from app.errors import ConfigError, Conflict, NotFound
from app.paths import DataFolder, write_private
from app.server.access.requests import bearer, from_this_machine, header
from app.server.storage.people import AgentKeyRow, UserStore

VARIABLE = "CALLBOARD_AGENT_KEY"
MACHINE = "machine"
"""Id of the machine's own key."""
PREFIX = "cba_"
SHAPE = re.compile(r"[!-~]{16,256}")
KEY_LIMIT = 10_000

Listener = Callable[[str], None]


class AgentKeys:
    """See the module's docstring."""

    def __init__(
        self,
        store: UserStore,
        folder: DataFolder,
        environ: Mapping[str, str],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._folder = folder
        self._given = environ.get(VARIABLE) or None
        self._clock = clock
        self._rows: dict[str, AgentKeyRow] = {}
        """By hash."""
        self._changing = asyncio.Lock()
        self._listeners: tuple[Listener, ...] = ()

    async def load(self) -> None:
        """Read the keys, and make the machine's own if there is none. Raises ``ConfigError``."""
        self._rows = {row.key_hash: row for row in await self._store.agent_keys()}
        key = self._given or self._kept() or _new_key()
        if not SHAPE.fullmatch(key):
            raise ConfigError(f"{VARIABLE}: an agent's key has 16 to 256 characters, without blanks.")
        self._set_machine(key, None)

    def rows(self) -> list[AgentKeyRow]:
        """Every key without the key itself, oldest first."""
        return sorted(self._rows.values(), key=lambda row: (row.created_at, row.id))

    def machine_key(self) -> str:
        """The machine's own key, for agents that this broker starts."""
        return self._machine

    async def add(self, name: str, agent_id: str | None = None) -> tuple[AgentKeyRow, str]:
        """A new key, for one agent id or for any; its text is in this answer and nowhere else."""
        if len(self._rows) >= KEY_LIMIT:
            raise Conflict(f"There are {KEY_LIMIT} agent keys already")
        key = _new_key()
        row = AgentKeyRow(
            id=str(uuid.uuid4()), name=name, agent_id=agent_id, key_hash=_hash(key), created_at=self._clock()
        )
        await self._store.save_agent_key(row)
        self._rows[row.key_hash] = row
        return row, key

    async def rotate(self, key_id: str) -> tuple[AgentKeyRow, str]:
        """Replace a key's text; sockets that came with the old one are told. Raises ``NotFound``, ``Conflict``."""
        async with self._changing:
            old = self._known(key_id)
            key, now = _new_key(), self._clock()
            if key_id == MACHINE:
                if self._given is not None:
                    raise Conflict(f"This machine's key is given as {VARIABLE}; change it there")
                row = self._set_machine(key, now)
            else:
                row = msgspec.structs.replace(old, key_hash=_hash(key), rotated_at=now)
                await self._store.save_agent_key(row)
                self._rows.pop(old.key_hash, None)
                self._rows[row.key_hash] = row
        self._tell(key_id)
        return row, key

    async def revoke(self, key_id: str) -> AgentKeyRow:
        """Withdraw a key; its agents' sockets are told. Raises ``NotFound``, and ``Conflict`` for the machine's own."""
        async with self._changing:
            row = self._known(key_id)
            if key_id == MACHINE:
                raise Conflict("This machine's own key cannot be revoked; rotate it instead")
            await self._store.delete_agent_key(key_id)
            self._rows.pop(row.key_hash, None)
        self._tell(key_id)
        return row

    def carried_by(self, scope: Scope) -> AgentKeyRow | None:
        """The key that a request carries: ``X-Agent-API-Key``, a bearer's token, or ``?key=``."""
        key = carried_key(scope)
        row = self._rows.get(_hash(key)) if key else None
        if row is not None and row.id == MACHINE and not from_this_machine(scope):
            return None
        return row

    def holds(self, row: AgentKeyRow) -> bool:
        """Whether a key with which somebody came earlier still opens."""
        return self._rows.get(row.key_hash) is not None

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Tell ``listener`` the id of a key whose text no longer opens; the answer ends that."""
        self._listeners = (*self._listeners, listener)

        def unsubscribe() -> None:
            self._listeners = tuple(known for known in self._listeners if known is not listener)

        return unsubscribe

    def _set_machine(self, key: str, rotated_at: float | None) -> AgentKeyRow:
        if self._kept() != key:
            write_private(self._folder.agent_key, key.encode() + b"\n")
        old = next((row for row in self._rows.values() if row.id == MACHINE), None)
        created_at = old.created_at if old is not None else self._folder.agent_key.stat().st_mtime
        row = AgentKeyRow(
            id=MACHINE, name="this machine", key_hash=_hash(key), created_at=created_at, rotated_at=rotated_at
        )
        if old is not None:
            self._rows.pop(old.key_hash, None)
        self._rows[row.key_hash] = row
        self._machine = key
        return row

    def _kept(self) -> str | None:
        try:
            key = self._folder.agent_key.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return key if SHAPE.fullmatch(key) else None

    def _known(self, key_id: str) -> AgentKeyRow:
        row = next((row for row in self._rows.values() if row.id == key_id), None)
        if row is None:
            raise NotFound(f"No agent key with ID '{key_id}' exists", code="key_not_found")
        return row

    def _tell(self, key_id: str) -> None:
        for listener in self._listeners:
            listener(key_id)


def carried_key(scope: Scope) -> str:
    """The text of the agent's key that a request carries, right or wrong; empty where there is none."""
    value = header(scope, b"x-agent-api-key")
    if value:
        return value.decode("latin-1")
    key = bearer(scope)
    if key:
        return key
    query: bytes = scope.get("query_string", b"")
    return parse_qs(query.decode("latin-1")).get("key", [""])[0] if b"key=" in query else ""


def _new_key() -> str:
    return PREFIX + secrets.token_urlsafe(30)


def _hash(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
