"""Viewers with the real web engine, noVNC and a real Xvnc: keys and pixels, ends in words, and a clean end.

The broker is the shortest one there can be (``vnc_house.Relay``); ``tests/e2e`` has the real one. Few tests, since the
engine costs a process 300 MB and each window half a second.
"""

from __future__ import annotations

import asyncio
import base64
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import shiboken6
import trustme
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication

from app.client.api import ApiError
from app.contract import Gone
from app.ui.viewer import window
from app.ui.viewer.attempts import End
from tests.ui.viewer_seat import Seat, pixel, shows, take_keyboard
from tests.ui.vnc_house import Desktop, Relay, change, desktop_row, until

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def desktop() -> Iterator[Desktop]:
    made = Desktop()
    yield made
    made.stop()


@asynccontextmanager
async def seated(desktop: Desktop, folder: Path) -> AsyncIterator[tuple[Seat, Relay]]:
    """A console's seat at a relay. Begun and ended within the test: between fixture and test no loop runs."""
    relay = Relay(desktop)
    await relay.start()
    seat = Seat(folder, relay)
    try:
        yield seat, relay
    finally:
        await seat.close()
        await relay.stop()


async def test_keys_arrive_pixels_change_and_one_chord_takes_the_keyboard_back(
    desktop: Desktop, tmp_path: Path
) -> None:
    async with seated(desktop, tmp_path) as (seat, _):
        one = await seat.look("control")
        assert one.windowTitle() == "ann-xterm-k3v9qa, control: Callboard"
        await take_keyboard(one)
        seat.write(one, "red")
        await shows(one, 255, 0, 0)
        assert desktop.lines[-1] == "red"
        assert one.bar.isVisible()
        assert "Right-Ctrl+Escape" in one.bar.chord.text()
        one.bar.chord_chosen.emit("Pause")  # this platform knows no right Control; the last test has a real one
        assert one.bar.chord.text() == "Pause takes them back"
        view = one.link.view
        assert view is not None
        await until(lambda: _is(view.ask("viewer.chordLast"), "Pause"), "the page knows it before the key comes")
        assert not one.bar.control_buttons[0].isVisible(), "the keys are there already"
        seat.key(one, Qt.Key.Key_Control, kinds="d")
        seat.key(one, Qt.Key.Key_Pause)
        await until(lambda: not one.bar.light.remote, "the chord takes the keyboard back")
        await until(lambda: seat.app.focusWidget() is one, "which this window has now")
        await take_keyboard(one)
        seat.write(one, "blue")
        await shows(one, 0, 0, 255)
        assert desktop.lines[-1] == "blue", "Control is not held down over there any more"


async def test_view_only_drops_keys_and_the_two_modes_are_two_windows(desktop: Desktop, tmp_path: Path) -> None:
    async with seated(desktop, tmp_path) as (seat, relay):
        view = await seat.look("view")
        control = await seat.look("control")
        assert view is not control
        assert seat.open("view") is view
        assert [guest.mode for guest in relay.guests] == ["view", "control"]
        before = list(desktop.lines)
        view.activateWindow()
        seat.click(view, 200, 200)
        seat.write(view, "never")
        await take_keyboard(control)
        seat.write(control, "lime")
        await shows(view, 0, 255, 0)
        assert desktop.lines == [*before, "lime"]
        assert not view.bar.light.remote
        assert not view.bar.light.isVisible()
        assert "VIEW ONLY" in view.bar.chip.text()


async def test_the_small_things_scale_chord_three_keys_and_typing_the_clipboard(
    desktop: Desktop, tmp_path: Path
) -> None:
    async with seated(desktop, tmp_path) as (seat, _):
        one = await seat.look("control")
        assert one.link.view is not None

        async def shown() -> int:
            assert one.link.view is not None
            return int((await one.link.view.ask("viewer.stats()"))["shown"])

        assert await shown() > 400, "fits the window"
        one.bar.scale_button.click()
        await until(lambda: _is(shown(), 400), "pixel for pixel")
        assert seat.settings.get("viewer/scale") is False
        seat.key_here(one, "1")
        await until(lambda: _is(shown(), 400, wrong=True), "fits again")
        QGuiApplication.clipboard().setText("yellow\n")
        one.bar.control_buttons[3].click()
        await shows(one, 255, 255, 0)
        assert desktop.lines[-1] == "yellow"
        QGuiApplication.clipboard().setText("red\n")
        seat.key_here(one, "Ctrl+Shift+V")
        await shows(one, 255, 0, 0)
        assert desktop.lines[-1] == "red"
        for act in (one.bar.control_buttons[1].click, partial(seat.key_here, one, "Ctrl+Alt+End")):
            assert await _keys_seen(seat, desktop, act) == ["Control_L", "Alt_L", "Delete"]


