"""The Streams page by key and pointer: take, withdraw, marks, filter, details, destinations, remembered layout."""

from __future__ import annotations

from pathlib import Path

import pytest
from PySide6.QtCore import QCoreApplication, QPoint, Qt
from PySide6.QtGui import QColor, QGuiApplication
from PySide6.QtTest import QAbstractItemModelTester, QTest
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from app.client.api import ApiError
from app.contract import Gone, PresetRow
from app.ui.details import Line, Section
from app.ui.dialogs.choose_preset import ChoosePreset
from app.ui.dialogs.confirm import ConfirmPanel
from app.ui.dialogs.preset_editor import PresetEditor
from app.ui.export import ExportPanel
from app.ui.plots import _round_up
from app.ui.settings import Settings
from app.ui.theme import Theme
from tests.ui.stage import Key, Stage

SHIFT = Qt.KeyboardModifier.ShiftModifier
CONTROL = Qt.KeyboardModifier.ControlModifier


def middle_of(stage: Stage, row_id: str, column: str) -> QPoint:
    """Where a cell is in the table's viewport."""
    view = stage.streams.view
    index = stage.streams.model.index_of(row_id, stage.streams.model.column_number(column))
    view.scrollTo(index)
    return view.visualRect(index).center()


def named(stage: Stage, text: str) -> list[str]:
    """Names of shown rows with that text."""
    return [item.row.name for item in stage.streams.model.order_items if text in item.row.name]


