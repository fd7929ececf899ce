"""A held key is one press, also when the window system reports its repeats as fresh presses (X11)."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from PySide6.QtCore import QCoreApplication, QEvent, QObject, Qt
from PySide6.QtGui import QColor, QKeyEvent
from PySide6.QtTest import QTest
from pytestqt.qtbot import QtBot

from app.ui.key_repeat import SOONEST, KeyRepeat
from app.ui.panel import HoldButton
from tests.ui.stage import Key, Stage

PRESS, RELEASE = QEvent.Type.KeyPress, QEvent.Type.KeyRelease


def send(target: QObject, kind: QEvent.Type, key: Key, modifier: Qt.KeyboardModifier | None = None) -> None:
    """A key event that is not marked as a repeat."""
    QCoreApplication.sendEvent(target, QKeyEvent(kind, key, modifier or Qt.KeyboardModifier.NoModifier))


class Heard(QObject):
    """Whether each press was marked as a repeat."""

    def __init__(self) -> None:
        super().__init__()
        self.presses: list[bool] = []

    def event(self, event: QEvent) -> bool:
        if isinstance(event, QKeyEvent) and event.type() == PRESS:
            self.presses.append(event.isAutoRepeat())
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still, where a busy machine might stop between a release and a press."""
    now = [100.0]
    for module in ("key_repeat", "actions"):
        monkeypatch.setattr(f"app.ui.{module}.time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def test_a_press_right_after_its_release_is_a_repeat(qtbot: QtBot, clock: list[float]) -> None:
    heard, guard = Heard(), KeyRepeat()
    heard.installEventFilter(guard)
    for _ in range(3):
        send(heard, PRESS, Key.Key_Delete)
        send(heard, RELEASE, Key.Key_Delete)
    send(heard, PRESS, Key.Key_R)
    assert heard.presses == [False, True, True, False]


def test_a_second_press_by_hand_is_not(qtbot: QtBot, clock: list[float]) -> None:
    heard, guard = Heard(), KeyRepeat()
    heard.installEventFilter(guard)
    send(heard, PRESS, Key.Key_Delete)
    send(heard, RELEASE, Key.Key_Delete)
    clock[0] += 2 * SOONEST
    send(heard, PRESS, Key.Key_Delete)
    assert heard.presses == [False, False]


def test_a_held_delete_does_not_send_the_kick_that_it_began(stage: Stage, clock: list[float]) -> None:
    stage.window.show_page("Sessions")
    row = stage.session("wall-main")
    stage.go_to(row.id)
    native = stage.window.windowHandle()
    send(native, PRESS, Key.Key_Delete)
    assert ("kick", row.id) in stage.actions.pending
    stage.settings.set("bounce_milliseconds", 0)
    for _ in range(5):
        send(native, RELEASE, Key.Key_Delete)
        send(native, PRESS, Key.Key_Delete)
    assert ("kick", row.id) in stage.actions.pending
    assert stage.client.named("stop_session") == []


def test_a_bounce_that_goes_on_stays_one_press(stage: Stage, clock: list[float]) -> None:
    row = stage.session("wall-main")
    stage.settings.set("bounce_milliseconds", 1000)
    stage.settings.set("hold_back_seconds", 30.0)
    assert stage.actions.press("kick", [row.id]) == ""
    for _ in range(4):
        clock[0] += 0.3  # together longer than the bounce, each far within it
        assert stage.actions.press("kick", [row.id]) == "bounce"
    assert stage.client.named("stop_session") == []


def test_a_press_on_nothing_says_so(stage: Stage) -> None:
    assert stage.actions.press("take", []) == "nothing is selected"
    assert "Take: nothing is selected" in stage.said()


def test_a_hold_by_key_survives_unmarked_repeats(qtbot: QtBot) -> None:
    button = HoldButton("Hold", QColor("red"), seconds=0.3)
    qtbot.addWidget(button)
    button.show()
    with qtbot.waitSignal(button.fired, timeout=5000):
        send(button, PRESS, Key.Key_Return)
        for _ in range(10):
            send(button, RELEASE, Key.Key_Return)
            send(button, PRESS, Key.Key_Return)
            QTest.qWait(15)


def test_a_hold_by_key_ends_when_the_key_is_let_go(qtbot: QtBot) -> None:
    button = HoldButton("Hold", QColor("red"), seconds=60.0)
    qtbot.addWidget(button)
    button.show()
    send(button, PRESS, Key.Key_Return)
    qtbot.waitUntil(lambda: button.fraction > 0.0)
    send(button, RELEASE, Key.Key_Return)
    qtbot.waitUntil(lambda: button.fraction == 0.0)
    assert not button.isDown()
