"""Drains, idle times and templates in words."""

from __future__ import annotations

import pytest

from app.models.fleet_words import (
    clock_minute,
    drain_share,
    drain_text,
    idle_seconds,
    idle_text,
    is_attached,
    load_text,
    rate_text,
    resource_text,
    span_text,
    time_out_text,
    viewer_text,
    why_not_runnable,
)
from tests.fakes.feed_script import START, agent, desktop, drain, template, viewer

NOW = START + 240


def test_a_drain_that_has_lost_one() -> None:
    row = drain(left=11, exits=[START + 100], next_idle=START + 3600)
    idle = clock_minute(START + 3600)
    assert drain_text(row, NOW) == f"11 of 12 left - 1 ended in 4 min - next idle time-out {idle} - no forced end"
    assert drain_share(row) == pytest.approx(1 / 12)


def test_a_drain_with_an_end_in_sight() -> None:
    row = drain(left=7, exits=[START + n for n in range(5)], eta=NOW + 900, next_idle=NOW + 60)
    end = clock_minute(NOW + 900)
    assert drain_text(row, NOW) == f"7 of 12 left - 5 ended in 4 min - empty at about {end} - no forced end"


def test_a_drain_that_is_stuck_says_so_first() -> None:
    row = drain(left=4, stuck="no session ended for 15 min")
    assert drain_text(row, NOW).startswith("STUCK: no session ended for 15 min - 4 of 12 left - 8 ended in 4 min")


def test_a_drain_nobody_has_left_and_one_that_is_over() -> None:
    assert (
        drain_text(drain(), START + 20)
        == "12 of 12 left - none ended in the last minute - no end known - no forced end"
    )
    assert drain_text(drain(left=0, done_at=NOW), NOW) == f"empty since {clock_minute(NOW)} - 12 ended"
    assert drain_text(drain(initial=0, left=0), NOW) == "empty"
    assert drain_share(drain(initial=0, left=0)) == 1.0
    assert drain_share(drain(initial=2, left=3)) == 0.0


def test_idle_is_time_without_a_working_viewer() -> None:
    row = desktop(last_activity=START, idle_timeout="30m")
    assert idle_text(row, [], NOW) == "4 m of 30 m"
    assert idle_text(row, [viewer("v")], NOW) == "in use"
    assert idle_text(row, [viewer("v", shadow=True)], NOW) == "4 m of 30 m"
    assert idle_text(row, [viewer("v", open=False)], NOW) == "4 m of 30 m"
    assert idle_text(desktop(idle_timeout="0"), [], START + 40) == "40 s"
    assert idle_text(desktop(idle_timeout="nonsense"), [], START + 40) == "40 s"
    assert idle_seconds(desktop(state="hibernated"), [], NOW) is None
    assert idle_seconds(desktop(started_at=None), [], NOW) is None


def test_a_time_out_of_nothing_is_none() -> None:
    assert time_out_text(desktop(idle_timeout="2h")) == "hibernates after 2h of idleness"
    for never in ("0", "", None, "nonsense"):
        assert time_out_text(desktop(idle_timeout=never)) == "never hibernates by itself"


@pytest.mark.parametrize(
    ("seconds", "text"), [(40, "40 s"), (125, "2 m"), (7200, "2 h"), (4200, "1 h 10"), (90000, "1 d 01")]
)
def test_spans_without_what_does_not_matter(seconds: float, text: str) -> None:
    assert span_text(seconds) == text


def test_loads_rates_and_viewers() -> None:
    assert load_text(desktop(load_cpu=37.4, load_memory=412 * 1024**2)) == "37 %  412 MiB"
    assert load_text(desktop(load_memory=3 * 1024**3)) == "3.0 GiB"
    assert load_text(desktop()) == ""
    assert (rate_text(84_000), rate_text(3_100_000)) == ("84 kB/s", "3.1 MB/s")
    assert viewer_text(viewer("v", mode="view", shadow=True, open=False)) == "ann, view only, shadow, connecting"


class TestTemplates:
    def test_runs_where_one_agent_has_the_program(self) -> None:
        agents = {"a": agent("a", missing_programs=["xterm"]), "b": agent("b")}
        assert why_not_runnable(template(), agents) == ""

    def test_missing_everywhere_names_the_machines(self) -> None:
        agents = {name: agent(name, missing_programs=["xterm"]) for name in ("r10", "r2", "r1", "r3", "r4")}
        assert why_not_runnable(template(), agents) == "xterm is missing on r1, r2, r3 and 2 more"

    def test_an_image_runs_in_containers(self) -> None:
        row = template(base_image="img")
        agents = {"a": agent("a", missing_programs=["xterm"]), "d": agent("d", platform="docker")}
        assert why_not_runnable(row, agents) == ""
        assert why_not_runnable(row, agents, "local") == "xterm is missing on a"
        assert why_not_runnable(row, agents, "kubernetes") == "no kubernetes agent is connected"
        assert why_not_runnable(template(command=[]), agents) == "it has neither a command nor an image"
        assert why_not_runnable(template(), agents, "docker") == "it has nothing that docker could run"

    def test_offline_agents_do_not_count(self) -> None:
        assert why_not_runnable(template(), {"a": agent("a", status="offline")}) == "no local agent is connected"

    def test_what_an_agent_publishes(self) -> None:
        row = template("screen", command=[])
        mac = agent("mac", platform="attach", metadata={"attached": [{"name": "screen"}, "rubbish"]})
        assert is_attached(row, {"mac": mac})
        assert why_not_runnable(row, {"mac": mac}) == ""
        assert (
            why_not_runnable(row, {"mac": agent("mac", platform="attach")}) == "it has neither a command nor an image"
        )
        assert why_not_runnable(template(), {"mac": mac}, "attach") == "no connected agent publishes it"


@pytest.mark.parametrize(
    ("name", "amount", "text"),
    [
        ("memory", "2Gi", "2.0 GiB"),
        ("memory", "512Mi", "512 MiB"),
        ("cpu", "1500m", "1.5 cores"),
        ("cpu", "1", "1 core"),
        ("cpu", "1000m", "1 core"),
        ("memory", "plenty", "plenty"),
        ("gpu", "1", "1"),
    ],
)
def test_what_a_session_is_given_is_written_as_what_it_uses(name: str, amount: str, text: str) -> None:
    assert resource_text(name, amount) == text
