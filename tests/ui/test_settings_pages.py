"""Settings: each section shows what is, changes what it should, and says what went wrong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QLabel, QPushButton, QWidget
from pytestqt.qtbot import QtBot

from app.client.api import ApiError
from app.client.process import BrokerState
from app.client.shapes import AccessView, ApiKey, NewApiKey
from app.contract import PresetRow, TypeRow
from app.ui.dialogs.confirm import ConfirmPanel
from app.ui.dialogs.create_type import CreateType
from app.ui.dialogs.fields import FieldError
from app.ui.dialogs.preset_editor import PresetEditor
from app.ui.pages.settings import SettingsPage
from app.ui.pages.settings.access import AccessSection, network, network_words
from app.ui.pages.settings.appearance import AppearanceSection
from app.ui.pages.settings.brokers import BrokersSection, remote_brokers
from app.ui.pages.settings.open_with import OpenWithSection
from app.ui.pages.settings.operator import OperatorSection, account_name
from app.ui.pages.settings.page import SECTIONS
from app.ui.pages.settings.presets import PresetsSection
from app.ui.pages.settings.types import TypesSection
from app.ui.panel import HoldButton
from app.ui.shot_client import StillClient
from app.ui.shot_venue import NOW
from app.ui.theme import Theme
from tests.ui.desk import Desk


class Broker(StillClient):
    """The stand-in of the pictures that keeps what it is told, as far as Settings ask for it."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk.venue)
        self.networks = ["10.0.40.0/24"]
        self.host = "127.0.0.1"
        self.keys = [ApiKey("key-1", "lighting desk", NOW - 5)]
        self.told: list[tuple[str, Any]] = []

    def _check(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    async def access(self) -> AccessView:
        self._check()
        return AccessView(self.host, list(self.networks), False, ["http://10.0.40.2:8080"], ["Words."], list(self.keys))

    async def set_access(self, **wanted: Any) -> AccessView:
        self._check()
        self.told.append(("set_access", wanted))
        self.networks = wanted.get("allow_networks", self.networks)
        self.host = wanted.get("host", self.host)
        return await self.access()

    async def add_key(self, name: str) -> NewApiKey:
        self._check()
        self.keys.append(ApiKey(f"key-{len(self.keys) + 1}", name, NOW))
        return NewApiKey(self.keys[-1].id, name, "secret-key")

    async def delete_key(self, key_id: str) -> None:
        self._check()
        self.keys = [key for key in self.keys if key.id != key_id]

    async def save_preset(self, row: PresetRow) -> PresetRow:
        self._check()
        self.told.append(("save_preset", row))
        return row

    async def delete_preset(self, preset_id: str) -> None:
        self._check()
        self.told.append(("delete_preset", preset_id))


@pytest.fixture
def desk(qtbot: QtBot, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    made.context.client = Broker(made)  # type: ignore[assignment]
    made.context.settings.set("hold_seconds", 0.5)
    qtbot.addWidget(made)
    with qtbot.waitExposed(made):
        made.show()
    yield made
    made.context.panels.close()


@pytest.fixture
def page(desk: Desk) -> SettingsPage:
    made = SettingsPage(desk.context)
    desk.put(made)
    made.activate()
    return made


def broker_of(desk: Desk) -> Broker:
    client: Any = desk.context.client
    assert isinstance(client, Broker)
    return client


def words_of(widget: QWidget) -> str:
    QApplication.processEvents()
    return "\n".join(label.text() for label in widget.findChildren(QLabel) if not label.isHidden())


def button_of(widget: QWidget, name: str) -> QPushButton:
    QApplication.processEvents()
    for button in widget.findChildren(QPushButton):
        if not button.isHidden() and name in (button.text(), button.accessibleName()):
            return button
    raise AssertionError(f"no button {name}")


class TestPage:
    def test_every_section_opens_by_keyboard(self, page: SettingsPage, desk: Desk, qtbot: QtBot) -> None:
        assert desk.focusWidget() is page.list
        for _ in range(len(SECTIONS) - 1):
            qtbot.keyClick(page.list, Qt.Key.Key_Down)
        assert page.list.currentItem().text() == "Export and import"
        assert len(page._sections) == len(SECTIONS)

    def test_sections_are_built_when_first_shown(self, desk: Desk) -> None:
        made = SettingsPage(desk.context)
        desk.put(made)
        assert made._sections == {}

    def test_a_page_in_the_back_listens_to_nothing(self, page: SettingsPage, desk: Desk) -> None:
        before = len(desk.store._listeners)
        page.open(PresetsSection)
        page.open(TypesSection)
        assert len(desk.store._listeners) == before + 1
        page.deactivate()
        assert len(desk.store._listeners) == before


class TestAccess:
    def section(self, page: SettingsPage) -> AccessSection:
        section = page.open(AccessSection)
        assert isinstance(section, AccessSection)
        return section

    def test_says_in_words_who_may(self, page: SettingsPage) -> None:
        words = words_of(self.section(page))
        for part in ("Words.", "http://10.0.40.2:8080", "10.0.40.0/24", "256 addresses", "lighting desk"):
            assert part in words

    def test_copies_an_address(self, page: SettingsPage, desk: Desk) -> None:
        button_of(self.section(page), "Copy Address").click()
        assert QGuiApplication.clipboard().text() == "http://10.0.40.2:8080"
        assert desk.words[-1] == "Address copied"

    def test_adds_a_network_and_undo_takes_it_away(self, page: SettingsPage, desk: Desk) -> None:
        section = self.section(page)
        section.network.set_text("10.0.50.7")
        section.add_network()
        assert broker_of(desk).networks == ["10.0.40.0/24", "10.0.50.7/32"]
        assert "one machine" in words_of(section)
        desk.context.actions.undo()
        assert broker_of(desk).networks == ["10.0.40.0/24"]

    def test_removes_a_network(self, page: SettingsPage, desk: Desk) -> None:
        section = self.section(page)
        button_of(section, "Remove 10.0.40.0/24").click()
        assert broker_of(desk).networks == []
        assert "No network: only this machine" in words_of(section)

    @pytest.mark.parametrize("text", ["", "x", "10.0.40.5/24", "300.1.1.1", "10.0.0.0/33", "10.0.40.0/24"])
    def test_what_is_no_new_network_is_said_at_the_field(self, page: SettingsPage, desk: Desk, text: str) -> None:
        section = self.section(page)
        section.network.set_text(text)
        section.add_network()
        assert section.network.error.text()
        assert broker_of(desk).told == []

    def test_listening_elsewhere_waits_for_the_next_start(self, page: SettingsPage, desk: Desk) -> None:
        section = self.section(page)
        section.host.set_text("0.0.0.0")
        section.save_host()
        assert broker_of(desk).told == [("set_access", {"host": "0.0.0.0"})]
        assert "from its next start on" in desk.words[-1]

    def test_a_refusal_is_shown_as_the_broker_said_it(self, page: SettingsPage, desk: Desk) -> None:
        section = self.section(page)
        broker_of(desk).refusal = ApiError(409, "conflict", "The host was given on the command line")
        section.host.set_text("::")
        section.save_host()
        assert section.message.text() == "▲ The host was given on the command line"
        broker_of(desk).refusal = None
        section.activate()
        assert section.message.isHidden()

    def test_a_key_is_shown_once(self, page: SettingsPage, desk: Desk) -> None:
        section = self.section(page)
        section.key_name.set_text("truck")
        section.add_key()
        assert "secret-key" in words_of(section)
        button_of(section, "Copy Key").click()
        assert QGuiApplication.clipboard().text() == "secret-key"
        page.open(TypesSection)
        self.section(page)
        assert "secret-key" not in words_of(section)
        assert "truck" in words_of(section)

    def test_revoking_wants_the_hold(self, page: SettingsPage, desk: Desk, qtbot: QtBot) -> None:
        section = self.section(page)
        revoke = button_of(section, "Revoke lighting desk")
        revoke.click()
        assert len(broker_of(desk).keys) == 1
        assert isinstance(revoke, HoldButton)
        with qtbot.waitSignal(revoke.fired, timeout=5000):
            qtbot.keyPress(revoke, Qt.Key.Key_Space)
        assert broker_of(desk).keys == []
        assert "There is no key." in words_of(section)

    def test_a_board_that_is_not_live_changes_nothing(self, page: SettingsPage, desk: Desk) -> None:
        section = self.section(page)
        desk.context.actions.set_blocked("NOT LIVE since 20:13:26")
        button_of(section, "Remove 10.0.40.0/24").click()
        assert broker_of(desk).told == []
        assert section.message.text() == "▲ NOT LIVE since 20:13:26. Nothing was sent."

    def test_networks_in_canonical_form(self) -> None:
        assert network("10.0.40.0/255.255.255.0") == "10.0.40.0/24"
        assert network("fd00:40::/64") == "fd00:40::/64"
        assert network_words("0.0.0.0/0") == "every address there is"
        with pytest.raises(FieldError, match=r"the network is 10\.0\.40\.0/24"):
            network("10.0.40.5/24")


class TestPresets:
    def section(self, page: SettingsPage) -> PresetsSection:
        section = page.open(PresetsSection)
        assert isinstance(section, PresetsSection)
        return section

    def test_says_where_each_goes_and_what_the_words_mean(self, page: SettingsPage) -> None:
        section = self.section(page)
        assert section.list.count() == 4
        assert "ends the old one only when the offer is there" in words_of(section)
        assert "does not know whether the consumer lives" in words_of(section)

    def test_makes_another_one_the_default(self, page: SettingsPage, desk: Desk) -> None:
        section = self.section(page)
        assert not section.default_button.isEnabled()
        section.list.setCurrentRow(1)
        section.default_button.click()
        verb, row = broker_of(desk).told[-1]
        assert (verb, row.id, row.default) == ("save_preset", "preset-3", True)

    def test_deletes_and_undo_makes_it_again(self, page: SettingsPage, desk: Desk) -> None:
        section = self.section(page)
        section.list.setCurrentRow(3)
        section.delete_button.click()
        assert broker_of(desk).told[-1] == ("delete_preset", "preset-4")
        desk.context.actions.undo()
        verb, row = broker_of(desk).told[-1]
        assert (verb, row.id, row.name) == ("save_preset", "", "Recorder A")

    def test_enter_edits_and_new_makes(self, page: SettingsPage, desk: Desk, qtbot: QtBot) -> None:
        section = self.section(page)
        qtbot.keyClick(section.list, Qt.Key.Key_Return)
        panel = desk.context.panels.current
        assert isinstance(panel, PresetEditor)
        assert panel.preset_id == "preset-1"
        section.new_button.click()
        panel = desk.context.panels.current
        assert isinstance(panel, PresetEditor)
        assert panel.preset_id == ""

    def test_follows_the_feed(self, page: SettingsPage, desk: Desk) -> None:
        section = self.section(page)
        row = PresetRow(id="preset-9", name="Foyer", consumer_id="tv", consumer_address="10.0.40.90")
        desk.venue.event("preset.saved", row.id, row)
        assert section.list.count() == 5


class TestTypes:
    def test_created_first_and_the_feed_is_followed(self, page: SettingsPage, desk: Desk) -> None:
        section = page.open(TypesSection)
        assert isinstance(section, TypesSection)
        assert [section.table.item(0, column).text() for column in range(3)] == [
            "lidar",
            "LiDAR point cloud",
            "created",
        ]
        row = TypeRow(id="t", name="depth", display_name="<b>Depth</b>", created_at=NOW, updated_at=NOW)
        desk.venue.event("type.created", row.id, row)
        assert section.table.item(0, 1).text() == "<b>Depth</b>"
        button_of(section, "Create type…").click()
        assert isinstance(desk.context.panels.current, CreateType)


class TestOpenWith:
    def section(self, page: SettingsPage) -> OpenWithSection:
        section = page.open(OpenWithSection)
        assert isinstance(section, OpenWithSection)
        return section

    def test_shows_each_command_as_it_would_be_started(self, page: SettingsPage) -> None:
        words = words_of(self.section(page))
        assert "vlc srt://10.0.40.21:5960" in words
        assert "{url}  {address}  {port}  {name}" in words

    def test_adds_removes_and_restores(self, page: SettingsPage, desk: Desk) -> None:
        section = self.section(page)
        section.title_field.set_text("mpv")
        section.command_field.set_text("mpv --title='{name} live' {url}")
        assert "mpv '--title=Stage left camera live' srt://10.0.40.21:5960" in section.preview.text()
        section.add()
        assert "mpv" in words_of(section)
        button_of(section, "Remove mpv").click()
        assert "mpv '--title" not in words_of(section)
        desk.context.actions.undo()
        assert "mpv '--title" in words_of(section)
        section.defaults_button.click()
        assert "mpv '--title" not in words_of(section)

    @pytest.mark.parametrize(
        ("command", "told"),
        [
            ("vlc {secret}", "{secret} is not known"),
            ("{url}", "takes no placeholder"),
            ("vlc 'x", "a quote is open"),
            ("", "a program"),
        ],
    )
    def test_says_what_is_wrong_with_a_command(self, page: SettingsPage, command: str, told: str) -> None:
        section = self.section(page)
        section.title_field.set_text("x")
        section.command_field.set_text(command)
        section.add()
        assert told in section.command_field.error.text()

    def test_two_of_one_name_are_refused(self, page: SettingsPage) -> None:
        section = self.section(page)
        section.title_field.set_text("VLC")
        section.command_field.set_text("vlc {url}")
        section.add()
        assert "in the list already" in section.title_field.error.text()

    def test_a_protocol_without_programs_says_so(self, page: SettingsPage) -> None:
        section = self.section(page)
        section.protocol.setCurrentText("ndi")
        assert "No program opens ndi streams yet." in words_of(section)


class TestOperator:
    def section(self, page: SettingsPage) -> OperatorSection:
        section = page.open(OperatorSection)
        assert isinstance(section, OperatorSection)
        return section

    def test_the_name_is_used_from_now_on(self, page: SettingsPage, desk: Desk) -> None:
        section = self.section(page)
        section.name.set_text("Zoë")
        section.save_name()
        assert desk.context.operator == "Zoë"
        assert broker_of(desk).operator == "Zoë"
        assert desk.context.settings.get("operator") == "Zoë"

    def test_empty_is_the_accounts_name(self, page: SettingsPage, desk: Desk) -> None:
        section = self.section(page)
        section.save_name()
        assert desk.context.operator == account_name()

    @pytest.mark.parametrize("name", ["x" * 81, "a\x07b"])
    def test_a_name_that_does_not_fit_is_said(self, page: SettingsPage, desk: Desk, name: str) -> None:
        section = self.section(page)
        section.name.set_text(name)
        section.save_name()
        assert section.name.error.text()
        assert desk.context.operator == "kim"

    def test_guards_are_remembered(self, page: SettingsPage, desk: Desk) -> None:
        section = self.section(page)
        section.guards["hold_back_seconds"].setValue(5.0)
        assert desk.context.settings.get("hold_back_seconds") == 5.0


class TestAppearance:
    def test_arrows_and_space_choose(self, page: SettingsPage, desk: Desk, qtbot: QtBot) -> None:
        section = page.open(AppearanceSection)
        assert isinstance(section, AppearanceSection)
        assert section.cards["dark"].isChecked()
        qtbot.keyClick(section.cards["blackout"], Qt.Key.Key_Space)
        assert desk.switched == ["blackout"]
        desk.context.theme = Theme.named("blackout")
        section.choose("blackout")
        assert desk.switched == ["blackout"]


class Process:
    """The embedded broker as Settings see it."""

    def __init__(self) -> None:
        self.state = BrokerState("running", "http://127.0.0.1:8080", "t", 4711, "0.1.0")
        self.did: list[str] = []

    async def restart(self) -> None:
        self.did.append("restart")

    async def stop(self) -> None:
        self.did.append("stop")
        self.state = BrokerState("stopped")

    async def start(self) -> None:
        self.did.append("start")


class TestBrokers:
    def section(self, page: SettingsPage) -> BrokersSection:
        section = page.open(BrokersSection)
        assert isinstance(section, BrokersSection)
        section.activate()
        return section

    def test_says_what_is_in_use_and_that_there_is_no_keyring(self, page: SettingsPage) -> None:
        section = self.section(page)
        words = words_of(section)
        for part in ("Grand Theatre", "process 4711", "12 live streams, 9 sessions", "✓ in use"):
            assert part in words
        assert "This machine has no keyring" in words

    def test_adds_uses_and_forgets_a_remote_one(self, page: SettingsPage, desk: Desk, tmp_path: Path) -> None:
        section = self.section(page)
        section.name.set_text("House")
        section.url.set_text("callboard.house:8080")
        section.token.set_text("secret")
        section.add()
        url = "http://callboard.house:8080"
        assert remote_brokers(desk.context) == [{"name": "House", "url": url, "user": ""}]
        assert desk.context.tokens == {url: "secret"}
        desk.context.settings.sync()
        assert "secret" not in (tmp_path / "console.ini").read_text()
        assert "has no keyring" in section.keyring.text()
        button_of(section, "Use House").click()
        assert desk.connected == [url]
        button_of(section, "Remove House").click()
        assert remote_brokers(desk.context) == []
        assert desk.context.tokens == {}
        desk.context.actions.undo()
        assert remote_brokers(desk.context) == [{"name": "House", "url": url, "user": ""}]

    @pytest.mark.parametrize("url", ["", "ftp://x", "http://", "http://a b"])
    def test_what_is_no_address_is_said(self, page: SettingsPage, desk: Desk, url: str) -> None:
        section = self.section(page)
        section.url.set_text(url)
        section.add()
        assert section.url.error.text()
        assert remote_brokers(desk.context) == []

    def test_stopping_lists_who_loses_what_and_wants_the_hold(
        self, page: SettingsPage, desk: Desk, qtbot: QtBot
    ) -> None:
        process = Process()
        desk.context.embedded = process  # type: ignore[assignment]
        section = self.section(page)
        section.stop_button.click()
        panel = desk.context.panels.current
        assert isinstance(panel, ConfirmPanel)
        assert ("wall-main", "Cam 1 stage left") in panel.losses
        assert process.did == []
        with qtbot.waitSignal(panel.confirmed, timeout=5000):
            qtbot.keyPress(panel.hold_button, Qt.Key.Key_Return)
        assert process.did == ["stop"]
        assert not section.start_button.isHidden()
        section.start_button.click()
        assert process.did == ["stop", "start"]

    def test_rubbish_in_the_settings_is_passed_over(self, desk: Desk) -> None:
        desk.context.settings.set("brokers", ["x", {"url": 3}, {"url": "http://a"}])
        assert remote_brokers(desk.context) == [{"name": "", "url": "http://a", "user": ""}]


def test_without_a_broker_the_section_says_so(desk: Desk) -> None:
    desk.context.client = None
    made = SettingsPage(desk.context)
    desk.put(made)
    made.activate()
    section = made.open(AccessSection)
    assert section.message.text() == "▲ No broker is connected."
