"""Agents and templates (seed 001, "Agent Management", "Template Management"), with agents that speak its words."""

from __future__ import annotations

from typing import Any

from tests.contract.streamspace_venue import SEED, Venue, shape, told
from tests.fakes.streamspace import ScriptedAgent, connected

AGENTS = "/api/v1/agents"
TEMPLATES = "/api/v1/templates"
DOCKER = {"capacity": {"max_sessions": 50}, "metadata": SEED["agents"]["agents"][1]["metadata"]}


def ids(body: dict[str, Any]) -> list[str]:
    return [agent["agent_id"] for agent in body["agents"]]


async def test_ss_7_ss_8_the_list_is_the_documents(streamspace: Venue) -> None:
    metadata = SEED["agents"]["agents"][0]["metadata"]
    async with (
        streamspace.agent(metadata=metadata),
        streamspace.agent("docker-host-01", "docker", **DOCKER),
    ):
        answer = await streamspace.kim.get(AGENTS)
    body = answer.json()
    assert answer.status_code == 200
    assert shape(body["agents"][0]) == shape(SEED["agents"]["agents"][0])
    assert shape(body["agents"][1]) == shape(SEED["agents"]["agents"][1])
    assert body["pagination"] == SEED["agents"]["pagination"]
    assert body["agents"][0]["capacity"] == {
        "max_cpu": 100,
        "max_memory": 256,
        "max_sessions": 100,
        "current_sessions": 0,
    }
    assert body["agents"][0]["metadata"] == metadata


async def test_ss_7_filters_and_pages(streamspace: Venue) -> None:
    async with (
        streamspace.agent("k1"),
        streamspace.agent("d1", "docker", region="eu-west-1"),
        streamspace.agent("d2", "docker"),
    ):
        async with streamspace.agent("k2"):
            pass
        await streamspace.until_event(lambda: streamspace.fleet.agents["k2"].status == "offline")

        async def found(query: str) -> list[str]:
            answer = await streamspace.kim.get(f"{AGENTS}?{query}")
            assert answer.status_code == 200, query
            return ids(answer.json())

        assert await found("") == ["k1", "d1", "d2", "k2"]
        assert await found("platform=docker") == ["d1", "d2"]
        assert await found("status=offline") == ["k2"]
        assert await found("status=online&platform=kubernetes") == ["k1"]
        assert await found("region=us-east-1&platform=docker") == ["d2"]
        assert await found("region=nowhere") == []
        assert await found("platform=local") == []
        second = (await streamspace.kim.get(f"{AGENTS}?limit=3&page=2")).json()
        assert (ids(second), second["pagination"]) == (["k2"], {"page": 2, "limit": 3, "total": 4, "total_pages": 2})
        beyond = (await streamspace.kim.get(f"{AGENTS}?page=9")).json()
        assert (ids(beyond), beyond["pagination"]["total"]) == ([], 4)


async def test_a_31_no_agents_are_no_pages(streamspace: Venue) -> None:
    body = (await streamspace.kim.get(AGENTS)).json()
    assert body == {"agents": [], "pagination": {"page": 1, "limit": 20, "total": 0, "total_pages": 0}}


async def test_a_31_parameters_that_do_not_fit(streamspace: Venue) -> None:
    for query, field in (
        ("platform=vax", "platform"),
        ("status=busy", "status"),
        ("page=0", "page"),
        ("limit=101", "limit"),
        ("limit=ten", "limit"),
    ):
        answer = await streamspace.kim.get(f"{AGENTS}?{query}")
        assert told(answer) == (400, "INVALID_PARAMETER")
        assert answer.json()["details"]["field"] == field


