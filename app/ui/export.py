"""Export of what is filtered: CSV for people with spreadsheets, JSON for programs.

``ExportPanel`` asks in place for format and file; any page opens it with its table's ``Extract``. The values are
gathered in slices on the Qt thread, so that 10,000 rows do not stall the window, and written in a thread by the
writers of ``app/models/export.py``, which also quote what a spreadsheet would run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QStandardPaths
from PySide6.QtWidgets import QButtonGroup, QFileDialog, QHBoxLayout, QPushButton, QRadioButton

from app.models.export import write_csv, write_json
from app.models.wording import counted
from app.ui.dialogs.fields import Field, FieldError, line_edit
from app.ui.panel import Panel
from app.ui.theme import plain_label

if TYPE_CHECKING:
    from app.models.tables.rows import RowTable
    from app.ui.context import Context
    from app.ui.settings import Settings

SLICE = 250
"""Rows that are turned into values before the window gets its turn again."""


@dataclass(frozen=True, slots=True)
class Extract:
    """What to export: ``records`` yields one mapping per row that the filter shows, in the order shown."""

    noun: str
    """What the rows are, in the plural: ``streams``."""
    columns: tuple[tuple[str, str], ...]
    """Key and title of each column, for CSV; JSON holds everything by key."""
    count: int
    records: Callable[[], Iterator[Mapping[str, Any]]]
    note: str = ""
    """What the rows leave out, in words; "" when they are everything the filter shows."""


def extract_of(table: RowTable, noun: str, *, note: str = "") -> Extract:
    """What a table shows now, bound to its rows of now: a later sort or filter does not change the export."""
    items = list(table.order_items)

    def records() -> Iterator[Mapping[str, Any]]:
        return (table.record(item) for item in items)

    columns = [(column.key, column.title) for column in table.columns if column.kind != "button"]
    return Extract(noun, (*columns, ("id", "Id")), len(items), records, note)


def write_file(extract: Extract, records: Sequence[Mapping[str, Any]], path: Path, kind: str) -> int:
    """Write a whole file beside its place and move it there, so that a failure leaves no half of it."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8-sig" if kind == "csv" else "utf-8", newline="") as stream:
            count = write_csv(stream, extract.columns, records) if kind == "csv" else write_json(stream, records)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return count


async def gather(extract: Extract) -> list[Mapping[str, Any]]:
    """All records, with a turn for the window after each slice."""
    records: list[Mapping[str, Any]] = []
    for record in extract.records():
        records.append(record)
        if len(records) % SLICE == 0:
            await asyncio.sleep(0)
    return records


async def export(extract: Extract, path: Path, kind: str) -> int:
    """Write ``extract`` to ``path`` as ``csv`` or ``json``; the number of rows. Raises ``OSError``."""
    records = await gather(extract)
    return await asyncio.to_thread(write_file, extract, records, path, kind)


