"""Between the two lists of the History page without a pointer."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.ui import verbs
from app.ui.pages.history import HistoryPage
from app.ui.shot_client import StillClient
from tests.ui.desk import Desk


def test_a_goes_to_the_other_list_and_back(tmp_path: Path, qtbot: QtBot) -> None:
    desk = Desk(tmp_path)
    desk.context.client = StillClient(desk.venue)  # type: ignore[assignment]
    verbs.declare(desk.context.actions)
    qtbot.addWidget(desk)
    with qtbot.waitExposed(desk):
        desk.show()
    page = HistoryPage(desk.context)
    desk.put(page)
    page.activate()
    for shown in ("acts", "sessions of the past"):
        QApplication.processEvents()
        focus = QApplication.focusWidget()
        assert focus is page.tab.view
        QTest.keyClick(focus, Qt.Key.Key_A)
        assert page.tab.name == shown
    assert any(command.keys == ("A",) for command in desk.context.actions.commands)
    page.deactivate()
