"""Logs of sessions, read and followed (seed 001, "Session Logs")."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.contract.streamspace_venue import NOWHERE, SEED, Venue, told

LINES: list[str] = SEED["logs"]["logs"]


def place(session: dict[str, Any]) -> str:
    return f"/api/v1/sessions/{session['id']}/logs"


@asynccontextmanager
async def following(venue: Venue, path: str, token: str = "", header: str = "") -> AsyncIterator[ClientConnection]:
    """A socket that follows, its token in the address or as a header."""
    query = f"{'&' if '?' in path else '?'}token={token}" if token else ""
    headers = {"Authorization": f"Bearer {header}"} if header else {}
    async with (
        venue.listening() as address,
        connect(address + path + query, additional_headers=headers, compression=None, proxy=None) as socket,
    ):
        yield socket


async def refused(venue: Venue, path: str, token: str = "") -> tuple[int, str]:
    """Status and code of an upgrade that is refused."""
    with pytest.raises(InvalidStatus) as caught:
        async with following(venue, path, token):
            pass
    response = caught.value.response
    assert "x-ratelimit-limit" in response.headers
    headers = list(response.headers.raw_items())
    return told(httpx.Response(response.status_code, headers=headers, content=bytes(response.body or b"")))


async def read(socket: ClientConnection, count: int) -> list[str]:
    """The next lines."""
    async with asyncio.timeout(10):
        return [str(await socket.recv()) for _ in range(count)]


async def until_closed(socket: ClientConnection) -> tuple[list[str], int]:
    """What still comes, and the close code."""
    texts: list[str] = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            texts += await read(socket, 1)
    assert socket.close_code is not None
    return texts, socket.close_code


async def test_ss_20_the_last_lines(streamspace: Venue) -> None:
    async with streamspace.agent() as agent:
        agent.logs = list(LINES)
        made = await streamspace.running(agent)
        answer = await streamspace.kim.get(place(made))
        assert (answer.status_code, answer.json()) == (200, SEED["logs"])
        assert (await streamspace.kim.get(f"{place(made)}?tail=2")).json()["logs"] == LINES[-2:]
        bare = (await streamspace.kim.get(f"{place(made)}?timestamps=false")).json()["logs"]
        assert bare[0] == "[INFO] VNC server started on port 5900"
        [first, *_] = [each for each in agent.heard if each["type"] == "logs_request"]
        assert (first["session_id"], first["data"]["tail"]) == (made["id"], 100)


async def test_ss_20_parameters_that_do_not_fit(streamspace: Venue) -> None:
    async with streamspace.agent() as agent:
        made = await streamspace.running(agent)
        for query, field in (
            ("tail=-1", "tail"),
            ("tail=all", "tail"),
            ("follow=perhaps", "follow"),
            ("timestamps=2", "timestamps"),
        ):
            answer = await streamspace.kim.get(f"{place(made)}?{query}")
            assert told(answer) == (400, "INVALID_PARAMETER")
            assert answer.json()["details"]["field"] == field
        answer = await streamspace.kim.get(f"{place(made)}?follow=true")
        assert told(answer) == (400, "INVALID_PARAMETER"), "following needs an upgrade"
        assert answer.json()["details"]["field"] == "follow"


async def test_a_17_an_agent_that_is_away_leaves_our_own_lines(streamspace: Venue) -> None:
    async with streamspace.agent() as agent:
        made = await streamspace.running(agent)
    await streamspace.until_event(lambda: streamspace.fleet.agents[agent.agent_id].status == "offline")
    answer = await streamspace.kim.get(place(made))
    assert answer.status_code == 200
    assert isinstance(answer.json()["logs"], list)


async def test_a_18_following_sends_the_backlog_then_each_new_line(streamspace: Venue) -> None:
    async with streamspace.agent() as agent:
        agent.logs = list(LINES)
        made = await streamspace.running(agent)
        path = f"{place(made)}?follow=true&tail=2"
        async with following(streamspace, path, streamspace.token("kim")) as socket:
            assert await read(socket, 2) == LINES[-2:]
            await agent.more_logs("2025-11-22T10:47:00Z new", "2025-11-22T10:47:01Z newer")
            assert await read(socket, 2) == ["2025-11-22T10:47:00Z new", "2025-11-22T10:47:01Z newer"]
            await streamspace.kim.delete(f"/api/v1/sessions/{made['id']}")
            await streamspace.until_state(made["id"], "terminated")
            await agent.more_logs("2025-11-22T10:48:00Z last", eof=True)
            assert await until_closed(socket) == (["2025-11-22T10:48:00Z last"], 1000)


async def test_a_18_a_header_does_too_and_timestamps_may_be_left_out(streamspace: Venue) -> None:
    async with streamspace.agent() as agent:
        agent.logs = list(LINES)
        made = await streamspace.running(agent)
        path = f"{place(made)}?follow=1&tail=1&timestamps=false"
        async with following(streamspace, path, header=streamspace.token("ada")) as socket:
            assert await read(socket, 1) == ["[INFO] User connected via VNC"]


async def test_a_29_logging_out_closes_4401(streamspace: Venue) -> None:
    async with streamspace.agent() as agent:
        agent.logs = list(LINES)
        made = await streamspace.running(agent)
        path = f"{place(made)}?follow=true&tail=1"
        token = streamspace.kim.headers["authorization"].removeprefix("Bearer ")
        async with following(streamspace, path, token) as socket:
            await read(socket, 1)
            await streamspace.kim.post("/api/v1/auth/logout")
            assert (await until_closed(socket))[1] == 4401


async def test_what_is_wrong_is_told_before_the_upgrade(streamspace: Venue) -> None:
    async with streamspace.agent() as agent:
        made = await streamspace.running(agent)
        kim, lee = streamspace.token("kim"), streamspace.token("lee")
        follow = f"{place(made)}?follow=true"
        assert await refused(streamspace, follow) == (401, "AUTH_TOKEN_MISSING")
        assert await refused(streamspace, follow, "nonsense") == (401, "AUTH_TOKEN_INVALID")
        assert await refused(streamspace, follow, lee) == (403, "AUTH_INSUFFICIENT_PERMISSIONS")
        assert await refused(streamspace, place(made), kim) == (400, "INVALID_PARAMETER")
        assert await refused(streamspace, f"{follow}&tail=x", kim) == (400, "INVALID_PARAMETER")
        gone = f"/api/v1/sessions/{NOWHERE}/logs?follow=true"
        assert await refused(streamspace, gone, kim) == (404, "SESSION_NOT_FOUND")
        assert await refused(streamspace, "/api/v1/agents", kim) == (404, "NOT_FOUND")
