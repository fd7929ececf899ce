"""The dialect's table of errors: every code of the tree has its status, every body is ``{"detail"}``."""

from __future__ import annotations

import json

import pytest

from app import errors as tree
from app.server.dialects.maestra import errors


def classes(base: type[tree.CallboardError]) -> list[type[tree.CallboardError]]:
    """Every class of the tree below one; what a client derives from it is never raised by a domain."""
    below = [child for child in base.__subclasses__() if child.__module__ == tree.__name__]
    return [each for child in below for each in (child, *classes(child))]


@pytest.mark.parametrize("kind", classes(tree.CallboardError))
def test_every_code_has_a_status(kind: type[tree.CallboardError]) -> None:
    response = errors.render(kind("What happened."))
    start_up_only = kind in (tree.ConfigError, tree.PortInUse)
    assert (response.status_code == 500) is start_up_only
    assert json.loads(response.body) == {"detail": "What happened."}
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (tree.Expired("x"), 404),
        (tree.Rejected("x"), 502),
        (tree.Rejected("x", code="bad_reply"), 502),
        (tree.Unavailable("x", code="no_responders"), 502),
        (tree.Unavailable("x", code="bus_away"), 502),
        (tree.Unavailable("x"), 503),
        (tree.NoAnswer("x"), 504),
        (tree.Conflict("x"), 409),
        (tree.TooLarge("x"), 413),
        (tree.CallboardError("x", code="never heard of"), 500),
    ],
)
def test_statuses_of_the_seed(error: tree.CallboardError, status: int) -> None:
    assert errors.render(error).status_code == status


def test_a_422_holds_only_what_json_can_say() -> None:
    found = errors.unprocessable(
        [
            {
                "type": "a",
                "loc": ("body", 0),
                "msg": "m",
                "input": b"\xff",
                "url": "https://x",
                "ctx": {"e": ValueError("v")},
            },
            {"type": "b", "loc": ("query", "limit"), "msg": "m", "input": None},
        ]
    )
    assert found.status_code == 422
    assert json.loads(found.body) == {
        "detail": [
            {"type": "a", "loc": ["body", 0], "msg": "m", "input": "\ufffd", "ctx": {"e": "v"}},
            {"type": "b", "loc": ["query", "limit"], "msg": "m", "input": None},
        ]
    }
