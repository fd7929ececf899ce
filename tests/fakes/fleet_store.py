"""The fleet's database in memory: durable over "restarts" of a broker, and away when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from app.errors import Unavailable
from app.server.storage.fleet import OPEN_COMMANDS, TABLES, Change, FleetRows, FleetStore, Remove


class MemoryFleetStore(FleetStore):
    """As ``FleetStore`` with its rows in a dictionary; what was committed is encoded, so nobody can change it later."""

    def __init__(self, kept: dict[tuple[str, str], bytes] | None = None) -> None:
        self.kept = {} if kept is None else kept
        self.away = False
        self.commits = 0
        self.gate: asyncio.Event | None = None
        """While it is there and not set, commits wait."""
        self.waiting_at_gate = 0
        self._writing: set[asyncio.Future[None]] = set()

    async def load(self) -> FleetRows:
        rows: dict[str, list] = {name: [] for name in TABLES}
        for (name, _), data in sorted(self.kept.items()):
            rows[name].append(msgspec.json.decode(data, type=TABLES[name][1]))
        commands = [row for row in rows["command"] if row.status in OPEN_COMMANDS]
        return FleetRows(
            agents=rows["agent"],
            desktops=rows["desktop"],
            commands=sorted(commands, key=lambda row: (row.created_at, row.id)),
            templates=rows["template"],
            drains=rows["drain"],
        )

    async def commit(self, *changes: Change, apply: Callable[[], None] | None = None) -> None:
        encoded = [
            (change.table, change.id, None)
            if isinstance(change, Remove)
            else (change.table, change.row.id, msgspec.json.encode(change.row))
            for change in changes
        ]
        writing = asyncio.ensure_future(self._write(encoded, apply))
        self._writing.add(writing)
        writing.add_done_callback(self._writing.discard)
        await asyncio.shield(writing)  # goes on whether or not the caller still waits

    async def _write(self, encoded: list[tuple[str, str, bytes | None]], apply: Callable[[], None] | None) -> None:
        await asyncio.sleep(0)
        if self.gate is not None:
            self.waiting_at_gate += 1
            await self.gate.wait()
            self.waiting_at_gate -= 1
        if self.away:
            raise Unavailable("the database is away")
        self.commits += 1
        for table, row_id, data in encoded:
            if data is None:
                self.kept.pop((table, row_id), None)
            else:
                self.kept[table, row_id] = data
        if apply is not None:
            apply()

    async def close(self, timeout: float = 5.0) -> None:
        pass

    async def log(self, session_id: str) -> list[str]:
        data = self.kept.get(("desktop_log", session_id))
        return msgspec.json.decode(data)["lines"] if data is not None else []

    async def purge_commands(self, older_than: float, limit: int = 500) -> int:
        old = [
            key
            for key, data in self.kept.items()
            if key[0] == "command"
            and (row := msgspec.json.decode(data))["status"] not in OPEN_COMMANDS
            and row["updated_at"] < older_than
        ]
        for key in old[:limit]:
            del self.kept[key]
        return len(old[:limit])
