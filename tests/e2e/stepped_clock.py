"""Runs the program with a wall clock that a test can step: ``python -m tests.e2e.stepped_clock FILE ARGUMENTS…``.

FILE holds one double, the seconds by which ``time.time`` is off. Only the wall clock moves, as when NTP or a person sets
it; the monotonic clock, which no process can set, stays what it is. Stepping the machine's own clock would need root and
would upset every other program on it, and time namespaces do not cover the wall clock.
"""

from __future__ import annotations

import mmap
import runpy
import struct
import sys
import time
from pathlib import Path

REAL = time.time


def off_by(file: Path) -> None:
    """From now on ``time.time`` follows the file."""
    with file.open("r+b") as opened:
        shared = mmap.mmap(opened.fileno(), 8)

    def stepped() -> float:
        seconds: float = struct.unpack_from("d", shared)[0]
        return REAL() + seconds

    time.time = stepped


def step(file: Path, seconds: float) -> None:
    """Set how much the clock is off; at once, for a process that runs."""
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 8) as shared:
        struct.pack_into("d", shared, 0, seconds)


def prepare(file: Path) -> Path:
    """A file for a clock that is right."""
    file.write_bytes(struct.pack("d", 0.0))
    return file


if __name__ == "__main__":
    off_by(Path(sys.argv[1]))
    sys.argv[:2] = ["app"]
    runpy.run_module("app", run_name="__main__", alter_sys=False)
