"""Acts on many: one line with progress, at the pace of the broker's limits, stopped by Esc, undone as one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtCore import QObject
from pytestqt.qtbot import QtBot

from app.client.api import ApiError
from app.client.pace import Pace, Progress
from app.ui.bulk import Bulk, run_bulk
from app.ui.hold_back import HoldBack
from app.ui.shot_fleet import desktop_id, fleet_rows
from app.ui.verb import Done, Pending
from tests.ui.stage import Key, Stage

IDS = [desktop_id(number) for number in (0, 1, 2, 3, 4)]


@pytest.fixture
def house(qtbot: QtBot, tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    made.open("Sessions", fleet=fleet_rows())
    yield made
    made.close()


class Slow(Pace):
    """A pace whose waiting takes no time and is written down."""

    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

        async def sleep(seconds: float) -> None:
            self.waits.append(seconds)
            self.now += seconds
            await asyncio.sleep(0)

        super().__init__(monotonic=lambda: self.now, now=lambda: self.now, sleep=sleep)


def test_the_line_says_how_far_and_what_it_waits_for(house: Stage) -> None:
    bulk = Bulk("Hibernate", 40, house.actions.changed.emit)
    house.actions.bulks.append(bulk)
    bulk.progress(Progress(12, 40, 12.0))
    (line,) = house.window.pending.bulk_lines
    assert line.label.text() == "Hibernate: 12 of 40, waiting 12 s"
    assert house.window.pending.isVisible()
    bulk.progress(Progress(13, 40, 0.0))
    assert line.label.text() == "Hibernate: 13 of 40"
    line.stop_button.click()
    assert bulk.stopped
    assert house.window.pending.bulk_lines == []
    house.actions.bulks.clear()


def test_the_limit_is_waited_for_and_told(house: Stage) -> None:
    pace = house.client.fleet.pace = Slow()
    pace.learn("general", {"x-ratelimit-limit": "100", "x-ratelimit-remaining": "12", "x-ratelimit-reset": "30"})
    told: list[str] = []
    house.actions.changed.connect(lambda: told.extend(bulk.text for bulk in house.actions.bulks))
    house.actions.press("hibernate", IDS)
    house.actions.send_now(next(iter(house.actions.pending.values())))
    assert len(house.client.fleet.named("set_state")) == 5
    assert "Hibernate: 2 of 5, waiting 30 s" in told
    assert sum(pace.waits) == pytest.approx(30)
    assert "Hibernate: 5 done" in house.said()
    assert house.actions.bulks == []


def test_a_refusal_by_the_limit_is_tried_again(house: Stage) -> None:
    house.client.fleet.pace = Slow()
    refused = [ApiError(429, "RATE_LIMIT_EXCEEDED", "Too many requests", retry_after=7.0)]
    kept = house.client.fleet.set_state

    async def set_state(session_id: str, state: str) -> object:
        if refused:
            raise refused.pop()
        return await kept(session_id, state)

    house.client.fleet.set_state = set_state  # type: ignore[assignment]
    house.actions.press("hibernate", IDS[:3])
    house.actions.send_now(next(iter(house.actions.pending.values())))
    assert len(house.client.fleet.named("set_state")) == 3
    assert "Hibernate: 3 done" in house.said()


def test_esc_stops_what_has_not_been_sent(house: Stage) -> None:
    kept = house.client.fleet.set_state

    async def set_state(session_id: str, state: str) -> object:
        house.window.escape()
        return await kept(session_id, state)

    house.client.fleet.set_state = set_state  # type: ignore[assignment]
    house.actions.press("hibernate", IDS)
    house.actions.send_now(next(iter(house.actions.pending.values())))
    done = len(house.client.fleet.named("set_state"))
    assert 0 < done < 5
    assert f"Hibernate: {done} done, {5 - done} not: stopped" in house.said()
    assert not house.actions.running


def test_an_undo_that_fails_in_part_is_told_and_can_be_tried_again(house: Stage) -> None:
    house.actions.press("hibernate", IDS[:2])
    house.actions.send_now(next(iter(house.actions.pending.values())))
    house.client.fleet.refuse[IDS[1]] = ApiError(0, "unreachable", "No broker answers")
    house.actions.undo()
    assert any("No broker answers" in text for text in house.said())
    house.client.fleet.calls.clear()
    house.client.fleet.refuse.clear()
    assert house.actions.undo_stack.next_undo is not None
    house.actions.undo()
    assert house.client.fleet.calls == [("set_state", IDS[1], "running")]


def test_esc_cancels_a_whole_press_in_one_sentence(house: Stage) -> None:
    house.actions.press("hibernate", IDS)
    assert len(house.window.pending.lines) == 1
    house.key(Key.Key_Escape)
    assert "Cancelled: hibernate 5" in house.said()
    assert len(house.client.named("record_audit")) == 5
    assert house.client.fleet.calls == []


def test_the_buttons_of_the_line_are_for_the_whole_press(house: Stage) -> None:
    house.settings.set("hold_back_seconds", 60.0)
    house.actions.press("hibernate", IDS[:2])
    house.actions.press("terminate", [IDS[3]])
    first = house.actions.pending[("hibernate", IDS[0])]
    house.actions.cancel(first)
    assert list(house.actions.pending) == [("terminate", IDS[3])]
    assert house.actions.undo() == "Terminate sam ← firefox-browser"
    assert not house.actions.pending


def test_a_press_that_loses_its_last_row_stops_its_timer(qtbot: QtBot, house: Stage) -> None:
    parent = QObject()
    hold = HoldBack(parent)
    heard: list[list[tuple[str, str]]] = []
    hold.due.connect(heard.append)
    verb = house.actions.verbs["terminate"]
    hold.begin([Pending(verb, "a", "a", 0.02), Pending(verb, "b", "b", 0.02)])
    hold.begin([Pending(verb, "c", "c", 0.02)])
    assert hold.take(("terminate", "c")) is not None
    assert hold.take(("terminate", "c")) is None
    qtbot.waitUntil(lambda: bool(heard))
    qtbot.wait(40)
    assert heard == [[("terminate", "a"), ("terminate", "b")]]


def test_what_is_not_counted_goes_one_after_the_other(house: Stage) -> None:
    order: list[str] = []

    def act(name: str) -> object:
        async def run() -> Done:
            order.append(f"{name} begins")
            await asyncio.sleep(0)
            order.append(f"{name} ends")
            return Done()

        return run

    bulk = Bulk("Kick", 2, lambda: None)
    acts = [act("one"), act("two")]
    results = asyncio.run(run_bulk(house.context, house.actions.verbs["kick"], acts, bulk))  # type: ignore[arg-type]
    assert order == ["one begins", "one ends", "two begins", "two ends"]
    assert bulk.done == len(results) == 2
