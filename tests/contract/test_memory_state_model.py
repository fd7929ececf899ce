"""``MemoryState`` beside the model: TTLs, restarts and clock steps in any order."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from hypothesis import HealthCheck, settings

from tests.contract.memory_venue import MemoryVenue
from tests.contract.state_machine import StateMachine
from tests.contract.venue import Venue


class MemoryMachine(StateMachine):
    async def make_venue(self, folder: Path) -> MemoryVenue:
        venue = MemoryVenue(folder)
        await venue.start()
        return venue

    async def close_venue(self, venue: Venue) -> None:
        await cast(MemoryVenue, venue).stop()


MemoryMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
TestRegistryModel = MemoryMachine.TestCase
