"""Desktops on the Sessions page: each kind of row takes its own verbs, and one viewer is kicked without the session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QApplication, QMenu, QPushButton
from pytestqt.qtbot import QtBot

from app.client.api import ApiError
from app.contract import Gone, ViewerBeat
from app.models.fleet_states import state_of_desktop
from app.models.states import FAULT, STALE
from app.ui.board_page import FILTER_ROOM
from app.ui.dialogs.confirm import ConfirmPanel
from app.ui.dialogs.create_session import CreateSession
from app.ui.dialogs.edit_tags import EditTags
from app.ui.fleet_troubles import desktops_in_trouble
from app.ui.shot_fleet import desktop_id, fleet_rows, viewer_id
from tests.ui.stage import Key, Stage

SHIFT = Qt.KeyboardModifier.ShiftModifier
CONTROL = Qt.KeyboardModifier.ControlModifier
ANN, JOHN, ASLEEP, PIT, STARTS, ENDS, MAC = (desktop_id(number) for number in (0, 1, 5, 6, 8, 10, 11))


@pytest.fixture
def house(qtbot: QtBot, tmp_path: Path) -> Iterator[Stage]:
    """Streams and desktops, on Sessions."""
    made = Stage(tmp_path)
    made.open("Sessions", fleet=fleet_rows())
    yield made
    made.close()


def actions_of(menu: QMenu) -> dict[str, QAction]:
    return {action.text().split("\t")[0]: action for action in menu.actions() if action.text()}


class TestNarrow:
    def test_buttons_leave_their_keys_out_before_words_are_cut(self, house: Stage) -> None:
        page = house.sessions
        for width, words in ((1600, "Terminate   Delete"), (960, "Terminate"), (1600, "Terminate   Delete")):
            house.window.resize(width, 900)
            house.settle()
            for _ in range(4):
                QApplication.processEvents()
            shown = [button for button in page.findChildren(QPushButton) if button.isVisible()]
            assert words in [button.text() for button in shown]
            assert all(button.width() >= button.sizeHint().width() for button in shown)
            assert width == 960 or page.filter.width() >= FILTER_ROOM
            assert page.filter.geometry().right() < min(button.x() for button in page.buttons if button.isVisible())


class TestHibernate:
    def test_h_hibernates_and_wakes_again(self, house: Stage) -> None:
        house.go_to(JOHN)
        house.key(Key.Key_H)
        fleet = house.client.fleet
        assert fleet.calls == [("set_state", JOHN, "hibernated")]
        assert "Hibernated john.doe ← firefox-browser" in house.said()
        house.key(Key.Key_Z, CONTROL)
        assert fleet.calls[-1] == ("set_state", JOHN, "running")

    def test_h_wakes_what_hibernates(self, house: Stage) -> None:
        house.go_to(ASLEEP)
        house.sessions.refresh()
        shown = [button.text() for button in house.sessions.buttons if button.isVisible()]
        assert "Wake   H" in shown
        house.key(Key.Key_H)
        assert house.client.fleet.calls == [("set_state", ASLEEP, "running")]

    def test_work_that_goes_on_is_said(self, house: Stage) -> None:
        house.client.fleet.state_now = "running"
        house.go_to(JOHN)
        house.key(Key.Key_H)
        assert "john.doe ← firefox-browser: Hibernating, the agent has not finished" in house.said()

    def test_what_an_agent_cannot_do_is_said(self, house: Stage) -> None:
        reason = house.actions.why_not("hibernate", [MAC])
        assert reason == "not offered by attach agents - terminate it instead"
        assert house.actions.why_not("hibernate", [STARTS]) == "it is pending"
        assert house.actions.why_not("wake", [JOHN]) == "it is running"
        gone = msgspec.structs.replace(house.store.agents["rack-1"], status="offline")
        house.venue.event("agent.changed", "rack-1", gone)
        assert house.actions.why_not("hibernate", [JOHN]) == "its agent rack-1 is offline"

    def test_several_go_at_the_pace_of_the_limits_and_back(self, house: Stage, qtbot: QtBot) -> None:
        house.go_to(ANN)
        for one in (ANN, JOHN, PIT):
            house.sessions.model.toggle_mark(one)
        house.client.fleet.refuse[JOHN] = ApiError(503, "AGENT_OFFLINE", "Agent rack-1 is offline")
        house.key(Key.Key_H)
        qtbot.waitUntil(lambda: len(house.client.fleet.calls) == 3)
        assert "Hibernate: 2 done" in house.said()
        assert "Hibernate john.doe ← firefox-browser: Agent rack-1 is offline" in house.said()
        house.client.fleet.calls.clear()
        house.key(Key.Key_Z, CONTROL)
        assert sorted(house.client.fleet.calls) == [("set_state", ANN, "running"), ("set_state", PIT, "running")]


class TestTerminate:
    def test_delete_waits_and_can_be_cancelled(self, house: Stage) -> None:
        house.go_to(JOHN)
        house.key(Key.Key_Delete)
        (line,) = house.window.pending.lines
        assert line.label.text().startswith("Terminate john.doe ← firefox-browser in 0.")
        house.key(Key.Key_Escape)
        assert house.client.fleet.calls == []
        (written,) = house.client.named("record_audit")
        assert (written[1], written[3], written[4]["before"]["user"]) == ("terminate", JOHN, "john.doe")

    def test_delete_ends_it_gracefully(self, house: Stage, qtbot: QtBot) -> None:
        house.go_to(JOHN)
        house.key(Key.Key_Delete)
        qtbot.waitUntil(lambda: house.client.fleet.calls == [("delete_session", JOHN, False)])
        assert any("its programs have 30 s to stop" in text for text in house.said())
        assert house.actions.undo_stack.next_undo is None

    def test_where_its_agent_is_away_it_says_when_it_ends(self, house: Stage, qtbot: QtBot) -> None:
        gone = msgspec.structs.replace(house.store.agents["rack-1"], status="offline")
        house.venue.event("agent.changed", "rack-1", gone)
        house.settle()
        house.go_to(JOHN)
        house.key(Key.Key_Delete)
        qtbot.waitUntil(lambda: house.client.fleet.calls == [("delete_session", JOHN, False)])
        assert any(text.endswith("ends when rack-1 is back; Shift+Delete ends it now") for text in house.said())
        waits = "Ends when its agent 'rack-1' is back, which is offline"
        ends = msgspec.structs.replace(house.store.desktops[JOHN], state="terminating", phase="Unknown", message=waits)
        house.venue.event("desktop.changed", JOHN, ends)
        house.settle()
        why = house.actions.why_not("terminate", [JOHN])
        assert why == "it ends when rack-1 is back; Shift+Delete ends it by force"
        assert house.actions.why_not("force_terminate", [JOHN]) == ""
        house.sessions.toggle_details()
        assert waits in house.sessions.details.as_text()

    def test_by_force_asks_with_everybody_who_loses(self, house: Stage) -> None:
        house.go_to(PIT)
        house.key(Key.Key_Delete, SHIFT)
        panel = house.window.sheet.current
        assert isinstance(panel, ConfirmPanel)
        assert panel.losses == [
            ("pit.desk", "cue-player"),
            ("kim", "the view of pit.desk's cue-player"),
            ("stage.mgr", "the view of pit.desk's cue-player"),
        ]
        panel.hold_button.fired.emit()
        assert house.client.fleet.calls == [("delete_session", PIT, True)]

    def test_what_ends_already_is_ended_by_force_alone(self, house: Stage) -> None:
        assert "Shift+Delete ends it by force" in house.actions.why_not("terminate", [ENDS])
        assert house.actions.why_not("force_terminate", [ENDS]) == ""

    def test_what_has_ended_says_why(self, house: Stage) -> None:
        row = msgspec.structs.replace(
            house.store.desktops[JOHN], state="terminated", phase="Failed", message="no memory left"
        )
        house.venue.event("desktop.changed", JOHN, row)
        house.settle()
        assert house.actions.why_not("terminate", [JOHN]) == "this session has ended: failed: no memory left"
        house.go_to(JOHN)
        house.sessions.toggle_details()
        assert "failed: no memory left" in house.sessions.details.as_text()


class TestViewers:
    def test_one_viewer_is_kicked_after_its_hold_back(self, house: Stage, qtbot: QtBot) -> None:
        house.go_to(PIT)
        house.sessions.toggle_details()
        card = house.sessions.viewers_card
        assert card.title.text() == "3 viewers"
        line = card.lines[viewer_id(5)]
        assert line.who.text() == "stage.mgr, view only"
        assert "10.0.90.7" in line.how.text()
        line.button.click()
        house.sessions.refresh()
        assert line.button.text().startswith("Kick in ")
        assert house.client.fleet.calls == []
        qtbot.waitUntil(lambda: house.client.fleet.calls == [("kick_viewer", viewer_id(5))])
        assert any("the session goes on" in text for text in house.said())

    def test_all_of_several_ask(self, house: Stage) -> None:
        house.go_to(PIT)
        house.key(Key.Key_K)
        panel = house.window.sheet.current
        assert isinstance(panel, ConfirmPanel)
        assert [who for who, _ in panel.losses] == [
            "pit.desk, control",
            "kim, view only, shadow",
            "stage.mgr, view only",
        ]
        panel.hold_button.fired.emit()
        assert house.client.fleet.calls == [("kick_viewers", PIT)]

    def test_a_single_one_only_waits(self, house: Stage, qtbot: QtBot) -> None:
        house.go_to(MAC)
        house.key(Key.Key_K)
        assert house.window.sheet.current is None
        qtbot.waitUntil(lambda: house.client.fleet.calls == [("kick_viewer", viewer_id(7))])
        assert house.actions.why_not("kick_viewers", [JOHN]) == "nobody looks at it"

    def test_a_kick_does_not_stand_behind_a_bulk(self, house: Stage) -> None:
        """The pace says that a bulk has to wait; a single act goes out at once."""
        fleet = house.client.fleet
        fleet.pace.learn(
            "general", {"x-ratelimit-limit": "100", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "4102444800"}
        )
        assert fleet.pace.wait("general") > 0
        house.actions.press("kick_viewer", [viewer_id(5)])
        house.actions.send_now(next(iter(house.actions.pending.values())))
        assert fleet.calls == [("kick_viewer", viewer_id(5))]

    def test_viewers_come_go_and_move(self, house: Stage) -> None:
        house.go_to(PIT)
        house.sessions.toggle_details()
        card = house.sessions.viewers_card
        beat = ViewerBeat(open=True, down_bytes=1, up_bytes=1, down_rate=3_400_000.0, up_rate=0.0, rtt=41.0)
        house.venue.event("viewer.beat", viewer_id(5), beat)
        house.venue.event("viewer.closed", viewer_id(3), Gone(reason="stopped"))
        house.sessions.refresh()
        assert set(card.lines) == {viewer_id(4), viewer_id(5)}
        assert "3.4 MB/s" in card.lines[viewer_id(5)].how.text()
        assert "41 ms" in card.lines[viewer_id(5)].how.text()
        house.go_to(JOHN)
        house.sessions.refresh()
        assert not card.isVisible()
        assert "Nobody looks at it now." in house.sessions.details.as_text()
        assert house.actions.why_not("kick_viewer", [viewer_id(3)]) == "this viewer has left"


class TestTwoKinds:
    def test_buttons_are_those_of_the_row(self, house: Stage) -> None:
        house.go_to(house.session("led-side").id)
        house.sessions.refresh()
        kinds = {button.verb.kind for button in house.sessions.buttons if button.isVisible()}
        assert kinds == {"session"}
        house.go_to(JOHN)
        house.sessions.refresh()
        shown = [button.verb.name for button in house.sessions.buttons if button.isVisible()]
        assert shown == ["view", "control", "hibernate", "terminate"]

    def test_a_key_of_the_other_kind_says_so(self, house: Stage) -> None:
        house.go_to(JOHN)
        house.key(Key.Key_R)
        assert "Take again: that is for sessions of streams" in house.said()
        house.go_to(house.session("led-side").id)
        house.key(Key.Key_H)
        assert "Hibernate: that is for desktops" in house.said()
        assert (house.client.calls, house.client.fleet.calls) == ([], [])

    def test_marks_of_both_kinds_are_not_acted_on(self, house: Stage) -> None:
        house.go_to(JOHN)
        house.sessions.model.toggle_mark(JOHN)
        house.sessions.model.toggle_mark(house.session("led-side").id)
        house.key(Key.Key_Delete)
        assert any("rows of different kinds are marked" in text for text in house.said())
        assert not house.actions.pending
        menu = QMenu()
        house.sessions.fill_menu(menu, house.sessions.view.targets())
        assert not menu.actions()[0].isEnabled()

    def test_the_menu_of_a_desktop(self, house: Stage) -> None:
        menu = QMenu()
        house.sessions.fill_menu(menu, [ASLEEP])
        found = actions_of(menu)
        assert found["Wake"].isEnabled()
        assert not any(text.startswith("Hibernate") for text in found), "its counterpart stands there"
        assert found["Log"].text() == "Log\tF4"
        assert any(text.startswith("Kick viewers: nobody looks") for text in found)
        found["Wake"].trigger()
        assert house.client.fleet.calls == [("set_state", ASLEEP, "running")]

    def test_by_agent_and_back(self, house: Stage) -> None:
        page = house.sessions
        page.group_buttons["agent"].click()
        assert (page.table_model.grouping, page.view.group_column) == ("agent", "agent")
        page.group_buttons["stream"].click()
        assert (page.table_model.grouping, page.view.group_column) == ("stream", "what")
        assert not page.group_buttons["agent"].isChecked()
        head = page.view.horizontalHeader()
        assert head.visualIndex(page.model.column_number("agent")) == page.model.column_number("agent")
        page.group_buttons["stream"].click()
        assert page.table_model.grouping == ""
        assert house.settings.get("sessions/grouping") == ""

    def test_a_double_click_looks_view_only(self, house: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        pressed: list[tuple[str, list[str]]] = []
        monkeypatch.setattr(house.actions, "press", lambda name, ids, **_: pressed.append((name, list(ids))))
        house.sessions.view.double_clicked_id.emit(JOHN)
        house.sessions.view.double_clicked_id.emit(house.session("led-side").id)
        assert pressed == [("view", [JOHN])]

    def test_counts_and_badges_cover_both(self, house: Stage) -> None:
        assert house.sessions.count_text() == str(len(house.store.sessions) + 12)
        lost = msgspec.structs.replace(house.store.agents["rack-2"], status="offline")
        unknown = msgspec.structs.replace(house.store.desktops[JOHN], phase="Unknown", message="agent offline")
        failed = msgspec.structs.replace(house.store.desktops[ANN], state="terminated", phase="Failed")
        house.venue.event("agent.changed", lost.id, lost)
        for row in (unknown, failed):
            house.venue.event("desktop.changed", row.id, row)
        now = house.store.broker_now()
        words = [state_of_desktop(row, house.store, now).word for row in house.store.desktops.values()]
        assert desktops_in_trouble(house.store, now) == (words.count(FAULT) + 1, words.count(STALE))

    def test_details_of_a_desktop(self, house: Stage) -> None:
        house.go_to(ASLEEP)
        house.sessions.toggle_details()
        text = house.sessions.details.as_text()
        assert "Time-out: hibernates after 2h of idleness" in text
        assert "Agent: rack-2" in text
        assert "Limits: enforced by systemd" in text


class TestLooking:
    def test_v_is_not_offered_where_the_agent_shows_nothing(self, house: Stage) -> None:
        agent_id = house.store.desktops[JOHN].agent_id
        assert house.actions.why_not("view", [JOHN]) == ""
        blind = msgspec.structs.replace(house.store.agents[agent_id], capabilities=["hibernate", "logs"])
        house.venue.event("agent.changed", agent_id, blind)
        assert house.actions.why_not("view", [JOHN]) == f"agent {agent_id} does not show its desktops"
        assert house.actions.why_not("control", [JOHN]) == f"agent {agent_id} does not show its desktops"


class TestTags:
    def test_t_changes_those_of_one_with_undo(self, house: Stage) -> None:
        house.go_to(ANN)
        house.key(Key.Key_T)
        panel = house.window.sheet.current
        assert isinstance(panel, EditTags)
        assert panel.form.fields["tags"].text() == "show, act 2"
        panel.form.fields["tags"].set_text("show,  act 3, show")
        panel.submit()
        fleet = house.client.fleet
        assert fleet.calls == [("set_tags", ANN, ["show", "act 3"])]
        assert "Tags of ann.lee ← cue-player: show, act 3" in house.said()
        house.key(Key.Key_Z, CONTROL)
        assert fleet.calls[-1] == ("set_tags", ANN, ["show", "act 2"])

    def test_several_get_and_lose_tags(self, house: Stage) -> None:
        panel = EditTags(house.context, [ANN, PIT, JOHN])
        house.context.panels.show(panel)
        panel.form.fields["add"].set_text("strike")
        panel.form.fields["remove"].set_text("show")
        panel.submit()
        assert sorted(house.client.fleet.calls) == [
            ("set_tags", ANN, ["act 2", "strike"]), ("set_tags", JOHN, ["strike"]), ("set_tags", PIT, ["pit", "strike"]),
        ]  # fmt: skip

    def test_nothing_changed_sends_nothing(self, house: Stage) -> None:
        panel = EditTags(house.context, [ANN])
        house.context.panels.show(panel)
        panel.submit()
        assert house.client.fleet.calls == []
        assert "Tags: nothing to change" in house.said()

    def test_too_long_a_tag_is_said_at_its_field(self, house: Stage) -> None:
        panel = EditTags(house.context, [ANN])
        house.context.panels.show(panel)
        panel.form.fields["tags"].set_text("x" * 101)
        panel.submit()
        assert "at most 100 characters" in panel.form.fields["tags"].error.text()
        assert house.actions.press("tags", [ANN]) == ""
        assert isinstance(house.window.sheet.current, EditTags)


class TestLogs:
    def test_f4_follows_and_f4_closes(self, house: Stage) -> None:
        house.client.fleet.lines = ["one", "two", "GO 3"]
        house.go_to(ANN)
        house.key(Key.Key_F4)
        pane = house.sessions.logs
        assert pane.isVisible()
        assert house.client.fleet.calls == [("follow_logs", ANN, 500)]
        assert pane.title.text().startswith("Log   ann.lee ← cue-player")
        pane.flush()
        assert pane.text.toPlainText() == "one\ntwo\nGO 3"
        assert pane.state.text() == "the log has ended"
        house.key(Key.Key_F4)
        assert not pane.isVisible()

    def test_it_stays_with_its_session(self, house: Stage) -> None:
        house.client.fleet.lines = ["one"]
        house.go_to(ANN)
        house.key(Key.Key_F4)
        house.go_to(JOHN)
        assert house.sessions.logs.session_id == ANN
        house.key(Key.Key_F4)
        assert house.sessions.logs.session_id == JOHN

    def test_filter_wrap_and_copy(self, house: Stage) -> None:
        house.client.fleet.lines = ["GO 1", "standby", "GO 2"]
        house.go_to(ANN)
        house.key(Key.Key_F4)
        pane = house.sessions.logs
        pane.flush()
        pane.filter.setText("go")
        assert pane.text.toPlainText() == "GO 1\nGO 2"
        pane.filter.setText("re:(")
        assert pane.filter.property("invalid") == "true"
        assert pane.text.toPlainText() == "GO 1\nGO 2"
        pane.copy_button.click()
        assert "Copied 2 lines of the log" in house.said()
        pane.wrap_button.click()
        assert house.settings.get("logs/wrap") is True
        assert pane.text.lineWrapMode() == pane.text.LineWrapMode.WidgetWidth

    def test_a_shout_goes_in_by_slices_and_is_bounded(self, house: Stage) -> None:
        house.client.fleet.lines = [f"line {number}" for number in range(6000)]
        house.go_to(ANN)
        house.key(Key.Key_F4)
        pane = house.sessions.logs
        pane.flush()
        assert len(pane.lines) == 400
        for _ in range(20):
            pane.flush()
        assert len(pane.lines) == 5000
        assert pane.text.blockCount() == 5000
        assert pane.text.toPlainText().endswith("line 5999")

    def test_a_refusal_stands_in_its_head(self, house: Stage) -> None:
        house.client.fleet.refusal = ApiError(404, "SESSION_NOT_FOUND", "Session not found")
        house.venue.event("desktop.removed", JOHN, Gone(reason="purged"))
        house.settle()
        house.sessions.logs.open_for(JOHN)
        assert house.sessions.logs.state.text() == "Session not found"
        assert house.window.sheet.current is None

    def test_follow_off_keeps_the_lines(self, house: Stage) -> None:
        house.client.fleet.lines = ["one", "two"]
        house.go_to(ANN)
        house.key(Key.Key_F4)
        pane = house.sessions.logs
        pane.follow_button.click()
        assert (pane.state.text(), pane.text.toPlainText()) == ("not followed", "one\ntwo")
        pane.follow_button.click()
        assert len(house.client.fleet.named("follow_logs")) == 2

    def test_a_streams_session_has_none(self, house: Stage) -> None:
        house.go_to(house.session("led-side").id)
        house.key(Key.Key_F4)
        assert not house.sessions.logs.isVisible()
        assert any(text.startswith("Log: a stream's session has none") for text in house.said())


class TestNew:
    def test_the_button_opens_the_panel(self, house: Stage) -> None:
        house.sessions.new_button.click()
        assert isinstance(house.window.sheet.current, CreateSession)
        house.actions.set_blocked("NOT LIVE")
        house.sessions.refresh()
        assert not house.sessions.new_button.isEnabled()
