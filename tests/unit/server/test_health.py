from __future__ import annotations

from app.contract import HealthRow
from app.server.events import EventLog, Published
from app.server.health import PARTS, Health
from tests.fakes.clock import Clock


def test_a_change_is_published_once_and_since_follows_ok_alone() -> None:
    clock, heard = Clock(), []
    events = EventLog()
    events.subscribe(heard.append)
    health = Health(events, clock=clock.time)
    assert [row.id for row in health.rows()] == list(PARTS)
    health.set("nats", True)
    assert heard == []
    clock.advance(5)
    health.set("nats", False, "gone", take_down=True)
    clock.advance(5)
    health.set("nats", False, "gone", take_down=True)
    health.set("nats", False, "still gone", take_down=True)
    assert [row_of(event).since for event in heard] == [clock.wall - 5] * 2
    assert not health.ok
    health.set("nats", True, take_down=True)
    assert health.ok
    assert (row_of(heard[-1]).since, row_of(heard[-1]).take_down) == (clock.wall, False)


def test_a_new_part_appears() -> None:
    health = Health(EventLog())
    health.set("media", True, "warming up")
    assert health.rows()[-1].text == "warming up"


def row_of(event: Published) -> HealthRow:
    assert isinstance(event.change, HealthRow)
    return event.change
