"""Sessions from creation to their end (seed 001, "Session Lifecycle"), with agents that speak its words."""

from __future__ import annotations

import re
from typing import Any

from tests.contract.streamspace_venue import NOWHERE, SEED, Venue, shape, told

SESSIONS = "/api/v1/sessions"
DENIED = (403, "AUTH_INSUFFICIENT_PERMISSIONS")


def place(session: dict[str, Any]) -> str:
    return f"{SESSIONS}/{session['id']}"


async def john(venue: Venue) -> None:
    """The user of the document's examples."""
    await venue.users.create("john.doe", "john.doe@example.com", "secure-password", "user")


# Creating ---------------------------------------------------------------------------------------------------------


async def test_ss_12_ss_13_ss_14_a_session_begins(streamspace: Venue) -> None:
    await john(streamspace)
    async with streamspace.agent() as agent:
        agent.script["start_session"] = "hold"
        answer = await streamspace.ada.post(SESSIONS, json=SEED["create_request"])
        assert answer.status_code == 202, answer.text
        body, example = answer.json(), SEED["session_created"]
        assert shape(body) == shape(example)
        same = ("namespace", "user", "template", "platform", "agent_id", "state", "resources", "persistent_home",
                "idle_timeout", "tags", "status")  # fmt: skip
        assert {key: body[key] for key in same} == {key: example[key] for key in same}
        assert re.fullmatch(r"john-doe-firefox-browser-[a-z0-9]{6}", body["name"])
        command = await agent.until_command("start_session")
    assert command["session_id"] == body["id"]
    assert command["data"]["name"] == body["name"]
    [act] = [act for act in streamspace.audited if act.object == "desktop"]
    assert (act.operator, act.verb, act.object_id, act.dialect) == ("ada", "create", body["id"], "streamspace")


async def test_ss_12_what_is_left_out(streamspace: Venue) -> None:
    async with streamspace.agent():
        answer = await streamspace.kim.post(SESSIONS, json={"user": "kim", "template": "firefox-browser"})
        body = answer.json()
        assert (answer.status_code, body["platform"], body["persistent_home"]) == (202, "kubernetes", True)
        template = streamspace.fleet.templates["firefox-browser"]
        assert body["idle_timeout"] == template.idle_timeout
        assert body["resources"] == {key: template.default_resources[key] for key in ("memory", "cpu")}
        assert body["tags"] == []
        never = await streamspace.session("kim", idle_timeout=None)
        assert never["idle_timeout"] == "0"


async def test_ss_15_a_template_that_is_not_there(streamspace: Venue) -> None:
    wanted = {"user": "kim", "template": "invalid-template"}
    answer = await streamspace.kim.post(SESSIONS, json=wanted)
    assert told(answer) == (400, "TEMPLATE_NOT_FOUND")
    example = SEED["create_without_template"]
    assert {key: answer.json()[key] for key in example} == example


async def test_ss_15_no_agent(streamspace: Venue) -> None:
    wanted = {"user": "kim", "template": "firefox-browser", "platform": "kubernetes"}
    answer = await streamspace.kim.post(SESSIONS, json=wanted)
    assert told(answer) == (503, "NO_AGENTS_AVAILABLE")
    example = SEED["create_without_agent"]
    assert {key: answer.json()[key] for key in example} == example


async def test_ss_15_a_13_agents_that_are_full(streamspace: Venue) -> None:
    async with streamspace.agent(capacity={"max_sessions": 1}) as agent:
        await streamspace.running(agent)
        wanted = {"user": "kim", "template": "firefox-browser", "persistent_home": False}
        assert told(await streamspace.kim.post(SESSIONS, json=wanted)) == (503, "AGENT_CAPACITY_EXCEEDED")


async def test_ss_12_a_home_persists_unless_the_request_says_otherwise(streamspace: Venue) -> None:
    template = {
        "name": "kiosk",
        "display_name": "Kiosk",
        "base_image": "registry.local/kiosk",
        "persistent_home": False,
    }
    assert (await streamspace.ada.post("/api/v1/templates", json=template)).status_code == 201
    async with streamspace.agent():
        answer = await streamspace.kim.post(SESSIONS, json={"user": "kim", "template": "kiosk"})
        assert (answer.status_code, answer.json()["persistent_home"]) == (202, True)


