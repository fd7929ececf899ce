"""One node for each hold: what it beats, when it ends, what it does when the storage is away."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app.contract import Beat, HoldRow, SessionRow
from app.errors import Unavailable
from app.server.streams import holds
from app.server.streams.holds import Holder
from app.server.tasks import TaskNode
from tests.unit.server.streams.conftest import Domain
from tests.unit.server.streams.test_registry import CAMERA


async def session_of(domain: Domain) -> SessionRow:
    """A live session."""
    stream = await domain.streams.advertise(**CAMERA, port=5960)
    return await domain.state.open_session(
        SessionRow(
            id=str(uuid4()),
            stream_id=stream.id,
            stream_name=stream.name,
            stream_type=stream.stream_type,
            publisher_id=stream.publisher_id,
            publisher_address=stream.address,
            publisher_port=stream.port,
            consumer_id="max-workstation-02",
            consumer_address="192.168.1.60",
            protocol=stream.protocol,
            started_at=stream.advertised_at,
            expires_at=stream.advertised_at,
        )
    )


def nodes(domain: Domain) -> list[TaskNode]:
    """The holds in the task tree."""
    return [node for node in domain.tasks.root.walk() if node.kind == "hold"]


async def beats(domain: Domain, session_id: str, count: int) -> list[Any]:
    """The first beats of a session, waited for."""
    async with asyncio.timeout(15):
        while True:
            found = [event.change for event in domain.heard if (event.kind, event.id) == ("session.beat", session_id)]
            if len(found) >= count:
                return found
            await asyncio.sleep(0.01)


async def test_it_beats_at_once_and_again_without_claiming_a_heartbeat(domain: Domain) -> None:
    domain.streams.holds._every = 0.05
    session = await session_of(domain)
    hold = await domain.streams.hold(session.id, "Ada", "preset")
    for beat in await beats(domain, session.id, 3):
        assert isinstance(beat, Beat)
        assert beat.last_heartbeat is None
    [node] = nodes(domain)
    assert (node.name, node.state) == ("hold Main Stage Camera A for max-workstation-02", "running")
    await domain.streams.release(hold.id)
    await node.wait()
    assert nodes(domain) == []
    assert domain.streams.holds._released == {}


async def test_a_storage_that_is_away_is_tried_again(domain: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holds, "RETRY_SECONDS", 0.01)
    session = await session_of(domain)
    real, failures = domain.state.heartbeat_session, []

    async def shaky(session_id: str, *, by_hold: bool = False) -> SessionRow | None:
        if len(failures) < 3:
            failures.append(session_id)
            raise Unavailable("away")
        return await real(session_id, by_hold=by_hold)

    monkeypatch.setattr(domain.state, "heartbeat_session", shaky)
    await domain.streams.hold(session.id, "Ada")
    await beats(domain, session.id, 1)
    assert len(failures) == 3
    assert [node.restarts for node in nodes(domain)] == [0]


async def test_a_node_that_was_stopped_by_hand_can_be_restarted(domain: Domain) -> None:
    session = await session_of(domain)
    await domain.streams.hold(session.id, "Ada")
    await beats(domain, session.id, 1)
    [node] = nodes(domain)
    await node.restart()
    await beats(domain, session.id, 2)
    assert nodes(domain) == [node]


async def test_holds_of_an_earlier_life_are_beaten_again(domain: Domain, tmp_path: Path) -> None:
    session = await session_of(domain)
    hold = HoldRow(id=str(uuid4()), session_id=session.id, stream_id=session.stream_id, operator="Ada", since=0.0)
    second = Holder(domain.state, domain.events, domain.tasks, domain.tasks.group("second life"))
    await domain.streams.stop()  # nobody hears that this hold begins
    await domain.state.put_hold(hold)
    assert nodes(domain) == []
    stop = second.start()
    await beats(domain, session.id, 1)
    await domain.state.close_session(session.id)
    async with asyncio.timeout(15):
        while nodes(domain):
            await asyncio.sleep(0.01)
    stop()


async def test_a_session_that_died_unheard_ends_the_node(domain: Domain, monkeypatch: pytest.MonkeyPatch) -> None:
    session = await session_of(domain)

    async def gone(_: str, *, by_hold: bool = False) -> None:
        return None

    monkeypatch.setattr(domain.state, "heartbeat_session", gone)
    await domain.streams.hold(session.id, "Ada")
    async with asyncio.timeout(15):
        while nodes(domain):
            await asyncio.sleep(0.01)
