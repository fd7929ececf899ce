"""Hostile names: rich text, formulas, option-like, path-like, control characters. Shown as they are, run by nobody.

Publishers and consumers of a real house carry them in every field that takes text; then every page is opened, every
label and tooltip of the window is read, what is shown is exported, and "open with" is pressed.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtGui import Qt as GuiQt
from PySide6.QtGui import QTextDocumentFragment
from PySide6.QtWidgets import QAbstractButton, QLabel, QListWidget, QMenu, QWidget

from app.models.tables.columns import TOOLTIP_ROLE
from app.models.wording import plain
from app.ui.dialogs.offer_panel import OfferView
from app.ui.export import ExportPanel
from app.ui.open_with import OpenCommand, save_commands
from app.ui.pages.streams import StreamsPage
from tests.e2e.house import House, a_house, in_a_house

RICH = '<b>Cam</b><img src="file:///etc/passwd"><a href="x">&amp;</a>'
HOSTILE = (
    RICH,
    "<table><tr><td>1",
    '=HYPERLINK("http://evil","x")',
    "+1+1",
    "-rf",
    "@SUM(A1)",
    "  =1+1",
    "\t=cmd|' /C calc'!A0",
    "--exec=rm -rf /",
    "../../etc/passwd",
    "/etc/passwd",
    "C:\\Windows\\win.ini",
    "file:///etc/passwd",
    "R&D",
    "Cam\u202egpj.exe",
    "two\nlines\r\nor three",
    "\x1b[31mred\x07",
    "x" * 255,
    "'; DROP TABLE live; --",
    "{name} {url} %s {0}",
    "maestra.> *",
)
FORMULA = re.compile(r"\s*[=+\-@\t\r]")


async def advertise_all(house: House) -> dict[str, str]:
    """A stream and a session for every hostile text; the text by the stream's id."""
    bus = await house.bus()
    names: dict[str, str] = {}
    for text in HOSTILE:
        everywhere = {"name": text, "publisher_id": text, "address": text}
        objects = {"config": {text: text, "codec": text, "tags": [text]}, "metadata": {"note": {text: [text]}}}
        camera = await house.publisher(
            {"accepted": True, "address": text, "transport_config": {text: text}}, bus=bus, **everywhere, **objects
        )
        answer = await camera.request(consumer_id=text, consumer_address=text, config={text: text})
        assert answer.status_code == 201, answer.text
        names[camera.id] = text
    store = house.console.store
    await house.until(lambda: len(store.sessions) == len(HOSTILE))
    assert {row.id: row.name for row in store.streams.values()} == names, "they are kept as they were sent"
    return names


def rendered(tooltip: str) -> str:
    """What Qt shows for a tooltip."""
    return QTextDocumentFragment.fromHtml(tooltip).toPlainText() if GuiQt.mightBeRichText(tooltip) else tooltip


def widgets(window: QWidget) -> Iterator[QWidget]:
    """The window and everything in it."""
    yield window
    yield from window.findChildren(QWidget)


def read_all(window: QWidget) -> None:
    """No label, button or tooltip of the window takes text for anything but text."""
    for widget in widgets(window):
        tooltip = widget.toolTip()
        assert "<img" not in tooltip, f"{widget} would show a tooltip as rich text: {tooltip}"
        assert "<b>" not in tooltip
        if isinstance(widget, QLabel) and not widget.pixmap():
            rich = widget.textFormat() != Qt.TextFormat.PlainText and GuiQt.mightBeRichText(widget.text())
            assert not rich, f"{widget} would show rich text: {widget.text()}"
            assert all(line.isprintable() for line in widget.text().splitlines()), repr(widget.text())
        if isinstance(widget, QAbstractButton):
            assert "R&D" not in widget.text(), "an ampersand would become a mnemonic"


@in_a_house(name="<b>house</b>")
async def test_hostile_names_are_shown_as_plain_text_everywhere(house: House) -> None:
    base = await house.calm()
    names = await advertise_all(house)
    await house.preset(name="R&D", consumer_id="R&D")
    house.console.settings.set("window/details_open", True)
    window, store = house.console.window, house.console.store
    assert house.strip.startswith("<b>house</b>")
    sessions = {row.stream_id: row.id for row in store.sessions.values()}
    for title, column, ids in (("Streams", "name", list(names)), ("Sessions", "who", list(sessions.values()))):
        texts = dict(zip(ids, names.values(), strict=True))
        for row_id in ids:
            await house.show(title, row_id)
            await house.row_says(row_id, **{column: plain(texts[row_id])})
            page = window.page
            page.refresh()
            read_all(window)
            view = page.table()
            assert view is not None
            row = view.table.row_of(row_id)
            for number, one in enumerate(view.table.columns):
                words = str(view.table.index(row, number).data(TOOLTIP_ROLE) or "")
                assert "<img" not in words
                if one.key == column and words:
                    assert rendered(words).split() == plain(texts[row_id]).split()
            menu = QMenu(window)
            page.fill_menu(menu, [row_id])  # type: ignore[attr-defined]
            assert all("R&D" not in action.text().replace("&&", "") for action in menu.actions())
            menu.deleteLater()
    window.show_page("History")
    past = window.page.table()
    assert past is not None
    await house.until(lambda: past.table.rowCount() == len(names))
    for row in range(past.table.rowCount()):
        past.setCurrentIndex(past.table.index(row, 0))
        window.page.refresh()
        read_all(window)
    window.show_page("Settings")
    await house.until(lambda: "R&D" in house.reads() or window.page.findChildren(QListWidget))
    read_all(window)
    await house.back_at(base)
    house.says_all_well()


