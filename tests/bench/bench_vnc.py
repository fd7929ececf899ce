"""The VNC relay against websockify in the same run: CPU of the relay per GB, round trips, and a viewer that stops reading.

viewer → broker → our ``attach`` agent → source, and viewer → websockify → the same source. The broker's CPU is that of
its process; websockify forks for each viewer, so its children count.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.bench.harness import ROOT, Broker, Child, Result, at_most, broker, child, median_of

TARGET = "source"
STALLED = 8
SETTLE = 3.0
"""Seconds after which a viewer that reads nothing has filled whatever it can."""


class Websockify:
    """The peer: ``python -m websockify``, which forks."""

    def __init__(self, source: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        arguments = [f"127.0.0.1:{self.port}", f"127.0.0.1:{source}"]
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "websockify", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._process = psutil.Process(self._popen.pid)
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def paths(self, count: int) -> list[str]:
        """Addresses for so many viewers."""
        return ["/websockify"] * count

    def cpu(self) -> float:
        """CPU seconds, with those of children that have ended; waits until they have."""
        deadline = time.monotonic() + 30
        while self._process.children() and time.monotonic() < deadline:
            time.sleep(0.02)
        times = self._process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)

    def stop(self) -> None:
        """End it and what it forked."""
        for process in [*self._process.children(recursive=True), self._process]:
            process.kill()
        self._popen.wait()


class Desk:
    """The broker with one desktop, and tickets for it."""

    def __init__(self, measured: Broker) -> None:
        self._broker = measured
        self.port = measured.port
        token = (measured.data / "console.token").read_text().strip()
        headers = {"Authorization": f"Bearer {token}", "X-Callboard-Operator": "bench"}
        self._client = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", headers=headers, trust_env=False, timeout=30
        )
        self.session = ""

    def open(self) -> None:
        """A session of the agent's only target, running."""
        self._until(lambda: self._get("/api/v1/agents")["agents"])
        body = {"user": "admin", "template": TARGET, "platform": "attach", "persistent_home": False}
        answer = self._client.post("/api/v1/sessions", json=body)
        answer.raise_for_status()
        self.session = answer.json()["id"]
        self._until(lambda: self._get(f"/api/v1/sessions/{self.session}")["state"] == "running")

    def paths(self, count: int) -> list[str]:
        """Addresses for so many viewers."""
        made = []
        for _ in range(count):
            answer = self._client.post(f"/console/v1/desktops/{self.session}/ticket", json={"mode": "control"})
            answer.raise_for_status()
            made.append(answer.json()["url"])
        return made

    def cpu(self) -> float:
        """CPU seconds of the broker."""
        return self._broker.cpu()

    def close(self) -> None:
        """Let go."""
        self._client.close()

    def _get(self, path: str) -> dict[str, Any]:
        answer = self._client.get(path)
        answer.raise_for_status()
        return dict(answer.json())

    def _until(self, holds: Any) -> None:
        deadline = time.monotonic() + 30
        while not holds():
            if time.monotonic() > deadline:
                raise RuntimeError("the desktop does not start")
            time.sleep(0.7)


