"""Consoles that read slowly, and a thousand that come back at once: the broker stays small, quick, and hides nothing."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from typing import Any

import httpx
import msgspec
import psutil
import pytest
from websockets.asyncio.client import ClientConnection, connect

from app.client.feed import Numbers
from app.client.transport import feed_url_of
from app.contract import Diff, FeedMessage, Hello, Snapshot
from app.server.feed import QUEUE_BYTES
from tests.e2e.house import CAMERA, House, eventually, in_a_house
from tests.fakes.broker import ROOT

MIB = 1024 * 1024
SLOW = 4
TIMES = 60
NOISE = {"metadata": {"note": "x" * 500_000}}
CONSOLES = 1000
ROUNDS = 2


class Watch:
    """Measures while it runs: how long a heartbeat takes, and the most memory that the broker had."""

    def __init__(self, house: House, stream_id: str) -> None:
        self.took: list[float] = []
        self._process = psutil.Process(house.process.pid)
        self.before = self.peak = self._memory()
        self._http = httpx.AsyncClient(base_url=house.process.url, trust_env=False, timeout=15.0)
        self._path = f"/streams/{stream_id}/heartbeat"
        self._task = asyncio.ensure_future(self._run())

    def _memory(self) -> int:
        return int(self._process.memory_info().rss)

    async def _run(self) -> None:
        while True:
            began = time.monotonic()
            answer = await self._http.post(self._path)
            assert answer.status_code == 200
            self.took.append(time.monotonic() - began)
            self.peak = max(self.peak, self._memory())
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """It must not have failed."""
        assert not self._task.done()
        self._task.cancel()
        await asyncio.wait({self._task})
        await self._http.aclose()

    @property
    def grown(self) -> int:
        """MiB by which the broker has grown at the most."""
        return (self.peak - self.before) // MIB


async def a_feed(house: House) -> ClientConnection:
    """A console that reads nothing unless it is asked to: its library stops the socket after one message."""
    token = house.process.token
    return await connect(
        f"{feed_url_of(house.process.url)}?token={token}",
        max_queue=1,
        compression=None,
        ping_interval=None,
        max_size=None,
    )


async def noise(house: House, times: int) -> None:
    """Streams that come and go, half a megabyte of feed each."""
    for _ in range(times):
        row = await house.advertise(**NOISE)
        assert (await house.http.delete(f"/streams/{row['id']}")).status_code == 200


@in_a_house()
async def test_a_console_that_reads_slowly_costs_little_and_gets_a_snapshot_later(house: House) -> None:
    camera = await house.publisher()
    await noise(house, 10)
    base = await house.calm()
    slow = [await a_feed(house) for _ in range(SLOW)]
    watch = Watch(house, camera.id)
    await noise(house, TIMES)
    await watch.stop()
    assert (await house.queues())["callboard_feed_waiting"] <= SLOW * QUEUE_BYTES
    assert watch.grown < 60, f"{SLOW} slow consoles cost {watch.grown} MiB"
    assert statistics.median(watch.took) < 0.25
    house.says_all_well()

    last = await house.advertise(name="after the noise")
    for feed in slow:
        numbers = await read_until(feed, last["id"])
        assert numbers.whole
        feed.transport.abort()  # a close would wait for what it has not read
    assert (await house.figures())["callboard_console_resyncs"] >= SLOW
    await house.back_at(base)
    house.says_all_well()


async def read_until(feed: ClientConnection, stream_id: str) -> Numbers:
    """Read at last, until a stream is known. Every diff must follow; what was dropped comes as another snapshot."""
    numbers, decoder, snapshots, known = Numbers(), msgspec.json.Decoder(FeedMessage), 0, False
    async with asyncio.timeout(20):
        while not known:
            message = decoder.decode(await feed.recv(decode=False))
            wrong = ""
            if isinstance(message, Snapshot):
                snapshots += message.part == message.parts
                wrong = numbers.snapshot(message)
                rows = [msgspec.json.decode(raw, type=dict[str, Any]) for raw in message.rows.get("stream", ())]
                known = any(row["id"] == stream_id for row in rows)
            elif isinstance(message, Diff):
                wrong = numbers.diff(message)
                known = any(event.id == stream_id for event in message.events)
            elif not isinstance(message, Hello):
                wrong = numbers.pulse(message)
            assert not wrong, f"a silent hole: {wrong}"
    assert snapshots >= 2, "it got nothing instead of what it missed"
    return numbers


@pytest.mark.timeout(180)
@in_a_house()
async def test_a_thousand_feeds_that_reconnect_at_once_all_get_the_board(house: House) -> None:
    camera = await house.publisher()
    for number in range(200):
        answer = await house.http.post("/streams/advertise", json=CAMERA | {"name": f"crowd {number}"})
        assert answer.status_code == 201
    base = await house.calm()
    watch = Watch(house, camera.id)
    arguments = [house.process.url, house.process.token, str(CONSOLES), str(ROUNDS)]
    storm = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.e2e.storm", *arguments, cwd=ROOT,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert storm.stdin is not None
    assert storm.stdout is not None
    try:
        for _ in range(ROUNDS):
            report = json.loads(await asyncio.wait_for(storm.stdout.readline(), 60))
            assert report["failed"] == []
            assert report["arrived"] == CONSOLES
            await eventually(lambda: consoles(house, CONSOLES + 1))
            house.says_all_well()
            storm.stdin.write(b"\n")
            await storm.stdin.drain()
        assert await asyncio.wait_for(storm.wait(), 30) == 0
    finally:
        if storm.returncode is None:
            storm.kill()
        await storm.communicate()
    await watch.stop()
    assert watch.grown < 120, f"{CONSOLES} consoles cost {watch.grown} MiB"
    assert statistics.median(watch.took) < 0.25
    assert camera.id in house.console.store.streams
    await eventually(lambda: consoles(house, 1))
    await house.back_at(base)
    house.says_all_well()


async def consoles(house: House, count: int) -> bool:
    """Whether the broker has so many: it learns by and by that others have hung up."""
    return (await house.figures())["callboard_consoles"] == count