async def test_ss_15_attached_machines_are_given_out_by_administrators(streamspace: Venue) -> None:
    wanted = {"user": "kim", "template": "firefox-browser", "platform": "attach"}
    answer = await streamspace.kim.post(SESSIONS, json=wanted)
    assert (answer.status_code, answer.json()["code"]) == (403, "AUTH_INSUFFICIENT_PERMISSIONS")
    answer = await streamspace.ada.post(SESSIONS, json=wanted)
    assert answer.json()["code"] == "NO_AGENTS_AVAILABLE", "permitted, though nobody is there to do it"


async def test_ss_15_one_persistent_home_for_user_and_template(streamspace: Venue) -> None:
    wanted = {"user": "kim", "template": "firefox-browser", "persistent_home": True}
    async with streamspace.agent():
        first = (await streamspace.kim.post(SESSIONS, json=wanted)).json()
        assert told(await streamspace.kim.post(SESSIONS, json=wanted)) == (409, "SESSION_ALREADY_EXISTS")
        assert (await streamspace.kim.post(SESSIONS, json={**wanted, "persistent_home": False})).status_code == 202
        assert (await streamspace.ada.delete(f"{place(first)}?force=true")).status_code == 204
        assert (await streamspace.kim.post(SESSIONS, json=wanted)).status_code == 202


async def test_ss_15_fields_that_are_missing_or_do_not_fit(streamspace: Venue) -> None:
    good = {"user": "kim", "template": "firefox-browser"}
    async with streamspace.agent():
        for change, code, field in (
            ({"user": ...}, "MISSING_REQUIRED_FIELD", "user"),
            ({"template": ...}, "MISSING_REQUIRED_FIELD", "template"),
            ({"template": 5}, "VALIDATION_FAILED", "template"),
            ({"platform": "vax"}, "VALIDATION_FAILED", "platform"),
            ({"state": "pending"}, "VALIDATION_FAILED", "state"),
            ({"resources": {"cpu": "-1"}}, "VALIDATION_FAILED", "resources.cpu"),
            ({"persistent_home": "no"}, "VALIDATION_FAILED", "persistent_home"),
            ({"tags": ["a,b"]}, "VALIDATION_FAILED", "tags"),
            ({"idle_timeout": "30 minutes"}, "VALIDATION_FAILED", "idle_timeout"),
            ({"user": "nobody"}, "VALIDATION_FAILED", "user"),
        ):
            streamspace.elapsed += 60
            body = {key: value for key, value in {**good, **change}.items() if value is not ...}
            answer = await streamspace.ada.post(SESSIONS, json=body)
            assert told(answer) == (400, code), change
            assert answer.json()["details"]["field"] == field, change
    assert streamspace.fleet.desktops == {}


async def test_a_11_users_create_for_themselves(streamspace: Venue) -> None:
    async with streamspace.agent():
        wanted = {"user": "lee", "template": "firefox-browser"}
        assert told(await streamspace.kim.post(SESSIONS, json=wanted)) == DENIED
        assert (await streamspace.lee.post(SESSIONS, json=wanted)).status_code == 202
        await streamspace.users.change(streamspace.users.get("kim").id, active=False)  # type: ignore[union-attr]
        inactive = await streamspace.ada.post(SESSIONS, json={"user": "kim", "template": "firefox-browser"})
        assert told(inactive) == (400, "VALIDATION_FAILED")


async def test_a_10_a_session_may_begin_hibernated(streamspace: Venue) -> None:
    async with streamspace.agent() as agent:
        made = await streamspace.session("kim", state="hibernated")
        assert (made["state"], made["agent_id"], agent.commands) == ("hibernated", agent.agent_id, [])
        woken = await streamspace.kim.patch(place(made), json={"state": "running"})
        assert (woken.status_code, woken.json()["state"]) == (200, "running")
        assert [command["command_type"] for command in agent.commands] == ["start_session"]


async def test_our_own_an_agent_may_be_named(streamspace: Venue) -> None:
    async with streamspace.agent("k1"), streamspace.agent("k2"):
        assert (await streamspace.session("kim", agent_id="k2"))["agent_id"] == "k2"
        wanted = {"user": "kim", "template": "firefox-browser", "agent_id": "k3"}
        assert told(await streamspace.kim.post(SESSIONS, json=wanted)) == (404, "AGENT_NOT_FOUND")


