"""Which agent gets a session, and which of the refusals a caller is told."""

from __future__ import annotations

from typing import Any

import pytest

from app.contract import AgentRow, TemplateRow
from app.errors import CallboardError
from app.server.fleet.schedule import check, choose, wanted_platforms


def agent(id: str, platform: str = "local", **fields: Any) -> AgentRow:
    values = {"uuid": id, "platform": platform, "status": "online", "max_sessions": 10, "created_at": 0.0}
    return AgentRow(id=id, **{**values, "updated_at": 0.0, **fields})


def template(**fields: Any) -> TemplateRow:
    values: dict[str, Any] = {"name": "t", "display_name": "T", "command": ["xterm"], "base_image": "image"}
    return TemplateRow(id="t", created_at=0.0, updated_at=0.0, **values | fields)


def code_of(*args: Any, **fields: Any) -> str:
    with pytest.raises(CallboardError) as caught:
        choose(*args, **fields)
    return caught.value.code


LOCAL = ("local",)


def test_the_least_used_share_wins_then_the_id() -> None:
    agents = [agent("c", max_sessions=100), agent("b"), agent("a")]
    assert choose(agents, {"c": 10, "b": 2, "a": 2}, template(), LOCAL).id == "c"
    assert choose(agents, {"c": 30, "b": 2, "a": 2}, template(), LOCAL).id == "a"
    assert choose(agents, {}, template(), LOCAL).id == "a"


def test_a_region_goes_first_when_it_is_asked_for_and_never_otherwise() -> None:
    agents = [agent("a", region="west"), agent("b", region="east")]
    assert choose(agents, {"b": 5}, template(), LOCAL).id == "a"
    assert choose(agents, {"b": 5}, template(), LOCAL, region="east").id == "b"
    assert choose(agents, {"b": 10}, template(), LOCAL, region="east").id == "a"


def test_which_refusal() -> None:
    online, draining, full = agent("a"), agent("b", status="draining"), agent("c", max_sessions=1)
    away = agent("d", status="offline")
    assert code_of([], {}, template(), LOCAL) == "no_agents_available"
    assert code_of([away, agent("e", "docker")], {}, template(), LOCAL) == "no_agents_available"
    assert code_of([draining, away], {}, template(), LOCAL) == "agent_draining"
    assert code_of([draining, full], {"c": 1}, template(), LOCAL) == "agent_draining"
    assert code_of([full, away], {"c": 1}, template(), LOCAL) == "agent_capacity_exceeded"
    assert choose([draining, full, online], {"c": 1}, template(), LOCAL) is online


def test_no_slot_is_asked_for_what_begins_hibernated() -> None:
    full = agent("c", max_sessions=1)
    assert choose([full], {"c": 1}, template(), LOCAL, slots=0) is full


def test_an_agent_without_the_program_is_passed_over_and_named() -> None:
    bare, able = agent("a", missing_programs=["xterm"]), agent("b")
    assert choose([bare, able], {"b": 9}, template(), LOCAL) is able
    with pytest.raises(CallboardError) as caught:
        choose([bare], {}, template(), LOCAL)
    assert (caught.value.code, "xterm is not installed" in caught.value.message) == ("no_agents_available", True)


@pytest.mark.parametrize(
    ("fields", "platform", "found"),
    [
        ({}, None, ("kubernetes", "docker", "local")),
        ({"base_image": ""}, None, ("local",)),
        ({"command": []}, None, ("kubernetes", "docker")),
        ({}, "docker", ("docker",)),
        ({}, "kubernetes", ("kubernetes",)),
        ({}, "local", ("local",)),
        ({}, "attach", ("attach",)),
        ({"base_image": ""}, "docker", "template_invalid"),
        ({"base_image": ""}, "kubernetes", "template_invalid"),
        ({"command": []}, "local", "template_invalid"),
        ({"command": [], "base_image": ""}, None, "template_invalid"),
        ({}, "vm", "validation_failed"),
    ],
)
def test_platforms_that_can_run_a_template(fields: Any, platform: str | None, found: Any) -> None:
    if isinstance(found, tuple):
        assert wanted_platforms(template(**fields), platform) == found
    else:
        with pytest.raises(CallboardError) as caught:
            wanted_platforms(template(**fields), platform)
        assert caught.value.code == found


def test_attach_offers_its_own_targets_alone() -> None:
    desk = agent("desk", "attach", metadata={"attached": [{"name": "t"}, {"title": "nameless"}, 7]})
    assert choose([desk], {}, template(), ("attach",)) is desk
    assert code_of([desk], {}, template(name="other"), ("attach",)) == "no_agents_available"


@pytest.mark.parametrize(
    ("row", "used", "code"),
    [
        (None, 0, "agent_not_found"),
        (agent("a", "docker"), 0, "validation_failed"),
        (agent("a", status="offline"), 0, "agent_offline"),
        (agent("a", status="draining"), 0, "agent_draining"),
        (agent("a"), 10, "agent_capacity_exceeded"),
        (agent("a", missing_programs=["xterm"]), 0, "template_invalid"),
    ],
)
def test_an_agent_asked_for_by_name(row: AgentRow | None, used: int, code: str) -> None:
    with pytest.raises(CallboardError) as caught:
        check(row, "a", used, template(), LOCAL)
    assert caught.value.code == code


def test_an_agent_asked_for_by_name_that_can() -> None:
    row = agent("a")
    assert check(row, "a", 9, template(), LOCAL) is row
