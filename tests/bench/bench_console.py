"""The console on a big night: 10,000 streams on the board, 1,000 heartbeats a second, the real window on a real feed.

The window runs offscreen (Qt's raster painter, as on a venue machine without a GPU), with plots and details shown.
"""

from __future__ import annotations

import json
import os
import threading
import time
from typing import Any

from tests.bench.harness import Child, OtherLoad, Result, at_most, broker, load, median_of
from tests.bench.venue import advertise, beats

STREAMS = 10_000
RATE = 1_000.0
WINDOWS = 5
SORTS = ("name", "state", "ttl", "from", "address", "consumers", "name down")
FILTERS = ("camera 77", "state:live", "age>5", "192.168.1.0/24", "re:camera \\d*7$", "-camera", "port<6000", "")


def run(quick: bool) -> list[Result]:
    """Share of a core (medians of five windows), the longest stall, and the slowest sort and filter."""
    window = 4.0 if quick else 12.0
    seconds = window * WINDOWS + 20
    failure: list[BaseException] = []
    with broker() as measured:
        ids = advertise(measured.port, STREAMS)
        beating = threading.Thread(target=beat, args=(measured.port, ids, int(seconds * RATE), failure))
        beating.start()
        with Console(str(measured.data)) as console, OtherLoad() as others:
            loading = console.ready["stalls"]
            time.sleep(3)
            console.ask("stalls")
            shares, stalls = [], []
            for _ in range(WINDOWS):
                cpu, at = console.cpu(), time.monotonic()
                time.sleep(window)
                shares.append((console.cpu() - cpu) / (time.monotonic() - at) * 100)
                stalls.append(console.ask("stalls"))
            sorts = {one: console.ask(f"sort {one}") for one in SORTS}
            filters = {one: console.ask(f"filter {one}") for one in FILTERS}
            console.ask("stalls")
            console.ask("resync")
            reloading = console.ask("stalls")
        load_now = others.cores
        beating.join()
    if failure:
        raise failure[0]
    return [
        at_most("console, 10,000 rows: CPU", median_of(shares), "%", 20, other_load=load_now),
        stall("console: longest stall", stalls, load_now),
        stall("console: stall at a new snapshot", [reloading], load_now, f"first load {loading['worst']:.0f} ms"),
        slowest("console: slowest sort", sorts, load_now),
        slowest("console: slowest filter", filters, load_now),
    ]


def stall(name: str, stalls: list[dict[str, float]], others: float, more: str = "") -> Result:
    """The longest of some windows, with what the Qt thread itself spent in it."""
    note = f"median {median_of([one['worst'] for one in stalls]):.0f} ms, own CPU {max(one['cpu'] for one in stalls):.0f} ms"
    worst = max(one["worst"] for one in stalls)
    return at_most(name, worst, "ms", 50, other_load=others, note=f"{note}, {more}" if more else note)


def slowest(name: str, acts: dict[str, dict[str, float]], others: float) -> Result:
    """The act that took longest from the call to the repainted table, each done once, cold."""
    act = max(acts, key=lambda one: acts[one]["ms"])
    spent, model = max(one["cpu"] for one in acts.values()), max(one["model_cpu"] for one in acts.values())
    note = f"“{act}”; most own CPU {spent:.0f} ms, {model:.0f} of it in the model"
    return at_most(name, acts[act]["ms"], "ms", 50, other_load=others, note=note)


def beat(port: int, ids: list[str], count: int, failure: list[BaseException]) -> None:
    """Heartbeats at a fixed rate from another process."""
    try:
        load(port, beats(ids), count=count, connections=64, rate=RATE).all_were(200)
    except BaseException as wrong:
        failure.append(wrong)


class Console(Child):
    """``console_probe`` as a process; ``ask`` sends it a line and returns its answer."""

    def __init__(self, data: str) -> None:
        super().__init__(
            ["-m", "tests.bench.console_probe", data, str(STREAMS)],
            QT_QPA_PLATFORM="offscreen", HOME=data, XDG_CONFIG_HOME=data, PYTHON_KEYRING_BACKEND="keyring.backends.fail.Keyring",
        )  # fmt: skip

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def ask(self, line: str) -> dict[str, Any]:
        """One line to the console, its answer back."""
        assert self.popen.stdin
        assert self.popen.stdout
        self.popen.stdin.write(line.encode() + os.linesep.encode())
        self.popen.stdin.flush()
        answer: dict[str, Any] = json.loads(self.popen.stdout.readline())
        return answer
