"""Tables that follow the store: what is announced, what holds still, ghosts, marks, and random operations under Qt's tester."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PySide6.QtCore import QPersistentModelIndex
from PySide6.QtTest import QAbstractItemModelTester
from pytestqt.exceptions import capture_exceptions
from pytestqt.qtbot import QtBot

from app.contract import Row
from app.models.tables.columns import (
    ACCESSIBLE_ROLE,
    ALIGN_ROLE,
    GHOST_ROLE,
    ID_ROLE,
    KIND_ROLE,
    MARK_ROLE,
    SPARK_ROLE,
    STATE_ROLE,
    TOOLTIP_ROLE,
    TTL_ROLE,
)
from app.models.tables.live import LiveTable
from app.models.tables.sessions import SessionTable
from app.models.tables.streams import StreamTable
from tests.fakes.board import Board
from tests.fakes.feed_script import START, hold, preset, session, stream


class Watched:
    """A board with a table on it, under Qt's model tester (its complaints are Qt warnings, which fail a test)."""

    def __init__(self, kind: type[LiveTable] = StreamTable) -> None:
        self.board = Board()
        self.table = kind(self.board.store, monotonic=self.board.clock)
        self.tester = QAbstractItemModelTester(self.table, QAbstractItemModelTester.FailureReportingMode.Warning)
        self.changed: list[tuple[int, int, int, int]] = []
        self.table.dataChanged.connect(
            lambda a, b: self.changed.append((a.row(), b.row(), a.column(), b.column()))  # type: ignore[arg-type]
        )

    def settle(self, seconds: float = 1.1) -> None:
        """Let enough time pass for whatever is due, and flush."""
        self.board.wait(seconds)
        self.table.flush()
        while self.table._dirty:
            self.table.flush()
        self.table.flush()

    def show(self, *rows: Row) -> None:
        self.board.show(*rows)
        self.settle()

    def cells(self, key: str) -> list[str]:
        column = self.table.column_number(key)
        return [self.table.index(row, column).data() for row in range(self.table.rowCount())]


@pytest.fixture
def streams(qapp: object) -> Iterator[Watched]:
    watched = Watched()
    yield watched
    watched.table.close()


@pytest.fixture
def sessions(qapp: object) -> Iterator[Watched]:
    watched = Watched(SessionTable)
    yield watched
    watched.table.close()


def test_columns_say_what_maestra_knows(streams: Watched) -> None:
    one = session("x", "cam")
    cam = stream("cam", "Cam 1", config={"resolution": "1920x1080", "fps": 30}, metadata={"location": "stage-left"})
    streams.show(cam, one, preset("wall", name="Wall"))
    table = streams.table
    row = {column.key: streams.cells(column.key)[0] for column in table.columns}
    assert row["state"] == "LIVE"
    assert row["name"] == "Cam 1"
    assert row["from"] == "pub-1"
    assert row["address"] == "10.0.0.5:5960"
    assert row["format"] == "1920x1080 30 fps"
    assert row["consumers"] == "1"
    assert row["on"] == "Wall"
    assert row["ttl"] == "28 s"
    assert row["age"] == "1 s"
    assert row["tags"] == "location=stage-left"
    assert row["take"] == "Take"
    titles = [table.headerData(number, _horizontal()) for number in range(table.columnCount())]
    assert titles[0] == "State"
    assert len(set(titles)) == len(titles)


