"""From the start of the console's process to its first painted window, against a bare PySide6 window.

With ``CALLBOARD_STARTUP_PROBE=1`` the console writes ``painted <monotonic>`` to standard error at its first
paint and quits.
"""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.harness import ROOT, OtherLoad, Result, at_most

BARE = """
import sys, time
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QWidget
class Window(QWidget):
    def paintEvent(self, event):
        print(f"painted {time.monotonic()}", file=sys.stderr, flush=True)
        QTimer.singleShot(0, QApplication.quit)
application = QApplication([])
window = Window()
window.resize(1280, 800)
window.show()
application.exec()
"""
PAINTED = re.compile(rb"^painted ([0-9.]+)\r?$", re.MULTILINE)


def run(quick: bool) -> list[Result]:
    """A ratio of two medians, taken in alternation; the first run of each only warms the disk."""
    console, bare = [], []
    with OtherLoad() as others:
        for _ in range(2 if quick else 6):
            bare.append(first_paint(["-c", BARE]))
            console.append(first_paint(["-m", "app"]))
    mine, floor = statistics.median(console[1:]), statistics.median(bare[1:])
    note = f"{mine * 1e3:.0f} ms against {floor * 1e3:.0f} ms"
    return [at_most("console start", mine / floor, "x", 4, note=f"{note}; others {others.cores:.2f} core")]


def first_paint(arguments: list[str]) -> float:
    """Seconds from starting the process to its first paint, in a home that has never seen Callboard."""
    with tempfile.TemporaryDirectory(prefix="callboard-bench-", ignore_cleanup_errors=True) as home:
        folders = {f"XDG_{kind}_HOME": f"{home}/{kind.lower()}" for kind in ("DATA", "CONFIG", "CACHE", "STATE")}
        probe = {"HOME": home, "CALLBOARD_STARTUP_PROBE": "1", "CALLBOARD_PORT": "0", "CALLBOARD_NATS_PORT": "0"}
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CALLBOARD_")}
        started = time.monotonic()
        ran = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=environment | folders | probe,
            capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        end_broker(Path(home))
    painted = PAINTED.search(ran.stderr)
    if painted is None:
        raise RuntimeError(f"no window was painted: {ran.stderr.decode(errors='replace')[-2000:]}")
    return float(painted[1]) - started


def end_broker(home: Path) -> None:
    """The console leaves the broker it started running, as it should; here nobody wants it."""
    for file in home.rglob("broker.json"):
        os.kill(int(json.loads(file.read_text())["pid"]), signal.SIGTERM)
