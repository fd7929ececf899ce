"""How long an agent waits between tries."""

from __future__ import annotations

from app.agent.connection import FIRST_WAIT, LONGEST_WAIT, BackOff


def test_waits_double_up_to_a_bound_and_begin_anew() -> None:
    back_off = BackOff(lambda: 1.0)
    waits = [back_off.next() for _ in range(10)]
    assert waits[:4] == [0.5, 1.0, 2.0, 4.0]
    assert waits[-1] == LONGEST_WAIT
    back_off.reset()
    assert back_off.next() == FIRST_WAIT


def test_jitter_spreads_agents_that_lost_one_broker() -> None:
    low, high = BackOff(lambda: 0.0), BackOff(lambda: 0.999)
    assert low.next() == FIRST_WAIT / 2
    assert FIRST_WAIT * 0.99 < high.next() <= FIRST_WAIT
