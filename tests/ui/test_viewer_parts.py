"""What viewers are made of, without a web engine: tries, clipboard, bar, traffic, the page's files and its rules."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QWidget
from pytestqt.qtbot import QtBot

from app.client.api import ApiError
from app.contract import ViewerRow
from app.errors import Unavailable
from app.models.store import Store
from app.novnc import ViewerFiles
from app.ui.theme import Theme
from app.ui.viewer.attempts import DELAYS, MOST, STEADY, Attempts, End
from app.ui.viewer.bar import CHORDS, HERE, NAME_ROOM, REMOTE, Banner, LoginRow, ViewerBar
from app.ui.viewer.clipboard import MOST as LONGEST
from app.ui.viewer.clipboard import ClipboardBridge
from app.ui.viewer.desk import ViewerDesk
from app.ui.viewer.traffic import ViewerTraffic
from app.ui.viewer.verbs import viewer_verbs
from tests.ui.desk import Desk
from tests.ui.vnc_house import desktop_row, show_rows

ROOT = Path(__file__).resolve().parents[2]


def test_back_off_is_1_2_4_8_15_and_ends_after_ten() -> None:
    attempts = Attempts()
    waits = [attempts.next("soon") for _ in range(MOST + 2)]
    assert waits == [1, 2, 4, 8, 15, 15, 15, 15, 15, 15, None, None]
    attempts.begin()
    assert attempts.next("soon") == DELAYS[0]


def test_a_connection_that_drops_at_once_is_no_success() -> None:
    attempts = Attempts()
    for _ in range(3):
        attempts.next("soon")
        attempts.lasted(0.5)
    assert attempts.next("soon") == DELAYS[3]
    attempts.lasted(STEADY)
    assert attempts.next("soon") == DELAYS[0]


def test_a_login_that_ended_is_tried_once_at_once() -> None:
    attempts = Attempts()
    assert attempts.next("ticket") == 0.0
    assert attempts.next("ticket") == 2.0
    assert attempts.next("never") is None
    assert attempts.next("wake") is None


@pytest.mark.parametrize(
    ("error", "retry"),
    [
        (ApiError(0, "unreachable", "No broker answers"), "soon"),
        (ApiError(503, "AGENT_OFFLINE", "Agent rack-1 is offline"), "soon"),
        (ApiError(429, "RATE_LIMIT_EXCEEDED", "Too many"), "soon"),
        (ApiError(409, "session_not_running", "The session is hibernated"), "wake"),
        (ApiError(409, "conflict", "view-only cannot be enforced here; Shift+V for control"), "never"),
        (ApiError(403, "forbidden", "ann closed your view of this desktop"), "never"),
        (ApiError(404, "session_not_found", "No such session"), "never"),
        (ApiError(401, "unauthorised", "Not logged in"), "never"),
        (Unavailable("No broker is connected."), "soon"),
    ],
)
def test_what_a_refused_ticket_means(error: ApiError, retry: str) -> None:
    assert End.of_refusal(error) == End(error.message, retry)  # type: ignore[arg-type]


def test_what_the_page_says_is_never_believed_blindly() -> None:
    assert End.of_page({}).retry == "never"
    assert End.of_page({"code": "x", "retry": "always", "text": 3}) == End("3", "never", 0)


# -- clipboard -----------------------------------------------------------------------------------------------------


@pytest.fixture
def bridge(qtbot: QtBot) -> Iterator[tuple[ClipboardBridge, list[str]]]:
    sent: list[str] = []
    owner = QWidget()
    qtbot.addWidget(owner)
    QGuiApplication.clipboard().clear()
    yield ClipboardBridge(owner, sent.append), sent
    QGuiApplication.clipboard().clear()


def test_clipboards_meet_only_while_keys_go_to_the_desktop(bridge: tuple[ClipboardBridge, list[str]]) -> None:
    one, sent = bridge
    local = QGuiApplication.clipboard()
    local.setText("secret of this machine")
    one.take("from there")
    assert sent == []
    assert local.text() == "secret of this machine"
    one.set_open(True)
    assert sent == ["secret of this machine"]
    one.take("from there")
    assert local.text() == "from there"
    assert sent == ["secret of this machine"], "what came from there does not go back"
    local.setText("new")
    assert sent[1:] == ["new"]
    one.set_open(False)
    local.setText("private again")
    assert len(sent) == 2


def test_a_clipboard_that_cannot_be_sent_says_why(bridge: tuple[ClipboardBridge, list[str]]) -> None:
    one, sent = bridge
    assert one.push() == "the clipboard has no text"
    QGuiApplication.clipboard().setText("x" * (LONGEST + 1))
    assert "more than a desktop takes" in one.push()
    QGuiApplication.clipboard().setText("äöü €")
    assert one.push() == ""
    assert sent == ["äöü €"]


def test_after_a_reconnect_the_clipboard_is_sent_again(bridge: tuple[ClipboardBridge, list[str]]) -> None:
    one, sent = bridge
    QGuiApplication.clipboard().setText("a")
    one.set_open(True)
    one.set_open(False)
    one.set_open(True)
    assert sent == ["a"]
    one.forget()
    one.set_open(True)
    assert sent == ["a", "a"]


# -- bar, banner, login --------------------------------------------------------------------------------------------


def test_the_bar_of_a_view_offers_nothing_that_acts(qtbot: QtBot) -> None:
    theme = Theme.named("dark")
    view, control = ViewerBar("view", lambda: theme), ViewerBar("control", lambda: theme)
    for bar in (view, control):
        qtbot.addWidget(bar)
        bar.resize(1240, 30)
        bar.show()
    assert view.chip.text() == "VIEW ONLY"
    assert control.chip.text() == "CONTROL"
    assert not any(button.isVisible() for button in view.control_buttons)
    assert not view.light.isVisible()
    assert all(button.isVisible() for button in control.control_buttons)
    for codes, words in CHORDS.items():
        control.set_chord(codes)
        assert words in control.chord.text()
        assert "takes them back" not in control.chord.text(), "they are here"
    control.set_remote(True)
    assert control.light.accessibleName() == REMOTE
    assert control.chord.text().endswith("takes them back")
    assert not control.control_buttons[0].isVisible(), "the keys are there already"
    control.set_remote(False)
    assert control.light.text == HERE
    assert control.control_buttons[0].isVisible()
    assert not control.grab().isNull()


def test_the_name_keeps_its_room_and_the_rest_gives_way(qtbot: QtBot) -> None:
    theme = Theme.named("dark")
    bar = ViewerBar("control", lambda: theme)
    qtbot.addWidget(bar)
    bar.set_name("ada-larsen-demo-cue-list-x5pza4")
    bar.set_chord("ControlRight+Escape")
    bar.set_layout_name("QWERTY")
    bar.set_traffic("33 kB/s   2 ms")
    bar.resize(1900, 30)
    bar.show()
    assert bar.name.shown == "ada-larsen-demo-cue-list-x5pza4"
    assert bar.traffic.isVisible()
    for width in (1240, 900, bar.minimumSizeHint().width()):
        bar.resize(width, 30)
        QApplication.processEvents()
        assert bar.name.width() >= NAME_ROOM
        assert bar.full_button.geometry().right() < width, "nothing is cut off"
        assert bar.light.isVisible()
    assert not bar.traffic.isVisible()
    assert bar.name.shown.endswith("\N{HORIZONTAL ELLIPSIS}")


def test_traffic_does_not_move_what_stands_beside_it(qtbot: QtBot) -> None:
    theme = Theme.named("dark")
    bar = ViewerBar("control", lambda: theme)
    qtbot.addWidget(bar)
    bar.resize(1900, 30)
    bar.show()
    places = []
    for text in ("1 kB/s   1 ms", "12.4 MB/s   112 ms"):
        bar.set_traffic(text)
        QApplication.processEvents()
        places.append(bar.chip.x())
    assert places[0] == places[1]


def test_the_banner_shows_text_as_text(qtbot: QtBot) -> None:
    banner = Banner()
    qtbot.addWidget(banner)
    banner.say("<b>ann</b>\n closed it", again=True)
    assert banner.text == "<b>ann</b>  closed it"
    banner.say("")
    assert banner.isHidden()
    assert banner.text == ""


def test_a_login_is_given_once_and_not_kept(qtbot: QtBot) -> None:
    row = LoginRow()
    qtbot.addWidget(row)
    given: list[dict[str, str]] = []
    row.given.connect(given.append)
    row.ask(["password"])
    assert row.user.isHidden()
    row.password.setText("pässword")
    row.password.returnPressed.emit()
    row.ask(["username", "password"])
    assert row.password.text() == ""
    row.user.setText("ann")
    row.password.returnPressed.emit()
    assert given == [{"password": "pässword"}, {"password": "", "username": "ann"}]


# -- traffic, verbs, settings --------------------------------------------------------------------------------------


def test_our_own_row_is_found_among_others() -> None:
    store = Store()
    now = 1000.0

    def viewer(name: str, mode: str, since: float, **more: object) -> ViewerRow:
        row = {"id": name, "session_id": "s-1", "session_name": "x", "agent_id": "a", "user": "kim", "mode": mode}
        return msgspec.convert({**row, "since": since, **more}, ViewerRow)

    traffic = ViewerTraffic(store, "s-1", "control")
    assert traffic.text == ""
    rows = [
        viewer("other", "view", now),
        viewer("old", "control", now - 60),
        viewer("mine", "control", now + 1, down_rate=1_234_567.0, rtt=2.6),
    ]
    show_rows(store, at=now, viewer=rows)
    traffic.set_connected(True)
    assert traffic.row is not None
    assert traffic.row.id == "mine"
    assert traffic.text == "1.2 MB/s   3 ms"
    traffic.set_connected(False)
    assert traffic.text == ""


def test_v_is_refused_in_words_for_what_has_no_picture(tmp_path: Path, qtbot: QtBot) -> None:
    desk = Desk(tmp_path, venue=False)
    qtbot.addWidget(desk)
    states = ("running", "hibernated", "pending", "terminating")
    show_rows(desk.store, desktop=[desktop_row(state, f"ann-{state}", state=state) for state in states])
    view, control = viewer_verbs(desk.context)
    assert (view.key, control.key) == ("V", "Shift+V")
    assert view.kind == control.kind == "desktop"
    said = {state: view.applies(desk.context, state) for state in (*states, "unknown")}
    assert said["running"] == ""
    assert said["hibernated"] == "ann-hibernated is hibernated: wake it first"
    assert "still starting" in said["pending"]
    assert "terminating" in said["terminating"]
    assert said["unknown"] == "this session is gone"
    assert control.object(desk.context, "running") == "ann-running"


# -- the page ------------------------------------------------------------------------------------------------------


def test_the_page_loads_nothing_from_anywhere_else() -> None:
    files = ViewerFiles()
    page, kind = files.read("index.html")
    assert kind.startswith("text/html")
    text = page.decode()
    assert "<script>" not in text
    assert " style=" not in text
    assert "default-src 'none'; script-src 'self'" in text
    named = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert named == ["assets/viewer.css", "assets/viewer.js"]
    for name in [*named, "assets/screen.js", "assets/closing.js", "assets/browser.js"]:
        content = files.read(name)[0].decode()
        assert not re.search(r"https?://|//cdn", content), name
        for imported in re.findall(r'(?:from|import\() ?"([^"]+)"', content):
            assert files.read(f"assets/{imported.removeprefix('./')}")[0], imported
    files.close()


async def test_a_viewer_that_does_not_close_keeps_no_other_open() -> None:
    closed: list[str] = []

    class Window:
        def __init__(self, name: str) -> None:
            self.name = name

        async def dismantle(self) -> None:
            if self.name == "broken":
                raise RuntimeError("no")
            closed.append(self.name)

    desk = ViewerDesk(cast(Any, None))
    desk.windows = {(name, "view"): cast(Any, Window(name)) for name in ("one", "broken", "two")}
    await desk.close()
    assert closed == ["one", "two"]
    assert desk.windows == {}


HEAVY = ("PySide6.QtWebEngineCore", "structlog", "httpx", "websockets", "numpy", "pyqtgraph", "keyring")


def test_what_is_heavy_is_not_loaded_with_the_window() -> None:
    code = (
        "import sys, app.ui.main, app.ui.console, app.ui.viewer.verbs, app.ui.viewer.desk\n"
        f"print([name for name in sys.modules if name in {HEAVY} or name.startswith('PySide6.QtWeb')])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60, cwd=ROOT
    )
    assert answer.stdout.strip() == "[]"
