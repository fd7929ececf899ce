"""The Sessions page by key: kick with hold-back, take again what was just lost, groups."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtTest import QAbstractItemModelTester, QTest
from pytestqt.qtbot import QtBot

from app.contract import Gone, StillSending
from app.ui.delegates import INDENT
from app.ui.dialogs.confirm import ConfirmPanel
from app.ui.pages.sessions import SessionsPage
from app.ui.theme import THEMES
from tests.ui.stage import Key, Stage
from tests.ui.test_delegates import colors_in

SHIFT = Qt.KeyboardModifier.ShiftModifier
CONTROL = Qt.KeyboardModifier.ControlModifier


def open_on(stage: Stage, consumer: str) -> str:
    stage.window.show_page("Sessions")
    row_id = stage.session(consumer).id
    stage.go_to(row_id)
    return row_id


class TestKick:
    def test_delete_waits_and_can_be_cancelled(self, stage: Stage, qtbot: QtBot) -> None:
        row_id = open_on(stage, "led-side")
        stage.key(Key.Key_Delete)
        (line,) = stage.window.pending.lines
        assert line.label.text().startswith("Kick led-side ← Surtitles in 0.")
        stage.key(Key.Key_Escape)
        assert stage.window.pending.lines == []
        qtbot.wait(400)
        assert stage.client.named("stop_session") == []
        assert stage.client.named("record_audit")[0][3] == row_id

    def test_delete_sends_when_its_time_is_over(self, stage: Stage, qtbot: QtBot) -> None:
        row_id = open_on(stage, "led-side")
        stage.key(Key.Key_Delete)
        qtbot.waitUntil(lambda: bool(stage.client.calls))
        assert stage.client.calls == [("stop_session", row_id)]
        assert any("The picture stops when the publisher obeys" in text for text in stage.said())

    def test_the_buttons_of_the_waiting_line(self, stage: Stage, qtbot: QtBot) -> None:
        from PySide6.QtWidgets import QPushButton

        stage.settings.set("hold_back_seconds", 60.0)
        row_id = open_on(stage, "led-side")
        stage.key(Key.Key_Delete)
        cancel, send = stage.window.pending.lines[0].findChildren(QPushButton)
        cancel.click()
        assert stage.client.named("stop_session") == []
        qtbot.wait(80)
        stage.key(Key.Key_Delete)
        cancel, send = stage.window.pending.lines[0].findChildren(QPushButton)
        send.click()
        assert stage.client.named("stop_session") == [("stop_session", row_id)]

    def test_several_ask_with_their_names(self, stage: Stage) -> None:
        open_on(stage, "led-side")
        stage.sessions.model.set_mark(stage.session("led-side").id, True)
        stage.sessions.model.set_mark(stage.session("td-a").id, True)
        stage.key(Key.Key_Delete)
        panel = stage.window.sheet.current
        assert isinstance(panel, ConfirmPanel)
        assert len(panel.losses) == 2

    def test_shift_delete_asks(self, stage: Stage) -> None:
        open_on(stage, "led-side")
        stage.key(Key.Key_Delete, SHIFT)
        assert isinstance(stage.window.sheet.current, ConfirmPanel)

    def test_the_verb_stays_with_its_id(self, stage: Stage, qtbot: QtBot) -> None:
        """The row moves while the kick waits; what is kicked does not."""
        row_id = open_on(stage, "led-side")
        stage.key(Key.Key_Delete)
        stage.sessions.model.sort_by("who", descending=True)
        stage.sessions.view.select_id(stage.session("truck-1").id)
        qtbot.waitUntil(lambda: bool(stage.client.calls))
        assert stage.client.calls == [("stop_session", row_id)]

    def test_undo_by_key(self, stage: Stage, qtbot: QtBot) -> None:
        open_on(stage, "wall-main")
        stage.key(Key.Key_Delete)
        qtbot.waitUntil(lambda: bool(stage.client.calls))
        stage.key(Key.Key_Z, CONTROL)
        assert stage.client.named("request")[0][2]["consumer_id"] == "wall-main"
        assert any(text.startswith("Undone: kick wall-main") for text in stage.said())


class TestRetake:
    def test_r_takes_again_what_was_just_lost(self, stage: Stage) -> None:
        row_id = open_on(stage, "wall-main")
        lost = stage.store.sessions[row_id]
        stage.venue.event("session.expired", row_id, Gone(reason="expired"))
        stage.settle()
        stage.go_to(row_id)
        stage.key(Key.Key_R)
        (asked,) = stage.client.named("request")
        assert (asked[1], asked[2]["config"]) == (lost.stream_id, lost.config)
        assert stage.client.named("hold") == [("hold", "session-new-1", "preset-1")]

    def test_what_lives_is_there_already(self, stage: Stage) -> None:
        open_on(stage, "wall-main")
        stage.key(Key.Key_R)
        assert stage.client.calls == []
        assert any("is there already" in text for text in stage.said())

    def test_a_lost_source_is_the_reason(self, stage: Stage) -> None:
        row_id = open_on(stage, "led-side")
        stage.venue.event("session.expired", row_id, Gone(reason="expired"))
        stage.venue.expire(10)
        stage.settle()
        stage.go_to(row_id)
        stage.key(Key.Key_R)
        assert stage.client.calls == []
        assert any("its source Surtitles is gone" in text for text in stage.said())


class TestRows:
    def test_held_by_callboard_never_claims_the_consumer(self, stage: Stage) -> None:
        row_id = open_on(stage, "wall-main")
        stage.sessions.toggle_details()
        text = stage.sessions.details.as_text()
        assert "Callboard keeps the session alive. It does not know whether the consumer is." in text
        item = stage.sessions.model.find(row_id)
        assert item is not None
        state = stage.sessions.model.state_of(item)
        assert state.word.text == "HELD"

    def test_still_sending_is_a_fault(self, stage: Stage) -> None:
        row_id = open_on(stage, "led-side")
        stage.venue.event("session.stopped", row_id, Gone(reason="stopped", by="kim"))
        stage.venue.event("session.still_sending", row_id, StillSending(ended_at=0.0))
        stage.settle()
        item = stage.sessions.model.find(row_id)
        assert item is not None
        assert stage.sessions.model.state_of(item).word.text == "FAULT"
        stage.window.refresh()
        assert ("fault", "1 fault") in stage.sessions._troubles.fresh()

    def test_group_by_stream(self, stage: Stage) -> None:
        stage.window.show_page("Sessions")
        stage.sessions.group_button.click()
        names = [item.row.stream_name for item in stage.sessions.model.order_items]
        assert names == sorted(names)
        stage.sessions.group_button.click()
        assert not stage.sessions.model.grouped

    def test_a_group_has_its_name_in_front(self, stage: Stage) -> None:
        stage.window.show_page("Sessions")
        view, model = stage.sessions.view, stage.sessions.model
        head, what = view.horizontalHeader(), model.column_number("what")
        before = head.visualIndex(what)
        stage.sessions.group_button.click()
        assert head.visualIndex(what) == 1
        second = next(row for row in range(1, model.rowCount()) if not model.group_title(row))
        first = view.viewport().grab(view.visualRect(model.index(second - 1, what))).toImage()
        follower = view.viewport().grab(view.visualRect(model.index(second, what))).toImage()
        assert model.item(second - 1).row.stream_name == model.item(second).row.stream_name
        assert THEMES["dark"]["text"].lower() in colors_in(first, 0, 0, first.width(), first.height())
        left = colors_in(follower, 0, 0, INDENT, follower.height())
        assert len(left) == 1, "the name below is set back"
        assert THEMES["dark"]["text"].lower() not in colors_in(follower, 0, 0, follower.width(), follower.height())
        stage.sessions.group_button.click()
        assert head.visualIndex(what) == before

    def test_groups_come_back_and_columns_as_they_were(self, stage: Stage) -> None:
        order = [entry["key"] for entry in stage.sessions.view.layout_of_columns()]
        stage.window.show_page("Sessions")
        stage.sessions.group_button.click()
        stage.sessions.save_layout()
        assert [entry["key"] for entry in stage.settings.get("columns/", "sessions")] == order
        again = SessionsPage(stage.context)
        try:
            assert again.model.grouped
            again.group_button.click()
            assert [entry["key"] for entry in again.view.layout_of_columns()] == order
        finally:
            again.model.close()
            again.deleteLater()

    def test_the_model_behaves(self, stage: Stage) -> None:
        tester = QAbstractItemModelTester(stage.sessions.model, QAbstractItemModelTester.FailureReportingMode.Warning)
        stage.venue.withdraw(3, "kim")
        stage.settle()
        stage.sessions.model.group_by("stream")
        assert tester.model() is stage.sessions.model

    def test_a_click_marks_with_shift_the_range(self, stage: Stage) -> None:
        stage.window.show_page("Sessions")
        view, model = stage.sessions.view, stage.sessions.model
        for row, modifier in ((0, Qt.KeyboardModifier.NoModifier), (3, SHIFT)):
            where = view.visualRect(model.index(row, 1)).center()
            QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, modifier, where)
        assert len(model.marked()) == 4
