"""Who still beats for a session that has ended."""

from __future__ import annotations

import pytest

from app.contract import Gone, StillSending
from app.server.events import EventLog, Published
from app.server.streams import endings
from app.server.streams.endings import REMEMBERED_SECONDS, REPEAT_SECONDS, Endings
from tests.fakes.clock import Clock


class Ears:
    """Endings on a clock of the test's own."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.events = EventLog(clock=self.clock.time)
        self.endings = Endings(self.events, self.clock.monotonic)
        self.told: list[Published] = []
        self.events.subscribe(lambda event: self.told.append(event) if "still" in event.kind else None)

    def end(self, session_id: str, kind: str = "session.stopped") -> None:
        """A session ends."""
        self.events.publish(kind, session_id, Gone(reason="stopped"))


@pytest.mark.parametrize("kind", ["session.stopped", "session.expired"])
def test_a_late_heartbeat_is_told_with_the_time_of_the_end(kind: str) -> None:
    ears = Ears()
    at = ears.clock.wall
    ears.end("s", kind)
    ears.clock.advance(3)
    ears.endings.heard("s")
    assert [(event.kind, event.id, event.change) for event in ears.told] == [
        ("session.still_sending", "s", StillSending(ended_at=at))
    ]


def test_not_more_often_than_it_helps() -> None:
    ears = Ears()
    ears.end("s")
    for _ in range(10):
        ears.endings.heard("s")
        ears.clock.advance(REPEAT_SECONDS / 5)
    assert len(ears.told) == 2


def test_strangers_and_the_long_forgotten_say_nothing() -> None:
    ears = Ears()
    ears.endings.heard("never seen")
    ears.end("s")
    ears.clock.advance(REMEMBERED_SECONDS + 1)
    ears.endings.heard("s")
    assert ears.told == []
    assert len(ears.endings) == 0


def test_the_memory_is_bounded_in_number_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endings, "MAX_REMEMBERED", 3)
    ears = Ears()
    for number in range(5):
        ears.end(str(number))
    assert len(ears.endings) == 3
    ears.endings.heard("0")
    assert ears.told == []
    ears.clock.advance(REMEMBERED_SECONDS + 1)
    ears.end("last")
    assert len(ears.endings) == 1
    ears.endings.stop()
    ears.end("unheard")
    assert len(ears.endings) == 1