async def _is(answer: object, wanted: object, *, wrong: bool = False) -> bool:
    return (await answer == wanted) is not wrong  # type: ignore[misc]


async def _keys_seen(seat: Seat, desktop: Desktop, act: object) -> list[str]:
    """The keys that an X client sees after ``act``."""
    with open(desktop.folder / "xev", "w+") as log:
        process = subprocess.Popen(
            ["xev", "-event", "keyboard", "-geometry", "400x300+0+0"],
            env={**os.environ, "DISPLAY": desktop.display},
            stdout=log,
        )
        try:
            await until(lambda: _names(desktop, "Outer window is"), "xev listens")
            desktop.ask(
                "xdotool", "search", "--sync", "--onlyvisible", "--name", "Event Tester", "windowfocus", "--sync"
            )
            act()  # type: ignore[operator]
            await until(lambda: len(_names(desktop, "keysym")) >= 6, "six events of keys")
        finally:
            process.terminate()
            process.wait(5)
    presses = [line.split(", ")[-2].split()[-1] for line in _names(desktop, "keysym")][:3]
    desktop.ask("xdotool", "search", "--sync", "--onlyvisible", "--class", "xterm", "windowfocus", "--sync")
    return [name.rstrip(")") for name in presses]


def _names(desktop: Desktop, word: str) -> list[str]:
    return [line for line in (desktop.folder / "xev").read_text().splitlines() if word in line]


async def test_the_clipboard_goes_both_ways(desktop: Desktop, tmp_path: Path) -> None:
    async with seated(desktop, tmp_path) as (seat, _):
        local = QGuiApplication.clipboard()
        local.setText("orange")
        one = await seat.look("control")
        await take_keyboard(one)
        assert one.link.view is not None
        one.link.view.call("type", f"clip={base64.b64encode(b'aus der Ferne').decode()}\n")
        await until(lambda: local.text() == "aus der Ferne", "what was copied there is here")
        local.setText("orange")
        insert, shift = 0xFF63, 0xFFE1

        async def pasted() -> bool:
            assert one.link.view is not None
            await one.link.view.ask(f"viewer.rfb.sendKey({shift}, null, true) ?? null")
            await one.link.view.ask(f"viewer.rfb.sendKey({insert}, null) ?? null")
            await one.link.view.ask(f"viewer.rfb.sendKey({shift}, null, false) ?? null")
            one.link.view.call("type", "\n")
            await asyncio.sleep(0.05)
            return "orange" in desktop.lines

        await until(pasted, "what was copied here is pasted there")


ENDS = [
    (4401, "", "This login is no longer good.", "ticket"),
    (4403, "Closed by ann: show starts", "Closed by ann: show starts.", "never"),
    (4404, "", "This session is gone.", "never"),
    (4408, "Agent rack-1 did not open the desktop in time", "Agent rack-1 did not open the desktop in time.", "soon"),
    (4410, "", "This session has ended.", "never"),
    (4423, "The session is hibernated", "The session is hibernated.", "wake"),
    (4502, "", "The desktop's VNC server refused the connection.", "soon"),
    (4502, "view-only cannot be enforced here; Shift+V for control", "View-only cannot be enforced here; Shift+V for control.", "never"),
    (4503, "Agent rack-1 is offline", "Agent rack-1 is offline.", "soon"),
    (1001, "The broker stops", "The broker is stopping: The broker stops.", "soon"),
    (1011, "", "The connection failed.", "soon"),
]  # fmt: skip