async def test_a_9_a_start_that_fails(streamspace: Venue) -> None:
    async with streamspace.agent() as agent:
        agent.script["start_session"] = "fail"
        made = await streamspace.session()
        await streamspace.until_state(made["id"], "terminated")
        body = (await streamspace.kim.get(place(made))).json()
    assert (body["state"], body["status"]["phase"]) == ("terminated", "Failed")
    assert body["status"]["message"] == "Failed to create pod: insufficient resources"
    assert body["status"]["error_code"] == "INSUFFICIENT_RESOURCES"


# Listing ----------------------------------------------------------------------------------------------------------


async def test_ss_16_the_list_is_the_documents(streamspace: Venue) -> None:
    await john(streamspace)
    async with streamspace.agent() as agent:
        request = {**SEED["create_request"], "tags": ["project-alpha"]}
        made = (await streamspace.ada.post(SESSIONS, json=request)).json()
        await streamspace.until_state(made["id"], "running")
        answer = await streamspace.ada.get(SESSIONS)
        [row] = answer.json()["sessions"]
        example = SEED["sessions"]["sessions"][0]
        assert shape(row) == shape(example)
        assert row["status"] == {**example["status"], "vnc_url": f"/vnc-viewer/{made['id']}"}
        assert answer.json()["pagination"] == SEED["sessions"]["pagination"]
        details = (await streamspace.ada.get(place(made))).json()
    assert list(details) == list(SEED["session"])
    assert list(details["status"]) == list(SEED["session"]["status"])
    assert set(SEED["session"]["platform_metadata"]) <= set(details["platform_metadata"])
    assert details["status"]["pod_name"] == SEED["session"]["status"]["pod_name"]
    assert details["status"]["started_at"] == SEED["session"]["status"]["started_at"]
    assert details["agent_id"] == agent.agent_id


async def test_ss_16_every_filter_and_order(streamspace: Venue) -> None:
    async with streamspace.agent("k1") as agent, streamspace.agent("d1", "docker"):
        one = await streamspace.running(agent, "kim", platform="kubernetes", tags=["a", "b"])
        two = await streamspace.running(agent, "lee", platform="docker", tags=["a"])
        three = await streamspace.running(agent, "kim", platform="kubernetes", tags=["b", "c"])
        await streamspace.ada.patch(place(three), json={"state": "hibernated"})
        names = {one["id"]: "1", two["id"]: "2", three["id"]: "3"}

        async def found(query: str) -> str:
            answer = await streamspace.ada.get(f"{SESSIONS}?{query}")
            assert answer.status_code == 200, answer.text
            return "".join(names[row["id"]] for row in answer.json()["sessions"])

        for query, expected in (
            ("", "321"),
            ("order=asc", "123"),
            ("user=kim", "31"),
            ("user=nobody", ""),
            ("template=firefox-browser", "321"),
            ("template=xterm", ""),
            ("platform=docker", "2"),
            ("agent_id=k1", "31"),
            ("state=hibernated", "3"),
            ("state=running&user=kim", "1"),
            ("tags=a", "21"),
            ("tags=a,b", "1"),
            ("tags=,a,", "21"),
            ("tags=a,c", ""),
            ("sort=user&order=desc", "2"),
            ("sort=updated_at", "3"),
            ("sort=state&order=asc", "3"),
            ("limit=2", "32"),
            ("limit=2&page=2", "1"),
            ("limit=2&page=3", ""),
        ):
            got = await found(query)
            assert (got[:1] if query.startswith("sort") else got) == expected, query
        page = (await streamspace.ada.get(f"{SESSIONS}?limit=2&page=2")).json()["pagination"]
        assert page == {"page": 2, "limit": 2, "total": 3, "total_pages": 2}


async def test_a_31_parameters_that_do_not_fit(streamspace: Venue) -> None:
    for query, field in (
        ("state=dead", "state"),
        ("sort=name", "sort"),
        ("order=sideways", "order"),
        ("page=0", "page"),
        ("limit=0", "limit"),
        ("platform=vax", "platform"),
    ):
        answer = await streamspace.ada.get(f"{SESSIONS}?{query}")
        assert told(answer) == (400, "INVALID_PARAMETER")
        assert answer.json()["details"]["field"] == field


