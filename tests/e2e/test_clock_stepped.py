"""The broker's clock is set while the show runs, an hour forward and three hours back: no TTL is cut, stretched or lost."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path

import pytest

from app.contract import STREAM_TTL
from tests.e2e import stepped_clock
from tests.e2e.house import YES, House, a_house

HOUR = 3600.0
BEATS_EVERY = 2.0


@pytest.mark.timeout(180)
async def test_a_clock_stepped_forward_and_back_costs_nothing_and_is_told(tmp_path: Path) -> None:
    clock = stepped_clock.prepare(tmp_path / "clock")
    program = ("-m", "tests.e2e.stepped_clock", str(clock))
    async with a_house(tmp_path, program=program) as house:
        camera = await house.publisher(YES, name="beaten")
        held = (await camera.request(consumer_id="truck")).json()["session_id"]
        assert (await house.desk.post("/console/v1/holds", json={"session_id": held})).status_code == 201
        began = time.monotonic()
        brief = (await camera.request(consumer_id="booth")).json()["session_id"]
        forgotten = await house.advertise(name="forgotten")
        left_alone = time.monotonic()
        base = await house.calm()
        beats = Beats(house, camera.id)
        alive = {camera.id, forgotten["id"]}

        stepped_clock.step(clock, HOUR)
        assert "The clock was stepped forward by 60 min" in await house.strip_says("The clock was stepped")
        await all_is_well(house, alive, {held, brief})
        answer = await camera.request(consumer_id="foyer")
        assert answer.status_code == 201, "takes go on"
        foyer = answer.json()["session_id"]

        stepped_clock.step(clock, -2 * HOUR)
        assert "The clock was stepped back by 3 h" in await house.strip_says("stepped back")
        await all_is_well(house, alive, {held, brief, foyer})

        for session in (brief, foyer):
            assert (await house.http.delete(f"/streams/sessions/{session}")).status_code == 200
        took = time.monotonic() - began
        history = await house.http.get("/streams/sessions/history")
        lasted = {row["session_id"]: row["duration_seconds"] for row in history.json()}
        assert 0.0 < lasted[foyer] < lasted[brief] <= took, "a session lasts as long as it lasted"

        await house.until(lambda: forgotten["id"] not in house.console.store.streams, 2 * STREAM_TTL)
        lived = time.monotonic() - left_alone
        most = STREAM_TTL + 2.0 + beats.late
        assert STREAM_TTL - 1.0 <= lived <= most, f"a TTL of {STREAM_TTL:.0f} s took {lived:.1f} s"
        assert set(house.console.store.streams) == {camera.id}
        assert set(await house.sessions()) == {held}, "the hold has beaten through both steps"
        assert not beats.task.done()
        beats.task.cancel()
        await house.back_at(base)
        house.says_all_well()

        await house.kill_the_broker()
        await house.strip_is_quiet()
        assert set(house.console.store.streams) == {camera.id}
        assert set(house.console.store.sessions) == {held}


class Beats:
    """A publisher's heartbeats, by its own clock. ``late`` is how late broker and publisher came to one at the most."""

    def __init__(self, house: House, stream_id: str) -> None:
        self._http = house.http
        self._path = f"/streams/{stream_id}/heartbeat"
        self._due = time.monotonic() + BEATS_EVERY
        self._late = 0.0
        self.task = asyncio.ensure_future(self._beat_for_ever())

    @property
    def late(self) -> float:
        """Seconds, with those of the beat that is due now."""
        return max(self._late, time.monotonic() - self._due)

    async def _beat_for_ever(self) -> None:
        while True:
            assert (await self._http.post(self._path)).status_code == 200
            await asyncio.sleep(BEATS_EVERY)
            self._late = self.late
            self._due = time.monotonic() + BEATS_EVERY


async def all_is_well(house: House, streams: set[str], sessions: set[str]) -> None:
    """Nothing has died of the step, and with its next heartbeat a row is LIVE with a TTL that makes sense."""
    store = house.console.store
    await house.until(lambda: set(store.sessions) == sessions)
    assert set(store.streams) == streams
    state = await house.state()
    assert {row["id"] for row in state["streams"]} == streams
    (camera,) = (row for row in store.streams.values() if row.name == "beaten")
    await house.show("Streams", camera.id)
    cells = await house.row_says(camera.id, state="LIVE")
    await house.until(lambda: 0 < store.streams[camera.id].expires_at - store.broker_now() <= STREAM_TTL + 0.5, 10.0)
    assert re.fullmatch(r"\d+ s|\d+", cells["ttl"])
    house.says_all_well()
