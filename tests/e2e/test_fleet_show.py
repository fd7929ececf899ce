"""A show with desktops: a real broker with this machine's agent, Xvnc with an X client, and the whole console.

One walk, as an operator goes it with the keyboard: begin, look, work, kick, hibernate, wake, drain, undo, end. Pixels
and keys are those of the X client; each act stands in the audit.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QApplication

from app.client.fleet import FleetClient, Ticket
from app.contract import ViewerMode
from app.ui.dialogs.create_session import CreateSession
from app.ui.pages.agents import AgentsPage
from app.ui.pages.sessions import SessionsPage
from app.ui.viewer.window import ViewerWindow
from tests.e2e.fleet_desk import TEMPLATE, Desks, changes, until
from tests.e2e.house import OPERATOR, House, a_house
from tests.ui.viewer_seat import shows, take_keyboard, target_of

Key = Qt.Key
SHIFT, CTRL = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier
UNDO = (Key.Key_Z, CTRL)


@pytest.mark.timeout(240)
async def test_a_show_with_desktops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    tickets = noted_tickets(monkeypatch)
    async with a_house(tmp_path, "--local-agent=auto", "--log-level=debug") as house:
        desks = Desks(house, tmp_path)
        agent = await the_agent(house)
        await desks.publish()
        try:
            one = await begun_from_the_panel(house, desks)
            view, control = await looked_at_and_worked_in(house, desks, one)
            await hibernated_and_woken(house, desks, one, view)
            await kicked(house, desks, one, view, control)
            await drained(house, desks, agent, one, view)
            await everything_stands_in_the_audit(house)
            house.says_all_well()
        finally:
            await desks.clear()
    told = capfd.readouterr()
    nothing_secret_was_written(tmp_path, tickets, "".join(house.process.log) + told.out + told.err)


def noted_tickets(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Tickets that this console gets from now on."""
    tickets: list[str] = []
    ask = FleetClient.ticket

    async def asked(client: FleetClient, session_id: str, mode: ViewerMode) -> Ticket:
        ticket = await ask(client, session_id, mode)
        tickets.append(ticket.ticket)
        return ticket

    monkeypatch.setattr(FleetClient, "ticket", asked)
    return tickets


async def the_agent(house: House) -> str:
    """This machine's own, connected."""
    rows = house.console.store.agents
    row = await house.until(lambda: next((one for one in rows.values() if one.status == "online"), None))
    return str(row.id)


async def begun_from_the_panel(house: House, desks: Desks) -> str:
    """New session…, a template, a person, Begin."""
    await go_to(house, Key.Key_2)
    page = house.console.window.page
    assert isinstance(page, SessionsPage)
    page.new_button.click()
    panel = await house.until(lambda: house.console.window.sheet.current)
    assert isinstance(panel, CreateSession)
    assert await house.until(lambda: panel.templates.choose(TEMPLATE))
    panel.form.fields["user"].set_text("admin")
    panel.home.setChecked(False)
    panel.submit()
    await house.until(lambda: any(toast.startswith(f"admin ← {TEMPLATE} begins on") for toast in house.toasts))
    (session_id,) = await house.until(lambda: list(desks.store.desktops))
    await desks.state(session_id, "running")
    await house.until(lambda: house.console.window.sheet.current is None)
    await house.show("Sessions", session_id)
    await house.row_says(session_id, state="LIVE", what=TEMPLATE)
    return session_id


async def looked_at_and_worked_in(house: House, desks: Desks, one: str) -> tuple[ViewerWindow, ViewerWindow]:
    """V shows pixels that move; keys of Shift+V arrive, those of V do not."""
    await press(house, Key.Key_V)
    view = await desks.window(one, "view")
    await changes(view)
    await house.show("Sessions", one)
    await press(house, Key.Key_V, SHIFT)
    control = await desks.window(one, "control")
    await take_keyboard(control)
    write(control, "red")
    await until(lambda: desks.typed(one), "a line that was typed arrives")
    assert desks.typed(one) == ["red"]
    await shows(view, 255, 0, 0)

    view.activateWindow()
    write(view, "never")
    assert view.link.view is not None
    await view.link.view.ask("(viewer.rfb.viewOnly = false, 1)")  # a page that lies does not get past the broker
    view.link.view.call("type", "never\n")
    await take_keyboard(control)
    write(control, "lime")
    await shows(view, 0, 255, 0)
    assert desks.typed(one) == ["red", "lime"]
    assert {row.mode for row in desks.store.viewers_of(one).values()} == {"view", "control"}
    return view, control


