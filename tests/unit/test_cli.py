"""The command line against a real broker: what each command says, and with which status it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import types
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from app import __version__
from app.agent.options import AgentOptions
from app.cli import main
from app.client.api import BrokerClient
from app.client.feed import FeedClient
from app.client.shapes import Stream
from app.client.snapshot import read_board
from app.config import NAMES
from app.contract import PresetRow
from app.demo.cast import Part
from app.demo.house import House, Place
from tests.fakes.broker import BrokerProcess, module_broker, shared_broker
from tests.fakes.streamspace import ScriptedAgent, dialled

__all__ = ["module_broker", "shared_broker"]

Run = Callable[..., Any]


class Venue:
    """A broker with a preset and publishers that answer as a test says."""

    def __init__(self, running: BrokerProcess) -> None:
        self.running = running
        self.data_dir = running.data_dir
        self.house = House(Place(running.url, running.nats_url, running.token))

    async def publish(self, name: str, reply: dict[str, Any] | None = None) -> Stream:
        part = Part(name, "ndi", "td-01", "ndi", "192.168.1.50", 5960)
        stream = await self.house.client.advertise(part.advertisement())
        if reply is not None:

            async def answer(request: Any) -> dict[str, Any]:
                return reply

            await self.house.answer(stream.id, answer)
            assert self.house._nats is not None
            await self.house._nats.flush()
        return stream


@pytest.fixture
async def venue(shared_broker: BrokerProcess) -> AsyncIterator[Venue]:
    venue = Venue(shared_broker)
    await venue.house.open()
    for name, port in (("LED wall", 5961), ("Monitor", 5962)):
        row = PresetRow(id="", name=name, consumer_id="wall", consumer_address="10.0.0.9", consumer_port=port)
        await venue.house.client.save_preset(row)
    yield venue
    await venue.house.close()


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command as the shell would; status, standard output, standard error."""

    async def command(*arguments: str) -> tuple[int, str, str]:
        code = await asyncio.to_thread(main, list(arguments))
        out, err = capsys.readouterr()
        return code, out, err

    return command


def one_line(err: str) -> str:
    """Standard error of a refusal: one line, no traceback."""
    assert err.startswith("callboard: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err


# -- what needs no broker --------------------------------------------------------------------------------------


async def test_help_lists_what_there_is(run: Run) -> None:
    code, out, err = await run("--help")
    assert code == 0
    assert err == ""
    for word in ("serve", "demo", "take", "kick", "drain", "agent", "--broker", "--data-dir", "--ca"):
        assert word in out
    for word in ("supervise", "demo-clients"):
        assert word not in out


async def test_version(run: Run) -> None:
    assert await run("--version") == (0, f"callboard, version {__version__}\n", "")


@pytest.mark.parametrize(
    "arguments", [("--help",), ("take", "--help"), ("serve", "--help"), ("demo", "--help"), ("agent", "--help")]
)
def test_help_starts_without_the_roles(arguments: tuple[str, ...]) -> None:
    heavy = ("PySide6", "fastapi", "uvicorn", "httpx", "websockets", "sqlalchemy", "nats", "pydantic")
    code = (
        "import sys\nfrom app.cli import main\n"
        f"main({list(arguments)!r})\nprint([name for name in {heavy!r} if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.splitlines()[-1] == "[]"


async def test_every_setting_is_an_option_of_serve(run: Run) -> None:
    _, out, _ = await run("serve", "--help")
    for name in (*NAMES, "config"):
        assert f"--{name.replace('_', '-')} " in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("drain",), "Missing argument 'AGENT'"),
        (("agent", "--broker", "http://x", "--platform", "cray", "--agent-id", "a"), "'cray' is not one of"),
        (("agent", "--broker", "http://x", "--agent-id", "a b"), "is not made of letters"),
        (("agent", "--broker", "ftp://x"), "is not the address of a broker"),
        (("agent", "--broker", "http://x", "--max-sessions", "0"), "is not between 1 and"),
        (("agent", "--broker", "http://x", "--max-sessions", "many"), "'many' is not a valid integer"),
        (("take",), "Missing argument 'STREAM'"),
        (("take", "x"), "Missing option '--as'"),
        (("kick", "a", "b"), "unexpected extra argument"),
        (("dance",), "No such command 'dance'"),
        (("--dance",), "No such option"),
        (("kick", "a", "--broker", "ftp://x"), "begins with http:// or https://"),
        (("--broker", "http://"), "the host is missing"),
        (("serve", "--port", "seventy"), "'seventy' is not a port number"),
        (("serve", "--redis-url", "redis://x"), "not part of this version yet"),
        (("serve", "--config", "/nonexistent.toml"), "does not exist"),
        (("demo", "--publishers", "-1"), "Invalid value for '--publishers'"),
    ],
)
async def test_wrong_use_is_one_line_and_status_2(run: Run, arguments: tuple[str, ...], words: str) -> None:
    code, out, err = await run(*arguments)
    assert code == 2
    assert out == ""
    assert words in one_line(err)


