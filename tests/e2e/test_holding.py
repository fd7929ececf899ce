"""Holding: a session taken by key press lives on, whatever becomes of the console and the broker. Ninety real seconds.

 0 s  a real console, which started its broker itself, takes a stream with R: the broker holds the session
20 s  the console is killed with -9
32 s  the next console starts and adopts the broker; a session that nobody holds or beats has died on its TTL
45 s  the broker is killed with -9, and the console starts it again: same ids, the hold beats on
90 s  the session lives, under its id; it is kicked by key, and gone

A feed of the test's own sees every beat. The machine that consumes never says a word, so no row may claim that it does.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from nats.aio.msg import Msg

from app.client.broker_file import running_broker
from app.contract import HEARTBEAT_EVERY, SESSION_TTL, SessionRow
from app.demo.nats_client import connect as connect_nats
from tests.e2e.console_process import ConsoleProcess, Watcher, watching
from tests.e2e.house import CAMERA, OPERATOR, PRESET, YES, end_what_is_left, eventually
from tests.fakes.ports import free_ports

pytestmark = pytest.mark.filterwarnings("ignore:unclosed <StreamWriter:ResourceWarning")
"""nats-py leaves the connection that broke to the garbage collector when it connects again."""


class Clock:
    """Seconds since the take."""

    def __init__(self) -> None:
        self.began = time.monotonic()

    @property
    def now(self) -> float:
        return time.monotonic() - self.began

    async def at(self, second: float) -> None:
        """Let real time pass: that is what this test is about."""
        await asyncio.sleep(max(0.0, second - self.now))


class Camera:
    """A publisher as they are: answers over NATS, beats over HTTP every few seconds, comes back after an outage."""

    def __init__(self, url: str, nats_url: str) -> None:
        self._http = httpx.AsyncClient(base_url=url, trust_env=False, timeout=5.0)
        self._nats_url = nats_url
        self.id = ""
        self.mute = asyncio.Event()

    async def start(self) -> None:
        """On the board, and listening."""

        async def quietly(error: Exception) -> None:
            """It connects again."""

        self._bus = await connect_nats(
            self._nats_url, reconnect_time_wait=0.1, max_reconnect_attempts=-1, error_cb=quietly
        )
        answer = await self._http.post("/streams/advertise", json=CAMERA)
        self.id = answer.json()["id"]
        await self._bus.subscribe(f"maestra.stream.request.{self.id}", cb=self._say_yes)
        await self._bus.flush()
        self._beats = asyncio.ensure_future(self._beat())

    async def _say_yes(self, message: Msg) -> None:
        await message.respond(json.dumps(YES).encode())

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(3.0)
            if not self.mute.is_set():
                try:
                    await self._http.post(f"/streams/{self.id}/heartbeat")
                except httpx.TransportError:
                    continue  # the broker is being started again

    async def close(self) -> None:
        """Gone."""
        if self.id:
            self._beats.cancel()
            await self._bus.close()
        await self._http.aclose()


@pytest.mark.timeout(300)
async def test_a_session_taken_by_key_lives_after_90_s_with_console_and_broker_killed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    port, nats_port = free_ports(2)
    options = (f"--port={port}", f"--nats-port={nats_port}", "--name=house")
    url = f"http://127.0.0.1:{port}"
    first = await ConsoleProcess(data, *options).start()
    second = ConsoleProcess(data, *options)
    camera = Camera(url, f"nats://127.0.0.1:{nats_port}")
    try:
        await first.until(lambda seen: seen["live"])
        token = (data / "console.token").read_text().strip()
        desk = httpx.AsyncClient(base_url=url, trust_env=False, headers={"Authorization": f"Bearer {token}"})
        async with desk, watching(url, token) as watcher:
            await camera.start()
            await hold_for_90_s(first, second, camera, watcher, desk, data)
    finally:
        await camera.close()
        await first.kill()
        if hasattr(second, "process"):
            await second.kill()
        end_what_is_left(data)


async def hold_for_90_s(
    first: ConsoleProcess,
    second: ConsoleProcess,
    camera: Camera,
    watcher: Watcher,
    desk: httpx.AsyncClient,
    data: Path,
) -> None:
    """The story that the module's docstring tells."""
    store = watcher.store
    answer = await desk.post("/console/v1/presets", json=PRESET)
    preset = answer.json()["id"]
    await watcher.until(lambda: preset in store.presets)
    await first.go_to("Streams", "Ctrl+1", camera.id)
    await first.press("R")
    (session,) = (await watcher.until(lambda: store.sessions)).values()
    clock = Clock()
    hold = await watcher.until(lambda: store.hold_of(session.id))
    assert (hold.operator, hold.preset_id, session.consumer_id) == (OPERATOR, preset, "wall")
    left_alone = time.monotonic()
    forgotten = await ask_for(desk, camera, "forgotten")
    asked = time.monotonic()
    beaten = await ask_for(desk, camera, "beaten")
    assert (await desk.post(f"/streams/sessions/{beaten}/heartbeat")).status_code == 200
    await first.go_to("Sessions", "Ctrl+2", session.id)
    row = await first.row(session.id, state="HELD", who="wall")
    assert "Callboard" in row["held"]
    await first.row(beaten, state="LIVE")

    await clock.at(20)
    assert (await desk.post(f"/streams/sessions/{beaten}/heartbeat")).status_code == 200
    broker = running_broker(data)
    assert broker is not None
    await first.kill()
    beats_before = beats_of(watcher, session)

    await watcher.until(lambda: forgotten in watcher.gone)
    lived, alone = watcher.gone[forgotten] - left_alone, watcher.gone[forgotten] - asked
    assert lived >= SESSION_TTL - 0.1, f"a session that nobody beats lived {lived:.1f} s"
    assert alone <= SESSION_TTL + 2.0 + watcher.late, f"a session that nobody beats lived {alone:.1f} s"
    await expired_in_history(desk, forgotten, lived)
    await watcher.until(lambda: beats_of(watcher, session) > beats_before)

    await clock.at(32)
    await second.start()
    await second.until(lambda seen: seen["live"])
    adopted = running_broker(data)
    assert adopted is not None
    assert adopted.pid == broker.pid, "the next console adopts the broker that it finds"
    await second.go_to("Sessions", "Ctrl+2", session.id)
    await second.row(session.id, state="HELD")

    await clock.at(45)
    camera.mute.set()
    assert_beaten(watcher, session)
    lost = asyncio.ensure_future(watcher.until(lambda: not store.live))  # it may be live again when the window says so
    os.kill(broker.pid, signal.SIGKILL)
    await second.until(lambda seen: "NOT LIVE since" in seen["strip"])
    await lost
    assert session.id in store.sessions, "the board keeps what it knew"
    await second.until(lambda seen: seen["live"])
    await watcher.until(lambda: store.live)
    watcher.late = 0.0  # what the outage took is no delay
    again = running_broker(data)
    assert again is not None
    assert again.pid != broker.pid
    assert_same(store.sessions[session.id], session)
    restored = store.hold_of(session.id)
    assert restored is not None
    assert (restored.id, restored.operator, restored.preset_id) == (hold.id, OPERATOR, preset)
    await second.row(session.id, state="HELD")
    await second.row(beaten, state="STALE")
    await second.go_to("Streams", "Ctrl+1", camera.id)
    await second.row(camera.id, state="STALE")
    camera.mute.clear()
    await second.row(camera.id, state="LIVE")
    beats_before = beats_of(watcher, session)
    for number in (1, 2):
        await watcher.until(lambda number=number: beats_of(watcher, session) >= beats_before + number)

    await watcher.until(lambda: beaten not in store.sessions)
    await clock.at(90)
    listed = {row["session_id"] for row in (await desk.get("/streams/sessions")).json()}
    assert session.id in listed
    assert store.sessions[session.id].last_heartbeat is None, "nobody claims that the consumer lives"
    assert all(beat.last_heartbeat is None for one, beat, _ in watcher.beats if one == session.id)
    assert beats_of(watcher, session) >= 7
    assert_beaten(watcher, session, beats_before)

    await second.go_to("Sessions", "Ctrl+2", session.id)
    await second.row(session.id, state="HELD")
    await second.press("Delete")
    await watcher.until(lambda: session.id in watcher.gone, 10.0)
    await second.row(session.id, state="OFF")
    assert not store.holds
    past = {row["session_id"]: row for row in (await desk.get("/streams/sessions/history")).json()}
    assert past[session.id]["status"] == "stopped"
    assert 90.0 <= past[session.id]["duration_seconds"] <= clock.now + 1.0


