"""History: both lists by page, one filter, spans of time, what changed between two rows, and taking again from there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QAbstractItemModelTester
from PySide6.QtWidgets import QApplication, QMenu
from pytestqt.qtbot import QtBot

from app.client.api import ApiError
from app.client.shapes import Offer, Page
from app.contract import AuditRow, Gone, HistoryRow
from app.ui import verbs
from app.ui.export import ExportPanel
from app.ui.pages.history import HistoryPage
from app.ui.pages.history_fetch import FRESH, PAGE
from app.ui.pages.history_text import between_acts, change_text, kept_session, object_text, result_text, session_of
from app.ui.pages.time_range import BETWEEN
from app.ui.shot_client import StillClient, audit_rows, history_rows
from app.ui.shot_venue import NOW, session_id, session_row, stream_id
from tests.ui.desk import Desk


class Broker(StillClient):
    """The stand-in of the pictures that counts what it was asked."""

    def __init__(self, desk: Desk) -> None:
        super().__init__(desk.venue)
        self.pages: list[tuple[str, Page]] = []
        self.requests: list[dict[str, Any]] = []
        self.more_history: list[HistoryRow] = []
        self.away: ApiError | None = None

    async def history(self, *, page: Page | None = None, **_named: Any) -> list[HistoryRow]:
        page = page or Page()
        self.pages.append(("history", page))
        if self.away is not None:
            raise self.away
        late = self.more_history if page.before is None else []
        known = {row.id for row in late}
        return [*late, *(row for row in await super().history(page=page) if row.id not in known)][: page.limit]

    async def audit(self, *, page: Page | None = None, **_named: Any) -> list[AuditRow]:
        self.pages.append(("audit", page or Page()))
        return await super().audit(page=page)

    async def request(self, stream_id: str, **asked: Any) -> Offer:
        self.requests.append({"stream_id": stream_id, **asked})
        return await super().request(stream_id, **asked)


@pytest.fixture
def desk(qtbot: QtBot, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    made.context.client = Broker(made)  # type: ignore[assignment]
    verbs.declare(made.context.actions)
    qtbot.addWidget(made)
    with qtbot.waitExposed(made):
        made.show()
    yield made
    made.context.panels.close()


@pytest.fixture
def page(desk: Desk) -> Iterator[HistoryPage]:
    made = HistoryPage(desk.context)
    desk.put(made)
    made.activate()
    settle()
    yield made
    made.deactivate()


def settle() -> None:
    for _ in range(4):
        QApplication.processEvents()


def broker_of(desk: Desk) -> Broker:
    client: Any = desk.context.client
    assert isinstance(client, Broker)
    return client


def texts(page: HistoryPage, key: str) -> list[str]:
    table = page.tab.table
    return [table.cell(item, table.column(key)) for item in table.order_items]


class TestPages:
    def test_the_newest_page_comes_first_and_nothing_more_is_asked(self, page: HistoryPage, desk: Desk) -> None:
        assert page.tab.table.total == PAGE
        asked = broker_of(desk).pages
        assert [name for name, _ in asked] == ["history"]
        assert asked[0][1].limit == PAGE
        assert asked[0][1].since == pytest.approx(NOW - 90 * 86400)
        assert "Older rows come as you scroll" in page.foot.text()

    def test_scrolling_down_asks_for_the_older_ones(self, page: HistoryPage, desk: Desk) -> None:
        bar = page.tab.view.verticalScrollBar()
        bar.setValue(bar.maximum())
        settle()
        first = history_rows()[PAGE - 1]
        assert broker_of(desk).pages[1][1].before == (first.time, first.id)
        assert page.tab.table.total == len({row.id for row in history_rows() if row.time >= NOW - 90 * 86400})
        assert "Everything of the last 90 days is here" in page.foot.text()
        bar.setValue(bar.maximum())
        settle()
        assert len(broker_of(desk).pages) == 2

    def test_a_filter_that_leaves_little_fetches_on(self, page: HistoryPage, desk: Desk) -> None:
        page.filter.set_text("led-side")
        settle()
        assert len(broker_of(desk).pages) == 2
        assert set(texts(page, "who")) == {"led-side"}

    def test_the_audit_is_asked_when_it_is_shown(self, page: HistoryPage, desk: Desk) -> None:
        page.show_tab(1)
        settle()
        assert [name for name, _ in broker_of(desk).pages] == ["history", "audit"]
        assert texts(page, "verb")[0] == "take"
        assert texts(page, "object")[0] == "wall-main ← Cam 1 stage left"

    def test_one_filter_for_both(self, page: HistoryPage) -> None:
        page.filter.set_text("truck")
        page.show_tab(1)
        settle()
        assert page.tab.table.rowCount()
        assert all("truck-1" in text for text in texts(page, "object"))

    def test_a_bad_filter_keeps_the_rows(self, page: HistoryPage) -> None:
        page.filter.set_text("nosuch:1")
        assert page.tab.table.rowCount() == PAGE
        assert "nosuch" in page.filter.note.text()

    def test_a_refusal_is_said_and_not_asked_again_and_again(self, page: HistoryPage, desk: Desk) -> None:
        broker_of(desk).away = ApiError(503, "unavailable", "History is away")
        page.restart()
        settle()
        page._near_end()
        settle()
        assert page.foot.text() == "▲ History is away"
        assert len(broker_of(desk).pages) == 2
        broker_of(desk).away = None
        page.restart()
        assert page.tab.table.total == PAGE

    def test_without_a_broker_says_so(self, page: HistoryPage, desk: Desk) -> None:
        desk.context.client = None
        page.restart()
        assert page.foot.text() == "▲ No broker is connected."

    def test_a_late_answer_of_an_old_query_is_thrown_away(self, page: HistoryPage, desk: Desk) -> None:
        fetcher = page.tab.fetcher
        old = fetcher._older(broker_of(desk), Page(limit=PAGE), fetcher._query)  # type: ignore[arg-type]
        page.range.recent.click()
        assert page.tab.table.total == 1
        desk.spawn(old, "late")
        assert page.tab.table.total == 1

    def test_both_tables_obey_the_rules_of_models(self, page: HistoryPage) -> None:
        fatal = QAbstractItemModelTester.FailureReportingMode.Fatal
        testers = [QAbstractItemModelTester(tab.table, fatal) for tab in page.tabs]
        page.filter.set_text("cam")
        page.show_tab(1)
        page.filter.set_text("")
        page.tab.table.sort_by("object")
        page.restart()
        settle()
        assert len(testers) == 2


class TestTime:
    def test_last_five_minutes_in_one_press_and_back(self, page: HistoryPage) -> None:
        page.range.recent.click()
        assert page.tab.table.total == 1
        assert "the last 5 minutes" in page.foot.text()
        page.range.recent.click()
        assert page.tab.table.total == PAGE

    def test_from_to(self, page: HistoryPage, desk: Desk) -> None:
        page.range.choice.setCurrentIndex(BETWEEN)
        asked = broker_of(desk).pages[-1][1]
        assert asked.since == pytest.approx(NOW - 3600, abs=1)
        assert asked.until == pytest.approx(NOW, abs=1.1)
        assert not page.range.since.isHidden()

    def test_what_happens_now_does_not_enter_a_closed_span(self, page: HistoryPage, desk: Desk) -> None:
        page.show_tab(1)
        page.range.choice.setCurrentIndex(BETWEEN)
        before = page.tab.table.total
        desk.venue.event("audit.added", "new", audit_rows()[0])
        assert page.tab.table.total == before


class TestNow:
    def test_an_act_appears_at_once(self, page: HistoryPage, desk: Desk) -> None:
        page.show_tab(1)
        row = msgspec.structs.replace(audit_rows()[0], id="new", at=NOW, verb="kick")
        desk.venue.event("audit.added", row.id, row)
        assert page.tab.table.order[0] == "new"

    def test_a_session_that_ended_is_asked_for(self, page: HistoryPage, desk: Desk, qtbot: QtBot) -> None:
        row = msgspec.structs.replace(history_rows()[0], status="stopped", ended_at=NOW, duration_seconds=9.0)
        broker_of(desk).more_history = [row]
        desk.venue.event("session.stopped", session_id(0), Gone(reason="stopped"))
        qtbot.waitUntil(lambda: len(broker_of(desk).pages) == 2, timeout=5000)
        assert broker_of(desk).pages[1][1].limit == FRESH
        assert texts(page, "status")[0] == "stopped"
        assert page.tab.table.total == PAGE

    def test_more_news_than_a_page_begins_anew(self, page: HistoryPage, desk: Desk) -> None:
        fresh = [msgspec.structs.replace(history_rows()[0], id=f"n{n}", time=NOW - n) for n in range(FRESH)]
        broker_of(desk).more_history = fresh
        page.tab.fetcher.newest()
        settle()
        assert page.tab.table.order[:2] == ["n0", "n1"]
        assert len(page.tab.table.order) == len(set(page.tab.table.order))
        assert len(broker_of(desk).pages) == 3

    def test_a_page_in_the_back_asks_for_nothing(self, page: HistoryPage, desk: Desk) -> None:
        page.deactivate()
        desk.venue.event("session.stopped", session_id(0), Gone(reason="stopped"))
        assert not page._fresh.isActive()
        assert len(broker_of(desk).pages) == 1


class TestDetails:
    def test_enter_shows_everything_of_a_row(self, page: HistoryPage, qtbot: QtBot) -> None:
        page.tab.view.select_id(session_id(5007))
        qtbot.keyClick(page.tab.view, Qt.Key.Key_Return)
        text = page.details.as_text()
        assert "mon-conductor ← Keys MIDI" in text
        assert "Ended by: its TTL ran out" in text
        assert "Lives: yes" in text

    def test_two_marked_acts_show_what_changed_between(self, page: HistoryPage, qtbot: QtBot) -> None:
        page.show_tab(1)
        page.toggle_details()
        for number in (9, 2):
            page.tab.view.select_id(f"audit-{number}")
            qtbot.keyClick(page.tab.view, Qt.Key.Key_Space)
        text = page.details.as_text()
        assert "What changed between" in text
        assert "8, of which 2 had no effect" in text
        assert "mode add → replace" in text

    def test_two_marked_sessions_show_who_came_and_went(self, page: HistoryPage) -> None:
        page.toggle_details()
        for number in (5000, 5006):
            page.tab.table.toggle_mark(session_id(number))
        text = page.details.as_text()
        assert "Began: 7" in text
        assert "wall-main ← Cam 1 stage left" in text

    def test_a_take_and_a_kick_of_one_session_are_one_story(self, desk: Desk) -> None:
        row = msgspec.to_builtins(session_row(1, desk.venue.streams[0], "a", "10.0.0.1", NOW))
        take = AuditRow(
            id="1", at=NOW, operator="kim", verb="take", object="stream", object_id=stream_id(0), result="ok", after=row
        )
        kick = AuditRow(
            id="2",
            at=NOW + 5,
            operator="alex",
            verb="kick",
            object="session",
            object_id=row["id"],
            result="ok",
            before=row,
        )
        sections = between_acts([kick, take], desk.store)
        assert len(sections) == 2
        assert sections[1].lines[-1].value == "as before"


class TestWords:
    def test_objects_by_name(self, desk: Desk) -> None:
        row = AuditRow(
            id="1", at=NOW, operator="kim", verb="take", object="stream", object_id=stream_id(2), result="no_answer"
        )
        assert object_text(row, desk.store) == "Cam 3 fly tower"
        row.object_id = "0123456789"
        assert object_text(row, desk.store) == "stream 01234567"
        row.object = "wall ← <b>Cam</b>"
        assert object_text(row, desk.store) == "wall ← <b>Cam</b>"

    def test_only_what_differs(self) -> None:
        row = AuditRow(
            id="1", at=NOW, operator="kim", verb="change", object="preset", result="ok",
            before={"id": "p", "mode": "add", "config": {}}, after={"id": "p", "mode": "replace", "config": {}},
        )  # fmt: skip
        assert change_text(row) == "mode add → replace"
        row.before = row.after = None
        assert change_text(row) == ""

    def test_a_cancelled_act_says_so_once(self) -> None:
        row = AuditRow(
            id="1", at=NOW, operator="kim", verb="kick", object="s", result="cancelled", detail="cancelled: Esc"
        )
        assert result_text(row) == "cancelled: Esc"
        row.result, row.detail = "no_answer", "Publisher did not respond within 5 seconds"
        assert result_text(row) == "no answer: Publisher did not respond within 5 seconds"
        row.detail = ""
        assert result_text(row) == "no answer"
        assert session_of(row) == ""

    def test_rubbish_in_a_kept_row_is_no_session(self) -> None:
        row = AuditRow(id="1", at=NOW, operator="kim", verb="kick", object="s", result="ok", before={"consumer_id": 3})
        assert kept_session(row) is None


class TestAgain:
    def test_r_takes_a_kicked_session_again_as_it_was(self, page: HistoryPage, desk: Desk, qtbot: QtBot) -> None:
        page.show_tab(1)
        page.tab.view.select_id("audit-10")
        assert page.again_button.isEnabled()
        qtbot.keyClick(page.tab.view, Qt.Key.Key_R)
        asked = broker_of(desk).requests
        assert [(one["stream_id"], one["consumer_id"]) for one in asked] == [(stream_id(3), "mon-conductor")]
        assert desk.store.holds["hold-900"].preset_id == "preset-2"
        assert desk.words[-1] == "Taken again: mon-conductor ← Conductor"

    def test_a_history_row_goes_by_its_preset(self, page: HistoryPage, desk: Desk) -> None:
        page.tab.view.select_id(session_id(5005))
        page.take_again()
        asked = broker_of(desk).requests[0]
        assert (asked["consumer_id"], asked["consumer_port"], asked["config"]) == (
            "wall-main",
            5000,
            {"resolution": "1080p50"},
        )

    def test_without_a_preset_says_what_is_missing(self, page: HistoryPage, desk: Desk) -> None:
        page.tab.view.select_id(session_id(5008))
        page.take_again()
        assert broker_of(desk).requests[0]["consumer_id"] == "led-side"
        assert "without port and config" in desk.words[-1]

    def test_a_source_that_is_gone_is_no_source(self, page: HistoryPage, desk: Desk, qtbot: QtBot) -> None:
        desk.venue.withdraw(0, "kim")
        page.tab.view.select_id(session_id(5012))
        page.refresh()
        assert not page.again_button.isEnabled()
        assert "its source Cam 1 stage left is gone" in page.again_button.toolTip()
        qtbot.keyClick(page.tab.view, Qt.Key.Key_R)
        assert broker_of(desk).requests == []

    def test_delete_kicks_what_still_runs_with_the_hold_back(self, page: HistoryPage, desk: Desk, qtbot: QtBot) -> None:
        running = msgspec.structs.replace(history_rows()[0], id=session_id(0), status="active")
        page.tab.table.prepend([running])
        page.tab.view.select_id(session_id(0))
        qtbot.keyClick(page.tab.view, Qt.Key.Key_Delete)
        assert ("kick", session_id(0)) in desk.context.actions.pending
        desk.context.actions.cancel_all()
        assert session_id(0) in desk.store.sessions

    def test_the_menu_says_why_not(self, page: HistoryPage) -> None:
        page.show_tab(1)
        menu = QMenu()
        page.fill_menu(menu, ["audit-5"])
        words = [action.text() for action in menu.actions()]
        assert words[0].startswith("Take again: this act ended no session")
        assert not menu.actions()[0].isEnabled()


def test_export_says_how_far_back_it_goes(page: HistoryPage, desk: Desk) -> None:
    page.export()
    panel = desk.context.panels.current
    assert isinstance(panel, ExportPanel)
    assert panel.extract.count == PAGE
    assert "back to" in panel.extract.note
    page.range.recent.click()
    page.export()
    panel = desk.context.panels.current
    assert isinstance(panel, ExportPanel)
    assert panel.extract.note == ""


def test_columns_are_remembered(page: HistoryPage, desk: Desk) -> None:
    page.view_of(1).setColumnWidth(2, 321)
    page.save_layout()
    again = HistoryPage(_undeclared(desk))
    desk.put(again)
    assert again.view_of(1).columnWidth(2) == 321


def _undeclared(desk: Desk) -> Any:
    del desk.context.actions.verbs["take_again"]
    return desk.context


def test_holds_and_presets_in_words(desk: Desk) -> None:
    hold = msgspec.to_builtins(next(iter(desk.store.holds.values())))
    row = AuditRow(
        id="1", at=NOW, operator="kim", verb="hold", object="session", object_id="x", result="ok", after=hold
    )
    assert object_text(row, desk.store) == "wall-main ← Cam 1 stage left"
    assert change_text(row) == "– → held by Callboard for kim"
    row.after = msgspec.to_builtins(desk.store.presets["preset-1"])
    assert change_text(row) == "– → preset for wall-main at 10.0.40.50:5000, replace"
