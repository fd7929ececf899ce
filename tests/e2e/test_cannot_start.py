"""A broker that must not start says why in one line, with the status that the contract names, and the strip shows it.

A newer version's data folder, a port that is taken, a second broker on the folder: nothing is touched, nothing runs on.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from html import escape
from pathlib import Path

import psutil
import pytest

from app.ui.console import Console
from tests.e2e.house import CAMERA, House, a_console, a_house
from tests.fakes.broker import BrokerProcess, Brokers

CONFIGURATION, IN_USE = 2, 3


async def refusal(process: BrokerProcess, *, runs: int = 0) -> tuple[int, str]:
    """Start a broker that refuses: its status, and the one line that it says. ``runs``: brokers that run there already."""
    await asyncio.to_thread(process.launch)
    assert await asyncio.to_thread(process.read_line) == "", "a readiness line came"
    status = await asyncio.to_thread(process.wait)
    said = [line for line in process.log if not line.startswith("{")]
    assert len(said) == 1, said
    assert not any("Traceback" in line for line in process.log)
    assert len(of_this_test(process.data_dir)) == runs, "a child was left behind"
    return status, said[0].strip()


def of_this_test(data: Path) -> list[psutil.Process]:
    """nats-servers that run on a data folder."""
    return [
        one for one in psutil.process_iter(["cmdline"]) if str(data / "nats") in " ".join(one.info["cmdline"] or [])
    ]


@asynccontextmanager
async def a_strip(folder: Path, data: Path, *options: str) -> AsyncIterator[Callable[[str], object]]:
    """A console that starts its broker there; call what is given with the words that its strip has to show."""
    async with a_console(folder, data, options) as console:

        async def says(words: str) -> None:
            await shown(console, f"The broker does not start: {words}")
            assert "callboard:" not in console.window.strip.accessibleName()
            assert escape(words) in console.window.strip.toolTip(), "the strip may have to cut it short"
            assert console.actions.blocked, "nothing can be acted on"
            assert not console.store.live

        yield says


async def shown(console: Console, words: str) -> None:
    """Wait for the refresh of the window that shows ``words`` on the strip."""
    refreshed = asyncio.Event()
    console.window._timer.timeout.connect(refreshed.set)
    strip = console.window.strip
    async with asyncio.timeout(30):
        while words not in strip.accessibleName():
            refreshed.clear()
            await refreshed.wait()


def contents(folder: Path) -> dict[str, str]:
    """Every file that holds something, by its hash; locks, logs and what nats-server is told at each start are no data."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock" and path.parent.name not in ("logs", "nats")
    }


def newer_layout(data: Path) -> str:
    """As a later version would leave the folder."""
    (data / "layout.json").write_text(json.dumps({"layout": 99, "version": "9.0.0"}))
    return (
        f"The data folder {data} was written by Callboard 9.0.0, which is newer than this 0.1.0: "
        "start that version, or choose another folder with --data-dir."
    )


def newer_journal(data: Path) -> str:
    """The journal alone is newer."""
    with sqlite3.connect(data / "journal.sqlite") as database:
        database.execute("UPDATE meta SET value = 99 WHERE key = 'schema'")
    database.close()
    return (
        f"{data / 'journal.sqlite'} has schema version 99; this broker knows 1: "
        "use the version of Callboard that wrote it, or another data folder"
    )


def newer_database(data: Path) -> str:
    """The database alone is newer."""
    with sqlite3.connect(data / "callboard.sqlite") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    return f"{data / 'callboard.sqlite'}"


@pytest.mark.parametrize("newer", [newer_layout, newer_journal, newer_database])
async def test_the_data_folder_of_a_newer_version_is_left_alone(
    newer: Callable[[Path], str], brokers: Brokers, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    first = await asyncio.to_thread(brokers.start)
    await asyncio.to_thread(first.terminate)
    words = newer(data)
    before = contents(data)
    status, said = await refusal(brokers.make())
    assert status == CONFIGURATION
    assert words in said
    assert contents(data) == before, "a folder that is not ours was changed"
    async with a_strip(tmp_path, data, "--port=0", "--nats-port=0") as says:
        await says(words)


@pytest.mark.parametrize("option", ["port", "nats-port"])
async def test_a_port_that_is_taken_is_named_with_its_setting(option: str, brokers: Brokers, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        words = f"Port {port} is in use on 127.0.0.1; --{option} chooses another."
        process = brokers.make(f"--{option}={port}")
        status, said = await refusal(process)
        assert status == IN_USE
        assert words in said
        assert "password" not in "".join(process.log), "told once, by a start that came to nothing"
        others = [f"--{name}=0" for name in ("port", "nats-port") if name != option]
        async with a_strip(tmp_path, tmp_path / "data", f"--{option}={port}", *others) as says:
            await says(words)
    assert not of_this_test(tmp_path / "data")


async def test_a_second_broker_on_the_folder_names_the_first(tmp_path: Path) -> None:
    async with a_house(tmp_path) as house:
        rows = await live_rows(house)
        second = BrokerProcess(tmp_path / "data")
        try:
            status, said = await refusal(second, runs=1)
        finally:
            await asyncio.to_thread(second.end)
        assert status == IN_USE
        words = f"The data folder {tmp_path / 'data'} is in use by another broker (process {house.process.pid})."
        assert words in said
        assert await house.state() == rows
        assert house.process.token == house.desk.headers["Authorization"].removeprefix("Bearer ")
        house.says_all_well()


async def live_rows(house: House) -> dict[str, object]:
    """A stream on the board, and everything that is listed."""
    await house.advertise(**CAMERA)
    return await house.state()