async def kicked(house: House, desks: Desks, one: str, view: ViewerWindow, control: ViewerWindow) -> None:
    """One viewer goes with 4403 and is told by whom; the session and who else looks go on."""
    await house.show("Sessions", one)
    page = house.console.window.page
    assert isinstance(page, SessionsPage)
    (viewer,) = await house.until(
        lambda: [row.id for row in desks.store.viewers_of(one).values() if row.mode == "control" and row.open]
    )
    codes = ends_of(control)
    await press(house, Key.Key_Return)
    line = await house.until(lambda: page.viewers_card.isVisible() and page.viewers_card.lines.get(viewer))
    line.button.click()
    await house.until(lambda: line.button.text().startswith("Kick in"))
    await house.until(lambda: viewer not in desks.store.viewers)
    await until(lambda: codes == [4403], "closed as kicked")
    assert f"Closed by {OPERATOR}" in control.banner.text
    await until(lambda: not control.is_connected, "dark")
    assert view.is_connected
    assert (await desks.state(one, "running")) == one
    control.link.reconnect()
    await until(lambda: "opens again in" in control.banner.text, "refused for a minute, in words")
    control.close()
    await house.until(lambda: len(desks.store.viewers_of(one)) == 1)


async def hibernated_and_woken(house: House, desks: Desks, one: str, view: ViewerWindow) -> None:
    """H freezes the program and closes the picture with 4423; Ctrl+Z wakes it and the picture comes back."""
    codes = ends_of(view)
    await desks.paints(one)
    await house.show("Sessions", one)
    await press(house, Key.Key_H)
    await desks.state(one, "hibernated")
    await until(lambda: codes, "closed")
    assert codes == [4423]
    await until(lambda: "shown again when it runs" in view.banner.text, "waits for it")
    await house.row_says(one, state="HELD")
    painted = desks.painted(one)
    await asyncio.sleep(0.6)  # four paintings of a program that is not frozen
    assert desks.painted(one) == painted
    await press(house, *UNDO)
    await desks.state(one, "running")
    await until(lambda: view.is_connected, "shown again")
    await desks.paints(one)
    await shows(view, 0, 255, 0)
    await house.row_says(one, state="LIVE")


async def drained(house: House, desks: Desks, agent: str, one: str, view: ViewerWindow) -> None:
    """D and D again; D, and the agent empties: one session by Delete after its hold-back, one by its own program."""
    two = await desks.begin()
    await house.show("Agents", agent)
    await press(house, Key.Key_D)
    await house.until(lambda: agent in desks.store.drains)
    assert "2 of 2 left" in await drain_says(house, agent, "2 of 2 left")
    await house.row_says(agent, state="HELD", undo="Undo")
    await refused_with(house, 503, "AGENT_DRAINING")
    await press(house, Key.Key_D)
    await house.until(lambda: agent not in desks.store.drains)
    await house.row_says(agent, state="LIVE", undo="")

    await press(house, Key.Key_D)
    await house.until(lambda: agent in desks.store.drains)
    await terminated_by_key(house, desks, two)
    await house.show("Agents", agent)
    assert "1 ended" in await drain_says(house, agent, "1 of 2 left")
    codes = ends_of(view)
    await desks.state(one, "running")
    desks.leave(one)
    await until(lambda: codes == [4410], "the window is told of the end")
    assert "session ended" in view.banner.text
    view.close()
    assert "2 ended" in await drain_says(house, agent, "empty")
    page = house.console.window.page
    assert isinstance(page, AgentsPage)
    await press(house, Key.Key_Return)
    await house.until(lambda: page.card.isVisible() and page.card.title.text().startswith("Drained since"))
    assert f"by {OPERATOR}" in page.card.title.text()
    assert desks.store.agents[agent].sessions == 0
    await house.until(lambda: not desks.store.desktops_on(agent))
    await press(house, Key.Key_D)
    await house.until(lambda: agent not in desks.store.drains)
    await house.row_says(agent, state="LIVE", sessions=f"0 / {desks.store.agents[agent].max_sessions}")


