"""The Agents page by key and by button: drain with its undo for as long as it lasts, who is still on it, plots."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QMenu
from pytestqt.qtbot import QtBot

from app.client.api import ApiError
from app.contract import AgentBeat, Gone
from app.models.fleet_states import state_of_agent
from app.models.loads import Load
from app.models.tables.agents import AGENT_COLUMNS
from app.ui.details_fleet import agent_sections
from app.ui.dialogs.confirm import ConfirmPanel
from app.ui.fleet_plots import joined, last_text
from app.ui.fleet_troubles import agent_badges, agents_in_trouble
from app.ui.shot_fleet import drain_row, fleet_rows
from app.ui.shot_venue import NOW
from app.ui.table_view import TableView
from tests.ui.stage import Key, Stage

CONTROL = Qt.KeyboardModifier.ControlModifier


@pytest.fixture
def house(qtbot: QtBot, tmp_path: Path) -> Iterator[Stage]:
    """The six machines, nothing drained."""
    made = Stage(tmp_path)
    made.open("Agents", fleet=fleet_rows())
    yield made
    made.close()


def drained(stage: Stage, agent_id: str = "rack-2", **fields: object) -> None:
    """The broker says that an agent drains."""
    row = msgspec.structs.replace(stage.store.agents[agent_id], status="draining")
    stage.venue.event("agent.changed", agent_id, row)
    stage.venue.event("drain.changed", agent_id, drain_row(agent_id, **fields))
    stage.settle()


class TestDrain:
    def test_d_drains_at_once_and_ctrl_z_takes_it_back(self, house: Stage) -> None:
        house.go_to("rack-2")
        house.key(Key.Key_D)
        fleet = house.client.fleet
        assert fleet.calls == [("drain", "rack-2")]
        assert any(text.startswith("rack-2 drains: no new sessions, 4 sessions go on") for text in house.said())
        house.key(Key.Key_Z, CONTROL)
        assert fleet.calls[-1] == ("undrain", "rack-2")
        assert "Undone: drain rack-2" in house.said()

    def test_one_session_goes_on_and_an_end_that_is_undone_is_said_so(self, house: Stage) -> None:
        for row in list(house.store.desktops_on("rack-2").values())[1:]:
            house.venue.event("desktop.changed", row.id, msgspec.structs.replace(row, agent_id="rack-1"))
        house.go_to("rack-2")
        house.key(Key.Key_D)
        assert any(text.startswith("rack-2 drains: no new sessions, 1 session goes on") for text in house.said())
        drained(house)
        house.key(Key.Key_D)
        house.key(Key.Key_Z, CONTROL)
        assert "Undone: undrain rack-2" in house.said()

    def test_room_is_said_in_its_unit(self, house: Stage) -> None:
        house.go_to("rack-2")
        house.agents.toggle_details()
        assert "Room for: 12 sessions, 32 cores, 128 GiB" in house.agents.details.as_text()

    def test_d_on_what_drains_is_its_undo(self, house: Stage) -> None:
        drained(house)
        house.go_to("rack-2")
        house.key(Key.Key_D)
        assert house.client.fleet.calls == [("undrain", "rack-2")]
        assert "rack-2 takes sessions again" in house.said()

    def test_the_button_says_which_of_both(self, house: Stage) -> None:
        house.go_to("rack-2")
        house.agents.refresh()
        (button,) = house.agents.buttons
        assert button.text() == "Drain   D"
        drained(house)
        house.agents.refresh()
        assert button.text() == "Undo drain   D"
        button.click()
        assert house.client.fleet.calls == [("undrain", "rack-2")]

    def test_the_row_has_its_undo_and_its_progress(self, house: Stage) -> None:
        drained(house)
        view, model = house.agents.view, house.agents.model
        index = model.index_of("rack-2", model.column_number("undo"))
        assert index.data() == "Undo"
        words = model.index_of("rack-2", model.column_number("drain")).data()
        assert words.startswith("11 of 12 left - 1 ended in 4 min - next idle time-out ")
        assert words.endswith(" - no forced end")
        QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=view.visualRect(index).center())
        assert house.client.fleet.calls == [("undrain", "rack-2")]

    def test_several_wait_together_and_go_as_one(self, house: Stage, qtbot: QtBot) -> None:
        house.go_to("rack-1")
        for one in ("rack-1", "rack-2", "dock-a"):
            house.agents.model.toggle_mark(one)
        house.key(Key.Key_D)
        (line,) = house.window.pending.lines
        assert line.label.text().startswith("Drain 3, ")
        qtbot.waitUntil(lambda: len(house.client.fleet.calls) == 3)
        assert "Drain: 3 done" in house.said()
        house.key(Key.Key_Z, CONTROL)
        assert sorted(house.client.fleet.named("undrain")) == [
            ("undrain", one) for one in ("dock-a", "rack-1", "rack-2")
        ]

    def test_the_brokers_words_when_it_refuses(self, house: Stage) -> None:
        house.client.fleet.refusal = ApiError(503, "AGENT_OFFLINE", "Agent rack-2 is offline")
        house.go_to("rack-2")
        house.key(Key.Key_D)
        assert "Drain rack-2: Agent rack-2 is offline" in house.said()
        assert house.window.sheet.current is None

    def test_what_is_offline_or_drains_is_not_drained(self, house: Stage) -> None:
        row = msgspec.structs.replace(house.store.agents["rack-1"], status="offline")
        house.venue.event("agent.changed", "rack-1", row)
        assert "takes no sessions anyway" in house.actions.why_not("drain", ["rack-1"])
        assert house.actions.why_not("undrain", ["rack-1"]) == "rack-1 does not drain"
        drained(house)
        assert house.actions.why_not("drain", ["rack-2"]) == "rack-2 drains already"
        house.venue.event("agent.removed", "dock-a", Gone(reason="deleted", by="kim"))
        assert house.actions.why_not("drain", ["dock-a"]) == "dock-a is gone: deleted by kim"


class TestCard:
    def test_says_how_it_goes_and_who_is_still_there(self, house: Stage) -> None:
        drained(house)
        house.go_to("rack-2")
        house.agents.toggle_details()
        card = house.agents.card
        assert card.isVisible()
        assert card.title.text().startswith("Draining since ")
        assert "11 of 12 left - 1 ended in 4 min" in card.text.text()
        assert not card.cause.isVisible()
        text = house.agents.details.as_text()
        assert "Still on it: 4 sessions" in text
        assert "sam: firefox-browser, live, idle 24 m of 30 m" in text
        assert "pit.desk: cue-player, live, in use" in text
        card.buttons["undrain"].click()
        assert house.client.fleet.calls == [("undrain", "rack-2")]

    def test_what_holds_it_up(self, house: Stage) -> None:
        drained(house, left=4, stuck="no session ended for 15 min")
        house.go_to("rack-2")
        house.agents.toggle_details()
        assert house.agents.card.cause.text() == "▲ Stuck: no session ended for 15 min"
        assert ("held", "1 stuck") in agent_badges(house.store)

    def test_an_empty_agent_is_drained(self, house: Stage) -> None:
        drained(house, "studio-b", left=0, done_at=NOW - 60)
        house.go_to("studio-b")
        house.agents.toggle_details()
        card = house.agents.card
        assert card.title.text().startswith("Drained since ")
        assert not card.buttons["terminate_all"].isEnabled()
        assert card.buttons["terminate_all"].toolTip()

    def test_without_a_drain_it_says_what_is_there(self, house: Stage) -> None:
        house.go_to("rack-1")
        house.agents.toggle_details()
        card = house.agents.card
        assert card.title.text() == "3 sessions on it"
        assert card.buttons["drain"].isVisible()
        assert not card.buttons["undrain"].isVisible()
        house.venue.event("agent.removed", "rack-1", Gone(reason="deleted"))
        house.settle()
        house.agents.refresh()
        assert not card.isVisible()

    def test_hibernate_all_waits_and_undo_wakes_those_very_sessions(self, house: Stage, qtbot: QtBot) -> None:
        house.go_to("rack-2")
        house.agents.toggle_details()
        running = [row.id for row in house.store.desktops_on("rack-2").values() if row.state == "running"]
        house.agents.card.buttons["hibernate_all"].click()
        fleet = house.client.fleet
        assert fleet.calls == []
        qtbot.waitUntil(lambda: fleet.calls == [("hibernate_all", "rack-2")])
        house.key(Key.Key_Z, CONTROL)
        assert sorted(fleet.named("set_state")) == sorted(("set_state", one, "running") for one in running)

    def test_terminate_all_lists_who_loses_what(self, house: Stage) -> None:
        house.go_to("rack-2")
        house.agents.toggle_details()
        house.agents.card.buttons["terminate_all"].click()
        panel = house.window.sheet.current
        assert isinstance(panel, ConfirmPanel)
        assert panel.title.text() == "Terminate all on rack-2"
        assert ("pit.desk", "cue-player") in panel.losses
        assert len(panel.losses) == 4
        panel.hold_button.fired.emit()
        assert house.client.fleet.calls == [("terminate_all", "rack-2")]
        assert "4 sessions of rack-2 end" in house.said()

    def test_terminate_all_of_one_that_is_away_says_when(self, house: Stage) -> None:
        gone = msgspec.structs.replace(house.store.agents["rack-2"], status="offline")
        house.venue.event("agent.changed", "rack-2", gone)
        house.settle()
        house.go_to("rack-2")
        house.agents.toggle_details()
        house.agents.card.buttons["terminate_all"].click()
        panel = house.window.sheet.current
        assert isinstance(panel, ConfirmPanel)
        panel.hold_button.fired.emit()
        assert "4 sessions of rack-2 end when rack-2 is back" in house.said()


def lost(house: Stage, agent_id: str = "rack-2") -> None:
    """An agent goes offline."""
    gone = msgspec.structs.replace(house.store.agents[agent_id], status="offline", connection_id=None)
    house.venue.event("agent.changed", agent_id, gone)
    house.settle()


class TestRemove:
    def test_delete_lists_the_sessions_that_end_and_whose_they_are(self, house: Stage) -> None:
        lost(house)
        house.go_to("rack-2")
        house.key(Key.Key_Delete)
        panel = house.window.sheet.current
        assert isinstance(panel, ConfirmPanel)
        assert panel.title.text() == "Remove rack-2"
        there = [(row.user, row.template) for row in house.store.desktops_on("rack-2").values()]
        assert len(there) == 4
        assert sorted(panel.losses) == sorted(there)
        assert house.client.fleet.calls == []
        panel.hold_button.fired.emit()
        assert house.client.fleet.calls == [("remove_agent", "rack-2")]
        assert "rack-2 was removed, and with it 4 sessions ended" in house.said()

    def test_it_stays_struck_through_and_says_who_did_it(self, house: Stage) -> None:
        lost(house)
        house.venue.event("agent.removed", "rack-2", Gone("removed", by="Kim"))
        house.settle()
        ghost = house.store.ghost("agent", "rack-2")
        assert ghost is not None
        assert (ghost.word, ghost.cause) == ("removed", "removed by Kim")
        assert house.actions.why_not("remove_agent", ["rack-2"]) == "rack-2 is gone: removed by Kim"

    def test_what_is_connected_is_not_removed(self, house: Stage) -> None:
        house.go_to("rack-2")
        house.key(Key.Key_Delete)
        assert house.window.sheet.current is None
        words = "Remove: rack-2 is connected; only an agent that is offline is removed"
        assert words in house.said()
        assert house.client.fleet.calls == []

    def test_a_refusal_is_told_in_the_brokers_words(self, house: Stage) -> None:
        lost(house, "studio-b")
        house.client.fleet.refusal = ApiError(409, "agent_connected", "Agent 'studio-b' is connected")
        house.actions.press("remove_agent", ["studio-b"])
        panel = house.window.sheet.current
        assert isinstance(panel, ConfirmPanel)
        assert panel.count.text() == "Nobody loses anything."
        panel.hold_button.fired.emit()
        assert "Remove studio-b: Agent 'studio-b' is connected" in house.said()

    def test_the_card_offers_it_where_there_is_nothing_to_hibernate(self, house: Stage) -> None:
        house.go_to("rack-2")
        house.agents.toggle_details()
        buttons = house.agents.card.buttons
        assert (buttons["hibernate_all"].isVisible(), buttons["remove_agent"].isVisible()) == (True, False)
        lost(house)
        house.agents.refresh()
        assert (buttons["hibernate_all"].isVisible(), buttons["remove_agent"].isVisible()) == (False, True)
        buttons["remove_agent"].click()
        assert isinstance(house.window.sheet.current, ConfirmPanel)

    def test_the_key_map_tells_it(self, house: Stage) -> None:
        (agents,) = [lines for title, lines in house.window.overlay.lines() if title == "On an agent"]
        assert [key for key, words, _ in agents if words.startswith("Take an offline agent off")] == ["Delete"]


class TestPage:
    def test_ctrl_3_brings_it_to_the_front(self, house: Stage) -> None:
        house.window.show_page("Streams")
        house.key(Key.Key_3, CONTROL)
        assert house.window.page is house.agents
        assert house.window.rail.buttons["Agents"].count == "6"

    def test_plots_show_the_current_agent(self, house: Stage) -> None:
        house.agents.build_plots()
        house.go_to("rack-1")
        house.venue.event("agent.beat", "rack-1", AgentBeat(last_heartbeat=NOW + 7, sessions=13, cpu=66.0))
        house.agents.second()
        house.agents.second()
        assert [plot.value.text() for plot in house.agents.plots.plots] == [
            "rack-1  13",
            "rack-1  66 %",
            "rack-1  not told",
        ]
        house.agents.plots_button.click()
        assert not house.agents.plots.isVisible()
        assert house.settings.get("agents/plots_open") is False
        house.agents.plots_button.click()
        assert house.agents.plots.isVisible()
        house.agents.theme_changed()

    def test_a_hole_between_samples_and_between_agents(self) -> None:
        one, other = Load(), Load()
        for at in (0.0, 10.0, 60.0):
            one.add(at, 1, at, None)
        other.add(60.0, 2, 5.0, None)
        x, y = joined([one, other], "cpu", 60.0)
        assert [round(value) for value in x] == [-60, -60, -50, 0, 0, 0, 0]
        assert [value == value for value in y] == [False, True, True, False, True, False, True]
        assert (last_text(one, "memory"), last_text(one, "sessions"), last_text(None, "cpu")) == (
            "not told",
            "1",
            "not told",
        )
        assert len(joined([], "cpu", 0.0)[0]) == 1

    def test_badges_are_what_the_states_say(self, house: Stage) -> None:
        lost = msgspec.structs.replace(house.store.agents["rack-2"], status="offline")
        late = msgspec.structs.replace(house.store.agents["rack-1"], last_heartbeat=NOW - 20)
        for row in (lost, late):
            house.venue.event("agent.changed", row.id, row)
        now = house.store.broker_now()
        words = [state_of_agent(row, house.store, now).word.key for row in house.store.agents.values()]
        assert agents_in_trouble(house.store, now) == (words.count("fault"), words.count("stale"), 0)
        assert agent_badges(house.store) == [("fault", "1 fault"), ("stale", "1 stale")]

    def test_no_agent_says_how_to_get_one(self, qtbot: QtBot, tmp_path: Path) -> None:
        stage = Stage(tmp_path)
        stage.open("Agents")
        try:
            assert stage.agents.empty.title.text() == "No agent yet"
            assert agent_sections(stage.store, "nobody") == []
        finally:
            stage.close()

    def test_f4_says_where_logs_are(self, house: Stage) -> None:
        house.key(Key.Key_F4)
        assert "Log: desktops have one; select one on Sessions" in house.said()


class TestColumnsThatYield:
    def shown(self, view: TableView) -> list[str]:
        head = view.horizontalHeader()
        numbers = sorted(range(len(view.table.columns)), key=head.visualIndex)
        return [view.table.columns[one].key for one in numbers if not view.isColumnHidden(one)]

    def lay_out(self) -> None:
        for _ in range(4):
            QApplication.processEvents()

    def test_the_drain_stays_in_view_beside_the_details(self, house: Stage) -> None:
        view = house.agents.view
        every = [column.key for column in AGENT_COLUMNS]
        house.window.resize(1600, 1000)
        self.lay_out()
        assert self.shown(view) == every
        house.go_to("rack-2")
        house.agents.toggle_details()
        self.lay_out()
        shown = self.shown(view)
        assert set(shown) < set(every)
        assert {"state", "agent", "sessions", "cpu", "heartbeat", "undo", "drain"} <= set(shown)
        assert view.horizontalScrollBar().maximum() == 0
        assert view.columnWidth(view.table.column_number("drain")) >= 410
        layout = view.layout_of_columns()
        assert all(entry["shown"] for entry in layout), "what is remembered is not the room of today"
        house.agents.toggle_details()
        self.lay_out()
        assert self.shown(view) == every
        widths = {column.key: column.width for column in AGENT_COLUMNS[:-1]}
        assert {key: view.columnWidth(view.table.column_number(key)) for key in widths} == widths

    def test_what_is_asked_for_or_sorted_by_does_not_yield(self, house: Stage) -> None:
        view = house.agents.view
        house.window.resize(1000, 700)
        self.lay_out()
        assert "version" not in self.shown(view)
        assert "region" not in self.shown(view)
        view.set_sort("region", False)
        assert "region" in self.shown(view)
        menu = QMenu()
        view.fill_columns(menu)
        (action,) = (one for one in menu.actions() if one.text() == "Version (no room)")
        action.trigger()
        assert "version" in self.shown(view)
        view.set_layout_of_columns([])
        view.reset_columns()
        house.window.resize(1600, 1000)
        self.lay_out()
        assert self.shown(view) == [column.key for column in AGENT_COLUMNS]
