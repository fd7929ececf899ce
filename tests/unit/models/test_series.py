"""Rings, heartbeat intervals and the plots' samples."""

from __future__ import annotations

from math import isnan

import pytest

from app.models.series import INTERVALS_SHOWN, Beats, Plots, Ring
from tests.fakes.board import Board
from tests.fakes.feed_script import negotiation, session, stream


def test_a_ring_keeps_the_last_numbers_in_order() -> None:
    ring = Ring(4)
    assert all(isnan(value) for value in ring.ordered())
    for value in range(6):
        ring.add(value)
    assert list(ring.ordered()) == [2, 3, 4, 5]
    assert ring.last == 5
    assert len(ring) == 4


def test_intervals_are_those_between_the_last_heartbeats() -> None:
    beats = Beats()
    assert list(beats.of("cam")) == []
    for number in range(100):
        beats.heard("cam", number * 10.0, number * 10.0 + (10 if number < 90 else 25))
    assert len(beats.of("cam")) == INTERVALS_SHOWN
    assert list(beats.of("cam")) == [10.0] * 14 + [25.0] * 10
    beats.heard("cam", 50.0, 40.0)  # the broker's clock was set back
    assert beats.of("cam")[-1] == 0.0
    beats.heard("mic", 0.0, 9.0)
    beats.keep_only({"mic"})
    assert list(beats.of("cam")) == []
    beats.forget("mic")
    assert list(beats.of("mic")) == []


def test_the_store_hears_intervals_of_streams_alone(board: Board) -> None:
    board.show(stream("cam"), session("one", "cam"))
    for _ in range(3):
        board.wait(10)
        board.send(board.feed.beat("stream.beat", "cam"), board.feed.beat("session.beat", "one"))
    assert list(board.store.beats.of("cam")) == [10, 10, 10]
    assert list(board.store.beats.of("one")) == []
    board.send(board.feed.gone("stream.expired", "cam", "expired"))
    assert list(board.store.beats.of("cam")) == []


def test_a_second_that_was_not_live_is_a_hole(board: Board) -> None:
    plots = Plots(board.store)
    plots.sample()
    assert isnan(plots.streams.last)
    board.show(stream("cam"), session("one", "cam"))
    plots.sample()
    assert (plots.streams.last, plots.sessions.last, plots.negotiations.last) == (1, 1, 0)
    assert isnan(plots.latency.last)
    board.pass_silently(10)
    plots.sample()
    assert isnan(plots.streams.last)
    assert list(plots.streams.ordered())[-2] == 1


def test_negotiations_are_counted_in_the_second_they_ended_in(board: Board) -> None:
    board.show(stream("cam"))
    plots = Plots(board.store)
    for number, (outcome, milliseconds) in enumerate([("offer", 12.0), ("rejected", 80.0), ("bus_away", None)]):
        row = negotiation(f"n{number}", "cam", outcome=outcome, milliseconds=milliseconds)
        board.send(board.feed.put("negotiation.ended", row))
    plots.sample()
    assert (plots.negotiations.last, plots.failures.last, plots.latency.last) == (3, 2, 80.0)
    plots.sample()
    assert plots.negotiations.last == 0
    assert isnan(plots.latency.last)


@pytest.mark.parametrize("count", [700, 1200])
def test_a_storm_of_negotiations_is_counted_as_far_as_it_is_kept(board: Board, count: int) -> None:
    board.show(stream("cam"))
    plots = Plots(board.store)
    rows = [negotiation(f"n{number}", "cam", outcome="offer", milliseconds=1.0) for number in range(count)]
    board.send(board.feed.diff(*(board.feed.event("negotiation.ended", row.id, row) for row in rows)))
    plots.sample()
    assert plots.negotiations.last == count
