"""Messages between broker and agents, held to the document's own examples (seed 001, "WebSocket Protocol").

What an agent says is said in the document's very words; what the broker says has every field of the examples, with the
same kinds of values. The rules behind the messages are tested in ``tests/unit/server/fleet``.
"""

from __future__ import annotations

from typing import Any

from websockets.asyncio.client import connect

from tests.contract.streamspace_venue import SEED, Venue
from tests.fakes.streamspace import ScriptedAgent, connected, dialled

SESSIONS = "/api/v1/sessions"


def lacking(message: Any, example: Any, place: str = "") -> list[str]:
    """Fields of the example that a message lacks, or has with another kind of value."""
    if isinstance(example, dict):
        if not isinstance(message, dict):
            return [place]
        return [
            each
            for key, value in example.items()
            for each in (lacking(message[key], value, f"{place}.{key}") if key in message else [f"{place}.{key}"])
        ]
    return [] if type(message) is type(example) else [place]


def document_agent() -> ScriptedAgent:
    """An agent that registers with the document's own message."""
    agent = ScriptedAgent()
    agent.register = SEED["register"]
    return agent


async def started(venue: Venue) -> dict[str, Any]:
    """The session of the document's example, asked for."""
    await venue.users.create("john.doe", "john.doe@example.com", "secure-password", "user")
    answer = await venue.ada.post(SESSIONS, json=SEED["create_request"])
    assert answer.status_code == 202
    found: dict[str, Any] = answer.json()
    return found


async def test_ss_29_ss_30_registering(streamspace: Venue) -> None:
    async with connected(streamspace.fleet, document_agent()) as agent:
        [ack] = [each for each in agent.heard if each["type"] == "register_ack"]
        assert lacking(ack, SEED["register_ack"]) == []
        assert {key: ack[key] for key in SEED["register_ack"]} == SEED["register_ack"]
        row = (await streamspace.ada.get(f"/api/v1/agents/{agent.agent_id}")).json()
    assert {key: row["capacity"][key] for key in SEED["register"]["capacity"]} == SEED["register"]["capacity"]
    assert row["metadata"] == SEED["register"]["metadata"]
    assert (row["region"], row["platform"], row["status"]) == ("us-east-1", "kubernetes", "online")


async def test_ss_31_heartbeats(streamspace: Venue) -> None:
    async with connected(streamspace.fleet, document_agent()) as agent:
        await agent.say(SEED["heartbeat"])
        await streamspace.until_event(lambda: streamspace.fleet.agents[agent.agent_id].reported_sessions == 12)
        row = (await streamspace.ada.get(f"/api/v1/agents/{agent.agent_id}")).json()
    assert row["capacity"]["current_sessions"] == 12
    assert row["last_heartbeat"] > SEED["heartbeat"]["timestamp"], "the broker's clock counts, not the agent's"


async def test_ss_32_ss_33_ss_34_every_command_from_its_sending_to_its_result(streamspace: Venue) -> None:
    agent = document_agent()
    agent.script = dict.fromkeys(("start_session", "hibernate_session", "wake_session", "stop_session"), "complete")
    async with connected(streamspace.fleet, agent):
        made = await started(streamspace)
        await streamspace.until_state(made["id"], "running")
        for state in ("hibernated", "running"):
            assert (await streamspace.ada.patch(f"{SESSIONS}/{made['id']}", json={"state": state})).status_code == 200
        assert (await streamspace.ada.delete(f"{SESSIONS}/{made['id']}")).status_code == 204
        await streamspace.until_state(made["id"], "terminated")
    kinds = [command["command_type"] for command in agent.commands]
    assert kinds == ["start_session", "hibernate_session", "wake_session", "stop_session"]
    for command in agent.commands:
        assert lacking(command, SEED[command["command_type"]]) == [], command["command_type"]
        assert (command["session_id"], command["data"]["name"]) == (made["id"], made["name"])
        assert "timestamp" not in command
    assert len({command["command_id"] for command in agent.commands}) == 4
    start, example = agent.commands[0]["data"], SEED["start_session"]["data"]
    for key in ("namespace", "user", "template", "image", "resources", "persistent_home"):
        assert start[key] == example[key], key
    assert start["vnc"]["port"] == example["vnc"]["port"]
    assert example["environment"].items() <= start["environment"].items()


async def test_ss_34_a_result_in_the_documents_words(streamspace: Venue) -> None:
    agent = document_agent()
    agent.script["start_session"] = "hold"
    async with connected(streamspace.fleet, agent):
        made = await started(streamspace)
        command = await agent.until_command("start_session")
        about = {"command_id": command["command_id"]}
        await agent.say({**SEED["command_ack"], **about})
        example = SEED["command_result"]
        await agent.say({**example, **about, "result": {**example["result"], "session_id": made["id"]}})
        await streamspace.until_state(made["id"], "running")
        status = (await streamspace.ada.get(f"{SESSIONS}/{made['id']}")).json()["status"]
    for key in ("pod_ip", "pod_name", "started_at"):
        assert status[key] == example["result"][key]


async def test_ss_34_an_error_in_the_documents_words(streamspace: Venue) -> None:
    agent = document_agent()
    agent.script["start_session"] = "hold"
    async with connected(streamspace.fleet, agent):
        made = await started(streamspace)
        command = await agent.until_command("start_session")
        await agent.say({**SEED["command_error"], "command_id": command["command_id"]})
        await streamspace.until_state(made["id"], "terminated")
        status = (await streamspace.ada.get(f"{SESSIONS}/{made['id']}")).json()["status"]
    assert (status["message"], status["error_code"]) == (SEED["command_error"]["error"], "INSUFFICIENT_RESOURCES")


async def test_ss_35_a_viewer_is_asked_for(streamspace: Venue) -> None:
    key = streamspace.agent_keys.machine_key()
    async with (
        streamspace.listening() as address,
        dialled(address.replace("ws", "http", 1), key, document_agent()) as agent,
    ):
        made = await started(streamspace)
        await streamspace.until_state(made["id"], "running")
        url = f"{address}/vnc-viewer/{made['id']}?token={streamspace.token('ada')}"
        async with connect(url, compression=None, proxy=None):
            await agent.until(lambda: any(each["type"] == "vnc_proxy_request" for each in agent.heard))
    [request] = [each for each in agent.heard if each["type"] == "vnc_proxy_request"]
    assert lacking(request, SEED["vnc_proxy_request"]) == []
    assert request["session_id"] == made["id"]
