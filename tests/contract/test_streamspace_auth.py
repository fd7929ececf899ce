"""Logging in and out, tokens, users, agent keys (seed 001, "Authentication", "User Management")."""

from __future__ import annotations

import base64
import json
import time
from datetime import datetime
from typing import Any

from app.server.access.tokens import LIFETIME
from tests.contract.streamspace_venue import NOWHERE, PASSWORD, SEED, Venue, shape, told

LOGIN = "/api/v1/auth/login"


def credentials(username: str = "ada", password: str = PASSWORD) -> dict[str, str]:
    return {"username": username, "password": password}


async def test_ss_2_a_login_answers_token_user_and_expiry(streamspace: Venue) -> None:
    answer = await streamspace.anyone.post(LOGIN, json=credentials())
    assert answer.status_code == 200
    assert shape(answer.json()) == shape(SEED["login"])
    assert answer.json()["user"]["username"] == "ada"
    assert answer.json()["user"]["role"] == "admin"
    listed = await streamspace.anyone.get(
        "/api/v1/agents", headers={"Authorization": f"Bearer {answer.json()['token']}"}
    )
    assert listed.status_code == 200


async def test_ss_5_the_token_is_a_jwt_of_24_hours(streamspace: Venue) -> None:
    answer = (await streamspace.anyone.post(LOGIN, json=credentials("kim"))).json()
    head, claims, _ = answer["token"].split(".")

    def read(part: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        return found

    assert read(head) == {"alg": "HS256", "typ": "JWT"}
    assert read(claims)["exp"] - read(claims)["iat"] == LIFETIME == 24 * 3600
    assert datetime.fromisoformat(answer["expires_at"]).timestamp() == read(claims)["exp"]


async def test_ss_3_a_bad_login(streamspace: Venue) -> None:
    for wrong in (credentials(password="wrong-password"), credentials("nobody"), credentials("", "")):
        answer = await streamspace.anyone.post(LOGIN, json=wrong)
        assert told(answer) == (401, "AUTH_INVALID_CREDENTIALS")
        assert {key: answer.json()[key] for key in SEED["bad_login"]} == SEED["bad_login"]


async def test_a_34_an_inactive_user_is_told_only_after_the_right_password(streamspace: Venue) -> None:
    await streamspace.users.change(streamspace.users.get("kim").id, active=False)  # type: ignore[union-attr]
    assert told(await streamspace.anyone.post(LOGIN, json=credentials("kim"))) == (403, "AUTH_INSUFFICIENT_PERMISSIONS")
    wrong = await streamspace.anyone.post(LOGIN, json=credentials("kim", "wrong-password"))
    assert told(wrong) == (401, "AUTH_INVALID_CREDENTIALS")
    assert told(await streamspace.kim.get("/api/v1/agents")) == (401, "AUTH_TOKEN_INVALID")


async def test_ss_4_logging_out_ends_this_token_and_no_other(streamspace: Venue) -> None:
    other = streamspace.token("kim")
    answer = await streamspace.kim.post("/api/v1/auth/logout")
    assert (answer.status_code, answer.json()) == (200, SEED["logout"])
    assert told(await streamspace.kim.get("/api/v1/agents")) == (401, "AUTH_TOKEN_INVALID")
    assert told(await streamspace.kim.post("/api/v1/auth/logout")) == (401, "AUTH_TOKEN_INVALID")
    again = await streamspace.anyone.get("/api/v1/agents", headers={"Authorization": f"Bearer {other}"})
    assert again.status_code == 200


async def test_the_consoles_token_is_an_administrators_and_is_not_logged_out(streamspace: Venue) -> None:
    assert (await streamspace.console.get("/api/v1/users")).status_code == 200
    assert told(await streamspace.console.post("/api/v1/auth/logout")) == (403, "AUTH_INSUFFICIENT_PERMISSIONS")


TOKENS = [
    (None, "AUTH_TOKEN_MISSING"),
    ("", "AUTH_TOKEN_MISSING"),
    ("Basic YWRhOnNlY3JldA==", "AUTH_TOKEN_MISSING"),
    ("Bearer nonsense", "AUTH_TOKEN_INVALID"),
    ("Bearer a.b.c", "AUTH_TOKEN_INVALID"),
    ("Bearer eyJhbGciOiJub25lIn0.e30.", "AUTH_TOKEN_INVALID"),
    ("Bearer " + "x" * 9000, "AUTH_TOKEN_INVALID"),
]


async def test_ss_5_every_request_needs_its_token(streamspace: Venue) -> None:
    for header, code in TOKENS:
        headers = {} if header is None else {"Authorization": header}
        answer = await streamspace.anyone.get("/api/v1/sessions", headers=headers)
        assert told(answer) == (401, code), header
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_ss_39_an_expired_token(streamspace: Venue) -> None:
    streamspace.tokens._clock = lambda: time.time() - LIFETIME - 60
    old = streamspace.token("kim")
    streamspace.tokens._clock = time.time
    async with streamspace.client(old) as client:
        assert told(await client.get("/api/v1/agents")) == (401, "AUTH_TOKEN_EXPIRED")


async def test_a_token_in_the_query_is_none_for_operations(streamspace: Venue) -> None:
    answer = await streamspace.anyone.get("/api/v1/agents", params={"token": streamspace.token("ada")})
    assert told(answer) == (401, "AUTH_TOKEN_MISSING")


# Users ------------------------------------------------------------------------------------------------------------


async def test_ss_24_users_by_page_and_role(streamspace: Venue) -> None:
    await streamspace.anyone.post(LOGIN, json=credentials())
    answer = await streamspace.ada.get("/api/v1/users")
    assert shape(answer.json()) == shape(SEED["users"])
    assert [user["username"] for user in answer.json()["users"]] == ["ada", "kim", "lee"]
    assert answer.json()["pagination"] == {"page": 1, "limit": 20, "total": 3, "total_pages": 1}
    second = (await streamspace.ada.get("/api/v1/users", params={"role": "user", "page": 2, "limit": 1})).json()
    assert [user["username"] for user in second["users"]] == ["lee"]
    assert second["pagination"] == {"page": 2, "limit": 1, "total": 2, "total_pages": 2}
    assert told(await streamspace.ada.get("/api/v1/users?role=root")) == (400, "INVALID_PARAMETER")
    assert told(await streamspace.ada.get("/api/v1/users?limit=101")) == (400, "INVALID_PARAMETER")


async def test_ss_25_a_user_is_created_once(streamspace: Venue) -> None:
    answer = await streamspace.ada.post("/api/v1/users", json=SEED["user_request"])
    assert answer.status_code == 201
    assert shape(answer.json()) == shape(SEED["user_created"])
    assert told(await streamspace.ada.post("/api/v1/users", json=SEED["user_request"])) == (409, "USER_ALREADY_EXISTS")
    login = await streamspace.anyone.post(LOGIN, json=credentials("john.doe", SEED["user_request"]["password"]))
    assert login.status_code == 200


async def test_a_34_the_role_is_user_where_none_is_said(streamspace: Venue) -> None:
    wanted = {"username": "max", "email": "max@example.com", "password": "long-enough"}
    assert (await streamspace.ada.post("/api/v1/users", json=wanted)).json()["role"] == "user"


MISFITS: list[tuple[dict[str, Any], str, str]] = [
    ({"username": None}, "VALIDATION_FAILED", "username"),
    ({"username": "two words"}, "VALIDATION_FAILED", "username"),
    ({"email": "nowhere"}, "VALIDATION_FAILED", "email"),
    ({"password": "short"}, "VALIDATION_FAILED", "password"),
    ({"password": 12345678}, "VALIDATION_FAILED", "password"),
    ({"role": "root"}, "VALIDATION_FAILED", "role"),
    ({"password": ...}, "MISSING_REQUIRED_FIELD", "password"),
]


async def test_users_that_cannot_be(streamspace: Venue) -> None:
    for change, code, field in MISFITS:
        wanted = {key: value for key, value in {**SEED["user_request"], **change}.items() if value is not ...}
        answer = await streamspace.ada.post("/api/v1/users", json=wanted)
        assert told(answer) == (400, code), change
        assert answer.json()["details"]["field"] == field


async def test_our_own_a_user_is_changed_and_deleted(streamspace: Venue) -> None:
    kim = streamspace.users.get("kim")
    assert kim is not None
    place = f"/api/v1/users/{kim.id}"
    changed = await streamspace.ada.patch(place, json={"email": "k@example.com", "role": "admin"})
    assert (changed.status_code, changed.json()["email"], changed.json()["role"]) == (200, "k@example.com", "admin")
    assert told(await streamspace.kim.get("/api/v1/users")) == (401, "AUTH_TOKEN_INVALID"), (
        "another role, another token"
    )
    assert (await streamspace.ada.delete(place)).status_code == 204
    assert told(await streamspace.ada.delete(place)) == (404, "USER_NOT_FOUND")
    assert told(await streamspace.ada.patch(f"/api/v1/users/{NOWHERE}", json={"active": False})) == (
        404,
        "USER_NOT_FOUND",
    )
    ada = streamspace.users.get("ada")
    assert ada is not None
    assert told(await streamspace.ada.delete(f"/api/v1/users/{ada.id}")) == (409, "CONFLICT"), "the last administrator"


ADMINISTRATORS = [
    ("GET", "/api/v1/users"),
    ("POST", "/api/v1/users"),
    ("PATCH", f"/api/v1/users/{NOWHERE}"),
    ("DELETE", f"/api/v1/users/{NOWHERE}"),
    ("PATCH", "/api/v1/agents/k8s"),
    ("POST", "/api/v1/templates"),
    ("PUT", "/api/v1/templates/firefox-browser"),
    ("DELETE", "/api/v1/templates/firefox-browser"),
    ("GET", "/api/v1/agent-keys"),
    ("POST", "/api/v1/agent-keys"),
    ("DELETE", f"/api/v1/agent-keys/{NOWHERE}"),
    ("POST", f"/api/v1/agent-keys/{NOWHERE}/rotate"),
]


async def test_ss_6_what_only_administrators_may(streamspace: Venue) -> None:
    for method, path in ADMINISTRATORS:
        answer = await streamspace.kim.request(method, path)
        assert told(answer) == (403, "AUTH_INSUFFICIENT_PERMISSIONS"), (method, path)


# Agent keys -------------------------------------------------------------------------------------------------------


async def test_our_own_agent_keys_are_made_rotated_and_withdrawn(streamspace: Venue) -> None:
    made = await streamspace.ada.post("/api/v1/agent-keys", json={"name": "venue", "agent_id": "docker-host-01"})
    assert made.status_code == 201
    row = made.json()
    assert list(row) == ["id", "name", "agent_id", "created_at", "rotated_at", "key"]
    listed = (await streamspace.ada.get("/api/v1/agent-keys")).json()["agent_keys"]
    assert [each["name"] for each in listed] == ["this machine", "venue"]
    assert row["key"] not in json.dumps(listed)
    rotated = await streamspace.ada.post(f"/api/v1/agent-keys/{row['id']}/rotate")
    assert rotated.status_code == 200
    assert rotated.json()["key"] != row["key"]
    assert rotated.json()["rotated_at"] is not None
    assert (await streamspace.ada.delete(f"/api/v1/agent-keys/{row['id']}")).status_code == 204
    assert told(await streamspace.ada.delete(f"/api/v1/agent-keys/{row['id']}")) == (404, "AGENT_KEY_NOT_FOUND")
    assert told(await streamspace.ada.post(f"/api/v1/agent-keys/{row['id']}/rotate")) == (404, "AGENT_KEY_NOT_FOUND")
    assert told(await streamspace.ada.delete("/api/v1/agent-keys/machine")) == (409, "CONFLICT")


# The audit --------------------------------------------------------------------------------------------------------


async def test_writes_are_audited_without_passwords_and_keys(streamspace: Venue) -> None:
    made = (await streamspace.ada.post("/api/v1/users", json=SEED["user_request"])).json()
    await streamspace.console.patch(f"/api/v1/users/{made['id']}", json={"password": "another-secret"})
    await streamspace.ada.delete(f"/api/v1/users/{made['id']}")
    await streamspace.ada.delete(f"/api/v1/users/{made['id']}")
    key = (await streamspace.ada.post("/api/v1/agent-keys", json={"name": "venue"})).json()
    await streamspace.ada.post(f"/api/v1/agent-keys/{key['id']}/rotate")
    acts = [(act.operator, act.verb, act.object, act.object_id, act.result) for act in streamspace.audited]
    assert acts == [
        ("ada", "create", "user", made["id"], "ok"),
        ("Operator Jo", "change", "user", made["id"], "ok"),
        ("ada", "delete", "user", made["id"], "ok"),
        ("ada", "delete", "user", made["id"], "user_not_found"),
        ("ada", "create", "agent key", key["id"], "ok"),
        ("ada", "rotate", "agent key", key["id"], "ok"),
    ]
    assert {act.dialect for act in streamspace.audited} == {"streamspace"}
    kept = repr(streamspace.audited)
    for secret in (SEED["user_request"]["password"], "another-secret", key["key"]):
        assert secret not in kept
    assert "argon2" not in kept
