"""Logs of sessions: the end of a file, across its rotation, and what comes after."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.agent import session_log
from app.agent.session_log import BLOCK, follow, older, tail, tail_in_thread
from app.agent.supervisor import Log
from tests.unit.agent.conftest import until


@given(st.lists(st.integers(0, 300), max_size=60), st.integers(0, 80), st.integers(0, 60))
def test_the_last_lines_whatever_their_lengths(lengths: list[int], count: int, split: int) -> None:
    import tempfile

    lines = [f"{number} {'x' * length * 40}" for number, length in enumerate(lengths)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "session.log"
        before, after = lines[:split], lines[split:]
        older(path).write_text("".join(f"{line}\n" for line in before))
        path.write_text("".join(f"{line}\n" for line in after))
        assert tail(path, count) == (lines[-count:] if count else [])


def test_a_long_file_is_read_from_its_end(tmp_path: Path) -> None:
    path = tmp_path / "session.log"
    path.write_text("".join(f"line {number}\n" for number in range(200_000)))
    assert tail(path, 3) == ["line 199997", "line 199998", "line 199999"]
    assert path.stat().st_size > 10 * BLOCK
    assert len(tail(path, 10**9)) == 10_000


def test_no_file_is_no_lines(tmp_path: Path) -> None:
    assert tail(tmp_path / "none", 5) == []


async def test_a_log_that_goes_once_it_was_asked_for_is_answered_all_the_same(tmp_path: Path) -> None:
    """Who hears that a session ended asks for its log, which is being put away just then."""
    path = tmp_path / "session.log"
    lines = follow(path, 5, lambda: True)
    for ask in (lambda: tail_in_thread(path, 5), lambda: anext(lines)):
        path.write_text("goodbye\n")
        asking = asyncio.ensure_future(ask())
        await asyncio.sleep(0)
        path.unlink()
        assert await asking == ["goodbye"]
    await lines.aclose()
    assert await tail_in_thread(path, 5) == []


async def test_who_gives_up_before_a_thread_is_free_leaves_no_file_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "session.log"
    path.write_text("one\n")
    files: list[BinaryIO] = []

    def opened(path: Path) -> BinaryIO:
        files.append(path.open("rb"))
        return files[-1]

    monkeypatch.setattr(session_log, "_open", opened)
    free = threading.Event()
    threads = ThreadPoolExecutor(1)
    asyncio.get_running_loop().set_default_executor(threads)
    threads.submit(free.wait)
    try:
        for ask in (tail_in_thread(path, 5), anext(follow(path, 5, lambda: True))):
            asking = asyncio.ensure_future(ask)
            await asyncio.sleep(0)
            asking.cancel()
            await asyncio.wait({asking})
            assert asking.cancelled()
    finally:
        free.set()
    assert [file.closed for file in files] == [True, True]


async def test_following_misses_nothing_over_rotations(tmp_path: Path) -> None:
    path = tmp_path / "session.log"
    log = Log(str(path), 2000)
    for number in range(5):
        log.take(1, f"line {number}\n".encode())
    over = False
    got: list[str] = []

    async def read() -> None:
        async for lines in follow(path, 3, lambda: over):
            got.extend(line.split(" ", 1)[1] for line in lines)

    reading = asyncio.create_task(read())
    await until(lambda: len(got) == 3)
    for number in range(5, 200):
        log.take(1, f"line {number}\n".encode())
        if number % 20 == 0:
            await asyncio.sleep(0.25)
    over = True
    await asyncio.wait_for(reading, 10)
    assert got == [f"line {number}" for number in range(2, 200)]
    assert path.stat().st_size <= 2000
    assert older(path).stat().st_size <= 2000


def test_a_log_joins_what_comes_in_pieces_and_cuts_what_never_ends(tmp_path: Path) -> None:
    path = tmp_path / "session.log"
    log = Log(str(path), 1 << 20)
    log.take(1, b"one ")
    log.take(2, b"other\r\n")
    log.take(1, b"line\n\xff\xfe\n" + b"y" * 20_000)
    log.take(1, b"")
    texts = [line.split(" ", 1)[1] for line in tail(path, 100)]
    assert texts[:3] == ["other", "one line", "\ufffd\ufffd"]
    assert [len(text) for text in texts[3:]] == [8192, 8192, 20_000 - 2 * 8192]
