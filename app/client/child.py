"""One broker process that this machine's console started: spawn it, hear its readiness, learn how it ended.

Used by ``process.py`` alone. Built on ``subprocess.Popen`` and one daemon thread rather than on asyncio's
subprocesses, whose transport kills the child when the loop closes: a closing console must leave the broker running.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

LOG_LIMIT = 5 * 1024 * 1024
"""Bytes after which ``broker.log`` is put aside at the next start; one older log is kept."""
TAIL = 8192


def open_log(path: Path) -> BinaryIO:
    """The log to append to; one that has grown too long is put aside first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        if path.stat().st_size > LOG_LIMIT:
            path.replace(path.with_suffix(".log.1"))
    except FileNotFoundError:
        pass
    return open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab", buffering=0)


def last_words(path: Path, since: int) -> str:
    """The last line for people that was written to the log after byte ``since``; log records are JSON and skipped."""
    try:
        with path.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(min(since, end), end - TAIL))
            lines = log.read(TAIL).decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    plain = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("{")]
    return plain[-1] if plain else ""


class Child:
    """A broker process from its start to its end. ``ready`` and ``exited`` are futures of the loop that made it."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, log_start: int) -> None:
        loop = asyncio.get_running_loop()
        self.pid = process.pid
        self.ready: asyncio.Future[dict[str, Any] | None] = loop.create_future()
        self.exited: asyncio.Future[int] = loop.create_future()
        self._process = process
        self._log = log
        self._log_start = log_start
        threading.Thread(target=self._follow, args=(loop,), name=f"broker-{self.pid}", daemon=True).start()

    def last_words(self) -> str:
        """The line in which it said why it could not go on."""
        return last_words(self._log, self._log_start)

    def kill(self) -> None:
        """End it without asking."""
        self._process.kill()

    def _follow(self, loop: asyncio.AbstractEventLoop) -> None:
        """Runs in a thread: the readiness line, then the end."""
        stdout = self._process.stdout
        lines = iter(stdout or ())
        _deliver(loop, self.ready, next((answer for line in lines if (answer := _readiness(line))), None))
        code = self._process.wait()
        if stdout is not None:
            stdout.close()
        _deliver(loop, self.exited, code)


async def spawn(arguments: Sequence[str], token: str, log_path: Path) -> Child:
    """Start a broker in a session of its own, give it the console's token by a line on its standard input."""
    process, log_start = await asyncio.to_thread(_popen, list(arguments), token, log_path)
    return Child(process, log_path, log_start)


def _popen(arguments: list[str], token: str, log_path: Path) -> tuple[subprocess.Popen[bytes], int]:
    """The process, and where in the log its own words begin."""
    environment = {**os.environ, "CALLBOARD_TOKEN_STDIN": "1"}
    flags: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        flags = {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}
    with open_log(log_path) as log:
        log_start = log.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=environment, **flags
        )
    if process.stdin is not None:
        try:
            with process.stdin as stdin:
                stdin.write(token.encode() + b"\n")
        except BrokenPipeError:
            pass  # it has ended already; its exit status and last words say why
    return process, log_start


def _readiness(line: bytes) -> dict[str, Any] | None:
    """The readiness line as a mapping; None for any other line."""
    try:
        answer = msgspec.json.decode(line)
    except msgspec.DecodeError:
        return None
    return answer if isinstance(answer, dict) and answer.get("ready") is True else None


def _deliver(loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], value: Any) -> None:
    """Set a future of a loop from another thread; a loop that has closed meanwhile needs it no more."""

    def put() -> None:
        if not future.done():
            future.set_result(value)

    try:
        loop.call_soon_threadsafe(put)
    except RuntimeError:
        return
