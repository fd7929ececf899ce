"""``callboard demo`` as a program: a living board within ten seconds, and nothing left behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.cli import main
from app.client.api import ApiError, BrokerClient
from app.client.broker_file import main_url, process_runs, read_token, running_broker
from app.client.process import EmbeddedBroker
from app.client.snapshot import read_board
from app.contract import BUILT_IN_TYPES
from app.demo.cast import CAST
from app.demo.desks import DESKS
from app.demo.house import Place
from app.demo.main import SERVE_OPTIONS, _nats_of
from tests.fakes.broker import BrokerProcess

ENDED_WITHIN = 40.0


class Demo:
    """One ``callboard demo …`` and the readiness line it printed."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "app", "demo", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        self.line: dict[str, Any] = {}

    async def ready(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        text = await asyncio.to_thread(self.process.stdout.readline)
        if not text:
            raise AssertionError(self.process.communicate(timeout=ENDED_WITHIN)[1])
        self.line = json.loads(text)
        return self.line

    async def end(self) -> tuple[int, str, str]:
        """SIGTERM; status and what it had still to say."""
        self.process.send_signal(signal.SIGTERM)
        out, err = await asyncio.to_thread(self.process.communicate, timeout=ENDED_WITHIN)
        return self.process.returncode, out, err


def end_left(folder: Path) -> None:
    """End what a failed test left: processes that name the folder, and whatever they started."""
    for process in psutil.process_iter(["cmdline"]):
        if str(folder) in " ".join(process.info["cmdline"] or ()) and process.pid != os.getpid():
            try:
                for one in [*process.children(recursive=True), process]:
                    one.kill()
            except psutil.NoSuchProcess:
                continue


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Callable[..., Demo]]:
    demos: list[Demo] = []

    def start(*arguments: str) -> Demo:
        demos.append(Demo(*arguments))
        return demos[-1]

    yield start
    for one in demos:
        if one.process.poll() is None:
            for child in psutil.Process(one.process.pid).children(recursive=True):
                child.kill()
            one.process.kill()
        one.process.communicate(timeout=ENDED_WITHIN)
    end_left(tmp_path)


async def until(question: Callable[[], Awaitable[Any]], within: float = 60.0) -> Any:
    """Ask until the answer is something."""
    async with asyncio.timeout(within):
        while True:
            answer = await question()
            if answer:
                return answer
            await asyncio.sleep(0.05)


