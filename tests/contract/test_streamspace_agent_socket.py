"""The agents' socket of the StreamSpace document (seed 001, "Agent WebSocket Connection"): keys, refusals, frames, ends.

SS-28 to SS-36 with A-1, A-20 to A-24 on a real broker and real sockets. What messages do is held in
``test_streamspace_agents.py`` and the tests of the fleet.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from app.agent_protocol import FRAME_LIMIT
from tests.fakes.broker import RunningBroker, running_broker

pytestmark = pytest.mark.asyncio(loop_scope="module")

REGISTER = {
    "type": "register",
    "agent_id": "k8s-prod-us-east-1",
    "platform": "kubernetes",
    "region": "us-east-1",
    "capacity": {"max_cpu": 100, "max_memory": 256, "max_sessions": 100},
    "metadata": {"cluster_name": "prod-k8s-cluster", "agent_version": "v2.0-beta.1"},
}
WHO = "agent_id=k8s-prod-us-east-1&platform=kubernetes&region=us-east-1"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningBroker]:
    async with running_broker(tmp_path_factory.mktemp("agents") / "data") as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def broker(one_broker: RunningBroker) -> AsyncIterator[RunningBroker]:
    """The module's broker with its limits as new."""
    one_broker.broker.logins.limiter._windows.clear()
    yield one_broker


def key_of(broker: RunningBroker) -> str:
    return broker.broker.logins.agent_keys.machine_key()


def url(broker: RunningBroker, query: str = WHO, *, place: str = "") -> str:
    return f"ws{broker.url.removeprefix('http')}{place}/agent/ws?{query}"


def dial(broker: RunningBroker, query: str = WHO, *, key: str | None = None, place: str = "") -> connect:
    headers = {"X-Agent-API-Key": key_of(broker) if key is None else key}
    return connect(url(broker, query, place=place), additional_headers=headers, compression=None, proxy=None)


async def refused(address: str, **headers: str) -> tuple[int, dict[str, Any]]:
    with pytest.raises(InvalidStatus) as caught:
        async with connect(address, additional_headers=headers, proxy=None):
            pass
    body = json.loads(caught.value.response.body or b"")
    assert set(body) >= {"error", "message", "code", "details", "timestamp", "request_id"}
    return caught.value.response.status_code, body


async def registered(socket: ClientConnection, **more: Any) -> dict[str, Any]:
    await socket.send(json.dumps({**REGISTER, **more}))
    answer: dict[str, Any] = json.loads(await asyncio.wait_for(socket.recv(), 10))
    return answer


async def closed(socket: ClientConnection) -> tuple[int | None, str | None]:
    async with asyncio.timeout(10):
        try:
            while True:
                await socket.recv()
        except ConnectionClosed:
            return socket.close_code, socket.close_reason


# --- who may --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["", "/api/v1"])
async def test_an_agent_connects_and_registers(broker: RunningBroker, place: str) -> None:
    """SS-28 to SS-30, A-1."""
    async with dial(broker, place=place) as socket:
        answer = await registered(socket)
        assert (answer["type"], answer["agent_id"], answer["status"], answer["heartbeat_interval"]) == (
            "register_ack", "k8s-prod-us-east-1", "registered", "10s",
        )  # fmt: skip
        row = broker.broker.fleet.agents["k8s-prod-us-east-1"]
        assert (row.status, row.region, row.max_sessions) == ("online", "us-east-1", 100)


async def test_a_key_comes_in_any_of_three_ways(broker: RunningBroker) -> None:
    """A-23."""
    key = key_of(broker)
    for query, headers in (
        (WHO, {"X-Agent-API-Key": key}),
        (WHO, {"Authorization": f"Bearer {key}"}),
        (f"{WHO}&key={key}", {}),
    ):
        async with connect(url(broker, query), additional_headers=headers, proxy=None) as socket:
            assert (await registered(socket))["status"] == "registered"


async def test_no_key_and_a_wrong_key_open_nothing(broker: RunningBroker) -> None:
    status, body = await refused(url(broker))
    assert (status, body["code"]) == (401, "AUTH_TOKEN_MISSING")
    status, body = await refused(url(broker), **{"X-Agent-API-Key": "cba_wrong"})
    assert (status, body["code"]) == (401, "AUTH_TOKEN_INVALID")
    assert "cba_wrong" not in json.dumps(body)


async def test_wrong_keys_meet_a_limit_and_right_ones_do_not(broker: RunningBroker) -> None:
    """Five a minute for each address; an agent with its key is never in the way of those."""
    statuses = [(await refused(url(broker, f"{WHO}&key=wrong{n}")))[0] for n in range(7)]
    assert statuses == [401] * 5 + [429] * 2
    for _ in range(8):
        async with dial(broker) as socket:
            assert (await registered(socket))["status"] == "registered"
    assert (await refused(url(broker, f"{WHO}&key=wrong")))[0] == 429


async def test_a_key_of_one_agent_is_not_anothers(broker: RunningBroker) -> None:
    _, key = await broker.broker.logins.agent_keys.add("for one", agent_id="docker-7")
    status, body = await refused(url(broker), **{"X-Agent-API-Key": key})
    assert (status, body["code"]) == (403, "AUTH_INSUFFICIENT_PERMISSIONS")
    async with dial(broker, "agent_id=docker-7&platform=docker", key=key) as socket:
        answer = await registered(socket, agent_id="docker-7", platform="docker", region=None)
        assert answer["status"] == "registered"


