"""The quick count of rows in trouble agrees with the state of every row."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from app.contract import Gone, StillSending
from app.models.states import state_of_session, state_of_stream
from app.models.store import Store
from app.ui import troubles
from app.ui.shot_venue import Venue
from app.ui.troubles import Troubles, counted, sessions_in_trouble, streams_in_trouble


def by_the_book(store: Store, now: float) -> dict[str, tuple[int, int]]:
    streams = [state_of_stream(row, store, now).word.key for row in store.streams.values()]
    streams += [state_of_stream(g.row, store, now, g).word.key for g in store.graveyard.of("stream").values()]
    sessions = [state_of_session(row, store, now).word.key for row in store.sessions.values()]
    sessions += [state_of_session(g.row, store, now, g).word.key for g in store.graveyard.of("session").values()]
    return {
        "streams": (streams.count("fault"), streams.count("stale")),
        "sessions": (sessions.count("fault"), sessions.count("stale")),
    }


@pytest.mark.parametrize("later", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("step", ["as it is", "negotiating", "expired", "still sending", "withdrawn"])
def test_agrees(step: str, later: float) -> None:
    clock = 100.0
    store = Store(monotonic=lambda: clock)
    venue = Venue(store)
    venue.open()
    if step == "negotiating":
        venue.negotiate(2, "wall-main")
    elif step == "expired":
        venue.expire(3)
    elif step == "still sending":
        row = next(iter(store.sessions.values()))
        venue.event("session.stopped", row.id, Gone(reason="stopped"))
        venue.event("session.still_sending", row.id, StillSending(ended_at=0.0))
    elif step == "withdrawn":
        venue.withdraw(4, "kim")
    clock += later
    now = store.broker_now()
    book = by_the_book(store, now)
    assert streams_in_trouble(store, now) == book["streams"]
    assert sessions_in_trouble(store, now) == book["sessions"]


def test_is_counted_once_a_second_and_hidden_while_not_live(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = 100.0
    monkeypatch.setattr(troubles, "time", SimpleNamespace(monotonic=lambda: clock))
    store = Store(monotonic=lambda: clock)
    Venue(store).open()
    calls: list[float] = []

    def count(store: Store, now: float) -> tuple[int, int]:
        calls.append(now)
        return 1, 2

    told = Troubles(store, count)
    for _ in range(5):
        assert told.badges() == [("fault", "1 fault"), ("stale", "2 stale")]
    assert len(calls) == 1
    assert counted(2, "fault") == "2 faults"
    clock += 5.0
    assert told.badges() == []
