"""The console's own operations on the fleet: pictures, tickets, and all sessions of an agent at once.

Kicks and what tickets open are held in ``test_streamspace_vnc.py``.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from app.contract import Gone
from tests.fakes.streamspace import dialled
from tests.fakes.vnc import VncServer
from tests.fakes.vnc_desk import AGENT, Desk, DialingAgent, open_desk

pytestmark = pytest.mark.asyncio(loop_scope="module")

JPEG = b"\xff\xd8\xff\xe0 a picture \xff\xd9"


class Painter(DialingAgent):
    """An agent that makes pictures, or says why not."""

    def __init__(self, server: VncServer) -> None:
        super().__init__(server.open, "painter", capabilities=["hibernate", "vnc", "thumbnail"])
        self.error = ""

    async def hear(self, frame: str) -> None:
        await super().hear(frame)
        message = json.loads(frame)
        if message["type"] == "thumbnail_request":
            picture = {"jpeg": base64.b64encode(JPEG).decode(), "width": message["width"], "height": 180}
            await self.say(
                {"type": "thumbnail_data", "request_id": message["request_id"], "session_id": message["session_id"],
                 **({"error": self.error} if self.error else picture)}
            )  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path_factory.mktemp("desk") / "data", limit_create=1000) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def painter(desk: Desk) -> AsyncIterator[Painter]:
    assert desk.server
    agent = Painter(desk.server)
    async with dialled(desk.broker.url, desk.broker.broker.logins.agent_keys.machine_key(), agent):
        yield agent


async def ask(desk: Desk, method: str, path: str, **more: Any) -> tuple[int, Any]:
    async with desk.broker.client() as console:
        answer = await console.request(method, f"/console/v1/{path}", **more)
    if answer.headers["content-type"] != "application/json":
        return answer.status_code, answer
    return answer.status_code, answer.json()


async def audit(desk: Desk, verb: str) -> list[dict[str, Any]]:
    status, rows = await ask(desk, "GET", "audit", params={"verb": verb})
    assert status == 200
    return list(rows)


async def test_a_picture_of_a_desktop(desk: Desk, painter: Painter) -> None:
    session_id = await desk.desktop(agent_id="painter")
    status, answer = await ask(desk, "GET", f"desktops/{session_id}/thumbnail", params={"width": 320})
    assert status == 200
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["cache-control"] == "no-store"
    assert float(answer.headers["x-taken-at"]) > 1_700_000_000
    assert answer.content == JPEG
    painter.error = "the screen is locked"
    status, body = await ask(desk, "GET", f"desktops/{session_id}/thumbnail", params={"width": 200})
    assert (status, body["code"]) == (502, "rejected")
    assert "the screen is locked" in body["detail"]


@pytest.mark.parametrize("width", ["31", "1921", "wide", "1.5"])
async def test_a_picture_has_a_width_that_makes_sense(desk: Desk, width: str) -> None:
    status, body = await ask(desk, "GET", "desktops/x/thumbnail", params={"width": width})
    assert (status, body["code"]) == (422, "invalid")


async def test_pictures_and_tickets_that_cannot_be(desk: Desk) -> None:
    for method, path, more in (("GET", "thumbnail", {}), ("POST", "ticket", {"json": {"mode": "control"}})):
        status, body = await ask(desk, method, f"desktops/nobody/{path}", **more)
        assert (status, body["code"]) == (404, "session_not_found")
    session_id = await desk.desktop(agent_id=AGENT)
    status, body = await ask(desk, "GET", f"desktops/{session_id}/thumbnail")
    assert (status, body["code"]) == (501, "unsupported"), "this agent makes no pictures"
    async with desk.api() as api:
        await api.patch(f"/api/v1/sessions/{session_id}", json={"state": "hibernated"})
    for method, path, more in (("GET", "thumbnail", {}), ("POST", "ticket", {"json": {"mode": "control"}})):
        status, body = await ask(desk, method, f"desktops/{session_id}/{path}", **more)
        assert (status, body["code"]) == (409, "session_not_running")


@pytest.mark.parametrize("body", [{}, {"mode": "both"}, {"mode": None}, [], "view"])
async def test_a_ticket_is_for_view_or_control(desk: Desk, body: Any) -> None:
    status, answer = await ask(desk, "POST", "desktops/x/ticket", json=body)
    assert (status, answer["code"]) == (422, "invalid")


async def test_looks_are_audited(desk: Desk) -> None:
    session_id = await desk.desktop(agent_id=AGENT)
    for mode in ("view", "control"):
        assert (await desk.ticket(session_id, mode)).status_code == 201
        row = (await audit(desk, mode))[0]
        assert (row["operator"], row["object"], row["object_id"], row["result"]) == ("Ada", "desktop", session_id, "ok")
        assert "cbt_" not in json.dumps(row)


async def test_an_agent_that_is_gone_for_good_is_removed_with_its_sessions(desk: Desk) -> None:
    assert desk.server
    fleet, key = desk.broker.broker.fleet, desk.broker.broker.logins.agent_keys.machine_key()
    async with dialled(desk.broker.url, key, DialingAgent(desk.server.open, "sold")):
        session_id = await desk.desktop(agent_id="sold")
        status, body = await ask(desk, "DELETE", "agents/sold")
        assert (status, body["code"]) == (409, "agent_connected")
        assert "only an agent that is offline is removed" in body["detail"]
    await desk.until(lambda: fleet.agents["sold"].status == "offline")
    assert await ask(desk, "DELETE", "agents/sold") == (200, {"id": "sold", "ended": [session_id]})
    assert desk.told("agent.removed")[-1] == Gone("removed", by="Ada")
    async with desk.api("ada") as admin:
        assert (await admin.get("/api/v1/agents/sold")).status_code == 404
        ended = (await admin.get(f"/api/v1/sessions/{session_id}")).json()
    assert (ended["state"], ended["status"]["message"]) == ("terminated", "Its agent 'sold' was removed")
    status, body = await ask(desk, "DELETE", "agents/sold")
    assert (status, body["code"]) == (404, "agent_not_found")
    acts = await audit(desk, "remove")
    assert [(act["operator"], act["object"], act["object_id"], act["result"]) for act in acts] == [
        ("Ada", "agent", "sold", "agent_not_found"),
        ("Ada", "agent", "sold", "ok"),
        ("Ada", "agent", "sold", "agent_connected"),
    ]
    [left] = acts[1]["after"]["ended"]
    assert (left["id"], left["user"]) == (session_id, fleet.desktops[session_id].user)
    again = DialingAgent(desk.server.open, "sold", sessions=[{"session_id": session_id, "state": "running"}])
    async with dialled(desk.broker.url, key, again):
        [ack] = [message for message in again.heard if message["type"] == "register_ack"]
        assert ack["stop"] == [session_id]
    await desk.until(lambda: fleet.agents["sold"].status == "offline")
    assert await ask(desk, "DELETE", "agents/sold") == (200, {"id": "sold", "ended": []})


async def test_every_session_of_an_agent_sleeps_and_ends(desk: Desk, painter: Painter) -> None:
    fleet = desk.broker.broker.fleet
    first, second = await desk.desktop(agent_id="painter"), await desk.desktop(agent_id="painter")
    elsewhere = await desk.desktop(agent_id=AGENT)
    status, body = await ask(desk, "POST", "agents/painter/hibernate-all")
    assert status == 200
    assert set(body["done"]) >= {first, second}
    assert body["refused"] == {}
    await desk.until(lambda: {fleet.desktops[each].state for each in (first, second)} == {"hibernated"})
    status, body = await ask(desk, "POST", "agents/painter/terminate-all")
    assert status == 200
    assert set(body["done"]) >= {first, second}
    await desk.until(lambda: {fleet.desktops[each].state for each in (first, second)} == {"terminated"})
    assert fleet.desktops[elsewhere].state == "running"
    assert [(await audit(desk, verb))[0]["object_id"] for verb in ("hibernate all", "terminate all")] == ["painter"] * 2
    for name in ("hibernate-all", "terminate-all"):
        status, body = await ask(desk, "POST", f"agents/nobody/{name}")
        assert (status, body["code"]) == (404, "agent_not_found")
