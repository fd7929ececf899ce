from __future__ import annotations

import asyncio
import base64
import json
import stat
from typing import Any

import jwt
import pytest

from app.contract import UserRow
from app.errors import ConfigError, Unauthorised
from app.server.access import tokens as tokens_module
from app.server.access.tokens import LIFETIME, Tokens, establish_secret
from tests.unit.server.access.conftest import SECRET, Floor


@pytest.fixture
async def kim(floor: Floor) -> UserRow:
    await floor.users.create("admin", "a@example.com", "secure-password", "admin")
    return await floor.users.create("kim", "kim@example.com", "secure-password")


def refused(floor: Floor, token: str) -> str:
    with pytest.raises(Unauthorised) as refusal:
        floor.tokens.principal_of(token)
    return refusal.value.code


def test_the_secret_is_made_once_and_its_owners_alone(floor: Floor) -> None:
    secret = establish_secret(floor.folder)
    assert len(secret) >= 32
    assert stat.S_IMODE(floor.folder.token_secret.stat().st_mode) == 0o600
    assert establish_secret(floor.folder) == secret
    floor.folder.token_secret.write_bytes(b"short")
    with pytest.raises(ConfigError, match=r"jwt\.secret"):
        establish_secret(floor.folder)


def test_a_token_is_a_jwt_for_24_hours(floor: Floor, kim: UserRow) -> None:
    token, expires_at = floor.tokens.issue(kim)
    header, claims, _ = token.split(".")
    assert json.loads(base64.urlsafe_b64decode(header + "==")) == {"alg": "HS256", "typ": "JWT"}
    read = json.loads(base64.urlsafe_b64decode(claims + "=="))
    assert (read["sub"], read["exp"] - read["iat"]) == (kim.id, 24 * 3600)
    assert expires_at == read["exp"] == floor.now + LIFETIME
    principal = floor.tokens.principal_of(token)
    assert (principal.kind, principal.user_id, principal.username, principal.role) == ("user", kim.id, "kim", "user")
    assert not principal.is_admin
    assert (principal.token_id, principal.expires_at) == (read["jti"], expires_at)


def test_a_token_holds_to_its_last_second_and_no_longer(floor: Floor, kim: UserRow) -> None:
    token, expires_at = floor.tokens.issue(kim)
    floor.now = expires_at - 0.5
    assert floor.tokens.principal_of(token)
    floor.now = expires_at
    assert refused(floor, token) == "token_expired"
    assert refused(floor, token) == "token_expired"


def forged(**changes: Any) -> dict[str, Any]:
    return {"iss": "callboard", "sub": "x", "jti": "j", "iat": 1, "exp": 9_999_999_999, "gen": 1} | changes


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("", "token_missing"),
        ("rubbish", "token_invalid"),
        ("a.b.c", "token_invalid"),
        ("\ud800.\ud800.x", "token_invalid"),
        ("x" * 100_000, "token_invalid"),
        (jwt.encode(forged(), "k" * 64, algorithm="HS256"), "token_invalid"),
        (jwt.encode(forged(), None, algorithm="none"), "token_invalid"),
        (jwt.encode(forged(), SECRET, algorithm="HS512"), "token_invalid"),
        (jwt.encode(forged(iss="other"), SECRET, algorithm="HS256"), "token_invalid"),
        (jwt.encode({"iss": "callboard", "sub": "x"}, SECRET, algorithm="HS256"), "token_invalid"),
        (jwt.encode(forged(), SECRET, algorithm="HS256"), "token_invalid"),
    ],
)
def test_what_is_no_token_of_ours_opens_nothing(floor: Floor, kim: UserRow, token: str, code: str) -> None:
    assert refused(floor, token) == code


def test_a_token_whose_claims_were_changed_opens_nothing(floor: Floor, kim: UserRow) -> None:
    token, _ = floor.tokens.issue(kim)
    assert floor.tokens.principal_of(token)
    header, claims, signature = token.split(".")
    read = json.loads(base64.urlsafe_b64decode(claims + "==")) | {"sub": floor.users.get("admin").id}  # type: ignore[union-attr]
    other = base64.urlsafe_b64encode(json.dumps(read).encode()).decode().rstrip("=")
    assert refused(floor, f"{header}.{other}.{signature}") == "token_invalid"


