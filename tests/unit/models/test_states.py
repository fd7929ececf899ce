"""The six words: what folds into what, for streams, sessions and ghosts."""

from __future__ import annotations

import pytest

from app.contract import GHOST_SECONDS
from app.models.states import WORDS, State, rank, state_of_session, state_of_stream
from tests.fakes.board import Board
from tests.fakes.feed_script import START, hold, negotiation, session, stream


def of_stream(board: Board, row_id: str = "cam") -> State:
    ghost = board.store.ghost("stream", row_id)
    row = board.store.streams[row_id] if ghost is None else ghost.row
    return state_of_stream(row, board.store, board.store.broker_now(), ghost)  # type: ignore[arg-type]


def of_session(board: Board, row_id: str = "one") -> State:
    ghost = board.store.ghost("session", row_id)
    row = board.store.sessions[row_id] if ghost is None else ghost.row
    return state_of_session(row, board.store, board.store.broker_now(), ghost)  # type: ignore[arg-type]


def test_every_word_has_a_shape_and_a_rank_of_its_own() -> None:
    assert set(WORDS) == {"live", "changing", "held", "stale", "fault", "off"}
    for part in ("glyph", "shape", "rank", "text"):
        assert len({getattr(word, part) for word in WORDS.values()}) == 6


@pytest.mark.parametrize(
    ("age", "word", "reason"),
    [
        (0, "live", ""),
        (11.9, "live", ""),
        (12, "stale", "heartbeat late"),
        (19.9, "stale", "heartbeat late"),
        (20, "stale", "no heartbeat"),
        (35, "stale", "no heartbeat"),
    ],
)
def test_a_stream_is_live_until_its_heartbeat_is_late(board: Board, age: float, word: str, reason: str) -> None:
    board.show(stream("cam"), session("one", "cam"))
    board.wait(age)
    for state in (of_stream(board), of_session(board)):
        assert (state.word.key, state.reason) == (word, reason)
        assert state.age == pytest.approx(age)


def test_a_state_is_written_with_its_age_where_it_matters(board: Board) -> None:
    board.show(stream("cam"))
    assert of_stream(board).text == "LIVE"
    board.wait(13)
    assert of_stream(board).text == "STALE 13 s"
    assert of_stream(board).sentence == "STALE, heartbeat late, 13 s"


def test_after_a_restart_of_the_broker_rows_are_stale_until_heard(board: Board) -> None:
    board.show(stream("cam", confirmed=False), session("one", "cam", confirmed=False))
    assert of_stream(board).word.key == "stale"
    assert of_stream(board).reason == "not heard since the broker restarted"
    assert of_session(board).word.key == "stale"
    board.send(board.feed.beat("stream.beat", "cam"), board.feed.beat("session.beat", "one"))
    assert of_stream(board).word.key == "live"
    assert of_session(board).word.key == "live"


def test_a_negotiation_is_changing_with_whom_and_how_long(board: Board) -> None:
    board.show(stream("cam"))
    board.send(board.feed.put("negotiation.started", negotiation("n", "cam")))
    board.wait(2)
    assert of_stream(board).word.key == "changing"
    assert of_stream(board).reason == "negotiating with wall, 3 s left"
    board.send(board.feed.put("negotiation.ended", negotiation("n", "cam", outcome="offer")))
    assert of_stream(board).word.key == "live"


def test_a_held_session_never_claims_that_its_consumer_is_alive(board: Board) -> None:
    one = session("one", "cam")
    board.show(stream("cam"), one, hold("h", one))
    assert of_session(board).word.key == "held"
    assert of_session(board).text == "HELD by Callboard"
    assert of_session(board).reason == "held by Callboard, consumer never heard"
    for _ in range(9):
        board.wait(10)
        board.send(board.feed.beat("stream.beat", "cam"), board.feed.beat("session.beat", "one", by_hold=True))
    assert of_session(board).word.key == "held"
    board.send(board.feed.beat("session.beat", "one"))  # the consumer itself
    assert of_session(board).word.key == "live"
    board.wait(14)
    assert of_session(board).word.key == "held"
    assert of_session(board).reason == "held by Callboard, consumer last heard 14 s ago"


def test_a_session_whose_source_has_gone_is_a_fault(board: Board) -> None:
    board.show(stream("cam"), session("one", "cam"))
    board.send(board.feed.gone("stream.expired", "cam", "expired"))
    board.wait(4)
    state = of_session(board)
    assert (state.word.key, state.reason, state.age) == ("fault", "source lost", pytest.approx(4))
    assert state.text == "FAULT source lost 4 s"
    ghost = of_stream(board)
    assert (ghost.text, ghost.reason) == ("FAULT expired 4 s", "TTL ran out while it had 1 session")


def test_a_stream_that_went_without_sessions_is_off_with_its_cause(board: Board) -> None:
    board.show(stream("cam"))
    board.send(board.feed.gone("stream.expired", "cam", "expired"))
    assert (of_stream(board).text, of_stream(board).reason) == ("OFF expired 0 s", "TTL ran out")


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("withdrawn", "OFF withdrawn 0 s"),
        ("expired", "OFF expired 0 s"),
        ("stopped", "OFF stopped 0 s"),
        ("superseded", "OFF replaced 0 s"),
        ("unseen", "OFF gone 0 s"),
    ],
)
def test_the_row_itself_says_why_it_is_no_more(board: Board, reason: str, text: str) -> None:
    board.show(stream("cam"), session("one", "cam"))
    board.send(board.feed.gone("session.stopped", "one", reason))
    assert of_session(board).text == text


def test_a_stopped_session_that_still_sends_is_a_fault(board: Board) -> None:
    board.show(stream("cam"), session("one", "cam"))
    board.send(board.feed.gone("session.stopped", "one", "stopped", by="Kim"))
    assert of_session(board).word.key == "off"
    assert of_session(board).reason == "stopped by Kim"
    board.wait(5)
    board.send(board.feed.still_sending("one"))
    assert of_session(board).word.key == "fault"
    assert of_session(board).text == "FAULT still sending 0 s"
    assert of_session(board).reason == "still sending (stopped by Kim)"


def test_what_looked_well_is_stale_while_the_board_is_not_live(board: Board) -> None:
    board.show(stream("cam"), session("one", "cam"), stream("dead"))
    board.send(board.feed.gone("stream.expired", "dead", "expired"))
    board.pass_silently(5)
    for state in (of_stream(board), of_session(board)):
        assert state.word.key == "stale"
        assert state.reason == "the board is not live for 5 s, this is what was known last"
    assert of_stream(board, "dead").word.key == "off"
    assert GHOST_SECONDS > 5
    assert board.feed.at == START + 5


def test_trouble_sorts_first_and_the_oldest_on_top() -> None:
    states = [State(word, age) for word in WORDS.values() for age in (1.0, 50.0)]
    ordered = sorted(states, key=rank)
    assert [state.word.key for state in ordered[:4]] == ["fault", "fault", "stale", "stale"]
    assert [state.age for state in ordered[:2]] == [50.0, 1.0]
