"""What every benchmark measures with: a real broker, its CPU, a bare answer to compare with, and a load.

CPU is that of the broker process alone, all its threads included; the load comes from processes of its own.
**1 unit** is the CPU per request of ``bare.py``, a one-route ASGI application under the same uvicorn flags,
measured before and after. Absolute figures are judged only on a machine that has nothing else to do.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec
import psutil

ROOT = Path(__file__).resolve().parents[2]
QUIET = 0.2
"""Cores used by others below which an absolute figure is judged."""
READY_IN = 30.0


class Result(msgspec.Struct, frozen=True):
    """One line of the table; ``holds`` None: not judged, ``note`` says why or how it was measured."""

    name: str
    value: float
    unit: str
    target: str
    holds: bool | None
    note: str = ""


def at_most(
    name: str, value: float, unit: str, target: float, *, other_load: float | None = None, note: str = ""
) -> Result:
    """A result that holds when ``value`` is at most ``target``; not judged when others were at work (absolute figures)."""
    holds: bool | None = value <= target
    if other_load is not None:
        note = f"{note}{'; ' if note else ''}others used {other_load:.2f} core"
        holds = holds if other_load < QUIET else None
    return Result(name, round(value, 3), unit, f"<= {target:g}", holds, note)


# --- processes ----------------------------------------------------------------------------------------


class Child:
    """A process of ours that says on its first line, in JSON, where it listens."""

    def __init__(self, arguments: Sequence[str], *, stderr: IO[bytes] | None = None, **environment: str) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("CALLBOARD_")}
        self.popen = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT, env=clean | environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr,
        )  # fmt: skip
        self.ready: dict[str, Any] = self._first_line()
        self.process = psutil.Process(self.popen.pid)

    def _first_line(self) -> dict[str, Any]:
        assert self.popen.stdout
        line = self.popen.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.popen.args!r} ended with {self.popen.wait()} before it was ready")
        return dict(json.loads(line))

    def cpu(self) -> float:
        """Seconds of CPU used so far by this process and its threads, not by its children."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def rss(self) -> float:
        """Resident memory, MiB."""
        return float(self.process.memory_info().rss) / 2**20

    def stop(self) -> None:
        """End it the clean way, and the hard way if it does not go."""
        if self.popen.poll() is None:
            self.popen.terminate()
        try:
            self.popen.communicate(timeout=15)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.communicate()


class Broker(Child):
    """A real broker, ``python -m app serve``, on free ports and in a data folder of its own."""

    def __init__(self, data: Path, *more: str, **environment: str) -> None:
        data.mkdir(parents=True, exist_ok=True)
        self.data = data
        with (data / "bench.log").open("wb") as log:
            options = ["--port", "0", "--nats-port", "0", "--data-dir", str(data), "--log-level", "warning"]
            agent = [] if "--local-agent" in more else ["--local-agent", "off"]
            super().__init__(["-m", "app", "serve", *options, *agent, *more], stderr=log, **environment)
        self.port = int(str(self.ready["main"]).rsplit(":", 1)[1].rstrip("/"))
        self.nats = str(self.ready["nats"])


@contextmanager
def broker(data: Path | None = None, *options: str, **environment: str) -> Iterator[Broker]:
    """A broker for the time of a benchmark; its folder goes with it unless the caller brought one."""
    folder = data or Path(tempfile.mkdtemp(prefix="callboard-bench-"))
    running = Broker(folder, *options, **environment)
    try:
        yield running
    finally:
        running.stop()
        if data is None:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def child(module: str, *arguments: str) -> Iterator[Child]:
    """Another process of the bench: ``bare``, ``publisher``, ``watcher``, ``agents`` …"""
    running = Child(["-m", f"tests.bench.{module}", *arguments])
    try:
        yield running
    finally:
        running.stop()


class OtherLoad:
    """Cores used by everything on this machine that is not this bench and its children."""

    def __enter__(self) -> OtherLoad:
        self._start = self._sample()
        self.cores = 0.0
        return self

    def __exit__(self, *_: object) -> None:
        self.cores = self.so_far()

    def so_far(self) -> float:
        """The mean since the block began."""
        at, busy, own = self._sample()
        started, busy_then, own_then = self._start
        return max(0.0, ((busy - busy_then) - (own - own_then)) / max(at - started, 1e-9))

    @staticmethod
    def _sample() -> tuple[float, float, float]:
        times = psutil.cpu_times()
        busy = times.user + times.nice + times.system + sum(getattr(times, n, 0.0) for n in ("irq", "softirq", "steal"))
        own = 0.0
        me = psutil.Process()
        for process in [me, *me.children(recursive=True)]:
            try:
                mine = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            own += mine.user + mine.system + mine.children_user + mine.children_system
        return time.monotonic(), busy, own


