"""A large fleet: what 200 agents and 2,000 sessions cost the broker, what a list of agents costs, how fast a desktop is.

The agents of the first part are simulated and live in a process of their own; a console reads the feed meanwhile. The
desktops of the last part are real: Xvnc and xterm, started by hand and through the API on the broker's own agent.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.harness import Broker, OtherLoad, Result, at_most, broker, child, load, median_of, request, units

AGENTS, SESSIONS = 200, 2_000
PASSWORD = "bench-password"
LIMITS = ("--limit-login", "1000000", "--limit-create", "1000000", "--limit-other", "1000000")
TEMPLATE = {
    "name": "bench", "display_name": "Bench", "base_image": "localhost/bench:1", "command": ["xterm"],
    "vnc": {"resolution": "1280x720"}, "persistent_home": False, "idle_timeout": "0",
}  # fmt: skip
RUNNING_WITHIN = 60.0
STARTS = 15
LOOK_EVERY = 0.01
"""Seconds between two looks at a session that starts: often enough, and seldom enough to take no time from it."""


def run(quick: bool) -> list[Result]:
    """Four results: the load of a fleet, a page of agents, and two of desktops."""
    with fleet_broker() as measured:
        return [*crowd(measured, quick), *desktops(quick)]


@contextmanager
def fleet_broker(*options: str) -> Iterator[Fleet]:
    """A broker whose limits are out of the way, with a user and a template."""
    with broker(None, *LIMITS, *options, CALLBOARD_ADMIN_PASSWORD=PASSWORD) as measured:
        yield Fleet(measured)


class Fleet:
    """What the bench does on a broker, as its administrator."""

    def __init__(self, measured: Broker) -> None:
        self.broker = measured
        login = {"username": "admin", "password": PASSWORD}
        self.token: str = self.ask("POST", "/auth/login", login, 200)["token"]
        user = {"username": "bench", "email": "bench@example.org", "password": PASSWORD, "role": "user"}
        self.ask("POST", "/users", user, 201)
        self.ask("POST", "/templates", TEMPLATE, 201)

    def ask(self, method: str, path: str, body: Any = None, status: int = 200) -> Any:
        """One call of the StreamSpace API."""
        asked = load(self.broker.port, [self.request(method, path, body)], count=1, connections=1, keep=True)
        asked.all_were(status)
        return json.loads(asked.bodies[0] or "null")

    def request(self, method: str, path: str, body: Any = None) -> bytes:
        """One request of the administrator's."""
        return request(method, f"/api/v1{path}", body, token=getattr(self, "token", ""))

    def begin(self, platform: str) -> bytes:
        """A request for one session."""
        body = {"user": "bench", "template": "bench", "platform": platform, "persistent_home": False}
        return self.request("POST", "/sessions", body)

    def running(self) -> int:
        """How many sessions run."""
        return int(self.ask("GET", "/sessions?state=running&limit=1")["pagination"]["total"])


def crowd(fleet: Fleet, quick: bool) -> list[Result]:
    """The steady load, and the list that everybody reads."""
    measured = fleet.broker
    count, sessions = (20, 200) if quick else (AGENTS, SESSIONS)
    url, key = str(measured.ready["main"]), (measured.data / "agent.key").read_text().strip()
    feed = (
        f"ws://127.0.0.1:{measured.port}/console/v1/feed?token={(measured.data / 'console.token').read_text().strip()}"
    )
    with child("agents", url, key, str(count), "20") as agents, child("watcher", feed):
        load(measured.port, [fleet.begin("kubernetes")], count=sessions, connections=8).all_were(202)
        until(lambda: fleet.running() == sessions, RUNNING_WITHIN)
        time.sleep(2.0)
        beats = tally(agents)["beats"]
        with OtherLoad() as others:
            cpu, at = measured.cpu(), time.monotonic()
            time.sleep(10.0 if quick else 30.0)
            share, seconds = measured.cpu() - cpu, time.monotonic() - at
        beats = tally(agents)["beats"] - beats
        if beats < 0.8 * count * seconds / 10.0:
            raise RuntimeError(f"only {beats} heartbeats in {seconds:.0f} s")
        pages = units(
            "GET /agents, authenticated", measured, measured.port, [fleet.request("GET", "/agents")],
            count=4_000, connections=8, status=200, target=8, quick=quick,
        )  # fmt: skip
    note = f"{beats / seconds:.0f} heartbeats a second, {measured.rss():.0f} MiB"
    percent = share / seconds * 100
    steady = at_most(
        f"{count} agents, {sessions:,} sessions: broker", percent, "%", 10, other_load=others.cores, note=note
    )
    return [steady, pages]