async def test_a_11_users_see_and_touch_only_what_is_theirs(streamspace: Venue) -> None:
    async with streamspace.agent() as agent:
        mine = await streamspace.running(agent, "kim")
        theirs = await streamspace.running(agent, "lee")
        listed = (await streamspace.kim.get(SESSIONS)).json()
        assert [row["id"] for row in listed["sessions"]] == [mine["id"]]
        assert listed["pagination"]["total"] == 1
        assert (await streamspace.kim.get(f"{SESSIONS}?user=kim")).status_code == 200
        assert told(await streamspace.kim.get(f"{SESSIONS}?user=lee")) == DENIED
        for method, path, body in (
            ("GET", "", None),
            ("GET", "/logs", None),
            ("PATCH", "", {"state": "hibernated"}),
            ("PATCH", "", {"tags": ["mine"]}),
            ("DELETE", "", None),
        ):
            answer = await streamspace.kim.request(method, place(theirs) + path, json=body)
            assert told(answer) == DENIED, (method, path)
        assert (await streamspace.lee.get(place(theirs))).json()["state"] == "running"
        assert (await streamspace.ada.get(place(theirs))).status_code == 200


async def test_ss_17_a_session_that_is_not_there(streamspace: Venue) -> None:
    example = {**SEED["session_missing"], "message": f"No session with ID '{NOWHERE}' exists"}
    for method in ("GET", "PATCH", "DELETE"):
        answer = await streamspace.ada.request(method, f"{SESSIONS}/{NOWHERE}", json={"state": "running"})
        assert told(answer) == (404, "SESSION_NOT_FOUND")
        assert {key: answer.json()[key] for key in example} == example
    for name in ("1", "not-a-uuid", "%20", "x" * 300):
        assert told(await streamspace.ada.get(f"{SESSIONS}/{name}")) == (404, "SESSION_NOT_FOUND")


async def test_an_id_may_come_in_capitals(streamspace: Venue) -> None:
    async with streamspace.agent() as agent:
        made = await streamspace.running(agent)
        assert (await streamspace.kim.get(f"{SESSIONS}/{made['id'].upper()}")).json()["id"] == made["id"]


# Changing ---------------------------------------------------------------------------------------------------------


async def test_ss_18_hibernate_and_wake_answer_when_it_is_done(streamspace: Venue) -> None:
    async with streamspace.agent() as agent:
        made = await streamspace.running(agent)
        answer = await streamspace.kim.patch(place(made), json={"state": "hibernated"})
        assert answer.status_code == 200
        assert shape(answer.json()) == shape(SEED["session_changed"])
        assert (answer.json()["state"], answer.json()["status"]) == (
            "hibernated",
            SEED["session_changed"]["status"],
        )
        asleep = (await streamspace.kim.get(place(made))).json()
        assert (asleep["state"], asleep["status"]["vnc_url"]) == ("hibernated", None)
        woken = await streamspace.kim.patch(place(made), json={"state": "running"})
        assert (woken.json()["state"], woken.json()["status"]["phase"]) == ("running", "Running")
        kinds = [command["command_type"] for command in agent.commands]
        assert kinds == ["start_session", "hibernate_session", "wake_session"]
        ended = await streamspace.kim.patch(place(made), json={"state": "terminating"})
        assert ended.status_code == 200
        assert ended.json()["state"] in ("terminating", "terminated")
        await streamspace.until_state(made["id"], "terminated")
    verbs = [act.verb for act in streamspace.audited if act.object_id == made["id"]]
    assert verbs == ["create", "hibernate", "wake", "terminate"]


async def test_ss_18_transitions_that_are_none(streamspace: Venue) -> None:
    async with streamspace.agent() as agent:
        agent.script["start_session"] = "hold"
        pending = await streamspace.session()
        for state in ("running", "hibernated", "pending"):
            answer = await streamspace.ada.patch(place(pending), json={"state": state})
            assert told(answer) == (400, "INVALID_STATE_TRANSITION"), state
        await agent.complete(agent.commands[0])
        await streamspace.until_state(pending["id"], "running")
        for state in ("running", "pending"):
            answer = await streamspace.ada.patch(place(pending), json={"state": state})
            assert told(answer) == (400, "INVALID_STATE_TRANSITION"), state
        assert told(await streamspace.kim.patch(place(pending), json={"state": "terminated"})) == DENIED
        forced = await streamspace.ada.patch(place(pending), json={"state": "terminated"})
        assert (forced.status_code, forced.json()["state"]) == (200, "terminated")
        answer = await streamspace.ada.patch(place(pending), json={"state": "running"})
        assert told(answer) == (400, "INVALID_STATE_TRANSITION")
        example = SEED["bad_transition"]
        assert {key: answer.json()[key] for key in example} == example