async def test_a_logout_ends_this_token_alone_also_after_a_restart(floor: Floor, kim: UserRow) -> None:
    (one, _), (other, _) = floor.tokens.issue(kim), floor.tokens.issue(kim)
    principal = floor.tokens.principal_of(one)
    await floor.tokens.revoke(one)
    assert floor.heard == [(principal.token_id, kim.id)]
    for known in (floor, await floor.again()):
        assert refused(known, one) == "token_invalid"
        assert known.tokens.principal_of(other).username == "kim"
    with pytest.raises(Unauthorised):
        await floor.tokens.revoke(one)


@pytest.mark.parametrize("how", ["password", "deactivate", "delete"])
async def test_every_token_of_a_user_ends_with_what_let_it_in(floor: Floor, kim: UserRow, how: str) -> None:
    token, _ = floor.tokens.issue(kim)
    assert floor.tokens.principal_of(token)
    if how == "password":
        await floor.users.change(kim.id, password="another-password")
    elif how == "deactivate":
        await floor.users.change(kim.id, active=False)
    else:
        await floor.users.delete(kim.id)
    assert floor.heard == [(None, kim.id)]
    for known in (floor, await floor.again()):
        assert refused(known, token) == "token_invalid"
    if how == "deactivate":
        await floor.users.change(kim.id, active=True)
        assert refused(floor, token) == "token_invalid"


async def test_a_token_says_the_role_of_now(floor: Floor, kim: UserRow) -> None:
    token, _ = floor.tokens.issue(kim)
    await floor.users.change(kim.id, role="admin")
    assert refused(floor, token) == "token_invalid"
    token, _ = floor.tokens.issue(floor.users.by_id(kim.id))
    assert floor.tokens.principal_of(token).is_admin


async def test_revocations_are_forgotten_when_the_token_has_run_out(floor: Floor, kim: UserRow) -> None:
    token, expires_at = floor.tokens.issue(kim)
    await floor.tokens.revoke(token)
    assert await floor.tokens.purge() == 0
    floor.now = expires_at + 1
    assert await floor.tokens.purge() == 1
    assert await floor.store.revoked_tokens(0.0) == {}
    assert refused(floor, token) == "token_expired"


def test_tokens_remembered_are_bounded(floor: Floor, kim: UserRow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens_module, "REMEMBERED", 3)
    issued = [floor.tokens.issue(kim)[0] for _ in range(10)]
    for token in issued * 2:
        assert floor.tokens.principal_of(token).username == "kim"
    assert len(floor.tokens._known) == 3


def test_who_no_longer_listens_hears_nothing(floor: Floor) -> None:
    heard: list[str] = []
    stop = floor.tokens.subscribe(lambda _, user_id: heard.append(user_id))
    floor.tokens._user_ended("a")
    stop()
    floor.tokens._user_ended("b")
    assert heard == ["a"]


def test_another_brokers_token_opens_nothing(floor: Floor, kim: UserRow) -> None:
    other = Tokens(floor.users, floor.store, b"o" * 64, clock=lambda: floor.now)
    assert refused(floor, other.issue(kim)[0]) == "token_invalid"


@pytest.mark.parametrize("ends", ["logout", "password", "inactive", "deleted"])
async def test_a_socket_hears_of_a_login_that_ended_before_it_listened(floor: Floor, kim: UserRow, ends: str) -> None:
    token, _ = floor.tokens.issue(kim)
    principal = floor.tokens.principal_of(token)
    if ends == "logout":
        await floor.tokens.revoke(token)
    elif ends == "deleted":
        await floor.users.delete(kim.id)
    else:
        changes: dict[str, Any] = {"password": "another-password"} if ends == "password" else {"active": False}
        await floor.users.change(kim.id, **changes)
    ended = asyncio.Event()
    floor.tokens.on_end(principal, ended.set)
    assert not ended.is_set(), "whoever listens may not be ready before it has the way to stop"
    async with asyncio.timeout(15):
        await ended.wait()


async def test_a_login_that_stands_ends_no_socket(floor: Floor, kim: UserRow) -> None:
    ended: list[str] = []
    stop = floor.tokens.on_end(floor.tokens.principal_of(floor.tokens.issue(kim)[0]), lambda: ended.append("now"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await floor.users.change(kim.id, email="new@example.com")
    assert ended == []
    stop()
