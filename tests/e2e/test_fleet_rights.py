"""Who may do what, on a real broker with a real agent and real desktops of two people.

What a smaller test holds already is not repeated here; each rule has its tests, and ``test_each_rule_has_its_tests``
verifies that they exist:

=================================================  ==================================================================
a stolen session id without a token opens nothing  here: test_two_people_and_a_stranger
                                                   contract/test_streamspace_vnc: test_without_a_good_token_nothing_is_opened
                                                   contract/test_streamspace_vnc: test_kicks_tickets_and_pictures_need_the_consoles_token
                                                   contract/test_streamspace_vnc: test_a_tunnel_needs_its_token_which_opens_once
                                                   contract/test_streamspace_logs: test_what_is_wrong_is_told_before_the_upgrade
                                                   contract/test_streamspace_auth: test_ss_5_every_request_needs_its_token
                                                   contract/test_console_api: test_every_operation_needs_the_token
a ticket opens one look at one session             contract/test_streamspace_vnc: test_a_ticket_opens_one_look_at_one_session
                                                   contract/test_streamspace_vnc: test_a_ticket_for_view_cannot_be_turned_into_control
nobody reaches another's desktop, log or picture   here: test_two_people_and_a_stranger
                                                   contract/test_streamspace_sessions: test_a_11_users_see_and_touch_only_what_is_theirs
                                                   contract/test_streamspace_vnc: test_nobody_looks_at_anothers_desktop_but_administrators
nobody reaches another's home                      here: test_two_people_and_a_stranger
                                                   unit/agent/test_homes: test_any_name_is_one_component_that_stays_where_it_is
                                                   unit/agent/test_homes: test_different_names_are_different_homes
                                                   unit/agent/test_homes: test_a_link_in_the_place_of_a_home_is_refused_and_not_followed
                                                   unit/agent/test_local: test_an_id_never_leads_out_of_the_folder
                                                   unit/agent/test_docker_spec: test_homes_of_different_people_never_meet
administrators alone change what all depend on     contract/test_streamspace_auth: test_ss_6_what_only_administrators_may
                                                   contract/test_logins: test_an_administrators_login_opens_what_a_console_may
a login that ends closes what it had opened        contract/test_streamspace_vnc: test_a_login_that_ends_closes_its_viewers
                                                   contract/test_streamspace_logs: test_a_29_logging_out_closes_4401
                                                   contract/test_logins: test_a_feed_closes_with_its_login
no secret of an address reaches a log              here: test_two_people_and_a_stranger
                                                   e2e/test_fleet_show: test_a_show_with_desktops
                                                   contract/test_logins: test_no_secret_of_an_address_or_a_header_reaches_a_log
                                                   contract/test_streamspace_vnc: test_no_token_reaches_a_log_and_a_process_stops_cleanly
                                                   contract/test_console_feed: test_the_token_is_never_logged
agents' keys are rotated and revoked               here: test_two_people_and_a_stranger
                                                   contract/test_streamspace_agent_socket: test_a_key_that_is_withdrawn_closes_its_agents
                                                   contract/test_streamspace_agent_socket: test_a_key_of_one_agent_is_not_anothers
                                                   contract/test_streamspace_agent_socket: test_wrong_keys_meet_a_limit_and_right_ones_do_not
guessing passwords meets the limit                 here: test_two_people_and_a_stranger
                                                   contract/test_streamspace_limits: test_ss_41_five_logins_a_minute_right_or_wrong
                                                   contract/test_logins: test_guessing_passwords_meets_the_limit
desktops of our agents listen on no network        here: test_two_people_and_a_stranger
                                                   unit/agent/test_local: test_a_session_is_a_desktop_that_only_we_can_reach
                                                   unit/agent/test_local: test_a_display_asks_for_its_secret
neither broker nor template names a host           unit/agent/test_attach: test_neither_broker_nor_template_names_a_host
view-only is kept by the broker                    e2e/test_fleet_show: test_a_show_with_desktops
                                                   contract/test_streamspace_vnc: test_view_only_drops_keys_in_the_broker
                                                   contract/test_streamspace_vnc: test_view_only_is_refused_where_it_cannot_be_enforced_and_never_falls_back
=================================================  ==================================================================
"""

from __future__ import annotations

import asyncio
import re
import stat
import time
from pathlib import Path

import httpx
import psutil
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.contract.test_streamspace_sheet import missing_tests
from tests.e2e.fleet_people import PASSWORD, People, some_people

NOBODY = "770e8400-e29b-41d4-a716-446655440002"
REFUSED = (401, 403)


def test_each_rule_has_its_tests() -> None:
    assert __doc__ is not None
    assert missing_tests(__doc__.replace("here: ", "e2e/test_fleet_rights: ")) == []