# --- load ---------------------------------------------------------------------------------------------


class Load(msgspec.Struct):
    """What the load process reports; milliseconds are per request."""

    done: int
    seconds: float
    statuses: dict[str, int]
    p50: float
    p99: float
    worst: float
    bodies: list[str] = []

    def all_were(self, status: int) -> None:
        """Raise unless every answer had ``status``: a bench of errors measures nothing."""
        if set(self.statuses) != {str(status)}:
            raise RuntimeError(f"expected only {status}, got {self.statuses}")


def request(method: str, path: str, body: Any = None, *, token: str = "") -> bytes:
    """One HTTP/1.1 request as it goes over the wire; ``token`` is the bearer's."""
    content = b"" if body is None else msgspec.json.encode(body)
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    if token:
        lines.append(f"Authorization: Bearer {token}")
    if body is not None:
        lines.append("Content-Type: application/json")
    if method != "GET":
        lines.append(f"Content-Length: {len(content)}")
    return "\r\n".join([*lines, "", ""]).encode() + content


def load(
    port: int, requests: Sequence[bytes], *, count: int, connections: int, rate: float = 0.0, keep: bool = False
) -> Load:
    """``count`` requests, taken in turn from ``requests``, from another process over keep-alive connections.

    ``rate`` > 0 sends that many a second whatever comes back; ``keep`` brings the response bodies home.
    """
    job = {
        "port": port, "count": count, "connections": connections, "rate": rate, "keep": keep,
        "requests": [base64.b64encode(one).decode() for one in requests],
    }  # fmt: skip
    ran = subprocess.run(
        [sys.executable, "-m", "tests.bench.load"],
        cwd=ROOT,
        input=json.dumps(job).encode(),
        capture_output=True,
        check=False,
    )
    if ran.returncode != 0:
        raise RuntimeError(f"the load process failed: {ran.stderr.decode()[-2000:]}")
    return msgspec.json.decode(ran.stdout, type=Load)


# --- units --------------------------------------------------------------------------------------------


class Unit:
    """The price of a bare answer: CPU per request, taken before and after what is measured."""

    def __init__(self, bare: Child, quick: bool) -> None:
        self.bare = bare
        self.count = 5_000 if quick else 40_000
        self.samples: list[float] = []

    def take(self) -> None:
        """One sample, 32 requests in flight."""
        load(self.port, [request("GET", "/")], count=500, connections=32).all_were(200)
        self.samples.append(cpu_per_request(self.bare, self.port, [request("GET", "/")], self.count, 32, 200))

    @property
    def port(self) -> int:
        """Where the bare application listens."""
        return int(self.bare.ready["port"])

    @property
    def seconds(self) -> float:
        """CPU seconds of one unit."""
        return statistics.fmean(self.samples)


@contextmanager
def unit(quick: bool) -> Iterator[Unit]:
    """A unit measured before the block; the block calls ``take()`` once more at its end."""
    with child("bare") as bare:
        measured = Unit(bare, quick)
        measured.take()
        yield measured


def cpu_per_request(
    process: Child, port: int, requests: Sequence[bytes], count: int, connections: int, status: int
) -> float:
    """CPU seconds of ``process`` for each request of a load."""
    before = process.cpu()
    load(port, requests, count=count, connections=connections).all_were(status)
    return (process.cpu() - before) / count


def units(
    name: str, process: Child, port: int, requests: Sequence[bytes], *,
    count: int, connections: int, status: int, target: float, quick: bool, between: Any = None,
) -> Result:  # fmt: skip
    """CPU per request in units: the median of five loads (two when quick), the unit taken before and after."""
    samples = []
    with unit(quick) as price:
        for turn in range(2 if quick else 5):
            part = requests[turn :: 2 if quick else 5] if len(requests) >= count else requests
            if between is not None:
                between()
            samples.append(cpu_per_request(process, port, part, count // (10 if quick else 1), connections, status))
        price.take()
    spent = statistics.median(samples)
    note = f"{spent * 1e6:.0f} us CPU each, 1 unit = {price.seconds * 1e6:.1f} us"
    return at_most(name, spent / price.seconds, "units", target, note=note)


def median_of(samples: Sequence[float]) -> float:
    """The median, as a plain float."""
    return float(statistics.median(samples))
