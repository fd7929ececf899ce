from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from app.contract import PresetRow
from app.errors import NotFound
from app.server.events import EventLog, Published
from app.server.presets import Presets
from app.server.storage.database import Database


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(tmp_path / "rows.sqlite")
    await database.start()
    yield database
    await database.stop()


def preset(name: str, *, default: bool = False) -> PresetRow:
    return PresetRow(id="", name=name, consumer_id=name, consumer_address="10.0.0.1", default=default)


async def test_presets_live_in_the_database_and_on_the_feed(database: Database) -> None:
    events, heard = EventLog(), []
    events.subscribe(heard.append)
    presets = Presets(database, events)
    await presets.load()
    wall = await presets.create(preset("wall"))
    floor = await presets.create(preset("Floor"))
    assert [row.name for row in presets.rows()] == ["Floor", "wall"]
    changed = await presets.change(msgspec.structs.replace(wall, name="Back wall"))
    await presets.delete(floor.id, by="Ada")
    again = Presets(database, EventLog())
    await again.load()
    assert again.rows() == [changed] == presets.rows()
    assert [event.kind for event in heard] == ["preset.saved"] * 3 + ["preset.deleted"]


async def test_there_is_at_most_one_default_even_in_a_rush(database: Database) -> None:
    presets = Presets(database, EventLog())
    await asyncio.gather(*(presets.create(preset(f"p{number}", default=True)) for number in range(5)))
    assert sum(row.default for row in presets.rows()) == 1
    assert sum(row.default for row in await database.presets()) == 1


async def test_what_is_not_there_is_not_found(database: Database) -> None:
    events: list[Published] = []
    log = EventLog()
    log.subscribe(events.append)
    presets = Presets(database, log)
    for attempt in (presets.change(preset("x")), presets.delete("x")):
        with pytest.raises(NotFound):
            await attempt
    assert events == []