def test_every_role_has_an_answer_for_every_cell(streams: Watched, sessions: Watched) -> None:
    for watched in (streams, sessions):
        one = session("x", "cam")
        watched.show(stream("cam", "<b>Cam</b>"), stream("mic"), one, session("y", "mic"), hold("h", one))
        watched.board.send(watched.board.feed.beat("stream.beat", "cam"))
        watched.board.send(watched.board.feed.gone("session.stopped", "y", "stopped", by="Kim"))
        watched.board.send(watched.board.feed.gone("stream.withdrawn", "mic", "withdrawn", by="Kim"))
        watched.settle()
        table = watched.table
        for row in range(table.rowCount()):
            for column in range(table.columnCount()):
                index = table.index(row, column)
                assert isinstance(index.data(), str)
                assert index.data(ID_ROLE) == table.item(row).id
                assert isinstance(index.data(ALIGN_ROLE), int)
                assert index.data(ACCESSIBLE_ROLE).startswith(table.columns[column].title)
                assert index.data(KIND_ROLE) == table.columns[column].kind
                assert index.data(MARK_ROLE) is False
                assert index.data(STATE_ROLE).word.text in ("LIVE", "HELD", "OFF", "FAULT")
                assert "<b>" not in index.data(TOOLTIP_ROLE)
                assert index.data(0x7FFF) is None
        ghost = next(row for row in range(table.rowCount()) if table.item(row).ghost is not None)
        assert table.index(ghost, 0).data(GHOST_ROLE).endswith("by Kim")
        ttl = table.column_number("ttl")
        assert table.index(ghost, ttl).data(TTL_ROLE) is None
        assert table.index(1 - ghost, ttl).data(TTL_ROLE) > 0
    spark = streams.table.column_number("beats")
    assert streams.table.index(0, spark).data(SPARK_ROLE) == [pytest.approx(1.1)]


def test_rows_appear_within_a_quarter_of_a_second_and_in_their_place(streams: Watched) -> None:
    streams.show(stream("b"), stream("d"))
    streams.board.send(streams.board.feed.put("stream.advertised", stream("c")))
    streams.board.wait(0.3)
    streams.table.flush()
    assert streams.table.order == ["b", "c", "d"]


def test_who_hears_of_a_change_finds_every_row_where_it_is_then(streams: Watched) -> None:
    table = streams.table
    heard: list[bool] = []

    def look() -> None:
        ids = [item.id for item in table.order_items]
        heard.append([table.row_of(row_id) for row_id in ids] == list(range(len(ids))))

    streams.show(stream("b"), stream("d"), stream("f"))
    table.row_of("b")
    table.rowsInserted.connect(look)
    table.rowsRemoved.connect(look)
    streams.show(stream("a"), stream("b"), stream("c"), stream("d"), stream("f"))
    streams.settle(62)
    assert heard
    assert all(heard)


def test_only_shown_rows_are_announced(streams: Watched) -> None:
    streams.show(*(stream(f"s{number:02}") for number in range(30)))
    streams.table.set_shown(10, 12)
    streams.changed.clear()
    feed = streams.board.feed
    streams.board.send(feed.diff(*(feed.beat("stream.beat", f"s{number:02}").events[0] for number in range(30))))
    streams.table.flush()
    last = streams.table.columnCount() - 1
    assert streams.changed == [(row, row, 0, last) for row in (10, 11, 12)]


def test_time_is_announced_each_second_and_ttl_bars_twice(streams: Watched) -> None:
    streams.show(stream("a"), stream("b"))
    streams.table.set_shown(0, 30)
    clocks = [number for number, column in enumerate(streams.table.columns) if column.clock]
    ttl = streams.table.column_number("ttl")
    streams.changed.clear()
    streams.board.wait(0.5)
    streams.table.flush()
    assert streams.changed == [(0, 1, ttl, ttl)]
    streams.changed.clear()
    streams.board.wait(0.5)
    streams.table.flush()
    announced = {column for _, _, left, right in streams.changed for column in range(left, right + 1)}
    assert announced == set(clocks)
    streams.changed.clear()
    streams.board.wait(0.1)
    streams.table.flush()
    assert streams.changed == []


def test_a_table_off_screen_runs_no_timer_and_catches_up(streams: Watched, qtbot: QtBot) -> None:
    streams.show(stream("a"))
    assert not streams.table._timer.isActive()
    streams.table.start()
    assert streams.table._timer.isActive()
    streams.table.stop()
    streams.board.send(streams.board.feed.put("stream.advertised", stream("b")))
    streams.board.wait(5)
    assert streams.table.order == ["a"]
    streams.table.start()
    assert streams.table.order == ["a", "b"]
    streams.table.stop()


