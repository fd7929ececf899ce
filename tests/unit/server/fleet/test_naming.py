"""Names as the StreamSpace document shows them, and as container platforms take them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.server.fleet.naming import AGENT_ID, session_name

LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")


def test_the_documents_example() -> None:
    assert re.fullmatch(r"john-doe-firefox-browser-[a-z0-9]{6}", session_name("john.doe", "firefox-browser", ()))


@given(st.text(max_size=120), st.text(max_size=120))
def test_any_user_and_template_make_a_label(user: str, template: str) -> None:
    name = session_name(user, template, ())
    assert LABEL.fullmatch(name)
    assert len(name) <= 63


def test_a_name_is_given_once() -> None:
    taken: set[str] = set()
    for _ in range(500):
        name = session_name("kim", "xterm", taken)
        assert name not in taken
        taken.add(name)


@pytest.mark.parametrize("agent_id", ["k8s-prod-us-east-1", "a", "Stage.Left_2", "0" * 100])
def test_ids_of_agents(agent_id: str) -> None:
    assert AGENT_ID.fullmatch(agent_id)


@pytest.mark.parametrize("agent_id", ["", "-a", "a b", "ä", "a/b", "0" * 101, "a\n"])
def test_what_no_agent_is_called(agent_id: str) -> None:
    assert not AGENT_ID.fullmatch(agent_id)
