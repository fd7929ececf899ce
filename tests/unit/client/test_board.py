"""The one-shot board from a snapshot that is older than the connection, as consoles share them."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from app.client.snapshot import Board, read_board
from app.contract import Gone, Row
from app.errors import Unavailable
from tests.fakes.feed_script import START, agent, preset, session, stream
from tests.unit.client.conftest import FeedServer, Peer

built = msgspec.to_builtins


async def diff(peer: Peer, *events: tuple[int, str, str, Any]) -> None:
    named = [
        {"seq": seq, "at": 1.0, "kind": kind, "id": row_id, "change": built(change)}
        for seq, kind, row_id, change in events
    ]
    await peer.send(t="diff", at=1.0, events=named)


async def begun(server: FeedServer, now: int, seq: int, **rows: list[Row]) -> tuple[asyncio.Future[Board], Peer]:
    """Somebody reads; the broker counts ``now`` and the snapshot is of ``seq``."""
    reading = asyncio.ensure_future(read_board(server.url, None))
    peer = await server.accept()
    await peer.hello()
    await peer.pulse(now)
    await peer.snapshot(seq, **{name: [built(row) for row in table] for name, table in rows.items()})
    await peer.pulse(seq)
    return reading, peer


async def test_what_happened_since_the_snapshot_is_on_the_board(feed_server: FeedServer) -> None:
    old, new = session("old", "cam-1"), session("new", "cam-2")
    reading, peer = await begun(
        feed_server, 8, 3, stream=[stream("cam-1")], session=[old], preset=[preset("p")], agent=[agent()]
    )
    await diff(peer, (4, "session.stopped", "old", Gone("stopped")), (5, "session.started", "new", new))
    await diff(
        peer,
        (6, "stream.beat", "cam-1", {"expires_at": START + 60}),
        (7, "agent.beat", "rack-1", {"last_heartbeat": START + 1, "sessions": 4}),
        (8, "session.beat", "gone", {"expires_at": START}),
    )
    board = await asyncio.wait_for(reading, 30)
    assert board.sessions == {"new": new}
    assert list(board.presets) == ["p"]
    assert (board.streams["cam-1"].expires_at, board.streams["cam-1"].last_heartbeat) == (START + 60, START)
    assert board.agents["rack-1"].sessions == 4


async def test_it_waits_for_nothing_that_came_later(feed_server: FeedServer) -> None:
    reading, _ = await begun(feed_server, 3, 3, stream=[stream("cam-1")])
    assert list((await asyncio.wait_for(reading, 30)).streams) == ["cam-1"]


async def test_a_feed_that_ends_before_it_has_come_that_far_is_no_board(feed_server: FeedServer) -> None:
    reading, peer = await begun(feed_server, 5, 3)
    await diff(peer, (4, "health.changed", "nats", {}), (5, "session.started", "new", {"id": "no more than that"}))
    with pytest.raises(Unavailable, match="cannot be read"):
        await asyncio.wait_for(reading, 30)
    reading, peer = await begun(feed_server, 5, 3)
    await peer.close()
    with pytest.raises(Unavailable, match="closed the feed"):
        await asyncio.wait_for(reading, 30)