async def terminated_by_key(house: House, desks: Desks, two: str) -> None:
    """Delete waits three seconds, can be taken back in them, and then ends the session."""
    await house.show("Sessions", two)
    await press(house, Key.Key_Delete)
    pending = await house.until(lambda: house.console.actions.pending_for(two))
    assert 0.0 < pending.left <= 3.0
    await press(house, *UNDO)
    await house.until(lambda: not house.console.actions.pending_for(two))
    row = desks.row(two)
    assert row is not None
    assert row.state == "running"
    await press(house, Key.Key_Delete)
    await house.until(lambda: house.console.actions.pending_for(two))
    await house.until(lambda: two not in desks.store.desktops)
    await house.row_says(two, state="OFF")


async def everything_stands_in_the_audit(house: House) -> None:
    """Every act in its order, with who did it and how it ended; looks stand between them as often as they were asked for."""
    rows = (await house.desk.get("/console/v1/audit", params={"limit": 500})).json()
    assert {row["operator"] for row in rows} == {OPERATOR}
    acts = [(row["verb"], row["result"]) for row in reversed(rows)]
    assert [act for act in acts if act[0] not in ("view", "control")] == [
        ("create", "ok"),  # the template
        ("create", "ok"),
        ("hibernate", "ok"),
        ("wake", "ok"),
        ("kick", "ok"),
        ("create", "ok"),
        ("drain", "ok"),
        ("create", "agent_draining"),
        ("undrain", "ok"),
        ("drain", "ok"),
        ("terminate", "cancelled"),
        ("terminate", "ok"),
        ("undrain", "ok"),
    ]
    assert {("view", "ok"), ("control", "ok"), ("control", "not_permitted")} <= set(acts)


def nothing_secret_was_written(folder: Path, tickets: list[str], told: str) -> None:
    """Neither broker, agent nor console wrote down what opens a desktop."""
    data = folder / "data"
    logs = {str(file): file.read_text("utf-8", "replace") for file in (data / "logs").rglob("*") if file.is_file()}
    assert any("agent" in name for name in logs), logs.keys()
    secrets = [*tickets, *((data / name).read_text().strip() for name in ("console.token", "agent.key"))]
    assert len(tickets) >= 4
    for name, text in (logs | {"console": told}).items():
        assert [secret for secret in secrets if secret in text] == [], name
        assert not re.search(r"token=[\w-]{8,}", text), name


# -- hands -----------------------------------------------------------------------------------------------------


async def press(house: House, key: Qt.Key, modifiers: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
    """A key in the console's window, whichever viewer is in front of it, after the act before and no bounce of it."""
    await house.until(lambda: not house.console.actions.running)
    await asyncio.sleep(house.console.settings.get("bounce_milliseconds") / 1000)
    house.console.window.activateWindow()
    house.press(key, modifiers)


async def go_to(house: House, number: Qt.Key) -> None:
    """Ctrl and a number."""
    pages = {Key.Key_2: "Sessions", Key.Key_3: "Agents"}
    await press(house, number, CTRL)
    await house.until(lambda: house.console.window.page.title == pages[number])


async def drain_says(house: House, agent: str, words: str) -> str:
    """Wait until the agent's row says so of its drain."""
    await house.until(lambda: words in house.cells(agent)["drain"])
    return house.cells(agent)["drain"]


async def refused_with(house: House, status: int, code: str) -> None:
    """A new session now."""
    body = {"user": "admin", "template": TEMPLATE, "persistent_home": False}
    answer = await house.desk.post("/api/v1/sessions", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


def ends_of(window: ViewerWindow) -> list[int]:
    """Codes with which connections of a window close from now on."""
    codes: list[int] = []
    window.link.ended.connect(lambda end: codes.append(end.code))
    return codes


def write(window: ViewerWindow, text: str) -> None:
    """Type a line into the picture."""
    app, target = QApplication.instance(), target_of(window)
    assert app is not None
    for letter in (*text, "\r"):
        key = Key.Key_Return if letter == "\r" else Key(ord(letter.upper()))
        for kind in (QEvent.Type.KeyPress, QEvent.Type.KeyRelease):
            app.postEvent(target, QKeyEvent(kind, key, Qt.KeyboardModifier.NoModifier, letter))