async def test_what_changes_is_listed_at_once(streamspace: Venue) -> None:
    """Rows are kept as bytes from one listing to the next."""
    async with streamspace.agent() as agent:
        before = (await streamspace.kim.get(AGENTS)).json()["agents"][0]
        assert before["capacity"]["current_sessions"] == 0
        await agent.say({"type": "heartbeat", "agent_id": agent.agent_id, "capacity": {"current_sessions": 7}})
        await streamspace.until_event(lambda: streamspace.fleet.agents[agent.agent_id].reported_sessions == 7)
        assert (await streamspace.kim.get(AGENTS)).json()["agents"][0]["capacity"]["current_sessions"] == 7
        await streamspace.ada.patch(f"{AGENTS}/{agent.agent_id}", json={"status": "draining"})
        assert (await streamspace.kim.get(AGENTS)).json()["agents"][0]["status"] == "draining"
    await streamspace.until_event(lambda: streamspace.fleet.agents[agent.agent_id].status == "offline")
    after = (await streamspace.kim.get(AGENTS)).json()["agents"][0]
    assert (after["status"], after["websocket_conn_id"]) == ("offline", None)


async def test_ss_9_details_have_sessions_and_uptime(streamspace: Venue) -> None:
    async with streamspace.agent(metadata=SEED["agent"]["metadata"]) as agent:
        mine = await streamspace.running(agent, "kim")
        theirs = await streamspace.running(agent, "lee")
        ended = await streamspace.running(agent, "lee")
        await streamspace.ada.delete(f"/api/v1/sessions/{ended['id']}")
        await streamspace.until_state(ended["id"], "terminated")
        answer = await streamspace.ada.get(f"{AGENTS}/{agent.agent_id}")
        assert shape(answer.json()) == shape(SEED["agent"])
        assert [each["id"] for each in answer.json()["sessions"]] == [mine["id"], theirs["id"]]
        assert answer.json()["uptime_seconds"] >= 0
        narrow = (await streamspace.kim.get(f"{AGENTS}/{agent.agent_id}")).json()
        assert [each["id"] for each in narrow["sessions"]] == [mine["id"]], "users see their own"


async def test_ss_9_an_agent_that_is_not_there(streamspace: Venue) -> None:
    for name in ("invalid-agent-id", "%2F", "..%2Fusers", "%00", "a" * 500):
        assert told(await streamspace.kim.get(f"{AGENTS}/{name}")) == (404, "AGENT_NOT_FOUND"), name
    body = (await streamspace.kim.get(f"{AGENTS}/invalid-agent-id")).json()
    assert {key: body[key] for key in SEED["agent_missing"]} == SEED["agent_missing"]
    assert told(await streamspace.ada.patch(f"{AGENTS}/nobody", json={"status": "online"})) == (404, "AGENT_NOT_FOUND")


async def test_ss_10_draining_takes_no_new_sessions_and_keeps_the_old(streamspace: Venue) -> None:
    async with streamspace.agent() as agent:
        place = f"{AGENTS}/{agent.agent_id}"
        running = await streamspace.running(agent)
        answer = await streamspace.ada.patch(place, json={"status": "draining"})
        assert answer.status_code == 200
        assert shape(answer.json()) == shape(SEED["agent_changed"])
        assert answer.json()["status"] == "draining"
        wanted = {"user": "kim", "template": "firefox-browser", "persistent_home": False}
        assert told(await streamspace.ada.post("/api/v1/sessions", json=wanted)) == (503, "AGENT_DRAINING")
        assert (await streamspace.ada.get(f"/api/v1/sessions/{running['id']}")).json()["state"] == "running"
        assert (await streamspace.ada.patch(place, json={"status": "online"})).json()["status"] == "online"
        await streamspace.running(agent)
    verbs = [(act.verb, act.object_id, act.after) for act in streamspace.audited if act.object == "agent"]
    assert verbs == [
        ("drain", agent.agent_id, {"status": "draining"}),
        ("undrain", agent.agent_id, {"status": "online"}),
    ]


