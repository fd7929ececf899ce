"""Consumer presets: the consumers that operators take streams to. At most one is the default.

Called by the console's routes; the feed's snapshot reads the mirror here.
"""

from __future__ import annotations

import asyncio
import uuid

import msgspec

from app.contract import Gone, PresetRow
from app.errors import NotFound
from app.server.events import EventLog
from app.server.storage.database import Database


class Presets:
    """The presets of this broker, mirrored in memory."""

    def __init__(self, database: Database, events: EventLog) -> None:
        self._database = database
        self._events = events
        self._rows: dict[str, PresetRow] = {}
        self._saving = asyncio.Lock()

    async def load(self) -> None:
        """Read the presets; called once at start."""
        self._rows = {row.id: row for row in await self._database.presets()}

    def rows(self) -> list[PresetRow]:
        """Every preset, by name."""
        return sorted(self._rows.values(), key=lambda row: (row.name.casefold(), row.id))

    def get(self, preset_id: str) -> PresetRow:
        """One preset; raises ``NotFound``."""
        row = self._rows.get(preset_id)
        if row is None:
            raise NotFound("There is no such preset")
        return row

    async def create(self, row: PresetRow) -> PresetRow:
        """Add a preset under a new id."""
        return await self._save(msgspec.structs.replace(row, id=str(uuid.uuid4())))

    async def change(self, row: PresetRow) -> PresetRow:
        """Replace a preset; raises ``NotFound``."""
        self.get(row.id)
        return await self._save(row)

    async def delete(self, preset_id: str, *, by: str = "") -> PresetRow:
        """Remove a preset; what was taken with it goes on. Raises ``NotFound``."""
        row = self.get(preset_id)
        await self._database.delete_preset(preset_id)
        if self._rows.pop(preset_id, None) is not None:
            self._events.publish("preset.deleted", preset_id, Gone("deleted", by=by))
        return row

    async def _save(self, row: PresetRow) -> PresetRow:
        """Keep a row; a new default takes that mark off the old one."""
        async with self._saving:
            taken = [other for other in self._rows.values() if row.default and other.default and other.id != row.id]
            for each in (*(msgspec.structs.replace(other, default=False) for other in taken), row):
                await self._database.save_preset(each)
                self._rows[each.id] = each
                self._events.publish("preset.saved", each.id, each)
        return row
