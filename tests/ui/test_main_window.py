"""The window: pages by key, Esc step by step, the key map, toasts, greyed actions, no white, no lost failure."""

from __future__ import annotations

from functools import partial

from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.ui.dialogs.confirm import ConfirmPanel
from app.ui.page import Page
from app.ui.panel import Panel
from app.ui.settings import Settings
from app.ui.take_back import SHOWN_AFTER as UNDO_SHOWN_AFTER
from app.ui.theme import THEMES, Theme
from tests.ui.stage import Key, Stage

CONTROL = Qt.KeyboardModifier.ControlModifier


class TestPages:
    def test_keys_bring_pages_to_the_front(self, stage: Stage) -> None:
        stage.streams.view.setFocus()
        stage.key(Key.Key_2, CONTROL)
        assert stage.window.page is stage.sessions
        assert stage.sessions.view.hasFocus()
        stage.key(Key.Key_1, CONTROL)
        assert stage.window.page is stage.streams

    def test_a_page_in_the_back_runs_no_timer(self, stage: Stage) -> None:
        stage.window.show_page("Sessions")
        assert not stage.streams.model._timer.isActive()
        assert stage.sessions.model._timer.isActive()

    def test_the_rail_counts(self, stage: Stage) -> None:
        assert stage.window.rail.buttons["Streams"].count == "12"
        assert stage.window.rail.buttons["Sessions"].count == "9"
        assert ("stale", "2 stale") in stage.window.rail.buttons["Streams"].badges

    def test_pages_that_nobody_has_shown_are_made_one_at_a_time(self, stage: Stage) -> None:
        made: list[str] = []

        def make(title: str) -> Page:
            made.append(title)
            return Page(stage.context)

        for number, title in enumerate(("One", "Two", "Three"), 4):
            stage.window.declare_page(title, f"Ctrl+Alt+{number}", partial(make, title))
        steps = stage.window.making_pages()
        next(steps)
        assert made == ["One"]
        assert stage.window.made("Three") is stage.window.pages["Three"]
        assert len(list(steps)) == 2
        assert made == ["One", "Three", "Two"]

    def test_the_rail_is_clicked(self, stage: Stage) -> None:
        stage.window.rail.buttons["Sessions"].click()
        assert stage.window.page is stage.sessions

    def test_a_question_about_rows_goes_with_their_page(self, stage: Stage) -> None:
        stage.window.show_page("Sessions")
        stage.actions.press("kick", [row.id for row in stage.store.sessions.values()][:2])
        assert isinstance(stage.window.sheet.current, ConfirmPanel)
        stage.window.show_page("Streams")
        assert stage.window.sheet.current is None
        assert [call[1] for call in stage.client.named("record_audit")] == ["kick", "kick"]

    def test_a_form_stays_when_the_page_goes(self, stage: Stage) -> None:
        stage.streams.add_stream()
        form = stage.window.sheet.current
        stage.window.show_page("Sessions")
        assert stage.window.sheet.current is form
        assert form is not None

    def test_full_screen_and_back(self, stage: Stage) -> None:
        stage.streams.view.setFocus()
        stage.key(Key.Key_F11)
        assert stage.window.isFullScreen()
        stage.key(Key.Key_Escape)
        assert not stage.window.isFullScreen()

    def test_f5_asks_for_everything_afresh(self, stage: Stage, qtbot: QtBot) -> None:
        stage.streams.view.setFocus()
        with qtbot.waitSignal(stage.window.resync_wanted):
            stage.key(Key.Key_F5)

    def test_the_windows_place_and_page_come_back(self, stage: Stage) -> None:
        """Up and down, where the screen of these tests has room for a window; too wide for it is made to fit."""
        room = stage.window.screen().availableGeometry()
        stage.window.setGeometry(0, 25, stage.window.minimumWidth(), room.height() - 100)
        place = stage.window.geometry()
        stage.window.show_page("Sessions")
        stage.window.save_layout()
        other = Stage(stage.settings.path.parent)
        other.context.settings = Settings(stage.settings.path)
        try:
            other.venue.open()
            other.window.start()
            back = other.window.geometry()
            assert (back.top(), back.height()) == (place.top(), place.height())
            assert other.window.page is other.sessions
        finally:
            other.close()


