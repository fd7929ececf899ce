"""Acts of operators through the Maestra API are audited; requests of everybody else are not."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import httpx
import pytest

from app.contract import AuditRow, Gone
from app.server.storage.database import AuditQuery
from tests.fakes.maestra import CAMERA, CONSUMER, MaestraVenue


async def audit(maestra: MaestraVenue) -> list[AuditRow]:
    """Every act kept so far, oldest first."""
    rows = await maestra.running.broker.audit.query(AuditQuery())
    return list(reversed(rows))


@pytest.fixture
def console(fresh_maestra: MaestraVenue) -> httpx.AsyncClient:
    """A client with the console's token and an operator's name."""
    return fresh_maestra.running.client()


async def test_every_verb_leaves_a_row(fresh_maestra: MaestraVenue, console: httpx.AsyncClient) -> None:
    async with console:
        stream = (await console.post("/streams/advertise", json=CAMERA)).json()
        await fresh_maestra.answer(stream["id"], {"accepted": True})
        offer = (await console.post(f"/streams/{stream['id']}/request", json=CONSUMER)).json()
        await console.post("/streams/types", json={"name": "lidar", "display_name": "LiDAR"})
        await console.delete(f"/streams/sessions/{offer['session_id']}")
        await console.delete(f"/streams/{stream['id']}")
    rows = await audit(fresh_maestra)
    assert [(row.verb, row.object) for row in rows] == [
        ("advertise", "stream"),
        ("take", "stream"),
        ("create_type", "type"),
        ("kick", "session"),
        ("withdraw", "stream"),
    ]
    assert {(row.operator, row.dialect, row.result) for row in rows} == {("Ada", "maestra", "ok")}
    assert all(row.milliseconds is not None and row.milliseconds > 0 for row in rows)
    advertised, taken, created, kicked, withdrawn = rows
    assert (advertised.object_id, advertised.before) == (stream["id"], None)
    assert advertised.after is not None
    assert advertised.after["name"] == CAMERA["name"]
    assert taken.object_id == stream["id"]
    assert taken.after is not None
    assert taken.after["id"] == offer["session_id"]
    assert created.after is not None
    assert created.after["name"] == "lidar"
    assert kicked.object_id == offer["session_id"]
    assert kicked.before is not None
    assert kicked.before["consumer_id"] == CONSUMER["consumer_id"]
    assert (withdrawn.object_id, withdrawn.after) == (stream["id"], None)
    assert withdrawn.before is not None
    announced = [event.id for event in fresh_maestra.events if event.kind == "audit.added"]
    assert announced == [row.id for row in rows]


async def test_failures_are_kept_with_their_code(fresh_maestra: MaestraVenue, console: httpx.AsyncClient) -> None:
    nobody = str(uuid4())
    async with console:
        stream = (await console.post("/streams/advertise", json=CAMERA)).json()
        await console.post(f"/streams/{stream['id']}/request", json=CONSUMER)
        await fresh_maestra.answer(stream["id"], {"accepted": False, "reason": "busy"})
        await console.post(f"/streams/{stream['id']}/request", json=CONSUMER)
        await console.post(f"/streams/{nobody}/request", json=CONSUMER)
        await console.delete(f"/streams/sessions/{nobody}")
        await console.delete(f"/streams/{nobody}")
        await console.post("/streams/types", json={"name": "ndi", "display_name": "NDI"})
    rows = (await audit(fresh_maestra))[1:]
    assert [(row.verb, row.result) for row in rows] == [
        ("take", "no_responders"),
        ("take", "rejected"),
        ("take", "expired"),
        ("kick", "expired"),
        ("withdraw", "expired"),
        ("create_type", "conflict"),
    ]
    assert rows[1].detail == "busy"
    assert rows[3].object_id == nobody


async def test_who_did_it_stands_in_the_ghost(fresh_maestra: MaestraVenue, console: httpx.AsyncClient) -> None:
    stream, offer = await fresh_maestra.take()
    async with console:
        await console.delete(f"/streams/sessions/{offer['session_id']}")
        await console.delete(f"/streams/{stream['id']}")
    for kind, gone_id in (("session.stopped", offer["session_id"]), ("stream.withdrawn", stream["id"])):
        gone = (await fresh_maestra.event(kind, gone_id)).change
        assert isinstance(gone, Gone)
        assert gone.by == "Ada"


async def test_what_makes_room_for_another_is_replaced_and_not_kicked(
    fresh_maestra: MaestraVenue, console: httpx.AsyncClient
) -> None:
    _, old = await fresh_maestra.take()
    _, new = await fresh_maestra.take()
    async with console:
        headers = {"X-Callboard-Replaced-By": new["session_id"]}
        assert (await console.delete(f"/streams/sessions/{old['session_id']}", headers=headers)).status_code == 200
    (row,) = await audit(fresh_maestra)
    assert (row.operator, row.verb, row.object_id, row.result) == ("Ada", "replace", old["session_id"], "ok")
    assert row.before is not None
    assert row.after is not None
    assert (row.before["id"], row.after["id"]) == (old["session_id"], new["session_id"])
    gone = (await fresh_maestra.event("session.stopped", old["session_id"])).change
    assert gone == Gone(reason="superseded", by="Ada")
    (past,) = [one for one in (await fresh_maestra.http.get("/streams/sessions/history")).json()
               if one["status"] != "active"]  # fmt: skip
    assert past["status"] == "stopped", "history has the words of its document"


@pytest.mark.parametrize("heir", ["nobody", "gone", "itself"])
async def test_what_is_no_live_session_replaces_nothing(
    fresh_maestra: MaestraVenue, console: httpx.AsyncClient, heir: str
) -> None:
    _, gone = await fresh_maestra.take()
    _, offer = await fresh_maestra.take()
    known = {"nobody": "nobody", "gone": gone["session_id"], "itself": offer["session_id"]}
    async with console:
        assert (await console.delete(f"/streams/sessions/{gone['session_id']}")).status_code == 200
        headers = {"X-Callboard-Replaced-By": known[heir]}
        assert (await console.delete(f"/streams/sessions/{offer['session_id']}", headers=headers)).status_code == 200
    row = (await audit(fresh_maestra))[-1]
    assert (row.verb, row.object_id, row.after) == ("kick", offer["session_id"], None)
    gone_row = (await fresh_maestra.event("session.stopped", offer["session_id"])).change
    assert gone_row == Gone(reason="stopped", by="Ada")


async def test_whoever_is_no_operator_replaces_nothing(fresh_maestra: MaestraVenue) -> None:
    _, offer = await fresh_maestra.take()
    _, another = await fresh_maestra.take()
    headers = {"X-Callboard-Replaced-By": another["session_id"]}
    await fresh_maestra.http.delete(f"/streams/sessions/{offer['session_id']}", headers=headers)
    assert (await fresh_maestra.event("session.stopped", offer["session_id"])).change == Gone(reason="stopped")


async def test_others_are_not_audited(fresh_maestra: MaestraVenue) -> None:
    token = fresh_maestra.running.token
    strangers: list[dict[str, str]] = [
        {},
        {"X-Callboard-Operator": "Mallory"},
        {"X-Callboard-Operator": "Mallory", "Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer {token}"},
    ]
    for headers in strangers:
        created = await fresh_maestra.http.post("/streams/advertise", json=CAMERA, headers=headers)
        assert created.status_code == 201
        await fresh_maestra.http.delete(f"/streams/{created.json()['id']}", headers=headers)
    assert await audit(fresh_maestra) == []
    gone = [event.change for event in fresh_maestra.events if event.kind == "stream.withdrawn"]
    assert [change.by for change in gone if isinstance(change, Gone)] == [""] * len(strangers)


async def test_two_kicks_at_once_have_one_winner(fresh_maestra: MaestraVenue, console: httpx.AsyncClient) -> None:
    _, offer = await fresh_maestra.take()
    async with console:
        path = f"/streams/sessions/{offer['session_id']}"
        answers = await asyncio.gather(*(console.delete(path) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 404, 404, 404, 404]
    results: list[Any] = [row.result for row in await audit(fresh_maestra)]
    assert sorted(results) == ["expired"] * 4 + ["ok"]