def left_in(folder: Path) -> list[str]:
    """Command lines of processes that still have to do with a folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or ())
        if str(folder) in line and process.info["status"] != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
            found.append(line)
    return found


Start = Callable[..., Demo]


async def test_a_living_board_and_nothing_left(demo: Start, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    one = demo("--headless", "--data-dir", str(folder))
    line = await one.ready()
    assert line["ready"] is True
    assert line["pid"] == one.process.pid
    token = read_token(folder)
    async with BrokerClient(line["main"], token) as client:

        async def living() -> bool:
            streams, sessions = await client.streams(), await client.sessions()
            return len(streams) == len(CAST) and len(sessions) >= 3

        await until(living)
        assert {stream.stream_type for stream in await client.streams()} >= {*BUILT_IN_TYPES, "lidar"}
        presets = await client.presets()
        assert [row.name for row in presets if row.default] == ["LED wall"]
    where = ("--data-dir", str(folder))
    assert await asyncio.to_thread(main, ["take", "Balcony Wide", "--as", "LED wall", *where]) == 0

    second = demo("--headless", *where)
    _, err = await asyncio.to_thread(second.process.communicate, timeout=ENDED_WITHIN)
    assert second.process.returncode == 3
    assert err.startswith(f"callboard: Another demo uses {folder}, process {one.process.pid}")
    assert err.count("\n") == 1

    code, out, err = await one.end()
    assert (code, out) == (0, "")
    assert "Traceback" not in err
    assert left_in(folder) == []
    assert running_broker(folder) is None


async def test_desktops_are_on_the_board_and_end_with_the_demo_however_it_ends(demo: Start, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    one = demo("--headless", "--publishers", "0", "--data-dir", str(folder))
    line = await one.ready()

    async def drains_and_sleeps() -> bool:
        board = await read_board(line["main"], read_token(folder))
        states = [row.state for row in board.desktops.values()]
        return (
            {row.status for row in board.agents.values()} == {"online", "draining"}
            and states.count("running") == len(DESKS) - 1
            and states.count("hibernated") == 1
        )

    await until(drains_and_sleeps)
    assert sum("Xvnc" in line for line in left_in(folder / "agents")) == len(DESKS)
    one.process.kill()

    async def nothing() -> bool:
        return not left_in(folder / "agents")

    await until(nothing)
    broker = EmbeddedBroker(folder)
    await broker.start()
    await broker.stop()


async def test_simulated_agents_come_with_sessions_on_them(demo: Start, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    one = demo("--headless", "--publishers", "0", "--agents", "4", "--no-desktops", "--data-dir", str(folder))
    line = await one.ready()

    async def filled() -> bool:
        board = await read_board(line["main"], read_token(folder))
        simulated = [row for row in board.agents.values() if row.metadata.get("simulated")]
        running = [row for row in board.desktops.values() if row.template == "simulated" and row.state == "running"]
        return len(simulated) == 4 and len(running) == 40

    await until(filled)
    code, _, err = await one.end()
    assert code == 0
    assert "Traceback" not in err
    assert left_in(folder) == []


async def test_simulated_agents_go_to_no_other_broker_without_its_key(
    broker_process: BrokerProcess, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLBOARD_DATA_DIR", str(tmp_path / "another"))
    code = await asyncio.to_thread(main, ["demo", "--broker", broker_process.url, "--agents", "2"])
    assert code == 2
    assert "CALLBOARD_AGENT_KEY" in capsys.readouterr().err


async def test_the_venue_survives_a_kill_of_its_broker(demo: Start, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    one = demo("--headless", "--publishers", "4", "--no-desktops", "--data-dir", str(folder))
    line = await one.ready()
    async with BrokerClient(line["main"]) as client:
        before = await until(lambda: _all(client, 4))
    os.kill(line["broker_pid"], signal.SIGKILL)

    async def back() -> str | None:
        found = running_broker(folder)
        return main_url(found) if found is not None and found.pid != line["broker_pid"] else None

    url = await until(back)
    async with BrokerClient(url, read_token(folder)) as client:
        assert {stream.id for stream in await client.streams()} == {stream.id for stream in before}
        camera = next(stream for stream in before if stream.name == "Main Stage Camera A")

        async def negotiated() -> bool:
            try:
                await client.request(camera.id, consumer_id="wall", consumer_address="10.0.0.1")
            except ApiError:
                return False
            return True

        await until(negotiated)

        async def beaten() -> bool:
            return (await client.stream(camera.id)).last_heartbeat > camera.last_heartbeat

        await until(beaten)
    assert (await one.end())[0] == 0
    assert left_in(folder) == []


async def _all(client: BrokerClient, count: int) -> Any:
    streams = await client.streams()
    return streams if len(streams) == count else None


async def test_more_publishers_than_the_cast_has(demo: Start, tmp_path: Path) -> None:
    one = demo("--headless", "--publishers", "120", "--no-desktops", "--data-dir", str(tmp_path / "demo"))
    line = await one.ready()
    async with BrokerClient(line["main"]) as client:
        streams = await until(lambda: _all(client, 120))
        crowd = next(stream for stream in streams if stream.name == "Sensor 00001")

        async def negotiated() -> bool:
            try:
                await client.request(crowd.id, consumer_id="wall", consumer_address="10.0.0.1")
            except ApiError:
                return False
            return True

        await until(negotiated)
    assert (await one.end())[0] == 0


STREAM = {
    "name": "The real show",
    "stream_type": "ndi",
    "publisher_id": "td-01",
    "protocol": "ndi",
    "address": "10.0.0.1",
    "port": 5960,
}


@asynccontextmanager
async def beaten(client: BrokerClient, stream_id: str) -> AsyncIterator[None]:
    """While this lasts, somebody keeps a stream alive."""

    async def beat() -> None:
        while True:
            await client.heartbeat(stream_id)
            await asyncio.sleep(5.0)

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)


async def test_a_broker_with_a_real_show_is_left_alone(demo: Start, shared_broker: BrokerProcess) -> None:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(BrokerClient(shared_broker.url, shared_broker.token))
        real = await client.advertise(STREAM)
        await stack.enter_async_context(beaten(client, real.id))
        where = ("--broker", shared_broker.url, "--nats-url", shared_broker.nats_url, "--publishers", "3")
        refused = demo(*where)
        _, err = await asyncio.to_thread(refused.process.communicate, timeout=ENDED_WITHIN)
        assert refused.process.returncode == 1
        assert err.startswith(f"callboard: 1 other streams live on {shared_broker.url}")
        assert err.count("\n") == 1
        assert [stream.id for stream in await client.streams()] == [real.id]

        forced = demo(*where, "--force")
        assert (await forced.ready())["main"] == shared_broker.url
        await until(lambda: _all(client, 4))
        again = demo(*where)
        _, err = await asyncio.to_thread(again.process.communicate, timeout=ENDED_WITHIN)
        assert again.process.returncode == 1
        assert (await forced.end())[0] == 0
        assert [stream.id for stream in await client.streams()] == [real.id]
        assert await client.presets() == []
        assert "lidar" not in {row.name for row in await client.types()}


async def test_a_broker_that_is_not_there(demo: Start) -> None:
    one = demo("--broker", "http://127.0.0.1:9")
    _, err = await asyncio.to_thread(one.process.communicate, timeout=ENDED_WITHIN)
    assert one.process.returncode == 3
    assert "No broker answers at http://127.0.0.1:9" in err
    assert err.count("\n") == 1


async def test_a_nats_server_that_is_not_there(demo: Start, shared_broker: BrokerProcess) -> None:
    one = demo("--broker", shared_broker.url, "--nats-url", "nats://127.0.0.1:9")
    _, err = await asyncio.to_thread(one.process.communicate, timeout=ENDED_WITHIN)
    assert one.process.returncode == 1
    assert "callboard: The NATS server at nats://127.0.0.1:9 does not answer" in err
    assert "Traceback" not in err


async def test_beside_the_window_and_gone_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The window is a stand-in that starts the embedded broker, as the real one does, and looks at the board."""
    folder = tmp_path / "demo"
    seen: list[str] = []

    async def look() -> int:
        broker = EmbeddedBroker(folder, options=SERVE_OPTIONS)
        state = await broker.start()
        assert state.url is not None
        async with BrokerClient(state.url) as client:
            seen.extend(stream.name for stream in await until(lambda: _all(client, 5)))
        return 5

    def console(**arguments: Any) -> int:
        assert arguments == {
            "broker": None,
            "data_dir": folder,
            "serve_options": SERVE_OPTIONS,
            "demo": True,
        }
        return asyncio.run(look())

    module = types.ModuleType("app.ui.main")
    module.main = console  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "app.ui.main", module)
    arguments = ["demo", "--publishers", "5", "--no-desktops", "--data-dir", str(folder)]
    assert await asyncio.to_thread(main, arguments) == 5
    assert sorted(seen) == sorted(part.name for part in CAST[:5])
    assert left_in(folder) == []
    assert running_broker(folder) is None


