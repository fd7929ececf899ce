"""Ten minutes of each agent: a sample a heartbeat, holes where none came, nothing without bound."""

from __future__ import annotations

from math import isnan

from app.models.loads import MOST, SPAN, Loads
from tests.fakes.feed_script import START, agent


def test_a_sample_for_each_heartbeat_and_none_twice() -> None:
    loads = Loads()
    row = agent(cpu=40.0, sessions=3)
    for _ in range(3):
        loads.heard(row)
    row.last_heartbeat, row.cpu, row.sessions = START + 10, None, 4
    loads.heard(row)
    load = loads.of("rack-1")
    assert load is not None
    assert list(load.at) == [START, START + 10]
    assert list(load.sessions) == [3, 4]
    assert load.cpu[0] == 40.0
    assert isnan(load.cpu[1])


def test_ten_minutes_and_no_more() -> None:
    loads = Loads()
    row = agent(cpu=1.0)
    for step in range(500):
        row.last_heartbeat = START + 10 * step
        loads.heard(row)
    load = loads.of("rack-1")
    assert load is not None
    assert load.at[-1] - load.at[0] <= SPAN
    for step in range(5000):  # an agent that beats far too often
        row.last_heartbeat = START + 10_000 + step / 100
        loads.heard(row)
    assert len(load.at) == len(load.cpu) <= 2 * MOST


def test_without_cpu_the_taken_places_are_drawn() -> None:
    loads = Loads()
    loads.heard(agent(sessions=5))
    assert list(loads.spark("rack-1", 10)) == [50.0]
    assert list(loads.spark("nobody", 10)) == []
    loads.heard(agent("never", last_heartbeat=None))
    assert loads.of("never") is None


def test_gone_agents_are_forgotten() -> None:
    loads = Loads()
    for name in ("a", "b", "c"):
        loads.heard(agent(name))
    loads.forget("a")
    loads.keep_only({"b"})
    assert [loads.of(name) is not None for name in "abc"] == [False, True, False]
