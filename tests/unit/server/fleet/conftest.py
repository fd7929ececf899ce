"""A fleet without sockets: database in memory, a clock that a test moves, agents that say what it wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from app.contract import DesktopRow
from app.server.events import EventLog, Published
from app.server.fleet.registry import Fleet, SessionWanted
from app.server.tasks import TaskTree
from tests.fakes.clock import Clock
from tests.fakes.fleet_agent import SOON, FakeAgent
from tests.fakes.fleet_store import MemoryFleetStore


class House:
    """One broker's fleet and what it told; ``restart`` begins another on the same database."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = MemoryFleetStore()
        self._make()

    def _make(self) -> None:
        self.tasks = TaskTree()
        self.events = EventLog(clock=self.clock.time)
        self.heard: list[Published] = []
        self.events.subscribe(self._on_event)
        self._news = asyncio.Event()
        self.fleet = Fleet(
            store=self.store,
            events=self.events,
            tasks=self.tasks,
            clock=self.clock.time,
            monotonic=self.clock.monotonic,
        )

    def _on_event(self, event: Published) -> None:
        self.heard.append(event)
        self._news.set()

    async def start(self) -> None:
        """With ``later`` alone for a clock: the fleet's own would tick wherever a slow machine happens to stand."""
        await self.fleet.start()
        for node in list(self.tasks.root.walk()):
            if node.name in ("fleet clock", "fleet upkeep"):
                await node.stop()

    async def stop(self) -> None:
        await self.fleet.stop()
        await self.tasks.stop()

    async def restart(self, *, clean: bool = False) -> None:
        """Another broker finds the database; unless ``clean`` the first was killed."""
        if clean:
            await self.fleet.stop()
        await self.tasks.stop()
        self.store = MemoryFleetStore(self.store.kept)
        self._make()
        await self.start()

    def agent(self, agent_id: str = "stage-left", platform: str = "local", **fields: Any) -> FakeAgent:
        return FakeAgent(self.fleet, agent_id, platform, **fields)

    async def create(self, user: str = "john.doe", template: str = "xterm", **fields: Any) -> DesktopRow:
        fields.setdefault("persistent_home", False)
        return await self.fleet.create(SessionWanted(user=user, template=template, **fields), "kim")

    async def running(self, agent: FakeAgent, **fields: Any) -> DesktopRow:
        """A session that runs."""
        row = await self.create(**fields)
        await agent.complete(await agent.command("start_session"), vnc_port=5900)
        return await self.until(row.id, lambda row: row.state == "running")

    async def until(self, session_id: str, fits: Callable[[DesktopRow], bool]) -> DesktopRow:
        await self.wait(lambda: fits(self.fleet.desktops[session_id]))
        return self.fleet.desktops[session_id]

    async def wait(self, fits: Callable[[], bool]) -> None:
        """Until something that events tell of is so."""
        async with asyncio.timeout(SOON):
            while not fits():
                self._news.clear()
                await self._news.wait()

    async def later(self, seconds: float, *alive: FakeAgent) -> None:
        """Time passes, and what is due by then is done; agents that are ``alive`` beat in it."""
        while alive and seconds > 10.0:
            self.clock.advance(10.0)
            seconds -= 10.0
            for agent in alive:
                await agent.beat()
        self.clock.advance(seconds)
        self.fleet.tick()
        await self.fleet.upkeep()

    def kinds(self, table: str = "") -> list[str]:
        return [event.kind for event in self.heard if event.kind.startswith(table)]


@pytest.fixture
async def house() -> AsyncIterator[House]:
    one = House()
    await one.start()
    yield one
    await one.stop()
