"""A viewer on a desktop of a real broker with its own agent: the whole way of issue and seed, from ticket to kick."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from app.client.api import BrokerClient
from app.client.feed import FeedClient
from app.contract import DesktopRow
from app.ui.pages.wall import WallPage
from app.ui.viewer.verbs import viewer_verbs
from tests.fakes.broker import BrokerProcess
from tests.ui.viewer_seat import Seat, shows
from tests.ui.vnc_house import SCRIPT, until

TEMPLATE = "typed-colour"


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
        folder / "data", options=("--local-agent", "auto"), environ={"CALLBOARD_ADMIN_PASSWORD": "a very long one"}
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
        await seat.take_keyboard(control)
        seat.write(control, "red")
        await shows(view, 255, 0, 0)
        view.activateWindow()
        assert view.link.view is not None
        await view.link.view.ask("(viewer.rfb.viewOnly = false, 1)")
        view.link.view.call("type", "never\n")
        await seat.take_keyboard(control)
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


def _has_picture(wall: WallPage, session_id: str) -> bool:
    shot = wall.thumbnails.of(session_id)
    return shot is not None and not shot.image.isNull()
