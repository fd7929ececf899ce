"""History and audit: pages at the end, news in front, each id once, under Qt's model tester."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PySide6.QtTest import QAbstractItemModelTester

from app.contract import AuditRow, HistoryRow
from app.models.tables.audit import AuditTable, changes_of
from app.models.tables.columns import STATE_ROLE
from app.models.tables.history import HistoryTable
from app.models.tables.paged import PagedTable
from tests.fakes.board import Board
from tests.fakes.feed_script import START


def audit(number: int, **fields: Any) -> AuditRow:
    values: dict[str, Any] = {"operator": "Kim", "verb": "kick", "object": f"cam {number}", "result": "ok"}
    return AuditRow(id=f"a{number}", at=START - number, **(values | fields))


def history(number: int, **fields: Any) -> HistoryRow:
    values: dict[str, Any] = {
        "stream_id": "s",
        "stream_name": f"cam {number}",
        "stream_type": "ndi",
        "publisher_id": "pub-1",
        "publisher_address": "10.0.0.5",
        "consumer_id": "wall",
        "consumer_address": "10.0.1.9",
        "protocol": "ndi",
    }
    return HistoryRow(id=f"h{number}", time=START - number, **(values | fields))


def watched(kind: type[PagedTable], board: Board) -> PagedTable:
    table = kind(board.store)
    tester = QAbstractItemModelTester(table, QAbstractItemModelTester.FailureReportingMode.Warning)
    tester.setParent(table)
    return table


@pytest.fixture
def board(qapp: object) -> Board:
    board = Board()
    board.show()
    return board


def test_pages_are_added_at_the_end_and_say_where_the_next_begins(board: Board) -> None:
    table = watched(AuditTable, board)
    assert table.oldest is None
    assert table.append_page([audit(0), audit(1)]) == 2
    assert table.append_page([audit(1), audit(2)]) == 1
    assert table.order == ["a0", "a1", "a2"]
    assert table.oldest == (START - 2, "a2")
    table.clear()
    assert table.rowCount() == 0


def test_news_stand_in_front_and_known_rows_are_renewed(board: Board) -> None:
    table = watched(HistoryTable, board)
    table.append_page([history(1), history(2)])
    assert table.prepend([history(0), history(1, status="stopped", ended_at=START + 60, duration_seconds=61.0)]) == 1
    assert table.order == ["h0", "h1", "h2"]
    status, duration = table.column_number("status"), table.column_number("duration")
    assert table.index(1, status).data() == "stopped"
    assert table.index(1, duration).data() == "1 m 01"
    assert table.index(0, status).data() == "running"
    assert table.index(0, 0).data(STATE_ROLE).word.key == "live"
    assert table.index(1, 0).data(STATE_ROLE).word.key == "off"


def test_what_is_too_much_is_dropped_from_the_old_end(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.models.tables.paged.MOST_ROWS", 3)
    table = watched(AuditTable, board)
    table.append_page([audit(number) for number in range(1, 4)])
    table.prepend([audit(0)])
    assert table.order == ["a0", "a1", "a2"]


def test_history_filters_by_address_status_and_age(board: Board) -> None:
    table = watched(HistoryTable, board)
    table.append_page([history(1), history(400, status="expired", consumer_address="10.0.9.9", error_message="lost")])
    for text, found in [
        ("10.0.9.0/24", ["h400"]),
        ("time<5m", ["h1"]),
        ("status:ttl", ["h400"]),
        ("lost", ["h400"]),
        ("to:wall", ["h1", "h400"]),
        ("session=h1", ["h1"]),
    ]:
        assert table.apply_filter(text) is None
        assert table.order == found, text


def test_an_audit_row_says_what_changed(board: Board) -> None:
    table = watched(AuditTable, board)
    row = audit(
        1, before={"name": "a", "port": 1}, after={"port": 2, "tags": ["x"]}, detail="cancelled: Esc", milliseconds=12.4
    )
    table.append_page([row, audit(2)])
    cells = {column.key: table.cell(table.item(0), column) for column in table.columns}
    assert cells["change"] == "name=a port=1 \N{RIGHTWARDS ARROW} port=2 x"
    assert cells["result"] == "ok: cancelled: Esc"
    assert cells["ms"] == "12"
    assert cells["dialect"] == "Maestra"
    assert changes_of(row) == {"name": ("a", None), "port": (1, 2), "tags": (None, ["x"])}
    assert table.cell(table.item(1), table.column("change")) == ""
    assert table.apply_filter("ms>10") is None
    assert table.record(table.order_items[0])["ms"] == 12.4


def test_an_audit_row_says_through_which_dialect_it_came(board: Board) -> None:
    table = watched(AuditTable, board)
    named = {"maestra": "Maestra", "streamspace": "StreamSpace", "console": "Console", "a later one": "a later one"}
    table.append_page([audit(number, dialect=dialect) for number, dialect in enumerate(named)])
    assert [table.cell(table.item(row), table.column("dialect")) for row in range(4)] == list(named.values())
    assert table.apply_filter("dialect:streamspace") is None
    assert table.order == ["a1"]


@pytest.mark.parametrize("kind", [HistoryTable, AuditTable])
def test_every_column_sorts_filters_and_exports(board: Board, kind: type[PagedTable]) -> None:
    table = watched(kind, board)
    make: Any = history if kind is HistoryTable else audit
    table.append_page([make(number) for number in range(5)])
    for column in table.columns:
        table.sort_by(column.key, descending=True)
        assert table.apply_filter(f"{column.key}:1") is None
        assert table.apply_filter("") is None
    assert len(table.order_items) == 5


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["append", "prepend", "clear", "sort", "filter", "mark"]), st.integers(0, 12)),
        max_size=25,
    )
)
def test_random_operations_under_the_model_tester(qapp: object, qtlog: Any, steps: list[tuple[str, int]]) -> None:
    board = Board()
    board.show()
    table = watched(AuditTable, board)
    for name, number in steps:
        rows = [audit(number + more) for more in range(4)]
        if name == "append":
            table.append_page(rows)
        elif name == "prepend":
            table.prepend(rows)
        elif name == "clear":
            table.clear()
        elif name == "sort":
            table.sort_by(["time", "object", "ms", ""][number % 4], descending=number > 6)
        elif name == "filter":
            table.apply_filter(["", "1", "-1", "object:2", "x:x"][number % 5])
        else:
            table.toggle_mark(f"a{number}")
        assert len(set(table.order)) == table.rowCount() <= table.total
        assert set(table.marked()) <= set(table.order)
    assert [record.message for record in qtlog.records] == []