@contextmanager
def attached(measured: Broker, source: int) -> Iterator[None]:
    """Our agent with one target."""
    with tempfile.TemporaryDirectory(prefix="callboard-bench-agent-") as folder:
        config = Path(folder) / "agent.toml"
        config.write_text(f'[[target]]\nname = "{TARGET}"\nhost = "127.0.0.1"\nport = {source}\n')
        key = (measured.data / "agent.key").read_text().strip()
        arguments = [
            "-m", "app", "agent", "--broker", f"http://127.0.0.1:{measured.port}", "--platform", "attach",
            "--agent-id", "bench", "--config", str(config), "--state-dir", folder, "--log-level", "warning",
        ]  # fmt: skip
        agent = subprocess.Popen(
            [sys.executable, *arguments], cwd=ROOT, env={**os.environ, "CALLBOARD_AGENT_KEY": key},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield
        finally:
            agent.terminate()
            agent.wait(15)


def look(port: int, paths: list[str], **job: Any) -> dict[str, Any]:
    """Viewers in a process of their own."""
    given = json.dumps({"port": port, "paths": paths, **job})
    ran = subprocess.run(
        [sys.executable, "-m", "tests.bench.vnc_peer", "look", given], cwd=ROOT, capture_output=True, check=False
    )
    if ran.returncode != 0:
        raise RuntimeError(f"the viewers failed: {ran.stderr.decode()[-2000:]}")
    return dict(json.loads(ran.stdout))


def per_gigabyte(relay: Websockify | Desk, viewers: int, size: int) -> float:
    """CPU seconds of a relay for each GB that ``viewers`` draw."""
    before = relay.cpu()
    seen = look(relay.port, relay.paths(viewers), pour=size // viewers // 65536 * 65536)
    return (relay.cpu() - before) / (float(seen["bytes"]) / 1e9)


def run(quick: bool) -> list[Result]:
    """Ratios to websockify's, then the stalled viewers."""
    rounds, size = (2, 500_000_000) if quick else (5, 3_000_000_000)
    with ExitStack() as stack:
        source = stack.enter_context(child("vnc_peer", "source"))
        port = int(source.ready["port"])
        measured = stack.enter_context(broker())
        peer = Websockify(port)
        stack.callback(peer.stop)
        stack.enter_context(attached(measured, port))
        desk = Desk(measured)
        stack.callback(desk.close)
        desk.open()
        for relay in (peer, desk):
            per_gigabyte(relay, 2, size // 4)  # warm
        return [
            *_bulk(peer, desk, rounds, size),
            _round_trip(peer, desk, rounds, 500 if quick else 4000),
            *_stalled(measured, desk, 200 if quick else 1000),
        ]


def _bulk(peer: Websockify, desk: Desk, rounds: int, size: int) -> list[Result]:
    results = []
    for viewers, target in ((1, 1.25), (8, 1.05)):
        pairs = [(per_gigabyte(peer, viewers, size), per_gigabyte(desk, viewers, size)) for _ in range(rounds)]
        theirs, ours = median_of([pair[0] for pair in pairs]), median_of([pair[1] for pair in pairs])
        note = f"{ours:.3f} s CPU/GB, websockify {theirs:.3f}, 64 KiB writes at the source, through our agent"
        name = "VNC bulk, 1 viewer" if viewers == 1 else f"VNC bulk, {viewers} viewers"
        results.append(at_most(name, median_of([b / a for a, b in pairs]), "ratio", target, note=note))
    return results


def _round_trip(peer: Websockify, desk: Desk, rounds: int, count: int) -> Result:
    pairs = [
        (look(peer.port, peer.paths(1), echo=count)["p50"], look(desk.port, desk.paths(1), echo=count)["p50"])
        for _ in range(rounds)
    ]
    theirs, ours = median_of([pair[0] for pair in pairs]), median_of([pair[1] for pair in pairs])
    note = f"100 bytes there and back: {ours:.0f} us p50, websockify {theirs:.0f}; two hops and an agent against one"
    return at_most("VNC round trip p50", median_of([b / a for a, b in pairs]), "ratio", 2.2, note=note)


def _stalled(measured: Broker, desk: Desk, count: int) -> list[Result]:
    """Viewers that ask for everything and read nothing, and what another viewer of that agent notices."""
    alone = look(desk.port, desk.paths(1), echo=count, pause=0.002)
    before = measured.rss()
    job = json.dumps({"port": desk.port, "paths": desk.paths(STALLED)})
    stalled = Child(["-m", "tests.bench.vnc_peer", "stall", job])
    try:
        time.sleep(SETTLE)
        beside = look(desk.port, desk.paths(1), echo=count, pause=0.002)
        each = (measured.rss() - before) / STALLED
    finally:
        stalled.stop()
    note = f"p50 {beside['p50']:.0f} us beside {STALLED} stalled viewers, {alone['p50']:.0f} without"
    return [
        at_most("VNC viewer that stops reading", max(0.0, each), "MiB", 1.0, note=f"broker RSS for each of {STALLED}"),
        at_most("VNC viewer beside stalled ones", beside["p50"] / alone["p50"], "ratio", 1.5, note=note),
    ]
