"""The table of transitions, whole."""

from __future__ import annotations

import itertools

import pytest

from app.contract import DESKTOP_STATES
from app.errors import CallboardError, Conflict, Forbidden, Invalid
from app.server.fleet.rules import act_for

ALLOWED = {
    ("running", "hibernated"): "hibernate",
    ("hibernated", "running"): "wake",
    ("running", "terminating"): "terminate",
    ("hibernated", "terminating"): "terminate",
    ("pending", "terminating"): "terminate",
}


@pytest.mark.parametrize(
    ("current", "wanted", "admin"), [*itertools.product(DESKTOP_STATES, DESKTOP_STATES, (True, False))]
)
def test_every_pair(current: str, wanted: str, admin: bool) -> None:
    if (current, wanted) in ALLOWED:
        assert act_for(current, wanted, admin=admin) == ALLOWED[current, wanted]
    elif wanted == "terminated" and current != "terminated" and admin:
        assert act_for(current, wanted, admin=True) == "force"
    else:
        with pytest.raises(CallboardError) as caught:
            act_for(current, wanted, admin=admin)
        if current == "terminating":
            assert (type(caught.value), caught.value.code) == (Conflict, "session_terminating")
        elif wanted == "terminated" and current != "terminated":
            assert (type(caught.value), caught.value.code) == (Forbidden, "not_permitted")
        else:
            assert (type(caught.value), caught.value.code) == (Invalid, "invalid_state_transition")
            assert caught.value.message == f"Cannot transition from '{current}' to '{wanted}'"


@pytest.mark.parametrize("wanted", ["", "Running", "paused", "deleted"])
def test_a_state_that_is_none(wanted: str) -> None:
    with pytest.raises(Invalid) as caught:
        act_for("running", wanted, admin=True)
    assert caught.value.code == "validation_failed"