async def test_a_8_a_session_that_ends_is_left_alone(streamspace: Venue) -> None:
    async with streamspace.agent() as agent:
        agent.script["stop_session"] = "hold"
        made = await streamspace.running(agent)
        assert (await streamspace.kim.delete(place(made))).status_code == 204
        assert (await streamspace.kim.get(place(made))).json()["state"] == "terminating"
        for state in ("running", "hibernated", "terminating"):
            answer = await streamspace.ada.patch(place(made), json={"state": state})
            assert told(answer) == (409, "SESSION_TERMINATING"), state
        assert (await streamspace.kim.delete(place(made))).status_code == 204, "again changes nothing"
        stops = [command for command in agent.commands if command["command_type"] == "stop_session"]
        assert len(stops) == 1
        assert (stops[0]["data"]["graceful"], stops[0]["data"]["timeout"]) == (True, "30s")


async def test_a_5_an_agent_that_cannot(streamspace: Venue) -> None:
    async with streamspace.agent() as agent:
        agent.script["hibernate_session"] = "fail"
        made = await streamspace.running(agent)
        answer = await streamspace.kim.patch(place(made), json={"state": "hibernated"})
        assert told(answer) == (500, "SESSION_PROVISIONING_FAILED")
        assert "INSUFFICIENT_RESOURCES" in answer.json()["details"].values()
        assert (await streamspace.kim.get(place(made))).json()["state"] == "running"
    await streamspace.until_event(lambda: streamspace.fleet.agents[agent.agent_id].status == "offline")
    for state in ("hibernated", "terminating"):
        answer = await streamspace.kim.patch(place(made), json={"state": state})
        assert told(answer) == (503, "AGENT_OFFLINE")


async def test_a_6_the_end_waits_for_an_agent_that_is_away(streamspace: Venue) -> None:
    async with streamspace.agent() as agent:
        made, forced = await streamspace.running(agent), await streamspace.running(agent, "lee")
    await streamspace.until_event(lambda: streamspace.fleet.agents[agent.agent_id].status == "offline")
    for _ in range(2):
        assert (await streamspace.kim.delete(place(made))).status_code == 204
        ends = (await streamspace.kim.get(place(made))).json()
        assert (ends["state"], ends["status"]["phase"]) == ("terminating", "Terminating")
        assert ends["status"]["message"] == f"Ends when its agent '{agent.agent_id}' is back, which is offline"
    assert told(await streamspace.kim.delete(place(made) + "?force=true")) == DENIED
    assert (await streamspace.ada.delete(place(forced) + "?force=true")).status_code == 204
    assert (await streamspace.lee.get(place(forced))).json()["state"] == "terminated"
    async with streamspace.agent() as again:
        await streamspace.until_state(made["id"], "terminated")
        await again.until(lambda: len(again.commands) == 2)
        stops = {command["session_id"]: command["data"]["graceful"] for command in again.commands}
        assert stops == {made["id"]: True, forced["id"]: False}


async def test_changes_that_say_nothing_or_nonsense(streamspace: Venue) -> None:
    async with streamspace.agent() as agent:
        made = await streamspace.running(agent)
        for body, code in (
            ({}, "MISSING_REQUIRED_FIELD"),
            ({"state": None}, "MISSING_REQUIRED_FIELD"),
            ({"state": "asleep"}, "VALIDATION_FAILED"),
            ({"state": 1}, "VALIDATION_FAILED"),
            ({"tags": "a"}, "VALIDATION_FAILED"),
            ({"tags": ["a,b"]}, "VALIDATION_FAILED"),
        ):
            assert told(await streamspace.kim.patch(place(made), json=body)) == (400, code), body