class ExportPanel(Panel):
    """Format, file, Enter. An existing file is replaced only at the second press, which says so."""

    def __init__(self, context: Context, extract: Extract) -> None:
        super().__init__(
            context,
            f"Export {counted(extract.count, extract.noun)}",
            subtitle=extract.note or "What the filter shows, in the order shown.",
        )
        self.extract = extract
        self._replace: Path | None = None
        self._busy = False
        self.csv = QRadioButton("CSV — for spreadsheets")
        self.json = QRadioButton("JSON — for programs")
        self.csv.setChecked(True)
        group = QButtonGroup(self)
        for button in (self.csv, self.json):
            group.addButton(button)
            self.body.addWidget(button)
        group.buttonClicked.connect(self._on_kind)
        self.path = Field("path", "File", line_edit(mono=True), parse=whole_path)
        self.path.set_text(str(self._suggest()))
        self.path.entered.connect(self.submit)
        self.path.changed.connect(self._forget_replace)
        row = QHBoxLayout()
        row.addWidget(plain_label("", "hint"), 1)
        browse = QPushButton("Browse…")
        browse.clicked.connect(self._browse)
        row.addWidget(browse)
        self.body.addSpacing(8)
        self.body.addWidget(self.path)
        self.body.addLayout(row)
        self.body.addStretch(1)
        self.add_button("Cancel").clicked.connect(self.cancel)
        self.ok_button = self.add_button("Export", "primary")
        self.ok_button.clicked.connect(self.submit)
        self.first_focus = self.path.editor
        self._dialog: QFileDialog | None = None

    @property
    def kind(self) -> str:
        """``csv`` or ``json``."""
        return "json" if self.json.isChecked() else "csv"

    def submit(self) -> None:
        """Write the file; the panel stays open with the reason when that fails."""
        if self._busy:
            return
        try:
            path: Path = self.path.value()
        except FieldError as error:
            self.path.set_error(str(error))
            return
        if path.exists() and self._replace != path:
            self._replace = path
            self.path.set_error("This file exists. Press again to replace it.")
            self.ok_button.setText("Replace")
            return
        self._busy = True
        self.ok_button.setEnabled(False)
        self.context.spawn(self._write(path), f"export of {self.extract.noun}")

    async def _write(self, path: Path) -> None:
        try:
            count = await export(self.extract, path, self.kind)
        except OSError as error:
            self.path.set_error(f"{path}: {error.strerror or error}")
            return
        finally:
            self._busy = False
            self.ok_button.setEnabled(True)
        self.context.settings.set("export/folder", str(path.parent))
        self.context.toast(f"{counted(count, self.extract.noun)} exported to {path}", tone="good")
        self.done()

    def _suggest(self) -> Path:
        stamp = time.strftime("%Y-%m-%d-%H%M%S", time.localtime(time.time()))
        return default_folder(self.context.settings) / f"{self.extract.noun}-{stamp}.{self.kind}"

    def _on_kind(self) -> None:
        text = self.path.text()
        if text.endswith((".csv", ".json")):
            self.path.set_text(str(Path(text).with_suffix("." + self.kind)))

    def _forget_replace(self) -> None:
        self._replace = None
        self.ok_button.setText("Export")

    def _browse(self) -> None:
        """The file dialog in our own colours: the system's may flash white in a dark house."""
        dialog = QFileDialog(self.window(), f"Export {self.extract.noun}", self.path.text())
        dialog.setOption(QFileDialog.Option.DontUseNativeDialog)
        dialog.setOption(QFileDialog.Option.DontConfirmOverwrite)
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setNameFilters(["CSV (*.csv)", "JSON (*.json)"])
        dialog.selectNameFilter("JSON (*.json)" if self.kind == "json" else "CSV (*.csv)")
        dialog.fileSelected.connect(self._on_file_selected)
        dialog.finished.connect(dialog.deleteLater)
        self._dialog = dialog
        dialog.open()

    def _on_file_selected(self, name: str) -> None:
        self.json.setChecked(name.endswith(".json"))
        self.csv.setChecked(not name.endswith(".json"))
        self.path.set_text(name if Path(name).suffix else f"{name}.{self.kind}")


def default_folder(settings: Settings) -> Path:
    """Where the last export went, else the documents, else the home folder."""
    folder = settings.get("export/folder")
    if not folder or not Path(folder).is_dir():
        place = QStandardPaths.StandardLocation.DocumentsLocation
        folder = QStandardPaths.writableLocation(place) or str(Path.home())
    return Path(folder) if Path(folder).is_dir() else Path.home()


def whole_path(text: str) -> Path:
    """A file's whole path in a folder that exists. Raises ``FieldError``."""
    if not text:
        raise FieldError("a file name is needed")
    path = Path(text).expanduser()
    if not path.is_absolute():
        raise FieldError("a whole path is needed, from the root on")
    if path.is_dir():
        raise FieldError("this is a folder; add a file name")
    if not path.parent.is_dir():
        raise FieldError(f"there is no folder {path.parent}")
    return path
