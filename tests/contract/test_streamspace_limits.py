"""Rate limits and a storage that is away, through the whole dialect (seed 001, "Rate Limiting")."""

from __future__ import annotations

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.contract.streamspace_venue import NOWHERE, PASSWORD, SEED, Venue, told

LOGIN = "/api/v1/auth/login"
SESSIONS = "/api/v1/sessions"


def window(answer: object) -> tuple[int, int, int]:
    headers = answer.headers  # type: ignore[attr-defined]
    return tuple(int(headers[f"x-ratelimit-{name}"]) for name in ("limit", "remaining", "reset"))  # type: ignore[return-value]


async def test_ss_41_five_logins_a_minute_right_or_wrong(streamspace: Venue) -> None:
    wrong = {"username": "ada", "password": "guess-guess"}
    for remaining in (4, 3, 2, 1, 0):
        answer = await streamspace.anyone.post(LOGIN, json=wrong)
        assert told(answer) == (401, "AUTH_INVALID_CREDENTIALS")
        assert window(answer)[:2] == (5, remaining)
    streamspace.elapsed += 15
    right = {"username": "ada", "password": PASSWORD}
    answer = await streamspace.ada.post(LOGIN, json=right)
    assert told(answer) == (429, "RATE_LIMIT_EXCEEDED")
    assert (await streamspace.ada.get("/api/v1/agents")).status_code == 200
    streamspace.elapsed += 45
    assert (await streamspace.anyone.post(LOGIN, json=right)).status_code == 200


async def test_ss_41_ten_new_sessions_a_minute_for_each_user(streamspace: Venue) -> None:
    wanted = {"user": "kim", "template": "firefox-browser", "persistent_home": False}
    async with streamspace.agent():
        for _ in range(10):
            assert (await streamspace.kim.post(SESSIONS, json=wanted)).status_code == 202
        assert told(await streamspace.kim.post(SESSIONS, json=wanted)) == (429, "RATE_LIMIT_EXCEEDED")
        assert (await streamspace.lee.post(SESSIONS, json={**wanted, "user": "lee"})).status_code == 202
        assert window(await streamspace.kim.get(SESSIONS))[:2] == (100, 99)
    assert len(streamspace.fleet.desktops) == 11


async def test_ss_42_the_hundred_and_first_request(streamspace: Venue) -> None:
    for remaining in range(99, -1, -1):
        answer = await streamspace.kim.get("/api/v1/agents")
        assert window(answer) == (100, remaining, int(streamspace.now) + 60)
    streamspace.elapsed += 15
    answer = await streamspace.kim.get("/api/v1/agents")
    assert told(answer) == (429, "RATE_LIMIT_EXCEEDED")
    example = {key: value for key, value in SEED["too_many"].items() if key != "timestamp"}
    assert {key: answer.json()[key] for key in example} == example
    assert answer.headers["retry-after"] == "45"
    assert window(answer) == (100, 0, int(streamspace.now) + 60)
    assert told(await streamspace.kim.get("/api/v1/nowhere")) == (429, "RATE_LIMIT_EXCEEDED")
    assert (await streamspace.lee.get("/api/v1/agents")).status_code == 200
    assert (await streamspace.console.get("/api/v1/agents")).status_code == 200
    assert told(await streamspace.anyone.get("/api/v1/agents")) == (401, "AUTH_TOKEN_MISSING")
    streamspace.elapsed += 45
    assert (await streamspace.kim.get("/api/v1/agents")).status_code == 200


async def test_a_30_an_upgrade_meets_the_limit_before_it(streamspace: Venue) -> None:
    for _ in range(100):
        await streamspace.kim.get("/api/v1/agents")
    path = f"{SESSIONS}/{NOWHERE}/logs?follow=true&token={streamspace.token('kim')}"
    async with streamspace.listening() as address:
        with pytest.raises(InvalidStatus) as caught:
            await connect(address + path, proxy=None)
    assert caught.value.response.status_code == 429
    assert window(caught.value.response)[:2] == (100, 0)


async def test_a_storage_that_is_away_is_a_503_and_nothing_has_changed(streamspace: Venue) -> None:
    async with streamspace.agent() as agent:
        made = await streamspace.running(agent)
        await streamspace.database.stop()
        wanted = {"user": "kim", "template": "firefox-browser", "persistent_home": False}
        user = {**SEED["user_request"], "username": "max"}
        for method, path, body in (
            ("POST", SESSIONS, wanted),
            ("POST", "/api/v1/users", user),
            ("POST", "/api/v1/agent-keys", {"name": "venue"}),
            ("POST", "/api/v1/templates", {"name": "x", "display_name": "x", "command": ["x"]}),
            ("PATCH", f"{SESSIONS}/{made['id']}", {"tags": ["a"]}),
            ("PATCH", f"/api/v1/agents/{agent.agent_id}", {"status": "draining"}),
            ("POST", "/api/v1/auth/logout", None),
        ):
            client = streamspace.kim if path.endswith("logout") else streamspace.ada
            answer = await client.request(method, path, json=body)
            assert told(answer) == (503, "SERVICE_UNAVAILABLE"), path
        assert list(streamspace.fleet.desktops) == [made["id"]]
        assert (await streamspace.kim.get(f"{SESSIONS}/{made['id']}")).json()["tags"] == []
        assert (await streamspace.ada.get(f"/api/v1/agents/{agent.agent_id}")).json()["status"] == "online"
        await streamspace.database.start()