class TestTake:
    def test_r_takes_to_the_default_preset_and_ends_what_it_showed(self, stage: Stage) -> None:
        taken = stage.stream("Cam 2 stage right")
        before = stage.session("wall-main")
        stage.go_to(taken)
        stage.key(Key.Key_R)
        kinds = [call[0] for call in stage.client.calls]
        assert kinds == ["request", "hold", "stop_session"]
        assert stage.client.calls[0][1] == taken
        assert stage.client.calls[0][2]["consumer_id"] == "wall-main"
        assert stage.client.calls[2] == ("stop_session", before.id)
        assert any("Cam 2 stage right is on Main wall" in text for text in stage.said())

    def test_what_is_there_already_sends_nothing_and_says_since_when(self, stage: Stage) -> None:
        stage.go_to(stage.stream("Cam 1 stage left"))
        stage.key(Key.Key_R)
        assert stage.client.calls == []
        assert any("already on Main wall, since" in text for text in stage.said())

    def test_what_is_there_already_still_shows_how_to_reach_it(self, stage: Stage) -> None:
        stage.settings.set("window/details_open", True)
        stage.streams.details.show()
        stage.go_to(stage.stream("Cam 1 stage left"))
        stage.key(Key.Key_R)
        card = stage.streams.take_card
        assert card.title.text() == "Already on Main wall"
        assert card.offer is not None
        assert card.offer.isVisible()
        assert card.offer.address.text()

    @pytest.mark.parametrize(
        ("status", "title"), [(502, "Rejected (502)"), (504, "No answer (504)"), (404, "Gone (404)")]
    )
    def test_a_failure_is_told_in_words_and_a_stays(self, stage: Stage, status: int, title: str) -> None:
        stage.client.refusal = ApiError(status, "", "the words of the broker")
        taken = stage.stream("Surtitles")
        stage.go_to(taken)
        stage.key(Key.Key_R)
        assert [call[0] for call in stage.client.calls] == ["request"]
        said = " ".join(stage.said())
        assert "the words of the broker" in said
        assert "Cam 1 stage left stays on Main wall" in said
        stage.window.refresh()
        assert stage.streams.take_card.title.text() == title

    def test_the_offer_stands_in_the_details(self, stage: Stage) -> None:
        stage.go_to(stage.stream("Conductor"))
        stage.key(Key.Key_R)
        card = stage.streams.take_card
        assert stage.streams.details.isVisible()
        assert card.isVisible()
        assert card.title.text() == "Taken to Main wall"
        assert card.offer is not None
        card.offer.copy()
        assert QGuiApplication.clipboard().text() == "srt://10.0.40.30:9710"

    def test_undo_brings_back_what_was_there(self, stage: Stage) -> None:
        before = stage.session("wall-main")
        stage.go_to(stage.stream("Surtitles"))
        stage.key(Key.Key_R)
        stage.client.calls.clear()
        stage.key(Key.Key_Z, CONTROL)
        assert [call[0] for call in stage.client.calls] == ["request", "hold", "stop_session"]
        assert stage.client.calls[0][1] == before.stream_id
        assert stage.client.calls[2] == ("stop_session", "session-new-1")

    def test_double_click_takes_when_both_presses_hit_one_id(self, stage: Stage, qtbot: QtBot) -> None:
        taken = stage.stream("Surtitles")
        where = middle_of(stage, taken, "name")
        viewport = stage.streams.view.viewport()
        QTest.mouseClick(viewport, Qt.MouseButton.LeftButton, pos=where)
        QTest.mouseDClick(viewport, Qt.MouseButton.LeftButton, pos=where)
        assert stage.client.named("request")[0][1] == taken

    def test_double_click_on_a_row_that_moved_away_does_nothing(self, stage: Stage) -> None:
        taken = stage.stream("Surtitles")
        where = middle_of(stage, taken, "name")
        view = stage.streams.view
        QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=where)
        stage.streams.model.sort_by("name", descending=True)
        assert view.table.item(view.rowAt(where.y())).id != taken
        QTest.mouseDClick(view.viewport(), Qt.MouseButton.LeftButton, pos=where)
        assert stage.client.named("request") == []

    def test_the_cell_of_the_row_takes_it(self, stage: Stage) -> None:
        taken = stage.stream("Surtitles")
        where = middle_of(stage, taken, "take")
        QTest.mouseClick(stage.streams.view.viewport(), Qt.MouseButton.LeftButton, pos=where)
        assert stage.client.named("request")[0][1] == taken

    def test_letting_go_elsewhere_takes_nothing(self, stage: Stage) -> None:
        viewport = stage.streams.view.viewport()
        where = middle_of(stage, stage.stream("Surtitles"), "take")
        away = middle_of(stage, stage.stream("Conductor"), "take")
        QTest.mousePress(viewport, Qt.MouseButton.LeftButton, pos=where)
        QTest.mouseRelease(viewport, Qt.MouseButton.LeftButton, pos=away)
        assert stage.client.calls == []

    def test_shift_r_asks_for_the_preset(self, stage: Stage) -> None:
        taken = stage.stream("Surtitles")
        stage.go_to(taken)
        stage.key(Key.Key_R, SHIFT)
        panel = stage.window.sheet.current
        assert isinstance(panel, ChoosePreset)
        panel.chosen.emit("preset-3")
        (asked,) = stage.client.named("request")
        assert (asked[1], asked[2]["consumer_id"]) == (taken, "truck-1")
        assert stage.client.named("hold") == []

    def test_without_a_preset_the_press_opens_the_editor(self, qtbot: QtBot, tmp_path: object) -> None:
        from pathlib import Path

        bare = Stage(Path(str(tmp_path)) / "bare")
        bare.open()
        for preset_id in list(bare.store.presets):
            bare.venue.event("preset.deleted", preset_id, Gone(reason="deleted"))
        bare.go_to(bare.stream("Surtitles"))
        bare.key(Key.Key_R)
        assert isinstance(bare.window.sheet.current, PresetEditor)
        assert bare.client.calls == []
        bare.close()

    def test_a_stale_source_says_so_before_the_press(self, stage: Stage) -> None:
        stale = stage.stream("Cam 3 fly tower")
        stage.go_to(stale)
        stage.window.refresh()
        (button,) = [button for button in stage.streams.buttons if button.verb.name == "take"]
        assert "STALE 2" in button.text()
        item = stage.streams.model.find(stale)
        assert item is not None
        assert stage.streams.model.cell(item, stage.streams.model.column("take")) == "Take STALE"

    def test_take_down_stands_on_the_button(self, stage: Stage) -> None:
        stage.venue.break_part("nats", "NATS is away", take_down=True)
        stage.go_to(stage.stream("Surtitles"))
        stage.window.refresh()
        assert any("TAKE DOWN: NATS is away" in button.text() for button in stage.streams.buttons)

    def test_a_running_negotiation_counts_down_in_the_row_and_the_details(self, stage: Stage) -> None:
        stage.streams.toggle_details()
        stage.venue.negotiate(1, "wall-main", ran=1.5)
        running = stage.streams.countdown(stage.stream("Cam 2 stage right"))
        assert running is not None
        assert running.text == "3.5 s"
        assert 0.69 < running.fraction < 0.71
        stage.go_to(stage.stream("Cam 2 stage right"))
        stage.window.refresh()
        assert stage.streams.take_card.big.text() == "3.5 s"

    def test_one_picture_refuses_two_streams(self, stage: Stage) -> None:
        for name in ("Surtitles", "Conductor"):
            stage.streams.model.set_mark(stage.stream(name), True)
        stage.go_to(stage.stream("Surtitles"))
        stage.key(Key.Key_R)
        assert stage.client.calls == []
        assert any("shows one picture" in text for text in stage.said())


