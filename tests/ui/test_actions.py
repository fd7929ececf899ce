"""Tiers, hold-back, bounce, marks, undo and audit of cancelled acts, with the verbs as declared."""

from __future__ import annotations

from typing import Any

import pytest
from pytestqt.qtbot import QtBot

from app.client.api import ApiError
from app.ui.dialogs.confirm import ConfirmPanel
from app.ui.verb import Verb
from tests.ui.stage import Stage


def kick(stage: Stage, *consumers: str, panel: bool = False) -> str:
    ids = [stage.session(consumer).id for consumer in consumers]
    return stage.actions.press("kick", ids, panel=panel)


def cancelled(stage: Stage) -> list[tuple[str, str]]:
    return [(call[1], call[4]["result"]) for call in stage.client.named("record_audit")]


class TestTierOne:
    def test_is_sent_after_its_hold_back(self, stage: Stage, qtbot: QtBot) -> None:
        session = stage.session("led-side")
        assert kick(stage, "led-side") == ""
        assert stage.client.calls == []
        assert stage.actions.pending_for(session.id) is not None
        qtbot.waitUntil(lambda: bool(stage.client.calls))
        assert stage.client.calls == [("stop_session", session.id)]
        assert stage.actions.pending == {}

    def test_second_press_sends_now(self, stage: Stage, qtbot: QtBot) -> None:
        stage.settings.set("hold_back_seconds", 60.0)
        kick(stage, "led-side")
        qtbot.wait(80)
        kick(stage, "led-side")
        assert len(stage.client.named("stop_session")) == 1

    def test_a_bounce_is_no_second_press(self, stage: Stage) -> None:
        stage.settings.set("bounce_milliseconds", 60_000)
        kick(stage, "led-side")
        assert kick(stage, "led-side") == "bounce"
        assert stage.client.calls == []
        assert len(stage.actions.pending) == 1

    def test_the_guard_is_per_row_and_verb(self, stage: Stage) -> None:
        stage.settings.set("bounce_milliseconds", 60_000)
        assert kick(stage, "led-side") == ""
        assert kick(stage, "wall-main") == ""
        assert len(stage.actions.pending) == 2

    def test_escape_cancels_and_the_audit_hears_of_it(self, stage: Stage) -> None:
        kick(stage, "led-side")
        assert stage.actions.cancel_all()
        assert stage.client.named("stop_session") == []
        assert cancelled(stage) == [("kick", "cancelled")]
        before = stage.client.named("record_audit")[0][4]["before"]
        assert before["consumer_id"] == "led-side"
        assert not stage.actions.cancel_all()

    def test_undo_cancels_the_newest_that_waits(self, stage: Stage) -> None:
        kick(stage, "led-side")
        kick(stage, "wall-main")
        assert "wall-main" in stage.actions.undo()
        assert [one.id for one in stage.actions.pending.values()] == [stage.session("led-side").id]

    def test_what_ended_meanwhile_is_not_sent(self, stage: Stage, qtbot: QtBot) -> None:
        session = stage.session("led-side")
        kick(stage, "led-side")
        from app.contract import Gone

        stage.venue.event("session.expired", session.id, Gone(reason="expired"))
        qtbot.waitUntil(lambda: not stage.actions.pending)
        assert stage.client.named("stop_session") == []
        assert any("has ended" in text for text in stage.said())

    def test_a_board_gone_blind_cancels_what_waits(self, stage: Stage) -> None:
        kick(stage, "led-side")
        stage.actions.set_blocked("NOT LIVE since 20:14:07")
        assert stage.actions.pending == {}
        assert stage.client.named("stop_session") == []
        assert kick(stage, "wall-main").startswith("NOT LIVE")


class TestTierTwo:
    def test_several_kicks_ask_with_names(self, stage: Stage) -> None:
        kick(stage, "led-side", "wall-main")
        panel = stage.window.sheet.current
        assert isinstance(panel, ConfirmPanel)
        assert sorted(panel.losses) == [("led-side", "Surtitles"), ("wall-main", "Cam 1 stage left")]
        assert stage.client.calls == []

    def test_confirmed_all_go_as_one_act(self, stage: Stage) -> None:
        kick(stage, "led-side", "wall-main")
        panel = stage.window.sheet.current
        assert isinstance(panel, ConfirmPanel)
        panel.hold_button.fired.emit()
        assert len(stage.client.named("stop_session")) == 2
        assert stage.window.sheet.current is None
        assert "Kick: 2 done" in stage.said()
        assert stage.actions.undo() == "kick 2"
        assert len(stage.client.named("request")) == 2

    def test_closing_the_panel_is_a_cancelled_act(self, stage: Stage) -> None:
        kick(stage, "led-side", "wall-main")
        stage.window.escape()
        assert stage.window.sheet.current is None
        assert cancelled(stage) == [("kick", "cancelled"), ("kick", "cancelled")]

    def test_shift_delete_asks_for_one_too(self, stage: Stage) -> None:
        kick(stage, "led-side", panel=True)
        assert isinstance(stage.window.sheet.current, ConfirmPanel)

    def test_shift_delete_takes_over_what_waits(self, stage: Stage, qtbot: QtBot) -> None:
        kick(stage, "led-side")
        qtbot.wait(80)
        kick(stage, "led-side", panel=True)
        assert stage.actions.pending == {}
        assert isinstance(stage.window.sheet.current, ConfirmPanel)

    def test_held_while_the_board_went_blind_sends_nothing(self, stage: Stage) -> None:
        kick(stage, "led-side", "wall-main")
        panel = stage.window.sheet.current
        assert isinstance(panel, ConfirmPanel)
        stage.actions.set_blocked("NOT LIVE since 20:14:07")
        assert not panel.hold_button.isEnabled()
        assert panel.blocked.text() == "NOT LIVE since 20:14:07"
        panel.hold_button.fired.emit()
        assert stage.client.named("stop_session") == []

    def test_what_was_asked_can_be_held_when_the_board_lives_again(self, stage: Stage) -> None:
        kick(stage, "led-side", "wall-main")
        panel = stage.window.sheet.current
        assert isinstance(panel, ConfirmPanel)
        stage.actions.set_blocked("NOT LIVE since 20:14:07")
        stage.actions.set_blocked("")
        assert panel.hold_button.isEnabled()
        assert panel.blocked.isHidden()
        panel.hold_button.fired.emit()
        assert len(stage.client.named("stop_session")) == 2
        stage.actions.set_blocked("NOT LIVE")
        stage.actions.set_blocked("")

    def test_part_failing_is_said_and_the_rest_can_be_undone(self, stage: Stage) -> None:
        first = stage.session("led-side").id

        async def stop(session_id: str) -> None:
            stage.client.calls.append(("stop_session", session_id))
            if session_id == first:
                raise ApiError(404, "expired", "Session not found")

        stage.client.stop_session = stop  # type: ignore[method-assign]
        kick(stage, "led-side", "wall-main", panel=True)
        panel = stage.window.sheet.current
        assert isinstance(panel, ConfirmPanel)
        panel.hold_button.fired.emit()
        assert "Kick: 1 done" in stage.said()
        assert any("Session not found" in text for text in stage.said())


