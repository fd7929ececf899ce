"""Who may do what on a whole broker: logins, the console's token, agents' keys; and none of them in a log."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.fakes.broker import BrokerProcess, Brokers, RunningBroker, running_broker
from tests.fakes.streamspace import ScriptedAgent

PASSWORD = "secure-password"
UNKNOWN = "770e8400-e29b-41d4-a716-446655440002"


class House:
    """A broker with an administrator and a user who have logged in."""

    def __init__(self, running: RunningBroker) -> None:
        self.running = running
        self.logins = running.broker.logins
        self.tokens: dict[str, str] = {}
        self.ids: dict[str, str] = {}

    async def open(self) -> None:
        """Make the two and let them in."""
        for username, role in (("ada", "admin"), ("kim", "user")):
            row = await self.logins.users.create(username, f"{username}@example.com", PASSWORD, role)  # type: ignore[arg-type]
            self.ids[username] = row.id
            await self.log_in(username)

    async def log_in(self, username: str, password: str = PASSWORD) -> httpx.Response:
        async with self.client() as client:
            body = {"username": username, "password": password}
            answer = await client.post("/api/v1/auth/login", json=body)
        if answer.status_code == 200:
            self.tokens[username] = answer.json()["token"]
        return answer

    def client(self, username: str | None = None) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.tokens[username]}"} if username else {}
        return httpx.AsyncClient(base_url=self.running.url, headers=headers, trust_env=False, timeout=10)

    def socket(self, path: str) -> Any:
        return connect(f"{self.running.url.replace('http', 'ws')}{path}", proxy=None, compression=None)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with running_broker(tmp_path / "data", limit_login=1000, limit_other=1000) as running:
        house = House(running)
        await house.open()
        yield house


async def status_of(attempt: Any) -> int:
    """How an upgrade was refused."""
    with pytest.raises(InvalidStatus) as refused:
        await attempt
    return refused.value.response.status_code


async def closed(connection: ClientConnection) -> int:
    """The code with which a socket closes."""
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await connection.recv()
    return connection.close_code or 0


# -- the console's own API -------------------------------------------------------------------------------------


async def test_an_administrators_login_opens_what_a_console_may(house: House) -> None:
    async with house.client("ada") as ada, house.client("kim") as kim, house.client() as nobody:
        assert (await ada.get("/console/v1/broker")).status_code == 200
        assert (await kim.get("/console/v1/broker")).status_code == 401
        assert (await nobody.get("/console/v1/broker")).status_code == 401
    async with house.socket(f"/console/v1/feed?token={house.tokens['ada']}") as feed:
        assert json.loads(await feed.recv())["t"] == "hello"
    assert await status_of(house.socket(f"/console/v1/feed?token={house.tokens['kim']}")) == 401


async def test_an_act_of_a_login_is_that_persons_whatever_the_request_says(house: House) -> None:
    async with house.client("ada") as ada:
        headers = {"X-Callboard-Operator": quote("somebody else")}
        body = {"name": "Wall", "consumer_id": "w", "consumer_address": "10.0.0.9"}
        assert (await ada.post("/console/v1/presets", json=body, headers=headers)).status_code == 201
        rows = (await ada.get("/console/v1/audit", params={"verb": "create"})).json()
    assert {row["operator"] for row in rows if row["object"] == "preset"} == {"ada"}


@pytest.mark.parametrize("how", ["logout", "password", "deactivate"])
async def test_a_feed_closes_with_its_login(house: House, how: str) -> None:
    own = house.running
    async with (
        house.socket(f"/console/v1/feed?token={house.tokens['ada']}") as feed,
        house.socket(f"/console/v1/feed?token={own.token}") as console,
        own.client() as admin,
        house.client("ada") as ada,
    ):
        await feed.recv()
        if how == "logout":
            assert (await ada.post("/api/v1/auth/logout")).status_code == 200
        else:
            body = {"password": "another-password"} if how == "password" else {"active": False}
            if how == "deactivate":
                await house.logins.users.create("bea", "bea@example.com", PASSWORD, "admin")
            answer = await admin.patch(f"/api/v1/users/{house.ids['ada']}", json=body)
            assert answer.status_code == 200, answer.text
        assert await closed(feed) == 4401
        assert (await ada.get("/console/v1/broker")).status_code == 401
        assert (await ada.get("/api/v1/agents")).json()["code"] == "AUTH_TOKEN_INVALID"
        await console.recv()


# -- logins ----------------------------------------------------------------------------------------------------


async def test_a_logout_outlives_the_broker(tmp_path: Path) -> None:
    async with running_broker(tmp_path / "data") as running:
        house = House(running)
        await house.open()
        kept = house.tokens["kim"]
        await house.log_in("kim")
        async with house.client("kim") as kim:
            assert (await kim.post("/api/v1/auth/logout")).json() == {"message": "Logout successful"}
    async with running_broker(tmp_path / "data") as running:
        again = House(running)
        for token, status in ((kept, 200), (house.tokens["kim"], 401)):
            again.tokens["kim"] = token
            async with again.client("kim") as kim:
                assert (await kim.get("/api/v1/agents")).status_code == status


async def test_guessing_passwords_meets_the_limit(tmp_path: Path) -> None:
    async with running_broker(tmp_path / "data") as running:
        house = House(running)
        await house.logins.users.create("kim", "kim@example.com", PASSWORD)
        answers = [await house.log_in("kim", f"guess {number}") for number in range(7)]
        assert [answer.status_code for answer in answers] == [401] * 5 + [429] * 2
        assert answers[-1].json()["code"] == "RATE_LIMIT_EXCEEDED"
        assert (await house.log_in("kim")).status_code == 429


async def test_the_first_administrators_password_comes_from_the_environment(brokers: Brokers) -> None:
    process = brokers.start(environ={"CALLBOARD_ADMIN_PASSWORD": "given-password"})
    async with httpx.AsyncClient(base_url=process.url, trust_env=False) as client:
        body = {"username": "admin", "password": "given-password"}
        assert (await client.post("/api/v1/auth/login", json=body)).json()["user"]["role"] == "admin"
    assert process.terminate() == 0
    assert "given-password" not in "".join(process.log)
    assert not any("password" in json.loads(line) for line in process.log)


async def test_or_is_made_and_told_once_on_standard_error(brokers: Brokers) -> None:
    first = brokers.start()
    assert first.terminate() == 0
    (told,) = [json.loads(line) for line in first.log if '"password"' in line]
    assert told["username"] == "admin"
    second = brokers.start()
    async with httpx.AsyncClient(base_url=second.url, trust_env=False) as client:
        body = {"username": "admin", "password": told["password"]}
        assert (await client.post("/api/v1/auth/login", json=body)).status_code == 200
    assert second.terminate() == 0
    assert not any('"password"' in line for line in second.log)


# -- agents' keys ----------------------------------------------------------------------------------------------


async def test_an_agent_needs_a_key_and_leaves_with_it(house: House) -> None:
    async with house.client("ada") as ada:
        made = (await ada.post("/api/v1/agent-keys", json={"name": "rack 1"})).json()
        assert await status_of(house.socket("/agent/ws?agent_id=a&platform=docker&key=wrong")) == 401
        assert await status_of(house.socket("/agent/ws?agent_id=a&platform=docker")) == 401
        agent = ScriptedAgent("a", "docker")
        path = f"/agent/ws?agent_id=a&platform=docker&key={made['key']}"
        async with house.socket(path) as socket:
            await socket.send(json.dumps(agent.register))
            assert json.loads(await socket.recv())["type"] == "register_ack"
            assert (await ada.delete(f"/api/v1/agent-keys/{made['id']}")).status_code in (200, 204)
            assert await closed(socket) == 4401
        assert await status_of(house.socket(path)) == 401


# -- secrets in addresses --------------------------------------------------------------------------------------


async def test_no_secret_of_an_address_or_a_header_reaches_a_log(brokers: Brokers) -> None:
    """Right and wrong ones, on every way in that carries one, with everything logged that is."""
    process = brokers.start("--log-level", "debug", environ={"CALLBOARD_ADMIN_PASSWORD": "given-password"})
    secrets = await _use_secrets(process)
    assert process.terminate() == 0
    written = "".join(process.log)
    for file in (process.data_dir / "logs").iterdir():
        written += file.read_text("utf-8", "replace")
    assert [secret for secret in secrets if secret in written] == []
    for file in process.data_dir.glob("callboard.sqlite*"):
        content = file.read_bytes()
        assert [secret for secret in secrets if secret.encode() in content] == []


async def _use_secrets(process: BrokerProcess) -> list[str]:
    base = process.url.replace("http", "ws")
    async with httpx.AsyncClient(base_url=process.url, trust_env=False, timeout=10) as client:
        body = {"username": "admin", "password": "given-password"}
        token = (await client.post("/api/v1/auth/login", json=body)).json()["token"]
        await client.post("/api/v1/auth/login", json={"username": "admin", "password": "a-wrong-password"})
        headers = {"Authorization": f"Bearer {token}"}
        key = (await client.post("/api/v1/agent-keys", json={"name": "k"}, headers=headers)).json()["key"]
        wrong = "wrong-secret-of-an-address"
        machine = (process.data_dir / "agent.key").read_text().strip()
        for secret in (token, wrong):
            await client.get(f"/vnc-viewer/{UNKNOWN}?token={secret}")
            await client.get(f"/api/v1/agents?token={secret}", headers={"Authorization": f"Bearer {secret}"})
            await client.get(f"/vnc-viewer/{UNKNOWN}?token={secret}", headers={"Host": "evil.example"})
            for path in (f"/vnc-viewer/{UNKNOWN}?token={secret}", f"/console/v1/feed?token={secret}"):
                with contextlib.suppress(InvalidStatus):
                    async with connect(f"{base}{path}", proxy=None):
                        pass
        for secret in (key, machine, wrong):
            with contextlib.suppress(InvalidStatus):
                async with connect(f"{base}/agent/ws?agent_id=a&platform=docker&key={secret}", proxy=None) as agent:
                    await agent.send("rubbish")
            for path in ("tunnel/proxy-0123456789abcdef", "ws?agent_id=a&platform=docker"):
                with contextlib.suppress(InvalidStatus):
                    bearer = {"Authorization": f"Bearer {secret}"}
                    async with connect(f"{base}/agent/{path}", additional_headers=bearer, proxy=None):
                        pass
    return [token, key, machine, wrong, "given-password", "a-wrong-password", process.token]