async def test_every_end_is_a_sentence_and_every_return_asks_for_the_same_session(
    desktop: Desktop, tmp_path: Path
) -> None:
    async with seated(desktop, tmp_path) as (seat, relay):
        one = await seat.look("view")
        for code, reason, text, retry in ENDS:
            await until(lambda: one.is_connected, f"connected before {code}")
            seat.ends.clear()
            await relay.now.connection.close(code, reason)
            await until(lambda: seat.ends, f"told of {code}")
            assert seat.ends == [End(text, retry, code)]  # type: ignore[arg-type]
            if retry != "ticket":
                await until(lambda text=text: text.rstrip(".") in one.banner.text, text)
                assert one.banner.text.startswith("ann-xterm-k3v9qa: ")
                if retry == "soon":
                    assert "Trying again in" in one.banner.text
                one.link.reconnect()
        await until(lambda: one.is_connected, "connected after all of that")
        assert one.banner.text == ""
        assert set(relay.asked) == {("s-1", "view")}
        assert len({guest.ticket for guest in relay.guests}) == len(relay.guests) == len(ENDS) + 1
        assert set(relay.origins) == {"callboard://viewer"}
        await until(lambda: _is(one.link.view.ask("viewer.last.hidden"), True), "the grey picture has gone")  # type: ignore[union-attr]


async def test_a_session_that_sleeps_is_shown_again_when_it_wakes(desktop: Desktop, tmp_path: Path) -> None:
    async with seated(desktop, tmp_path) as (seat, relay):
        one = await seat.look("view")
        change(seat.store, 2, "desktop.changed", "s-1", desktop_row(state="hibernated", phase="Hibernated"))
        relay.refusal = ApiError(409, "session_not_running", "The session is hibernated")
        await relay.now.connection.close(4423, "The session is hibernated")
        await until(lambda: "shown again when it runs" in one.banner.text, "it waits")
        assert await one.link.view.ask("viewer.last.hidden") is False  # type: ignore[union-attr]
        one.link.reconnect()
        await until(lambda: len(relay.asked) == 2 and "shown again" in one.banner.text, "a person may ask, in vain")
        relay.refusal = None
        change(seat.store, 3, "desktop.changed", "s-1", desktop_row())
        await until(lambda: one.is_connected, "it is shown again")
        change(seat.store, 4, "desktop.removed", "s-1", Gone(reason="terminated"))
        assert one.windowTitle().startswith("ann-xterm-k3v9qa")


async def test_view_only_that_cannot_be_enforced_stays_dark_and_never_becomes_control(
    desktop: Desktop, tmp_path: Path
) -> None:
    async with seated(desktop, tmp_path) as (seat, relay):
        words = "view-only cannot be enforced here; Shift+V for control"
        relay.refusal = ApiError(409, "conflict", words)
        one = seat.open("view")
        await until(lambda: words in one.banner.text, "the reason stands on the banner")
        assert relay.asked == [("s-1", "view")]
        assert relay.guests == []
        assert one.banner.button.isVisible()
        one.close()
        await until(lambda: not seat.desk.windows, "closed")


