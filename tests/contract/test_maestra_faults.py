"""The storage goes away and comes back: 503, nothing changed, nothing stuck, and reads go on (D10)."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from app.errors import Unavailable
from app.server.storage.database import Database
from tests.fakes.maestra import CAMERA, MaestraVenue


@contextmanager
def full_disk() -> Iterator[None]:
    """The operating system refuses every write beyond the first page of a file, as a full disk does."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


async def test_the_disk_is_full(fresh_maestra: MaestraVenue) -> None:
    streams = fresh_maestra.running.broker.streams
    stream, offer = await fresh_maestra.take()
    before = (await fresh_maestra.http.get("/streams/state")).json()
    tasks = len(asyncio.all_tasks())
    with full_disk():
        for method, path, body in (
            ("POST", "/streams/advertise", CAMERA),
            ("POST", f"/streams/{stream['id']}/request", {"consumer_id": "c", "consumer_address": "a"}),
            ("DELETE", f"/streams/sessions/{offer['session_id']}", None),
            ("DELETE", f"/streams/{stream['id']}", None),
        ):
            answer = await fresh_maestra.http.request(method, path, json=body)
            assert answer.status_code == 503, (method, path, answer.text)
            assert list(answer.json()) == ["detail"]
            assert "Traceback" not in answer.text
        assert (await fresh_maestra.http.post(f"/streams/{stream['id']}/heartbeat")).status_code == 200
        during = (await fresh_maestra.http.get("/streams/state")).json()
        for row in (*before["streams"], *during["streams"]):
            row.pop("last_heartbeat")
        assert during == before
        row = next(row for row in fresh_maestra.running.broker.health.rows() if row.id == "journal")
        assert not row.ok
        assert row.text
        with pytest.raises(Unavailable):
            await streams.hold(offer["session_id"], "Ada")
    told = 0
    while not fresh_maestra.running.broker.health.ok:
        told = (await fresh_maestra.event("health.changed", after=told)).seq
    assert (await fresh_maestra.http.delete(f"/streams/sessions/{offer['session_id']}")).status_code == 200
    assert len(await fresh_maestra.listed()) == 1
    assert [row.outcome for row in streams.negotiations.rows.values()] == ["offer", "failed"]
    assert len(asyncio.all_tasks()) <= tasks + 2


async def test_the_database_is_away(fresh_maestra: MaestraVenue, monkeypatch: pytest.MonkeyPatch) -> None:
    """History and new types are 503; everything live goes on."""

    async def away(*_: object) -> None:
        raise Unavailable("The database is away")

    for name in ("history", "create_type"):
        monkeypatch.setattr(Database, name, away)
    stream, _ = await fresh_maestra.take()
    for method, path, body in (
        ("GET", "/streams/sessions/history", None),
        ("POST", "/streams/types", {"name": "lidar", "display_name": "LiDAR"}),
    ):
        answer = await fresh_maestra.http.request(method, path, json=body)
        assert (answer.status_code, answer.json()) == (503, {"detail": "The database is away"}), path
    for path in ("/streams", "/streams/types", "/streams/state", "/streams/sessions", f"/streams/{stream['id']}"):
        assert (await fresh_maestra.http.get(path)).status_code == 200
    refused = await fresh_maestra.http.post("/streams/advertise", json=CAMERA | {"stream_type": "lidar"})
    assert refused.status_code == 422
    monkeypatch.undo()
    created = await fresh_maestra.http.post("/streams/types", json={"name": "lidar", "display_name": "LiDAR"})
    assert created.status_code == 201


async def test_the_unexpected_is_a_500_in_the_dialects_format(
    fresh_maestra: MaestraVenue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For plain routes and for lean ones; the next request on another connection is served."""

    def broken(*_: object) -> bytes:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr("app.server.dialects.maestra.listing.array", broken)
    for path in ("/streams", "/streams/types"):
        answer = await fresh_maestra.http.get(path)
        assert answer.status_code == 500
        assert list(answer.json()) == ["detail"]
        assert "mistake" not in answer.text
    monkeypatch.undo()
    assert (await fresh_maestra.http.get("/streams")).status_code == 200
