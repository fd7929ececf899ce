"""A fleet for tests that kill: a broker process, agent processes that run real desktops, and a wire that can be cut.

Agents reach the broker through ``Wire``, a proxy of ours, since that is the one place where a single connection can be
cut without asking either end. Every program of a session writes its mark into a tally when it begins, so what a
command has done can be counted whatever was killed in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, WebSocketException

from tests.e2e.house import eventually, figures_of
from tests.fakes.broker import ROOT, BrokerProcess
from tests.fakes.ports import free_ports

KEY = "an-agent-key-of-this-test-0123456789"
SETTLES_WITHIN = 60.0
TEMPLATE = "tally"
UNSETTLED = ("pending", "terminating")
SLOTS = (*UNSETTLED, "running")
Session = dict[str, Any]


class Wire:
    """A TCP proxy towards ``port`` that knows which of its connections are tunnels."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.tunnels: list[asyncio.StreamWriter] = []
        self.others: list[asyncio.StreamWriter] = []
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """Listen; the port."""
        self._server = await asyncio.start_server(self._meet, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Cut everything."""
        if self._server is not None:
            self._server.close()
        for writer in (*self.tunnels, *self.others):
            writer.transport.abort()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    async def _meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._pipes.add(task)
        try:
            head = await reader.read(65536)
            across, onward = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.close()
            return
        kind = self.tunnels if b"/agent/tunnel/" in head.split(b"\r\n", 1)[0] else self.others
        kind.append(writer)
        onward.write(head)
        try:
            await asyncio.gather(self._pass(reader, onward), self._pass(across, writer))
        finally:
            kind.remove(writer)

    @staticmethod
    async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


class Storm:
    """See the module's docstring. ``expected`` is what must be there: session id → whether it was to end."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.folder = folder
        self.tally = folder / "tally"
        self.expected: dict[str, bool] = {}
        self.faults: Counter[str] = Counter()
        self.agents: dict[str, subprocess.Popen[bytes]] = {}
        self.viewers: dict[str, ClientConnection] = {}
        self._log = (folder / "agents.log").open("ab")
        port, nats = free_ports(2)
        limits = {f"CALLBOARD_LIMIT_{name}": "1000000" for name in ("LOGIN", "CREATE", "OTHER")}
        options = (f"--port={port}", f"--nats-port={nats}", "--local-agent=off", "--log-level=warning")
        self.broker = BrokerProcess(folder / "data", options, environ=limits | {"CALLBOARD_AGENT_KEY": KEY})
        self.wire = Wire(port)
        self.http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20.0)

    # -- its life --------------------------------------------------------------------------------------------------

    async def begin(self, agents: int) -> None:
        """Broker, wire, agents and the template."""
        await asyncio.to_thread(self.broker.start)
        self.http.headers["Authorization"] = f"Bearer {self.broker.token}"
        self.port = await self.wire.start()
        for number in range(agents):
            self.start_agent(f"a{number}")
        program = f'echo "$CALLBOARD_SESSION" >> {self.tally}; exec sleep 100000'
        template = {"name": TEMPLATE, "display_name": "Tally", "command": ["sh", "-c", program]}
        answer = await self.http.post("/api/v1/templates", json=template)
        assert answer.status_code == 201, answer.text
        await eventually(self.all_connected)

    async def end(self) -> None:
        """Nothing is left, whatever happened."""
        for viewer in self.viewers.values():
            await viewer.close()
        await self.wire.stop()
        await self.http.aclose()
        for agent in self.agents.values():
            agent.kill()
            await asyncio.to_thread(agent.wait)
        await asyncio.to_thread(self.broker.end)
        for process in self.programs():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._log.close()

    def start_agent(self, agent_id: str) -> None:
        """An agent on a state folder of its own, which is the same each time."""
        arguments = ["agent", f"--broker=http://127.0.0.1:{self.port}", "--platform=local", f"--agent-id={agent_id}"]
        state = f"--state-dir={self.folder / agent_id}"
        self.agents[agent_id] = subprocess.Popen(
            [sys.executable, "-m", "app", *arguments, state, "--max-sessions=6"],
            cwd=ROOT,
            env=os.environ | {"CALLBOARD_AGENT_KEY": KEY},
            stdout=subprocess.DEVNULL,
            stderr=self._log,
        )

    # -- what is asked of it ---------------------------------------------------------------------------------------

    async def all_connected(self) -> bool:
        """Whether the broker has every agent."""
        rows = await self.list("agents")
        return {row["agent_id"] for row in rows if row["status"] == "online"} == set(self.agents)

    async def nothing_is_open(self) -> bool:
        """Whether the broker waits for no agent: a wish of before a fault may still move a session that stands still."""
        try:
            return figures_of((await self.http.get("/metrics")).text)["callboard_commands_open"] == 0
        except httpx.HTTPError:
            return False

    async def list(self, what: str) -> list[dict[str, Any]]:
        """All rows of a list; none while the broker is away."""
        rows: list[dict[str, Any]] = []
        try:
            for page in range(1, 100):
                answer = await self.http.get(f"/api/v1/{what}", params={"limit": 100, "page": page})
                body = answer.json()
                rows += body[what]
                if page >= body["pagination"]["total_pages"]:
                    break
        except httpx.HTTPError:
            return []
        return rows

    async def act(self) -> None:
        """One thing that somebody does, whatever state the house is in; an answer counts, and none counts not."""
        live = [one for one, ends in self.expected.items() if not ends]
        chosen = self.random.choice(live) if live else ""
        what = self.random.choice(("create", "create", "hibernate", "wake", "wake", "delete"))
        try:
            if what == "create" or not chosen:
                await self.create()
            elif what == "delete" and len(live) > 2:
                self.expected[chosen] = True
                await self.http.delete(f"/api/v1/sessions/{chosen}")
            elif what in ("hibernate", "wake"):
                state = "hibernated" if what == "hibernate" else "running"
                await self.http.patch(f"/api/v1/sessions/{chosen}", json={"state": state})
        except httpx.HTTPError:
            return

    async def create(self) -> None:
        """A session, unless there are enough."""
        if sum(not ends for ends in self.expected.values()) >= 6:
            return
        wanted = {"user": "admin", "template": TEMPLATE, "persistent_home": False, "tags": ["storm"]}
        answer = await self.http.post("/api/v1/sessions", json=wanted)
        if answer.status_code == 202:
            self.expected[answer.json()["id"]] = False

    async def look(self) -> None:
        """Somebody looks at a running desktop, so that there is a tunnel to cut."""
        for session_id, viewer in list(self.viewers.items()):
            if viewer.close_code is not None:
                del self.viewers[session_id]
        running = [row["id"] for row in await self.list("sessions") if row["state"] == "running"]
        for session_id in running[:2]:
            if session_id not in self.viewers:
                url = f"ws://127.0.0.1:{self.wire.target}/vnc-viewer/{session_id}"
                try:
                    viewer = await connect(url, additional_headers=dict(self.http.headers), compression=None)
                    assert await asyncio.wait_for(viewer.recv(), 10) == b"RFB 003.008\n"
                except (OSError, InvalidHandshake, WebSocketException, TimeoutError):
                    continue
                self.viewers[session_id] = viewer

    # -- faults ----------------------------------------------------------------------------------------------------

    async def fault(self) -> None:
        """Something breaks, at a random moment of what somebody does."""
        kind = self.random.choices(("tunnel", "line", "agent", "broker"), (9, 5, 4, 2))[0]
        acting = asyncio.create_task(self.act())
        await asyncio.sleep(self.random.uniform(0.0, 0.1))
        await getattr(self, f"kill_{kind}")()
        self.faults[kind] += 1
        await acting

    async def kill_tunnel(self) -> None:
        """One viewer's tunnel is cut."""
        await self.look()
        if self.wire.tunnels:
            self.random.choice(self.wire.tunnels).transport.abort()

    async def kill_line(self) -> None:
        """An agent's connection is cut."""
        if self.wire.others:
            self.random.choice(self.wire.others).transport.abort()

    async def kill_agent(self) -> None:
        """An agent is killed and begun again."""
        agent_id = self.random.choice(list(self.agents))
        self.agents[agent_id].kill()
        await asyncio.to_thread(self.agents[agent_id].wait)
        self.start_agent(agent_id)

    async def kill_broker(self) -> None:
        """The broker is killed and begun again."""
        await asyncio.to_thread(self.broker.kill)
        await asyncio.to_thread(self.broker.end)
        await asyncio.to_thread(self.broker.start)

    # -- what must hold --------------------------------------------------------------------------------------------

    async def settled(self) -> dict[str, Session]:
        """Wait until agents are there and nothing is on its way; the sessions by id."""
        rows: dict[str, Session] = {}

        async def calm() -> bool:
            if not await self.all_connected() or not await self.nothing_is_open():
                return False
            rows.clear()
            rows.update({row["id"]: row for row in await self.list("sessions")})
            return bool(rows or not self.expected) and all(row["state"] not in UNSETTLED for row in rows.values())

        try:
            await eventually(calm, SETTLES_WITHIN)
        except TimeoutError:
            said = (self.folder / "agents.log").read_text("utf-8", "replace")[-4000:]
            words = f"it does not settle: {json.dumps(list(rows.values()))}\n{self.broker.tail}\n{said}"
            raise AssertionError(words) from None
        return rows

    async def check(self) -> None:
        """No session lost or doubled, no slot leaked, every start done once."""
        rows = await self.settled()
        await self.have_begun({one for one, row in rows.items() if row["state"] in ("running", "hibernated")})
        for session_id, ends in self.expected.items():
            assert session_id in rows, f"{session_id} is lost"
            assert ends or rows[session_id]["state"] != "terminated", (
                f"{session_id} ended by itself: {rows[session_id]}"
            )
        begun = Counter(line.rpartition(":")[2] for line in self._lines())
        programs = Counter(self.sessions_of_programs())
        for session_id, row in rows.items():
            lives = row["state"] in ("running", "hibernated")
            assert programs[session_id] == int(lives), f"{programs[session_id]} programs of {row}"
            assert begun[session_id] <= 1, f"{session_id} was begun {begun[session_id]} times"
            assert not lives or begun[session_id] == 1
        assert set(programs) <= set(rows)
        for agent in await self.list("agents"):
            held = sum(row["state"] in SLOTS and row["agent_id"] == agent["agent_id"] for row in rows.values())
            assert agent["capacity"]["current_sessions"] == held, f"{agent} has {held} sessions"

    async def have_begun(self, sessions: set[str]) -> None:
        """Wait for programs: a session runs from the moment that its shell does, which writes its mark after that."""

        async def there() -> bool:
            return sessions <= set(self.sessions_of_programs())

        with contextlib.suppress(TimeoutError):  # what is missing is said by ``check``
            await eventually(there, 10.0)

    def _lines(self) -> list[str]:
        return self.tally.read_text().split() if self.tally.exists() else []

    def programs(self) -> list[psutil.Process]:
        """The programs of this test's sessions that live; a supervisor and its display are not counted."""
        return [process for process, _ in self._found()]

    def sessions_of_programs(self) -> list[str]:
        """Whose they are."""
        return [variables.get("CALLBOARD_SESSION", "").rpartition(":")[2] for _, variables in self._found()]

    def _found(self) -> list[tuple[psutil.Process, dict[str, str]]]:
        found = []
        for process in psutil.process_iter(["name"]):
            with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                variables = process.environ() if process.info["name"] == "sleep" else {}
                if str(self.folder) in variables.get("HOME", ""):
                    found.append((process, variables))
        return found


@asynccontextmanager
async def a_storm(folder: Path, seed: int, agents: int = 2) -> AsyncIterator[Storm]:
    """A house to break things in; nothing of it is left after the block."""
    storm = Storm(folder, seed)
    try:
        await storm.begin(agents)
        yield storm
    finally:
        await storm.end()