def tally(agents: Any) -> dict[str, int]:
    """What the simulated agents did so far."""
    agents.popen.stdin.write(b"\n")
    agents.popen.stdin.flush()
    return dict(json.loads(agents.popen.stdout.readline()))


# --- real desktops ------------------------------------------------------------------------------------


def desktops(quick: bool) -> list[Result]:
    """How long a session takes to be ready, against its two programs started by hand; taken in turns."""
    with fleet_broker("--local-agent", "auto") as fleet, OtherLoad() as others:
        until(lambda: fleet.ask("GET", "/agents/stats")["online_agents"] == 1, RUNNING_WITHIN)
        by_hand, by_us = [], []
        for _ in range(3 if quick else STARTS):
            by_hand.append(start_by_hand())
            by_us.append(start_session(fleet))
    ratio = median_of(by_us) / median_of(by_hand)
    note = f"{median_of(by_us) * 1000:.0f} ms, by hand {median_of(by_hand) * 1000:.0f} ms"
    return [at_most("session start, against by hand", ratio, "times", 2, other_load=others.cores, note=note)]


def start_by_hand() -> float:
    """Seconds until Xvnc with an xterm in it greets a viewer."""
    folder = Path(tempfile.mkdtemp(prefix="cb-"))
    path = folder / "rfb.sock"
    ready, tell = os.pipe()
    began = time.perf_counter()
    command = ["Xvnc", "-geometry", "1280x720", "-depth", "24", "-rfbunixpath", str(path), "-rfbunixmode", "0600"]
    command += ["-rfbport", "-1", "-SecurityTypes", "None", "-nolisten", "tcp", "-displayfd", str(tell)]
    server = subprocess.Popen(command, pass_fds=[tell], stderr=subprocess.DEVNULL)
    os.close(tell)
    with open(ready, "rb") as line:
        display = line.readline().decode().strip()
    terminal = subprocess.Popen(["xterm"], env=os.environ | {"DISPLAY": f":{display}"}, stderr=subprocess.DEVNULL)
    with socket.socket(socket.AF_UNIX) as viewer:
        viewer.connect(str(path))
        greeting = viewer.recv(12)
    took = time.perf_counter() - began
    for process in (terminal, server):
        process.terminate()
        process.wait(10)
    shutil.rmtree(folder)
    if not greeting.startswith(b"RFB"):
        raise RuntimeError(f"Xvnc said {greeting!r}")
    return took


def start_session(fleet: Fleet) -> float:
    """Seconds from the request to a session that runs, which an agent says once its desktop greets."""
    with socket.create_connection(("127.0.0.1", fleet.broker.port)) as line:
        began = time.perf_counter()
        status, started = exchange(line, fleet.begin("local"))
        if status != 202:
            raise RuntimeError(f"the session was answered {status}: {started}")
        path = f"/sessions/{started['id']}"
        look = fleet.request("GET", path)
        while (session := exchange(line, look)[1])["state"] == "pending":
            time.sleep(LOOK_EVERY)
        took = time.perf_counter() - began
        if session["state"] != "running":
            raise RuntimeError(f"the session is {session['state']}: {session['status']}")
        exchange(line, fleet.request("DELETE", path))
        until(lambda: exchange(line, look)[1]["state"] == "terminated", RUNNING_WITHIN)
    return took


def exchange(line: socket.socket, asked: bytes) -> tuple[int, Any]:
    """One request on a kept connection: status and body."""
    line.sendall(asked)
    answer = line.recv(65536)
    while b"\r\n\r\n" not in answer:
        answer += line.recv(65536)
    head, _, body = answer.partition(b"\r\n\r\n")
    lengths = [text.split(b":")[1] for text in head.lower().split(b"\r\n") if text.startswith(b"content-length:")]
    length = int(lengths[0]) if lengths else 0
    while len(body) < length:
        body += line.recv(65536)
    return int(head.split()[1]), json.loads(body) if body else None


def until(holds: Callable[[], bool], seconds: float) -> None:
    """Ask until it holds."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise RuntimeError(f"it did not come to pass within {seconds:.0f} s")
        time.sleep(0.02)
