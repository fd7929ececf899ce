"""What the strip says and how it looks when the board may not be believed."""

from __future__ import annotations

import re
import time

import pytest
from PySide6.QtGui import QColor, QImage
from pytestqt.qtbot import QtBot

from app.contract import HealthRow
from app.models.store import Store
from app.ui.shot_venue import Venue
from app.ui.strip import Strip, StripState
from app.ui.strip_words import Connected, strip_state
from app.ui.theme import THEMES, Theme


class Board:
    def __init__(self) -> None:
        self.clock = 100.0
        self.store = Store(monotonic=lambda: self.clock)
        self.venue = Venue(self.store)

    def state(self, connected: Connected | None = None) -> StripState:
        return strip_state(self.store, connected or Connected("this machine"), (), "kim")


class TestWords:
    def test_live_says_broker_and_age_and_blocks_nothing(self) -> None:
        board = Board()
        board.venue.open()
        board.clock += 1.4
        state = board.state()
        assert (state.broker, state.live, state.blocked) == ("Grand Theatre", True, "")
        assert round(state.age or 0.0, 1) == 1.4

    def test_the_clock_says_its_zone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        board = Board()
        board.venue.open()
        try:
            for name, zone in (("UTC0", "UTC"), ("CET-1", "UTC+1"), ("NST3:30", "UTC-3:30"), ("IST-5:30", "UTC+5:30")):
                monkeypatch.setenv("TZ", name)
                time.tzset()
                assert board.state().text.endswith(f"   {zone}")
        finally:
            monkeypatch.undo()
            time.tzset()

    def test_after_three_seconds_it_is_not_live_since(self) -> None:
        board = Board()
        board.venue.open()
        board.clock += 3.1
        state = board.state()
        assert not state.live
        assert re.fullmatch(r"NOT LIVE since \d\d:\d\d:\d\d", state.not_live)
        assert state.blocked == state.not_live

    def test_a_lost_link_says_why(self) -> None:
        board = Board()
        board.venue.open()
        board.store.set_link("down", 0.0, "No broker answers at http://127.0.0.1:8080: refused.")
        assert re.match(r"NOT LIVE since \d\d:\d\d:\d\d: No broker answers", board.state().not_live)

    def test_before_the_first_picture_it_says_what_goes_on(self) -> None:
        board = Board()
        state = board.state(Connected("this machine", "The broker is starting."))
        assert (state.broker, state.not_live) == ("this machine", "The broker is starting.")
        failed = board.state(Connected("this machine", "Port 8080 is taken (--port)."))
        assert failed.blocked == "Port 8080 is taken (--port)."

    def test_take_down_names_the_part(self) -> None:
        board = Board()
        board.venue.open()
        board.venue.break_part("nats", "NATS is away", take_down=True)
        (problem,) = board.state().problems
        assert re.fullmatch(r"TAKE DOWN since \d\d:\d\d:\d\d: NATS is away", problem)

    def test_another_broken_part_is_said_after_it(self) -> None:
        board = Board()
        board.venue.open()
        board.venue.break_part("disk", "1.2 GiB left")
        board.venue.break_part("nats", "NATS is away", take_down=True)
        first, second = board.state().problems
        assert first.startswith("TAKE DOWN")
        assert second.endswith("1.2 GiB left")

    def test_a_part_that_works_and_warns_is_a_note(self) -> None:
        board = Board()
        board.venue.open()
        row = HealthRow(id="clock", ok=True, since=0.0, text="The clock was stepped back by 30 min")
        board.venue.event("health.changed", "clock", row)
        state = board.state()
        assert (state.problems, state.notes) == ((), ("The clock was stepped back by 30 min",))
        assert state.blocked == ""

    def test_what_could_not_be_read_is_a_note(self) -> None:
        board = Board()
        board.venue.open()
        for _ in range(3):
            board.venue.event("fleet.vanished", "x", HealthRow(id="x", ok=True, since=0.0))
        state = board.state()
        assert state.notes == ("3 messages of the broker could not be read: the board may lack something",)
        assert state.blocked == ""

    def test_read_only_blocks_and_says_so(self) -> None:
        board = Board()
        board.venue.open()
        state = board.state(Connected("this machine", "", "The broker is version 2: read only"))
        assert state.blocked == "The broker is version 2: read only"
        assert state.blocked in state.notes


class TestPainting:
    def image(self, strip: Strip) -> QImage:
        return strip.grab().toImage()

    def test_the_stale_pattern_covers_the_strip(self, qtbot: QtBot) -> None:
        strip = Strip(Theme.named("dark"))
        qtbot.addWidget(strip)
        strip.resize(900, 24)
        ground = QColor(THEMES["dark"]["strip"]).rgb()
        strip.set_state(StripState("house", 0.3, True))
        calm = self.image(strip)
        strip.set_state(StripState("house", 9.0, False, "NOT LIVE since 20:14:07"))
        stale = self.image(strip)
        column = range(500, 700)
        assert all(calm.pixel(x, 12) == ground for x in column)
        hatched = sum(stale.pixel(x, 12) != ground for x in column)
        assert 40 < hatched < 160

    def test_every_theme_paints(self, qtbot: QtBot) -> None:
        for name in THEMES:
            strip = Strip(Theme.named(name))
            qtbot.addWidget(strip)
            strip.resize(400, 24)
            strip.set_state(
                StripState("house " * 30, 1.0, False, "NOT LIVE", ("TAKE DOWN " * 9,), ("note " * 20,), operator="kim")
            )
            assert not self.image(strip).isNull()

    def test_screen_readers_get_the_words(self, qtbot: QtBot) -> None:
        strip = Strip(Theme.named("dark"))
        qtbot.addWidget(strip)
        strip.set_state(StripState("house", 9.0, False, "NOT LIVE since 20:14:07", ("TAKE DOWN since 20:14:01",)))
        assert "NOT LIVE since 20:14:07" in strip.accessibleName()
        assert "TAKE DOWN since 20:14:01" in strip.accessibleName()
