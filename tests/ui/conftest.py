"""Fixtures of the UI tests: the console's own loop for coroutines, and a window on the venue of the pictures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.ui import takeover
from app.ui.loop import Loop
from app.ui.viewer.engine import prepare
from tests.ui.stage import Stage

prepare()


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Asynchronous tests of this folder run on Qt's loop, as the console does."""

    def qt_loop() -> asyncio.AbstractEventLoop:
        app = QApplication.instance()
        return Loop(app if isinstance(app, QApplication) else QApplication([]))

    return {"qt": qt_loop}


@pytest.fixture
def stage(qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """The window on Streams, live. Its broker's feed never shows what it was asked for, so nothing waits for that."""
    monkeypatch.setattr(takeover, "PATIENCE", 0.0)
    made = Stage(tmp_path)
    made.open()
    yield made
    made.close()
