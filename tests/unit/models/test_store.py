"""The live picture: snapshots in parts, numbered diffs, gaps, ghosts, clocks and the derived questions."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.contract import AuditRow, Event, HealthRow, Hello, Snapshot
from app.models.rows import Rows
from app.models.store import Store
from tests.fakes.board import Board
from tests.fakes.feed_script import START, FeedScript, hold, negotiation, preset, raw, session, stream


def test_a_snapshot_shows_when_its_last_part_has_come(board: Board) -> None:
    first, second, third = board.feed.snapshot([stream(f"s{number}") for number in range(5)], size=2)
    board.send(first, second)
    assert not board.store.streams
    assert not board.store.loaded
    board.send(third)
    assert list(board.store.streams) == ["s0", "s1", "s2", "s3", "s4"]
    assert board.store.loaded
    assert board.store.live
    assert board.last().reset
    assert board.last().put["stream"] == {"s0", "s1", "s2", "s3", "s4"}


def test_an_empty_snapshot_is_a_snapshot(board: Board) -> None:
    board.show()
    assert board.store.loaded
    assert board.store.live


@pytest.mark.parametrize("order", [(0, 2), (1,), (0, 1, 1), (0, 1, 0, 2)])
def test_a_missing_or_repeated_part_is_told(board: Board, order: tuple[int, ...]) -> None:
    parts = board.feed.snapshot([stream(f"s{number}") for number in range(6)], size=2)
    answers = [board.store.receive(parts[number]) for number in order]
    assert answers[-1] is False
    assert all(answers[:-1])
    assert not board.store.in_step
    assert not board.store.streams


def test_a_snapshot_that_begins_anew_replaces_the_one_that_was_loading(board: Board) -> None:
    board.send(*board.feed.snapshot([stream("old1"), stream("old2"), stream("old3")], size=2)[:1])
    board.show(stream("new"))
    assert list(board.store.streams) == ["new"]


def test_diffs_change_rows_and_name_what_they_changed(board: Board) -> None:
    board.show(stream("cam"))
    board.feed.at += 9
    board.send(board.feed.beat("stream.beat", "cam"))
    assert board.store.streams["cam"].last_heartbeat == START + 9
    assert board.store.streams["cam"].expires_at == START + 39
    assert board.last().beat == {"stream": {"cam"}}
    board.send(board.feed.put("session.started", session("one", "cam")))
    assert board.last().put == {"session": {"one"}}
    assert board.last().touched == {"stream": {"cam"}}
    assert list(board.store.sessions_of("cam")) == ["one"]


def test_a_gap_is_told_and_only_a_snapshot_heals_it(board: Board) -> None:
    board.show(stream("cam"))
    board.feed.event("stream.beat", "cam", None)  # lost on the way
    assert board.store.receive(board.feed.put("stream.advertised", stream("late"))) is False
    assert not board.store.live
    assert board.store.receive(board.feed.put("stream.advertised", stream("later"))) is True  # told already, ignored
    assert list(board.store.streams) == ["cam"]
    board.show(stream("late"), stream("later"))
    assert board.store.live
    assert list(board.store.streams) == ["late", "later"]
    ghost = board.store.ghost("stream", "cam")
    assert ghost is not None
    assert ghost.cause == "gone while not connected"


def test_what_came_before_a_gap_in_one_batch_is_told(board: Board) -> None:
    board.show()
    good = board.feed.event("stream.advertised", "a", stream("a"))
    board.feed.seq += 1
    bad = board.feed.event("stream.advertised", "b", stream("b"))
    assert board.store.receive(board.feed.diff(good, bad)) is False
    assert board.last().put == {"stream": {"a"}}


def test_events_that_the_snapshot_has_already_are_passed_over(board: Board) -> None:
    board.feed.event("stream.advertised", "a", stream("a"))
    old = board.feed.event("stream.beat", "a", None)
    board.show(stream("a"))
    new = board.feed.event("stream.advertised", "b", stream("b"))
    board.send(board.feed.diff(old, new))
    assert list(board.store.streams) == ["a", "b"]


def test_a_number_that_two_pulses_have_announced_and_that_did_not_come_is_a_gap(board: Board) -> None:
    board.show(stream("cam"))
    lost = board.feed.put("stream.advertised", stream("new"))
    board.send(board.feed.pulse())  # may be ahead of its diff by a moment
    assert board.store.live
    assert board.store.receive(board.feed.pulse()) is False
    assert not board.store.live
    assert board.store.receive(lost)  # too late; the snapshot will have it
    assert "new" not in board.store.streams


def test_a_pulse_just_ahead_of_its_diff_is_no_gap(board: Board) -> None:
    board.show(stream("cam"))
    late = board.feed.put("stream.advertised", stream("new"))
    board.send(board.feed.pulse(), late, board.feed.pulse(), board.feed.pulse())
    assert board.store.live


def test_a_lost_link_keeps_the_rows_and_says_so(board: Board) -> None:
    board.show(stream("cam"))
    board.store.set_link("down", START, "connection refused")
    assert not board.store.live
    assert board.store.loaded
    assert list(board.store.streams) == ["cam"]
    assert board.store.link.text == "connection refused"
    board.send(Hello(protocol=1, broker="stage", version="1", started_at=START))
    board.store.set_link("live", START)
    assert not board.store.live  # a new connection is believed from its snapshot on
    assert board.store.receive(board.feed.put("stream.advertised", stream("early")))
    assert "early" not in board.store.streams
    board.show(stream("cam"))
    assert board.store.live
    assert not board.store.graveyard.of("stream")


def test_a_feed_that_was_silent_and_speaks_again_is_still_in_step(board: Board) -> None:
    board.show(stream("cam"))
    board.pass_silently(4)
    board.store.set_link("down", START, "nothing for 4 s")
    board.send(board.feed.pulse())
    board.store.set_link("live", START)
    assert board.store.live
    board.send(board.feed.put("stream.advertised", stream("mic")))
    assert list(board.store.streams) == ["cam", "mic"]


def test_silence_of_three_seconds_is_not_live(board: Board) -> None:
    board.show(stream("cam"))
    board.pass_silently(3.0)
    assert board.store.live
    board.pass_silently(0.1)
    assert not board.store.live
    assert board.store.feed_age() == pytest.approx(3.1)
    board.send(board.feed.pulse())
    assert board.store.live


@pytest.mark.parametrize(
    ("kind", "reason", "by", "cause"),
    [
        ("stream.expired", "expired", "", "TTL ran out"),
        ("stream.withdrawn", "withdrawn", "Kim", "withdrawn by Kim"),
        ("stream.withdrawn", "withdrawn", "", "withdrawn"),
        ("session.stopped", "stopped", "Kim", "stopped by Kim"),
        ("session.stopped", "superseded", "Kim", "replaced by Kim"),
        ("session.expired", "expired", "", "TTL ran out"),
        ("session.stopped", "eaten by mice", "", "eaten by mice"),
    ],
)
def test_a_row_that_went_is_a_ghost_for_a_minute_with_its_cause(
    board: Board, kind: str, reason: str, by: str, cause: str
) -> None:
    table = kind.split(".", maxsplit=1)[0]
    board.show(stream("cam"), session("one", "cam"))
    row_id = "cam" if table == "stream" else "one"
    board.send(board.feed.gone(kind, row_id, reason, by=by))
    assert board.last().removed == {table: {row_id}}
    assert board.store.row(table, row_id) is None
    ghost = board.store.ghost(table, row_id)
    assert ghost is not None
    assert ghost.cause == cause
    board.wait(59.5)
    board.store.tick()
    assert board.store.ghost(table, row_id) is not None
    board.wait(1.0)
    board.store.tick()
    assert board.store.ghost(table, row_id) is None
    assert board.last().removed == {table: {row_id}}


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_a_ghost_stays_its_minute_when_the_brokers_clock_is_stepped(board: Board, step: float) -> None:
    board.show(stream("cam"))
    board.send(board.feed.gone("stream.expired", "cam", "expired"))
    board.feed.at += step
    for _ in range(55):
        board.wait(1)
        board.store.tick()
    assert board.store.ghost("stream", "cam") is not None
    board.wait(6)
    board.store.tick()
    assert board.store.ghost("stream", "cam") is None


def test_ghosts_go_without_a_link_too(board: Board) -> None:
    board.show(stream("cam"))
    board.send(board.feed.gone("stream.expired", "cam", "expired"))
    board.store.set_link("down", START)
    board.pass_silently(61)
    board.store.tick()
    assert board.store.ghost("stream", "cam") is None


def test_a_row_that_comes_back_is_no_ghost(board: Board) -> None:
    board.show(stream("cam"))
    board.send(board.feed.gone("stream.expired", "cam", "expired"))
    board.send(board.feed.put("stream.advertised", stream("cam")))
    assert board.store.ghost("stream", "cam") is None
    board.send(board.feed.gone("stream.expired", "cam", "expired"))
    board.show(stream("cam"))
    assert board.store.ghost("stream", "cam") is None


def test_a_ghost_that_still_sends_stays_as_long_as_it_sends(board: Board) -> None:
    board.show(stream("cam"), session("one", "cam"))
    board.send(board.feed.gone("session.stopped", "one", "stopped", by="Kim"))
    for _ in range(12):
        board.wait(10)
        board.send(board.feed.still_sending("one"))
        board.store.tick()
    ghost = board.store.ghost("session", "one")
    assert ghost is not None
    assert ghost.still_sending == board.feed.at
    board.wait(61)
    board.store.tick()
    assert board.store.ghost("session", "one") is None
    board.send(board.feed.still_sending("one"))  # nobody we know any more
    assert board.store.ghost("session", "one") is None


def test_a_stream_that_goes_touches_the_sessions_it_leaves_behind(board: Board) -> None:
    board.show(stream("cam"), session("one", "cam"))
    board.send(board.feed.gone("stream.expired", "cam", "expired"))
    assert board.last().touched == {"session": {"one"}}
    ghost = board.store.ghost("stream", "cam")
    assert ghost is not None
    assert ghost.orphans == 1


def test_a_beat_of_a_hold_says_nothing_about_the_consumer(board: Board) -> None:
    board.show(stream("cam"), session("one", "cam", confirmed=False))
    board.feed.at += 8
    board.send(board.feed.beat("session.beat", "one", by_hold=True))
    row = board.store.sessions["one"]
    assert row.expires_at == START + 38
    assert row.last_heartbeat is None
    assert not row.confirmed
    board.send(board.feed.beat("session.beat", "one"))
    assert row.last_heartbeat == START + 8
    assert row.confirmed


def test_beats_of_rows_nobody_knows_are_nothing(board: Board) -> None:
    board.show()
    told = len(board.heard)
    board.send(board.feed.beat("stream.beat", "unknown"), board.feed.gone("stream.expired", "unknown", "expired"))
    assert len(board.heard) == told
    assert board.store.seq == 2


def test_which_preset_carries_what_follows_holds_and_consumers(board: Board) -> None:
    cam, mic = session("one", "cam"), session("two", "mic", "amp", consumer_address="10.0.1.7")
    wall, other = preset("wall", default=True), preset("other")
    board.show(stream("cam"), stream("mic"), cam, mic, wall, other)
    assert [row.id for row in board.store.carried_by("wall")] == ["one"]
    assert [row.id for row in board.store.carried_by("other")] == ["one"]
    board.send(board.feed.put("hold.started", hold("h", cam, "wall")))
    assert board.last().touched == {"stream": {"cam"}, "session": {"one"}}
    assert [row.id for row in board.store.carried_by("wall")] == ["one"]
    assert board.store.carried_by("other") == []
    assert [row.id for row in board.store.presets_on("cam")] == ["wall"]
    assert board.store.presets_on("mic") == []
    held = board.store.hold_of("one")
    assert held is not None
    assert held.operator == "Kim"
    default = board.store.default_preset()
    assert default is not None
    assert default.id == "wall"
    board.send(board.feed.gone("hold.ended", "h", "released"))
    assert [row.id for row in board.store.presets_on("cam")] == ["wall", "other"]


def test_what_was_held_for_a_deleted_preset_is_on_whichever_has_its_consumer(board: Board) -> None:
    cam = session("one", "cam")
    board.show(stream("cam"), cam, preset("wall"), hold("h", cam, "wall"))
    board.send(board.feed.gone("preset.deleted", "wall", "deleted"))
    assert board.last().touched == {"stream": {"cam"}, "session": {"one"}}
    board.send(board.feed.put("preset.saved", preset("wall again")))
    assert [row.id for row in board.store.carried_by("wall again")] == ["one"]
    assert [row.id for row in board.store.presets_on("cam")] == ["wall again"]


def test_a_preset_that_changes_its_consumer_touches_old_and_new(board: Board) -> None:
    board.show(
        stream("cam"), stream("mic"), session("one", "cam"), session("two", "mic", "amp", consumer_address="10.0.1.7")
    )
    board.send(board.feed.put("preset.saved", preset("p")))
    assert board.last().touched == {"stream": {"cam"}, "session": {"one"}}
    board.send(board.feed.put("preset.saved", preset("p", "amp", consumer_address="10.0.1.7")))
    assert board.last().touched == {"stream": {"cam", "mic"}, "session": {"one", "two"}}
    assert board.store.presets_on("cam") == []
    board.send(board.feed.gone("preset.deleted", "p", "deleted"))
    assert board.last().touched == {"stream": {"mic"}, "session": {"two"}}


def test_negotiations_run_end_and_are_cleared(board: Board) -> None:
    board.show(stream("cam"))
    board.send(board.feed.put("negotiation.started", negotiation("n", "cam")))
    running = board.store.running_for("cam")
    assert running is not None
    assert running.id == "n"
    ended = negotiation("n", "cam", outcome="rejected", detail="busy", milliseconds=12.5)
    board.send(board.feed.put("negotiation.ended", ended))
    assert board.store.running_for("cam") is None
    assert [one.milliseconds for one in board.store.ended] == [12.5]
    board.send(board.feed.gone("negotiation.cleared", "n", "cleared"))
    assert not board.store.negotiations
    assert len(board.store.ended) == 1


def test_no_more_than_five_hundred_ended_negotiations_are_kept(board: Board) -> None:
    board.show()
    events = [
        board.feed.event("negotiation.ended", f"n{number}", negotiation(f"n{number}", "cam", outcome="offer"))
        for number in range(600)
    ]
    board.send(board.feed.diff(*events))
    assert len(board.store.ended) == 500
    assert board.store.ended_total == 600


def test_the_brokers_clock_is_followed_and_late_messages_do_not_set_it_back(board: Board) -> None:
    board.show()
    assert board.store.broker_now() == pytest.approx(START)
    board.pass_silently(1.0)
    late = board.feed.pulse()
    board.clock.now += 0.4  # on the way for 400 ms
    board.send(late)
    assert board.store.broker_now() == pytest.approx(START + 1.4)
    board.feed.at += 3600  # stepped forwards: at once
    board.send(board.feed.pulse())
    assert board.store.broker_now() == pytest.approx(board.feed.at)
    board.feed.at -= 7200  # stepped backwards: within five messages
    for _ in range(5):
        board.wait(1.0)
    assert board.store.broker_now() == pytest.approx(board.feed.at)


def test_health_says_what_stops_a_take(board: Board) -> None:
    board.show()
    nats = HealthRow(id="nats", ok=False, since=START, text="NATS is away", take_down=True)
    board.send(board.feed.put("health.changed", HealthRow(id="disk", ok=False, since=START)))
    assert board.store.take_down() is None
    board.send(board.feed.put("health.changed", nats))
    assert [part.id for part in board.store.broken_parts()] == ["nats", "disk"]
    down = board.store.take_down()
    assert down is not None
    assert down.text == "NATS is away"
    board.send(board.feed.put("health.changed", HealthRow(id="nats", ok=True, since=START)))
    assert board.store.take_down() is None


def test_audit_rows_pass_through_to_listeners(board: Board) -> None:
    board.show()
    row = AuditRow(id="a", at=START, operator="Kim", verb="kick", object="cam", result="ok")
    board.send(board.feed.put("audit.added", row))
    assert board.last().audit == [row]


def test_rows_and_events_that_cannot_be_read_are_counted_and_passed_over(board: Board) -> None:
    bad = Snapshot(
        seq=0, at=START, part=1, parts=1, rows={"stream": [raw(stream("good")), raw({"id": 7})], "future": [raw({})]}
    )
    board.send(bad)
    assert list(board.store.streams) == ["good"]
    assert board.store.unreadable == 1
    board.feed.seq = 2
    events = [
        Event(seq=1, at=START, kind="stream.advertised", id="x", change=raw([1])),
        Event(seq=2, at=START, kind="drain.started", id="x", change=msgspec.Raw(b"{}")),
    ]
    board.send(board.feed.diff(*events))
    assert board.store.live
    assert board.store.unreadable == 3


def test_a_hello_is_kept_and_listeners_can_leave(board: Board) -> None:
    hello = Hello(protocol=1, broker="stage", version="1", started_at=START)
    stop = board.store.listen(lambda _changes: pytest.fail("left already"))
    stop()
    stop()
    board.send(hello)
    assert board.store.hello == hello


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["stream", "session", "hold", "preset", "negotiation", "snapshot"]),
            st.integers(0, 3),
            st.integers(0, 3),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_the_indexes_always_agree_with_the_rows(steps: list[tuple[str, int, int, bool]]) -> None:
    feed, store = FeedScript(), Store()
    store.set_link("live", START)
    for part in feed.snapshot():
        store.receive(part)
    kinds = {
        "stream": ("stream.advertised", "stream.expired"),
        "session": ("session.started", "session.stopped"),
        "hold": ("hold.started", "hold.ended"),
        "preset": ("preset.saved", "preset.deleted"),
        "negotiation": ("negotiation.started", "negotiation.cleared"),
    }
    for table, number, other, add in steps:
        if table == "snapshot":
            everything = [row for rows in store._rows.tables.values() for row in rows.values()]
            for part in feed.snapshot(everything[:number] if add else everything, size=2):
                assert store.receive(part)
        elif add:
            row = {
                "stream": stream(f"{number}"),
                "session": session(f"{number}", f"{other}", f"c{number}"),
                "hold": hold(f"{number}", session(f"{number}", f"{other}"), f"{other}"),
                "preset": preset(f"{number}", f"c{other}"),
                "negotiation": negotiation(f"{number}", f"{other}", outcome="offer" if other == 3 else None),
            }[table]
            assert store.receive(feed.put(kinds[table][0], row))
        else:
            assert store.receive(feed.gone(kinds[table][1], f"{number}", "expired"))
        assert_indexes_agree(store._rows)
        assert not store.streams.keys() & store.graveyard.of("stream").keys()


def assert_indexes_agree(rows: Rows) -> None:
    fresh = Rows()
    for table, by_id in rows.tables.items():
        for row in by_id.values():
            fresh.put(table, row)
    assert rows.sessions_by_stream == fresh.sessions_by_stream
    assert rows.sessions_by_consumer == fresh.sessions_by_consumer
    assert rows.presets_by_consumer == fresh.presets_by_consumer
    assert rows.holds_by_preset == fresh.holds_by_preset
    assert rows.running_by_stream == fresh.running_by_stream
    assert rows.hold_by_session.keys() == {one.session_id for one in rows.holds.values()}
