"""Many simulated agents on a broker process that is killed: what they hold, what was done to it, who was told what.

The agents are those of ``app/demo/agents.py`` and count every effect. Most sessions are put into the broker's database
before its first start, since two thousand of them take longer to begin than they are worth; the rest is done over the API.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx

from app.agent_protocol import Command, CommandResult
from app.contract import AgentRow, DesktopRow, DesktopState
from app.demo.agents import SimulatedAgent, Tally, _Held
from app.demo.desks import SIMULATED_TEMPLATE
from app.paths import DataFolder
from app.server.storage.database import Database
from app.server.storage.fleet import FleetStore, Put
from app.server.tasks import TaskTree
from tests.e2e.house import figures_of
from tests.fakes.broker import BrokerProcess
from tests.fakes.ports import free_ports

KEY = "an-agent-key-of-this-test-0123456789"
PLACES = 16
NAME = str(SIMULATED_TEMPLATE["name"])


class CountingAgent(SimulatedAgent):
    """A simulated agent that counts what it has really done, by session and kind."""

    def __init__(self, url: str, agent_id: str, tally: Tally, dice: random.Random) -> None:
        super().__init__(url, agent_id, KEY, tally, dice, places=PLACES, slow=0.2)
        self.done: Counter[tuple[str, str]] = Counter()

    def _done(self, command: Command) -> CommandResult:
        self.done[(command.session_id, command.command_type)] += 1
        return super()._done(command)


class Crowd:
    """See the module's docstring. ``was`` is every session that the database began with."""

    def __init__(self, folder: Path, agents: int, sessions: int, seed: int) -> None:
        self.dice = random.Random(seed)
        port, nats = free_ports(2)
        limits = {f"CALLBOARD_LIMIT_{name}": "1000000" for name in ("LOGIN", "CREATE", "OTHER")}
        options = (f"--port={port}", f"--nats-port={nats}", "--local-agent=off", "--log-level=warning")
        self.data = folder / "data"
        self.broker = BrokerProcess(self.data, options, environ=limits | {"CALLBOARD_AGENT_KEY": KEY})
        self.url = f"http://127.0.0.1:{port}"
        self.http = httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=30.0)
        self.tally = Tally()
        self.agents = {
            name: CountingAgent(self.url, name, self.tally, random.Random(self.dice.random()))
            for name in (f"agent-{number:03}" for number in range(agents))
        }
        self.was: dict[str, DesktopRow] = {row.id: row for row in self._rows(sessions)}
        self._living: list[asyncio.Task[None]] = []

    def _rows(self, count: int) -> list[DesktopRow]:
        rows, names = [], list(self.agents)
        for number in range(count):
            session_id, agent_id = str(UUID(int=self.dice.getrandbits(128), version=4)), names[number % len(names)]
            state: DesktopState = "hibernated" if number % 5 == 4 else "running"
            rows.append(
                DesktopRow(
                    id=session_id, name=f"admin-{NAME}-{number:06}", user="admin", template=NAME, agent_id=agent_id,
                    platform=SimulatedAgent.platform, state=state, phase=state.capitalize(), persistent_home=False,
                    started_at=1.0, created_at=1.0 + number, updated_at=1.0 + number,
                )
            )  # fmt: skip
            self.agents[agent_id].sessions[session_id] = _Held(1, state, {"session_id": session_id})
        return rows

    # -- its life --------------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Rows in the database, a broker on it, and everybody connected."""
        folder, tasks = DataFolder(self.data), TaskTree()
        folder.create()
        database = Database(folder.database)
        await database.start()
        agents = (
            AgentRow(
                id=name, uuid=str(UUID(int=number)), platform=SimulatedAgent.platform, max_sessions=PLACES,
                created_at=1.0, updated_at=1.0,
            )
            for number, name in enumerate(self.agents)
        )  # fmt: skip
        store = FleetStore(database, tasks)
        await store.commit(*(Put("agent", row) for row in agents), *(Put("desktop", row) for row in self.was.values()))
        await tasks.stop()
        await database.stop()
        await self.start()
        answer = await self.http.post("/api/v1/templates", json=SIMULATED_TEMPLATE)
        assert answer.status_code == 201, answer.text

    async def start(self) -> None:
        """The broker, and every agent at the same moment."""
        await asyncio.to_thread(self.broker.start)
        self.http.headers["Authorization"] = f"Bearer {self.broker.token}"
        self._living = [
            asyncio.create_task(agent.run(self.dice.uniform(0.0, 10.0)), name=agent.agent_id)
            for agent in self.agents.values()
        ]

    async def kill(self) -> None:
        """The broker, with -9; agents stand still until it is there again, so that all of them come at once."""
        await asyncio.to_thread(self.broker.kill)
        await asyncio.to_thread(self.broker.end)
        await self._still()

    async def _still(self) -> None:
        for task in self._living:
            task.cancel()
        await asyncio.gather(*self._living, return_exceptions=True)
        self._living = []

    async def end(self) -> None:
        """Nobody is left."""
        await self._still()
        await self.http.aclose()
        await asyncio.to_thread(self.broker.end)

    # -- what is asked and known -----------------------------------------------------------------------------------

    async def ask(self, method: str, path: str, body: Any = None) -> httpx.Response | None:
        """One request; None when nobody answered."""
        try:
            return await self.http.request(method, f"/api/v1{path}", json=body)
        except httpx.HTTPError:
            return None

    async def sessions(self) -> dict[str, dict[str, Any]]:
        """Every session as the API lists it; a row that came twice fails here."""
        rows: list[dict[str, Any]] = []
        page = pages = 1
        while page <= pages:
            path = f"/api/v1/sessions?limit=100&page={page}&sort=created_at&order=asc"
            body = (await self.http.get(path)).json()
            rows += body["sessions"]
            page, pages = page + 1, body["pagination"]["total_pages"]
        found = {row["id"]: row for row in rows}
        assert len(found) == len(rows) == body["pagination"]["total"]
        return found

    async def figures(self) -> dict[str, float]:
        """``/metrics``, lines without labels."""
        return figures_of((await self.http.get("/metrics")).text)

    def held(self) -> dict[str, tuple[str, str]]:
        """What the agents have: agent and state by session."""
        pairs = [
            (session_id, (agent.agent_id, one.state))
            for agent in self.agents.values()
            for session_id, one in agent.sessions.items()
        ]
        found = dict(pairs)
        assert len(found) == len(pairs), "a session is on two agents"
        return found

    def effects(self, kind: str) -> Counter[str]:
        """How often a kind of command had its effect, by session."""
        counts: Counter[str] = Counter()
        for agent in self.agents.values():
            for (session_id, done), number in agent.done.items():
                if done == kind:
                    counts[session_id] += number
        return counts


@asynccontextmanager
async def a_crowd(folder: Path, agents: int, sessions: int, seed: int) -> AsyncIterator[Crowd]:
    """Agents and their broker for the time of a block."""
    crowd = Crowd(folder, agents, sessions, seed)
    try:
        await crowd.begin()
        yield crowd
    finally:
        await crowd.end()
