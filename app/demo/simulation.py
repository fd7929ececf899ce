"""Simulated agents of the demo with sessions on them: ``callboard demo --agents N``.

Run by ``main.py``. The agents are those of ``agents.py``; their sessions are begun through the API like anybody's, of a
template that nothing else can run, so that nobody's real session ever goes to an agent that only pretends.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self, TypeVar

from app.client.api import BrokerClient
from app.client.calls import ApiError
from app.demo.agents import AgentCrowd, SimulatedAgent
from app.demo.desks import SIMULATED_TEMPLATE
from app.demo.house import Place
from app.logs import get_logger

log = get_logger("demo")

T = TypeVar("T")

PLACES = 20
SESSIONS_EACH = 10
ARRIVE_WITHIN = 2.0
AT_ONCE = 4
TRY_AGAIN = 0.5
USER = "admin"
CLEAN_UP_WITHIN = 4.0


class Simulation:
    """``async with Simulation(…) as simulation: await simulation.run()``; leaving ends the sessions."""

    def __init__(self, place: Place, key: str, count: int, *, seed: int | None = None) -> None:
        self.place = place
        self.crowd = AgentCrowd(place.url, key, count, places=PLACES, seed=seed)
        self._client = BrokerClient(place.url, place.token, "demo")
        self._dice = random.Random(seed)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            async with asyncio.timeout(CLEAN_UP_WITHIN), asyncio.TaskGroup() as group:
                for agent in self.crowd.agents:
                    if agent.sessions:
                        group.create_task(self._clear(agent.agent_id))
        except TimeoutError:
            log.info("simulated sessions stay behind")
        finally:
            await self._client.close()

    async def run(self) -> None:
        """Live for ever; cancel to end."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.crowd.run(during=ARRIVE_WITHIN))
            group.create_task(self._fill())

    async def move(self, place: Place) -> None:
        """The broker has another address now."""
        self.place = place
        self.crowd.move(place.url)
        before, self._client = self._client, BrokerClient(place.url, place.token, "demo")
        await before.close()

    async def _fill(self) -> None:
        """Ten sessions for each agent, which the broker spreads."""
        known = await self._insist(lambda: self._client.fleet.templates()) or []
        if SIMULATED_TEMPLATE["name"] not in {template.name for template in known}:
            await self._insist(lambda: self._client.fleet.create_template(SIMULATED_TEMPLATE))
        left = SESSIONS_EACH * len(self.crowd.agents)
        async with asyncio.TaskGroup() as group:
            for number in range(AT_ONCE):
                group.create_task(self._begin(len(range(number, left, AT_ONCE))))

    async def _begin(self, count: int) -> None:
        for _ in range(count):
            await self._insist(
                lambda: self._client.fleet.create_session(
                    USER, str(SIMULATED_TEMPLATE["name"]), platform=SimulatedAgent.platform, persistent_home=False
                )
            )

    async def _insist(self, act: Callable[[], Awaitable[T]]) -> T | None:
        """Do it; where the broker is away, has no agent yet or counts requests, later."""
        while True:
            try:
                return await act()
            except ApiError as error:
                if error.status not in (0, 429, 503):
                    log.warning("the broker refuses simulated sessions", error=error.text)
                    return None
                await asyncio.sleep(error.retry_after or TRY_AGAIN * self._dice.uniform(0.5, 1.5))

    async def _clear(self, agent_id: str) -> None:
        try:
            await self._client.fleet.terminate_all(agent_id)
        except ApiError:
            return