async def test_our_own_tags_are_changed(streamspace: Venue) -> None:
    async with streamspace.agent() as agent:
        made = await streamspace.running(agent, tags=["a"])
        answer = await streamspace.kim.patch(place(made), json={"tags": ["b", "c", "b"]})
        assert (answer.status_code, answer.json()["tags"], answer.json()["state"]) == (200, ["b", "c"], "running")
        both = await streamspace.kim.patch(place(made), json={"tags": [], "state": "hibernated"})
        assert (both.json()["tags"], both.json()["state"]) == ([], "hibernated")
        for refused in ({"tags": ["x"], "state": "hibernated"}, {"tags": ["x", " ,"], "state": "running"}):
            assert (await streamspace.kim.patch(place(made), json=refused)).status_code == 400
            row = (await streamspace.kim.get(place(made))).json()
            assert (row["tags"], row["state"]) == ([], "hibernated"), "refused, and changed nevertheless"
    [first, _] = [act for act in streamspace.audited if act.verb == "tag"]
    assert (first.operator, first.before, first.after) == ("kim", {"tags": ["a"]}, {"tags": ["b", "c"]})


# Ending -----------------------------------------------------------------------------------------------------------


async def test_ss_19_deleting_ends_gracefully_and_stays_readable(streamspace: Venue) -> None:
    async with streamspace.agent() as agent:
        made = await streamspace.running(agent)
        answer = await streamspace.kim.delete(place(made))
        assert (answer.status_code, answer.content) == (204, b"")
        assert "content-type" not in answer.headers
        await streamspace.until_state(made["id"], "terminated")
        for _ in range(2):
            assert (await streamspace.kim.delete(place(made))).status_code == 204
        body = (await streamspace.kim.get(place(made))).json()
        assert (body["state"], body["status"]["phase"], body["status"]["vnc_url"]) == (
            "terminated",
            "Terminated",
            None,
        )
        listed = (await streamspace.kim.get(f"{SESSIONS}?state=terminated")).json()
        assert [row["id"] for row in listed["sessions"]] == [made["id"]]


async def test_a_6_by_force_for_administrators(streamspace: Venue) -> None:
    async with streamspace.agent() as agent:
        agent.script["stop_session"] = "hold"
        made = await streamspace.running(agent)
        assert told(await streamspace.kim.delete(f"{place(made)}?force=true")) == DENIED
        assert told(await streamspace.ada.delete(f"{place(made)}?force=maybe")) == (400, "INVALID_PARAMETER")
        assert (await streamspace.ada.delete(f"{place(made)}?force=true")).status_code == 204
        assert (await streamspace.ada.get(place(made))).json()["state"] == "terminated"
        stop = await agent.until_command("stop_session")
        assert stop["data"]["graceful"] is False
    assert [act.verb for act in streamspace.audited if act.object_id == made["id"]] == ["create", "force"]


async def test_a_8_what_has_not_begun_is_cancelled(streamspace: Venue) -> None:
    async with streamspace.agent() as agent:
        agent.script["start_session"] = "hold"
        made = await streamspace.session()
        start = await agent.until_command("start_session")
        answer = await streamspace.kim.patch(place(made), json={"state": "terminating"})
        assert (answer.status_code, answer.json()["state"]) == (200, "terminating")
        await agent.complete(start)  # an agent works on one command of a session at a time
        await streamspace.until_state(made["id"], "terminated")


async def test_ss_21_every_state_with_its_phase(streamspace: Venue) -> None:
    seen = {}
    async with streamspace.agent() as agent:
        agent.script |= {"start_session": "hold", "stop_session": "hold"}
        made = await streamspace.session()

        async def note() -> None:
            body = (await streamspace.kim.get(place(made))).json()
            seen[body["state"]] = body["status"]["phase"]

        await note()
        await agent.complete(await agent.until_command("start_session"))
        await streamspace.until_state(made["id"], "running")
        await note()
        await streamspace.kim.patch(place(made), json={"state": "hibernated"})
        await note()
        await streamspace.kim.delete(place(made))
        await note()
        await agent.complete(await agent.until_command("stop_session"))
        await streamspace.until_state(made["id"], "terminated")
        await note()
    assert seen == {
        "pending": "Pending",
        "running": "Running",
        "hibernated": "Hibernated",
        "terminating": "Terminating",
        "terminated": "Terminated",
    }
