"""Ctrl+E: what the filter shows goes to a file, safely for spreadsheets, and an existing file is replaced only knowingly."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFileDialog
from pytestqt.qtbot import QtBot

from app.models.tables.streams import StreamTable
from app.ui.export import SLICE, ExportPanel, export, extract_of, gather
from app.ui.shot_venue import many_streams, stream_rows
from tests.ui.desk import Desk


@pytest.fixture
def desk(qtbot: QtBot, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    made.context.settings.set("export/folder", str(tmp_path))
    qtbot.addWidget(made)
    with qtbot.waitExposed(made):
        made.show()
    yield made
    made.context.panels.close()


def table_of(desk: Desk) -> StreamTable:
    table = StreamTable(desk.store)
    while table.total < len(desk.store.streams):
        table.flush()
    table.arrange()
    return table


def open_panel(desk: Desk, table: StreamTable) -> ExportPanel:
    panel = ExportPanel(desk.context, extract_of(table, "streams"))
    desk.show_panel(panel)
    return panel


async def test_csv_has_what_is_filtered_in_the_order_shown(desk: Desk, tmp_path: Path) -> None:
    table = table_of(desk)
    table.apply_filter("cam")
    table.sort_by("name", descending=True)
    count = await export(extract_of(table, "streams"), tmp_path / "x.csv", "csv")
    with (tmp_path / "x.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert count == 3
    assert [row["Name"] for row in rows] == ["Cam 3 fly tower", "Cam 2 stage right", "Cam 1 stage left"]
    assert rows[0]["State"] == "STALE"
    assert rows[0]["Id"].startswith("5f0c0002")


async def test_json_keeps_numbers_as_numbers(desk: Desk, tmp_path: Path) -> None:
    table = table_of(desk)
    await export(extract_of(table, "streams"), tmp_path / "x.json", "json")
    rows = json.loads((tmp_path / "x.json").read_text())
    cam = next(row for row in rows if row["name"] == "Cam 1 stage left")
    assert cam["consumers"] == 1
    assert cam["age"] == pytest.approx(3.1)


async def test_a_formula_from_the_network_is_text_in_csv_and_itself_in_json(qtbot: QtBot, tmp_path: Path) -> None:
    desk = Desk(tmp_path, venue=False)
    qtbot.addWidget(desk)
    hostile = '=HYPERLINK("http://evil","x")'
    desk.venue.open([msgspec.structs.replace(stream_rows()[0], name=hostile, publisher_id="@SUM(1)")], sessions=False)
    table = table_of(desk)
    await export(extract_of(table, "streams"), tmp_path / "x.csv", "csv")
    await export(extract_of(table, "streams"), tmp_path / "x.json", "json")
    with (tmp_path / "x.csv").open(encoding="utf-8-sig", newline="") as file:
        row = next(csv.DictReader(file))
    assert row["Name"] == "'" + hostile
    assert row["From"] == "'@SUM(1)"
    assert json.loads((tmp_path / "x.json").read_text())[0]["name"] == hostile


async def test_the_window_has_its_turn_between_slices(
    qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = Desk(tmp_path, venue=False)
    qtbot.addWidget(desk)
    desk.venue.open(many_streams(4 * SLICE), sessions=False)
    turns: list[float] = []

    async def sleep(seconds: float) -> None:
        turns.append(seconds)

    monkeypatch.setattr("app.ui.export.asyncio.sleep", sleep)
    records = await gather(extract_of(table_of(desk), "streams"))
    assert len(records) == 4 * SLICE
    assert turns == [0, 0, 0, 0]


async def test_a_later_filter_does_not_change_the_export(desk: Desk) -> None:
    table = table_of(desk)
    extract = extract_of(table, "streams")
    table.apply_filter("cam")
    assert len(await gather(extract)) == extract.count == 12


def test_enter_writes_and_closes(desk: Desk, qtbot: QtBot, tmp_path: Path) -> None:
    panel = open_panel(desk, table_of(desk))
    path = Path(panel.path.text())
    assert path.parent == tmp_path
    assert desk.focusWidget() is panel.path.editor
    qtbot.keyClick(panel.path.editor, Qt.Key.Key_Return)
    assert path.exists()
    assert desk.words == [f"12 streams exported to {path}"]
    assert desk.context.panels.current is None
    assert not path.with_name(path.name + ".part").exists()


def test_one_row_is_no_plural(desk: Desk, qtbot: QtBot) -> None:
    table = table_of(desk)
    table.apply_filter('"Cam 1"')
    panel = open_panel(desk, table)
    assert panel.title.text() == "Export 1 stream"
    qtbot.keyClick(panel.path.editor, Qt.Key.Key_Return)
    assert desk.words == [f"1 stream exported to {panel.path.text()}"]


def test_an_existing_file_wants_a_second_press(desk: Desk, tmp_path: Path) -> None:
    panel = open_panel(desk, table_of(desk))
    path = tmp_path / "have.csv"
    path.write_text("mine")
    panel.path.set_text(str(path))
    panel.submit()
    assert path.read_text() == "mine"
    assert "This file exists" in panel.path.error.text()
    assert panel.ok_button.text() == "Replace"
    panel.submit()
    assert path.read_text(encoding="utf-8-sig").startswith("State,Name")


def test_another_name_takes_the_permission_back(desk: Desk, tmp_path: Path) -> None:
    panel = open_panel(desk, table_of(desk))
    for name in ("one.csv", "two.csv"):
        (tmp_path / name).write_text("mine")
    panel.path.set_text(str(tmp_path / "one.csv"))
    panel.submit()
    panel.path.set_text(str(tmp_path / "two.csv"))
    assert panel.ok_button.text() == "Export"
    panel.submit()
    assert (tmp_path / "two.csv").read_text() == "mine"


@pytest.mark.parametrize(
    ("text", "told"),
    [("", "a file name is needed"), ("x.csv", "a whole path"), ("/nowhere-at-all/x.csv", "there is no folder")],
)
def test_a_path_that_cannot_be_is_said(desk: Desk, text: str, told: str) -> None:
    panel = open_panel(desk, table_of(desk))
    panel.path.set_text(text)
    panel.submit()
    assert told in panel.path.error.text()
    assert desk.context.panels.current is panel


def test_a_disk_that_refuses_is_said(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("app.ui.export.write_file", full)
    panel = open_panel(desk, table_of(desk))
    panel.submit()
    assert "No space left on device" in panel.path.error.text()
    assert panel.ok_button.isEnabled()


def test_the_format_is_the_suffix(desk: Desk) -> None:
    panel = open_panel(desk, table_of(desk))
    panel.json.click()
    assert panel.path.text().endswith(".json")
    panel.csv.click()
    assert panel.path.text().endswith(".csv")


def test_browse_opens_a_dialog_without_a_nested_loop(desk: Desk, qtbot: QtBot, tmp_path: Path) -> None:
    panel = open_panel(desk, table_of(desk))
    panel._browse()
    dialog = desk.findChild(QFileDialog)
    assert dialog is not None
    dialog.fileSelected.emit(str(tmp_path / "chosen.json"))
    assert panel.path.text() == str(tmp_path / "chosen.json")
    assert panel.kind == "json"
    dialog.reject()
