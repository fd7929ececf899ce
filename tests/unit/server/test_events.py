from __future__ import annotations

import msgspec
import pytest

from app.contract import Event, Gone
from app.server.events import EventLog, Published

GONE = Gone("deleted")


def test_numbers_grow_by_one_and_reach_every_listener_in_order() -> None:
    log, heard, also = EventLog(first=10), [], []
    log.subscribe(heard.append)
    log.subscribe(also.append)
    assert [log.publish("preset.deleted", name, GONE) for name in "abc"] == [11, 12, 13]
    assert log.seq == 13
    assert [(event.seq, event.id) for event in heard] == [(11, "a"), (12, "b"), (13, "c")]
    assert heard == also


def test_an_event_is_encoded_as_the_contract_says() -> None:
    heard: list[Published] = []
    log = EventLog(clock=lambda: 5.0)
    log.subscribe(heard.append)
    log.publish("preset.deleted", "a", GONE)
    event = msgspec.json.decode(msgspec.json.encode(heard[0]), type=Event)
    assert (event.seq, event.at, event.kind, event.id) == (1, 5.0, "preset.deleted", "a")
    assert msgspec.json.decode(event.change, type=Gone) == GONE


def test_unknown_kinds_are_refused_and_take_no_number() -> None:
    log = EventLog()
    with pytest.raises(ValueError, match="unknown kind"):
        log.publish("preset.eaten", "a", GONE)
    assert log.seq == 0


def test_a_failing_listener_harms_nobody() -> None:
    log, heard = EventLog(), []

    def fail(event: Published) -> None:
        raise RuntimeError("mine")

    log.subscribe(fail)
    log.subscribe(heard.append)
    assert log.publish("preset.deleted", "a", GONE) == 1
    assert len(heard) == 1


def test_what_a_listener_publishes_comes_after_what_it_heard() -> None:
    log, heard = EventLog(), []

    def echo(event: Published) -> None:
        if event.id == "first":
            assert log.publish("preset.deleted", "second", GONE) == 2
            assert log.publish("preset.deleted", "third", GONE) == 3

    log.subscribe(echo)
    log.subscribe(lambda event: heard.append(event.id))
    log.publish("preset.deleted", "first", GONE)
    assert heard == ["first", "second", "third"]


def test_unsubscribed_listeners_hear_no_more() -> None:
    log, heard = EventLog(), []
    stop = log.subscribe(heard.append)
    stop()
    stop()
    log.publish("preset.deleted", "a", GONE)
    assert heard == []


def test_who_names_kinds_hears_those_alone() -> None:
    log, heard, everything = EventLog(), [], []
    log.subscribe(everything.append)
    stop = log.subscribe(heard.append, "preset.deleted", "hold.ended")
    for kind in ("preset.deleted", "type.created", "hold.ended"):
        log.publish(kind, kind, GONE)
    assert [event.kind for event in heard] == ["preset.deleted", "hold.ended"]
    assert len(everything) == 3
    stop()
    log.publish("hold.ended", "a", GONE)
    assert len(heard) == 2
    assert len(everything) == 4


def test_nobody_can_listen_for_what_there_is_not() -> None:
    with pytest.raises(ValueError, match="unknown kind"):
        EventLog().subscribe(print, "preset.eaten")
