"""Panels, settings and history against a real broker process: what it refuses, what it keeps, what it says of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from app.client.api import BrokerClient
from app.ui import verbs
from app.ui.dialogs.add_stream import AddStream
from app.ui.dialogs.create_type import CreateType
from app.ui.dialogs.preset_editor import PresetEditor
from app.ui.pages.history import HistoryPage
from app.ui.pages.settings import SettingsPage
from app.ui.pages.settings.access import AccessSection
from app.ui.pages.settings.brokers import BrokersSection
from tests.fakes.broker import BrokerProcess, broker_process, brokers
from tests.ui.desk import Desk
from tests.ui.test_settings_pages import words_of

__all__ = ["broker_process", "brokers"]


@pytest.fixture
def desk(qtbot: QtBot, tmp_path: Path, broker_process: BrokerProcess) -> Iterator[Desk]:
    made = Desk(tmp_path, BrokerClient(broker_process.url, broker_process.token, "Zoë"))
    made.run_forever.add("heartbeats of")
    verbs.declare(made.context.actions)
    qtbot.addWidget(made)
    with qtbot.waitExposed(made):
        made.show()
    yield made
    made.context.panels.close()


def test_a_stream_added_by_hand_is_refused_accepted_and_written_down(desk: Desk) -> None:
    panel = AddStream(desk.context)
    desk.show_panel(panel)
    for name, text in (
        ("name", "Foyer"),
        ("publisher_id", "foyer"),
        ("address", "10.0.40.40"),
        ("port", "5961"),
        ("entity_id", "x"),
    ):
        panel.form.fields[name].set_text(text)
    panel.submit()
    assert "UUID" in panel.form.fields["entity_id"].error.text()
    assert desk.context.panels.current is panel
    panel.form.fields["entity_id"].set_text("")
    panel.submit()
    assert desk.context.panels.current is None, panel.form.message.text()
    page = HistoryPage(desk.context)
    desk.put(page)
    page.activate()
    page.show_tab(1)
    rows = [item.row for item in page.tab.table.order_items]
    assert ("Zoë", "advertise", "ok") in [(row.operator, row.verb, row.result) for row in rows]
    assert [page.tab.table.cell(item, page.tab.table.column("object")) for item in page.tab.table.order_items][
        -1
    ] == "Foyer"
    page.deactivate()


def test_a_type_that_exists_is_refused_in_the_brokers_words(desk: Desk) -> None:
    panel = CreateType(desk.context)
    desk.show_panel(panel)
    panel.form.fields["name"].set_text("ndi")
    panel.form.fields["display_name"].set_text("NDI")
    panel.submit()
    assert panel.form.message.text() == "▲ Stream type 'ndi' already exists"
    panel.form.fields["name"].set_text("lidar")
    panel.submit()
    assert desk.words[-1] == "Type lidar created"


def test_a_preset_is_kept(desk: Desk) -> None:
    panel = PresetEditor(desk.context)
    desk.show_panel(panel)
    for name, text in (
        ("name", "Wall"),
        ("consumer_id", "wall"),
        ("consumer_address", "10.0.40.50"),
        ("consumer_port", "5000"),
    ):
        panel.form.fields[name].set_text(text)
    panel.submit()
    assert desk.words[-1] == "Preset Wall saved", panel.form.message.text()


def test_who_may_reach_it(desk: Desk) -> None:
    page = SettingsPage(desk.context)
    desk.put(page)
    page.activate()
    section = page.open(AccessSection)
    assert isinstance(section, AccessSection)
    assert section.view is not None
    assert section.view.words
    section.network.set_text("10.0.40.0/24")
    section.add_network()
    assert section.view.allow_networks == ["10.0.40.0/24"]
    assert "256 addresses" in words_of(section)
    section.key_name.set_text("desk")
    section.add_key()
    assert [key.name for key in section.view.keys] == ["desk"]
    section.revoke(section.view.keys[0])
    assert section.view.keys == []
    assert section.message.isHidden(), section.message.text()
    page.deactivate()


def test_a_wrong_token_is_refused_in_words(desk: Desk, broker_process: BrokerProcess) -> None:
    desk.context.client = BrokerClient(broker_process.url, "wrong", "Zoë")
    page = SettingsPage(desk.context)
    desk.put(page)
    page.activate()
    section = page.open(AccessSection)
    assert section.message.text().startswith("▲ ")
    assert len(section.message.text()) > 10
    page.deactivate()


def test_the_broker_says_who_it_is(desk: Desk, broker_process: BrokerProcess) -> None:
    page = SettingsPage(desk.context)
    desk.put(page)
    page.activate()
    section = page.open(BrokersSection)
    words = words_of(section)
    assert f"process {broker_process.pid}" in words
    assert str(broker_process.data_dir) in words
    page.deactivate()
