"""The console's own API, over HTTP, on a real broker."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_type_hints

import httpx
import pytest
from pydantic import TypeAdapter

from app import contract
from app.demo.nats_client import connect as connect_nats
from app.server.dialects.console import wire
from tests.fakes.broker import RunningBroker, running_broker

STREAM = {
    "name": "Camera A", "stream_type": "ndi", "publisher_id": "td-01", "protocol": "ndi",
    "address": "192.168.1.50", "port": 5960,
}  # fmt: skip
PRESET = {"name": "Wall", "consumer_id": "wall", "consumer_address": "10.0.0.5"}
CONSUMER = {"consumer_id": "wall", "consumer_address": "10.0.0.5"}


@pytest.fixture
async def console(broker: RunningBroker) -> AsyncIterator[httpx.AsyncClient]:
    async with broker.client() as client:
        yield client


@pytest.fixture
async def stranger(broker: RunningBroker) -> AsyncIterator[httpx.AsyncClient]:
    async with broker.client(console=False) as client:
        yield client


async def taken(broker: RunningBroker, console: httpx.AsyncClient) -> dict[str, Any]:
    """A session with a publisher that said yes."""
    stream = (await console.post("/streams/advertise", json=STREAM)).json()
    publisher = await connect_nats(broker.nats_url, allow_reconnect=False)

    async def accept(message: Any) -> None:
        await message.respond(b'{"accepted": true}')

    await publisher.subscribe(f"maestra.stream.request.{stream['id']}", cb=accept)
    await publisher.flush()
    answer = await console.post(f"/streams/{stream['id']}/request", json=CONSUMER)
    await publisher.close()
    assert answer.status_code == 201
    return dict(answer.json())


async def audit_of(console: httpx.AsyncClient, **filters: Any) -> list[dict[str, Any]]:
    answer = await console.get("/console/v1/audit", params=filters)
    assert answer.status_code == 200
    return list(answer.json())


# -- who may ---------------------------------------------------------------------------------------------------


OPERATIONS = [
    ("GET", "/console/v1/broker"),
    ("POST", "/console/v1/stop"),
    ("POST", "/console/v1/holds"),
    ("DELETE", "/console/v1/holds/x"),
    ("GET", "/console/v1/presets"),
    ("POST", "/console/v1/presets"),
    ("PUT", "/console/v1/presets/x"),
    ("DELETE", "/console/v1/presets/x"),
    ("POST", "/console/v1/audit"),
    ("GET", "/console/v1/audit"),
    ("GET", "/console/v1/history"),
    ("GET", "/console/v1/access"),
    ("PUT", "/console/v1/access"),
    ("POST", "/console/v1/access/keys"),
    ("DELETE", "/console/v1/access/keys/x"),
    ("GET", "/console/v1/whoami"),
    ("POST", "/console/v1/viewers/x/kick"),
    ("POST", "/console/v1/desktops/x/kick-viewers"),
    ("POST", "/console/v1/desktops/x/ticket"),
    ("GET", "/console/v1/desktops/x/thumbnail"),
    ("POST", "/console/v1/agents/x/hibernate-all"),
    ("POST", "/console/v1/agents/x/terminate-all"),
    ("DELETE", "/console/v1/agents/x"),
]


async def test_every_operation_needs_the_token(broker: RunningBroker, stranger: httpx.AsyncClient) -> None:
    for method, path in OPERATIONS:
        for headers in ({}, {"Authorization": "Bearer wrong-token-0123456789"}):
            answer = await stranger.request(method, path, headers=headers)
            assert answer.status_code == 401, (method, path)
            assert answer.json() == {
                "detail": "This needs the console's token, or an administrator's login",
                "code": "unauthorised",
            }
            assert answer.headers["www-authenticate"] == "Bearer"
    assert not broker.broker.stopping.is_set()


async def test_the_list_above_is_complete(broker: RunningBroker, console: httpx.AsyncClient) -> None:
    document = (await console.get("/openapi.json")).json()
    served = {
        (method.upper(), re.sub(r"{\w+}", "x", path))
        for path, operations in document["paths"].items()
        for method in operations
        if path.startswith("/console/")
    }
    assert served == set(OPERATIONS)


async def test_errors_have_a_sentence_and_a_word(console: httpx.AsyncClient) -> None:
    cases = [
        ("GET", "/console/v1/nothing", None, 404, "not_found"),
        ("PATCH", "/console/v1/presets", None, 405, "not_allowed"),
        ("POST", "/console/v1/presets", b"{", 422, "invalid"),
        ("POST", "/console/v1/presets", b'"\xff"', 422, "invalid"),
        ("POST", "/console/v1/presets", b'{"name": "\\ud800"}', 422, "invalid"),
        ("POST", "/console/v1/presets", b"[" * 5000 + b"]" * 5000, 422, "invalid"),
        ("POST", "/console/v1/presets", b"[1]", 422, "invalid"),
        ("POST", "/console/v1/presets", b"", 422, "invalid"),
        ("POST", "/console/v1/presets", b"x" * (1024 * 1024 + 1), 413, "too_large"),
        ("GET", "/console/v1/%ff", None, 400, "malformed"),
        ("DELETE", "/console/v1/presets/none", None, 404, "not_found"),
        ("DELETE", "/console/v1/holds/none", None, 404, "not_found"),
        ("DELETE", "/console/v1/access/keys/none", None, 404, "not_found"),
    ]
    for method, path, body, status, code in cases:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        answer = await console.request(method, path, content=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (status, code), (method, path, answer.text)
        assert answer.json()["detail"]


# -- what it shows ---------------------------------------------------------------------------------------------


def test_the_documented_shapes_are_the_rows_of_the_contract() -> None:
    pairs = [
        (contract.HoldRow, wire.Hold),
        (contract.PresetRow, wire.Preset),
        (contract.AuditRow, wire.AuditEntry),
        (contract.HistoryRow, wire.HistoryEntry),
        (contract.HealthRow, wire.HealthPart),
    ]
    for row, model in pairs:
        assert set(get_type_hints(row)) == set(model.model_fields), row


async def test_what_is_answered_fits_what_is_documented(broker: RunningBroker, console: httpx.AsyncClient) -> None:
    session = await taken(broker, console)
    await console.post("/console/v1/holds", json={"session_id": session["session_id"]})
    await console.post("/console/v1/presets", json=PRESET)
    await console.post("/console/v1/access/keys", json={"name": "truck"})
    shapes: dict[str, Any] = {
        "/console/v1/broker": wire.BrokerReport,
        "/console/v1/presets": list[wire.Preset],
        "/console/v1/audit": list[wire.AuditEntry],
        "/console/v1/history": list[wire.HistoryEntry],
        "/console/v1/access": wire.AccessReport,
        "/healthz": wire.HealthReport,
    }
    for path, shape in shapes.items():
        answer = await console.get(path)
        parsed = TypeAdapter(shape).validate_json(answer.content)
        assert parsed, path
        assert answer.headers["content-type"] == "application/json"


async def test_the_broker_tells_about_itself(broker: RunningBroker, console: httpx.AsyncClient) -> None:
    about = (await console.get("/console/v1/broker")).json()
    assert about["urls"] == {"main": broker.url, "nats": broker.nats_url}
    assert (about["name"], about["protocol"], about["host"]) == ("test broker", contract.PROTOCOL, "127.0.0.1")


async def test_health_names_the_broken_part(broker: RunningBroker, stranger: httpx.AsyncClient) -> None:
    answer = await stranger.get("/healthz")
    assert (answer.status_code, answer.json()["status"], answer.json()["broken"]) == (200, "ok", [])
    broker.broker.health.set("history", False, "the database is away")
    answer = await stranger.get("/healthz")
    assert (answer.status_code, answer.json()["status"], answer.json()["broken"]) == (503, "broken", ["history"])
    assert "the database is away" in answer.text


async def test_documentation_works_without_the_internet(stranger: httpx.AsyncClient) -> None:
    page = (await stranger.get("/docs")).text
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    for mark in ('src="', 'href="'):
        for part in page.split(mark)[1:]:
            answer = await stranger.get(part.split('"')[0])
            assert answer.status_code == 200
    document = (await stranger.get("/openapi.json")).json()
    for path in (
        "/streams",
        "/streams/{stream_id}/request",
        "/streams/{stream_id}/heartbeat",
        "/console/v1/holds",
        "/healthz",
    ):
        assert path in document["paths"]
    references = {part.split('"')[0] for part in json.dumps(document).split('"$ref": "')[1:]}
    for reference in references:
        node: Any = document
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


async def test_metrics(broker: RunningBroker, console: httpx.AsyncClient, stranger: httpx.AsyncClient) -> None:
    await taken(broker, console)
    text = (await stranger.get("/metrics")).text
    for line in (
        "callboard_streams 1.0",
        "callboard_sessions 1.0",
        'callboard_part_ok{part="nats"} 1.0',
        'callboard_negotiations_total{outcome="offer"} 1.0',
        'callboard_events_total{kind="stream.advertised"} 1.0',
    ):
        assert line in text


# -- holds -----------------------------------------------------------------------------------------------------


async def test_a_hold_is_made_shown_and_released(broker: RunningBroker, console: httpx.AsyncClient) -> None:
    session = (await taken(broker, console))["session_id"]
    made = await console.post("/console/v1/holds", json={"session_id": session, "preset_id": "p1"})
    assert made.status_code == 201
    hold = made.json()
    assert (hold["session_id"], hold["operator"], hold["preset_id"]) == (session, "Ada", "p1")
    again = await console.post("/console/v1/holds", json={"session_id": session})
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    released = await console.delete(f"/console/v1/holds/{hold['id']}")
    assert (released.status_code, released.json()) == (200, {"id": hold["id"], "status": "released"})
    assert (await console.delete(f"/console/v1/holds/{hold['id']}")).status_code == 404
    acts = await audit_of(console, operator="Ada")
    assert [(act["verb"], act["result"]) for act in reversed(acts)] == [
        ("advertise", "ok"), ("take", "ok"), ("hold", "ok"), ("hold", "conflict"), ("release", "ok"), ("release", "not_found"),
    ]  # fmt: skip


async def test_what_is_gone_cannot_be_held(console: httpx.AsyncClient) -> None:
    answer = await console.post("/console/v1/holds", json={"session_id": "none"})
    assert (answer.status_code, answer.json()["code"]) == (404, "expired")
    answer = await console.post("/console/v1/holds", json={"session_id": 5})
    assert answer.status_code == 422
    assert "session_id" in answer.json()["detail"]


# -- presets ---------------------------------------------------------------------------------------------------


async def test_presets_are_kept_changed_and_deleted(broker: RunningBroker, console: httpx.AsyncClient) -> None:
    made = await console.post("/console/v1/presets", json={**PRESET, "default": True})
    assert made.status_code == 201
    wall = made.json()
    assert wall == {
        "id": wall["id"], **PRESET, "consumer_port": None, "config": {}, "mode": "replace", "held_by": "console", "default": True,
    }  # fmt: skip
    other = (await console.post("/console/v1/presets", json={**PRESET, "name": "Amp", "default": True})).json()
    rows = (await console.get("/console/v1/presets")).json()
    assert [(row["name"], row["default"]) for row in rows] == [("Amp", True), ("Wall", False)]
    changed = await console.put(
        f"/console/v1/presets/{wall['id']}", json={**PRESET, "name": "Back wall", "mode": "add", "consumer_port": 7}
    )
    assert (changed.status_code, changed.json()["mode"], changed.json()["consumer_port"]) == (200, "add", 7)
    assert (await console.delete(f"/console/v1/presets/{other['id']}")).json() == {
        "id": other["id"],
        "status": "deleted",
    }
    assert [row["name"] for row in (await console.get("/console/v1/presets")).json()] == ["Back wall"]
    assert (await console.put("/console/v1/presets/none", json=PRESET)).status_code == 404
    acts = await audit_of(console, object_id=wall["id"])
    assert [act["verb"] for act in acts] == ["change", "create"]
    assert (acts[0]["before"]["name"], acts[0]["after"]["name"]) == ("Wall", "Back wall")


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "x" * 101},
        {"name": None},
        {"consumer_port": 70000},
        {"consumer_port": "80"},
        {"consumer_port": True},
        {"mode": "both"},
        {"held_by": "nobody"},
        {"default": "yes"},
        {"config": []},
        {"consumer_address": ""},
    ],
)
async def test_a_preset_that_does_not_fit_changes_nothing(
    broker: RunningBroker, console: httpx.AsyncClient, change: dict[str, Any]
) -> None:
    answer = await console.post("/console/v1/presets", json={**PRESET, **change})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert next(iter(change)) in answer.json()["detail"]
    assert broker.broker.presets.rows() == []


# -- audit and history -----------------------------------------------------------------------------------------


async def test_what_reached_no_api_is_written_down_by_the_console(console: httpx.AsyncClient) -> None:
    act = {
        "verb": "kick",
        "object": "session",
        "object_id": "s1",
        "result": "cancelled",
        "detail": "Esc",
        "milliseconds": 900.5,
    }
    made = await console.post("/console/v1/audit", json=act)
    assert made.status_code == 201
    (row,) = await audit_of(console)
    assert row == made.json()
    assert row["operator"] == "Ada"
    assert {name: row[name] for name in act} == act


async def test_the_operator_is_the_one_of_the_header_whatever_the_body_says(console: httpx.AsyncClient) -> None:
    act = {"verb": "kick", "object": "session", "result": "ok", "operator": "Mallory", "id": "mine", "at": 1}
    row = (await console.post("/console/v1/audit", json=act, headers={"X-Callboard-Operator": "Zo%C3%AB"})).json()
    assert row["operator"] == "Zoë"
    assert row["id"] != "mine"
    assert row["at"] > 1


async def test_the_audit_is_paged_and_filtered(console: httpx.AsyncClient) -> None:
    for number in range(5):
        act = {"verb": "kick" if number % 2 else "take", "object": "session", "object_id": str(number), "result": "ok"}
        await console.post("/console/v1/audit", json=act)
    rows = await audit_of(console)
    assert [row["object_id"] for row in rows] == ["4", "3", "2", "1", "0"]
    page = await audit_of(console, limit=2)
    last = page[-1]
    following = await audit_of(console, limit=2, before=f"{last['at']!r},{last['id']}")
    assert [row["object_id"] for row in page + following] == ["4", "3", "2", "1"]
    assert [row["object_id"] for row in await audit_of(console, verb="kick")] == ["3", "1"]
    assert await audit_of(console, operator="Nobody") == []
    assert await audit_of(console, until=rows[-1]["at"] - 1) == []
    assert len(await audit_of(console, since=rows[2]["at"])) == 3


@pytest.mark.parametrize(
    "query",
    ["before=now", "before=nan,x", "before=1e400,x", "limit=0", "limit=501", "limit=x", "since=nan", "until=inf"],
)
@pytest.mark.parametrize("path", ["audit", "history"])
async def test_queries_that_make_no_sense_are_told(console: httpx.AsyncClient, path: str, query: str) -> None:
    answer = await console.get(f"/console/v1/{path}?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert query.split("=", maxsplit=1)[0] in answer.json()["detail"]


async def test_history_shows_what_has_just_been_answered(broker: RunningBroker, console: httpx.AsyncClient) -> None:
    session = await taken(broker, console)
    (row,) = (await console.get("/console/v1/history", params={"publisher_id": "td-01"})).json()
    assert (row["id"], row["status"], row["ended_at"]) == (session["session_id"], "active", None)
    await console.delete(f"/streams/sessions/{session['session_id']}")
    (row,) = (await console.get("/console/v1/history", params={"stream_id": session["stream_id"]})).json()
    assert row["status"] == "stopped"
    assert row["duration_seconds"] >= 0
    assert (await console.get("/console/v1/history", params={"consumer_id": "x"})).json() == []
    page = await console.get("/console/v1/history", params={"before": f"{row['time']!r},{row['id']}"})
    assert page.json() == []


async def test_an_act_without_an_operators_name_still_stands_in_the_audit(
    broker: RunningBroker, console: httpx.AsyncClient
) -> None:
    headers = {"Authorization": f"Bearer {broker.token}", "X-Callboard-Operator": ""}
    await console.post("/console/v1/presets", json=PRESET, headers=headers)
    assert [row["operator"] for row in await audit_of(console)] == ["unnamed"]


async def test_acts_outlive_a_restart(tmp_path: Path) -> None:
    async with running_broker(tmp_path / "data") as first, first.client() as console:
        await console.post("/console/v1/presets", json=PRESET)
    async with running_broker(tmp_path / "data") as second, second.client() as console:
        assert second.token == first.token
        assert [row["verb"] for row in await audit_of(console)] == ["create"]
        assert [row["name"] for row in (await console.get("/console/v1/presets")).json()] == ["Wall"]


# -- access ----------------------------------------------------------------------------------------------------


async def test_networks_and_keys_are_managed_here(broker: RunningBroker, console: httpx.AsyncClient) -> None:
    answer = await console.put("/console/v1/access", json={"allow_networks": ["192.168.1.7/24"]})
    assert answer.status_code == 200
    assert answer.json()["allow_networks"] == ["192.168.1.0/24"]
    assert broker.broker.networks.allow("192.168.1.200", "")
    made = await console.post("/console/v1/access/keys", json={"name": "truck"})
    assert made.status_code == 201
    key = made.json()
    view = (await console.get("/console/v1/access")).json()
    assert [(row["id"], row["name"]) for row in view["keys"]] == [(key["id"], "truck")]
    assert key["key"] not in json.dumps(view)
    assert view["urls"] == [broker.url]
    assert (await console.delete(f"/console/v1/access/keys/{key['id']}")).status_code == 200
    assert (await console.get("/console/v1/access")).json()["keys"] == []
    acts = await audit_of(console)
    assert [(act["verb"], act["object"]) for act in acts] == [
        ("delete", "api key"), ("create", "api key"), ("change", "access"),
    ]  # fmt: skip
    assert acts[-1]["before"]["allow_networks"] == []
    assert acts[0]["before"] == acts[1]["after"] == {"name": "truck"}
    assert key["key"] not in json.dumps(acts)


async def test_what_cannot_be_changed_says_why(broker: RunningBroker, console: httpx.AsyncClient) -> None:
    for body, status in (
        ({"allow_networks": ["everybody"]}, 422),
        ({"host": "203.0.113.7"}, 422),
        ({"host": "0.0.0.0"}, 422),
        ({"allow_plain": "yes"}, 422),
        ({"allow_networks": "10.0.0.0/8"}, 422),
    ):
        answer = await console.put("/console/v1/access", json=body)
        assert answer.status_code == status, body
    folder = broker.broker.folder.path.parent / "other"
    async with running_broker(folder, allow_networks=("10.0.0.0/8",)) as other, other.client() as client:
        answer = await client.put("/console/v1/access", json={"allow_networks": []})
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert "--allow-networks" in answer.json()["detail"]


async def test_hosts_and_origins_are_checked_on_every_dialect(
    broker: RunningBroker, stranger: httpx.AsyncClient
) -> None:
    for path, refused in (("/streams", {"detail"}), ("/console/v1/broker", {"detail", "code"})):
        answer = await stranger.get(path, headers={"Host": "evil.example"})
        assert answer.status_code == 403
        assert set(answer.json()) == refused
    answer = await stranger.post("/streams/advertise", json=STREAM, headers={"Origin": "http://evil.example"})
    assert (answer.status_code, set(answer.json())) == (403, {"detail"})
    assert len(broker.broker.state.streams) == 0
    answer = await stranger.post("/streams/advertise", json=STREAM, headers={"Origin": broker.url})
    assert answer.status_code == 201
    assert "access-control-allow-origin" not in answer.headers


# -- stop ------------------------------------------------------------------------------------------------------


async def test_stop_is_answered_audited_and_done(broker: RunningBroker, console: httpx.AsyncClient) -> None:
    answer = await console.post("/console/v1/stop")
    assert (answer.status_code, answer.json()) == (202, {"stopping": True})
    assert broker.broker.stopping.is_set()
    assert [act["verb"] for act in await audit_of(console)] == ["stop"]


# -- storage away ----------------------------------------------------------------------------------------------


async def test_without_the_database_acts_wait_and_reads_say_so(
    broker: RunningBroker, console: httpx.AsyncClient
) -> None:
    await broker.broker.database.stop()
    made = await console.post("/console/v1/presets", json=PRESET)
    assert (made.status_code, made.json()["code"]) == (503, "unavailable")
    assert broker.broker.presets.rows() == []
    noted = await console.post("/console/v1/audit", json={"verb": "kick", "object": "session", "result": "cancelled"})
    assert noted.status_code == 201
    read = await console.get("/console/v1/audit")
    assert (read.status_code, read.json()["code"]) == (503, "unavailable")


def test_routes_are_documented_with_their_refusals(broker_document: dict[str, Any]) -> None:
    for path, operations in broker_document["paths"].items():
        for method, operation in operations.items():
            if path.startswith("/console/"):
                assert {"401", "403", "400", "422"} <= set(operation["responses"]), (method, path)
                assert operation["summary"]
                assert operation["description"]


@pytest.fixture
async def broker_document(console: httpx.AsyncClient) -> dict[str, Any]:
    return dict((await console.get("/openapi.json")).json())


async def test_what_nobody_expected_is_a_500_in_the_consoles_format_with_the_id_of_its_log_line(
    broker: RunningBroker, stranger: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks() -> bytes:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(broker.broker.metrics, "render", breaks)
    answer = await stranger.get("/metrics")
    told = answer.headers["x-request-id"]
    assert (answer.status_code, answer.json()) == (
        500,
        {"detail": f"Internal error; the broker's log has it under {told}", "code": "internal"},
    )
    assert (await stranger.get("/healthz")).status_code == 200
