"""All settings as one file: what travels, what never does, what is refused, and the way back."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from pytestqt.qtbot import QtBot

from app.client.api import ApiError
from app.client.connect import OpenCommand
from app.contract import Gone, PresetRow, TypeRow
from app.errors import Invalid
from app.ui.open_with import commands_for, mark_seen, save_commands, was_seen
from app.ui.pages.settings import SettingsPage
from app.ui.pages.settings.one_file import OneFileSection
from app.ui.pages.settings.operator import OperatorSection
from app.ui.settings import KEYS
from app.ui.settings_file import MOST_BYTES, TRAVELS, read, write
from app.ui.shot_client import StillClient
from app.ui.shot_venue import NOW
from tests.ui.desk import Desk

PLAYER = OpenCommand("Player", "srt", ("player", "{url}"))


class Broker(StillClient):
    """Keeps presets and types as the real one does, and tells the board."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk.venue)
        self.made = 0
        self.refused: dict[str, ApiError] = {}
        """By the id of a preset."""

    def _check(self, preset_id: str = "") -> None:
        if self.refusal is not None:
            raise self.refusal
        if preset_id in self.refused:
            raise self.refused[preset_id]

    async def save_preset(self, row: PresetRow) -> PresetRow:
        self._check(row.id)
        self.made += 1
        saved = msgspec.structs.replace(row, id=row.id or f"made-{self.made}")
        for other in list(self.venue.store.presets.values()):
            if saved.default and other.default and other.id != saved.id:
                self.venue.event("preset.saved", other.id, msgspec.structs.replace(other, default=False))
        self.venue.event("preset.saved", saved.id, saved)
        return saved

    async def delete_preset(self, preset_id: str) -> None:
        self._check(preset_id)
        self.venue.event("preset.deleted", preset_id, Gone(reason="deleted"))

    async def create_type(self, body: Mapping[str, Any]) -> Any:
        self._check()
        row = TypeRow(id=f"type-{body['name']}", created_at=NOW, updated_at=NOW, **body)
        self.venue.event("type.created", row.id, row)


def a_desk(folder: Path) -> Desk:
    folder.mkdir(exist_ok=True)
    made = Desk(folder)
    made.context.client = Broker(made)  # type: ignore[assignment]
    made.context.settings.set("export/folder", str(folder))
    return made


@pytest.fixture
def desk(qtbot: QtBot, tmp_path: Path) -> Iterator[Desk]:
    made = a_desk(tmp_path)
    qtbot.addWidget(made)
    yield made
    made.context.panels.close()


def broker_of(desk: Desk) -> Broker:
    return cast(Broker, desk.context.client)


def section_of(desk: Desk) -> OneFileSection:
    page = SettingsPage(desk.context)
    desk.put(page)
    page.activate()
    section = page.open(OneFileSection)
    assert isinstance(section, OneFileSection)
    return section


def exported(desk: Desk) -> Path:
    """The file that this desk's settings make."""
    section = section_of(desk)
    section.export()
    path = Path(section.out.text())
    assert path.is_file(), section.out.error.text()
    return path


def brought(desk: Desk, path: Path) -> OneFileSection:
    """The section after it has read a file."""
    section = section_of(desk)
    section.source.set_text(str(path))
    section.import_()
    return section


def a_file(folder: Path, **contents: Any) -> Path:
    path = folder / "from-elsewhere.json"
    path.write_text(json.dumps({"callboard_settings": 1} | contents))
    return path


def test_everything_goes_to_another_machine_and_comes_back_with_undo(desk: Desk, qtbot: QtBot, tmp_path: Path) -> None:
    here = desk.context.settings
    here.set("theme", "contrast")
    here.set("hold_back_seconds", 5.0)
    here.set("brokers", [{"name": "House", "url": "http://house:8080"}])
    save_commands(here, "srt", [PLAYER])
    mark_seen(here, PLAYER)
    here.set("operator", "kim")
    here.set("window/geometry", "AAAA")
    sonar = TypeRow(id="t-1", name="sonar", display_name="Sonar", created_at=NOW, updated_at=NOW)
    desk.venue.event("type.created", sonar.id, sonar)
    path = exported(desk)

    other = a_desk(tmp_path / "other")
    qtbot.addWidget(other)
    there, store = other.context.settings, other.store
    before = list(store.presets.values())
    wall = next(row for row in before if row.default)
    changed = msgspec.structs.replace(wall, consumer_port=9, default=False)
    gone = before[-1]
    other.venue.event("preset.saved", wall.id, changed)
    other.venue.event("preset.deleted", gone.id, Gone(reason="deleted"))
    operator = other.context.operator
    brought(other, path)

    assert (there.get("theme"), there.get("hold_back_seconds")) == ("contrast", 5.0)
    assert other.switched == ["contrast"]
    assert there.get("brokers") == [{"name": "House", "url": "http://house:8080"}]
    assert commands_for(there, "srt") == [PLAYER]
    assert not was_seen(there, PLAYER), "it is shown here before it runs"
    assert (there.get("operator"), other.context.operator, there.get("window/geometry")) == ("", operator, "")
    assert store.presets[wall.id] == wall
    assert {row.name for row in store.presets.values()} == {row.name for row in before}
    assert "sonar" in {row.name for row in store.types.values()}
    assert other.words == ["Imported: 4 settings, 1 new preset, 1 changed preset, 1 new stream type"]

    other.context.actions.undo()
    assert (there.get("theme"), there.get("hold_back_seconds"), there.get("brokers")) == ("dark", 3.0, [])
    assert commands_for(there, "srt") != [PLAYER]
    assert store.presets[wall.id] == changed
    assert gone.name not in {row.name for row in store.presets.values()}


