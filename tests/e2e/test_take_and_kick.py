"""The one sentence of the issue: a real broker, the real window, a take by key press from a real publisher, a kick.

Everything is as it comes: default settings, the 3 s hold-back, keys through Qt's own key path.
"""

from __future__ import annotations

from PySide6.QtCore import Qt

from app.ui.pages.streams import StreamsPage
from tests.e2e.house import OPERATOR, YES, House, in_a_house

Key = Qt.Key


@in_a_house()
async def test_a_take_by_key_is_seen_kicked_by_key_and_seen_to_go(house: House) -> None:
    store, window = house.console.store, house.console.window
    preset = await house.preset()
    camera = await house.publisher(YES, name="Main Stage Camera A")

    await house.show("Streams", camera.id)
    house.press(Key.Key_R)
    (session,) = (await house.until(lambda: store.sessions)).values()
    asked = camera.asked.get_nowait()
    assert (asked["stream_id"], asked["consumer_id"], asked["consumer_port"]) == (camera.id, "wall", 5000)
    await house.until(lambda: store.hold_of(session.id))

    await house.until(lambda: not house.console.actions.running)
    assert house.toasts == ["Main Stage Camera A is on Wall."]
    streams = window.page
    assert isinstance(streams, StreamsPage)
    card = streams.take_card
    await house.until(lambda: card.isVisible() and card.offer is not None and card.offer.isVisible())
    assert card.title.text() == "Taken to Wall"
    assert card.offer is not None
    assert card.offer.address.text() == "srt://10.0.40.21:9710"
    assert card.offer.config.text() == "latency_ms=80"
    await house.row_says(camera.id, name="Main Stage Camera A", consumers="1", on="Wall")

    await house.show("Sessions", session.id)
    await house.row_says(session.id, who="wall", what="Main Stage Camera A", state="HELD")

    house.press(Key.Key_Delete)
    pending = await house.until(lambda: house.console.actions.pending_for(session.id))
    assert 0.0 < pending.left <= 3.0
    left: list[float] = []
    house.console.actions.changed.connect(lambda: left.append(pending.left))
    assert [line.label.text()[:9] for line in window.pending.lines] == ["Kick wall"]
    assert session.id in await house.sessions()
    await house.until(lambda: pending.left < 2.5)  # the second press of an operator, not a bounce of the first
    house.press(Key.Key_Delete)
    ghost = await house.until(lambda: store.ghost("session", session.id))
    assert left[0] > 0.0, "the second press did not send it at once"
    assert ghost.cause == f"stopped by {OPERATOR}"
    assert session.id not in await house.sessions()
    await house.row_says(session.id, state="OFF")
    assert not store.holds
    await house.until(lambda: f"OFF, stopped by {OPERATOR}" in house.reads())

    (past,) = (await house.desk.get("/console/v1/history", params={"stream_id": camera.id})).json()
    assert (past["id"], past["status"], past["consumer_id"]) == (session.id, "stopped", "wall")
    assert past["duration_seconds"] > 0
    acts = {row["verb"]: row for row in (await house.desk.get("/console/v1/audit")).json()}
    assert {row["operator"] for row in acts.values()} == {OPERATOR}
    assert {row["result"] for row in acts.values()} == {"ok"}
    assert acts["take"]["after"]["consumer_id"] == preset["consumer_id"]
    assert acts["kick"]["before"]["id"] == acts["kick"]["object_id"] == session.id
    assert all(row["milliseconds"] > 0 for row in acts.values())

    await house.show("History", session.id)
    await house.row_says(session.id, status="stopped", who="wall", what="Main Stage Camera A")
    house.says_all_well()