@pytest.mark.timeout(180)
async def test_two_people_and_a_stranger(tmp_path: Path) -> None:
    async with some_people(tmp_path) as people:
        await guessing_meets_the_limit(people)  # first, within the minute of the two logins
        kims, lees = await asyncio.gather(people.desktop("kim"), people.desktop("lee"))
        await an_id_alone_opens_nothing(people, kims)
        await nobody_elses(people, kims, lees)
        await homes_are_apart(people, kims, lees)
        no_desktop_listens(people, [kims, lees])
        await keys_of_agents_end(people, kims)
    no_secret_was_written(people)


# -- ids ---------------------------------------------------------------------------------------------------------


async def operations(people: People) -> list[tuple[str, str]]:
    """Every documented way to a session: method and path."""
    document = (await people.http().get("/openapi.json")).json()
    ways = [
        (method.upper(), path)
        for path, found in document["paths"].items()
        for method in found
        if re.match(r"/(api/v1/sessions|console/v1/desktops)/\{", path)
    ]
    assert len(ways) >= 7, ways
    return ways


async def an_id_alone_opens_nothing(people: People, session_id: str) -> None:
    """Whatever somebody tries who knows a session's id, and perhaps a token of the wrong kind."""
    before = await people.row(session_id)
    token = people.tokens["kim"]
    wrong = [{}, bearer("rubbish"), bearer(people.key), bearer(await people.ticket(session_id))]
    for method, path in await operations(people):
        place = re.sub(r"\{\w+\}", session_id, path)
        for headers in wrong:
            answer = await people.http(headers).request(method, place, json={"state": "terminating", "mode": "view"})
            assert answer.status_code == 401, (method, path)
        answer = await people.http().request(method, place, params={"token": token}, json={})
        assert answer.status_code == 401, f"{method} {path} takes a token from an address"
    for place in sockets_of(session_id):
        for query in ("", "token=rubbish", f"token={people.key}"):
            assert await upgraded(people, place, query) == 401, place
    stolen = await people.http().get(f"/vnc-viewer/{session_id}")
    assert stolen.text.replace(session_id, NOBODY) == (await people.http().get(f"/vnc-viewer/{NOBODY}")).text
    assert await people.row(session_id) == before


async def nobody_elses(people: People, kims: str, lees: str) -> None:
    """What is one person's is not another's, on any way that is documented and on both sockets."""
    before = await people.row(kims)
    lee = people.http(bearer(people.tokens["lee"]))
    for method, path in await operations(people):
        place = re.sub(r"\{\w+\}", kims, path)
        answer = await lee.request(method, place, json={"state": "hibernated", "mode": "view"})
        assert answer.status_code in REFUSED, (method, path, answer.text)
    for place in sockets_of(kims):
        assert await upgraded(people, place, f"token={people.tokens['lee']}") == 403
        assert await upgraded(people, place, f"token={await people.ticket(lees)}") in REFUSED
    assert await upgraded(people, "/console/v1/feed", f"token={people.tokens['lee']}") == 401
    assert [row["id"] for row in (await lee.get("/api/v1/sessions")).json()["sessions"]] == [lees]
    for query in ("user=kim", "user=admin"):
        assert (await lee.get(f"/api/v1/sessions?{query}")).status_code == 403
    assert kims not in (await lee.get("/api/v1/agents/rack-1")).text
    body = {"user": "kim", "template": people.template, "persistent_home": False}
    assert (await lee.post("/api/v1/sessions", json=body)).status_code == 403
    assert await people.row(kims) == before
    for place in sockets_of(lees):
        assert await upgraded(people, place, f"token={people.tokens['lee']}") == 101


def sockets_of(session_id: str) -> list[str]:
    """Every WebSocket that shows something of a session."""
    logs = f"/api/v1/sessions/{session_id}/logs?follow=true&tail=5"
    return [f"/vnc-viewer/{session_id}", f"/api/v1/vnc-viewer/{session_id}", logs]


async def upgraded(people: People, place: str, query: str) -> int:
    """The status with which an upgrade is answered."""
    sign = "&" if "?" in place else "?"
    address = f"{people.url.replace('http', 'ws')}{place}{sign}{query}"
    try:
        async with connect(address, proxy=None, compression=None):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


# -- homes and networks --------------------------------------------------------------------------------------------


async def homes_are_apart(people: People, kims: str, lees: str) -> None:
    """Names that would lead elsewhere are no names; homes that stay are their owners' alone, each below its own user."""
    admin = people.admin
    for name in ("../kim", "kim/../lee", "..", ".", "kim\0", "kim ", "a/b"):
        user = {"username": name, "email": "x@example.com", "password": PASSWORD}
        assert (await admin.post("/api/v1/users", json=user)).status_code == 400, name
        wanted = {"user": name, "template": people.template, "persistent_home": True}
        assert (await admin.post("/api/v1/sessions", json=wanted)).status_code == 400, name
        template = {"name": name, "display_name": "x", "command": ["xterm"]}
        assert (await admin.post("/api/v1/templates", json=template)).status_code == 400, name
    root = people.state / "homes"
    homes = {session_id: Path(people.environment_of(session_id)["HOME"]) for session_id in (kims, lees)}
    assert homes == {kims: root / "kim" / people.template, lees: root / "lee" / people.template}
    for home in homes.values():
        for folder in (home, home.parent, root):
            assert stat.S_IMODE(folder.lstat().st_mode) == 0o700
            assert not folder.is_symlink()
    twin = await people.create("kim")
    assert (twin.status_code, twin.json()["code"]) == (409, "SESSION_ALREADY_EXISTS")


