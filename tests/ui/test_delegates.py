"""Cells as pixels: colours of states only where a state is, text never markup, and what a repaint costs."""

from __future__ import annotations

import time
from statistics import median

from PySide6.QtGui import QColor, QImage, QPainter
from pytestqt.qtbot import QtBot

from app.contract import Gone
from app.models.states import WORDS
from app.ui.delegates import CellDelegate
from app.ui.shapes import draw_shape
from app.ui.shot_venue import many_streams
from app.ui.theme import THEMES
from tests.ui.stage import Stage


def colors_in(image: QImage, left: int, top: int, width: int, height: int) -> set[str]:
    return {QColor(image.pixel(x, y)).name() for x in range(left, left + width) for y in range(top, top + height)}


def cell(stage: Stage, row_id: str, key: str) -> set[str]:
    view = stage.streams.view
    rect = view.visualRect(stage.streams.model.index_of(row_id, stage.streams.model.column_number(key)))
    image = view.viewport().grab().toImage()
    rect = rect.intersected(image.rect())
    assert not rect.isEmpty()
    return colors_in(image, rect.x(), rect.y(), rect.width(), rect.height())


class TestStates:
    def test_each_state_has_its_colour(self, stage: Stage) -> None:
        colors = THEMES["dark"]
        assert colors["live"].lower() in cell(stage, stage.stream("Conductor"), "state")
        assert colors["stale"].lower() in cell(stage, stage.stream("Cam 3 fly tower"), "state")
        stage.venue.negotiate(3, "wall-main")
        stage.settle()
        assert colors["changing"].lower() in cell(stage, stage.stream("Conductor"), "state")

    def test_other_cells_of_a_calm_row_have_none(self, stage: Stage) -> None:
        states = {THEMES["dark"][key].lower() for key in WORDS}
        for key in ("name", "from", "address", "ttl"):
            assert not cell(stage, stage.stream("Surtitles"), key) & states

    def test_a_waiting_act_shrinks_its_bar_in_the_row(self, stage: Stage) -> None:
        stage.settings.set("hold_back_seconds", 60.0)
        row_id = stage.stream("Show control")
        stage.go_to(row_id)
        stage.actions.press("withdraw", [row_id])
        assert THEMES["dark"]["accent"].lower() in cell(stage, row_id, "state")

    def test_every_shape_is_drawn(self, qtbot: QtBot) -> None:
        drawn = []
        for word in WORDS.values():
            image = QImage(24, 24, QImage.Format.Format_ARGB32)
            image.fill(QColor("#000000"))
            painter = QPainter(image)
            draw_shape(painter, word.shape, QColor("#ffffff"), 24.0)
            painter.end()
            drawn.append(bytes(image.constBits()))
        assert len(set(drawn)) == len(WORDS)


class TestGhosts:
    def test_are_struck_through_and_dim(self, stage: Stage) -> None:
        row_id = stage.stream("Show control")
        stage.venue.event("stream.expired", row_id, Gone(reason="expired"))
        stage.settle()
        found = cell(stage, row_id, "name")
        assert THEMES["dark"]["text"].lower() not in found
        assert THEMES["dark"]["text3"].lower() in found


class TestChips:
    def words(self, stage: Stage, width: int, names: str) -> list[str]:
        """What stands in the chips of a cell of that width."""
        said: list[str] = []

        class Pen(QPainter):
            def drawText(self, *arguments: object) -> None:
                said.append(str(arguments[-1]))

        image = QImage(width, 22, QImage.Format.Format_ARGB32)
        painter = Pen(image)
        delegate = stage.streams.view.itemDelegate()
        delegate._chips(painter, image.rect(), names, stage.streams.model.order_items[0])
        painter.end()
        return said

    def test_what_fits_is_whole_and_a_letter_with_dots_is_none(self, stage: Stage) -> None:
        assert self.words(stage, 110, "show, act 2") == ["show", "act 2"]
        assert self.words(stage, 110, "Main wall, Recorder A") == ["Main wall", "+1"]
        assert self.words(stage, 300, "Main wall, Recorder A") == ["Main wall", "Recorder A"]


class TestCost:
    def test_a_full_repaint_of_a_long_table_is_short(self, stage: Stage) -> None:
        stage.venue.open(many_streams(2000))
        stage.settle()
        stage.window.resize(1600, 1000)
        view = stage.streams.view
        view.viewport().grab()
        took = []
        for _ in range(7):
            began = time.process_time()
            view.viewport().grab()
            took.append(time.process_time() - began)
        assert median(took) < 0.05

    def test_widths_are_not_kept_for_ever(self, stage: Stage) -> None:
        delegate = stage.streams.view.itemDelegate()
        assert isinstance(delegate, CellDelegate)
        for number in range(25_000):
            delegate._width(str(number), delegate._metrics, False)
        assert len(delegate._widths) <= 20_001