async def test_a_window_that_closes_while_its_broker_starts_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "demo"

    async def look() -> int:
        broker = EmbeddedBroker(folder, options=SERVE_OPTIONS)
        starting = asyncio.ensure_future(broker.start())
        async with asyncio.timeout(10):
            while broker._child is None:
                await asyncio.sleep(0.01)
        starting.cancel()
        return 0

    module = types.ModuleType("app.ui.main")
    module.main = lambda **arguments: asyncio.run(look())  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "app.ui.main", module)
    await asyncio.to_thread(main, ["demo", "--publishers", "1", "--data-dir", str(folder)])
    assert left_in(folder) == []


@pytest.mark.parametrize(
    ("url", "nats"),
    [("http://10.0.0.5:8080", "nats://10.0.0.5:4222"), ("http://[fd00::5]:8080", "nats://[fd00::5]:4222")],
)
async def test_without_a_token_nats_is_looked_for_on_the_brokers_machine(url: str, nats: str) -> None:
    assert await _nats_of(Place(url)) == nats


WINDOW = """
import sys, time, types
module = types.ModuleType("app.ui.main")
def console(**arguments):
    import asyncio
    from app.client.process import EmbeddedBroker
    async def run():
        broker = EmbeddedBroker(arguments["data_dir"], options=arguments["serve_options"])
        await broker.start()
        print("window", flush=True)
        await asyncio.sleep(600)
    asyncio.run(run())
module.main = console
sys.modules["app.ui.main"] = module
from app.cli import main
main(["demo", "--publishers", "3", "--no-desktops", "--data-dir", sys.argv[1]])
"""


async def test_a_killed_window_takes_its_demo_along(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    with subprocess.Popen([sys.executable, "-c", WINDOW, str(folder)], stdout=subprocess.PIPE) as window:
        assert window.stdout is not None
        assert await asyncio.to_thread(window.stdout.readline) == b"window\n"
        found = running_broker(folder)
        assert found is not None
        async with BrokerClient(main_url(found) or "") as client:
            await until(lambda: _all(client, 3))
        window.kill()

    async def gone() -> bool:
        return not process_runs(found.pid, found.started_at) and left_in(folder) == []

    await until(gone)
