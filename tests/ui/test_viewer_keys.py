"""Keys of a viewer window: one table, obeyed by the window, shown on its buttons and listed by F1."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QKeyEvent, QKeySequence
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.contract import ViewerMode
from app.ui.keymap_overlay import key_name
from app.ui.viewer.keys import CHORDS, CONTROL_GROUP, GROUP, KEYS, key_of, of_press
from app.ui.viewer.link import ViewerLink
from app.ui.viewer.window import ViewerWindow
from tests.ui.desk import Desk
from tests.ui.stage import Key, Stage
from tests.ui.vnc_house import desktop_row, show_rows

if TYPE_CHECKING:
    from app.ui.viewer.web import Engine

METHODS = {"keys": "give_keys", "scale": "set_scaled", "full_screen": "full_screen", "leave": "full_screen",
           "ctrl_alt_del": "ctrl_alt_del", "paste": "paste", "type": "type_clipboard", "close": "close"}  # fmt: skip


async def _no_engine() -> Engine:
    raise AssertionError("these windows never connect")


@pytest.fixture
def made(tmp_path: Path, qtbot: QtBot) -> Callable[[ViewerMode], ViewerWindow]:
    desk = Desk(tmp_path, venue=False)
    qtbot.addWidget(desk)
    show_rows(desk.store, desktop=[desktop_row()])

    def make(mode: ViewerMode) -> ViewerWindow:
        window = ViewerWindow(desk.context, "s-1", mode, _no_engine)
        qtbot.addWidget(window)
        return window

    return make


def _press(window: ViewerWindow, keys: str) -> None:
    sequence = QKeySequence(keys)
    combination = sequence[0]  # type: ignore[index]
    event = QKeyEvent(QEvent.Type.KeyPress, combination.key(), combination.keyboardModifiers())
    QApplication.sendEvent(window, event)


def test_each_key_of_the_table_does_its_act_and_only_where_it_is_told_to(
    made: Callable[[ViewerMode], ViewerWindow], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    for name in set(METHODS.values()):
        monkeypatch.setattr(ViewerWindow, name, lambda _, *given, name=name: done.append(name))
    monkeypatch.setattr(ViewerLink, "reconnect", lambda _: done.append("reconnect"))
    modes: tuple[ViewerMode, ...] = ("view", "control")
    for mode in modes:
        for connected in (True, False):
            window = made(mode)
            window.link.is_connected = connected
            for one in KEYS:
                acts = one.acts_in(window)
                assert acts == {"always": True, "control": connected and mode == "control", "lost": not connected,
                                "full screen": False}[one.when], one.name  # fmt: skip
                for keys in one.keys:
                    done.clear()
                    _press(window, keys)
                    assert done == ([METHODS.get(one.name, "reconnect")] if acts else []), (mode, connected, keys)


def test_escape_leaves_full_screen(made: Callable[[ViewerMode], ViewerWindow]) -> None:
    window = made("view")
    assert of_press("Esc", window) is None
    window.setWindowState(Qt.WindowState.WindowFullScreen)
    _press(window, "Esc")
    assert not window.isFullScreen()


def test_buttons_tell_the_keys_of_the_table(made: Callable[[ViewerMode], ViewerWindow]) -> None:
    bar = made("control").bar
    names = ("keys", "ctrl_alt_del", "paste", "type", "scale", "full_screen")
    for name, button in zip(names, (*bar.control_buttons, bar.scale_button, bar.full_button), strict=True):
        assert f"({key_name(key_of(name).keys[0])})" in button.toolTip()


def test_f1_lists_the_table_and_the_chord_that_is_chosen(stage: Stage) -> None:
    groups = dict(stage.window.overlay.lines())
    told = {(keys, label) for group in (GROUP, CONTROL_GROUP) for keys, label, _ in groups[group]}
    assert {(key_name(one.keys[0]), one.label) for one in KEYS} <= told
    for codes, words in CHORDS.items():
        stage.settings.set("viewer/release", codes)
        assert dict(stage.window.overlay.lines())[CONTROL_GROUP][-1][0] == words


@pytest.mark.parametrize("size", [(960, 540), (1366, 768), (1520, 900)])
def test_the_map_stays_inside_the_window_and_its_last_line_can_be_reached(stage: Stage, size: tuple[int, int]) -> None:
    stage.window.resize(*size)
    stage.streams.view.setFocus()
    stage.key(Key.Key_F1)
    overlay = stage.window.overlay
    QApplication.processEvents()
    assert overlay.card_rect.isValid()
    assert overlay.rect().contains(overlay.card_rect)
    bar = overlay.scroll_bar
    scrolls = bar.maximum() > 0
    assert scrolls == (size[1] == 540)
    for _ in range(100 if scrolls else 1):
        stage.key(Key.Key_Down)
    assert overlay.isVisible() == scrolls
    assert bar.value() == bar.maximum()
    if scrolls:
        stage.key(Key.Key_R)
        assert not overlay.isVisible()