@pytest.mark.parametrize("act", ["revoke", "rotate"])
async def test_a_key_that_is_withdrawn_closes_its_agents(broker: RunningBroker, act: str) -> None:
    keys = broker.broker.logins.agent_keys
    row, key = await keys.add("to be withdrawn")
    who = "agent_id=passing&platform=docker"
    async with dial(broker, who, key=key) as socket, dial(broker) as other:
        await registered(socket, agent_id="passing", platform="docker", region=None)
        await registered(other)
        await (keys.revoke(row.id) if act == "revoke" else keys.rotate(row.id))
        assert await closed(socket) == (4401, "The agent's key was withdrawn")
        await other.send(json.dumps({"type": "heartbeat", "agent_id": "k8s-prod-us-east-1"}))
        await other.ping()
    assert (await refused(url(broker, who), **{"X-Agent-API-Key": key}))[0] == 401


async def test_agents_without_keys_where_that_is_allowed(tmp_path: Path) -> None:
    """A-23: the switch for agents that speak the document's words alone; a wrong key stays wrong."""
    async with running_broker(tmp_path / "data", open_agents=True) as broker:
        async with connect(url(broker), proxy=None) as socket:
            assert (await registered(socket))["status"] == "registered"
        assert (await refused(url(broker), **{"X-Agent-API-Key": "cba_wrong"}))[0] == 401


# --- what the address says ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ("platform=kubernetes", "MISSING_REQUIRED_FIELD", "agent_id"),
        ("agent_id=&platform=kubernetes", "MISSING_REQUIRED_FIELD", "agent_id"),
        ("agent_id=a", "MISSING_REQUIRED_FIELD", "platform"),
        ("agent_id=a&platform=amiga", "INVALID_PARAMETER", "platform"),
        ("agent_id=..%2Fa&platform=docker", "INVALID_PARAMETER", "agent_id"),
        ("agent_id=" + "a" * 200 + "&platform=docker", "INVALID_PARAMETER", "agent_id"),
    ],
)
async def test_an_address_that_does_not_say_who_is_told_before_the_upgrade(
    broker: RunningBroker, query: str, code: str, field: str
) -> None:
    """A-24."""
    status, body = await refused(url(broker, query), **{"X-Agent-API-Key": key_of(broker)})
    assert (status, body["code"], body["details"]) == (400, code, {"field": field})


async def test_words_that_differ_from_the_address_end_it(broker: RunningBroker) -> None:
    """A-24."""
    async with dial(broker) as socket:
        await socket.send(json.dumps({**REGISTER, "agent_id": "somebody-else"}))
        assert (await closed(socket))[0] == 4003


# --- frames ---------------------------------------------------------------------------------------------------------


async def test_frames_that_are_no_messages_are_ignored_ten_times(broker: RunningBroker) -> None:
    """A-24."""
    async with dial(broker) as socket:
        await registered(socket)
        for frame in ("", "no json", "[]", "{}", b"\xff\xfe", '{"type": "made up"}', '{"type": 7}'):
            await socket.send(frame)
        await socket.send(json.dumps({"type": "heartbeat", "agent_id": "k8s-prod-us-east-1"}))
        waiter = await socket.ping()
        await asyncio.wait_for(waiter, 10)
        for _ in range(10):
            await socket.send("no json")
        assert (await closed(socket))[0] is not None


async def test_a_frame_is_at_most_a_mebibyte(broker: RunningBroker) -> None:
    async with dial(broker) as socket:
        await registered(socket)
        await socket.send(json.dumps({"type": "heartbeat", "agent_id": "x", "pad": "x" * (FRAME_LIMIT - 200)}))
        await asyncio.wait_for(await socket.ping(), 10)
        await socket.send("x" * (FRAME_LIMIT + 1))
        assert (await closed(socket))[0] == 1009


async def test_the_newest_connection_of_an_agent_wins(broker: RunningBroker) -> None:
    """A-22."""
    async with dial(broker) as old:
        await registered(old)
        async with dial(broker) as new:
            assert (await registered(new))["status"] == "registered"
            assert (await closed(old))[0] == 4009
            assert broker.broker.fleet.agents["k8s-prod-us-east-1"].status == "online"
    await gone(broker)


async def test_a_socket_that_closes_takes_its_agent_offline(broker: RunningBroker) -> None:
    """SS-36; and nothing of the connection is left."""
    async with dial(broker) as socket:
        await registered(socket)
    await gone(broker)
    assert broker.broker.viewers.tunnels._ways == {}


async def gone(broker: RunningBroker) -> None:
    """Until the broker has seen the agent go."""
    news = asyncio.Event()
    stop = broker.broker.events.subscribe(lambda _event: news.set())
    async with asyncio.timeout(10):
        while broker.broker.fleet.agents["k8s-prod-us-east-1"].status != "offline":
            news.clear()
            await news.wait()
    stop()


async def test_no_upgrade_no_socket(broker: RunningBroker) -> None:
    async with broker.client(console=False) as client:
        answer = await client.get("/agent/ws", params={"agent_id": "a", "platform": "docker"})
        assert answer.status_code in (401, 404)
        assert answer.json()["code"]
