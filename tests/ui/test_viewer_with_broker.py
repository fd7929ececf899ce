"""A viewer on a desktop of a real broker with its own agent: the whole way of issue and seed, from ticket to kick."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shiboken6
from PySide6.QtCore import QUrl

from app.client.api import BrokerClient
from app.client.feed import FeedClient
from app.contract import DesktopRow
from app.ui.pages.wall import WallPage
from app.ui.viewer.verbs import viewer_verbs
from tests.fakes.broker import BrokerProcess
from tests.ui.viewer_seat import Seat, shows, take_keyboard
from tests.ui.vnc_house import SCRIPT, until

TEMPLATE = "typed-colour"
PASSWORD = "a very long one"


@dataclass
class House:
    """A seat at a real broker."""

    seat: Seat
    client: BrokerClient
    typed: Path

    def row(self, session_id: str) -> DesktopRow | None:
        """A session as the feed tells it."""
        return self.seat.store.desktops.get(session_id)

    async def desktop(self) -> str:
        """A running session; its id."""
        made = await self.client.fleet.create_session("admin", TEMPLATE, platform="local", persistent_home=False)
        await until(lambda: _is(self.row(made.id), "running"), f"{made.name} runs")
        return made.id

    @property
    def lines(self) -> list[str]:
        """What was typed into desktops."""
        return self.typed.read_text().splitlines() if self.typed.exists() else []


def _is(row: DesktopRow | None, state: str) -> bool:
    return row is not None and row.state == state


@asynccontextmanager
async def house(folder: Path) -> AsyncIterator[House]:
    """A broker process with the agent of this machine, and a console's parts that follow it."""
    process = BrokerProcess(
        folder / "data", options=("--local-agent", "auto"), environ={"CALLBOARD_ADMIN_PASSWORD": PASSWORD}
    )
    await asyncio.to_thread(process.start)
    url = str(process.line["main"])
    token = (folder / "data" / "console.token").read_text().strip()
    client = BrokerClient(url, token, "Kim")
    seat = Seat(folder, client)
    feed = FeedClient(url, token, seat.hear,
                      lambda link: seat.store.set_link(link.state, link.since, link.text))  # fmt: skip
    seat.spawn(feed.run(), "feed")
    try:
        await until(lambda: [one for one in seat.store.agents.values() if one.status == "online"], "the agent is there")
        typed = folder / "typed"
        command = [
            "xterm",
            "-geometry",
            "250x100+0+0",
            "-bg",
            "#202020",
            "-fg",
            "#ffffff",
            "-e",
            "sh",
            "-c",
            SCRIPT,
            "sh",
            str(typed),
        ]
        await client.fleet.create_template({"name": TEMPLATE, "display_name": "Colours", "command": command,
                                            "vnc": {"resolution": "800x600"}})  # fmt: skip
        yield House(seat, client, typed)
    finally:
        for one in list(seat.store.desktops.values()):
            await client.fleet.delete_session(one.id, force=True)
        await until(lambda: not seat.store.desktops, "every desktop has ended")
        await seat.close()
        await client.close()
        assert await asyncio.to_thread(process.terminate) == 0
        process.end()