def test_what_came_and_went_while_off_screen_is_not_remembered_for_ever(
    streams: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.models.tables.live.MOST_DIRTY", 50)
    streams.show(stream("stays"))
    for number in range(200):
        streams.board.send(streams.board.feed.put("stream.advertised", stream(f"s{number}")))
        streams.board.send(streams.board.feed.gone("stream.expired", f"s{number}", "expired"))
        streams.board.wait(61)
        streams.board.store.tick()
    assert len(streams.table._dirty) <= 52
    streams.settle()
    assert streams.table.order == ["stays"]


def test_a_large_snapshot_is_taken_in_slices(streams: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.models.tables.live.SLICE", 10)
    streams.board.show(*(stream(f"s{number:02}") for number in range(35)))
    turns = 0
    while streams.table._dirty:
        assert streams.table.rowCount() == 0
        streams.board.wait(0.3)
        streams.table.flush()
        turns += 1
    assert turns == 4
    assert streams.table.rowCount() == 35


def test_a_table_on_screen_takes_its_slices_by_itself(
    streams: Watched, monkeypatch: pytest.MonkeyPatch, qtbot: QtBot
) -> None:
    monkeypatch.setattr("app.models.tables.live.SLICE", 5)
    streams.table.start()
    streams.board.show(*(stream(f"s{number:02}") for number in range(35)))
    streams.board.wait(1.0)
    qtbot.waitUntil(lambda: not streams.table._dirty and not streams.table._next_slice.isActive())
    streams.table.stop()
    streams.settle()
    assert streams.table.rowCount() == 35


def test_the_order_is_held_while_the_hand_is_in_the_table(streams: Watched) -> None:
    streams.show(stream("a"), stream("c"), stream("d"))
    held: list[bool] = []
    streams.table.hold_changed.connect(held.append)
    streams.table.touched()
    feed = streams.board.feed
    streams.board.send(feed.put("stream.advertised", stream("b")))
    streams.board.send(feed.put("stream.advertised", stream("d", "0 first")))
    streams.board.send(feed.gone("stream.expired", "c", "expired"))
    streams.settle(1.0)
    assert streams.table.order == ["a", "c", "d", "b"]
    assert streams.table.item(1).ghost is not None
    assert streams.cells("name") == ["a", "c", "0 first", "b"]
    streams.settle(1.1)
    assert streams.table.order == ["d", "a", "b", "c"]
    assert held == [True, False]


@pytest.mark.parametrize("reason", ["menu", "action:kick:a"])
def test_the_order_is_held_as_long_as_something_asks_for_it(streams: Watched, reason: str) -> None:
    streams.show(stream("b"))
    streams.table.hold_order(reason)
    streams.table.hold_order("other")
    streams.board.send(streams.board.feed.put("stream.advertised", stream("a")))
    streams.settle(30)
    assert streams.table.held
    assert streams.table.order == ["b", "a"]
    streams.table.release_order(reason)
    streams.settle()
    assert streams.table.order == ["b", "a"]
    streams.table.release_order("other")
    streams.table.release_order("never asked")
    streams.settle()
    assert streams.table.order == ["a", "b"]


def test_membership_is_held_too_and_a_ghost_outlives_its_minute_in_place(streams: Watched) -> None:
    streams.show(stream("a", "cam a"), stream("b", "cam b"))
    assert streams.table.apply_filter("cam") is None
    streams.table.hold_order("menu")
    streams.board.send(streams.board.feed.put("stream.advertised", stream("a", "mic")))
    streams.board.send(streams.board.feed.put("stream.advertised", stream("c", "mic too")))
    streams.board.send(streams.board.feed.gone("stream.expired", "b", "expired"))
    streams.settle(61)
    streams.board.store.tick()
    streams.settle()
    assert streams.cells("name") == ["mic", "cam b"]
    streams.table.release_order("menu")
    streams.settle()
    assert streams.table.order == []
    assert streams.table.total == 2


def test_the_operators_own_sort_and_filter_work_while_the_order_is_held(streams: Watched) -> None:
    streams.show(stream("a", port=2), stream("b", port=1))
    streams.table.hold_order("menu")
    streams.table.sort_by("name", descending=True)
    assert streams.table.order == ["b", "a"]
    assert streams.table.apply_filter("port<2") is None
    assert streams.table.order == ["b"]


def test_a_bad_filter_is_returned_and_the_old_one_stays(streams: Watched) -> None:
    streams.show(stream("a"), stream("b"))
    assert streams.table.apply_filter("name:a") is None
    found = streams.table.apply_filter("nme:b")
    assert found is not None
    assert found.at == 0
    assert streams.table.order == ["a"]
    assert streams.table.query.format() == "name:a"


def test_an_expression_that_turns_out_slow_is_given_up_and_told(
    streams: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams.show(stream("a"), stream("b"))
    assert streams.table.apply_filter("re:^a") is None
    told: list[str] = []
    streams.table.filter_failed.connect(told.append)
    monkeypatch.setattr("app.models.filter.SLOWEST", -1.0)
    assert streams.table.apply_filter("re:b") is not None
    assert streams.table.order == ["a"]
    streams.board.send(streams.board.feed.put("stream.advertised", stream("c")))
    streams.settle()
    assert told == ["re: takes too long over these rows"]
    assert streams.table.order == ["a", "b", "c"]


def test_a_filter_on_time_follows_time(streams: Watched) -> None:
    streams.show(stream("a"), stream("b"))
    assert streams.table.apply_filter("age>20") is None
    assert streams.table.order == []
    streams.settle(15)
    streams.board.send(streams.board.feed.beat("stream.beat", "b"))
    streams.settle(6)
    assert streams.table.order == ["a"]
    assert streams.table.apply_filter("stale") is None
    assert streams.table.order == ["a"]


@pytest.mark.parametrize("key", [column.key for column in StreamTable.columns if column.kind != "button"])
def test_every_column_sorts_and_filters(streams: Watched, key: str) -> None:
    streams.show(*(stream(f"s{number}", port=number, metadata={"n": number}) for number in (3, 1, 2)))
    streams.table.sort_by(key)
    up = streams.table.order
    streams.table.sort_by(key, descending=True)
    assert sorted(up) == sorted(streams.table.order)
    assert streams.table.sorted_by == (key, True)
    column = streams.table.column_number(key)
    streams.table.sort(column)
    assert streams.table.sorted_by == (key, False)
    kind = streams.table.fields[key].kind
    assert streams.table.apply_filter(f"{key}:{'live' if kind == 'state' else '1'}") is None


def test_sorting_by_state_puts_trouble_on_top(streams: Watched) -> None:
    streams.show(stream("fine"), stream("late", last_heartbeat=START - 14), stream("gone"), session("x", "gone"))
    streams.board.send(streams.board.feed.gone("stream.expired", "gone", "expired"))
    streams.table.sort_by("state")
    streams.settle()
    assert streams.table.order == ["gone", "late", "fine"]


def test_no_sort_is_the_order_of_arrival(streams: Watched) -> None:
    streams.show(stream("b"), stream("a"))
    streams.table.sort_by("")
    assert streams.table.order == ["b", "a"]
    streams.table.sort(-1)
    streams.table.sort_by("no such column", descending=True)
    assert streams.table.order == ["a", "b"]


def test_marks_follow_ids_and_hidden_ones_are_counted_not_acted_on(streams: Watched) -> None:
    streams.show(stream("a"), stream("b"), stream("c"))
    told: list[None] = []
    streams.table.marks_changed.connect(lambda: told.append(None))
    streams.table.toggle_mark("a")
    streams.table.mark_span(2, 1)
    assert streams.table.marked() == ["a", "b", "c"]
    streams.table.toggle_mark("a")
    streams.table.toggle_mark("unknown")
    streams.table.sort_by("name", descending=True)
    assert streams.table.marked() == ["c", "b"]
    assert streams.table.apply_filter("name:b") is None
    assert streams.table.marked() == ["b"]
    assert streams.table.hidden_marks() == 1
    streams.board.send(streams.board.feed.gone("stream.expired", "b", "expired"))
    streams.settle()
    assert streams.table.marked() == []
    streams.table.clear_marks()
    assert streams.table.apply_filter("") is None
    assert streams.table.hidden_marks() == 0
    streams.table.mark_filtered()
    assert streams.table.marked() == ["c", "a"]
    assert len(told) == 5


def test_an_index_that_somebody_holds_stays_with_its_row(streams: Watched) -> None:
    streams.show(*(stream(f"s{number}") for number in range(8)))
    kept = {row_id: QPersistentModelIndex(streams.table.index_of(row_id)) for row_id in ("s2", "s7")}
    streams.table.sort_by("name", descending=True)
    streams.board.send(streams.board.feed.put("stream.advertised", stream("s9")))
    streams.board.send(streams.board.feed.gone("stream.expired", "s4", "expired"))
    streams.settle(61)
    streams.board.store.tick()
    streams.settle()
    assert streams.table.row_of("s4") == -1
    assert not streams.table.index_of("s4").isValid()
    for row_id, index in kept.items():
        assert index.isValid()
        assert index.data(ID_ROLE) == row_id
        assert index.row() == streams.table.row_of(row_id)


def test_what_is_exported_is_what_is_shown_with_numbers_as_numbers(streams: Watched) -> None:
    streams.show(stream("b", "=1+1"), stream("a", "cam"), stream("c", "mic"), session("x", "a"))
    assert streams.table.apply_filter("-mic") is None
    rows = [streams.table.record(item) for item in streams.table.order_items]
    assert [row["id"] for row in rows] == ["b", "a"]
    assert rows[0]["name"] == "=1+1"
    assert rows[1]["consumers"] == 1
    assert rows[1]["since"] == START
    assert rows[1]["state"] == "LIVE"
    assert "take" not in rows[0]


def test_a_stream_touched_by_a_session_reads_anew(streams: Watched) -> None:
    streams.show(stream("a"))
    assert streams.cells("consumers") == ["0"]
    streams.board.send(streams.board.feed.put("session.started", session("x", "a", "wall")))
    streams.settle()
    assert streams.cells("consumers") == ["1"]
    assert streams.table.apply_filter("consumers>0") is None
    assert streams.table.order == ["a"]


def test_sessions_say_who_holds_them_and_when_the_consumer_was_heard(sessions: Watched) -> None:
    held, own = session("h", "cam"), session("o", "cam", "desk", consumer_address="10.0.2.2", consumer_port=99)
    sessions.show(stream("cam"), held, own, hold("hold", held, "p"), preset("p", name="Wall"))
    sessions.board.send(sessions.board.feed.beat("session.beat", "o"))
    sessions.board.send(sessions.board.feed.beat("session.beat", "h", by_hold=True))
    sessions.settle()
    sessions.table.sort_by("who")
    assert sessions.cells("who") == ["desk", "wall"]
    assert sessions.cells("held") == ["consumer", "Callboard"]
    assert sessions.cells("heartbeat") == ["1 s", "never"]
    assert sessions.cells("preset") == ["", "Wall"]
    assert sessions.cells("way")[0] == "10.0.0.5:5960 \N{RIGHTWARDS ARROW} 10.0.2.2:99"
    assert [sessions.table.state_of(item).word.key for item in sessions.table.order_items] == ["live", "held"]
    assert sessions.table.apply_filter("10.0.2.0/24") is None
    assert sessions.table.order == ["o"]
    assert sessions.table.apply_filter("held:callboard") is None
    assert sessions.table.order == ["h"]


def test_sessions_can_stand_together_by_stream(sessions: Watched) -> None:
    table = sessions.table
    assert isinstance(table, SessionTable)
    names = [("1", "mic"), ("2", "cam"), ("3", "mic"), ("4", "cam2")]
    rows = [session(row_id, name, f"w{row_id}", started_at=START + int(row_id)) for row_id, name in names]
    twin = session("5", "other", stream_name="cam", started_at=START)
    sessions.show(*rows, twin)
    assert table.order == ["5", "1", "2", "3", "4"]
    table.group_by("stream")
    assert table.grouped
    assert table.order == ["2", "5", "4", "1", "3"]
    assert [table.group_title(row) for row in range(5)] == ["cam", "cam", "cam2", "mic", ""]
    table.sort_by("since", descending=True)
    assert table.order == ["2", "5", "4", "3", "1"]
    table.group_by("")
    assert table.order == ["4", "3", "2", "1", "5"]
    assert table.group_title(0) == ""


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["add", "rename", "gone", "beat", "mark", "session"]), st.integers(0, 12)),
        st.tuples(st.just("sort"), st.sampled_from(["name", "state", "ttl", "age", "consumers", ""])),
        st.tuples(
            st.just("filter"), st.sampled_from(["", "1", "-1", "age>12", "live", "re:^n.*1$", "bad:x", "name:n1"])
        ),
        st.tuples(st.sampled_from(["touch", "hold", "release", "tick", "flush", "many", "few", "down"]), st.just(0)),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 0.3, 1.0, 2.5, 20.0, 61.0])),
    ),
    max_size=40,
)