class TestWithdraw:
    def test_without_consumers_it_waits_and_goes(self, stage: Stage, qtbot: QtBot) -> None:
        gone = stage.stream("Show control")
        stage.go_to(gone)
        stage.key(Key.Key_Delete)
        assert stage.actions.pending_for(gone) is not None
        assert stage.window.pending.isVisible()
        qtbot.waitUntil(lambda: bool(stage.client.calls))
        assert stage.client.calls == [("withdraw", gone)]
        assert not stage.window.pending.isVisible()

    def test_with_consumers_it_lists_who_loses_what(self, stage: Stage, qtbot: QtBot) -> None:
        gone = stage.stream("Conductor")
        stage.go_to(gone)
        stage.key(Key.Key_Delete)
        panel = stage.window.sheet.current
        assert isinstance(panel, ConfirmPanel)
        assert sorted(panel.losses) == [("mon-conductor", "Conductor"), ("rec-a", "Conductor")]
        qtbot.waitUntil(panel.hold_button.hasFocus)
        QTest.keyPress(panel.hold_button, Key.Key_Return)
        qtbot.waitUntil(lambda: bool(stage.client.calls))
        assert stage.client.calls == [("withdraw", gone)]

    def test_a_short_press_of_the_held_button_does_nothing(self, stage: Stage, qtbot: QtBot) -> None:
        stage.go_to(stage.stream("Conductor"))
        stage.key(Key.Key_Delete)
        panel = stage.window.sheet.current
        assert isinstance(panel, ConfirmPanel)
        QTest.keyClick(panel.hold_button, Key.Key_Return)
        QTest.mouseClick(panel.hold_button, Qt.MouseButton.LeftButton)
        qtbot.wait(260)
        assert stage.client.calls == []

    def test_shift_delete_always_asks(self, stage: Stage) -> None:
        stage.go_to(stage.stream("Show control"))
        stage.key(Key.Key_Delete, SHIFT)
        panel = stage.window.sheet.current
        assert isinstance(panel, ConfirmPanel)
        assert panel.losses == [("qlab-main", "its stream Show control")]


class TestMarks:
    def test_space_marks_and_goes_on(self, stage: Stage) -> None:
        view = stage.streams.view
        first, second = stage.streams.model.order[:2]
        stage.go_to(first)
        stage.key(Key.Key_Space)
        assert stage.streams.model.marked() == [first]
        assert view.current_id == second
        assert view.targets() == [first]

    def test_control_space_marks_the_range(self, stage: Stage) -> None:
        order = stage.streams.model.order
        stage.go_to(order[1])
        stage.key(Key.Key_Space)
        stage.go_to(order[5])
        stage.key(Key.Key_Space, CONTROL)
        assert stage.streams.model.marked() == order[1:6]

    def test_control_a_marks_what_passes_the_filter(self, stage: Stage) -> None:
        stage.streams.filter.set_text("cam")
        stage.go_to(stage.streams.model.order[0])
        stage.key(Key.Key_A, CONTROL)
        assert len(stage.streams.model.marked()) == 3
        stage.key(Key.Key_A, CONTROL)
        assert stage.streams.model.marked() == []

    def test_hidden_marks_are_counted_and_not_acted_on(self, stage: Stage) -> None:
        stage.streams.filter.set_text("cam")
        stage.go_to(stage.streams.model.order[0])
        stage.key(Key.Key_A, CONTROL)
        stage.streams.filter.set_text("fly")
        stage.window.refresh()
        assert stage.streams.view.targets() == [stage.stream("Cam 3 fly tower")]
        assert any("(2 hidden not)" in button.text() for button in stage.streams.buttons)
        assert "2 marked but hidden by the filter" in stage.window.foot.status.text()

    def test_control_click_marks(self, stage: Stage) -> None:
        marked = stage.stream("Surtitles")
        where = middle_of(stage, marked, "name")
        QTest.mouseClick(stage.streams.view.viewport(), Qt.MouseButton.LeftButton, CONTROL, pos=where)
        assert stage.streams.model.marked() == [marked]


