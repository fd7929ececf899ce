"""Panels in place: they ask, show a refusal at its field, and act once or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QLabel, QLineEdit
from pytestqt.qtbot import QtBot

from app.client.api import ApiError, error_list, error_text
from app.client.connect import OpenCommand
from app.contract import PresetRow
from app.ui.dialogs.add_stream import BEATEN_BY, AddStream, beaten_by, keep_alive
from app.ui.dialogs.choose_preset import ID_ROLE, ChoosePreset
from app.ui.dialogs.confirm import ConfirmPanel, LossTable
from app.ui.dialogs.create_type import CreateType
from app.ui.dialogs.fields import FieldError, field_errors, json_object, optional_port, port
from app.ui.dialogs.offer_panel import OfferView
from app.ui.dialogs.preset_editor import PresetEditor
from app.ui.dialogs.quit_panel import QuitPanel, what_ends
from app.ui.dialogs.two_line import SECOND_ROLE
from app.ui.open_with import save_commands
from app.ui.shot_venue import session_row, stream_id
from app.ui.theme import Theme
from tests.ui.desk import Desk

BODY_422 = (
    b'{"detail":[{"type":"less_than_equal","loc":["body","port"],"msg":"Input should be less than or equal to 65535","input":70000},'
    b'{"type":"value_error","loc":["body","stream_type"],"msg":"stream_type \'hologram\' is not known","input":"hologram"}]}'
)


class Broker:
    """Notes what it is asked; ``refusal`` is raised instead of an answer. The real one is in test_with_broker.py."""

    base_url = "http://127.0.0.1:8080"

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.refusal: ApiError | None = None

    def _note(self, verb: str, what: Any) -> None:
        self.asked.append((verb, what))
        if self.refusal is not None:
            raise self.refusal

    async def advertise(self, body: dict[str, Any]) -> SimpleNamespace:
        self._note("advertise", body)
        return SimpleNamespace(id=stream_id(500), name=body["name"])

    async def withdraw(self, row_id: str) -> None:
        self._note("withdraw", row_id)

    async def heartbeat(self, row_id: str) -> None:
        self._note("heartbeat", row_id)

    async def create_type(self, body: dict[str, Any]) -> SimpleNamespace:
        self._note("create_type", body)
        return SimpleNamespace(name=body["name"])

    async def save_preset(self, row: PresetRow) -> PresetRow:
        self._note("save_preset", row)
        return row


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def desk(qtbot: QtBot, tmp_path: Path, broker: Broker) -> Iterator[Desk]:
    made = Desk(tmp_path, broker)
    made.run_forever.add("heartbeats of")
    made.context.settings.set("hold_seconds", 0.5)
    qtbot.addWidget(made)
    with qtbot.waitExposed(made):
        made.show()
    yield made
    made.context.panels.close()


def refusal() -> ApiError:
    text, code = error_text(BODY_422)
    return ApiError(422, code or "invalid", text, error_list(BODY_422))


def fill_stream(panel: AddStream) -> None:
    fields = panel.form.fields
    for name, text in (("name", "Cam 9"), ("publisher_id", "cam-9"), ("address", "10.0.40.29"), ("port", "5961")):
        fields[name].set_text(text)


class TestAddStream:
    def test_says_at_each_field_what_is_missing_and_sends_nothing(self, desk: Desk, broker: Broker) -> None:
        panel = AddStream(desk.context)
        desk.show_panel(panel)
        panel.form.fields["port"].set_text("99999")
        panel.submit()
        said = {name: field.error.text() for name, field in panel.form.fields.items() if field.error.text()}
        assert said == {
            "name": "▲ must not be empty",
            "address": "▲ must not be empty",
            "port": "▲ a port is a number from 0 to 65535",
            "publisher_id": "▲ must not be empty",
        }
        assert broker.asked == []
        assert desk.focusWidget() is panel.form.fields["name"].editor

    def test_sends_what_was_typed_and_closes(self, desk: Desk, broker: Broker) -> None:
        panel = AddStream(desk.context)
        added: list[str] = []
        panel.added.connect(added.append)
        desk.show_panel(panel)
        fill_stream(panel)
        panel.form.fields["config"].set_text('{"fps": 50}')
        panel.beat.setChecked(False)
        panel.submit()
        assert broker.asked == [
            (
                "advertise",
                {
                    "name": "Cam 9", "stream_type": "audio", "protocol": "tcp", "address": "10.0.40.29", "port": 5961,
                    "publisher_id": "cam-9", "config": {"fps": 50}, "metadata": {},
                },
            )
        ]  # fmt: skip
        assert added == [stream_id(500)]
        assert desk.context.panels.current is None
        assert desk.words == ["Cam 9 advertised; its publisher has 30 s for the first heartbeat"]

    def test_undo_withdraws_it(self, desk: Desk, broker: Broker) -> None:
        panel = AddStream(desk.context)
        desk.show_panel(panel)
        fill_stream(panel)
        panel.submit()
        undo = desk.said[-1].undo
        assert undo is not None
        undo()
        assert broker.asked[-1] == ("withdraw", stream_id(500))

    def test_a_stream_beaten_from_here_says_so_to_everybody(self, desk: Desk, broker: Broker) -> None:
        panel = AddStream(desk.context)
        desk.show_panel(panel)
        fill_stream(panel)
        panel.submit()
        assert broker.asked[0][1]["metadata"] == {BEATEN_BY: "the console of kim"}
        assert desk.left_running == ["heartbeats of Cam 9"]

    async def test_beats_until_the_stream_is_gone(self, desk: Desk, broker: Broker) -> None:
        broker.refusal = ApiError(0, "unreachable", "No broker answers")
        beating = asyncio.create_task(keep_alive(desk.context, broker, "s", every=0.001))
        while len(broker.asked) < 3:
            await asyncio.sleep(0)
        broker.refusal = ApiError(404, "expired", "Stream not found or expired")
        await asyncio.wait_for(beating, 15)

    async def test_stops_beating_when_the_console_turns_to_another_broker(self, desk: Desk, broker: Broker) -> None:
        beating = asyncio.create_task(keep_alive(desk.context, broker, "s", every=0.001))
        while not broker.asked:
            await asyncio.sleep(0)
        desk.context.client = None
        await asyncio.wait_for(beating, 15)

    def test_shows_the_brokers_refusal_at_its_fields(self, desk: Desk, broker: Broker) -> None:
        broker.refusal = refusal()
        panel = AddStream(desk.context)
        desk.show_panel(panel)
        fill_stream(panel)
        panel.submit()
        fields = panel.form.fields
        assert fields["port"].error.text() == "▲ Input should be less than or equal to 65535"
        assert fields["stream_type"].error.text() == "▲ stream_type 'hologram' is not known"
        assert panel.form.message.isHidden()
        assert desk.context.panels.current is panel
        fields["port"].set_text("5962")
        assert fields["port"].error.isHidden()

    def test_shows_any_other_refusal_as_the_broker_said_it(self, desk: Desk, broker: Broker) -> None:
        broker.refusal = ApiError(503, "unavailable", "The journal cannot be written: disk full")
        panel = AddStream(desk.context)
        desk.show_panel(panel)
        fill_stream(panel)
        panel.submit()
        assert panel.form.message.text() == "▲ The journal cannot be written: disk full"
        assert panel.ok_button.isEnabled()

    def test_enter_submits_and_remembers_for_the_next_one(self, desk: Desk, broker: Broker, qtbot: QtBot) -> None:
        panel = AddStream(desk.context)
        desk.show_panel(panel)
        fill_stream(panel)
        panel.form.fields["protocol"].set_text("srt")
        qtbot.keyClick(panel.form.fields["name"].editor, Qt.Key.Key_Return)
        assert [verb for verb, _ in broker.asked] == ["advertise"]
        again = AddStream(desk.context)
        assert again.form.fields["protocol"].text() == "srt"
        assert again.form.fields["publisher_id"].text() == "cam-9"
        assert again.form.fields["name"].text() == ""

    def test_without_a_broker_says_so(self, desk: Desk) -> None:
        desk.context.client = None
        panel = AddStream(desk.context)
        desk.show_panel(panel)
        fill_stream(panel)
        panel.submit()
        assert panel.form.message.text() == "▲ No broker is connected, so nothing was sent."


class TestCreateType:
    def test_creates_and_closes(self, desk: Desk, broker: Broker) -> None:
        panel = CreateType(desk.context)
        made: list[str] = []
        panel.created.connect(made.append)
        desk.show_panel(panel)
        panel.form.fields["name"].set_text("lidar2")
        panel.form.fields["display_name"].set_text("LiDAR")
        panel.submit()
        assert made == ["lidar2"]
        assert broker.asked[0][1]["icon"] is None
        assert desk.context.panels.current is None

    def test_a_conflict_stays_in_the_panel(self, desk: Desk, broker: Broker) -> None:
        broker.refusal = ApiError(409, "conflict", "Stream type 'ndi' already exists")
        panel = CreateType(desk.context)
        desk.show_panel(panel)
        panel.form.fields["name"].set_text("ndi")
        panel.form.fields["display_name"].set_text("NDI")
        panel.submit()
        assert panel.form.message.text() == "▲ Stream type 'ndi' already exists"
        assert desk.context.panels.current is panel

    def test_bad_json_is_said_at_its_field(self, desk: Desk, broker: Broker) -> None:
        panel = CreateType(desk.context)
        desk.show_panel(panel)
        panel.form.fields["name"].set_text("x")
        panel.form.fields["display_name"].set_text("X")
        panel.form.fields["default_config"].set_text("[1]")
        panel.submit()
        assert "JSON object" in panel.form.fields["default_config"].error.text()
        assert broker.asked == []


class TestConfirm:
    LOSSES = (("wall-main", "Cam 1"), ("<b>truck</b>", "Cam 1"))

    def test_lists_who_loses_what_as_plain_text(self, desk: Desk) -> None:
        panel = ConfirmPanel(desk.context, "Withdraw Cam 1", self.LOSSES, "Hold to withdraw")
        desk.show_panel(panel)
        table = panel.findChild(LossTable)
        assert table is not None
        cells = [[table.item(row, column).text() for column in range(2)] for row in range(table.rowCount())]
        assert cells == [["wall-main", "Cam 1"], ["<b>truck</b>", "Cam 1"]]
        assert panel.count.text() == "2 lose what they have:"
        assert all(label.textFormat() == Qt.TextFormat.PlainText for label in panel.findChildren(QLabel))

    def test_what_is_lost_has_the_room_that_names_leave(self, desk: Desk) -> None:
        lost = "the view of pit.desk's cue-player"
        panel = ConfirmPanel(desk.context, "Force-terminate", (("kim", lost), ("stage.mgr", lost)), "Hold to terminate")
        desk.show_panel(panel)
        table = panel.findChild(LossTable)
        assert table is not None
        for column in range(2):
            assert table.columnWidth(column) >= table.sizeHintForColumn(column)
        assert table.columnWidth(0) + table.columnWidth(1) == table.viewport().width()

    def test_a_short_press_does_nothing(self, desk: Desk, qtbot: QtBot) -> None:
        desk.context.settings.set("hold_seconds", 60.0)
        panel = ConfirmPanel(desk.context, "Withdraw Cam 1", self.LOSSES, "Hold to withdraw")
        done: list[bool] = []
        panel.confirmed.connect(lambda: done.append(True))
        desk.show_panel(panel)
        qtbot.keyPress(panel.hold_button, Qt.Key.Key_Return)
        assert panel.hold_button.fraction < 1
        qtbot.keyRelease(panel.hold_button, Qt.Key.Key_Return)
        qtbot.waitUntil(lambda: panel.hold_button.fraction == 0)  # once it is known for no repeat of a held key
        assert done == []
        assert desk.context.panels.current is panel

    def test_the_whole_hold_confirms_once_and_closes(self, desk: Desk, qtbot: QtBot) -> None:
        panel = ConfirmPanel(desk.context, "Withdraw Cam 1", self.LOSSES, "Hold to withdraw")
        order: list[str] = []
        panel.confirmed.connect(lambda: order.append("confirmed"))
        panel.closed.connect(lambda: order.append("closed"))
        desk.show_panel(panel)
        with qtbot.waitSignal(panel.confirmed, timeout=5000):
            qtbot.keyPress(panel.hold_button, Qt.Key.Key_Space)
        assert order == ["confirmed", "closed"]
        assert desk.context.panels.current is None

    def test_cancel_changes_nothing(self, desk: Desk) -> None:
        panel = ConfirmPanel(desk.context, "Withdraw Cam 1", self.LOSSES, "Hold to withdraw")
        order: list[str] = []
        panel.confirmed.connect(lambda: order.append("confirmed"))
        panel.closed.connect(lambda: order.append("closed"))
        desk.show_panel(panel)
        panel.cancel()
        panel.cancel()
        assert order == ["closed"]


class TestQuit:
    def make(self, desk: Desk) -> tuple[QuitPanel, list[str]]:
        did: list[str] = []
        panel = QuitPanel(
            desk.context, lambda: did.append("leave"), lambda: did.append("stop"), lambda: did.append("cancel")
        )
        desk.show_panel(panel)
        return panel, did

    def test_enter_leaves_the_broker_running(self, desk: Desk, qtbot: QtBot) -> None:
        panel, did = self.make(desk)
        assert desk.focusWidget() is panel.leave_button
        qtbot.keyClick(panel.leave_button, Qt.Key.Key_Return)
        assert did == ["leave"]

    def test_stopping_wants_the_hold(self, desk: Desk, qtbot: QtBot) -> None:
        panel, did = self.make(desk)
        qtbot.mouseClick(panel.stop_button, Qt.MouseButton.LeftButton)
        assert did == []
        with qtbot.waitSignal(panel.stop_button.fired, timeout=5000):
            qtbot.mousePress(panel.stop_button, Qt.MouseButton.LeftButton)
        assert did == ["stop"]

    def test_escape_keeps_the_window(self, desk: Desk) -> None:
        panel, did = self.make(desk)
        panel.cancel()
        assert did == ["cancel"]

    def test_names_the_streams_that_live_on_this_consoles_heartbeats(self, desk: Desk) -> None:
        panel, _did = self.make(desk)
        assert not any("heartbeats" in label.text() for label in panel.findChildren(QLabel))
        panel.cancel()
        row = next(iter(desk.store.streams.values()))
        row.metadata = {**row.metadata, BEATEN_BY: beaten_by(desk.context)}
        panel, _did = self.make(desk)
        said = next(label.text() for label in panel.findChildren(QLabel) if "heartbeats" in label.text())
        assert said.startswith(f"{row.name}: ")

    def test_no_button_is_cut(self, desk: Desk) -> None:
        panel, _did = self.make(desk)
        panel.setFixedWidth(Theme.SHEET)
        QApplication.processEvents()
        for button in (panel.stop_button, panel.leave_button):
            assert button.width() >= button.sizeHint().width()

    def test_says_what_would_end(self, desk: Desk) -> None:
        panel, _did = self.make(desk)
        assert panel.summary.text() == "12 live streams, 9 sessions"
        losses = what_ends(desk.context)
        assert ("wall-main", "Cam 1 stage left") in losses
        assert ("cam-2", "its stream Cam 2 stage right") in losses
        assert len(losses) == 9 + 6


class TestChoosePreset:
    def open(self, desk: Desk) -> tuple[ChoosePreset, list[str]]:
        panel = ChoosePreset(desk.context, stream_id(1))
        chosen: list[str] = []
        panel.chosen.connect(chosen.append)
        desk.show_panel(panel)
        return panel, chosen

    def test_default_comes_first_and_each_says_what_it_carries(self, desk: Desk) -> None:
        panel, _ = self.open(desk)
        lines = [(panel.list.item(n).text(), panel.list.item(n).data(SECOND_ROLE)) for n in range(panel.list.count())]
        assert lines[0] == ("1   Main wall  (default)", "replaces Cam 1 stage left, there for 22 m 05")
        assert lines[1] == ("2   Broadcast truck", "adds to Stage stems and 1 more, there for 1 h 23")
        assert panel.list.currentItem().data(ID_ROLE) == "preset-1"

    def test_a_digit_chooses_once(self, desk: Desk, qtbot: QtBot) -> None:
        panel, chosen = self.open(desk)
        qtbot.keyClick(panel.list, Qt.Key.Key_3)
        assert chosen == ["preset-2"]
        assert desk.context.panels.current is None

    def test_enter_chooses_the_current_one(self, desk: Desk, qtbot: QtBot) -> None:
        panel, chosen = self.open(desk)
        qtbot.keyClick(panel.list, Qt.Key.Key_Down)
        qtbot.keyClick(panel.list, Qt.Key.Key_Return)
        assert chosen == ["preset-3"]

    @pytest.mark.parametrize("key", [Qt.Key.Key_R, Qt.Key.Key_M, Qt.Key.Key_9])
    def test_other_keys_choose_nothing(self, desk: Desk, qtbot: QtBot, key: Qt.Key) -> None:
        panel, chosen = self.open(desk)
        qtbot.keyClick(panel.list, key)
        assert chosen == []
        assert panel.list.currentItem().data(ID_ROLE) == "preset-1"

    def test_follows_what_presets_carry(self, desk: Desk) -> None:
        panel, _ = self.open(desk)
        venue = desk.venue
        for number, stream, seconds in ((77, 2, 3), (78, 1, 2)):
            consumer = ("mon-conductor", "10.0.40.71") if number == 77 else ("wall-main", "10.0.40.50")
            row = session_row(number, venue.streams[stream], *consumer, venue.store.broker_now() - seconds)
            venue.event("session.started", row.id, row)
        lines = [panel.list.item(n).data(SECOND_ROLE) for n in range(panel.list.count())]
        assert "replaces Cam 3 fly tower and 1 more, there for 3 s" in lines
        assert lines[0] == "there already, for 2 s", "a take of what is there sends nothing"

    def test_without_presets_offers_to_make_one(self, qtbot: QtBot, tmp_path: Path) -> None:
        desk = Desk(tmp_path, venue=False)
        qtbot.addWidget(desk)
        panel = ChoosePreset(desk.context, "gone")
        desk.show_panel(panel)
        assert not panel.take_button.isEnabled()
        panel.new_button.click()
        assert isinstance(desk.context.panels.current, PresetEditor)


class TestPresetEditor:
    def test_makes_a_new_one(self, desk: Desk, broker: Broker) -> None:
        panel = PresetEditor(desk.context)
        saved: list[str] = []
        panel.saved.connect(saved.append)
        desk.show_panel(panel)
        for name, text in (("name", "Foyer"), ("consumer_id", "foyer-tv"), ("consumer_address", "10.0.40.90")):
            panel.form.fields[name].set_text(text)
        panel.mode["add"].setChecked(True)
        panel.held_by["consumer"].setChecked(True)
        panel.submit()
        assert broker.asked == [
            (
                "save_preset",
                PresetRow(
                    id="", name="Foyer", consumer_id="foyer-tv", consumer_address="10.0.40.90", mode="add",
                    held_by="consumer",
                ),
            )
        ]  # fmt: skip
        assert saved == [""]

    def test_shows_and_keeps_what_is_there(self, desk: Desk, broker: Broker) -> None:
        panel = PresetEditor(desk.context, "preset-1")
        desk.show_panel(panel)
        panel.submit()
        assert broker.asked == [("save_preset", desk.store.presets["preset-1"])]

    def test_the_first_preset_is_the_default(self, qtbot: QtBot, tmp_path: Path) -> None:
        empty = Desk(tmp_path, venue=False)
        qtbot.addWidget(empty)
        panel = PresetEditor(empty.context)
        qtbot.addWidget(panel)
        assert panel.default.isChecked()


class TestOffer:
    def view(self, desk: Desk) -> OfferView:
        view = OfferView(desk.context)
        desk.put(view)
        session = next(row for row in desk.store.sessions.values() if row.protocol == "srt")
        view.show_offer(session)
        return view

    def test_connection_string_is_shown_and_copied(self, desk: Desk) -> None:
        view = self.view(desk)
        assert view.address.text().startswith("srt://10.0.40.30:9710")
        view.copy_button.click()
        assert QGuiApplication.clipboard().text() == view.address.text()

    def test_a_command_is_shown_before_its_first_use_and_only_then(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        started: list[tuple[str, ...]] = []
        monkeypatch.setattr("app.ui.open_with.launch", lambda arguments: started.append(tuple(arguments)) or 1)
        save_commands(desk.context.settings, "srt", [OpenCommand("VLC", "srt", ("vlc", "{url}"))])
        view = self.view(desk)
        view.buttons[0].click()
        assert started == []
        assert "vlc" in view._card.command.text()
        assert "srt://10.0.40.30:9710" in view._card.command.text()
        view._card.start_button.click()
        assert started == [("vlc", view.address.text())]
        view.buttons[0].click()
        assert len(started) == 2

    def test_a_program_that_is_not_there_is_said(self, desk: Desk) -> None:
        save_commands(desk.context.settings, "srt", [OpenCommand("X", "srt", ("no-such-program-here", "{url}"))])
        view = self.view(desk)
        view.buttons[0].click()
        view._card.start_button.click()
        assert desk.said[-1].tone == "error"
        assert "no-such-program-here is not installed" in desk.said[-1].text

    def test_forget_empties_it(self, desk: Desk) -> None:
        view = self.view(desk)
        view.forget()
        assert view.isHidden()


def test_ports_and_objects() -> None:
    assert optional_port("") is None
    assert port("0") == 0
    assert json_object("") == {}
    for wrong in ("-1", "65536", "٣", "1.5", "x"):
        with pytest.raises(FieldError):
            port(wrong)
    for wrong in ("{", "1", '"x"'):
        with pytest.raises(FieldError):
            json_object(wrong)


def test_field_errors_of_rubbish_are_no_error() -> None:
    assert field_errors(["x", {"msg": "m"}, {"loc": [], "msg": 3}]) == [("", "m"), ("", "3")]


def test_fields_have_names_for_screen_readers(desk: Desk) -> None:
    panel = AddStream(desk.context)
    desk.show_panel(panel)
    assert all(
        edit.accessibleName() for edit in panel.findChildren(QLineEdit) if edit.objectName() != "qt_spinbox_lineedit"
    )
