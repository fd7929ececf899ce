"""Agents, and sessions of both kinds, as tables: cells, filter, groups, ghosts, signals; and fast with a whole campus."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from PySide6.QtTest import QAbstractItemModelTester

from app.contract import AgentBeat, DesktopBeat, Row
from app.models.store import Store
from app.models.tables.agents import AgentTable
from app.models.tables.columns import (
    ACCESSIBLE_ROLE,
    GHOST_ROLE,
    KIND_ROLE,
    SPARK_ROLE,
    STATE_ROLE,
    TOOLTIP_ROLE,
    TTL_ROLE,
)
from app.models.tables.live import LiveTable
from app.models.tables.sessions import SessionTable
from app.ui.shot_fleet import desktop_id, fleet_rows, loads_of_ten_minutes, many_agents
from app.ui.shot_venue import NOW, Venue, many_streams
from tests.fakes.feed_script import agent, desktop, drain, session, stream, viewer
from tests.ui.test_tables_live import Watched

BUDGET = 0.050
"""Seconds of this process that one call may take."""


@pytest.fixture
def agents(qapp: object) -> Iterator[Watched]:
    watched = Watched(AgentTable)
    yield watched
    watched.table.close()


@pytest.fixture
def sessions(qapp: object) -> Iterator[Watched]:
    watched = Watched(SessionTable)
    yield watched
    watched.table.close()


def row_of(watched: Watched, number: int = 0) -> dict[str, str]:
    return {column.key: watched.cells(column.key)[number] for column in watched.table.columns}


class TestAgents:
    def test_columns(self, agents: Watched) -> None:
        rack = agent(
            region="house",
            sessions=3,
            reported_sessions=4,
            cpu=61.2,
            memory=70.0,
            leader=True,
            standbys=2,
            version="0.1.0",
            status="draining",
        )
        agents.show(rack, drain(left=11, exits=[1.0], next_idle=None), desktop())
        row = row_of(agents)
        assert row["state"] == "HELD draining"
        assert (row["agent"], row["platform"], row["region"]) == ("rack-1", "local", "house")
        assert (row["sessions"], row["cpu"], row["memory"]) == ("4 / 10", "61 %", "70 %")
        assert (row["leader"], row["version"], row["undo"]) == ("yes +2", "0.1.0", "Undo")
        assert row["drain"].startswith("11 of 12 left - 1 ended in ")
        assert row["drain"].endswith(" - no end known - no forced end")

    def test_what_an_agent_does_not_tell_stays_empty(self, agents: Watched) -> None:
        agents.show(agent(last_heartbeat=None))
        row = row_of(agents)
        assert (row["cpu"], row["memory"], row["heartbeat"], row["drain"], row["undo"]) == ("", "", "never", "", "")

    def test_a_beat_moves_its_cells(self, agents: Watched) -> None:
        agents.show(agent())
        feed = agents.board.feed
        agents.board.send(
            feed.diff(feed.event("agent.beat", "rack-1", AgentBeat(last_heartbeat=feed.at, sessions=9, cpu=95.0)))
        )
        agents.settle()
        row = row_of(agents)
        assert (row["sessions"], row["cpu"]) == ("9 / 10", "95 %")
        share = agents.table.column("sessions").share
        assert share is not None
        assert share(agents.table.item(0), agents.table.moment) == pytest.approx(0.9)

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("rack", ["rack-1", "rack-2"]),
            ("platform:docker", ["dock"]),
            ("sessions>5", ["rack-2"]),
            ("free<3", ["rack-2"]),
            ("max=10", ["dock", "rack-1", "rack-2"]),
            ("cpu>50", ["rack-1"]),
            ("state:held", ["rack-2"]),
            ("drain:left", ["rack-2"]),
            ("oslo", ["dock"]),
            ("-rack", ["dock"]),
        ],
    )  # fmt: skip
    def test_the_filter_covers_it(self, agents: Watched, query: str, found: list[str]) -> None:
        dock = agent("dock", platform="docker", metadata={"room": "Oslo"})
        agents.show(agent(cpu=60.0), agent("rack-2", sessions=8, status="draining"), drain("rack-2"), dock)
        assert agents.table.apply_filter(query) is None
        assert agents.table.order == found

    def test_every_role_has_an_answer_for_every_cell(self, agents: Watched) -> None:
        tester = QAbstractItemModelTester(agents.table, QAbstractItemModelTester.FailureReportingMode.Warning)
        agents.show(agent(cpu=3.0), agent("rack-2", status="draining"), drain("rack-2", left=0), agent("gone"))
        agents.board.send(agents.board.feed.gone("agent.removed", "gone", "deleted"))
        agents.settle()
        table = agents.table
        for row in range(table.rowCount()):
            for column in range(table.columnCount()):
                index = table.index(row, column)
                assert isinstance(index.data(), str)
                assert isinstance(index.data(TOOLTIP_ROLE), str)
                assert index.data(ACCESSIBLE_ROLE).startswith(table.columns[column].title)
                assert index.data(STATE_ROLE).word.text in ("LIVE", "HELD", "OFF")
                kind = index.data(KIND_ROLE)
                assert (index.data(SPARK_ROLE) is not None) == (kind == "spark")
        assert table.index(table.row_of("gone"), 0).data(GHOST_ROLE) == "deleted"
        assert tester.model() is table
        assert {row["id"] for row in map(table.record, table.order_items)} == {"rack-1", "rack-2", "gone"}

    def test_every_column_sorts(self, agents: Watched) -> None:
        agents.show(
            agent(cpu=3.0),
            agent("rack-2", status="draining", cpu=None),
            drain("rack-2"),
            agent("rack-3", status="offline"),
        )
        for column in agents.table.columns:
            agents.table.sort_by(column.key)
            assert len(agents.table.order) == 3
        agents.table.sort_by("state")
        assert agents.table.order == ["rack-2", "rack-1", "rack-3"]


class TestBothKinds:
    def show(self, watched: Watched) -> None:
        watched.show(
            stream("cam"), session("one", "cam", "wall"), agent(), agent("rack-2"),
            desktop(load_cpu=37.0, load_memory=512 * 1024**2, tags=["show", "act 2"], idle_timeout="30m"),
            desktop("far", agent_id="rack-2", user="bob", template="firefox", state="hibernated", phase="Hibernated"),
            viewer("v1"), viewer("v2", user="kim", mode="view", shadow=True, address="10.9.0.4"),
        )  # fmt: skip

    def test_each_fills_its_own_columns(self, sessions: Watched) -> None:
        self.show(sessions)
        table = sessions.table
        by_id = {one: row_of(sessions, table.row_of(one)) for one in ("one", "desk", "far")}
        assert (by_id["one"]["who"], by_id["one"]["what"], by_id["one"]["dialect"]) == ("wall", "cam", "Maestra")
        assert [by_id["one"][key] for key in ("agent", "load", "idle", "viewers", "tags")] == [""] * 5
        desk = by_id["desk"]
        assert (desk["who"], desk["what"], desk["way"]) == ("ann", "xterm", "rack-1 → ann, kim")
        assert (desk["agent"], desk["protocol"], desk["load"]) == ("rack-1", "vnc", "37 %  512 MiB")
        assert (desk["idle"], desk["viewers"], desk["tags"], desk["dialect"]) == (
            "in use",
            "2",
            "show, act 2",
            "StreamSpace",
        )
        assert (desk["ttl"], desk["held"], desk["preset"]) == ("", "", "")
        assert (by_id["far"]["state"], by_id["far"]["way"]) == ("HELD hibernated", "rack-2 → nobody")
        assert table.index(table.row_of("desk"), table.column_number("ttl")).data(TTL_ROLE) is None

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("kind:desktop", ["desk", "far"]),
            ("kind:stream", ["one"]),
            ("agent:rack-2", ["far"]),
            ("user:ann", ["desk"]),
            ("template:firefox", ["far"]),
            ("tag:show", ["desk"]),
            ("viewers>1", ["desk"]),
            ("cpu>30", ["desk"]),
            ("mem>500", ["desk"]),
            ("idle<5", ["desk"]),
            ("state:held", ["far"]),
            ("10.9.0.0/24", ["desk"]),
            ("10.0.1.0/24", ["one"]),
            ("dialect:maestra", ["one"]),
            ("ann-xterm-far", ["far"]),
            ("ttl<30", ["one"]),
            ('tags:""', ["far", "one"]),
        ],
    )  # fmt: skip
    def test_the_filter_covers_both(self, sessions: Watched, query: str, found: list[str]) -> None:
        self.show(sessions)
        assert sessions.table.apply_filter(query) is None
        assert sorted(sessions.table.order) == found

    def test_by_agent(self, sessions: Watched) -> None:
        self.show(sessions)
        table = sessions.table
        assert isinstance(table, SessionTable)
        table.group_by("agent")
        assert [table.group_title(row) for row in range(3)] == ["rack-1", "rack-2", "no agent"]
        table.group_by("stream")
        assert [table.group_title(row) for row in range(3)] == ["cam", "firefox", "xterm"]
        assert table.grouping == "stream"

    def test_a_session_that_moves_changes_its_group(self, sessions: Watched) -> None:
        self.show(sessions)
        table = sessions.table
        assert isinstance(table, SessionTable)
        table.group_by("agent")
        sessions.board.send(sessions.board.feed.put("desktop.changed", desktop(agent_id="rack-2")))
        sessions.settle()
        assert [item.group for item in table.order_items] == ["rack-2", "rack-2", "no agent"]

    def test_a_viewer_changes_the_row(self, sessions: Watched) -> None:
        self.show(sessions)
        sessions.board.send(sessions.board.feed.gone("viewer.closed", "v2", "stopped"))
        sessions.settle()
        assert row_of(sessions, sessions.table.row_of("desk"))["way"] == "rack-1 → ann"

    def test_a_load_that_moves_is_shown(self, sessions: Watched) -> None:
        self.show(sessions)
        feed = sessions.board.feed
        sessions.board.send(feed.diff(feed.event("desktop.beat", "desk", DesktopBeat(load_cpu=88.0))))
        sessions.settle()
        assert row_of(sessions, sessions.table.row_of("desk"))["load"] == "88 %"

    def test_ghosts_of_both_kinds(self, sessions: Watched) -> None:
        tester = QAbstractItemModelTester(sessions.table, QAbstractItemModelTester.FailureReportingMode.Warning)
        self.show(sessions)
        feed = sessions.board.feed
        gone = desktop(state="terminated", phase="Terminated", message="terminated by kim", ended_at=feed.at)
        sessions.board.send(feed.put("desktop.changed", gone), feed.gone("session.stopped", "one", "stopped", by="kim"))
        sessions.settle()
        table = sessions.table
        ghosts = {one: table.index(table.row_of(one), 0).data(GHOST_ROLE) for one in table.order}
        assert ghosts == {"desk": "terminated by kim", "one": "stopped by kim", "far": ""}
        for column in table.columns:
            table.sort_by(column.key)
        assert tester.model() is table


class Campus:
    """10,000 streams, 200 agents and 2,000 desktops in a store, with both tables over it."""

    def __init__(self) -> None:
        self.store = Store()
        self.venue = Venue(self.store)
        self.tables: list[LiveTable] = [SessionTable(self.store), AgentTable(self.store)]
        self.rows: dict[str, list[Row]] = many_agents(200)
        self.venue.open(many_streams(10_000), fleet=self.rows)
        loads_of_ten_minutes(self.venue, {"agent": self.rows["agent"][:20]})
        for table in self.tables:
            for _ in range(30):
                table.flush()
            table.arrange()


@pytest.fixture(scope="module")
def campus(qapp: object) -> Iterator[Campus]:
    made = Campus()
    yield made
    for table in made.tables:
        table.close()


def seconds(call: Callable[[], object]) -> float:
    """The quickest of three, in seconds of this process: others share the machine."""
    best = 1e9
    for _ in range(3):
        began = time.process_time()
        call()
        best = min(best, time.process_time() - began)
    return best


class TestCampus:
    def test_all_is_there(self, campus: Campus) -> None:
        sessions, agents = campus.tables
        assert (sessions.total, agents.total) == (2009, 200)

    def test_no_call_of_a_table_is_long(self, campus: Campus) -> None:
        sessions, agents = campus.tables
        assert isinstance(sessions, SessionTable)
        calls: dict[str, Callable[[], object]] = {
            "sort by state": lambda: sessions.sort_by("state"),
            "sort by idle": lambda: sessions.sort_by("idle"),
            "sort by agent": lambda: sessions.sort_by("agent"),
            "filter words": lambda: sessions.apply_filter("firefox 10"),
            "filter state": lambda: sessions.apply_filter("state:stale cpu>20"),
            "filter nothing": lambda: sessions.apply_filter(""),
            "group by agent": lambda: sessions.group_by("agent"),
            "no groups": lambda: sessions.group_by(""),
            "flush": sessions.flush,
            "agents by load": lambda: agents.sort_by("load"),
            "agents by state": lambda: agents.sort_by("state"),
            "agents filtered": lambda: agents.apply_filter("cpu>50 free>2 -offline"),
            "agents flush": agents.flush,
        }
        took = {name: seconds(call) for name, call in calls.items()}
        assert {name: round(one, 3) for name, one in took.items() if one > BUDGET} == {}

    def test_a_minute_of_beats_is_not_long(self, campus: Campus) -> None:
        """All agents beat and a tenth of the desktops moves, as in ten seconds of a full campus."""
        beats = [
            ("agent.beat", row.id, AgentBeat(last_heartbeat=NOW, sessions=3, cpu=50.0)) for row in campus.rows["agent"]
        ]
        loads = [("desktop.beat", desktop_id(number), DesktopBeat(load_cpu=5.0)) for number in range(0, 2000, 10)]

        def beat() -> None:
            for kind, row_id, change in (*beats[:20], *loads[:20]):
                campus.venue.event(kind, row_id, change)
            for table in campus.tables:
                table.flush()

        assert seconds(beat) < BUDGET


def test_the_pictures_fleet_is_believable() -> None:
    rows = fleet_rows()
    agents_there = {row.id for row in rows["agent"]}
    for row in rows["desktop"]:
        assert getattr(row, "agent_id", None) in agents_there