class TestFilter:
    def test_slash_types_a_filter_and_enter_goes_back(self, stage: Stage) -> None:
        stage.go_to(stage.streams.model.order[0])
        stage.key(Key.Key_Slash)
        assert stage.streams.filter.has_focus()
        QTest.keyClicks(stage.streams.filter.edit, "rack")
        stage.streams.filter.flush()
        assert stage.streams.model.rowCount() == 1
        stage.key(Key.Key_Return)
        assert stage.streams.view.hasFocus()

    def test_control_f_too(self, stage: Stage) -> None:
        stage.streams.view.setFocus()
        stage.key(Key.Key_F, CONTROL)
        assert stage.streams.filter.has_focus()

    def test_escape_leaves_first_and_clears_then(self, stage: Stage) -> None:
        stage.key(Key.Key_F, CONTROL)
        stage.streams.filter.set_text("cam")
        stage.key(Key.Key_Escape)
        assert stage.streams.view.hasFocus()
        assert stage.streams.filter.text == "cam"
        stage.key(Key.Key_Escape)
        assert stage.streams.filter.text == ""
        assert stage.streams.model.rowCount() == 12

    def test_a_bad_filter_says_so_and_keeps_the_rows(self, stage: Stage) -> None:
        stage.streams.filter.set_text("cam")
        stage.streams.filter.set_text("re:(")
        assert stage.streams.model.rowCount() == 3
        assert stage.streams.filter.edit.property("invalid") == "true"
        assert stage.streams.filter.note.text()

    def test_a_good_filter_takes_the_complaint_about_a_bad_one_away(self, stage: Stage) -> None:
        box = stage.streams.filter
        box.set_text("nosuch:x")
        assert box.is_invalid
        box.set_text("cam")
        assert not box.is_invalid
        assert box.note.text() == f"{stage.streams.model.rowCount()} of {stage.streams.model.total}"
        box.set_text("nosuch:x")
        box.set_text("")
        assert not box.is_invalid
        assert box.note.text() == ""

    def test_the_line_stays_where_it_is_whatever_is_said_beside_it(self, stage: Stage) -> None:
        box = stage.streams.filter
        before = box.edit.geometry()
        box.set_text("nosuch:x")
        QCoreApplication.processEvents()
        assert box.edit.geometry() == before

    def test_enter_then_r_takes_what_the_filter_found(self, stage: Stage) -> None:
        stage.go_to(stage.stream("Conductor"))
        stage.key(Key.Key_Slash)
        stage.streams.filter.edit.setText("surtitles")
        stage.key(Key.Key_Return)
        stage.key(Key.Key_R)
        assert [call[1] for call in stage.client.named("request")] == [stage.stream("Surtitles")]

    @pytest.mark.parametrize("words", ["surt", "s", "-cam"])
    def test_the_current_row_stays_the_current_row(self, stage: Stage, words: str) -> None:
        wanted = stage.stream("Surtitles")
        stage.go_to(wanted)
        stage.streams.filter.set_text(words)
        assert stage.streams.view.targets() == [wanted]
        stage.streams.filter.set_text("")
        assert stage.streams.view.targets() == [wanted]

    def test_a_reset_leaves_the_current_row_and_the_scrolling_alone(self, stage: Stage) -> None:
        view, model = stage.streams.view, stage.streams.model
        wanted = stage.stream("Surtitles")
        stage.go_to(wanted)
        model.beginResetModel()
        model.endResetModel()
        assert view.targets() == [wanted]
        assert view.currentIndex().row() == model.row_of(wanted)

    def test_a_row_that_went_while_the_order_is_held_is_not_counted_as_hidden(self, stage: Stage) -> None:
        model = stage.streams.model
        model.touched()
        gone = model.order_items[3]
        del model._items[gone.id]
        assert model.rowCount() == model.total + 1
        assert stage.streams.status_text().startswith(f"{model.rowCount()} rows")

    def test_letters_in_the_filter_are_letters(self, stage: Stage) -> None:
        stage.key(Key.Key_F, CONTROL)
        QTest.keyClicks(stage.streams.filter.edit, "r r")
        stage.key(Key.Key_Delete)
        assert stage.client.calls == []
        assert stage.streams.filter.text == "r r"

    def test_nothing_found_says_what_to_do(self, stage: Stage) -> None:
        stage.streams.filter.set_text("no such thing")
        assert stage.streams.empty.isVisible()
        assert "12 hidden" in stage.streams.empty.hint.text()

    def test_an_empty_board_that_is_live_does_not_wait_for_the_broker(self, qtbot: QtBot, tmp_path: Path) -> None:
        bare = Stage(tmp_path)
        try:
            bare.open(venue=False)
            assert bare.streams.empty.title.text() == "Waiting for the broker"
            bare.venue.open([], sessions=False)
            bare.window.refresh()
            assert bare.store.live
            assert bare.streams.empty.title.text() == "No streams yet"
        finally:
            bare.close()


