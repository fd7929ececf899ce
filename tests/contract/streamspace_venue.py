"""The StreamSpace dialect behind the real guard, on the real fleet, access, audit and database; clients in this process.

``Venue.ada`` is an administrator's client, ``kim`` and ``lee`` are users', ``anyone`` has no token. Agents are the
scripted ones of ``tests/fakes/streamspace.py``.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from app.contract import AuditRow
from app.paths import DataFolder
from app.server.access import Access
from app.server.access.agent_keys import AgentKeys
from app.server.access.callers import Callers
from app.server.access.guard import Guard, Policy
from app.server.access.keys import ApiKeys
from app.server.access.limits import RateLimiter
from app.server.access.networks import Hosts, Networks, Origins
from app.server.access.passwords import Passwords
from app.server.access.tokens import Tokens
from app.server.access.users import Users
from app.server.audit import Audit
from app.server.dialects import Port
from app.server.dialects.streamspace import application
from app.server.dialects.streamspace.services import Limits, StreamSpaceServices
from app.server.events import EventLog
from app.server.fleet.registry import Fleet
from app.server.fleet.viewers import Viewers
from app.server.listeners import Listener, bind
from app.server.storage.database import Database
from app.server.storage.fleet import FleetStore
from app.server.storage.history import HistoryMover
from app.server.storage.journal import Journal
from app.server.storage.people import UserStore
from app.server.tasks import TaskTree
from tests.fakes.streamspace import ScriptedAgent, connected

SEED: dict[str, Any] = json.loads((Path(__file__).parent / "seed_001" / "examples.json").read_text())
CONSOLE_TOKEN = "c" * 43
PASSWORD = "secure-password"
BASE = "http://127.0.0.1:8080"
NOWHERE = "00000000-0000-4000-8000-000000000000"


class Venue:
    """See the module's docstring."""

    def __init__(self, folder: Path, limits: Limits, schema: Path | None) -> None:
        self.folder = DataFolder(folder)
        self.folder.create()
        if schema is not None:
            shutil.copy(schema, self.folder.database)
        self.limits = limits
        self.now = 1_763_808_300.0
        self.elapsed = 0.0
        self.audited: list[AuditRow] = []

    async def start(self, stack: AsyncExitStack) -> None:
        """Everything, in the order in which the broker does it."""
        self.events, self.tasks = EventLog(), TaskTree()
        stack.push_async_callback(self.tasks.stop)
        self.database = Database(self.folder.database)
        await self.database.start()
        stack.push_async_callback(self.database.stop)
        journal = Journal(self.folder.journal)
        await journal.open()
        stack.push_async_callback(journal.close)
        self.audit = Audit(journal, HistoryMover(journal, self.database), self.database, self.events)
        self.events.subscribe(self._on_event)
        await self._start_access()
        await self._start_fleet(stack)
        await self._start_dialect(stack)

    async def _start_access(self) -> None:
        store = UserStore(self.database)
        self.users = Users(store, Passwords(time_cost=1, memory_kib=8))
        self.tokens = Tokens(self.users, store, b"s" * 64)
        self.access = Access(CONSOLE_TOKEN, self.tokens)
        self.agent_keys = AgentKeys(store, self.folder, {})
        for part in (self.users, self.tokens, self.agent_keys):
            await part.load()
        for username, role in (("ada", "admin"), ("kim", "user"), ("lee", "user")):
            await self.users.create(username, f"{username}@example.com", PASSWORD, role)  # type: ignore[arg-type]

    async def _start_fleet(self, stack: AsyncExitStack) -> None:
        store = FleetStore(self.database, self.tasks)
        self.fleet = Fleet(store=store, events=self.events, tasks=self.tasks)
        await self.fleet.start()
        stack.push_async_callback(self.fleet.stop)
        self.viewers = Viewers(self.fleet, self.events, self.tasks)
        self.viewers.start()
        stack.callback(self.viewers.stop)

    async def _start_dialect(self, stack: AsyncExitStack) -> None:
        services = StreamSpaceServices(
            fleet=self.fleet,
            viewers=self.viewers,
            users=self.users,
            tokens=self.tokens,
            callers=Callers(self.access, self.tokens),
            agent_keys=self.agent_keys,
            limiter=RateLimiter(monotonic=lambda: self.elapsed, clock=lambda: self.now + self.elapsed),
            audit=self.audit,
            events=self.events,
            tasks=self.tasks,
            limits=self.limits,
        )
        self.dialect = application.build(services)
        port = Port([self.dialect])
        policy = Policy(
            self.access, ApiKeys(self.database), Networks([]), Hosts(()), Origins(()), logins=application.PREFIXES
        )
        self.app = Guard(port, policy, port.refuse, lambda _status: None)
        self.ada, self.kim, self.lee, self.anyone, self.console = [
            await stack.enter_async_context(self.client(token))
            for token in (*map(self.token, ("ada", "kim", "lee")), "", CONSOLE_TOKEN)
        ]

    def token(self, username: str) -> str:
        """A token of a user."""
        row = self.users.get(username)
        assert row is not None
        return self.tokens.issue(row)[0]

    def client(self, token: str = "", **options: Any) -> httpx.AsyncClient:
        """A client with a token, or without."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if token == CONSOLE_TOKEN:
            headers["X-Callboard-Operator"] = "Operator%20Jo"
        transport = httpx.ASGITransport(self.app, client=("127.0.0.1", 50000))
        return httpx.AsyncClient(base_url=BASE, headers=headers, timeout=20.0, **{"transport": transport, **options})

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """The address of a real listener in front of all this, ``ws://127.0.0.1:…``."""
        with bind("127.0.0.1", 0, "port") as sock:
            listener = Listener("main", sock, self.app)
            await listener.start(self.tasks, self.tasks.group("listeners"))
            try:
                yield f"ws://127.0.0.1:{listener.port}"
            finally:
                await listener.stop()

    @asynccontextmanager
    async def agent(self, *args: Any, **register: Any) -> AsyncIterator[ScriptedAgent]:
        """A registered agent."""
        async with connected(self.fleet, ScriptedAgent(*args, **register)) as agent:
            yield agent

    async def session(self, user: str = "kim", **more: Any) -> dict[str, Any]:
        """A session of a user, as it was answered."""
        body = {"user": user, "template": "firefox-browser", "persistent_home": False, **more}
        answer = await self.ada.post("/api/v1/sessions", json=body)
        assert answer.status_code == 202, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def running(self, agent: ScriptedAgent, user: str = "kim", **more: Any) -> dict[str, Any]:
        """The same, running."""
        made = await self.session(user, **more)
        await self.until_state(made["id"], "running")
        return made

    async def until_state(self, session_id: str, state: str) -> None:
        """Until a session is in a state."""
        await self.until_event(lambda: self.fleet.desktops[session_id].state == state)

    async def until_event(self, holds: Any) -> None:
        """Until something that events tell of is so."""
        news = asyncio.Event()
        unsubscribe = self.events.subscribe(lambda _event: news.set())
        try:
            async with asyncio.timeout(10):
                while not holds():
                    news.clear()
                    await news.wait()
        finally:
            unsubscribe()

    def _on_event(self, event: Any) -> None:
        if event.kind == "audit.added":
            self.audited.append(event.change)


@asynccontextmanager
async def open_venue(folder: Path, limits: Limits | None = None, *, schema: Path | None = None) -> AsyncIterator[Venue]:
    """A venue that has ended when the block has; ``schema`` is an empty database to begin with."""
    venue = Venue(folder, limits or Limits(), schema)
    async with AsyncExitStack() as stack:
        await venue.start(stack)
        yield venue


def shape(value: Any) -> Any:
    """Keys in order and kinds of values."""
    if isinstance(value, dict):
        return [(key, shape(each)) for key, each in value.items()]
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__


def told(answer: httpx.Response) -> tuple[int, str]:
    """Status and code of an error, whose envelope must be whole."""
    body = answer.json()
    assert list(body)[:4] == ["error", "message", "code", "details"], body
    assert {*body} - {"retry_after"} == {"error", "message", "code", "details", "timestamp", "request_id"}
    assert body["request_id"] == answer.headers["x-request-id"]
    assert isinstance(body["message"], str)
    assert body["message"]
    return answer.status_code, body["code"]