async def test_a_25_offline_is_nobodys_to_set(streamspace: Venue) -> None:
    async with streamspace.agent() as agent:
        place = f"{AGENTS}/{agent.agent_id}"
        answer = await streamspace.ada.patch(place, json={"status": "offline"})
        assert told(answer) == (400, "VALIDATION_FAILED")
        assert answer.json()["details"]["field"] == "status"
        assert told(await streamspace.ada.patch(place, json={"status": "busy"})) == (400, "VALIDATION_FAILED")
        assert told(await streamspace.ada.patch(place, json={})) == (400, "MISSING_REQUIRED_FIELD")
        assert told(await streamspace.kim.patch(place, json={"status": "draining"})) == (
            403,
            "AUTH_INSUFFICIENT_PERMISSIONS",
        )
    await streamspace.until_event(lambda: streamspace.fleet.agents[agent.agent_id].status == "offline")
    assert told(await streamspace.ada.patch(place, json={"status": "online"})) == (503, "AGENT_OFFLINE")


async def test_ss_11_figures_of_all_agents(streamspace: Venue) -> None:
    def capacity(most: int) -> dict[str, Any]:
        return {"capacity": {"max_sessions": most}}

    gone = ScriptedAgent("d9", "docker", **capacity(1000))
    async with connected(streamspace.fleet, gone):
        pass
    await streamspace.until_event(lambda: streamspace.fleet.agents["d9"].status == "offline")
    async with streamspace.agent("k1", **capacity(250)) as first, streamspace.agent("d1", "docker", **capacity(50)):
        for agent_id, count in (("k1", 45),):
            await first.say({"type": "heartbeat", "agent_id": agent_id, "capacity": {"current_sessions": count}})
        await streamspace.until_event(lambda: streamspace.fleet.agents["k1"].reported_sessions == 45)
        await streamspace.ada.patch(f"{AGENTS}/d1", json={"status": "draining"})
        body = (await streamspace.kim.get(f"{AGENTS}/stats")).json()
    assert [key for key, _ in shape(body)] == [key for key, _ in shape(SEED["agent_stats"])]
    assert body == {
        "total_agents": 3,
        "online_agents": 1,
        "offline_agents": 1,
        "draining_agents": 1,
        "by_platform": {"docker": 2, "kubernetes": 1},
        "total_capacity": SEED["agent_stats"]["total_capacity"],
        "utilization": SEED["agent_stats"]["utilization"],
    }


async def test_ss_11_figures_of_no_agents(streamspace: Venue) -> None:
    body = (await streamspace.kim.get(f"{AGENTS}/stats")).json()
    assert body["utilization"] == {"percentage": 0.0, "sessions_available": 0}
    assert body["by_platform"] == {}


# Templates --------------------------------------------------------------------------------------------------------


async def test_ss_22_templates_by_page_and_category(streamspace: Venue) -> None:
    answer = await streamspace.kim.get(TEMPLATES)
    assert answer.status_code == 200
    [firefox] = [row for row in answer.json()["templates"] if row["name"] == "firefox-browser"]
    assert shape(firefox) == shape(SEED["templates"]["templates"][0])
    assert firefox["base_image"] == SEED["template"]["base_image"]
    assert answer.json()["pagination"]["limit"] == 50
    browsers = (await streamspace.kim.get(TEMPLATES, params={"category": "Web Browsers"})).json()
    assert "firefox-browser" in [row["name"] for row in browsers["templates"]]
    assert {row["category"] for row in browsers["templates"]} == {"Web Browsers"}
    one = (await streamspace.kim.get(f"{TEMPLATES}?limit=1&page=2")).json()
    assert len(one["templates"]) == 1
    assert one["pagination"]["total"] == one["pagination"]["total_pages"] == answer.json()["pagination"]["total"]
    assert told(await streamspace.kim.get(f"{TEMPLATES}?limit=1000")) == (400, "INVALID_PARAMETER")


