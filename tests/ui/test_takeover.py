"""Another operator's picture: what a take says before it replaces it, and what is not undone after it was replaced."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from app.contract import Gone, HoldRow, SessionRow
from app.ui import takeover
from app.ui.dialogs.choose_preset import carries_text
from app.ui.verbs import take_title, take_warning
from tests.ui.stage import Key, Stage


def of_zoe(stage: Stage) -> SessionRow:
    """What is on the default preset was taken by another operator."""
    session = stage.session("wall-main")
    hold = stage.store.hold_of(session.id)
    assert hold is not None
    stage.venue.event("hold.ended", hold.id, Gone(reason="released"))
    stage.venue.event("hold.started", "hold-zoe", msgspec.structs.replace(hold, id="hold-zoe", operator="Zoë"))
    return session


def test_the_button_says_whose_picture_goes_before_it_is_pressed(stage: Stage) -> None:
    taken = stage.stream("Cam 2 stage right")
    preset: Any = stage.store.default_preset()
    assert take_warning(stage.context, taken) == "", "one's own picture is replaced every day"
    session = of_zoe(stage)
    assert take_title(stage.context, [taken]) == f"Take → Main wall   replaces {session.stream_name} of Zoë"
    assert carries_text(stage.context, preset, taken).startswith(f"replaces {session.stream_name} of Zoë, there for")
    assert take_warning(stage.context, session.stream_id) == "", "it is there already"
    stage.go_to(taken)
    stage.key(Key.Key_R)
    assert any(f"it replaced {session.stream_name} of Zoë" in text for text in stage.said())


def test_a_take_waits_for_the_board_and_ends_what_it_shows_meanwhile(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zoë's session began after what this board showed at the press, and before one's own."""
    monkeypatch.setattr(takeover, "PATIENCE", 60.0)
    before, taken = stage.session("wall-main"), stage.stream("Cam 2 stage right")
    zoes = msgspec.structs.replace(before, id="session-zoe", started_at=before.started_at + 1)
    mine = msgspec.structs.replace(before, id="session-new-1", stream_id=taken, started_at=before.started_at + 2)
    answer = stage.client.hold

    def show() -> None:
        for row in (zoes, mine):
            stage.venue.event("session.started", row.id, row)

    async def hold(session_id: str, preset_id: str | None = None) -> HoldRow:
        asyncio.get_running_loop().call_later(0.05, show)  # by then the take has nothing left but to wait
        return await answer(session_id, preset_id)

    monkeypatch.setattr(stage.client, "hold", hold)
    stage.go_to(taken)
    stage.key(Key.Key_R)
    assert {call[1] for call in stage.client.named("stop_session")} == {before.id, zoes.id}
    assert any("Cam 2 stage right is on Main wall" in text for text in stage.said())


@pytest.mark.parametrize("replaced", [True, False])
def test_undo_leaves_what_another_operator_put_there_since(stage: Stage, replaced: bool) -> None:
    before = stage.session("wall-main")
    stage.go_to(stage.stream("Cam 2 stage right"))
    stage.key(Key.Key_R)
    stage.client.calls.clear()
    stage.venue.event("session.stopped", before.id, Gone(reason="superseded", by="kim"))
    mine = msgspec.structs.replace(before, id="session-new-1", stream_id=stage.stream("Cam 2 stage right"))
    stage.venue.event("session.started", mine.id, mine)
    if replaced:
        stage.venue.event("session.stopped", mine.id, Gone(reason="superseded", by="Zoë"))
    stage.window.undo()
    if replaced:
        assert stage.client.calls == []
        assert any("it is not on Main wall any more: replaced by Zoë." in text for text in stage.said())
    else:
        assert stage.client.named("request")[0][1] == before.stream_id
        assert stage.client.named("stop_session") == [("stop_session", "session-new-1")]
