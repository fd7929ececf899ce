"""The embedded broker's life with real broker processes: start, adopt, race, crash, stop, and every way to fail."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from app.client.api import BrokerClient
from app.client.broker_file import process_runs, read_broker_file, read_token, running_broker
from app.client.child import LOG_LIMIT, last_words, open_log
from app.client.process import BrokerState, EmbeddedBroker
from app.paths import BrokerInfo, DataFolder

FREE = ("--port", "0", "--nats-port", "0")
WITHIN = 40.0
STREAM = {
    "name": "Main Stage Camera A",
    "stream_type": "ndi",
    "publisher_id": "td-workstation-01",
    "protocol": "ndi",
    "address": "192.168.1.50",
    "port": 5960,
}


class Console:
    """An embedded broker and every state it went through."""

    def __init__(self, data_dir: Path, **options: Any) -> None:
        self.states: asyncio.Queue[BrokerState] = asyncio.Queue()
        self.seen: list[BrokerState] = []
        options.setdefault("options", FREE)
        self.broker = EmbeddedBroker(data_dir, self.states.put_nowait, **options)
        self.task: asyncio.Task[None] | None = None

    def run(self) -> None:
        self.task = asyncio.ensure_future(self.broker.run())

    async def until(self, state: str) -> BrokerState:
        try:
            async with asyncio.timeout(WITHIN):
                while True:
                    self.seen.append(change := await self.states.get())
                    if change.state == state:
                        return change
        except TimeoutError:
            log = self.broker.log_path
            said = log.read_text("utf-8", "replace")[-4000:] if log.exists() else "nothing"
            raise AssertionError(
                f"never {state!r} in {WITHIN:g} s; seen: {self.seen}; the broker said: {said}"
            ) from None

    async def close(self) -> None:
        """The console ends; its broker does not."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait({self.task})


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Callable[..., Console]]:
    """Make consoles on one data folder; whatever broker is left at the end is killed."""
    consoles: list[Console] = []

    def make(**options: Any) -> Console:
        consoles.append(Console(tmp_path / "data", **options))
        return consoles[-1]

    yield make
    for one in consoles:
        await one.close()
    left = running_broker(tmp_path / "data")
    if left is not None:
        await end(left.pid, left.started_at)


async def end(pid: int, started_at: float) -> None:
    """Kill a process and wait until it is gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    async with asyncio.timeout(WITHIN):
        while process_runs(pid, started_at):
            await asyncio.sleep(0.02)


async def streams(state: BrokerState) -> list[str]:
    assert state.url is not None
    async with BrokerClient(state.url, state.token) as client:
        return [stream.id for stream in await client.streams()]


Make = Callable[..., Console]


async def test_start_then_adopt_then_stop_by_the_adopter(console: Make, tmp_path: Path) -> None:
    first = console()
    first.run()
    state = await first.until("running")
    assert not state.adopted
    assert not state.read_only
    assert state.token == read_token(tmp_path / "data")
    assert state.token not in repr(state)
    assert state.pid is not None
    assert os.getsid(state.pid) == state.pid
    assert state.url is not None
    async with BrokerClient(state.url, state.token) as client:
        assert (await client.broker()).pid == state.pid
    assert stat.S_IMODE((tmp_path / "data" / "logs" / "broker.log").stat().st_mode) == 0o600

    second = console()
    adopted = await second.broker.start()
    assert (adopted.state, adopted.pid, adopted.url, adopted.token) == ("running", state.pid, state.url, state.token)
    assert adopted.adopted

    await second.broker.stop()
    assert second.broker.state.state == "stopped"
    assert (await first.until("stopped")).text == "The broker was stopped."
    assert running_broker(tmp_path / "data") is None

    await second.broker.start()
    again = await first.until("running")
    assert again.adopted
    assert again.pid == second.broker.state.pid


async def test_two_consoles_race_and_the_loser_adopts(console: Make) -> None:
    first, second = console(), console()
    one, two = await asyncio.gather(first.broker.start(), second.broker.start())
    assert one.state == two.state == "running"
    assert one.pid == two.pid
    assert one.token == two.token
    assert sorted((one.adopted, two.adopted)) == [False, True]


async def test_a_killed_broker_comes_back_with_its_streams_and_its_token(console: Make) -> None:
    one = console()
    one.run()
    before = await one.until("running")
    assert before.url is not None
    assert before.pid is not None
    async with BrokerClient(before.url) as client:
        stream = await client.advertise(STREAM)
    os.kill(before.pid, signal.SIGKILL)
    crashed = await one.until("restarting")
    assert crashed.text == "The broker ended by SIGKILL. It is being started again."
    after = await one.until("running")
    assert after.pid != before.pid
    assert after.token == before.token
    assert await streams(after) == [stream.id]


async def test_an_adopting_console_restarts_a_killed_broker(console: Make) -> None:
    starter = console()
    before = await starter.broker.start()
    adopter = console()
    adopter.run()
    await adopter.until("running")
    assert before.pid is not None
    os.kill(before.pid, signal.SIGKILL)
    assert (await adopter.until("restarting")).text == "The broker crashed. It is being started again."
    after = await adopter.until("running")
    assert after.pid != before.pid
    assert after.token == before.token


CONSOLE = """
import asyncio, sys
from pathlib import Path
from app.client.process import EmbeddedBroker
async def main():
    broker = EmbeddedBroker(Path(sys.argv[1]), options=("--port", "0", "--nats-port", "0"))
    running = asyncio.ensure_future(broker.run())
    while broker.state.state != "running":
        await asyncio.sleep(0.02)
    print(broker.state.pid, flush=True)
    if sys.argv[2] == "closes":
        running.cancel()
    else:
        await running
