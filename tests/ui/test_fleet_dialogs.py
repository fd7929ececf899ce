"""Panels and settings of the fleet: begin a session, templates, users, agent keys, and a login at a remote broker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLabel
from pytestqt.qtbot import QtBot

from app.client.api import ApiError
from app.client.shapes import BrokerView
from app.ui.connection import Connection, remote_user
from app.ui.dialogs.create_session import CreateSession
from app.ui.dialogs.edit_template import EditTemplate
from app.ui.dialogs.edit_user import EditUser
from app.ui.dialogs.template_list import TemplateList
from app.ui.pages.settings.agent_keys import AgentKeysSection, moment_text
from app.ui.pages.settings.brokers import BrokersSection, remote_brokers
from app.ui.pages.settings.page import SettingsPage
from app.ui.pages.settings.templates import TemplatesSection
from app.ui.pages.settings.users import UsersSection
from app.ui.shot_fleet import fleet_rows
from app.ui.strip_words import Connected, strip_state
from tests.ui.desk import Desk
from tests.ui.scripted_fleet import ScriptedFleet


class Client:
    """A broker of which little but the fleet is asked."""

    base_url = "http://127.0.0.1:8080"
    token = "token"

    def __init__(self) -> None:
        self.fleet = ScriptedFleet()

    async def broker(self) -> BrokerView:
        return BrokerView(pid=1)

    async def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def desk(qtbot: QtBot, tmp_path: Path) -> Desk:
    made = Desk(tmp_path, Client(), venue=False)
    made.venue.open(fleet=fleet_rows())
    qtbot.addWidget(made)
    made.show()
    return made


@pytest.fixture
def fleet(desk: Desk) -> ScriptedFleet:
    client: Any = desk.context.client
    return client.fleet


def calls_that_change(fleet: ScriptedFleet) -> list[tuple[Any, ...]]:
    return [call for call in fleet.calls if call[0] not in ("users", "agent_keys")]


class TestCreateSession:
    def panel(self, desk: Desk) -> CreateSession:
        panel = CreateSession(desk.context)
        desk.show_panel(panel)
        return panel

    def test_what_cannot_run_is_greyed_with_its_reason(self, desk: Desk) -> None:
        panel = self.panel(desk)
        last = panel.templates.item(panel.templates.count() - 1)
        assert last.text() == "Blender"
        assert (
            last.data(int(Qt.ItemDataRole.UserRole) + 1)
            == "cannot run now: blender is missing on rack-1, rack-2, studio-b"
        )
        assert not last.flags() & Qt.ItemFlag.ItemIsEnabled
        assert not panel.templates.choose("blender")

    def test_sends_what_was_filled_in_and_leaves_the_rest_to_the_template(
        self, desk: Desk, fleet: ScriptedFleet
    ) -> None:
        panel = self.panel(desk)
        assert panel.templates.choose("firefox-browser")
        panel.form.fields["user"].set_text("john.doe")
        assert panel.form.fields["memory"].editor.placeholderText() == "2Gi (from the template)"
        panel.form.fields["tags"].set_text("show, pit")
        panel.form.fields["cpu"].set_text("500m")
        panel.submit()
        assert fleet.calls == [
            (
                "create_session", "john.doe", "firefox-browser",
                {"platform": None, "state": None, "resources": {"cpu": "500m"}, "persistent_home": True, "idle_timeout": None, "tags": ["show", "pit"]},
            )
        ]  # fmt: skip
        assert desk.words[-1] == "john.doe ← firefox-browser begins on rack-1"
        assert desk.sheet.current is None
        undo = desk.said[-1].undo
        assert undo is not None
        undo()
        assert fleet.calls[-1] == ("delete_session", "desk-new", False)

    def test_an_agent_that_goes_changes_nothing_that_was_chosen(self, desk: Desk, fleet: ScriptedFleet) -> None:
        panel = self.panel(desk)
        panel.templates.choose("xterm")
        panel.home.setChecked(not panel.home.isChecked())
        ticked = panel.home.isChecked()
        rows = [row for row in desk.context.store.agents.values() if row.platform == "local"]
        for row in rows:
            desk.venue.event("agent.changed", row.id, msgspec.structs.replace(row, sessions=row.sessions + 1))
        assert panel.home.isChecked() is ticked, "the tick is the operator's"
        for row in rows:
            desk.venue.event("agent.changed", row.id, msgspec.structs.replace(row, status="offline"))
        assert panel.templates.currentItem().text() == "Terminal", "not another one instead"
        assert panel.templates.chosen is None
        assert "cannot run now" in panel.template_error.text()
        panel.form.fields["user"].set_text("ann")
        panel.submit()
        assert calls_that_change(fleet) == []
        desk.venue.event("agent.changed", rows[0].id, rows[0])
        assert panel.template_error.text() == ""
        panel.submit()
        assert fleet.calls[-1][:3] == ("create_session", "ann", "xterm")

    def test_a_time_out_of_nothing_is_never(self, desk: Desk) -> None:
        panel = self.panel(desk)
        row = desk.context.store.template_named("firefox-browser")
        desk.venue.event("template.saved", row.id, msgspec.structs.replace(row, idle_timeout="0"))
        assert panel.templates.choose("firefox-browser")
        assert panel.form.fields["idle_timeout"].editor.placeholderText() == "never"

    def test_platform_home_and_state_can_be_chosen(self, desk: Desk, fleet: ScriptedFleet) -> None:
        panel = self.panel(desk)
        panel.templates.choose("cue-player")
        panel.form.fields["user"].set_text("ann")
        panel.form.fields["platform"].set_text("docker")
        panel.home.setChecked(False)
        panel.later.setChecked(True)
        panel.submit()
        sent = fleet.calls[0][3]
        assert (sent["platform"], sent["state"], sent["persistent_home"]) == ("docker", "hibernated", False)

    def test_what_an_agent_publishes_is_asked_for_by_name(self, desk: Desk, fleet: ScriptedFleet) -> None:
        panel = self.panel(desk)
        assert panel.templates.choose("foh-media-a")
        panel.form.fields["user"].set_text("tom")
        panel.submit()
        assert fleet.calls[0][3]["platform"] == "attach"

    def test_a_refusal_stands_at_its_field_in_the_brokers_words(self, desk: Desk, fleet: ScriptedFleet) -> None:
        panel = self.panel(desk)
        panel.form.fields["user"].set_text("nobody")
        detail = [{"loc": ["body", "user"], "msg": "There is no user 'nobody'"}]
        fleet.refusal = ApiError(400, "VALIDATION_FAILED", "There is no user 'nobody'", detail)
        panel.submit()
        assert "There is no user 'nobody'" in panel.form.fields["user"].error.text()
        assert desk.sheet.current is panel
        fleet.refusal = ApiError(503, "AGENT_DRAINING", "All agents that could run it are draining")
        panel.submit()
        assert "All agents that could run it are draining" in panel.form.message.text()

    def test_nonsense_is_not_sent(self, desk: Desk, fleet: ScriptedFleet) -> None:
        panel = self.panel(desk)
        panel.form.fields["user"].set_text("ann")
        for name, text in (("memory", "much"), ("cpu", "fast"), ("idle_timeout", "soon")):
            panel.form.fields[name].set_text(text)
        panel.submit()
        assert fleet.calls == []
        for name in ("memory", "cpu", "idle_timeout"):
            assert panel.form.fields[name].error.text()

    def test_it_remembers_and_follows_the_board(self, desk: Desk) -> None:
        panel = self.panel(desk)
        panel.templates.choose("xterm")
        panel.form.fields["user"].set_text("mira.k")
        panel.submit()
        again = self.panel(desk)
        assert again.templates.chosen is not None
        assert (again.templates.chosen.name, again.form.fields["user"].text()) == ("xterm", "mira.k")
        for agent_id in ("rack-1", "rack-2", "studio-b"):
            row = msgspec.structs.replace(desk.store.agents[agent_id], missing_programs=["xterm", "blender"])
            desk.venue.event("agent.changed", agent_id, row)
        assert again.templates.chosen is None, "no other desktop is begun instead"
        assert "cannot run now" in again.template_error.text()

    def test_without_any_template_it_says_where_they_are_made(self, qtbot: QtBot, tmp_path: Path) -> None:
        empty = Desk(tmp_path / "other", Client(), venue=False)
        qtbot.addWidget(empty)
        empty.venue.open()
        panel = CreateSession(empty.context)
        empty.show_panel(panel)
        panel.submit()
        assert "Settings, Templates makes one" in panel.template_error.text()
        panel.cancel()


class TestTemplates:
    def section(self, desk: Desk) -> TemplatesSection:
        page = SettingsPage(desk.context)
        desk.put(page)
        page.activate()
        section = page.open(TemplatesSection)
        assert isinstance(section, TemplatesSection)
        return section

    def test_lists_them_with_reasons_and_deletes_with_undo(self, desk: Desk, fleet: ScriptedFleet) -> None:
        section = self.section(desk)
        assert section.list.choose("cue-player")
        assert "Command: cueplayer --full" in section.told.text()
        section.delete()
        assert calls_that_change(fleet) == [("delete_template", "cue-player")]
        undo = desk.said[-1].undo
        assert undo is not None
        undo()
        assert fleet.calls[-1][0] == "create_template"
        assert fleet.calls[-1][1]["command"] == ["cueplayer", "--full"]
        section.list.choose("xterm")
        assert not section.delete_button.isEnabled(), "built-in ones stay"
        section.deactivate()

    def test_changes_keep_what_the_form_does_not_show(self, desk: Desk, fleet: ScriptedFleet) -> None:
        row = desk.store.template_named("cue-player")
        assert row is not None
        row.vnc = {"port": 5901}
        panel = EditTemplate(desk.context, row)
        desk.show_panel(panel)
        panel.form.fields["command"].set_text("cueplayer --file '/shows/act 2'")
        panel.form.fields["memory"].set_text("")
        panel.submit()
        ((_, name, sent),) = calls_that_change(fleet)
        assert name == "cue-player"
        assert sent["command"] == ["cueplayer", "--file", "/shows/act 2"]
        assert sent["vnc"] == {"port": 5901}
        assert sent["default_resources"] == {"cpu": "1500m"}
        assert not {"id", "built_in", "created_at", "updated_at"} & sent.keys()
        undo = desk.said[-1].undo
        assert undo is not None
        undo()
        assert fleet.calls[-1][2]["command"] == ["cueplayer", "--full"]

    def test_a_new_one_and_what_is_wrong_with_it(self, desk: Desk, fleet: ScriptedFleet) -> None:
        panel = EditTemplate(desk.context)
        desk.show_panel(panel)
        for name, text in (
            ("name", "radio"),
            ("display_name", "Radio"),
            ("command", "vlc 'open"),
            ("environment", '{"A": 1}'),
        ):
            panel.form.fields[name].set_text(text)
        panel.submit()
        assert "quote" in panel.form.fields["command"].error.text()
        assert "must be a text" in panel.form.fields["environment"].error.text()
        panel.form.fields["command"].set_text("vlc")
        panel.form.fields["environment"].set_text("")
        panel.submit()
        assert fleet.calls[-1][1]["name"] == "radio"
        assert fleet.calls[-1][1]["idle_timeout"] is None

    def test_a_letter_is_no_choice(self, desk: Desk, qtbot: QtBot) -> None:
        listed = TemplateList(desk.context)
        qtbot.addWidget(listed)
        listed.fill()
        before = listed.chosen
        qtbot.keyClick(listed, Qt.Key.Key_T)
        assert listed.chosen is before
        picked: list[str] = []
        listed.picked.connect(picked.append)
        qtbot.keyClick(listed, Qt.Key.Key_Return)
        assert before is not None
        assert picked == [before.name]


class TestUsers:
    def section(self, desk: Desk) -> UsersSection:
        page = SettingsPage(desk.context)
        desk.put(page)
        page.activate()
        section = page.open(UsersSection)
        assert isinstance(section, UsersSection)
        return section

    def choose(self, section: UsersSection, username: str) -> None:
        rows = [section.grid.item(row, 0).text() for row in range(section.grid.rowCount())]
        section.grid.setCurrentCell(rows.index(username), 0)

    def test_shows_who_may_log_in(self, desk: Desk) -> None:
        section = self.section(desk)
        cells = [section.grid.item(1, column).text() for column in range(5)]
        assert cells == ["john.doe", "john.doe@venue.example", "user", "active", "never"]
        self.choose(section, "old.hand")
        assert section.active_button.text() == "Activate"

    def test_what_deleting_means_is_said_beside_its_button(self, desk: Desk) -> None:
        section = self.section(desk)
        words = "Deactivate users who may come back: a deleted user's name is never given again."
        (line,) = [label for label in section.findChildren(QLabel) if label.text() == words]
        assert line.isVisibleTo(section)
        assert section.delete_button.toolTip() == words

    def test_deactivates_with_undo(self, desk: Desk, fleet: ScriptedFleet) -> None:
        section = self.section(desk)
        self.choose(section, "john.doe")
        section.active_button.click()
        assert ("change_user", "user-2", {"active": False}) in fleet.calls
        assert section.active_button.text() == "Activate"
        undo = desk.said[-1].undo
        assert undo is not None
        undo()
        assert section.active_button.text() == "Deactivate"

    def test_makes_changes_and_deletes(self, desk: Desk, fleet: ScriptedFleet) -> None:
        section = self.section(desk)
        section.new_button.click()
        panel = desk.sheet.current
        assert isinstance(panel, EditUser)
        for name, text in (("username", "rosa"), ("email", "rosa"), ("password", "short")):
            panel.form.fields[name].set_text(text)
        panel.submit()
        assert calls_that_change(fleet) == []
        panel.form.fields["email"].set_text("rosa@venue.example")
        panel.form.fields["password"].set_text("long enough")
        panel.form.fields["role"].set_text("admin")
        panel.submit()
        assert calls_that_change(fleet) == [("create_user", "rosa", "rosa@venue.example", "long enough", "admin")]
        self.choose(section, "rosa")
        section.change_button.click()
        panel = desk.sheet.current
        assert isinstance(panel, EditUser)
        panel.form.fields["role"].set_text("user")
        panel.form.fields["password"].set_text("another one")
        panel.active.setChecked(False)
        panel.submit()
        changes = {"role": "user", "active": False, "password": "another one"}
        assert calls_that_change(fleet)[-1] == ("change_user", "user-rosa", changes)
        self.choose(section, "rosa")
        section.delete_button.fired.emit()
        assert calls_that_change(fleet)[-1] == ("delete_user", "user-rosa")
        assert section.grid.rowCount() == 3

    def test_who_is_no_administrator_reads_why(self, desk: Desk, fleet: ScriptedFleet) -> None:
        fleet.refusal = ApiError(403, "AUTH_INSUFFICIENT_PERMISSIONS", "Only administrators may do this")
        section = self.section(desk)
        assert "Only administrators may do this" in section.message.text()
        assert not section.change_button.isEnabled()

    def test_unchanged_changes_nothing(self, desk: Desk, fleet: ScriptedFleet) -> None:
        section = self.section(desk)
        self.choose(section, "john.doe")
        section.grid.picked.emit(section.grid.chosen)
        panel = desk.sheet.current
        assert isinstance(panel, EditUser)
        panel.submit()
        assert calls_that_change(fleet) == []


class TestAgentKeys:
    def section(self, desk: Desk) -> AgentKeysSection:
        page = SettingsPage(desk.context)
        desk.put(page)
        page.activate()
        section = page.open(AgentKeysSection)
        assert isinstance(section, AgentKeysSection)
        return section

    def shown(self, section: AgentKeysSection) -> list[str]:
        QApplication.processEvents()
        return [label.text() for label in section.findChildren(QLabel) if label.isVisible()]

    def test_a_new_key_is_shown_once(self, desk: Desk, fleet: ScriptedFleet) -> None:
        section = self.section(desk)
        section.name.set_text("truck")
        section.agent.set_text("truck-1")
        section.add()
        assert calls_that_change(fleet) == [("add_agent_key", "truck", "truck-1")]
        assert "cba_p3Vt9c0Zr2yJmE6sWqLd8xTb4nUhA1fK" in self.shown(section)
        assert section.grid.rowCount() == 3
        section.deactivate()
        assert not any(text.startswith("cba_") for text in self.shown(section))

    def test_without_a_name_nothing_is_made(self, desk: Desk, fleet: ScriptedFleet) -> None:
        section = self.section(desk)
        section.add()
        assert calls_that_change(fleet) == []
        assert section.name.error.text()

    def test_rotate_and_revoke_are_held(self, desk: Desk, fleet: ScriptedFleet) -> None:
        section = self.section(desk)
        section.rotate_button.click()
        section.revoke_button.click()
        assert calls_that_change(fleet) == [], "a short press does nothing"
        section.rotate_button.fired.emit()
        assert calls_that_change(fleet) == [("rotate_agent_key", "key-1")]
        assert any(text.startswith("cba_rotated") for text in self.shown(section))
        section.revoke_button.fired.emit()
        assert calls_that_change(fleet)[-1] == ("delete_agent_key", "key-1")
        assert desk.words[-1] == "Agent key rack 3, render node revoked"

    def test_times_in_either_form(self) -> None:
        assert moment_text("2026-01-05T10:00:00Z") == "2026-01-05 10:00:00"
        assert moment_text(None) == ""
        assert moment_text(0.0).startswith("19")


class TestLogin:
    def test_a_broker_with_a_user_keeps_its_password_out_of_the_settings(self, desk: Desk, tmp_path: Path) -> None:
        page = SettingsPage(desk.context)
        desk.put(page)
        page.activate()
        section = page.open(BrokersSection)
        assert isinstance(section, BrokersSection)
        section.url.set_text("https://callboard.house:8443")
        section.user.set_text("kim")
        section.add()
        assert "password is needed" in section.password.error.text()
        section.password.set_text("correct horse")
        section.add()
        url = "https://callboard.house:8443"
        assert remote_brokers(desk.context) == [{"name": "", "url": url, "user": "kim"}]
        assert desk.context.passwords == {(url, "kim"): "correct horse"}
        assert remote_user(desk.context, url) == "kim"
        assert remote_user(desk.context, "http://elsewhere") == ""
        desk.context.settings.sync()
        assert "correct horse" not in desk.context.settings.path.read_text()
        section.remove(url)
        assert desk.context.passwords == {}

    def test_a_login_that_fails_stands_on_the_strip(self, desk: Desk, tmp_path: Path) -> None:
        """Nobody listens at that port; the login says so on the strip, and nothing opens over the tables."""
        url = "http://127.0.0.1:9"
        desk.run_forever = {f"the login at {url}"}
        desk.context.settings.set("brokers", [{"name": "House", "url": url, "user": "kim"}])
        desk.context.passwords[(url, "kim")] = "secret"
        connection = Connection(desk.context, tmp_path, ())
        connection.show_remote(url)
        assert desk.left_running == [f"the login at {url}"]
        login = connection._login
        assert login is not None
        login._on_trouble("Not logged in at House as kim: Authentication failed")
        state = strip_state(desk.store, Connected("House"), (), "kim", desk.context.notices)
        assert state.problems == ("Not logged in at House as kim: Authentication failed",)
        assert desk.sheet.current is None
        login._on_trouble("")
        assert strip_state(desk.store, Connected("House"), (), "kim", desk.context.notices).problems == ()

    def test_a_renewed_token_reaches_both_connections(self, desk: Desk, tmp_path: Path) -> None:
        url = "http://127.0.0.1:9"
        desk.run_forever = {f"the login at {url}", "the feed", "close the connections"}
        desk.context.settings.set("brokers", [{"name": "House", "url": url, "user": "kim"}])
        connection = Connection(desk.context, tmp_path, ())
        connection.show_remote(url)
        login = connection._login
        assert login is not None
        login._on_token("first")
        client = desk.context.client
        assert client is not None
        assert (client.base_url, client.token) == (url, "first")
        login._on_token("second")
        assert desk.context.client is client
        assert client.token == "second"
        connection.show_remote("http://127.0.0.1:10")
        login._on_token("of another broker")
        assert client.token == "second"