async def test_it_gives_up_after_ten_tries(desktop: Desktop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with seated(desktop, tmp_path) as (seat, relay):
        monkeypatch.setattr("app.ui.viewer.attempts.DELAYS", (0.0,))
        relay.closes_at_once = (4503, "Agent rack-1 is offline")
        one = seat.open("view")
        await until(lambda: "Given up after 10 tries" in one.banner.text, "it gives up")
        assert one.banner.text == "ann-xterm-k3v9qa: Agent rack-1 is offline. Given up after 10 tries."
        assert len(relay.asked) == 11
        relay.closes_at_once = None
        seat.key_here(one, "R")
        await until(lambda: one.is_connected, "a person begins anew")


async def test_nobody_looks_nothing_flows(desktop: Desktop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with seated(desktop, tmp_path) as (seat, relay):
        monkeypatch.setattr(window, "HIDDEN_PATIENCE", 10)
        one = await seat.look("view")
        gone = asyncio.ensure_future(relay.now.connection.wait_closed())
        one.hide()
        async with asyncio.timeout(10):
            await gone
        assert "hidden" in one.banner.text
        one.show()
        await until(lambda: one.is_connected, "seen again, shown again")
        assert len(relay.guests) == 2


async def test_a_password_of_the_desktop_itself_is_asked_for(tmp_path: Path) -> None:
    locked = Desktop(password="geheim", program=False)
    relay = Relay(locked)
    await relay.start()
    seat = Seat(tmp_path, relay)
    try:
        one = seat.open("control")
        await until(lambda: one.login.isVisible(), "it asks")
        one.login.password.setText("wrong")
        one.login.password.returnPressed.emit()
        await until(lambda: "refused the login" in one.banner.text, "it says so")
        assert "Authentication failure" in one.banner.text
        one.link.reconnect()
        await until(lambda: one.login.isVisible(), "it asks again")
        one.login.password.setText("geheim")
        one.login.password.returnPressed.emit()
        await until(lambda: one.is_connected, "let in")
        assert await pixel(one, 1, 1)
    finally:
        await seat.close()
        await relay.stop()
        locked.stop()


async def test_full_screen_is_the_picture_alone_until_keys_are_wanted_here(desktop: Desktop, tmp_path: Path) -> None:
    async with seated(desktop, tmp_path) as (seat, _):
        one = await seat.look("view")
        seat.key_here(one, "F11")
        await until(lambda: one.isFullScreen() and not one.bar.isVisible(), "the picture alone")
        seat.key_here(one, "Esc")
        await until(lambda: not one.isFullScreen() and one.bar.isVisible(), "the window again")


async def test_a_viewer_that_closes_as_the_console_ends_is_taken_down_before_the_engine(
    desktop: Desktop, tmp_path: Path
) -> None:
    async with seated(desktop, tmp_path) as (seat, _):
        one = await seat.look("view")
        view = one.link.view
        one.close()
        while one.link.view is not None:  # from here on its page gets half a second to end its connection
            await asyncio.sleep(0)
        await seat.close()
        assert not shiboken6.isValid(view)
        assert seat.desk.windows == {}


async def test_a_page_that_crashed_comes_back(desktop: Desktop, tmp_path: Path) -> None:
    async with seated(desktop, tmp_path) as (seat, relay):
        one = await seat.look("view")
        assert one.link.view is not None
        os.kill(one.link.view.page().renderProcessPid(), 9)
        await until(lambda: seat.ends, "it is noticed")
        assert "ended unexpectedly" in seat.ends[0].text
        one.link.reconnect()
        await until(lambda: one.is_connected, "another page")
        assert len(relay.guests) == 2


def test_real_keys_the_chord_and_a_clean_end(tmp_path: Path, x_server: str) -> None:
    """A process of its own, since a crash at exit shows in its status only, and physical keys need an X server."""
    environment = {**os.environ, "DISPLAY": x_server, "QT_QPA_PLATFORM": "xcb"}
    command = [sys.executable, str(ROOT / "tests" / "ui" / "viewer_exit.py"), str(tmp_path)]
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, cwd=ROOT, check=False)
    words = [line for line in answer.stdout.splitlines() if line.isalpha()]
    assert words == ["framed", "typed", "released", "closed"], answer.stdout + answer.stderr[-3000:]
    assert answer.returncode == 0, answer.stderr[-3000:]
    assert "still not deleted" not in answer.stderr


@pytest.fixture
def x_server(tmp_path: Path) -> Iterator[str]:
    """An X server of the test's own, on which a key whose release comes late is still one press; its display."""
    read, write = os.pipe()
    with open(tmp_path / "xvfb", "wb") as log:
        command = ["Xvfb", "-displayfd", str(write), "-screen", "0", "1400x900x24", "-nolisten", "tcp", "-r"]
        process = subprocess.Popen(command, pass_fds=[write], stdout=log, stderr=log)
    os.close(write)
    with os.fdopen(read) as told:
        number = told.readline().strip()
    yield f":{number}"
    process.terminate()
    process.wait(10)


@pytest.mark.parametrize("vouched", [True, False])
async def test_a_broker_with_tls_is_trusted_by_what_the_console_trusts(
    desktop: Desktop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vouched: bool
) -> None:
    """The page speaks TLS by itself, and knows neither the house's authority nor the own broker's certificate."""
    issued = trustme.CA().issue_cert("show.local")
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "broker.crt"))
    relay = Relay(desktop, tls=ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
    issued.configure_cert(relay.tls)
    await relay.start()
    seat = Seat(tmp_path, relay)
    if vouched:
        monkeypatch.setenv("CALLBOARD_CA", str(tmp_path / "broker.crt"))
        await seat.look("control")
        assert len(relay.guests) == 1
    else:
        seat.open("control")
        await until(lambda: len(relay.asked) > 1, "the first try has failed: nobody vouches for that broker")
        assert relay.guests == []
    await seat.close()
    await relay.stop()