asyncio.run(main())
"""


@pytest.mark.parametrize("way", ["closes", "is killed"])
async def test_the_broker_survives_its_console(console: Make, tmp_path: Path, way: str) -> None:
    arguments = [sys.executable, "-c", CONSOLE, str(tmp_path / "data"), way]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        pid = int(await asyncio.to_thread(process.stdout.readline))
        if way == "is killed":
            process.kill()
        await asyncio.to_thread(process.wait, WITHIN)
    state = await console().broker.start()
    assert state.adopted
    assert state.pid == pid
    assert await streams(state) == []


async def test_a_broker_of_another_version_is_read_only_until_restarted(console: Make, tmp_path: Path) -> None:
    old = await console().broker.start()
    path = DataFolder(tmp_path / "data").broker
    info = msgspec.json.decode(path.read_bytes(), type=BrokerInfo)
    info.version = "0.0.1"
    path.write_bytes(msgspec.json.encode(info))
    newer = console()
    newer.run()
    state = await newer.until("running")
    assert state.read_only
    assert "The broker is version 0.0.1" in state.text
    assert "until you restart the broker" in state.text
    own = await newer.broker.restart()
    assert not own.read_only
    assert own.text == ""
    assert own.pid != old.pid


async def test_a_clean_stop_from_outside_is_not_undone(console: Make) -> None:
    one = console()
    one.run()
    state = await one.until("running")
    assert state.pid is not None
    os.kill(state.pid, signal.SIGTERM)
    assert (await one.until("stopped")).text == "The broker was stopped."
    await one.close()
    assert one.broker.state.state == "stopped"


async def test_a_port_in_use_is_said_in_the_brokers_own_words(console: Make) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        state = await console(options=("--port", str(port), "--nats-port", "0")).broker.start()
    assert state.state == "failed"
    assert str(port) in state.text
    assert "--port" in state.text


async def test_a_configuration_error_is_said_in_the_brokers_own_words(console: Make) -> None:
    state = await console(options=("--port", "seventy")).broker.start()
    assert state.state == "failed"
    assert "'seventy' is not a port number" in state.text


async def test_a_stale_file_of_another_process_is_not_adopted(console: Make, tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.create()
    own = psutil.Process()
    stale = BrokerInfo(
        pid=own.pid,
        started_at=own.create_time() - 60.0,
        version="0.1.0",
        protocol=1,
        name="x",
        host="127.0.0.1",
        urls={"main": "http://127.0.0.1:9"},
    )
    folder.broker.write_bytes(msgspec.json.encode(stale))
    state = await console().broker.start()
    assert state.state == "running"
    assert state.pid != own.pid
    assert not state.adopted


async def test_a_broker_is_adopted_although_the_clock_was_stepped_since_it_started(
    console: Make, tmp_path: Path
) -> None:
    """The system counts a process's start from the wall clock of now, the broker's file from that of then."""
    old = await console().broker.start()
    path = DataFolder(tmp_path / "data").broker
    info = msgspec.json.decode(path.read_bytes(), type=BrokerInfo)
    info.started_at -= 3600.0
    path.write_bytes(msgspec.json.encode(info))
    later = console()
    later.run()
    state = await later.until("running")
    assert state.adopted
    assert state.pid == old.pid
    assert await later.broker.stop() is None
    assert later.broker.state.state == "stopped"


async def test_a_broker_that_does_not_answer_is_named(
    console: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.client.process.ADOPT_TIMEOUT", 0.3)
    folder = DataFolder(tmp_path / "data")
    folder.create()
    folder.token.write_text("0123456789abcdef")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as hung:
        info = BrokerInfo(
            pid=hung.pid,
            started_at=psutil.Process(hung.pid).create_time(),
            version="0.1.0",
            protocol=1,
            name="x",
            host="127.0.0.1",
            urls={"main": "http://127.0.0.1:9"},
        )
        folder.broker.write_bytes(msgspec.json.encode(info))
        state = await EmbeddedBroker(folder.path).start()
        assert state.state == "failed"
        assert f"process {hung.pid}, but does not answer" in state.text
        assert hung.poll() is None
        hung.kill()


SILENT = [sys.executable, "-c", "import time; time.sleep(600)"]
DEAF = [
    sys.executable,
    "-c",
    'import time; print(\'{"ready": true, "main": "http://127.0.0.1:9"}\', flush=True); time.sleep(600)',
]


CHATTY = [sys.executable, "-c", f"print('a library says hello'); {DEAF[2]}"]
MUTE = [sys.executable, "-c", "import os, time; os.close(1); time.sleep(600)"]


async def test_a_line_before_the_readiness_line_is_passed_over(console: Make) -> None:
    one = console(command=CHATTY, start_timeout=WITHIN)
    async with asyncio.timeout(WITHIN):
        state = await one.broker.start()
    assert state.state == "running"
    await one.broker.stop()


async def test_a_child_that_closes_its_output_and_stays_is_ended(console: Make) -> None:
    one = console(command=MUTE, start_timeout=1.0)
    async with asyncio.timeout(WITHIN):
        state = await one.broker.start()
    assert state.state == "failed"
    assert "did not get ready within 1 s" in state.text


async def test_a_child_that_never_gets_ready_is_ended(console: Make) -> None:
    one = console(command=SILENT, start_timeout=0.3)
    state = await one.broker.start()
    assert state.state == "failed"
    assert "did not get ready within 0.3 s" in state.text
    child = one.broker._child
    assert child is not None
    assert await asyncio.wait_for(asyncio.shield(child.exited), WITHIN) == -signal.SIGKILL


async def test_a_broker_that_cannot_be_asked_is_signalled(console: Make) -> None:
    one = console(command=DEAF)
    state = await one.broker.start()
    assert state.state == "running"
    assert state.pid is not None
    started = psutil.Process(state.pid).create_time()
    await one.broker.stop()
    assert one.broker.state.state == "stopped"
    assert not process_runs(state.pid, started)


async def test_a_child_that_cannot_run_at_all(console: Make) -> None:
    state = await console(command=["/nonexistent/callboard"]).broker.start()
    assert state.state == "failed"
    assert state.text == "The broker could not be started: No such file or directory"


async def test_a_broker_that_crashes_at_every_start_is_tried_later_and_later(console: Make, tmp_path: Path) -> None:
    one = console(backoff=(0.01, 0.02))
    one.run()
    state = await one.until("running")
    one.broker._arguments = [sys.executable, "-c", "raise SystemExit('no luck')"]
    assert state.pid is not None
    os.kill(state.pid, signal.SIGKILL)
    await one.until("restarting")
    for _ in range(2):
        assert (await one.until("failed")).text == "The broker does not start: no luck"
        assert (await one.until("restarting")).text == "The broker does not start: no luck"


def test_the_log_is_put_aside_when_it_has_grown(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "broker.log"
    with open_log(path) as log:
        log.write(b"x" * (LOG_LIMIT + 1))
    with open_log(path) as log:
        log.write(b"fresh\n")
    assert path.read_bytes() == b"fresh\n"
    assert (tmp_path / "logs" / "broker.log.1").stat().st_size == LOG_LIMIT + 1


def test_last_words_are_for_people_and_of_this_start(tmp_path: Path) -> None:
    path = tmp_path / "broker.log"
    path.write_text("old words\n")
    since = path.stat().st_size
    assert last_words(path, since) == ""
    with path.open("a") as log:
        log.write('callboard: port 8080 is taken\n{"event": "x"}\n\n')
    assert last_words(path, since) == "callboard: port 8080 is taken"
    assert last_words(tmp_path / "nothing", 0) == ""


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": "x"}', b"\xff"])
def test_a_broker_file_that_is_none_is_no_broker(tmp_path: Path, content: bytes) -> None:
    DataFolder(tmp_path).broker.write_bytes(content)
    assert read_broker_file(tmp_path) is None
    assert running_broker(tmp_path) is None
