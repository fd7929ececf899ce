from __future__ import annotations

import json
from typing import Any

from app.contract import Gone, Row
from app.server.dialects.streamspace.listing import Kept, listed, page_of
from app.server.dialects.streamspace.wire import Paged
from app.server.events import EventLog


def test_a_row_is_encoded_once_and_anew_when_it_is_replaced() -> None:
    shaped: list[Row] = []

    def shape(row: Row) -> Any:
        shaped.append(row)
        return {"id": row.id}

    events = EventLog()
    kept: Kept[Row] = Kept(events, "agent", shape)
    first, second = Row(id="a"), Row(id="a")
    assert kept.of(first) == kept.of(first) == b'{"id":"a"}'
    assert kept.of(second) == b'{"id":"a"}'
    assert [row is first for row in shaped] == [True, False]
    events.publish("agent.removed", "a", Gone("deleted"))
    assert kept._known == {}, "nothing is kept of what has gone"


def test_a_31_pages() -> None:
    rows = list(range(7))
    assert page_of(rows, Paged(page=1, limit=3)) == [0, 1, 2]
    assert page_of(rows, Paged(page=3, limit=3)) == [6]
    assert page_of(rows, Paged(page=4, limit=3)) == []
    assert page_of(rows, Paged(page=10**9 - 1, limit=100)) == []


def test_a_page_tells_where_it_stands() -> None:
    body = json.loads(listed("things", [b"1", b"2"], Paged(page=2, limit=3), 7).body)
    assert body == {"things": [1, 2], "pagination": {"page": 2, "limit": 3, "total": 7, "total_pages": 3}}
    assert json.loads(listed("things", [], Paged(), 0).body)["pagination"]["total_pages"] == 0
    assert json.loads(listed("things", [], Paged(limit=3), 6).body)["pagination"]["total_pages"] == 2
