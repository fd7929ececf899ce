"""Fixtures of the end-to-end tests: the console's own loop for coroutines, and brokers that end with the test.

A house (``house.py``) is no fixture: pytest-qt turns Qt's loop between the steps of a test, where no coroutine may run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
from PySide6.QtWidgets import QApplication

from app.ui.loop import Loop
from app.ui.viewer.engine import prepare
from tests.fakes.broker import brokers

__all__ = ["brokers"]

prepare()


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Asynchronous tests of this folder run on Qt's loop, as the console does."""

    def qt_loop() -> asyncio.AbstractEventLoop:
        app = QApplication.instance()
        return Loop(app if isinstance(app, QApplication) else QApplication([]))

    return {"qt": qt_loop}
