"""Panels in the sheet, and the button that must be held."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtGui import QColor
from PySide6.QtTest import QTest
from pytestqt.qtbot import QtBot

from app.ui.panel import HoldButton, Panel
from tests.ui.stage import Key, Stage


def a_button(qtbot: QtBot, seconds: float = 0.15) -> tuple[HoldButton, list[bool]]:
    button = HoldButton("Hold to stop", QColor("red"), seconds=seconds)
    fired: list[bool] = []
    button.fired.connect(lambda: fired.append(True))
    qtbot.addWidget(button)
    with qtbot.waitExposed(button):
        button.show()
    return button, fired


class TestHoldButton:
    def test_fires_once_when_held_by_mouse(self, qtbot: QtBot) -> None:
        button, fired = a_button(qtbot)
        QTest.mousePress(button, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: bool(fired))
        QTest.mouseRelease(button, Qt.MouseButton.LeftButton)
        qtbot.wait(200)
        assert fired == [True]

    def test_fires_when_held_by_key(self, qtbot: QtBot) -> None:
        for key in (Key.Key_Space, Key.Key_Return):
            button, fired = a_button(qtbot)
            QTest.keyPress(button, key)
            qtbot.waitUntil(lambda fired=fired: bool(fired))
            QTest.keyRelease(button, key)

    def test_a_short_press_falls_back(self, qtbot: QtBot) -> None:
        button, fired = a_button(qtbot, 60.0)
        QTest.mousePress(button, Qt.MouseButton.LeftButton)
        qtbot.waitUntil(lambda: button.fraction > 0.0)
        QTest.mouseRelease(button, Qt.MouseButton.LeftButton)
        assert button.fraction == 0.0
        qtbot.wait(100)
        assert (button.fraction, fired) == (0.0, [])

    def test_disabled_while_held_it_does_not_fire(self, qtbot: QtBot) -> None:
        button, fired = a_button(qtbot)
        QTest.keyPress(button, Key.Key_Space)
        button.setEnabled(False)
        qtbot.wait(250)
        assert fired == []


class TestSheet:
    def test_the_newest_panel_wins_and_the_old_one_is_cancelled(self, stage: Stage) -> None:
        gone: list[str] = []
        first, second = Panel(stage.context, "first"), Panel(stage.context, "second")
        first.closed.connect(lambda: gone.append("first"))
        stage.context.panels.show(first)
        stage.context.panels.show(second)
        assert gone == ["first"]
        assert stage.context.panels.current is second
        stage.context.panels.close(second)
        assert stage.context.panels.current is None
        assert not stage.window.sheet.isVisible()

    def test_done_and_cancel_end_once(self, stage: Stage) -> None:
        closed: list[bool] = []
        panel = Panel(stage.context, "once")
        panel.closed.connect(lambda: closed.append(True))
        stage.context.panels.show(panel)
        panel.done()
        panel.cancel()
        assert closed == [True]

    def test_it_gets_the_keyboard_and_gives_it_back(self, stage: Stage, qtbot: QtBot) -> None:
        panel = Panel(stage.context, "ask")
        button = panel.add_button("Fine", "primary")
        panel.first_focus = button
        stage.streams.view.setFocus()
        stage.context.panels.show(panel)
        qtbot.waitUntil(button.hasFocus)
        panel.cancel()
        assert stage.streams.view.hasFocus()
