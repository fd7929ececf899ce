"""The real console with a stopwatch in it: ``python -m tests.bench.console_probe DATA_DIR``, for ``bench_console``.

Adopts the broker of the data folder, shows its window, and says so on standard output when ``rows`` streams are on
the board. Then it answers one line of standard input at a time: ``stalls`` (the longest gaps of the Qt thread since
the last such line), ``sort KEY``, ``filter TEXT`` (milliseconds from the call to the repainted table), ``resync``.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, QTimer

from app.ui.console import Console
from app.ui.loop import run
from app.ui.main import application
from app.ui.settings import Settings

TICK_MS = 5


class Stopwatch:
    """Gaps between the ticks of a precise timer on the Qt thread, as they passed and as CPU of that thread alone."""

    def __init__(self) -> None:
        self.gaps: list[tuple[float, float]] = []
        self._last = (time.perf_counter(), time.thread_time())
        self._timer = QTimer()
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(TICK_MS)
        self._timer.timeout.connect(self._tick)
        self._timer.start()

    def _tick(self) -> None:
        now = (time.perf_counter(), time.thread_time())
        self.gaps.append(((now[0] - self._last[0]) * 1e3, (now[1] - self._last[1]) * 1e3))
        self._last = now

    def take(self) -> dict[str, float]:
        """The longest gaps in milliseconds since the last call. ``cpu``: of our own making, whatever others did."""
        gaps, self.gaps = self.gaps, []
        passed = [wall for wall, _ in gaps]
        return {
            "worst": max(passed),
            "cpu": max(spent for _, spent in gaps),
            "over_50": sum(gap > 50 for gap in passed),
            "ticks": len(gaps),
        }


class Probe:
    """Answers the bench's lines."""

    def __init__(self, console: Console, rows: int) -> None:
        self.console = console
        self.rows = rows
        self.watch = Stopwatch()

    async def loaded(self) -> float:
        """Milliseconds until the table shows every row."""
        began = time.perf_counter()
        model = self.console.streams.model
        while not self.console.store.live or model.rowCount() < self.rows:
            await asyncio.sleep(0.02)
        return (time.perf_counter() - began) * 1e3

    async def answer(self, line: str) -> dict[str, Any]:
        """What a line asks for."""
        word, _, rest = line.partition(" ")
        if word == "stalls":
            return self.watch.take()
        if word == "resync":
            self.console.connection.resync()
            await asyncio.sleep(2)
            return {"ms": await self.loaded()}
        began, spent = time.perf_counter(), time.thread_time()
        if word == "sort":
            key, _, way = rest.partition(" ")
            self.console.streams.model.sort_by(key, descending=way == "down")
        else:
            self.console.streams.apply_filter(rest)
        acted = time.thread_time()
        self.console.streams.view.viewport().repaint()
        return {
            "ms": (time.perf_counter() - began) * 1e3,
            "cpu": (time.thread_time() - spent) * 1e3,
            "model_cpu": (acted - spent) * 1e3,
            "rows": self.console.streams.model.rowCount(),
        }


async def main(data: Path, rows: int) -> int:
    """Run the console until standard input closes."""
    console = Console(application(), Settings(data / "console-bench.ini"), data)
    console.window.resize(1400, 900)
    console.show()
    running = asyncio.ensure_future(console.run(None))
    probe = Probe(console, rows)
    loading = await probe.loaded()
    say({"loaded_ms": loading, "stalls": await probe.answer("stalls")})
    lines: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    threading.Thread(target=read, args=(loop, lines), daemon=True).start()
    while line := await lines.get():
        say(await probe.answer(line))
    console.leave_now()
    await running
    return 0


def read(loop: asyncio.AbstractEventLoop, lines: asyncio.Queue[str]) -> None:
    """Lines of standard input, from a thread; an empty one at its end."""
    for line in sys.stdin:
        loop.call_soon_threadsafe(lines.put_nowait, line.strip())
    loop.call_soon_threadsafe(lines.put_nowait, "")


def say(value: dict[str, Any]) -> None:
    """One line of JSON."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(run(main(Path(sys.argv[1]), int(sys.argv[2])), application()))