def test_what_is_here_already_is_left_alone(desk: Desk) -> None:
    path = exported(desk)
    brought(desk, path)
    assert broker_of(desk).made == 0
    assert desk.words[-1] == "Everything in this file is here already"


def test_the_default_preset_is_the_default_again_after_undo(desk: Desk, tmp_path: Path) -> None:
    wall = next(row for row in desk.store.presets.values() if row.default)
    preset = {"name": "Truck 9", "consumer_id": "t9", "consumer_address": "10.0.0.9", "default": True}
    brought(desk, a_file(tmp_path, presets=[preset]))
    assert [row.name for row in desk.store.presets.values() if row.default] == ["Truck 9"]
    desk.context.actions.undo()
    assert [row for row in desk.store.presets.values() if row.default] == [wall]


def test_an_existing_file_is_replaced_at_the_second_press(desk: Desk, tmp_path: Path) -> None:
    section = section_of(desk)
    path = Path(section.out.text())
    path.write_text("mine")
    section.export()
    assert path.read_text() == "mine"
    assert "Press again" in section.out.error.text()
    section.export()
    assert "callboard_settings" in path.read_text()


@pytest.mark.parametrize(
    "contents",
    [b"", b"{", b"[]", b"\xff\xfe", b'{"name": "x"}', b'{"callboard_settings": 2}', b" " * (MOST_BYTES + 1),
     b'{"callboard_settings": 1, "presets": [{"name": "x"}]}'],
)  # fmt: skip
def test_what_is_no_file_of_settings_changes_nothing(desk: Desk, tmp_path: Path, contents: bytes) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(contents)
    with pytest.raises(Invalid):
        read(path)
    section = brought(desk, path)
    assert section.source.error.text()
    assert desk.said == []


def test_a_file_that_is_not_there_is_said(desk: Desk, tmp_path: Path) -> None:
    assert "No such file" in brought(desk, tmp_path / "nothing.json").source.error.text()


def test_what_does_not_fit_is_named_and_left_out(desk: Desk, tmp_path: Path) -> None:
    """Nor can a file take a guard away, name an operator, or bring a page for the viewer."""
    wrong = {
        "theme": "pink", "hold_seconds": 0.0, "hold_back_seconds": "long", "operator": "ann", "viewer/novnc": "/x",
        "window/geometry": "AAAA", "open_with_seen/srt-x": "x", "nonsense": 1, "brokers": {},
    }  # fmt: skip
    before = desk.context.settings.stored()
    brought(desk, a_file(tmp_path, console=wrong | {"viewer/scale": False}))
    assert desk.context.settings.stored() == before | {"viewer/scale": False}
    assert desk.words == ["Imported: 1 setting", *(f"{key} does not fit and was left out" for key in wrong)]


def test_brokers_that_came_are_added_to_those_that_are_here(desk: Desk, tmp_path: Path) -> None:
    here = [{"name": "Mine", "url": "http://house:8080", "user": "kim"}, {"name": "Rack", "url": "https://rack"}]
    desk.context.settings.set("brokers", here)
    came = [{"name": "Theirs", "url": "http://house:8080/", "user": "ann"}, {"name": "Truck", "url": "truck:8080"}]
    path = a_file(tmp_path, console={"brokers": came})
    brought(desk, path)
    added = {"name": "Truck", "url": "http://truck:8080"}
    assert desk.context.settings.get("brokers") == [*here, added]
    assert desk.words[-1] == "Imported: 1 setting"
    brought(desk, path)
    assert desk.words[-1] == "Everything in this file is here already"
    desk.context.actions.undo()
    desk.context.actions.undo()
    assert desk.context.settings.get("brokers") == here


def test_an_address_that_could_not_be_typed_does_not_come_by_file(desk: Desk, tmp_path: Path) -> None:
    came = [{"url": "ftp://house"}, {"name": "no address"}, "house", {"url": "http://good:1"}]
    brought(desk, a_file(tmp_path, console={"brokers": came}))
    assert desk.context.settings.get("brokers") == [{"name": "", "url": "http://good:1"}]
    assert desk.words[:2] == [
        "Imported: 1 setting",
        "A broker was left out: 'ftp://house' is not a broker's address: it begins with http:// or https://",
    ]
    assert len(desk.words) == 4