def no_desktop_listens(people: People, sessions: list[str]) -> None:
    """No process of a session, nor the agent, listens on TCP or has a UDP socket; desktops are sockets of mode 0600."""
    sockets: list[Path] = []
    everybody = [process for one in sessions for process in people.processes_of(one)]
    for process in (*everybody, psutil.Process(people.agent.pid)):
        open_ones = process.net_connections("inet")
        assert [one for one in open_ones if one.status in (psutil.CONN_LISTEN, psutil.CONN_NONE)] == []
        if process.name().startswith("Xvnc"):
            words = process.cmdline()
            sockets.append(Path(words[words.index("-rfbunixpath") + 1]))
    assert len(sockets) == len(sessions)
    for file in sockets:
        assert stat.S_ISSOCK(file.stat().st_mode)
        assert (stat.S_IMODE(file.stat().st_mode), stat.S_IMODE(file.parent.stat().st_mode)) == (0o600, 0o700)


# -- keys and passwords --------------------------------------------------------------------------------------------


async def keys_of_agents_end(people: People, session_id: str) -> None:
    """A key that was rotated or revoked closes its agent and opens nothing; the sessions live on for the next key."""
    old, programs = people.key, people.programs_of(session_id)
    answer = await people.admin.post(f"/api/v1/agent-keys/{people.key_id}/rotate")
    assert answer.status_code == 200, answer.text
    new = people.know(answer.json()["key"])
    await people.agent_is("offline")
    assert await upgraded(people, "/agent/ws", f"agent_id=rack-1&platform=local&key={old}") == 401
    await people.until_logged("4401")
    await people.restart_agent(new)
    await people.agent_is("online")
    assert people.programs_of(session_id) == programs
    assert await upgraded(people, f"/vnc-viewer/{session_id}", f"token={people.tokens['kim']}") == 101
    assert (await people.admin.delete(f"/api/v1/agent-keys/{people.key_id}")).status_code in (200, 204)
    await people.agent_is("offline")
    assert await upgraded(people, "/agent/ws", f"agent_id=rack-1&platform=local&key={people.key}") == 401
    assert people.programs_of(session_id) == programs


async def guessing_meets_the_limit(people: People) -> None:
    """Two have logged in: three guesses are refused as wrong, and the sixth try of the minute as one too many."""
    guess = {"username": "kim", "password": "not-the-password"}
    for remaining in (2, 1, 0):
        answer = await people.http().post("/api/v1/auth/login", json=guess)
        assert (answer.status_code, answer.json()["code"]) == (401, "AUTH_INVALID_CREDENTIALS")
        assert limits(answer)["remaining"] == remaining
    for password in ("not-the-password", PASSWORD):
        asked = time.time()
        sixth = await people.http().post("/api/v1/auth/login", json={"username": "kim", "password": password})
        answered = time.time()
        body = sixth.json()
        assert (sixth.status_code, body["code"]) == (429, "RATE_LIMIT_EXCEEDED")
        told = limits(sixth)
        assert (told["limit"], told["remaining"]) == (5, 0)
        assert sixth.headers["retry-after"] == str(body["retry_after"])
        assert 1 <= body["retry_after"] <= 60
        assert asked - 1 <= told["reset"] - body["retry_after"] <= answered + 1  # both are whole seconds, rounded up
        assert str(body["retry_after"]) in body["message"]


def limits(answer: httpx.Response) -> dict[str, int]:
    """The three headers."""
    return {name: int(answer.headers[f"x-ratelimit-{name}"]) for name in ("limit", "remaining", "reset")}


def no_secret_was_written(people: People) -> None:
    """Everything that was used or tried, in everything that broker and agent wrote."""
    written = {"broker": "".join(people.broker.log), "agent": people.agent_log.read_text("utf-8", "replace")}
    logs = people.broker.data_dir / "logs"
    written |= {file.name: file.read_text("utf-8", "replace") for file in logs.iterdir() if file.is_file()}
    assert len(people.secrets) >= 8
    for name, text in written.items():
        assert text or name not in ("broker", "agent"), f"the {name} wrote nothing: there is nothing to look at"
        assert [secret for secret in people.secrets if secret in text] == [], name


def bearer(token: str) -> dict[str, str]:
    """A header."""
    return {"Authorization": f"Bearer {token}"}
