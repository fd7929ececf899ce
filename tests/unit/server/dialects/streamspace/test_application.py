from __future__ import annotations

from typing import Any

from app.server.dialects.streamspace.application import Paths
from app.server.dialects.streamspace.operations import Operation


async def endpoint(_: Any) -> Any:
    """Nothing."""


def paths(*wanted: str) -> Paths:
    return Paths([Operation(method, path, endpoint, "X", None) for method, path in (each.split() for each in wanted)])


ALL = paths(
    "GET /a", "POST /a", "GET /a/stats", "GET /a/{id}", "DELETE /a/{id}", "GET /a/{id}/logs", "POST /b/{id}/c/{other}"
)


def found(path: str) -> tuple[set[str], dict[str, str]] | None:
    match = ALL.find(path, path.encode())
    return None if match is None else (set(match[0]), match[1])


def test_ss_11_a_word_wins_over_a_place() -> None:
    assert found("/a/stats") == ({"GET"}, {})
    assert found("/a/other") == ({"GET", "DELETE"}, {"id": "other"})


def test_every_part_must_fit() -> None:
    assert found("/a") == ({"GET", "POST"}, {})
    assert found("/a/1/logs") == ({"GET"}, {"id": "1"})
    assert found("/b/1/c/2") == ({"POST"}, {"id": "1", "other": "2"})
    for path in ("/", "/a/", "/a//", "/a//logs", "/a/1/", "/a/1/nothing", "/b/1/d/2", "/b/1/c/", "/A"):
        assert found(path) is None, path


def test_a_place_may_hold_a_slash_that_came_encoded() -> None:
    match = ALL.find("/a/x/y z", b"/a/x%2Fy%20z")
    assert match is not None
    assert match[1] == {"id": "x/y z"}
    assert ALL.find("/a/ü", b"/a/%C3%BC") is not None