@in_a_house()
async def test_hostile_names_are_plain_text_in_acts_toasts_and_panels(house: House) -> None:
    await house.preset(name=RICH)
    camera = await house.publisher({"accepted": False, "reason": RICH + "\x1b[31m\u202e"}, name=RICH)
    await house.show("Streams", camera.id)
    house.press(Qt.Key.Key_R)
    await house.until(lambda: house.toasts)
    assert house.toasts == [f"{RICH} was not given: {RICH}·[31m·."]
    page = house.console.window.page
    page.refresh()
    read_all(house.console.window)
    house.press(Qt.Key.Key_R, Qt.KeyboardModifier.ShiftModifier)
    sheet = house.console.window.sheet
    await house.until(lambda: sheet.current)
    read_all(house.console.window)
    house.press(Qt.Key.Key_Escape)
    await house.until(lambda: sheet.current is None)
    camera.replies = ({"accepted": True},)
    assert (await camera.request(consumer_id=RICH)).status_code == 201
    await house.until(lambda: house.console.store.sessions)
    await house.show("Streams", camera.id)
    house.press(Qt.Key.Key_Delete)
    panel = await house.until(lambda: sheet.current)
    assert RICH in house.reads(), "the panel names who loses what"
    read_all(house.console.window)
    panel.cancel()
    house.says_all_well()


@in_a_house()
async def test_hostile_names_are_quoted_in_csv_and_whole_in_json(house: House) -> None:
    names = await advertise_all(house)
    folder = house.process.data_dir.parent
    await house.show("Streams", next(iter(names)))
    view = house.console.window.page.table()
    assert view is not None
    await house.until(lambda: view.table.rowCount() == len(names))
    rows = await exported(house, folder / "streams.csv")
    with rows.open(newline="", encoding="utf-8-sig") as file:
        head, *lines = csv.reader(file)
    assert len(lines) == len(names)
    by_id = {line[head.index("Id")]: line for line in lines}
    for stream_id, text in names.items():
        for cell in by_id[stream_id]:
            number = re.fullmatch(r"-?\d+(\.\d+)?(e-?\d+)?", cell)
            assert number or not FORMULA.match(cell), f"a spreadsheet would run {cell!r}"
        shown = by_id[stream_id][head.index("Name")]
        assert shown in (plain(text), f"'{plain(text)}")
    document = await exported(house, folder / "streams.json")
    known = {row["id"]: row for row in json.loads(document.read_text("utf-8"))}
    assert {stream_id: known[stream_id]["name"] for stream_id in names} == {i: plain(t) for i, t in names.items()}


async def exported(house: House, path: Path) -> Path:
    """Ctrl+E, a file, Enter."""
    sheet = house.console.window.sheet
    house.press(Qt.Key.Key_E, Qt.KeyboardModifier.ControlModifier)
    panel = await house.until(lambda: sheet.current)
    assert isinstance(panel, ExportPanel)
    panel.csv.setChecked(path.suffix == ".csv")
    panel.json.setChecked(path.suffix == ".json")
    panel.path.set_text(str(path))
    panel.submit()
    await house.until(lambda: sheet.current is None)
    assert path.is_file()
    return path


@in_a_house()
async def test_hostile_names_are_refused_by_open_with(house: House) -> None:
    context = house.console.context
    await house.preset()
    bus = await house.bus()
    started = house.process.data_dir.parent / "started"
    command = OpenCommand("Tattletale", "srt", ("touch", str(started), "{name}", "{url}"))
    save_commands(context.settings, "srt", [command])
    refusals: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "which a program could take for an option": ({"name": "--help"}, {}),
        "which a program could take for a file": ({"name": "../../etc/passwd"}, {}),
        "has control characters": ({"name": "two\nlines"}, {}),
        "is not the name or number of a machine": ({"name": "Cam"}, {"address": "-oProxyCommand=x"}),
        "cannot be connected to": ({"name": "Cam"}, {"port": 0}),
    }
    for words, (advertised, answered) in refusals.items():
        camera = await house.publisher({"accepted": True, **answered}, bus=bus, **advertised)
        await house.take_by_key(camera.id)
        offer = await house.until(lambda stream_id=camera.id: offer_of(house, stream_id))
        (button,) = offer.buttons
        button.click()
        await house.until(lambda words=words: any(words in toast for toast in house.toasts))
        assert not offer._card.isVisible(), "a command that is refused is not offered to be started"
    assert not started.exists()
    house.says_all_well()


def offer_of(house: House, stream_id: str) -> OfferView | None:
    """What the card shows of the last take, once the feed tells that its negotiation has ended too."""
    page = house.console.window.page
    assert isinstance(page, StreamsPage)
    page.refresh()
    card = page.take_card
    return card.offer if card._shown is card.results[stream_id][0] else None


async def test_hostile_names_survive_the_journal_and_the_bus(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        names = await advertise_all(house)
        kind = {"name": "a.b.>*\n<b>", "display_name": RICH, "description": "=1+1"}
        assert (await house.http.post("/streams/types", json=kind)).status_code == 201
        odd = await house.advertise(stream_type="a.b.>*\n<b>")
        names[odd["id"]] = odd["name"]
        await house.kill_the_broker()
        await house.strip_is_quiet()
        store = house.console.store
        assert {row.id: row.name for row in store.streams.values()} == names
        assert {row.stream_name for row in store.sessions.values()} == set(HOSTILE)
