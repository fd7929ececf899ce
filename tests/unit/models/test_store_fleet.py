"""The fleet in the store: patches, indexes, ghosts of what ended, what touches what."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from app.contract import AgentBeat, DesktopBeat, ViewerBeat
from app.models.rows import Rows
from app.models.store import Store
from tests.fakes.board import Board
from tests.fakes.feed_script import START, FeedScript, agent, desktop, drain, template, viewer


def patch(board: Board, kind: str, row_id: str, change: Any) -> None:
    board.send(board.feed.diff(board.feed.event(kind, row_id, change)))


def ended(row_id: str = "desk", **fields: Any) -> Any:
    return desktop(row_id, **({"state": "terminated", "phase": "Terminated", "ended_at": START} | fields))


class TestPatches:
    def test_fields_of_the_change_replace_the_rows(self, board: Board) -> None:
        board.show(agent(cpu=90.0, warning="counts differ"))
        patch(board, "agent.beat", "rack-1", AgentBeat(last_heartbeat=START + 10, sessions=4))
        row = board.store.agents["rack-1"]
        assert (row.sessions, row.cpu, row.warning, row.max_sessions) == (4, None, "", 10)
        assert board.last().beat == {"agent": {"rack-1"}}

    def test_each_heartbeat_is_a_sample(self, board: Board) -> None:
        board.show(agent(cpu=10.0))
        patch(board, "agent.beat", "rack-1", AgentBeat(last_heartbeat=START + 10, sessions=0, cpu=20.0))
        load = board.store.loads.of("rack-1")
        assert load is not None
        assert list(load.cpu) == [10.0, 20.0]

    def test_a_desktops_load_and_a_viewers_traffic(self, board: Board) -> None:
        board.show(agent(), desktop(), viewer("v", open=False))
        patch(board, "desktop.beat", "desk", DesktopBeat(load_cpu=12.5, load_memory=5, last_activity=START + 1))
        assert board.store.desktops["desk"].load_cpu == 12.5
        patch(board, "viewer.beat", "v", ViewerBeat(open=True, down_bytes=1, up_bytes=1, down_rate=1.0, up_rate=0.0))
        assert board.store.viewers["v"].open
        assert board.last().touched == {"desktop": {"desk"}}
        patch(board, "viewer.beat", "v", ViewerBeat(open=True, down_bytes=2, up_bytes=1, down_rate=1.0, up_rate=0.0))
        assert board.last().touched == {}

    def test_of_an_unknown_row_it_is_nothing(self, board: Board) -> None:
        board.show(agent())
        patch(board, "desktop.beat", "nobody", DesktopBeat())
        assert board.store.unreadable == 0


class TestEnds:
    def test_a_terminated_session_is_a_ghost_for_a_minute(self, board: Board) -> None:
        board.show(agent(), desktop())
        board.send(board.feed.put("desktop.changed", ended(message="terminated by kim")))
        assert board.last().removed == {"desktop": {"desk"}}
        assert board.last().touched == {"agent": {"rack-1"}}
        ghost = board.store.ghost("desktop", "desk")
        assert ghost is not None
        assert ghost.cause == "terminated by kim"
        board.wait(61)
        board.store.tick()
        assert board.store.ghost("desktop", "desk") is None

    def test_a_failed_one_is_shown_for_ten(self, board: Board) -> None:
        board.show(agent(), desktop())
        board.send(board.feed.put("desktop.changed", ended(phase="Failed", message="no memory")))
        board.wait(61)
        board.store.tick()
        ghost = board.store.ghost("desktop", "desk")
        assert ghost is not None
        assert ghost.cause == "failed: no memory"

    def test_told_twice_it_does_not_die_twice(self, board: Board) -> None:
        board.show(agent(), desktop())
        board.send(board.feed.put("desktop.changed", ended()))
        board.wait(40)
        board.send(board.feed.put("desktop.changed", ended(tags=["x"])))
        board.wait(21)
        board.store.tick()
        assert board.store.ghost("desktop", "desk") is None
        board.send(board.feed.gone("desktop.removed", "desk", "purged"))
        assert board.store.ghost("desktop", "desk") is None

    def test_a_snapshot_shows_what_ended_lately_and_no_more(self, board: Board) -> None:
        board.feed.at += 100
        board.clock.now += 100
        board.show(agent(), ended("old"), ended("new", ended_at=START + 90), ended("bad", phase="Failed"), desktop())
        assert set(board.store.desktops) == {"desk"}
        assert set(board.store.graveyard.of("desktop")) == {"new", "bad"}
        assert board.last().removed["desktop"] == {"new", "bad"}
        board.wait(51)
        board.store.tick()
        assert set(board.store.graveyard.of("desktop")) == {"bad"}

    def test_what_went_unseen_is_a_ghost(self, board: Board) -> None:
        board.show(agent(), desktop())
        board.show(agent())
        ghost = board.store.ghost("desktop", "desk")
        assert ghost is not None
        assert ghost.cause == "gone while not connected"

    def test_another_broker_has_another_fleet(self, board: Board) -> None:
        board.show(agent(), desktop(), ended("bad", phase="Failed"))
        board.store.forget()
        assert (dict(board.store.agents), dict(board.store.graveyard.of("desktop"))) == ({}, {})
        assert board.store.loads.of("rack-1") is None


class TestTouched:
    def test_drains_and_desktops_touch_their_agent(self, board: Board) -> None:
        board.show(agent(), agent("rack-2"), desktop())
        board.send(board.feed.put("drain.changed", drain()))
        assert board.last().touched == {"agent": {"rack-1"}}
        board.send(board.feed.gone("drain.ended", "rack-1", "released"))
        assert board.last().touched == {"agent": {"rack-1"}}
        board.send(board.feed.put("desktop.changed", desktop(agent_id="rack-2")))
        assert board.last().touched == {"agent": {"rack-1", "rack-2"}}
        assert set(board.store.desktops_on("rack-2")) == {"desk"}
        assert board.store.desktops_on("rack-1") == {}

    def test_viewers_touch_their_desktop(self, board: Board) -> None:
        board.show(agent(), desktop())
        board.send(board.feed.put("viewer.opened", viewer("v")))
        assert board.last().touched == {"desktop": {"desk"}}
        board.send(board.feed.gone("viewer.closed", "v", "stopped"))
        assert board.last().touched == {"desktop": {"desk"}}
        assert board.store.viewers_of("desk") == {}

    def test_templates_by_name(self, board: Board) -> None:
        board.show(template("xterm"))
        row = board.store.template_named("xterm")
        assert row is not None
        assert row.id == "template-xterm"
        assert board.store.template_named("other") is None


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["desktop", "viewer", "snapshot"]), st.integers(0, 3), st.integers(0, 3), st.booleans()
        ),
        max_size=50,
    )
)
def test_the_indexes_always_agree_with_the_rows(steps: list[tuple[str, int, int, bool]]) -> None:
    feed, store = FeedScript(), Store()
    store.set_link("live", START)
    for part in feed.snapshot():
        store.receive(part)
    for table, number, other, add in steps:
        if table == "snapshot":
            everything = [row for rows in store._rows.tables.values() for row in rows.values()]
            for part in feed.snapshot(everything[:number] if add else everything, size=2):
                assert store.receive(part)
        elif table == "desktop":
            row = desktop(f"{number}", agent_id=f"{other}" if other else None, state="running" if add else "terminated")
            assert store.receive(feed.put("desktop.changed", row))
        elif add:
            assert store.receive(feed.put("viewer.opened", viewer(f"{number}", f"{other}")))
        else:
            assert store.receive(feed.gone("viewer.closed", f"{number}", "stopped"))
        fresh = Rows()
        for name, rows in store._rows.tables.items():
            for one in rows.values():
                fresh.put(name, one)
        assert store._rows.desktops_by_agent == fresh.desktops_by_agent
        assert store._rows.viewers_by_desktop == fresh.viewers_by_desktop
        assert not store.desktops.keys() & store.graveyard.of("desktop").keys()
