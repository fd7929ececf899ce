from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.errors import NotFound
from app.server.access.keys import ApiKeys
from app.server.storage.database import Database


def carrying(name: str, value: str) -> dict[str, Any]:
    return {"type": "http", "headers": [(name.encode(), value.encode())], "query_string": b""}


async def test_a_key_opens_until_it_is_deleted_and_only_its_hash_is_kept(database: Database, tmp_path: Path) -> None:
    keys = ApiKeys(database)
    await keys.load()
    assert not keys.carried_by(carrying("x-api-key", "cbk_anything"))
    row, key = await keys.add("truck 1")
    assert keys.carried_by(carrying("x-api-key", key))
    assert keys.carried_by(carrying("authorization", f"Bearer {key}"))
    assert not keys.carried_by(carrying("x-api-key", key + "x"))
    assert not keys.carried_by(carrying("x-api-key", row.key_hash))

    again = ApiKeys(database)
    await again.load()
    assert again.carried_by(carrying("x-api-key", key))
    assert [row.name for row in again.rows()] == ["truck 1"]
    assert all(key.encode() not in path.read_bytes() for path in tmp_path.iterdir())

    await keys.delete(row.id)
    assert not keys.carried_by(carrying("x-api-key", key))
    with pytest.raises(NotFound):
        await keys.delete(row.id)
    assert await database.api_keys() == []
