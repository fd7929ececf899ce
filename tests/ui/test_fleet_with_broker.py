"""The fleet's pages against a real broker: its answers have the shapes that they expect, and its words are shown.

An agent that runs nothing (``app/demo/agents.py``) speaks the real protocol. Coroutines run on the console's own loop;
keys are posted, never ``QTest``.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from pytestqt.qtbot import QtBot

from app.client.api import BrokerClient
from app.demo.agents import SimulatedAgent, Tally
from app.ui import verbs
from app.ui.console import Console
from app.ui.dialogs.create_session import CreateSession
from app.ui.dialogs.edit_user import EditUser
from app.ui.pages.agents import AgentsPage
from app.ui.pages.sessions import SessionsPage
from app.ui.pages.settings import SettingsPage
from app.ui.pages.settings.agent_keys import AgentKeysSection
from app.ui.pages.settings.users import UsersSection
from tests.fakes.broker import BrokerProcess, broker_process, brokers
from tests.ui.desk import Desk
from tests.ui.test_console import a_console, press, until

__all__ = ["broker_process", "brokers"]


@pytest.fixture
def desk(qtbot: QtBot, tmp_path: Path, broker_process: BrokerProcess) -> Iterator[Desk]:
    made = Desk(tmp_path, BrokerClient(broker_process.url, broker_process.token, "Zoë"))
    verbs.declare(made.context.actions)
    qtbot.addWidget(made)
    with qtbot.waitExposed(made):
        made.show()
    yield made
    made.context.panels.close()


class TestSettings:
    def open(self, desk: Desk) -> SettingsPage:
        page = SettingsPage(desk.context)
        desk.put(page)
        page.activate()
        return page

    def test_users_are_made_changed_and_refused_in_the_brokers_words(self, desk: Desk) -> None:
        page = self.open(desk)
        section = page.open(UsersSection)
        assert isinstance(section, UsersSection)
        assert [user.role for user in section.users.values()] == ["admin"], section.message.text()
        for _ in range(2):
            section.new()
            panel = desk.sheet.current
            assert isinstance(panel, EditUser)
            values = {"username": "rosa", "email": "rosa@venue.example", "password": "correct horse"}
            for name, text in values.items():
                panel.form.fields[name].set_text(text)
            panel.submit()
        assert desk.sheet.current is panel
        words = [panel.form.message.text(), *(field.error.text() for field in panel.form.fields.values())]
        assert any("rosa" in text for text in words), "the second is refused, and says which name"
        panel.cancel()
        names = [section.grid.item(row, 0).text() for row in range(section.grid.rowCount())]
        assert "rosa" in names
        section.grid.setCurrentCell(names.index("rosa"), 0)
        section.toggle_active()
        assert section.current is not None
        assert not section.current.active, section.message.text()
        section.delete()
        assert "rosa" not in [user.username for user in section.users.values()]
        page.deactivate()

    def test_agent_keys_are_made_rotated_and_revoked(self, desk: Desk) -> None:
        page = self.open(desk)
        section = page.open(AgentKeysSection)
        assert isinstance(section, AgentKeysSection)
        before = len(section.keys)
        section.name.set_text("truck")
        section.add()
        assert len(section.keys) == before + 1, section.message.text()
        made = next(key for key in section.keys.values() if key.name == "truck")
        row = next(row for row in range(section.grid.rowCount()) if section.grid.item(row, 0).text() == "truck")
        section.grid.setCurrentCell(row, 0)
        section.rotate()
        assert section.message.isHidden(), section.message.text()
        section.grid.setCurrentCell(row, 0)
        section.revoke()
        assert made.id not in section.keys
        page.deactivate()


@asynccontextmanager
async def an_agent(console: Console, agent_id: str = "k8s-1") -> AsyncIterator[SimulatedAgent]:
    """A connected agent with ten places."""
    client = console.context.client
    assert client is not None
    key = await client.fleet.add_agent_key(agent_id)
    agent = SimulatedAgent(client.base_url, agent_id, key.key, Tally(), random.Random(4), places=10, slow=0.1)
    running = asyncio.create_task(agent.run(0.2))
    try:
        await until(
            console, lambda: agent_id in console.store.agents and console.store.agents[agent_id].status == "online"
        )
        yield agent
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def state_of(console: Console, desktop_id: str) -> str:
    row = console.store.desktops.get(desktop_id)
    return "" if row is None else row.state


async def begin(console: Console) -> str:
    """A session through the panel; its id once it runs."""
    sessions = console.window.made("Sessions")
    assert isinstance(sessions, SessionsPage)
    sessions.new_session()
    panel = console.window.sheet.current
    assert isinstance(panel, CreateSession)
    await until(console, lambda: panel.templates.choose("firefox-browser"))
    panel.form.fields["user"].set_text("admin")
    before = set(console.store.desktops)
    made: list[str] = []
    panel.created.connect(made.append)
    panel.submit()
    await until(console, lambda: made or panel.form.message.text())
    assert made, panel.form.message.text()
    await until(console, lambda: state_of(console, made[0]) == "running")
    assert set(console.store.desktops) - before == set(made)
    return made[0]


async def test_a_desktop_from_the_panel_to_its_end(tmp_path: Path) -> None:
    async with a_console(tmp_path) as console, ready(console), an_agent(console):
        desktop_id = await begin(console)
        console.window.show_page("Sessions")
        page = console.window.made("Sessions")
        assert isinstance(page, SessionsPage)
        page.model.flush()
        page.model.arrange()
        assert page.view.select_id(desktop_id)
        press(page.view, Qt.Key.Key_H)
        await until(console, lambda: state_of(console, desktop_id) == "hibernated")
        await asyncio.sleep(0.45)  # a second press of the same key is a bounce before that
        press(page.view, Qt.Key.Key_H)
        await until(console, lambda: state_of(console, desktop_id) == "running")
        press(page.view, Qt.Key.Key_Delete)
        await until(console, lambda: console.store.ghost("desktop", desktop_id))
        assert desktop_id not in console.store.desktops


async def test_a_drain_by_key_its_progress_and_its_undo(tmp_path: Path) -> None:
    async with a_console(tmp_path) as console, ready(console), an_agent(console) as agent:
        desktop_id = await begin(console)
        console.window.show_page("Agents")
        page = console.window.made("Agents")
        assert isinstance(page, AgentsPage)
        page.model.flush()
        page.model.arrange()
        assert page.view.select_id(agent.agent_id)
        press(page.view, Qt.Key.Key_D)
        drain = (await until(console, lambda: console.store.drains))[agent.agent_id]
        assert (drain.initial, drain.left) == (1, 1)
        client = console.context.client
        assert client is not None
        await client.fleet.delete_session(desktop_id)
        await until(console, lambda: console.store.drains[agent.agent_id].left == 0)
        item = page.model.find(agent.agent_id)
        assert item is not None
        page.model.flush()
        assert page.model.cell(item, page.model.column("drain")).startswith("empty since ")
        await asyncio.sleep(0.45)
        press(page.view, Qt.Key.Key_D)
        await until(
            console, lambda: not console.store.drains and console.store.agents[agent.agent_id].status == "online"
        )


@asynccontextmanager
async def ready(console: Console) -> AsyncIterator[None]:
    """The board is live and every page is made."""
    await until(console, lambda: console.store.live)
    async with asyncio.timeout(30):
        while "Settings" not in console.window.pages:
            await asyncio.sleep(0.05)
    yield
