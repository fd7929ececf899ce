"""Two people, an administrator, a broker process and an agent process with a key of its own, for tests of rights.

``secrets`` collects everything that must never be written down: passwords, tokens, tickets, keys.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Any

import httpx
import psutil

from tests.e2e.fleet_desk import MARK, TEMPLATE, kill_marked, marked, template
from tests.e2e.house import eventually
from tests.fakes.broker import ROOT, BrokerProcess

PASSWORD = "a very long one, of two people"
AGENT = "rack-1"


class People:
    """See the module's docstring."""

    template = TEMPLATE

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "rack"
        self.agent_log = folder / "agent.log"
        limits = {f"CALLBOARD_LIMIT_{name}": "1000000" for name in ("CREATE", "OTHER")}
        options = ("--local-agent=off", "--log-level=debug")
        self.broker = BrokerProcess(folder / "data", options, environ=limits)
        self.tokens: dict[str, str] = {}
        self.secrets: list[str] = [PASSWORD]
        self._clients: dict[tuple[tuple[str, str], ...], httpx.AsyncClient] = {}
        self._log: IO[bytes] | None = None

    # -- their life ------------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Everybody is there and has logged in."""
        await asyncio.to_thread(self.broker.start)
        self.url = self.broker.url
        self.know(self.broker.token)
        self.admin = self.http({"Authorization": f"Bearer {self.broker.token}", "X-Callboard-Operator": "Ada"})
        for name in ("kim", "lee"):
            body = {"username": name, "email": f"{name}@example.com", "password": PASSWORD}
            assert (await self.admin.post("/api/v1/users", json=body)).status_code == 201
            answer = await self.http().post("/api/v1/auth/login", json={"username": name, "password": PASSWORD})
            self.tokens[name] = self.know(answer.json()["token"])
        assert (await self.admin.post("/api/v1/templates", json=template(self.folder))).status_code == 201
        made = (await self.admin.post("/api/v1/agent-keys", json={"name": AGENT})).json()
        self.key_id, self.key = str(made["id"]), self.know(made["key"])
        self._log = self.agent_log.open("ab")
        self.start_agent(self.key)
        await self.agent_is("online")

    async def end(self) -> None:
        """Sessions, agent, broker: nothing stays."""
        for client in self._clients.values():
            await client.aclose()
        if hasattr(self, "agent"):
            await asyncio.to_thread(self._end_agent)
        kill_marked(self.folder)
        if self._log is not None:
            self._log.close()
        await asyncio.to_thread(self.broker.end)

    def start_agent(self, key: str) -> None:
        """The agent, as somebody runs it on a machine of their own."""
        arguments = ["agent", f"--broker={self.url}", "--platform=local", f"--agent-id={AGENT}"]
        self.agent = subprocess.Popen(
            [sys.executable, "-m", "app", *arguments, f"--state-dir={self.state}"],
            cwd=ROOT,
            env=os.environ | {"CALLBOARD_AGENT_KEY": key},
            stdout=self._log,
            stderr=self._log,
        )

    def _end_agent(self) -> None:
        self.agent.terminate()
        try:
            self.agent.wait(10.0)
        except subprocess.TimeoutExpired:
            self.agent.kill()
            self.agent.wait()

    async def restart_agent(self, key: str) -> None:
        """With another key; its sessions are not asked."""
        await asyncio.to_thread(self._end_agent)
        self.key = key
        self.start_agent(key)

    # -- what they ask ---------------------------------------------------------------------------------------------

    def know(self, secret: str) -> str:
        """Something that nobody may write down."""
        self.secrets.append(secret)
        return secret

    def http(self, headers: dict[str, str] | None = None) -> httpx.AsyncClient:
        """A client with these headers; closed at the end."""
        given = tuple(sorted((headers or {}).items()))
        if given not in self._clients:
            made = httpx.AsyncClient(base_url=self.url, headers=headers or {}, trust_env=False, timeout=20.0)
            self._clients[given] = made
        return self._clients[given]

    async def create(self, user: str) -> httpx.Response:
        """A session with a home that stays, begun by its user."""
        body = {"user": user, "template": TEMPLATE}
        client = self.http({"Authorization": f"Bearer {self.tokens[user]}"})
        return await client.post("/api/v1/sessions", json=body)

    async def desktop(self, user: str) -> str:
        """The same; it runs when this returns."""
        answer = await self.create(user)
        assert answer.status_code == 202, answer.text
        session_id = str(answer.json()["id"])

        async def runs() -> bool:
            return bool((await self.row(session_id))["state"] == "running")

        await eventually(runs)
        await eventually(lambda: self._some(session_id))
        return session_id

    async def _some(self, session_id: str) -> bool:
        return bool(self.programs_of(session_id))

    async def row(self, session_id: str) -> dict[str, Any]:
        """A session as an administrator sees it, without what time alone changes."""
        row = dict((await self.admin.get(f"/api/v1/sessions/{session_id}")).json())
        return {name: value for name, value in row.items() if name not in ("last_activity", "load")}

    async def ticket(self, session_id: str) -> str:
        """A viewer's ticket for a session, given to an administrator."""
        answer = await self.admin.post(f"/console/v1/desktops/{session_id}/ticket", json={"mode": "control"})
        assert answer.status_code == 201, answer.text
        return self.know(answer.json()["ticket"])

    async def agent_is(self, status: str) -> None:
        """Wait until the broker has the agent like that."""

        async def so() -> bool:
            answer = await self.admin.get(f"/api/v1/agents/{AGENT}")
            return bool(answer.status_code == 200 and answer.json()["status"] == status)

        await eventually(so)

    async def until_logged(self, words: str) -> None:
        """Wait until the agent says so."""

        async def said() -> bool:
            return words in self.agent_log.read_text("utf-8", "replace")

        await eventually(said)

    # -- what runs -------------------------------------------------------------------------------------------------

    def processes_of(self, session_id: str) -> list[psutil.Process]:
        """Those of one session: supervisor, display, window manager, programs."""
        found = []
        for process in marked(self.folder):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.environ().get(MARK, "").endswith(session_id):
                    found.append(process)
        return found

    def programs_of(self, session_id: str) -> set[int]:
        """The shells that paint in a session."""
        found = set()
        for process in self.processes_of(session_id):
            with contextlib.suppress(psutil.NoSuchProcess):  # what a desktop runs for a moment while it begins
                if process.name() == "bash":
                    found.add(process.pid)
        return found

    def environment_of(self, session_id: str) -> dict[str, str]:
        """What the program of a session sees."""
        (pid,) = self.programs_of(session_id)
        return dict(psutil.Process(pid).environ())


@asynccontextmanager
async def some_people(folder: Path) -> AsyncIterator[People]:
    """All of them for the time of a block."""
    people = People(folder)
    try:
        await people.begin()
        yield people
    finally:
        await people.end()