class TestNotLive:
    def test_acts_are_greyed_and_rows_stay(self, stage: Stage) -> None:
        stage.go_to(stage.stream("Surtitles"))
        stage.clock += 4.0
        stage.window.refresh()
        assert stage.streams.view.blocked
        assert not any(button.isEnabled() for button in stage.streams.buttons)
        assert stage.streams.model.rowCount() == 12
        stage.key(Key.Key_R)
        assert stage.client.calls == []
        assert any(text.startswith("Take: NOT LIVE since") for text in stage.said())

    def test_a_stream_is_not_added_to_a_board_that_is_not_live(self, stage: Stage) -> None:
        assert stage.streams.add_button.isEnabled()
        stage.clock += 4.0
        stage.window.refresh()
        assert not stage.streams.add_button.isEnabled()
        assert "NOT LIVE since" in stage.streams.add_button.toolTip()

    def test_live_again_acts_again(self, stage: Stage) -> None:
        stage.clock += 4.0
        stage.window.refresh()
        stage.venue.beat()
        stage.window.refresh()
        assert not stage.streams.view.blocked


class TestEscape:
    def test_one_step_at_a_time(self, stage: Stage, qtbot: QtBot) -> None:
        stage.settings.set("hold_back_seconds", 60.0)
        stage.streams.filter.set_text("show")
        stage.go_to(stage.stream("Show control"))
        stage.context.panels.show(Panel(stage.context, "A panel"))
        stage.streams.view.setFocus()
        stage.key(Key.Key_Delete)
        stage.key(Key.Key_Escape)
        assert stage.actions.pending == {}
        assert stage.window.sheet.current is not None
        stage.key(Key.Key_Escape)
        assert stage.window.sheet.current is None
        assert stage.streams.filter.text == "show"
        stage.key(Key.Key_Escape)
        assert stage.streams.filter.text == ""


class TestKeyMap:
    def test_lists_every_key_that_was_declared(self, stage: Stage) -> None:
        stage.streams.view.setFocus()
        stage.key(Key.Key_F1)
        overlay = stage.window.overlay
        assert overlay.isVisible()
        words = [line for _, lines in overlay.lines() for line in lines]
        keys = {key for keys, _, _ in words for key in keys.split("   ")}
        for expected in ("/", "Ctrl+F", "Esc", "Ctrl+1", "Ctrl+2", "Space", "Ctrl+A", "Enter", "R", "Shift+R",
                         "Delete", "Shift+Delete", "Ctrl+Z", "F1", "F5", "F6", "F11", "Ctrl+E"):  # fmt: skip
            assert expected in keys
        assert all(verb.name for verb in stage.actions.verbs.values())

    def test_any_key_closes_it_and_does_nothing_else(self, stage: Stage, qtbot: QtBot) -> None:
        stage.go_to(stage.stream("Surtitles"))
        stage.key(Key.Key_F1)
        stage.key(Key.Key_R)
        assert not stage.window.overlay.isVisible()
        assert stage.client.calls == []
        assert stage.streams.view.hasFocus()


