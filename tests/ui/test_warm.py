"""The web engine is loaded before it is needed: at a quiet moment, where somebody works and has a desktop to look at."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from PySide6.QtCore import QCoreApplication, QEvent, QObject, QPointF, Qt
from PySide6.QtGui import QKeyEvent, QMouseEvent
from pytestqt.qtbot import QtBot

from app.errors import Unavailable
from app.ui.panel import Panel
from app.ui.viewer import warm
from app.ui.viewer.warm import QUIET, LastInput, WarmUp
from tests.ui.desk import Desk
from tests.ui.vnc_house import desktop_row, show_rows


class ViewerDesk:
    """Counts what it is asked for."""

    def __init__(self) -> None:
        self.windows: dict[Any, Any] = {}
        self.warmed = 0
        self.refusal: Unavailable | None = None

    async def warm(self) -> None:
        self.warmed += 1
        if self.refusal is not None:
            raise self.refusal


class House:
    """A desk with one running desktop, a clock that is set, and what is spawned run to its end."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.imports = 1000.0, 0
        monkeypatch.setattr(warm, "time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(warm, "import_modules", self._import)
        self.desk = Desk(folder, venue=False)
        show_rows(self.desk.store, desktop=[desktop_row()])
        self.desk.context.spawn = self._spawn  # type: ignore[assignment]
        self.viewers, self.last = ViewerDesk(), LastInput()
        self.warm_up = WarmUp(self.desk.context, self.viewers, self.last)  # type: ignore[arg-type]

    async def _import(self) -> None:
        self.imports += 1

    def _spawn(self, coro: Coroutine[Any, Any, Any], name: str) -> None:
        asyncio.run(coro)

    def wait(self, seconds: float) -> tuple[int, int]:
        """Seconds go by; what was imported and what was loaded since the beginning."""
        for _ in range(int(seconds)):
            self.now += 1.0
            self.warm_up.second()
        return self.imports, self.viewers.warmed


@pytest.fixture
def house(tmp_path: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> House:
    made = House(tmp_path, monkeypatch)
    qtbot.addWidget(made.desk)
    return made


def test_it_waits_for_a_quiet_moment_and_then_for_another(house: House) -> None:
    house.last.at = house.now
    assert house.wait(QUIET - 1) == (0, 0)
    assert house.wait(1) == (1, 0)
    house.last.at = house.now
    assert house.wait(QUIET - 1) == (1, 0)
    assert house.wait(60) == (1, 1)


def test_a_board_that_nobody_works_at_never_loads_it(house: House) -> None:
    assert house.wait(120) == (0, 0)


@pytest.mark.parametrize("what", ["hibernated", "no desktop", "not live", "a panel is open", "a viewer is open"])
def test_it_is_loaded_only_where_a_viewer_is_probable_and_nothing_waits(house: House, what: str) -> None:
    house.last.at = house.now
    store = house.desk.store
    if what == "hibernated":
        show_rows(store, desktop=[msgspec.structs.replace(desktop_row(), state="hibernated")])
    elif what == "no desktop":
        show_rows(store, desktop=[])
    elif what == "not live":
        store.set_link("down", 0.0, "gone")
    elif what == "a panel is open":
        house.desk.context.panels.show(Panel(house.desk.context, "A panel"))
    else:
        house.viewers.windows["s-1", "view"] = object()
    assert house.wait(60) == (0, 0)


def test_a_machine_without_the_engine_is_asked_once(house: House) -> None:
    house.last.at = house.now
    house.viewers.refusal = Unavailable("no library")
    assert house.wait(60) == (1, 1)


def test_keys_and_pointer_are_input_and_the_rest_is_not(qtbot: QtBot) -> None:
    last, window = LastInput(), QObject()
    window.installEventFilter(last)
    QCoreApplication.sendEvent(window, QEvent(QEvent.Type.UpdateRequest))
    assert last.at is None
    nothing, none = Qt.KeyboardModifier.NoModifier, Qt.MouseButton.NoButton
    for event in (
        QKeyEvent(QEvent.Type.KeyPress, Qt.Key.Key_R, nothing),
        QMouseEvent(QEvent.Type.MouseMove, QPointF(1, 1), QPointF(1, 1), none, none, nothing),
    ):
        last.at = None
        QCoreApplication.sendEvent(window, event)
        assert last.at is not None
