"""What of agents and desktops folds into which of the six words."""

from __future__ import annotations

import pytest

from app.contract import AgentBeat, AgentRow, DesktopRow
from app.models.fleet_states import state_of_agent, state_of_desktop
from app.models.states import State
from tests.fakes.board import Board
from tests.fakes.feed_script import agent, desktop, drain


def of_agent(board: Board, row_id: str = "rack-1") -> State:
    ghost = board.store.ghost("agent", row_id)
    row = ghost.row if ghost is not None else board.store.agents[row_id]
    assert isinstance(row, AgentRow)
    return state_of_agent(row, board.store, board.store.broker_now(), ghost)


def of_desktop(board: Board, row_id: str = "desk") -> State:
    ghost = board.store.ghost("desktop", row_id)
    row = ghost.row if ghost is not None else board.store.desktops[row_id]
    assert isinstance(row, DesktopRow)
    return state_of_desktop(row, board.store, board.store.broker_now(), ghost)


@pytest.mark.parametrize(
    ("age", "word", "reason"), [(0, "live", "online"), (11.9, "live", "online"), (12, "stale", "heartbeat late")]
)
def test_an_agent_is_live_until_its_heartbeat_is_late(board: Board, age: float, word: str, reason: str) -> None:
    board.show(agent())
    board.wait(age)
    assert (of_agent(board).word.key, of_agent(board).reason) == (word, reason)
    assert of_agent(board).age == pytest.approx(age)


def test_a_heartbeat_makes_it_live_again(board: Board) -> None:
    board.show(agent())
    board.wait(14)
    beat = AgentBeat(last_heartbeat=board.feed.at, sessions=3, cpu=40.0)
    board.send(board.feed.diff(board.feed.event("agent.beat", "rack-1", beat)))
    assert of_agent(board).text == "LIVE"
    assert board.store.agents["rack-1"].sessions == 3


def test_a_drained_agent_is_held_and_says_what_holds_it_up(board: Board) -> None:
    board.show(agent(status="draining"), drain())
    assert (of_agent(board).text, of_agent(board).reason) == ("HELD draining", "takes no new sessions")
    board.send(board.feed.put("drain.changed", drain(stuck="no session ended for 15 min")))
    assert of_agent(board).reason == "takes no new sessions, stuck: no session ended for 15 min"
    board.wait(13)
    assert (of_agent(board).word.key, of_agent(board).reason) == ("stale", "heartbeat late, draining")


def test_an_agent_that_went_is_off_and_a_fault_where_it_left_somebody(board: Board) -> None:
    board.show(agent(status="offline"), agent("rack-2", status="offline"), desktop(agent_id="rack-2"))
    assert of_agent(board).word.key == "off"
    left = of_agent(board, "rack-2")
    assert (left.word.key, left.reason) == ("fault", "offline with 1 session")


def test_a_removed_agent_is_a_ghost_with_its_cause(board: Board) -> None:
    board.show(agent())
    board.send(board.feed.gone("agent.removed", "rack-1", "deleted", by="kim"))
    assert (of_agent(board).text, of_agent(board).reason) == ("OFF deleted 0 s", "deleted by kim")


@pytest.mark.parametrize(
    ("fields", "text", "reason"),
    [
        ({}, "LIVE", ""),
        ({"state": "pending", "phase": "Creating", "message": "pulling the image"}, "CHANGING starting", "pulling the image"),
        ({"state": "running", "phase": "Hibernating"}, "CHANGING hibernating", ""),
        ({"state": "hibernated", "phase": "Waking"}, "CHANGING waking", ""),
        ({"state": "terminating", "phase": "Terminating"}, "CHANGING ending", ""),
        ({"state": "hibernated", "phase": "Hibernated"}, "HELD hibernated", ""),
        ({"phase": "Unknown", "message": "agent offline"}, "FAULT agent lost 0 s", "agent offline"),
        ({"agent_id": None, "state": "pending", "phase": "Pending"}, "CHANGING starting", ""),
    ],
)  # fmt: skip
def test_a_desktop_by_state_and_phase(board: Board, fields: dict[str, object], text: str, reason: str) -> None:
    board.show(agent(), desktop(**fields))
    assert (of_desktop(board).text, of_desktop(board).reason) == (text, reason)


def test_a_desktop_is_as_sure_as_its_agent(board: Board) -> None:
    board.show(agent(), desktop(), desktop("sleeps", state="hibernated", phase="Hibernated"))
    board.wait(15)
    assert of_desktop(board).reason == "agent not heard for 15 s"
    assert of_desktop(board).word.key == "stale"
    assert of_desktop(board, "sleeps").word.key == "held"
    board.send(board.feed.put("agent.changed", agent(status="offline")))
    assert (of_desktop(board).word.key, of_desktop(board).reason) == ("stale", "agent not connected")
    assert of_desktop(board, "sleeps").reason == "agent not connected"


def test_ended_and_failed_desktops_are_ghosts(board: Board) -> None:
    board.show(agent(), desktop(), desktop("bad"))
    ended = desktop(state="terminated", phase="Terminated", message="terminated by kim", ended_at=board.feed.at)
    failed = desktop("bad", state="terminated", phase="Failed", message="no memory left", error_code="OOM")
    board.send(board.feed.put("desktop.changed", ended), board.feed.put("desktop.changed", failed))
    assert board.store.desktops == {}
    assert (of_desktop(board).text, of_desktop(board).reason) == ("OFF ended 0 s", "terminated by kim")
    assert (of_desktop(board, "bad").text, of_desktop(board, "bad").reason) == (
        "FAULT failed 0 s",
        "failed: no memory left",
    )


def test_nothing_is_claimed_while_the_board_is_not_live(board: Board) -> None:
    board.show(agent(), desktop(state="hibernated", phase="Hibernated"))
    board.pass_silently(5)
    for state in (of_agent(board), of_desktop(board)):
        assert state.word.key == "stale"
        assert "not live" in state.reason