@pytest.fixture
def resets_are_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few rows make a reset: the tester reads every row at every signal, so tables must be small."""
    monkeypatch.setattr("app.models.tables.arrange.MOST_RANGES", 6)


@pytest.mark.usefixtures("resets_are_cheap")
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(operations=OPERATIONS, kind=st.sampled_from([StreamTable, SessionTable]), descending=st.booleans())
def test_random_operations_under_the_model_tester(
    qapp: object, qtlog: Any, operations: list[tuple[str, Any]], kind: type[LiveTable], descending: bool
) -> None:
    watched = Watched(kind)
    watched.show(*(stream(f"{number}", f"n{number}") for number in range(4)), session("s0", "0"), session("s1", "1"))
    kept = [QPersistentModelIndex(watched.table.index(row, 0)) for row in range(watched.table.rowCount())]
    owners = [index.data(ID_ROLE) for index in kept]
    with capture_exceptions() as raised:
        for name, value in operations:
            operate(watched, name, value, descending)
            assert_consistent(watched)
            for index, owner in zip(kept, owners, strict=True):
                assert not index.isValid() or index.data(ID_ROLE) == owner
    assert raised == []
    assert [record.message for record in qtlog.records] == []
    watched.table.close()
    del watched
    gc.collect(0)


def operate(watched: Watched, name: str, value: Any, descending: bool) -> None:
    """One step of the random test."""
    board, feed, table = watched.board, watched.board.feed, watched.table
    row_id = f"{value}"
    steps = {
        "add": lambda: board.send(feed.put("stream.advertised", stream(row_id, f"n{value}"))),
        "rename": lambda: board.send(feed.put("stream.advertised", stream(row_id, f"other{value * 7}"))),
        "gone": lambda: board.send(feed.gone("stream.expired", row_id, "expired")),
        "beat": lambda: board.send(feed.beat("stream.beat", row_id)),
        "session": lambda: board.send(feed.put("session.started", session(f"s{value}", row_id))),
        "mark": lambda: table.toggle_mark(row_id),
        "sort": lambda: table.sort_by(value, descending=descending),
        "filter": lambda: table.apply_filter(value),
        "touch": table.touched,
        "hold": lambda: table.hold_order("menu"),
        "release": lambda: table.release_order("menu"),
        "tick": board.store.tick,
        "flush": table.flush,
        "many": lambda: board.show(*(stream(f"{number}", f"n{number}") for number in range(30))),
        "few": lambda: board.show(stream("0", "n0"), session("s0", "0")),
        "down": lambda: board.pass_silently(4),
        "wait": lambda: board.wait(value),
    }
    steps[name]()
    table.flush()


def assert_consistent(watched: Watched) -> None:
    """What must hold after every step, whatever the table is in the middle of."""
    table = watched.table
    order = table.order
    assert table.rowCount() == len(order)
    assert len(set(order)) == len(order)
    assert all(table.row_of(row_id) == row for row, row_id in enumerate(order))
    if not table.held and not table._dirty and not table._rows_due and not table._sort_due and not table._sort_moves():
        expected = table.sorted_items(table.passing(table._items.values()))
        assert [item.id for item in expected] == order


def _horizontal() -> Any:
    from PySide6.QtCore import Qt

    return Qt.Orientation.Horizontal
