"""Stream types: the built-in ones of the seed, created ones, and a database that is away."""

from __future__ import annotations

from uuid import UUID

import pytest

from app.contract import BUILT_IN_TYPES, TypeRow
from app.errors import Conflict, Unavailable
from app.server.events import EventLog, Published
from app.server.streams.types import StreamTypes, built_in_types


class Store:
    """A database as far as types go."""

    def __init__(self, *rows: TypeRow) -> None:
        self.rows = {row.name: row for row in rows}
        self.away = False
        self.asked = 0

    async def types(self) -> list[TypeRow]:
        self.asked += 1
        self._check()
        return list(self.rows.values())

    async def create_type(self, row: TypeRow) -> None:
        self._check()
        if row.name in self.rows:
            raise Conflict("taken")
        self.rows[row.name] = row

    def _check(self) -> None:
        if self.away:
            raise Unavailable("The database is away")


def made(store: Store) -> tuple[StreamTypes, list[Published]]:
    """Types over a store, and what they publish."""
    events, heard = EventLog(), []
    events.subscribe(heard.append)
    return StreamTypes(store, events, lambda: 1_750_000_000.0), heard


def created(name: str) -> TypeRow:
    """A row as the database keeps it."""
    return TypeRow(id="1", name=name, display_name=name, created_at=1.0, updated_at=1.0)


def test_built_in_types_are_the_same_in_every_broker() -> None:
    assert [row.name for row in built_in_types()] == list(BUILT_IN_TYPES)
    assert built_in_types() == built_in_types()
    ids = [UUID(row.id) for row in built_in_types()]
    assert len(set(ids)) == len(ids)
    assert {each.version for each in ids} == {4}
    assert all(row.built_in and len(row.icon or "") <= 50 for row in built_in_types())


async def test_created_types_are_loaded_once_and_sorted_in() -> None:
    store = Store(created("lidar"), created("ndi"))
    types, _ = made(store)
    assert "lidar" not in types.rows
    await types.load()
    await types.load()
    assert store.asked == 1
    assert list(types.rows) == sorted([*BUILT_IN_TYPES, "lidar"])
    assert types.rows["ndi"].built_in
    assert types.expected == ", ".join(f"'{name}'" for name in BUILT_IN_TYPES) + " or 'lidar'"


async def test_create() -> None:
    types, heard = made(Store())
    row = await types.create("lidar", "LiDAR", icon="scan", default_config={"rate_hz": 10})
    assert types.rows["lidar"] is row
    assert (row.built_in, row.created_at, row.metadata) == (False, 1_750_000_000.0, {})
    assert [(event.kind, event.id, event.change) for event in heard] == [("type.created", row.id, row)]
    for name in ("lidar", "ndi"):
        with pytest.raises(Conflict, match=f"Stream type '{name}' already exists"):
            await types.create(name, "again")
    assert len(heard) == 1


async def test_another_broker_was_first() -> None:
    store = Store()
    types, heard = made(store)
    await types.load()
    store.rows["lidar"] = created("lidar")
    with pytest.raises(Conflict, match="Stream type 'lidar' already exists"):
        await types.create("lidar", "LiDAR")
    assert heard == []


async def test_a_database_that_is_away_at_the_start() -> None:
    store = Store(created("lidar"))
    store.away = True
    types, heard = made(store)
    assert await types.try_load() is False
    assert set(types.rows) == set(BUILT_IN_TYPES)
    with pytest.raises(Unavailable):
        await types.create("x", "X")
    store.away = False
    assert await types.try_load() is True
    assert "lidar" in types.rows
    assert heard == []