async def ask_for(desk: httpx.AsyncClient, camera: Camera, consumer: str) -> str:
    """A session by the API, which nobody holds."""
    body = {"consumer_id": consumer, "consumer_address": "10.0.40.60"}
    answer = await desk.post(f"/streams/{camera.id}/request", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["session_id"])


async def expired_in_history(desk: httpx.AsyncClient, session_id: str, lived: float) -> None:
    """It is told how it ended; it began after it was asked for and had ended before anybody was told."""

    async def ended() -> dict[str, Any] | None:
        past: list[dict[str, Any]] = (await desk.get("/streams/sessions/history")).json()
        (row,) = [row for row in past if row["session_id"] == session_id]
        return row if row["status"] != "active" else None  # it is told before a slow disk has it

    row = await eventually(ended)
    assert row["status"] == "expired"
    assert SESSION_TTL - 0.1 <= row["duration_seconds"] <= lived + 0.1


def beats_of(watcher: Watcher, session: SessionRow) -> int:
    """Beats of the hold that have come so far."""
    return sum(one == session.id for one, _, _ in watcher.beats)


def assert_beaten(watcher: Watcher, session: SessionRow, first: int = 0) -> None:
    """The beats of the hold from that one on have followed each other in time, and the next is not overdue."""
    times = [at for one, _, at in watcher.beats if one == session.id][first:]
    pauses = [after - before for before, after in pairwise([*times, time.monotonic()])]
    assert max(pauses) <= HEARTBEAT_EVERY + 2.0 + watcher.late, f"a hold beat after {pauses} s"


def assert_same(now: SessionRow, before: SessionRow) -> None:
    """Everything that was answered is as it was."""
    for field in (
        "id",
        "stream_id",
        "consumer_id",
        "consumer_address",
        "consumer_port",
        "transport_config",
        "started_at",
    ):
        assert getattr(now, field) == getattr(before, field), field
