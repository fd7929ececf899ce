"""The wall: which tiles ask for pictures and when, what stands on those without, and that a click means its session."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from PIL import Image
from PySide6.QtCore import QEvent, QPointF, Qt
from PySide6.QtGui import QImage, QKeyEvent, QMouseEvent
from pytestqt.qtbot import QtBot

from app.client.api import ApiError
from app.contract import AgentRow, Gone
from app.ui import thumbnails
from app.ui.pages.wall import WallPage
from app.ui.thumbnails import KEPT, KEPT_BYTES, LARGE, SMALL, Thumbnails
from app.ui.verb import Done, Verb
from tests.ui.viewer_seat import Seat
from tests.ui.vnc_house import change, desktop_row, show_rows, until

AGENT = AgentRow(id="rack-1", uuid="u", platform="local", status="online", max_sessions=99, created_at=1, updated_at=1)


def picture(colour: str = "red") -> bytes:
    """A small JPEG."""
    file = io.BytesIO()
    Image.new("RGB", (320, 180), colour).save(file, "JPEG")
    return file.getvalue()


class Camera:
    """Gives pictures, one at a time, and writes down who asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.now = 0
        self.most = 0
        self.broken: dict[str, ApiError | bytes] = {}

    @property
    def fleet(self) -> Camera:
        return self

    async def thumbnail(self, session_id: str, width: int) -> bytes:
        self.asked.append((session_id, width))
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1
        answer = self.broken.get(session_id, picture())
        if isinstance(answer, ApiError):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each tile gets its picture; the next would come long after the test."""
    assert 1.0 <= thumbnails.EVERY <= 10.0, "a picture that is neither a burden nor old"
    monkeypatch.setattr(thumbnails, "EVERY", 3600.0)


@pytest.fixture
def acts() -> list[tuple[str, str]]:
    return []


@asynccontextmanager
async def wall(folder: Path, camera: Camera, acts: list[tuple[str, str]], count: int = 4) -> AsyncIterator[WallPage]:
    """The page in front, with so many running desktops, on a board whose clock stands: it is live as long as it takes."""
    seat = Seat(folder, camera, lambda: 1000.0)
    rows = [desktop_row(f"s-{number}", f"ann-xterm-{number:03}") for number in range(count)]
    show_rows(seat.store, desktop=rows, agent=[AGENT])
    for name, key in (("view", "V"), ("control", "Shift+V")):

        async def run(_: object, session_id: str, name: str = name) -> Done:
            acts.append((name, session_id))
            return Done()

        seat.context.actions.add_verb(
            Verb(name=name, label=name, kind="desktop", key=key, run=run, applies=lambda *_: "", object=lambda _, i: i)
        )
    seat.context.actions.set_blocked("")
    seat.settings.set("bounce_milliseconds", 0)
    page = WallPage(seat.context)
    page.resize(900, 520)
    page.show()
    page.activate()
    try:
        yield page
    finally:
        page.deactivate()
        page.close()
        await seat.close()


async def test_each_tile_that_is_seen_gets_its_picture_one_at_a_time(
    tmp_path: Path, acts: list[tuple[str, str]]
) -> None:
    camera = Camera()
    async with wall(tmp_path, camera, acts, 40) as page:
        seen = page.grid.seen()
        assert 0 < len(seen) < 40
        await until(lambda: len(camera.asked) >= len(seen), "every tile that is seen")
        assert {one for one, _ in camera.asked} == set(seen)
        assert camera.most == 1
        await asyncio.sleep(0.05)
        assert len(camera.asked) == len(seen), "the next picture is due later"
        page.grid.verticalScrollBar().setValue(page.grid.verticalScrollBar().maximum())
        later = set(page.grid.seen()) - set(seen)
        await until(lambda: later <= {one for one, _ in camera.asked}, "tiles that came into sight")
        assert page.status_text() == "40 desktops"


async def test_a_tile_that_is_seen_gets_its_next_picture(
    tmp_path: Path, acts: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thumbnails, "EVERY", 0.05)
    camera = Camera()
    async with wall(tmp_path, camera, acts) as page:

        def colour() -> str:
            shot = page.thumbnails.of("s-0")
            if shot is None or shot.image.isNull():
                return ""
            seen = shot.image.pixelColor(5, 5)
            return "blue" if seen.blue() > seen.red() else "red"

        await until(lambda: colour() == "red", "the first picture")
        camera.broken["s-0"] = picture("blue")
        await until(lambda: colour() == "blue", "the next picture")


async def test_nobody_looks_nobody_asks(tmp_path: Path, acts: list[tuple[str, str]]) -> None:
    camera = Camera()
    async with wall(tmp_path, camera, acts) as page:
        await until(lambda: len(camera.asked) == 4, "all four")
        page.deactivate()
        change(page.context.store, 2, "desktop.changed", "s-9", desktop_row("s-9", "new"))
        await asyncio.sleep(0.05)
        assert len(camera.asked) == 4
        page.activate()
        await until(lambda: ("s-9", 320) in camera.asked, "the new one, when somebody looks")


async def test_few_desktops_get_large_tiles_and_pictures_to_fill_them(
    tmp_path: Path, acts: list[tuple[str, str]]
) -> None:
    camera = Camera()
    async with wall(tmp_path, camera, acts, 2) as page:
        grid = page.grid
        assert grid.verticalScrollBar().maximum() == 0
        assert grid._rect(0).width() > 400
        await until(lambda: ("s-0", 640) in camera.asked, "a picture for a large tile")
        rows = [desktop_row(f"m-{number}", f"more-{number:03}") for number in range(60)]
        for number, row in enumerate(rows):
            change(page.context.store, 2 + number, "desktop.changed", row.id, row)
        assert grid._rect(0).width() < 330
        assert grid.verticalScrollBar().maximum() > 0
        assert all(
            left.right() < right.left() or left.bottom() < right.top()
            for left, right in zip(map(grid._rect, range(61)), map(grid._rect, range(1, 62)), strict=True)
        )


async def test_what_has_no_picture_says_why(tmp_path: Path, acts: list[tuple[str, str]]) -> None:
    camera = Camera()
    camera.broken = {"s-1": ApiError(503, "AGENT_OFFLINE", "Agent rack-1 is offline"), "s-2": b"no picture"}
    async with wall(tmp_path, camera, acts) as page:
        await until(lambda: len(camera.asked) == 4, "all four")
        await until(lambda: page.thumbnails.of("s-3") is not None, "the last has come")
        change(page.context.store, 2, "desktop.changed", "s-3", desktop_row("s-3", "ann", state="hibernated"))

        def note(session_id: str) -> tuple[str, bool]:
            tile = page._tile(session_id)
            assert tile is not None
            return tile.note, tile.faded

        assert note("s-0") == ("", False)
        assert note("s-1") == ("Agent rack-1 is offline", True)
        assert note("s-2") == ("the picture could not be read", True)
        assert note("s-3") == ("HELD hibernated", True)
        assert "s-3" not in page._wanted(), "a frozen desktop cannot be asked"
        assert not page.grid.grab().isNull()
        change(page.context.store, 3, "desktop.removed", "s-0", Gone(reason="terminated"))
        assert "s-0" not in page.grid.ids


async def test_a_click_and_enter_look_and_shift_v_takes_part(tmp_path: Path, acts: list[tuple[str, str]]) -> None:
    async with wall(tmp_path, Camera(), acts) as page:
        grid = page.grid
        first, second = grid._rect(0).center(), grid._rect(1).center()
        press(grid, first, first)
        press(grid, first, second)
        key(grid, Qt.Key.Key_Right)
        key(grid, Qt.Key.Key_Return)
        key(grid, Qt.Key.Key_V, Qt.KeyboardModifier.ShiftModifier)
        await until(lambda: len(acts) == 3, "three acts")
        assert acts == [("view", "s-0"), ("view", "s-1"), ("control", "s-1")]
        change(page.context.store, 2, "desktop.removed", "s-1", Gone(reason="terminated"))
        assert grid.current_id == "s-2"


async def test_the_filter_is_the_one_of_all_tables(tmp_path: Path, acts: list[tuple[str, str]]) -> None:
    async with wall(tmp_path, Camera(), acts) as page:
        page.filter.set_text("agent:rack-1 003")
        assert page.grid.ids == ["s-3"]
        assert page.status_text() == "1 of 4 desktops"
        page.filter.set_text("nonsense:x")
        assert page.filter.is_invalid
        assert page.grid.ids == ["s-3"]
        page.filter.set_text("user:nobody")
        assert page.empty.text() == "No desktop passes the filter"


def press(grid: object, down: object, up: object) -> None:
    """Left button down here and up there."""
    for kind, at in ((QEvent.Type.MouseButtonPress, down), (QEvent.Type.MouseButtonRelease, up)):
        left, no = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        event = QMouseEvent(kind, QPointF(at), QPointF(at), left, left, no)  # type: ignore[call-overload]
        (grid.mousePressEvent if kind == QEvent.Type.MouseButtonPress else grid.mouseReleaseEvent)(event)  # type: ignore[attr-defined]


def key(grid: object, which: Qt.Key, modifier: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
    grid.keyPressEvent(QKeyEvent(QEvent.Type.KeyPress, which, modifier))  # type: ignore[attr-defined]


def test_pictures_are_kept_for_a_bounded_number(tmp_path: Path, qtbot: QtBot) -> None:
    kept = Thumbnails(None, list, lambda _: None)  # type: ignore[arg-type]
    for number in range(KEPT + 5):
        kept.keep(str(number), QImage())
    assert kept.of("4") is None
    assert kept.of("5") is not None


def test_pictures_take_no_more_than_they_may(tmp_path: Path, qtbot: QtBot) -> None:
    kept = Thumbnails(None, list, lambda _: None)  # type: ignore[arg-type]
    picture = QImage(640, 360, QImage.Format.Format_RGB32)
    fitting = KEPT_BYTES // picture.sizeInBytes()
    for number in range(fitting + 3):
        kept.keep(str(number), picture)
        kept.keep(str(number), picture)
    assert kept.of("2") is None
    assert kept.of("3") is not None


class Desktops:
    """Pictures of desktops of that shape, in the width that is asked for; ``wanted`` are seen, in tiles that are large."""

    def __init__(self, count: int, height: float) -> None:
        self.wanted = [f"s-{number:03}" for number in range(count)]
        self.height = height
        self.asked: list[tuple[str, int]] = []
        self.shown: list[str] = []
        self.thumbnails = Thumbnails(
            cast(Any, SimpleNamespace(client=SimpleNamespace(fleet=self))),
            lambda: self.wanted,
            self.shown.append,
            lambda: LARGE,
        )

    async def thumbnail(self, session_id: str, width: int) -> bytes:
        self.asked.append((session_id, width))
        await asyncio.sleep(0)
        file = io.BytesIO()
        Image.new("RGB", (width, round(width * self.height))).save(file, "JPEG")
        return file.getvalue()

    async def look(self) -> None:
        """Until each has been served, and for as long as it takes to see what is asked for after that."""
        running = asyncio.create_task(self.thumbnails.run())
        try:
            await until(lambda: set(self.shown) == set(self.wanted), "a picture of each")
            for _ in range(50):
                await asyncio.sleep(0)
        finally:
            running.cancel()


@pytest.mark.parametrize("width", [SMALL, LARGE])
async def test_large_pictures_are_asked_for_where_all_that_is_seen_fits(width: int) -> None:
    fitting = KEPT_BYTES // (LARGE * LARGE * 9 // 16 * 4)
    desktops = Desktops(fitting if width == LARGE else fitting + 1, 9 / 16)
    await desktops.look()
    assert desktops.asked == [(one, width) for one in desktops.wanted], "each once, the next is due later"
    assert all(desktops.thumbnails.of(one) is not None for one in desktops.wanted)


async def test_a_picture_that_had_to_go_is_not_asked_for_at_once() -> None:
    """Nobody knows that they are as high as wide before they come."""
    desktops = Desktops(50, 1.0)
    await desktops.look()
    assert [one for one, _ in desktops.asked] == desktops.wanted
    assert [width for _, width in desktops.asked].count(SMALL) > 0, "it is known by then"
    many = Desktops(KEPT + 20, 9 / 16)
    await many.look()
    assert [one for one, _ in many.asked] == many.wanted
    assert many.thumbnails.of(many.wanted[0]) is None
