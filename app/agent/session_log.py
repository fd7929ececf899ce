"""A session's log as its supervisor writes it: the last lines from the end, and further ones as they come.

Used by ``local.py``. Reads across the one rotation. Serves the StreamSpace document (seed 001, "Session Lifecycle":
logs).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import BinaryIO

BLOCK = 64 * 1024
LOOK_EVERY = 0.2
MOST = 10_000
PART = 500
"""Lines handed on at once."""


def tail(path: Path, count: int) -> list[str]:
    """The last ``count`` lines, oldest first; those of the file before when this one is short."""
    file = _open(path)
    if file is None:
        return []
    with file:
        return _across_rotation(file, path, count)


async def tail_in_thread(path: Path, count: int) -> list[str]:
    """``tail`` of the file that is there now: its session may end, and take it away, before a thread is free."""
    file = _open(path)
    if file is None:
        return []
    with file:  # closed here: when this is cancelled the thread may never begin
        return await asyncio.to_thread(_across_rotation, file, path, count)


def _across_rotation(file: BinaryIO, path: Path, count: int) -> list[str]:
    """The last lines of an open file and the one before; the open one is left standing at its end."""
    wanted = max(0, min(count, MOST))
    lines = _read_back(file, wanted)
    before = _open(older(path)) if len(lines) < wanted else None
    if before is not None:
        with before:
            lines = _read_back(before, wanted - len(lines)) + lines
    return lines


def older(path: Path) -> Path:
    """The file before the present one."""
    return path.with_name(path.name + ".1")


def _read_back(file: BinaryIO, wanted: int) -> list[str]:
    """Read blocks from the end until there are enough whole lines."""
    end = at = file.seek(0, os.SEEK_END)
    data = b""
    while at > 0 and data.count(b"\n") <= wanted:
        size = min(BLOCK, at)
        at = file.seek(at - size)
        data = file.read(size) + data
    file.seek(end)
    return [text(line) for line in data.split(b"\n")[:-1]][-wanted:] if wanted else []


def text(line: bytes) -> str:
    """A line as it may stand in JSON."""
    return line.decode("utf-8", "replace").replace("\0", "\ufffd")


async def follow(path: Path, count: int, ended: Callable[[], bool]) -> AsyncIterator[list[str]]:
    """The last lines, then further ones until ``ended`` and nothing is left."""
    file = _open(path)  # now: the session may end, and take it away, meanwhile
    try:
        if file is not None:
            backlog = await asyncio.to_thread(_across_rotation, file, path, count)
            if backlog:
                yield backlog
        rest = b""
        while True:
            over = ended()
            if file is None:
                file = _open(path)
            data = b"" if file is None else file.read(BLOCK * 4)
            *lines, rest = (rest + data).split(b"\n")
            for at in range(0, len(lines), PART):
                yield [text(line) for line in lines[at : at + PART]]
            if data:
                continue
            if file is not None and replaced(file, path):
                file.close()
                file = None
            elif over:
                return
            else:
                await asyncio.sleep(LOOK_EVERY)
    finally:
        if file is not None:
            file.close()


def _open(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def replaced(file: BinaryIO, path: Path) -> bool:
    """Whether the log was rotated under an open file; one that was moved away altogether was not."""
    try:
        return path.stat().st_ino != os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False
