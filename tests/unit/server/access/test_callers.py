from __future__ import annotations

import asyncio

import pytest

from app.contract import UserRow
from app.errors import Unauthorised
from app.server.access import Access
from app.server.access.callers import Callers
from app.server.access.requests import operator_name
from tests.unit.server.access.conftest import Floor, bearing, scope

TOKEN = "t" * 32


@pytest.fixture
def callers(floor: Floor) -> Callers:
    return Callers(Access(TOKEN, floor.tokens), floor.tokens)


@pytest.fixture
async def people(floor: Floor) -> dict[str, tuple[UserRow, str]]:
    rows = [
        await floor.users.create("admin", "a@example.com", "secure-password", "admin"),
        await floor.users.create("kim", "kim@example.com", "secure-password"),
    ]
    return {row.username: (row, floor.tokens.issue(row)[0]) for row in rows}


def test_the_consoles_token_is_an_administrator_named_by_its_operator(callers: Callers) -> None:
    caller = callers.caller(scope(("authorization", f"Bearer {TOKEN}"), ("x-callboard-operator", "J%C3%BCrgen")))
    assert (caller.kind, caller.username, caller.is_admin, caller.token_id) == ("console", "Jürgen", True, None)
    assert callers.caller(bearing(TOKEN)).username == "console"


def test_a_users_token_is_that_user_whatever_the_header_says(
    callers: Callers, people: dict[str, tuple[UserRow, str]]
) -> None:
    row, token = people["kim"]
    caller = callers.caller(scope(("authorization", f"bearer {token}"), ("x-callboard-operator", "admin")))
    assert (caller.kind, caller.username, caller.user_id, caller.is_admin) == ("user", "kim", row.id, False)


def test_a_token_in_the_address_counts_for_sockets_and_the_viewers_page_alone(
    callers: Callers, people: dict[str, tuple[UserRow, str]]
) -> None:
    query = f"token={people['kim'][1]}"
    for right in (
        scope(query=query, type="websocket", path="/vnc-viewer/1"),
        scope(query=query, path="/vnc-viewer/1"),
        scope(query=query, path="/api/v1/vnc-viewer/1"),
    ):
        assert callers.caller(right).username == "kim"
    for wrong in (
        scope(query=query, path="/api/v1/agents"),
        scope(query=query, path="/vnc-viewer/1", method="POST"),
        scope(path="/api/v1/agents"),
        scope(type="websocket", path="/vnc-viewer/770e8400-e29b-41d4-a716-446655440002"),
    ):
        with pytest.raises(Unauthorised) as refused:
            callers.caller(wrong)
        assert refused.value.code == "token_missing"


def test_a_wrong_token_is_nobody(callers: Callers) -> None:
    for token in ("u" * 32, "a.b.c"):
        with pytest.raises(Unauthorised) as refused:
            callers.caller(bearing(token))
        assert refused.value.code == "token_invalid"


def test_the_console_takes_an_administrators_login_and_nobody_elses(
    floor: Floor, people: dict[str, tuple[UserRow, str]]
) -> None:
    access = Access(TOKEN)
    admin, kim = (bearing(people[name][1]) for name in ("admin", "kim"))
    assert not access.has_console_token(admin)
    access.trust(floor.tokens)
    assert access.has_console_token(admin)
    assert access.has_console_token(scope(query=f"token={people['admin'][1]}", type="websocket"))
    assert not access.has_console_token(scope(query=f"token={people['admin'][1]}"))
    assert not access.has_console_token(kim)
    assert access.operator(kim) is None


def test_an_act_carries_the_name_that_logged_in(floor: Floor, people: dict[str, tuple[UserRow, str]]) -> None:
    access = Access(TOKEN, floor.tokens)
    request = scope(("authorization", f"Bearer {people['admin'][1]}"), ("x-callboard-operator", "somebody%20else"))
    assert access.operator(request) == "admin"
    assert access.has_console_token(request)
    assert operator_name(request) == "admin"
    own = scope(("authorization", f"Bearer {TOKEN}"), ("x-callboard-operator", "sam"))
    assert access.operator(own) == "sam"
    assert access.operator(bearing(TOKEN)) is None
    assert access.operator(scope(("x-callboard-operator", "sam"))) is None


@pytest.mark.parametrize("how", ["logout", "password", "other user"])
async def test_a_feed_hears_when_its_login_ends(floor: Floor, people: dict[str, tuple[UserRow, str]], how: str) -> None:
    access = Access(TOKEN, floor.tokens)
    row, token = people["admin"]
    ended: list[str] = []
    stop = access.on_end(bearing(token), lambda: ended.append("login"))
    stop_own = access.on_end(bearing(TOKEN), lambda: ended.append("console"))
    if how == "logout":
        await floor.tokens.revoke(floor.tokens.issue(row)[0])
        assert ended == []
        await floor.tokens.revoke(token)
    elif how == "password":
        await floor.users.change(row.id, password="another-password")
    else:
        await floor.users.change(people["kim"][0].id, password="another-password")
    assert ended == ([] if how == "other user" else ["login"])
    stop()
    stop_own()


async def test_a_feed_hears_when_its_login_runs_out(floor: Floor, people: dict[str, tuple[UserRow, str]]) -> None:
    access = Access(TOKEN, floor.tokens)
    _, token = people["admin"]
    floor.now = (floor.tokens.principal_of(token).expires_at or 0.0) - 0.05
    ended = asyncio.Event()
    access.on_end(bearing(token), ended.set)
    async with asyncio.timeout(15):
        await ended.wait()
    assert floor.tokens._listeners == floor.tokens._listeners[:1]
