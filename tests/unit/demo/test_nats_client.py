"""The client of nats-py as it is mended here: no socket and no task is left, and a flush waits for what came before."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from typing import Any

import pytest
from nats.errors import NoServersError

from app.demo.nats_client import connect

INFO = b'INFO {"server_id":"x","version":"2.12.0","go":"go1.24","host":"0.0.0.0","port":4222,"max_payload":1048576}\r\n'
OPTIONS = {"connect_timeout": 0.2, "reconnect_time_wait": 0.01, "max_reconnect_attempts": 3}


class Half:
    """A server that greets and then answers nothing, or hangs up."""

    def __init__(self, *, hangs_up: bool) -> None:
        self.hangs_up = hangs_up
        self.met = self.heard_end = 0

    async def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.met += 1
        writer.write(INFO)
        if not self.hangs_up:
            with contextlib.suppress(ConnectionError):  # who left before it read our greeting is heard like this
                await reader.read()
            self.heard_end += 1
        writer.close()


async def complain(_: Exception) -> None:
    """nats-py would print a traceback."""


@pytest.mark.parametrize("hangs_up", [False, True])
async def test_each_attempt_closes_the_one_before(hangs_up: bool) -> None:
    house = Half(hangs_up=hangs_up)
    async with await asyncio.start_server(house.meet, "127.0.0.1", 0) as server:
        with pytest.raises(NoServersError):
            await connect(f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}", error_cb=complain, **OPTIONS)
        async with asyncio.timeout(10):
            while not hangs_up and house.heard_end < house.met:  # each of our ends gets closed
                await asyncio.sleep(0.01)
        assert house.met > 1
    gc.collect()  # an unclosed socket is an error of this test, not of a later one


async def test_a_flush_waits_for_what_was_said_before_it() -> None:
    heard: list[bytes] = []

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(INFO)
        while line := await reader.readline():
            heard.append(line.split()[0] if line.strip() else b"")
            if heard[-1] == b"PING":
                writer.write(b"PONG\r\n")
        writer.close()

    async with await asyncio.start_server(meet, "127.0.0.1", 0) as server, asyncio.timeout(30):
        client = await connect(f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}", error_cb=complain)
        heard.clear()
        await client.subscribe("maestra.stream.request.s1")
        await client.flush()
        assert b"PING" in heard[heard.index(b"SUB") :], heard
        await client.close()


@pytest.mark.parametrize("succeeds", [False, True])
async def test_a_client_that_is_closed_tries_no_more(succeeds: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the attempt under way ends, one way or the other, just as it is cancelled."""
    gone, tried, end = asyncio.Event(), asyncio.Event(), asyncio.Event()
    really = asyncio.open_connection

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        again = gone.is_set()
        writer.write(INFO)
        while line := await reader.readline():
            if line.strip() == b"PING":
                writer.write(b"PONG\r\n")
                if not again:
                    await gone.wait()
                    break
        writer.close()

    async def attempt(**place: Any) -> Any:
        connection = await really(**place) if succeeds else None
        tried.set()
        await end.wait()
        if connection is None:
            raise ConnectionRefusedError
        return connection

    async with await asyncio.start_server(meet, "127.0.0.1", 0) as server, asyncio.timeout(30):
        url = f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        client = await connect(url, error_cb=complain, reconnect_time_wait=0.01, max_reconnect_attempts=-1)
        monkeypatch.setattr(asyncio, "open_connection", attempt)
        gone.set()
        await tried.wait()
        end.set()
        await asyncio.sleep(0)  # the attempt has ended, and nobody knows it yet
        await client.close()
    assert client.is_closed
    for task in (client._reconnection_task, client._reading_task, client._flusher_task, client._ping_interval_task):
        assert task is not None
        assert task.done(), task
