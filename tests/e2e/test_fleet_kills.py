"""Agents, broker and tunnels killed at random moments: no session lost or doubled, no slot leaked, every start once."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from tests.e2e.fleet_storm import a_storm


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
        for session_id in storm.expected:
            storm.expected[session_id] = True
            assert (await storm.http.delete(f"/api/v1/sessions/{session_id}")).status_code == 204
        await storm.check()
        assert storm.programs() == []
    print(dict(storm.faults))