async def test_a_desktop_is_looked_at_worked_in_kicked_frozen_and_woken(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        seat, fleet = here.seat, here.client.fleet
        one = await here.desktop()
        for verb in viewer_verbs(seat.context, seat.desk):
            seat.context.actions.add_verb(verb)
        control = await seat.look("control", one)
        view = await seat.look("view", one)
        await shows(control, 0x20, 0x20, 0x20)  # the program's window is there to take keys
        await take_keyboard(control)
        seat.write(control, "red")
        await shows(view, 255, 0, 0)
        view.activateWindow()
        assert view.link.view is not None
        await view.link.view.ask("(viewer.rfb.viewOnly = false, 1)")
        view.link.view.call("type", "never\n")
        await take_keyboard(control)
        seat.write(control, "lime")
        await shows(view, 0, 255, 0)
        assert here.lines == ["red", "lime"], "a page that lies about view-only does not get through the broker"

        await until(lambda: control.traffic.row is not None and control.traffic.row.rtt is not None, "measured")
        assert control.traffic.row is not None
        assert control.traffic.row.user == "Kim"
        assert "ms" in control.traffic.text

        wall = WallPage(seat.context)
        wall.resize(900, 600)
        wall.show()
        wall.activate()
        await until(lambda: _has_picture(wall, one), "the wall has its picture")
        wall.deactivate()
        wall.close()
        wall.deleteLater()

        await fleet.set_state(one, "hibernated")
        await until(lambda: "shown again when it runs" in view.banner.text, "frozen")
        await fleet.set_state(one, "running")
        await until(lambda: view.is_connected and control.is_connected, "woken and shown")

        await until(lambda: control.traffic.row is not None, "measured again")
        await fleet.kick_viewer(control.traffic.row.id, "show starts")
        await until(lambda: "Closed by Kim: show starts" in control.banner.text, "who and why")
        control.link.reconnect()
        await until(lambda: "opens again in" in control.banner.text, "refused for a minute, in words")
        assert view.is_connected, "the session and who else looks go on"


async def test_a_browser_gets_the_same_page_and_its_token_out_of_sight(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        one = await here.desktop()
        await here.seat.desk.engine()
        browser = Browser()
        try:
            base = here.client.base_url
            body = {"username": "admin", "password": PASSWORD}
            token = json.loads(await here.client.call("POST", "/api/v1/auth/login", body=body))["token"]
            browser.page.load(QUrl(f"{base}/vnc-viewer/{one}?mode=view#token={token}"))
            await until(lambda: browser.says("viewer.framed === true && viewer.viewOnly"), "the picture")
            assert await browser.ask("location.href") == f"{base}/vnc-viewer/{one}?mode=view"
            assert await browser.ask("document.getElementById('mode').textContent") == "VIEW ONLY"
            assert await browser.ask("history.length") <= 2
            await until(lambda: here.seat.store.viewers_of(one), "the board shows who looks")
            (viewer,) = here.seat.store.viewers_of(one).values()
            assert (viewer.user, viewer.mode) == ("admin", "view")

            browser.page.load(QUrl(f"{base}/vnc-viewer/{one}"))
            await until(lambda: browser.says("document.getElementById('ask')?.hidden === false"), "it asks for a login")
            fill = "document.getElementById('{}').value = {}"
            for field, text in (("user", "admin"), ("password", "wrong password")):
                await browser.ask(f"({fill.format(field, json.dumps(text))}, 1)")
            await browser.ask("(document.getElementById('ask').requestSubmit(), 1)")
            await until(lambda: browser.says("/Invalid/.test(document.getElementById('ask-words').textContent)"), "no")
            await browser.ask(f"({fill.format('password', json.dumps(PASSWORD))}, 1)")
            await browser.ask("(document.getElementById('ask').requestSubmit(), 1)")
            await until(lambda: browser.says("viewer.framed === true && !viewer.viewOnly"), "logged in, with control")

            await here.client.fleet.set_state(one, "hibernated")
            shown = "document.getElementById('banner').hidden ? '' : document.getElementById('words').textContent"
            await until(lambda: browser.says(f"/hibernated/.test({shown})"), "frozen, in words")
        finally:
            browser.close()


class Browser:
    """A page that is no console's: no channel, a profile of its own."""

    def __init__(self) -> None:
        from PySide6.QtWebEngineCore import QWebEnginePage, QWebEngineProfile
        from PySide6.QtWebEngineWidgets import QWebEngineView

        self.profile = QWebEngineProfile()
        self.page = QWebEnginePage(self.profile)
        self.view = QWebEngineView()
        self.view.setPage(self.page)
        self.view.resize(800, 600)
        self.view.show()

    async def ask(self, expression: str) -> Any:
        """The value of an expression on the page."""
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.page.runJavaScript(f"JSON.stringify({expression})", 0, answer.set_result)
        return json.loads(await answer or "null")

    async def says(self, expression: str) -> bool:
        """Whether the page, if it is loaded so far, says yes."""
        return bool(await self.ask(f"(() => {{ try {{ return {expression}; }} catch {{ return false; }} }})()"))

    def close(self) -> None:
        """In the order that the engine survives."""
        self.view.close()
        for part in (self.page, self.view, self.profile):
            shiboken6.delete(part)


def _has_picture(wall: WallPage, session_id: str) -> bool:
    shot = wall.thumbnails.of(session_id)
    return shot is not None and not shot.image.isNull()