async def test_no_broker_is_status_3(run: Run, tmp_path: Path) -> None:
    code, _, err = await run("kick", "x", "--data-dir", str(tmp_path / "empty"))
    assert code == 3
    assert f"No broker runs in {tmp_path / 'empty'}" in one_line(err)


async def test_a_broker_elsewhere_that_is_not_there_is_status_3(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CALLBOARD_TOKEN", "secret")
    code, _, err = await run("kick", "x", "--broker", "http://127.0.0.1:9")
    assert code == 3
    assert "No broker answers at http://127.0.0.1:9" in one_line(err)


async def test_a_broker_elsewhere_without_its_token(run: Run) -> None:
    code, _, err = await run("--broker", "http://127.0.0.1:9", "kick", "x")
    assert code == 1
    assert "give it as CALLBOARD_TOKEN" in one_line(err)


async def test_without_a_command_it_is_the_console(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []

    def console(**arguments: Any) -> int:
        calls.append(arguments)
        return 7

    module = types.ModuleType("app.ui.main")
    module.main = console  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "app.ui.main", module)
    monkeypatch.setenv("QT_QPA_PLATFORM", "offscreen")
    assert (await run("--data-dir", str(tmp_path / "d"), "--broker", "stage:8080"))[0] == 7
    monkeypatch.setenv("CALLBOARD_DATA_DIR", str(tmp_path / "e"))
    assert (await run())[0] == 7
    assert calls == [
        {"broker": "http://stage:8080", "data_dir": tmp_path / "d"},
        {"broker": None, "data_dir": tmp_path / "e"},
    ]


@pytest.mark.parametrize("command", [(), ("demo",)])
async def test_without_a_display_it_says_so_before_qt_would_abort(
    command: tuple[str, ...], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = types.ModuleType("app.ui.main")
    module.main = lambda **_: 7  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "app.ui.main", module)
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    code, out, err = await run(*command, "--data-dir", str(tmp_path / "data"))
    assert (code, out) == (2, "")
    assert "There is no display here" in one_line(err)
    assert not (tmp_path / "data").exists()


# -- take and kick ---------------------------------------------------------------------------------------------

ACCEPT = {"accepted": True, "transport_config": {"ndi_name": "TD-01 (Camera A)"}}


async def test_take_then_kick(run: Run, venue: Venue) -> None:
    stream = await venue.publish("Camera A", ACCEPT)
    where = ("--data-dir", str(venue.data_dir))
    code, out, err = await run("take", "Camera A", "--as", "LED wall", *where)
    assert (code, out, err) == (0, "Camera A is on LED wall.\nTD-01 (Camera A)\n", "")
    sessions = await venue.house.client.sessions(stream.id)
    assert [session.consumer_id for session in sessions] == ["wall"]
    board = await read_board(venue.running.url, venue.running.token)
    assert [hold.session_id for hold in board.holds.values()] == [sessions[0].session_id]

    code, out, _ = await run("take", stream.id, "--as", "LED wall", *where)
    assert code == 0
    assert "already on LED wall" in out
    assert len(await venue.house.client.sessions()) == 1

    code, out, _ = await run(*where, "kick", sessions[0].session_id[:8])
    assert code == 0
    assert "has ended" in out
    assert await venue.house.client.sessions() == []
    verbs = [row.verb for row in await venue.house.client.audit()]
    assert len(verbs) >= 3


async def test_take_replaces_what_the_preset_carries(run: Run, venue: Venue) -> None:
    where = ("--data-dir", str(venue.data_dir))
    await venue.publish("Camera A", ACCEPT)
    await venue.publish("Camera B", ACCEPT)
    await run("take", "Camera A", "--as", "LED wall", *where)
    await run("take", "Camera A", "--as", "Monitor", *where)
    code, out, _ = await run("take", "Camera B", "--as", "LED wall", *where)
    assert code == 0
    assert out.startswith("Camera B is on LED wall; it replaced Camera A.\n")
    names = [session.stream_name for session in await venue.house.client.sessions()]
    assert sorted(names) == ["Camera A", "Camera B"]


async def test_take_and_kick_beside_an_open_window(run: Run, venue: Venue) -> None:
    """Consoles share snapshots, so the board that a verb reads begins before what it has just done."""
    where = ("--data-dir", str(venue.data_dir))
    live = asyncio.Event()
    window = FeedClient(
        venue.running.url,
        venue.running.token,
        lambda _: None,
        lambda link: live.set() if link.state == "live" else None,
    )
    following = asyncio.ensure_future(window.run())
    try:
        async with asyncio.timeout(30):
            await live.wait()
        await venue.publish("Camera A", ACCEPT)
        assert (await run("take", "Camera A", "--as", "LED wall", *where))[0] == 0
        assert (await run("kick", "Camera A", *where))[0] == 0
    finally:
        following.cancel()
        await asyncio.wait({following})
    assert await venue.house.client.sessions() == []


async def test_what_a_publisher_refuses_is_status_1(run: Run, venue: Venue) -> None:
    where = ("--data-dir", str(venue.data_dir))
    await venue.publish("Camera A", {"accepted": False, "reason": "All outputs are in use"})
    code, out, err = await run("take", "Camera A", "--as", "LED wall", *where)
    assert (code, out) == (1, "")
    assert "Camera A was not given: All outputs are in use." in one_line(err)
    await venue.publish("Camera B")
    code, _, err = await run("take", "Camera B", "--as", "LED wall", *where)
    assert code == 1
    assert "Camera B was not given" in one_line(err)


async def test_what_is_not_there_and_what_could_be_two(run: Run, venue: Venue) -> None:
    where = ("--data-dir", str(venue.data_dir))
    first = await venue.publish("Camera A")
    second = await venue.publish("Camera A")
    code, _, err = await run("take", "Camera Z", "--as", "LED wall", *where)
    assert code == 1
    assert "There is no stream 'Camera Z'." in one_line(err)
    code, _, err = await run("take", "Camera A", "--as", "Nowhere", *where)
    assert code == 1
    assert "There is no preset 'Nowhere'." in one_line(err)
    code, _, err = await run("take", "Camera A", "--as", "LED wall", *where)
    assert code == 2
    assert "'Camera A' could be 2 streams" in one_line(err)
    assert first.id in err
    assert second.id in err
    code, _, err = await run("kick", "nobody", *where)
    assert code == 1
    assert "There is no session 'nobody'." in one_line(err)


async def test_a_broker_by_its_address(run: Run, venue: Venue, monkeypatch: pytest.MonkeyPatch) -> None:
    await venue.publish("Camera A", ACCEPT)
    monkeypatch.setenv("CALLBOARD_TOKEN", venue.running.token)
    code, out, _ = await run("take", "Camera A", "--as", "LED wall", "--broker", venue.running.url)
    assert code == 0
    assert "is on LED wall" in out
    monkeypatch.setenv("CALLBOARD_TOKEN", "wrong-wrong-wrong")
    code, _, err = await run("kick", "Camera A", "--broker", venue.running.url)
    assert code == 1
    assert "refused this console's token" in one_line(err)
    monkeypatch.delenv("CALLBOARD_TOKEN")
    where = ("--broker", venue.running.url, "--data-dir", str(venue.data_dir))
    assert (await run("kick", "Camera A", *where))[0] == 0


async def test_localhost_is_this_machine(run: Run, venue: Venue) -> None:
    await venue.publish("Camera A", ACCEPT)
    by_name = venue.running.url.replace("127.0.0.1", "localhost")
    where = ("--broker", by_name, "--data-dir", str(venue.data_dir))
    assert (await run("take", "Camera A", "--as", "LED wall", *where))[0] == 0


# -- agents ----------------------------------------------------------------------------------------------------


async def test_an_agent_is_drained_and_takes_sessions_again(run: Run, venue: Venue) -> None:
    where = ("--data-dir", str(venue.data_dir))
    key = (venue.data_dir / "agent.key").read_text().strip()
    async with dialled(venue.running.url, key, ScriptedAgent("rack-1", "docker")):
        code, out, err = await run(*where, "drain", "rack")
        assert (code, out, err) == (0, "rack-1 takes no new sessions; it is empty.\n", "")
        assert (await read_board(venue.running.url, venue.running.token)).agents["rack-1"].status == "draining"
        code, out, _ = await run("drain", "rack-1", "--undo", *where)
        assert (code, out) == (0, "rack-1 takes new sessions again.\n")
        assert (await read_board(venue.running.url, venue.running.token)).agents["rack-1"].status == "online"
    code, _, err = await run("drain", "rack-2", *where)
    assert code == 1
    assert "There is no agent 'rack-2'." in one_line(err)
    acts = [(row.verb, row.object_id) for row in await venue.house.client.audit() if row.object == "agent"]
    assert [object_id for _, object_id in acts] == ["rack-1", "rack-1"]


async def test_an_agent_is_started_with_what_was_said(
    run: Run, venue: Venue, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begun: list[AgentOptions] = []
    monkeypatch.setattr("app.agent.main.run", lambda options: begun.append(options) or 7)
    code, _, _ = await run(
        "agent", "--broker", "http://10.0.0.5:8080", "--platform", "docker", "--agent-id", "rack-1", "--region", "stage",
        "--key", "a-key-of-sixteen", "--max-sessions", "3", "--state-dir", str(tmp_path), "--end-sessions", "--ca", "x.pem",
    )  # fmt: skip
    assert code == 7
    assert begun.pop() == AgentOptions(
        broker="http://10.0.0.5:8080", platform="docker", agent_id="rack-1", region="stage", key="a-key-of-sixteen",
        max_sessions=3, state_dir=tmp_path, end_sessions=True, ca=Path("x.pem"),
    )  # fmt: skip
    monkeypatch.setenv("CALLBOARD_AGENT_KEY", "the-environments-key")
    await run("agent", "--broker", "http://10.0.0.5:8080")
    assert begun.pop() == AgentOptions(broker="http://10.0.0.5:8080", key="the-environments-key")


async def test_an_agent_finds_the_broker_and_the_key_of_this_machine_and_shows_it_to_no_other(
    run: Run, venue: Venue, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[AgentOptions] = []
    monkeypatch.setattr("app.agent.main.run", lambda options: begun.append(options) or 0)
    where = ("--data-dir", str(venue.data_dir))
    key = (venue.data_dir / "agent.key").read_text().strip()
    await run("agent", *where)
    await run("agent", *where, "--broker", venue.running.url)
    await run("agent", *where, "--broker", "http://10.0.0.5:8080")
    assert [(options.broker, options.key) for options in begun] == [
        (venue.running.url, key), (venue.running.url, key), ("http://10.0.0.5:8080", None),
    ]  # fmt: skip


# -- serve -----------------------------------------------------------------------------------------------------


def serve(data_dir: Path, *options: str) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-m", "app", "serve", "--data-dir", str(data_dir), *options]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


async def test_serve_prints_its_line_and_nothing_else_and_stops_clean(tmp_path: Path) -> None:
    with serve(tmp_path / "data", "--port", "0", "--nats-port", "0") as process:
        assert process.stdout is not None
        line = json.loads(await asyncio.to_thread(process.stdout.readline))
        assert line["ready"] is True
        assert line["pid"] == process.pid
        async with BrokerClient(line["main"]) as client:
            assert (await client.healthz())["status"] == "ok"
        os.kill(process.pid, signal.SIGTERM)
        rest, _ = await asyncio.to_thread(process.communicate, timeout=15)
    assert rest == ""
    assert process.returncode == 0


async def test_a_port_in_use_is_one_line_and_status_3(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with serve(tmp_path / "data", "--port", str(port), "--nats-port", "0", "--log-level", "error") as process:
            out, err = await asyncio.to_thread(process.communicate, timeout=30)
    assert process.returncode == 3
    assert out == ""
    assert str(port) in one_line(err)
    assert "--port" in err
