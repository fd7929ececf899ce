"""Agents, broker and tunnels killed at random moments: no session lost or doubled, no slot leaked, every start once.

And what is asked of an agent that is dead: its end waits for it, and is not forgotten; or the agent itself is removed.
"""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import pytest

from tests.e2e.fleet_storm import Storm, a_storm
from tests.e2e.house import eventually


@pytest.mark.parametrize("faults", [12, pytest.param(200, marks=[pytest.mark.soak, pytest.mark.timeout(900)])])
async def test_random_kills(tmp_path: Path, faults: int, soak_seconds: float) -> None:
    ends = time.monotonic() + soak_seconds
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    async with a_storm(tmp_path, seed) as storm:
        for _ in range(3):
            await storm.create()
        await storm.check()
        for number in range(faults):
            if time.monotonic() > ends:
                break
            await storm.fault()
            try:
                await storm.check()
            except AssertionError as error:
                raise AssertionError(f"seed {seed}, fault {number}, {dict(storm.faults)}: {error}") from error
        for session_id in await storm.settled():  # a broker that was killed may have made one and not answered
            storm.expected[session_id] = True
            assert (await storm.http.delete(f"/api/v1/sessions/{session_id}")).status_code == 204
        await storm.check()
        assert storm.programs() == []
    print(dict(storm.faults))


async def test_the_end_of_a_session_waits_for_its_dead_agent_and_outlives_the_broker(tmp_path: Path) -> None:
    async with a_storm(tmp_path, 1, agents=1) as storm:
        for _ in range(2):
            await storm.create()
        await storm.check()
        ends, stays = storm.expected
        await dies(storm)
        storm.expected[ends] = True
        assert (await storm.http.delete(f"/api/v1/sessions/{ends}")).status_code == 204
        await storm.kill_broker()
        row = (await storm.http.get(f"/api/v1/sessions/{ends}")).json()
        assert (row["state"], row["status"]["message"][:9]) == ("terminating", "Ends when")
        assert len(storm.programs()) == 2
        storm.start_agent("a0")
        await storm.check()
        rows = {row["id"]: row["state"] for row in await storm.list("sessions")}
        assert rows == {ends: "terminated", stays: "running"}


async def test_an_agent_that_was_removed_and_returns_ends_what_it_left(tmp_path: Path) -> None:
    async with a_storm(tmp_path, 1, agents=1) as storm:
        await storm.create()
        await storm.check()
        await dies(storm)
        [session_id] = storm.expected
        answer = await storm.http.delete("/console/v1/agents/a0")
        assert (answer.status_code, answer.json()) == (200, {"id": "a0", "ended": [session_id]})
        assert await storm.list("agents") == []
        assert len(storm.programs()) == 1
        storm.start_agent("a0")
        await eventually(storm.all_connected)

        async def nothing_runs() -> bool:
            return storm.programs() == []

        await eventually(nothing_runs)
        [row] = await storm.list("sessions")
        assert (row["id"], row["state"]) == (session_id, "terminated")


async def dies(storm: Storm) -> None:
    """The agent is killed, and the broker knows."""
    storm.agents["a0"].kill()
    await asyncio.to_thread(storm.agents["a0"].wait)

    async def offline() -> bool:
        return [row["status"] for row in await storm.list("agents")] == ["offline"]

    await eventually(offline)
