"""Columns share out the room: what is cut short grows first, what the operator sized stays, no room of today is kept."""

from __future__ import annotations

from PySide6.QtWidgets import QApplication

from app.ui.table_view import TableView
from tests.ui.stage import Stage

FROM = "from", "protocol", "address", "format", "on"


def size(stage: Stage, width: int) -> dict[str, int]:
    """Widths of the shown columns in a window of that width."""
    stage.window.resize(width, 1000)
    for _ in range(4):
        QApplication.processEvents()
    return widths(stage.streams.view)


def widths(view: TableView) -> dict[str, int]:
    columns = view.table.columns
    return {column.key: view.columnWidth(number) for number, column in enumerate(columns) if view.columnWidth(number)}


def test_room_to_spare_goes_to_what_is_cut_short(stage: Stage) -> None:
    declared = {column.key: column.width for column in stage.streams.model.columns}
    wide = {column.key: column.wide for column in stage.streams.model.columns}
    roomy = size(stage, 1920)
    assert {key: roomy[key] for key in FROM} == {key: wide[key] for key in FROM}
    assert size(stage, 1366)["state"] == declared["state"]
    stage.streams.toggle_details()
    beside = size(stage, 1366)
    assert stage.streams.view.horizontalScrollBar().maximum() == 0
    assert {"state", "name", "take", "consumers", "on", "ttl"} <= set(beside)
    stage.streams.toggle_details()
    tight = size(stage, 1440)
    assert all(tight[key] >= declared[key] for key in tight)
    assert tight["name"] == declared["name"]
    assert stage.streams.view.horizontalScrollBar().maximum() == 0
    assert size(stage, 1920) == roomy


def test_the_room_of_today_is_not_remembered(stage: Stage) -> None:
    view = stage.streams.view
    size(stage, 1440)
    before = view.layout_of_columns()
    size(stage, 1920)
    assert view.layout_of_columns() == before
    view.set_layout_of_columns(before)
    assert widths(view)["on"] == view.table.column("on").wide
    assert not any("width" in entry for entry in before), "what is declared may be declared otherwise tomorrow"


def test_what_the_operator_sized_stays_as_it_is(stage: Stage) -> None:
    view = stage.streams.view
    size(stage, 1920)
    number = view.table.column_number("format")
    view.setColumnWidth(number, 99)
    assert size(stage, 1700)["format"] == 99
    assert size(stage, 1920)["format"] == 99
    layout = view.layout_of_columns()
    assert {"key": "format", "width": 99, "shown": True} in layout
    view.set_layout_of_columns(layout)
    assert widths(view)["format"] == 99
    view.reset_columns()
    assert widths(view)["format"] == view.table.columns[number].wide
