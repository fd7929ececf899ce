"""Kill -9 and SIGTERM: what was answered is there again, under its id; nobody is left behind; the board comes back."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import secrets
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from PySide6.QtCore import Qt

from app.client.broker_file import running_broker
from app.demo.nats_client import connect as connect_nats
from tests.e2e.console_process import ConsoleProcess
from tests.e2e.house import CAMERA, WALL, YES, a_house, end_what_is_left, eventually
from tests.fakes.broker import BrokerProcess, Brokers
from tests.fakes.ports import free_ports

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <StreamWriter:ResourceWarning")
"""nats-py leaves the connection that broke to the garbage collector when it connects again."""
ROUNDS = 5
CLIENTS = 8


class Ledger:
    """What clients were told with 2xx, and what they had asked for without an answer yet when the broker died.

    Only an answer counts: what is in ``asked`` may have happened or not.
    """

    def __init__(self) -> None:
        self.streams: set[str] = set()
        self.sessions: dict[str, str] = {}
        self.withdrawn: set[str] = set()
        self.stopped: set[str] = set()
        self.acts: set[str] = set()
        self.asked: set[str] = set()
        self._done = 0
        self._more = asyncio.Event()

    def one_more(self) -> None:
        """A client has done something."""
        self._done += 1
        self._more.set()

    async def until_done(self, count: int) -> None:
        """Wait for so many more: what was done has a number on a fast machine and on a slow one."""
        enough = self._done + count
        async with asyncio.timeout(60):
            while self._done < enough:
                self._more.clear()
                await self._more.wait()

    def check(self, streams: set[str], sessions: set[str], past: dict[str, str], acts: set[str]) -> None:
        """Nothing answered is missing, and nothing that was ended is back."""
        assert not self.streams - self.asked - streams, "advertised, answered, gone"
        assert not self.withdrawn & streams, "withdrawn, answered, back"
        open_streams = self.streams - self.asked
        lost = {one for one, stream in self.sessions.items() if stream in open_streams} - self.asked - sessions
        assert not lost, "session opened, answered, gone"
        assert not self.stopped & sessions, "stopped, answered, back"
        assert not {one for one, stream in self.sessions.items() if stream in self.withdrawn} & sessions
        assert set(past) >= set(self.sessions) | self.stopped, "history lacks a session that was answered"
        assert {past[one] for one in self.stopped} <= {"stopped"}
        assert not self.acts - acts, "an act was answered and is not in the audit"


class Busy:
    """One client that advertises, takes, stops and withdraws without a pause, as an operator so that acts are audited."""

    def __init__(self, http: httpx.AsyncClient, bus: Client, ledger: Ledger, dice: random.Random) -> None:
        self._http = http
        self._bus = bus
        self._ledger = ledger
        self._dice = dice
        self._mine: list[str] = []
        self._taken: list[str] = []

    async def run(self) -> None:
        """Until the broker is gone."""
        try:
            while True:
                verb = self._dice.choice((self._advertise, self._take, self._take, self._stop, self._withdraw))
                await verb()
                self._ledger.one_more()
        except httpx.TransportError:
            return

    async def _advertise(self) -> None:
        answer = await self._http.post("/streams/advertise", json=CAMERA)
        assert answer.status_code == 201, answer.text
        stream_id = answer.json()["id"]
        self._ledger.streams.add(stream_id)
        self._ledger.acts.add(stream_id)
        self._mine.append(stream_id)

    async def _take(self) -> None:
        if not self._mine:
            return
        stream_id = self._dice.choice(self._mine)
        answer = await self._http.post(f"/streams/{stream_id}/request", json=WALL)
        assert answer.status_code == 201, answer.text
        session_id = answer.json()["session_id"]
        self._ledger.sessions[session_id] = stream_id
        self._taken.append(session_id)

    async def _stop(self) -> None:
        if not self._taken:
            return
        session_id = self._taken.pop(self._dice.randrange(len(self._taken)))
        self._ledger.asked.add(session_id)
        answer = await self._http.delete(f"/streams/sessions/{session_id}")
        if answer.status_code == 200:
            self._ledger.stopped.add(session_id)
            del self._ledger.sessions[session_id]
            self._ledger.acts.add(session_id)

    async def _withdraw(self) -> None:
        if len(self._mine) < 3:
            return
        stream_id = self._mine.pop(self._dice.randrange(len(self._mine)))
        gone = {one for one, stream in self._ledger.sessions.items() if stream == stream_id}
        self._ledger.asked |= {stream_id, *gone}
        self._taken = [one for one in self._taken if one not in gone]
        answer = await self._http.delete(f"/streams/{stream_id}")
        assert answer.status_code == 200, answer.text
        self._ledger.streams.discard(stream_id)
        self._ledger.withdrawn.add(stream_id)


async def yes_to_all(url: str) -> Client:
    """A publisher of every stream, by one subscription."""
    bus = await connect_nats(url, allow_reconnect=False)

    async def answer(message: Msg) -> None:
        await message.respond(b'{"accepted": true}')

    await bus.subscribe("maestra.stream.request.*", cb=answer)
    await bus.flush()
    return bus


@pytest.mark.timeout(180)
async def test_nothing_answered_is_missing_after_kill_9(brokers: Brokers) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    port, nats_port = free_ports(2)
    options = (f"--port={port}", f"--nats-port={nats_port}")
    ledger = Ledger()
    for number in range(ROUNDS):
        broker = await asyncio.to_thread(brokers.start, *options)
        bearer = {"Authorization": f"Bearer {broker.token}", "X-Callboard-Operator": "kim"}
        async with httpx.AsyncClient(base_url=broker.url, trust_env=False, timeout=15.0, headers=bearer) as http:
            if number:
                await settle_accounts(http, ledger)
            bus = await yes_to_all(broker.nats_url)
            clients = [Busy(http, bus, ledger, random.Random(dice.random())) for _ in range(CLIENTS)]
            running = [asyncio.ensure_future(client.run()) for client in clients]
            await ledger.until_done(dice.randrange(200, 800))
            await asyncio.to_thread(broker.kill)
            await asyncio.gather(*running)
            await bus.close()
    broker = await asyncio.to_thread(brokers.start, *options)
    bearer = {"Authorization": f"Bearer {broker.token}"}
    async with httpx.AsyncClient(base_url=broker.url, trust_env=False, timeout=15.0, headers=bearer) as http:
        await settle_accounts(http, ledger)
    assert len(ledger.streams | ledger.withdrawn) > 50
    assert ledger.stopped
    assert ledger.withdrawn


async def settle_accounts(http: httpx.AsyncClient, ledger: Ledger) -> None:
    """Compare what a fresh broker has with what clients were told; what was unknown is known from here on."""
    state = (await http.get("/streams/state")).json()
    streams = {row["id"] for row in state["streams"]}
    sessions = {row["session_id"] for row in state["sessions"]}
    past = {row["id"]: row["status"] for row in await pages(http, "/console/v1/history", "time", "id")}
    acts = {row["object_id"] for row in await pages(http, "/console/v1/audit", "at", "id") if row["result"] == "ok"}
    ledger.check(streams, sessions, past, acts)
    ledger.asked.clear()
    ledger.streams &= streams
    ledger.sessions = {one: stream for one, stream in ledger.sessions.items() if one in sessions}


async def pages(http: httpx.AsyncClient, path: str, time_key: str, id_key: str) -> list[dict[str, Any]]:
    """Every row of a list that comes by page."""
    rows: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 500}
    while True:
        answer = await http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        rows += page
        if len(page) < 500:
            return rows
        query["before"] = f"{page[-1][time_key]!r},{page[-1][id_key]}"


async def test_the_board_is_live_again_with_the_same_rows_after_kill_9(tmp_path: Path) -> None:
    port, nats_port = free_ports(2)
    async with a_house(tmp_path, f"--port={port}", f"--nats-port={nats_port}") as house:
        console, store = house.console, house.console.store
        await house.preset()
        camera = await house.publisher(YES)
        other = await house.publisher(YES, bus=camera.bus, name="Cam 2")
        session_id = (await camera.request(consumer_id="booth")).json()["session_id"]
        hold = (await house.desk.post("/console/v1/holds", json={"session_id": session_id})).json()
        beaten = (await other.request(consumer_id="truck")).json()["session_id"]
        assert (await house.http.post(f"/streams/sessions/{beaten}/heartbeat")).status_code == 200
        assert await camera.beat() == 200
        await house.show("Streams", camera.id)
        await house.row_says(camera.id, state="LIVE")
        rows = await house.state()

        blocked = asyncio.ensure_future(
            house.until(lambda: "NOT LIVE since" in house.strip and console.actions.blocked)
        )
        await house.kill_the_broker()
        await blocked
        await house.row_says(camera.id, state="STALE", name="Cam 1")
        await house.strip_is_quiet()
        broker = running_broker(house.process.data_dir)
        assert broker is not None
        assert broker.pid != house.process.pid
        assert broker.urls["main"] == house.process.url, "on fixed ports it comes back where it was"
        assert without_beats(await house.state()) == without_beats(rows)
        assert set(store.streams) == {camera.id, other.id}
        assert {row.id: row.confirmed for row in store.sessions.values()} == {session_id: False, beaten: False}
        again = store.hold_of(session_id)
        assert again is not None
        assert again.id == hold["id"]

        await house.row_says(camera.id, state="STALE")
        assert await camera.beat() == 200
        await house.row_says(camera.id, state="LIVE")
        await house.show("Streams", other.id)
        await house.row_says(other.id, state="STALE", take="Take STALE")
        await house.show("Sessions", session_id)
        await house.row_says(session_id, state="HELD")
        await house.row_says(beaten, state="STALE")
        assert (await house.http.post(f"/streams/sessions/{beaten}/heartbeat")).status_code == 200
        await house.row_says(beaten, state="LIVE")

        await eventually(lambda: connected(camera.bus))
        await house.show("Streams", camera.id)
        house.press(Qt.Key.Key_R)
        await house.until(lambda: len(store.sessions) == 3)
        await house.until(lambda: not house.console.actions.running)
        house.says_all_well()


async def connected(bus: Client) -> bool:
    """Whether a publisher's client is back, with its subscriptions."""
    if not bus.is_connected:
        return False
    await bus.flush()
    return True