async def test_ss_23_a_template_in_full(streamspace: Venue) -> None:
    answer = await streamspace.kim.get(f"{TEMPLATES}/firefox-browser")
    keys = [key for key, _ in shape(SEED["template"])]
    assert list(answer.json()) == keys
    assert set(SEED["template"]["vnc"]) == set(answer.json()["vnc"])
    assert set(SEED["template"]["default_resources"]) == set(answer.json()["default_resources"])
    assert told(await streamspace.kim.get(f"{TEMPLATES}/nothing")) == (404, "TEMPLATE_NOT_FOUND")


async def test_our_own_templates_are_written(streamspace: Venue) -> None:
    wanted = {
        "name": "sundial",
        "display_name": "Clock",
        "command": ["xclock", "-digital"],
        "environment": {"TZ": "UTC"},
        "hibernate": "stop",
        "default_resources": {"memory": "64Mi"},
    }
    made = await streamspace.ada.post(TEMPLATES, json=wanted)
    assert made.status_code == 201, made.text
    assert {key: made.json()[key] for key in wanted} == wanted
    assert made.json()["built_in"] is False
    assert told(await streamspace.ada.post(TEMPLATES, json=wanted)) == (409, "TEMPLATE_ALREADY_EXISTS")
    shown = (await streamspace.kim.get(f"{TEMPLATES}/sundial")).json()
    changed = await streamspace.ada.put(f"{TEMPLATES}/sundial", json={**shown, "display_name": "The clock"})
    assert changed.status_code == 200, changed.text
    assert (changed.json()["display_name"], changed.json()["command"]) == ("The clock", wanted["command"])
    assert changed.json()["hibernate"] == "stop", "what the document does not know stays"
    assert (await streamspace.ada.delete(f"{TEMPLATES}/sundial")).status_code == 204
    for method, body in (("GET", None), ("PUT", wanted), ("DELETE", None)):
        answer = await streamspace.ada.request(method, f"{TEMPLATES}/sundial", json=body)
        assert told(answer) == (404, "TEMPLATE_NOT_FOUND")
    assert told(await streamspace.ada.delete(f"{TEMPLATES}/firefox-browser")) == (409, "TEMPLATE_BUILT_IN")
    acts = [(act.verb, act.object, act.object_id, act.result) for act in streamspace.audited]
    assert acts == [
        ("create", "template", "sundial", "ok"),
        ("change", "template", "sundial", "ok"),
        ("delete", "template", "sundial", "ok"),
        ("delete", "template", "firefox-browser", "template_built_in"),
    ]


async def test_templates_that_cannot_be(streamspace: Venue) -> None:
    good = {"name": "sundial", "display_name": "Clock", "command": ["xclock"]}
    for change, code in (
        ({"name": ...}, "MISSING_REQUIRED_FIELD"),
        ({"display_name": ...}, "MISSING_REQUIRED_FIELD"),
        ({"command": ...}, "TEMPLATE_INVALID"),
        ({"command": "xclock"}, "TEMPLATE_INVALID"),
        ({"name": "The Clock"}, "TEMPLATE_INVALID"),
        ({"vnc": {"port": 0}}, "TEMPLATE_INVALID"),
        ({"vnc": {"resolution": "huge"}}, "TEMPLATE_INVALID"),
        ({"default_resources": {"memory": "lots"}}, "TEMPLATE_INVALID"),
        ({"idle_timeout": "soon"}, "TEMPLATE_INVALID"),
        ({"environment": {"A=B": "x"}}, "TEMPLATE_INVALID"),
        ({"environment": {"A": 1}}, "TEMPLATE_INVALID"),
        ({"hibernate": "deep"}, "TEMPLATE_INVALID"),
        ({"tags": [1]}, "TEMPLATE_INVALID"),
    ):
        body = {key: value for key, value in {**good, **change}.items() if value is not ...}
        answer = await streamspace.ada.post(TEMPLATES, json=body)
        assert told(answer) == (400, code), change
        assert answer.json()["details"]["field"], change
    assert told(await streamspace.ada.get(f"{TEMPLATES}/sundial")) == (404, "TEMPLATE_NOT_FOUND")
