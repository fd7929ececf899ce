"""NATS gone and back: TAKE DOWN on the strip since when, takes refused at once, everything else goes on, then it heals."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest
from nats.aio.client import Client
from PySide6.QtCore import Qt

from app.server.bus.embedded import binary
from tests.e2e.house import YES, House, a_house, in_a_house
from tests.fakes.ports import free_ports

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <StreamWriter:ResourceWarning")
"""nats-py leaves the connection that broke to the garbage collector when it connects again."""
AWAY = {"detail": "NATS request failed: NATS is away: no stream can be requested now"}
SINCE = re.compile(r"TAKE DOWN since \d\d:\d\d:\d\d: ")


def nats_server_of(pid: int) -> psutil.Process:
    """The broker's child."""
    (child,) = [one for one in psutil.Process(pid).children() if one.name() == "nats-server"]
    return child


@contextlib.contextmanager
def kept_away(house: House) -> Iterator[None]:
    """Kill the nats-server with -9 and sit on its port, so that the next one cannot start before the block ends.

    The broker is halted for the moment in between, or its new server might be faster.
    """
    port = int(house.process.nats_url.rpartition(":")[2])
    child = nats_server_of(house.process.pid)
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        os.kill(house.process.pid, signal.SIGSTOP)
        try:
            child.kill()
            deadline = time.monotonic() + 5.0
            while True:
                try:
                    squatter.bind(("127.0.0.1", port))
                    break
                except OSError:
                    assert time.monotonic() < deadline, "the port of a killed nats-server stays taken"
            squatter.listen()
        finally:
            os.kill(house.process.pid, signal.SIGCONT)
        yield


@in_a_house(nats_returns=True)
async def test_nats_gone_is_take_down_an_instant_502_and_heals(house: House) -> None:
    await house.preset()
    camera = await house.publisher(YES)
    session_id = (await camera.request(consumer_id="booth")).json()["session_id"]
    base, rows = await house.calm(), await house.state()
    silent = await house.publisher(bus=camera.bus)
    reconnects = camera.bus.stats["reconnects"]
    under_way = asyncio.ensure_future(silent.request())
    await silent.asked.get()
    began = time.monotonic()
    with kept_away(house):
        answer = await under_way
        assert (answer.status_code, answer.json()) == (502, AWAY)
        assert time.monotonic() - began < 4.0, "a request under way waits for nobody when NATS is gone"
        strip = await house.strip_says("nats-server")  # what is away is known a moment after that something is
        assert SINCE.search(strip), strip
        assert house.console.window.strip.state.live
        report = await house.http.get("/healthz")
        assert (report.status_code, report.json()["broken"]) == (503, ["nats"])

        began = time.monotonic()
        answer = await camera.request()
        assert (answer.status_code, answer.json()) == (502, AWAY)
        assert time.monotonic() - began < 4.0, "it waited for an answer"
        await house.show("Streams", camera.id)
        await house.row_says(camera.id, take="Take: DOWN")
        house.press(Qt.Key.Key_R)
        await house.until(lambda: house.toasts)
        assert house.toasts == [
            "Cam 1 was not given: NATS request failed: NATS is away: no stream can be requested now."
        ]

        assert await camera.beat() == 200, "streams live on over HTTP"
        assert (await house.http.delete(f"/streams/{silent.id}")).status_code == 200
        assert set(await house.sessions()) == {session_id}
    await house.strip_is_quiet()
    assert (await house.http.get("/healthz")).status_code == 200
    await hears_again(camera.bus, reconnects)
    assert (await camera.request(consumer_id="truck")).status_code == 201
    assert {row["id"] for row in rows["streams"]} == {camera.id}
    await house.back_at(base)
    house.says_all_well()


async def hears_again(bus: Client, reconnects: int) -> None:
    """Wait until a publisher's own client has connected once more than so often: it may not know yet that it was cut off."""
    async with asyncio.timeout(30):
        while bus.stats["reconnects"] <= reconnects or not bus.is_connected:
            await asyncio.sleep(0.02)
        await bus.flush()


@in_a_house(nats_returns=True)
async def test_nats_killed_is_started_again_without_anybody(house: House) -> None:
    camera = await house.publisher(YES)
    base = await house.calm()
    for _ in range(3):
        child = nats_server_of(house.process.pid)
        before = house.console.store.health["nats"].since
        reconnects = camera.bus.stats["reconnects"]
        child.kill()
        await house.until(lambda since=before: (nats := house.console.store.health["nats"]).ok and nats.since > since)
        await house.strip_is_quiet()
        assert nats_server_of(house.process.pid).pid != child.pid
        await hears_again(camera.bus, reconnects)
        assert (await camera.request()).status_code == 201
        await house.back_at(base)


async def test_a_foreign_nats_server_may_come_late_go_and_come_back(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    url = f"nats://127.0.0.1:{port}"
    server: subprocess.Popen[bytes] | None = None
    async with a_house_without_nats(tmp_path, url) as house:
        try:
            row = await house.advertise()
            answer = await house.http.post(
                f"/streams/{row['id']}/request", json={"consumer_id": "x", "consumer_address": "y"}
            )
            assert (answer.status_code, answer.json()) == (502, AWAY)
            for _ in range(2):
                server = subprocess.Popen([binary(), "-a", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL)
                await house.strip_is_quiet()
                camera = await house.publisher(YES, bus=await house.bus(url))
                assert (await camera.request()).status_code == 201
                base = await house.calm()
                server.kill()
                server.wait()
                assert SINCE.search(await house.strip_says("TAKE DOWN"))
                assert (await camera.request()).status_code == 502
                assert (await house.queues())["callboard_task_nodes"] <= base["callboard_task_nodes"]
        finally:
            if server is not None:
                server.kill()
                server.wait()


@contextlib.asynccontextmanager
async def a_house_without_nats(folder: Path, url: str) -> AsyncIterator[House]:
    """A house whose NATS server is elsewhere, and not there yet: the board is live and says so."""
    async with a_house(folder, f"--nats-url={url}", quiet=False) as house:
        await house.until(lambda: house.console.store.live)
        assert SINCE.search(await house.strip_says("TAKE DOWN"))
        yield house