def without_beats(state: dict[str, Any]) -> dict[str, Any]:
    """Lists without what a heartbeat moves."""
    moved = {"last_heartbeat"}
    return {
        table: [{key: value for key, value in row.items() if key not in moved} for row in rows]
        for table, rows in state.items()
    }


async def test_killed_on_fixed_ports_it_is_ready_again_in_one_try(brokers: Brokers) -> None:
    port, nats_port = free_ports(2)
    options = (f"--port={port}", f"--nats-port={nats_port}")
    for _ in range(3):
        broker = await asyncio.to_thread(brokers.start, *options)
        assert broker.url.endswith(f":{port}")
        async with httpx.AsyncClient(base_url=broker.url, trust_env=False) as http:
            assert (await http.get("/healthz")).status_code == 200
            await asyncio.to_thread(broker.kill)  # with a connection open, which leaves the port in TIME_WAIT


async def test_sigterm_ends_it_cleanly_within_10_s_whatever_goes_on(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        camera = await house.publisher()
        thinking = asyncio.ensure_future(camera.request())
        await camera.asked.get()
        row = await house.advertise(name="answered a moment ago")
        children = psutil.Process(house.process.pid).children(recursive=True)
        assert [one.name() for one in children] == ["nats-server"]
        began = time.monotonic()
        assert await asyncio.to_thread(house.process.terminate) == 0
        assert time.monotonic() - began < 10.0
        assert not [one for one in children if alive(one)], "a child was left behind"
        assert await asyncio.to_thread(house.process.read_line) == "", "more than one line on standard output"
        assert not (house.process.data_dir / "broker.json").exists()
        await asyncio.wait({thinking})
        await house.strip_says("The broker was stopped.")
        assert house.console.actions.blocked

        again = BrokerProcess(house.process.data_dir, house.process.options)
        try:
            await asyncio.to_thread(again.start)
            await house.until(lambda: house.console.store.live)
            assert {stream.name for stream in house.console.store.streams.values()} == {"Cam 1", row["name"]}
        finally:
            await asyncio.to_thread(again.end)


def alive(process: psutil.Process) -> bool:
    """Whether it still runs."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_kill_9_of_the_console_does_not_touch_the_broker_and_the_next_one_adopts_it(tmp_path: Path) -> None:
    data = tmp_path / "data"
    consoles = [ConsoleProcess(data, "--port=0", "--nats-port=0", "--name=house") for _ in range(3)]
    try:
        await consoles[0].start()
        await consoles[0].until(lambda seen: seen["live"])
        broker = running_broker(data)
        assert broker is not None
        async with httpx.AsyncClient(base_url=broker.urls["main"], trust_env=False, timeout=5.0) as http:
            stream_id = (await http.post("/streams/advertise", json=CAMERA)).json()["id"]
            beats = asyncio.ensure_future(heartbeats(http, stream_id))
            for before, after in itertools.pairwise(consoles):
                await before.kill()
                await after.start()
                await after.until(lambda seen: seen["live"] and stream_id in seen["rows"])
                assert after.seen["strip"].startswith("house")
                adopted = running_broker(data)
                assert adopted is not None
                assert (adopted.pid, adopted.started_at) == (broker.pid, broker.started_at)
            assert not beats.done(), "a heartbeat failed"
            beats.cancel()
            assert os.getsid(broker.pid) == broker.pid
    finally:
        for console in consoles:
            if hasattr(console, "process"):
                await console.kill()
        end_what_is_left(data)


async def heartbeats(http: httpx.AsyncClient, stream_id: str) -> None:
    """Twenty a second; each has to be answered."""
    while True:
        assert (await http.post(f"/streams/{stream_id}/heartbeat")).status_code == 200
        await asyncio.sleep(0.05)