def test_nobody_s_name_travels_nor_what_stands_in_an_address(desk: Desk) -> None:
    here = [{"name": "House", "url": "https://kim:hush@house", "user": "kim"}]
    desk.context.settings.set("brokers", here)
    desk.context.settings.set("operator", "kim")
    text = exported(desk).read_text()
    assert json.loads(text)["console"]["brokers"] == [{"name": "House", "url": "https://house"}]
    assert "kim" not in text
    assert "hush" not in text


def test_what_one_has_written_oneself_is_said_to_travel(desk: Desk) -> None:
    assert "What you have written into configurations" in OneFileSection.intro
    preset = next(iter(desk.store.presets.values()))
    written = msgspec.structs.replace(preset, config={"passphrase": "hush"})
    desk.venue.event("preset.saved", written.id, written)
    assert "hush" in exported(desk).read_text()


def test_undo_goes_on_after_what_cannot_be_taken_back(desk: Desk, tmp_path: Path) -> None:
    first, second = list(desk.store.presets.values())[:2]
    rows = [{**msgspec.to_builtins(one), "consumer_port": 9} for one in (first, second)]
    new = [{"name": f"Truck {number}", "consumer_id": "t", "consumer_address": "10.0.0.9"} for number in (7, 8, 9)]
    brought(desk, a_file(tmp_path, presets=[*new, *rows]))
    made = [row.id for row in desk.store.presets.values() if row.name.startswith("Truck")]
    busy = ApiError(503, "unavailable", "The disk is full")
    broker_of(desk).refused = {made[0]: busy, made[1]: ApiError(404, "not_found", "No such preset"), first.id: busy}
    desk.context.actions.undo()
    assert made[2] not in desk.store.presets
    assert desk.store.presets[second.id].consumer_port == second.consumer_port
    assert desk.words[-1].startswith(
        "Undo import settings: preset Truck 7 stays: The disk is full; "
        f"preset {first.name} is not as it was: The disk is full"
    )


def test_undo_can_be_tried_again_when_no_broker_answers(desk: Desk, tmp_path: Path) -> None:
    brought(desk, a_file(tmp_path, presets=[{"name": "Truck", "consumer_id": "t", "consumer_address": "10.0.0.9"}]))
    broker_of(desk).refusal = ApiError(0, "unreachable", "No broker answers")
    desk.context.actions.undo()
    assert desk.words[-1] == "Undo import settings: No broker answers"
    broker_of(desk).refusal = None
    desk.context.actions.undo()
    assert "Truck" not in {row.name for row in desk.store.presets.values()}


def test_a_file_of_somebody_else_beside_it_stays(tmp_path: Path) -> None:
    path, other = tmp_path / "settings.json", tmp_path / "settings.json.part"
    other.write_text("theirs")
    write(path, b"mine")
    assert (path.read_bytes(), other.read_text()) == (b"mine", "theirs")
    assert path.stat().st_mode & 0o777 == 0o600
    path.unlink()
    path.mkdir()
    with pytest.raises(OSError, match=r".+"):
        write(path, b"mine")
    assert sorted(tmp_path.iterdir()) == [path, other], "nothing is left of a try that failed"


def test_what_the_broker_refuses_is_told_and_the_rest_is_used(desk: Desk, tmp_path: Path) -> None:
    broker_of(desk).refusal = ApiError(503, "unavailable", "The disk is full")
    preset = {"name": "Truck 9", "consumer_id": "t9", "consumer_address": "10.0.0.9"}
    kind = {"name": "sonar", "display_name": "Sonar"}
    brought(desk, a_file(tmp_path, console={"viewer/scale": False}, presets=[preset], types=[kind]))
    assert desk.words == [
        "Imported: 1 setting",
        "Preset Truck 9: The disk is full",
        "Stream type sonar: The disk is full",
    ]


def test_a_board_that_is_not_live_takes_nothing(desk: Desk, tmp_path: Path) -> None:
    desk.context.actions.set_blocked("NOT LIVE")
    section = brought(desk, a_file(tmp_path, console={"viewer/scale": False}))
    assert section.source.error.text().endswith("NOT LIVE. Nothing was changed.")
    assert desk.context.settings.get("viewer/scale") is True


def test_guards_that_came_stand_in_their_boxes(desk: Desk, tmp_path: Path) -> None:
    page = SettingsPage(desk.context)
    desk.put(page)
    page.activate()
    guards = page.open(OperatorSection)
    assert isinstance(guards, OperatorSection)
    brought(desk, a_file(tmp_path, console={"hold_back_seconds": 6.0}))
    page.open(OneFileSection)
    page.open(OperatorSection)
    assert guards.guards["hold_back_seconds"].value() == 6.0


def test_every_key_that_travels_is_declared() -> None:
    assert set(TRAVELS) <= set(KEYS)