class TestDetails:
    def test_enter_opens_and_closes(self, stage: Stage) -> None:
        stage.go_to(stage.stream("Conductor"))
        stage.key(Key.Key_Return)
        assert stage.streams.details.isVisible()
        stage.window.refresh()
        text = stage.streams.details.as_text()
        for expected in ("Conductor", "pit-encoder", "10.0.40.30:9710", "mon-conductor", "h264", "held by Callboard"):
            assert expected in text
        stage.streams.view.setFocus()
        stage.key(Key.Key_Return)
        assert not stage.streams.details.isVisible()

    def test_everything_can_be_copied(self, stage: Stage) -> None:
        stage.go_to(stage.stream("Conductor"))
        stage.streams.toggle_details()
        stage.streams.details.copy_all()
        assert stage.stream("Conductor") in QGuiApplication.clipboard().text()

    def test_the_cause_of_death_stands_there(self, stage: Stage) -> None:
        gone = stage.stream("Cam 3 fly tower")
        stage.venue.withdraw(2, "kim")
        stage.settle()
        stage.go_to(gone)
        stage.streams.toggle_details()
        assert "withdrawn by kim" in stage.streams.details.as_text()

    def test_a_long_label_is_shortened_and_told_in_full(self, stage: Stage) -> None:
        stage.streams.details.show_sections("x", [Section("X", [Line("a-consumer-with-a-long-name", "v")])])
        labels = [label for label in stage.streams.details.findChildren(QLabel) if label.text().startswith("a-cons")]
        assert [label.text()[-1] for label in labels] == ["…"]
        assert "a-consumer-with-a-long-name" in labels[0].toolTip()

    def test_names_are_never_markup(self, stage: Stage) -> None:
        row = stage.venue.streams[0]
        row.name = "<b>bold</b> <img src=x onerror=1>"
        stage.venue.event("stream.advertised", row.id, row)
        stage.settle()
        stage.go_to(row.id)
        stage.streams.toggle_details()
        assert stage.streams.details.title.text() == row.name
        assert all(
            label.textFormat() == Qt.TextFormat.PlainText for label in stage.streams.details.findChildren(QLabel)
        )
        assert "<b>" not in stage.streams.model.index_of(row.id, 1).data(int(Qt.ItemDataRole.ToolTipRole))

    def test_a_panel_takes_their_place_and_gives_it_back(self, stage: Stage) -> None:
        stage.go_to(stage.stream("Conductor"))
        stage.streams.toggle_details()
        stage.key(Key.Key_Delete, SHIFT)
        assert not stage.streams.details.isVisible()
        stage.key(Key.Key_Escape)
        assert stage.streams.details.isVisible()
        assert stage.streams.view.hasFocus()