class TestUndo:
    def test_a_kick_is_taken_back_with_the_same_config_and_hold(self, stage: Stage) -> None:
        session = stage.session("wall-main")
        kick(stage, "wall-main")
        stage.actions.send_now(next(iter(stage.actions.pending.values())))
        assert stage.actions.undo_stack.next_undo is not None
        stage.actions.undo()
        (asked,) = stage.client.named("request")
        assert asked[1] == session.stream_id
        assert asked[2] == {
            "consumer_id": session.consumer_id,
            "consumer_address": session.consumer_address,
            "consumer_port": session.consumer_port,
            "config": session.config,
        }
        assert stage.client.named("hold") == [("hold", "session-new-1", "preset-1")]

    def test_no_answer_keeps_it_undoable(self, stage: Stage) -> None:
        kick(stage, "led-side")
        stage.actions.send_now(next(iter(stage.actions.pending.values())))
        stage.client.refusal = ApiError(0, "unreachable", "No broker answers")
        stage.actions.undo()
        assert stage.actions.undo_stack.next_undo is not None
        stage.client.refusal = ApiError(404, "expired", "Stream not found")
        stage.actions.undo()
        assert stage.actions.undo_stack.next_undo is None
        assert any("Stream not found" in text for text in stage.said())

    def test_the_toast_undoes_its_own_act(self, stage: Stage) -> None:
        for consumer in ("led-side", "wall-main"):
            kick(stage, consumer)
            stage.actions.send_now(next(iter(stage.actions.pending.values())))
        older = next(toast for toast in stage.window.toasts.items if "led-side" in toast.text)
        assert older.undo_button is not None
        older.undo_button.click()
        assert stage.client.named("request")[0][2]["consumer_id"] == "led-side"

    def test_nothing_to_undo_is_said(self, stage: Stage) -> None:
        assert stage.actions.undo() == ""
        assert stage.said() == ["Nothing to undo"]


class TestAudit:
    def test_waits_while_the_broker_is_away(self, stage: Stage) -> None:
        kick(stage, "led-side")
        stage.client.refusal = ApiError(0, "unreachable", "No broker answers")
        stage.actions.cancel_all()
        assert len(stage.actions.unsent.waiting) == 1
        stage.client.refusal = None
        stage.actions.set_blocked("NOT LIVE")
        stage.actions.set_blocked("")
        assert len(stage.actions.unsent.waiting) == 0
        assert len(cancelled(stage)) == 2

    def test_a_refused_row_is_said_and_dropped(self, stage: Stage) -> None:
        kick(stage, "led-side")
        stage.client.refusal = ApiError(403, "forbidden", "Wrong token")
        stage.actions.cancel_all()
        assert len(stage.actions.unsent.waiting) == 0
        assert any("Wrong token" in text for text in stage.said())


class TestDeclarations:
    def test_a_name_or_a_key_twice_is_a_mistake(self, stage: Stage) -> None:
        verb = stage.actions.verbs["kick"]
        with pytest.raises(ValueError, match="declared twice"):
            stage.actions.add_verb(verb)
        with pytest.raises(ValueError, match="share a key"):
            stage.actions.add_verb(copy_of(verb, name="other"))

    def test_every_verb_says_why_not_for_what_is_gone(self, stage: Stage) -> None:
        for verb in stage.actions.verbs.values():
            assert stage.actions.why_not(verb.name, ["no such id"]), verb.name
            assert stage.actions.why_not(verb.name, []) == "nothing is selected"

    def test_hold_and_release_are_tier_zero_and_undone(self, stage: Stage) -> None:
        led = stage.session("led-side").id
        assert stage.actions.press("hold", [led]) == ""
        assert stage.client.named("hold") == [("hold", led, None)]
        stage.actions.undo()
        assert stage.client.named("release") == [("release", f"hold-{led}")]
        wall = stage.session("wall-main").id
        stage.actions.press("release", [wall])
        assert len(stage.client.named("release")) == 2
        assert stage.actions.press("hold", [wall]).startswith("Callboard holds it already")


def copy_of(verb: Verb, **changes: Any) -> Verb:
    from dataclasses import replace

    return replace(verb, **changes)
