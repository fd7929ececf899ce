"""What every implementation of ``Database`` must do. PostgreSQL adds a fixture ``database`` and a subclass."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import msgspec
import pytest

from app.contract import AuditRow, HistoryRow, PresetRow, TypeRow
from app.errors import Conflict
from app.server.storage.database import ApiKeyRow, AuditQuery, Database, HistoryQuery

HOSTILE = "<b>x</b>'; DROP TABLE audit; -- =1+1 \u202e\U0001f3a5"


def history_row(time: float, **fields: Any) -> HistoryRow:
    values = {
        "id": str(uuid.uuid4()),
        "time": time,
        "stream_id": "s1",
        "stream_name": "Main Stage Camera A",
        "stream_type": "ndi",
        "publisher_id": "td-01",
        "publisher_address": "192.168.1.50",
        "consumer_id": "max-02",
        "consumer_address": "192.168.1.60",
        "protocol": "ndi",
        "status": "active",
    }
    return HistoryRow(**values | fields)


def ended(row: HistoryRow, status: str = "stopped", after: float = 10.0) -> HistoryRow:
    return msgspec.structs.replace(row, status=status, ended_at=row.time + after, duration_seconds=after)


def audit_row(at: float, **fields: Any) -> AuditRow:
    values = {"id": str(uuid.uuid4()), "at": at, "operator": "kim", "verb": "kick", "object": "session", "result": "ok"}
    return AuditRow(**values | fields)


class DatabaseSuite:
    """Cases for one database."""

    async def test_history_is_newest_first_and_filtered(self, database: Database) -> None:
        rows = [
            history_row(100.0 + n, publisher_id=f"p{n % 2}", consumer_id=f"c{n % 3}", stream_id=f"s{n % 5}")
            for n in range(30)
        ]
        await database.write_history(rows)
        assert await database.history(HistoryQuery(limit=500)) == rows[::-1]

        async def numbers(**query: Any) -> list[int]:
            found = await database.history(HistoryQuery(limit=500, **query))
            return [int(row.time - 100) for row in found]

        assert await numbers(publisher_id="p1") == [n for n in range(29, -1, -1) if n % 2 == 1]
        assert await numbers(consumer_id="c2") == [n for n in range(29, -1, -1) if n % 3 == 2]
        assert await numbers(stream_id="s4") == [29, 24, 19, 14, 9, 4]
        assert await numbers(publisher_id="p0", consumer_id="c0", stream_id="s0") == [0]
        assert await numbers(since=125.0) == [29, 28, 27, 26, 25]
        assert await numbers(until=102.0) == [2, 1, 0]
        assert await numbers(publisher_id="nobody") == []
        assert len(await database.history(HistoryQuery(limit=7))) == 7

    async def test_pages_follow_each_other_where_times_are_equal(self, database: Database) -> None:
        rows = [history_row(100.0) for _ in range(25)] + [history_row(101.0)]
        await database.write_history(rows)
        found: list[HistoryRow] = []
        before: tuple[float, str] | None = None
        while page := await database.history(HistoryQuery(before=before, limit=4)):
            found += page
            before = (page[-1].time, page[-1].id)
        assert [row.id for row in found] == [row.id for row in sorted(rows, key=lambda r: (r.time, r.id), reverse=True)]

    async def test_an_end_is_written_once_and_repeats_change_nothing(self, database: Database) -> None:
        row = history_row(100.0)
        end = ended(row)
        for batch in ([row], [end], [row], [ended(row, "expired", 99.0)], [end]):
            await database.write_history(batch)
        assert await database.history(HistoryQuery()) == [end]

    async def test_an_end_stands_for_itself(self, database: Database) -> None:
        end = ended(history_row(100.0), "withdrawn")
        await database.write_history([end])
        assert await database.history(HistoryQuery()) == [end]

    async def test_a_session_that_never_was_is_removed(self, database: Database) -> None:
        kept, lost = history_row(100.0), history_row(101.0)
        await database.write_history([kept, lost])
        await database.write_history([], [lost.id, "unknown"])
        assert await database.history(HistoryQuery()) == [kept]

    async def test_old_history_is_deleted_in_slices(self, database: Database) -> None:
        await database.write_history([history_row(float(n)) for n in range(500)])
        deleted = []
        while count := await database.purge_history(450.0, 200):
            deleted.append(count)
        assert deleted == [200, 200, 50]
        assert [row.time for row in await database.history(HistoryQuery(limit=500))] == [
            float(n) for n in range(499, 449, -1)
        ]

    async def test_old_acts_are_deleted_in_slices(self, database: Database) -> None:
        await database.write_history([], acts=[audit_row(float(n)) for n in range(10)])
        deleted = []
        while count := await database.purge_audit(7.0, 4):
            deleted.append(count)
        assert deleted == [4, 3]
        assert [row.at for row in await database.audit(AuditQuery(limit=500))] == [9.0, 8.0, 7.0]

    async def test_types_are_kept_and_a_name_is_taken_once(self, database: Database) -> None:
        row = TypeRow(
            id="1",
            name="lidar",
            display_name="LiDAR Point Cloud",
            description=HOSTILE,
            icon="scan",
            default_config={"format": "ply", "rate_hz": 10, "deep": {"list": [1, 2.5, None, True]}},
            created_at=1.5,
            updated_at=2.5,
        )
        await database.create_type(row)
        with pytest.raises(Conflict, match="Stream type 'lidar' already exists"):
            await database.create_type(msgspec.structs.replace(row, id="2"))
        other = TypeRow(id="3", name="dmx", display_name="DMX", created_at=1.0, updated_at=1.0)
        await database.create_type(other)
        assert await database.types() == [other, row]

    async def test_presets_are_saved_replaced_and_deleted(self, database: Database) -> None:
        row = PresetRow(id="1", name="LED wall", consumer_id="wall", consumer_address="10.0.0.5", config={"a": [1]})
        await database.save_preset(row)
        changed = msgspec.structs.replace(row, name=HOSTILE, consumer_port=7000, mode="add", default=True, config={})
        await database.save_preset(changed)
        assert await database.presets() == [changed]
        assert await database.delete_preset("1") is True
        assert await database.delete_preset("1") is False
        assert await database.presets() == []

    async def test_audit_is_kept_and_found(self, database: Database) -> None:
        rows = [
            audit_row(float(n), operator=f"o{n % 2}", verb="take" if n % 3 else "kick", object_id=f"x{n % 4}")
            for n in range(12)
        ]
        rows[3] = msgspec.structs.replace(rows[3], before={"name": HOSTILE}, after={}, detail=HOSTILE, milliseconds=1.5)
        await database.write_history([], acts=rows)
        await database.write_history([], acts=rows[:1])
        assert await database.audit(AuditQuery()) == rows[::-1]

        async def times(**query: Any) -> list[float]:
            return [row.at for row in await database.audit(AuditQuery(**query))]

        assert await times(operator="o1", verb="kick") == [9.0, 3.0]
        assert await times(object_id="x0") == [8.0, 4.0, 0.0]
        assert await times(since=10.0) == [11.0, 10.0]
        assert await times(until=1.0) == [1.0, 0.0]
        assert await times(before=(2.0, rows[2].id), limit=1) == [1.0]

    async def test_acts_come_with_history_too(self, database: Database) -> None:
        act = audit_row(1.0, before={"a": None})
        await database.write_history([], [], [act])
        await database.write_history([], [], [act])
        assert await database.audit(AuditQuery()) == [act]

    @pytest.mark.parametrize("value", [{"networks": ["10.0.0.0/8"]}, [], "text", 0, False, None])
    async def test_settings_hold_json(self, database: Database, value: Any) -> None:
        assert await database.get_setting("access") is None
        await database.set_setting("access", {"old": 1})
        await database.set_setting("access", value)
        assert await database.get_setting("access") == value

    async def test_api_keys_are_kept_by_their_hash(self, database: Database) -> None:
        rows = [ApiKeyRow(id=str(n), name=f"key {n}", key_hash=f"hash {n}", created_at=9.0 - n) for n in range(3)]
        for row in rows:
            await database.add_api_key(row)
        with pytest.raises(Conflict):
            await database.add_api_key(msgspec.structs.replace(rows[0], id="9"))
        assert await database.api_keys() == rows[::-1]
        assert await database.delete_api_key("1") is True
        assert await database.delete_api_key("1") is False
        assert [row.id for row in await database.api_keys()] == ["2", "0"]

    async def test_many_writers_and_readers_at_once(self, database: Database) -> None:
        rows = [history_row(float(n)) for n in range(60)]

        async def write(row: HistoryRow) -> None:
            await database.write_history([row])
            await database.write_history([], acts=[audit_row(row.time)])

        async def read() -> None:
            for _ in range(20):
                found = await database.history(HistoryQuery(limit=500))
                assert [row.time for row in found] == sorted((row.time for row in found), reverse=True)

        await asyncio.gather(*(write(row) for row in rows), *(read() for _ in range(6)))
        assert len(await database.history(HistoryQuery(limit=500))) == 60
        assert len(await database.audit(AuditQuery(limit=500))) == 60