class TestPanes:
    def test_f6_goes_round(self, stage: Stage) -> None:
        stage.streams.toggle_details()
        stage.streams.view.setFocus()
        stage.key(Key.Key_F6)
        assert stage.streams.details.hasFocus()
        stage.key(Key.Key_F6)
        assert stage.streams.filter.has_focus()
        stage.key(Key.Key_F6)
        assert stage.streams.view.hasFocus()

    def test_control_e_exports_what_is_filtered(self, stage: Stage) -> None:
        stage.streams.filter.set_text("cam")
        stage.streams.view.setFocus()
        stage.key(Key.Key_E, CONTROL)
        panel = stage.window.sheet.current
        assert isinstance(panel, ExportPanel)
        assert panel.extract.count == 3

    def test_the_menu_offers_every_verb_with_its_reason(self, stage: Stage) -> None:
        from PySide6.QtWidgets import QMenu

        menu = QMenu()
        stage.streams.fill_menu(menu, [stage.stream("Conductor")])
        words = [action.text() for action in menu.actions()]
        assert any(text.startswith("Take\tR") for text in words)
        assert any("Copy connection string" in text for text in words)
        stage.venue.withdraw(2, "kim")
        menu.clear()
        stage.streams.fill_menu(menu, [stage.venue.streams[2].id])
        assert all("is gone: withdrawn by kim" in action.text() for action in menu.actions()[:3])
        assert not any(action.isEnabled() for action in menu.actions()[:3])
        menu.deleteLater()


class TestOrder:
    def test_holds_still_under_the_hand_and_while_something_waits(self, stage: Stage) -> None:
        stage.go_to(stage.stream("Show control"))
        stage.key(Key.Key_Delete)
        assert stage.streams.model.held
        stage.actions.cancel_all()
        assert not any(word.startswith("action:") for word in stage.streams.model._holds)

    def test_the_current_row_stays_the_same_object(self, stage: Stage) -> None:
        row_id = stage.stream("Surtitles")
        stage.go_to(row_id)
        stage.streams.model.sort_by("name", descending=True)
        assert stage.streams.view.current_id == row_id
        assert stage.streams.model.item(stage.streams.view.currentIndex().row()).id == row_id

    def test_the_model_behaves(self, stage: Stage) -> None:
        tester = QAbstractItemModelTester(stage.streams.model, QAbstractItemModelTester.FailureReportingMode.Warning)
        stage.venue.withdraw(2, "kim")
        stage.settle()
        stage.streams.filter.set_text("cam")
        stage.streams.filter.set_text("")
        assert tester.model() is stage.streams.model


class TestDestinations:
    def test_show_what_each_preset_carries(self, stage: Stage) -> None:
        cells = {cell.name: cell for cell in stage.streams.destinations.cells}
        assert cells["Main wall"].what == "Cam 1 stage left"
        assert cells["Main wall"].default
        assert cells["Recorder A"].more == 2
        assert stage.streams.destinations.isVisible()

    def test_a_click_goes_to_the_stream(self, stage: Stage) -> None:
        strip = stage.streams.destinations
        QTest.mouseClick(strip, Qt.MouseButton.LeftButton, pos=QPoint(20, 20))
        assert stage.streams.view.current_id == stage.stream("Cam 1 stage left")

    def test_a_double_click_edits_the_preset(self, stage: Stage) -> None:
        QTest.mouseDClick(stage.streams.destinations, Qt.MouseButton.LeftButton, pos=QPoint(20, 20))
        panel = stage.window.sheet.current
        assert isinstance(panel, PresetEditor)
        assert panel.preset_id == "preset-1"

    def test_free_is_said(self, stage: Stage) -> None:
        row = PresetRow(id="p", name="Foyer", consumer_id="foyer", consumer_address="10.0.0.9")
        stage.venue.event("preset.saved", "p", row)
        stage.window.refresh()
        assert any(cell.name == "Foyer" and cell.what == "free" for cell in stage.streams.destinations.cells)