class TestToasts:
    def test_text_is_plain_and_the_same_is_said_once(self, stage: Stage) -> None:
        for _ in range(3):
            stage.context.toast("<b>bold</b>")
        assert stage.said() == ["<b>bold</b>"]
        assert stage.window.toasts.items[0].label.textFormat() == Qt.TextFormat.PlainText

    def test_errors_stay_until_escape(self, stage: Stage) -> None:
        stage.context.toast("went wrong", tone="error")
        stage.streams.view.setFocus()
        stage.key(Key.Key_Escape)
        assert stage.said() == []

    def test_only_the_newest_are_shown(self, stage: Stage) -> None:
        for number in range(9):
            stage.context.toast(f"number {number}")
        assert stage.said() == [f"number {number}" for number in range(5, 9)]

    def test_they_stay_in_the_corner(self, stage: Stage) -> None:
        stage.context.toast("here")
        stage.window.resize(1000, 600)
        QApplication.sendPostedEvents()
        corner = stage.window.toasts.geometry().bottomRight()
        assert stage.window.rect().contains(corner)
        assert corner.x() > 900

    def test_they_leave_the_buttons_of_waiting_acts_and_panels_free(self, stage: Stage) -> None:
        stage.settings.set("hold_back_seconds", 30.0)
        stage.actions.press("kick", [stage.session("wall-main").id])
        stage.context.panels.show(Panel(stage.context, "asks something"))
        for number in range(4):
            stage.context.toast(f"number {number}", tone="error")
        QApplication.sendPostedEvents()
        QApplication.processEvents()
        toasts = stage.window.toasts.geometry()
        pending, sheet = stage.window.pending, stage.window.sheet
        assert pending.isVisible()
        assert sheet.isVisible()
        for other in (pending, sheet):
            taken = QRect(other.mapTo(stage.window, QPoint(0, 0)), other.size())
            assert not taken.intersects(toasts)

    def test_only_the_newest_offers_control_z(self, stage: Stage) -> None:
        async def nothing() -> None:
            """Nothing to take back."""

        stage.actions.tell("first", "first", nothing)
        stage.actions.tell("second", "second", nothing)
        offered = [toast.undo_button.text() for toast in stage.window.toasts.items if toast.undo_button]
        assert offered == ["Undo", "Undo  Ctrl+Z"]
        stage.streams.view.setFocus()
        stage.key(Key.Key_Z, CONTROL)
        offered = [toast.undo_button.text() for toast in stage.window.toasts.items if toast.undo_button]
        assert offered == ["Undo  Ctrl+Z"]
        assert "first" in stage.said()

    def test_an_undo_that_takes_its_time_says_so(self, stage: Stage, qtbot: QtBot) -> None:
        async def slow() -> None:
            qtbot.waitUntil(lambda: "Undoing: the slow one" in stage.said())

        async def quick() -> None:
            """Nothing to wait for."""

        stage.actions.tell("first", "the slow one", slow)
        stage.actions.undo()
        assert "Undoing: the slow one" in stage.said()
        assert "Undone: the slow one" in stage.said()
        stage.actions.tell("second", "the quick one", quick)
        stage.actions.undo()
        qtbot.wait(UNDO_SHOWN_AFTER + 100)
        assert "Undoing: the quick one" not in stage.said()

    def test_control_z_that_cancels_leaves_the_offers_to_undo(self, stage: Stage) -> None:
        async def nothing() -> None:
            """Nothing to take back."""

        stage.actions.tell("first", "first", nothing)
        stage.settings.set("hold_back_seconds", 30.0)
        stage.actions.press("kick", [stage.session("wall-main").id])
        stage.streams.view.setFocus()
        stage.key(Key.Key_Z, CONTROL)
        assert stage.actions.pending == {}
        assert "first" in stage.said()


class TestLook:
    def test_nothing_is_white(self, stage: Stage) -> None:
        image = stage.window.grab().toImage()
        step = 5
        lights = sum(
            QColor(image.pixel(x, y)).lightness() > 200
            for x in range(0, image.width(), step)
            for y in range(0, image.height(), step)
        )
        assert lights < image.width() * image.height() / step / step * 0.01

    def test_every_theme_dresses_the_window(self, stage: Stage) -> None:
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        for name in (*THEMES, "dark"):
            theme = Theme.named(name)
            stage.context.theme = theme
            theme.apply(app)
            stage.window.set_theme(theme)
            image = stage.window.grab().toImage()
            assert QColor(image.pixel(700, 600)).name() == THEMES[name]["bg"].lower()

    def test_rows_are_22_pixels(self, stage: Stage) -> None:
        assert stage.streams.view.rowHeight(0) == 22
        assert stage.window.strip.height() == 24


class TestCounts:
    def test_the_foot_says_what_is_shown(self, stage: Stage) -> None:
        stage.streams.filter.set_text("cam")
        stage.window.refresh()
        assert stage.window.foot.status.text().startswith("3 of 12 rows")
        assert "R take" in stage.window.foot.hints.text()
