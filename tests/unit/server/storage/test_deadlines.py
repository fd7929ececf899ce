"""The heap of deadlines: nothing early, nothing late, and beaten rows cost one look per TTL."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.contract import HoldRow
from app.server.storage.deadlines import Deadlines, Entry


def entry(n: int, deadline: float) -> Entry[HoldRow]:
    return Entry(HoldRow(id=str(n), session_id="", stream_id="", operator="", since=0.0), n, deadline, 0.0)


def test_the_first_to_run_out_is_named() -> None:
    deadlines: Deadlines[HoldRow] = Deadlines()
    assert deadlines.next() is None
    assert deadlines.add(entry(1, 10.0)) is True
    assert deadlines.add(entry(2, 20.0)) is False
    assert deadlines.add(entry(3, 5.0)) is True
    assert deadlines.next() == 5.0


def test_a_beaten_row_is_looked_at_ahead_of_its_old_deadline() -> None:
    deadlines: Deadlines[HoldRow] = Deadlines()
    beaten = entry(1, 10.0)
    deadlines.add(beaten)
    beaten.deadline = 40.0
    assert deadlines.due(9.5) == []
    assert deadlines.next() == 40.0


@given(st.data())
def test_every_row_is_found_once_at_its_deadline(data: st.DataObject) -> None:
    deadlines: Deadlines[HoldRow] = Deadlines()
    live: dict[int, Entry[HoldRow]] = {}
    now, number = 0.0, 0
    for _ in range(data.draw(st.integers(1, 40))):
        verb = data.draw(st.sampled_from(["add", "beat", "remove", "wait"]))
        if verb == "add":
            number += 1
            live[number] = entry(number, now + data.draw(st.floats(0.1, 10)))
            deadlines.add(live[number])
        elif verb == "wait":
            now += data.draw(st.floats(0.1, 5))
            due = deadlines.due(now)
            assert {one.n for one in due} == {n for n, one in live.items() if one.deadline <= now}
            for one in due:
                del live[one.n]
                one.live = False
        elif live:
            chosen = data.draw(st.sampled_from(sorted(live)))
            if verb == "beat":
                live[chosen].deadline = now + 10
            else:
                live.pop(chosen).live = False