class TestLayout:
    def test_columns_sort_and_filter_come_back(self, stage: Stage) -> None:
        view, model = stage.streams.view, stage.streams.model
        head = view.horizontalHeader()
        head.moveSection(head.visualIndex(model.column_number("ttl")), 1)
        head.resizeSection(model.column_number("name"), 231)
        view.setColumnHidden(model.column_number("tags"), True)
        view.set_sort("from", True)
        stage.streams.filter.set_text("cam")
        stage.window.save_layout()
        fresh = Settings(stage.settings.path)
        other = Stage(stage.settings.path.parent)
        other.context.settings = fresh
        other.open()
        shown = other.streams.view.layout_of_columns()
        assert [entry["key"] for entry in shown][:2] == ["state", "ttl"]
        assert next(entry for entry in shown if entry["key"] == "name")["width"] == 231
        assert not next(entry for entry in shown if entry["key"] == "tags")["shown"]
        assert other.streams.model.sorted_by == ("from", True)
        assert other.streams.filter.text == "cam"
        other.close()

    def test_rubbish_in_the_file_is_passed_over(self, stage: Stage) -> None:
        view = stage.streams.view
        before = [entry["key"] for entry in view.layout_of_columns()]
        view.set_layout_of_columns([{"key": "nonsense"}, 7, {"key": "name", "width": "wide"}, {"width": 90}])
        assert sorted(entry["key"] for entry in view.layout_of_columns()) == sorted(before)

    def test_the_last_column_cannot_be_hidden(self, stage: Stage) -> None:
        view = stage.streams.view
        for number in range(len(view.table.columns)):
            view._show_column(number, False)
        assert sum(not view.isColumnHidden(number) for number in range(len(view.table.columns))) == 1


class TestPlots:
    def test_are_built_and_drawn_only_when_shown(self, stage: Stage) -> None:
        for _ in range(30):
            stage.series.sample()
        stage.streams.build_plots()
        assert stage.streams.plots._pg is None
        stage.streams.toggle_plots()
        assert stage.streams.plots._pg is not None
        assert stage.streams.plots.plots[0].value.text() == "12"
        stage.streams.plots.plots[0].value.setText("")
        stage.window.show_page("Sessions")
        stage.streams.second()
        assert stage.streams.plots.plots[0].value.text() == ""

    def test_are_built_one_at_a_time_and_take_another_theme_meanwhile(self, stage: Stage) -> None:
        band = stage.streams.plots
        stage.streams.toggle_plots()
        steps = stage.streams.building_plots()
        next(steps)
        assert [plot.built for plot in band.plots] == [True, False, False, False]
        band.set_theme(Theme.named("light"))
        stage.streams.second()
        assert [plot.built for plot in band.plots] == [True, False, False, False]
        stage.streams.build_plots()
        assert list(steps) == []
        assert all(plot.built for plot in band.plots)
        paper = QColor(Theme.named("light").color("bg"))
        assert [plot._plot.backgroundBrush().color() for plot in band.plots] == [paper] * 4

    def test_a_single_slow_negotiation_is_a_dot(self, stage: Stage) -> None:
        stage.series.sample()
        stage.series.latency.add(137.0)
        stage.streams.build_plots()
        stage.streams.toggle_plots()
        plot = stage.streams.plots.plots[3]
        assert plot.value.text() == "137 ms"
        x, y = plot._items[0].getData()
        assert (list(x), list(y)) == ([0.0], [137.0])

    def test_negotiations_are_sticks_and_failures_dots(self, stage: Stage) -> None:
        stage.series.negotiations.add(3.0)
        stage.series.failures.add(1.0)
        stage.streams.build_plots()
        stage.streams.toggle_plots()
        plot = stage.streams.plots.plots[2]
        assert plot.value.text() == "3, 1 failed"
        assert [list(part) for part in plot._items[0].getData()] == [[0.0, 0.0], [0.0, 3.0]]
        assert [list(part) for part in plot._items[1].getData()] == [[0.0], [1.0]]

    @pytest.mark.parametrize(("peak", "top"), [(0, 4), (4, 4), (5, 6), (11, 20), (21, 40), (137, 200), (5001, 6000)])
    def test_the_scale_ends_near_the_peak(self, peak: float, top: float) -> None:
        assert _round_up(peak) == top


def test_nothing_is_typed_ahead(stage: Stage) -> None:
    """Letters that are no verb move nothing: a wrong row would be one key from a wrong take."""
    first = stage.streams.model.order[0]
    stage.go_to(first)
    for key in (Key.Key_S, Key.Key_C, Key.Key_M):
        stage.key(key)
    assert stage.streams.view.current_id == first
    assert named(stage, "Surtitles")
