"""Where the seed is silent: what the original does, and the differences decided (ARCHITECTURE.md, D1 to D12)."""

from __future__ import annotations

import re
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import TypeAdapter

from app.contract import BUILT_IN_TYPES, PROTOCOLS
from app.server.dialects.maestra import wire
from tests.fakes.maestra import CAMERA, CONSUMER, MaestraVenue

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADVERTISE, TYPES, HISTORY = "/streams/advertise", "/streams/types", "/streams/sessions/history"
GONE = {"detail": "Stream not found or expired"}


async def problems(maestra: MaestraVenue, path: str, body: dict[str, Any]) -> list[tuple[str, list[Any]]]:
    """Type and place of each error of a 422; empty for a 2xx."""
    answer = await maestra.http.post(path, json=body)
    if answer.status_code in (200, 201):
        return []
    assert answer.status_code == 422, answer.text
    errors = answer.json()["detail"]
    assert all(set(error) - {"ctx"} == {"type", "loc", "msg", "input"} for error in errors)
    return [(error["type"], error["loc"]) for error in errors]


ADVERTISE_RULES = [
    ({"name": ""}, "string_too_short"),
    ({"name": "x" * 256}, "string_too_long"),
    ({"name": "x" * 255}, None),
    ({"name": 5}, "string_type"),
    ({"name": None}, "string_type"),
    ({"stream_type": "NDI"}, "enum"),
    ({"stream_type": ""}, "enum"),
    ({"stream_type": 7}, "enum"),
    ({"stream_type": ["ndi"]}, "enum"),
    ({"publisher_id": ""}, "string_too_short"),
    ({"publisher_id": "x" * 300}, None),
    ({"protocol": "http"}, "enum"),
    ({"protocol": "TCP"}, "enum"),
    ({"protocol": None}, "enum"),
    ({"address": ""}, "string_too_short"),
    ({"address": "x" * 1000}, None),
    ({"port": 0}, None),
    ({"port": 65535}, None),
    ({"port": -1}, "greater_than_equal"),
    ({"port": 65536}, "less_than_equal"),
    ({"port": 10**30}, "less_than_equal"),
    ({"port": "5960"}, None),
    ({"port": 80.0}, None),
    ({"port": True}, None),
    ({"port": 1.5}, "int_from_float"),
    ({"port": "x"}, "int_parsing"),
    ({"port": None}, "int_type"),
    ({"port": {}}, "int_type"),
    ({"entity_id": None}, None),
    ({"entity_id": str(uuid4())}, None),
    ({"entity_id": "x"}, "uuid_parsing"),
    ({"entity_id": 5}, "uuid_type"),
    ({"device_id": "0" * 31}, "uuid_parsing"),
    ({"config": None}, "dict_type"),
    ({"config": []}, "dict_type"),
    ({"config": {"a": {"b": [1, 2.5, None, True, {"c": "d"}]}}}, None),
    ({"metadata": None}, "dict_type"),
    ({"metadata": "x"}, "dict_type"),
    ({"unknown": "dropped"}, None),
]


@pytest.mark.parametrize(("change", "error"), ADVERTISE_RULES)
async def test_advertise_rules(maestra: MaestraVenue, change: dict[str, Any], error: str | None) -> None:
    found = await problems(maestra, ADVERTISE, CAMERA | change)
    assert found == ([(error, ["body", next(iter(change))])] if error else [])


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"consumer_id": ""}, "string_too_short"),
        ({"consumer_address": ""}, "string_too_short"),
        ({"consumer_port": 65536}, "less_than_equal"),
        ({"consumer_port": 1.5}, "int_from_float"),
        ({"consumer_port": "abc"}, "int_parsing"),
        ({"config": None}, "dict_type"),
        ({"config": 5}, "dict_type"),
    ],
)
async def test_request_rules(maestra: MaestraVenue, change: dict[str, Any], error: str) -> None:
    """Validation comes before the question whether there is such a stream."""
    found = await problems(maestra, f"/streams/{uuid4()}/request", CONSUMER | change)
    assert found == [(error, ["body", next(iter(change))])]


async def test_request_defaults(maestra: MaestraVenue) -> None:
    stream = await maestra.advertise()
    asked = await maestra.answer(stream["id"], {"accepted": True})
    for body in ({}, {"consumer_port": None}):
        answer = await maestra.http.post(
            f"/streams/{stream['id']}/request", json={"consumer_id": "c", "consumer_address": "a", **body}
        )
        assert answer.status_code == 201
        question = await asked.next()
        assert (question["consumer_port"], question["config"]) == (None, {})


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"name": ""}, "string_too_short"),
        ({"name": "x" * 101}, "string_too_long"),
        ({"display_name": ""}, "string_too_short"),
        ({"display_name": "x" * 256}, "string_too_long"),
        ({"icon": "x" * 51}, "string_too_long"),
        ({"icon": 5}, "string_type"),
        ({"description": []}, "string_type"),
        ({"default_config": None}, "dict_type"),
        ({"metadata": None}, "dict_type"),
    ],
)
async def test_type_rules(maestra: MaestraVenue, change: dict[str, Any], error: str) -> None:
    found = await problems(maestra, TYPES, {"name": str(uuid4()), "display_name": "x"} | change)
    assert found == [(error, ["body", next(iter(change))])]


async def test_type_limits_that_fit(maestra: MaestraVenue) -> None:
    body = {
        "name": "n" * 100,
        "display_name": "d" * 255,
        "icon": "i" * 50,
        "description": "x" * 5000,
        "metadata": {"a": 1},
    }
    row = (await maestra.http.post(TYPES, json=body)).json()
    assert {key: row[key] for key in body} == body
    bare = (await maestra.http.post(TYPES, json={"name": "bare", "display_name": "Bare"})).json()
    assert [bare[key] for key in ("description", "icon", "default_config", "metadata")] == [None, None, {}, {}]
    for taken in ("bare", "ndi"):
        answer = await maestra.http.post(TYPES, json={"name": taken, "display_name": "again"})
        assert (answer.status_code, answer.json()) == (409, {"detail": f"Stream type '{taken}' already exists"})


async def test_every_missing_field_has_its_own_entry_in_order(maestra: MaestraVenue) -> None:
    required = ["name", "stream_type", "publisher_id", "protocol", "address", "port"]
    assert await problems(maestra, ADVERTISE, {}) == [("missing", ["body", field]) for field in required]
    found = await problems(maestra, f"/streams/{uuid4()}/request", {})
    assert found == [("missing", ["body", "consumer_id"]), ("missing", ["body", "consumer_address"])]
    assert await problems(maestra, TYPES, {}) == [("missing", ["body", "name"]), ("missing", ["body", "display_name"])]


async def test_unknown_type_is_refused_as_pydantic_refuses_an_enum(maestra: MaestraVenue) -> None:
    """D4: a created type is accepted and listed among the expected ones, any other is 422."""
    await maestra.http.post(TYPES, json={"name": "aaa hologram", "display_name": "Hologram"})
    answer = await maestra.http.post(ADVERTISE, json=CAMERA | {"stream_type": "holo"})
    [error] = answer.json()["detail"]
    assert (error["type"], error["loc"], error["input"]) == ("enum", ["body", "stream_type"], "holo")
    expected = error["ctx"]["expected"]
    assert error["msg"] == f"Input should be {expected}"
    names = re.findall(r"'([^']*)'", expected)
    assert names[: len(BUILT_IN_TYPES)] == list(BUILT_IN_TYPES)
    assert "aaa hologram" in names
    assert expected.count(" or ") == 1
    assert (await maestra.advertise(stream_type="aaa hologram"))["stream_type"] == "aaa hologram"
    protocols = (await maestra.http.post(ADVERTISE, json=CAMERA | {"protocol": "x"})).json()["detail"][0]["ctx"]
    assert re.findall(r"'([^']*)'", protocols["expected"]) == list(PROTOCOLS)


async def test_ids_in_any_written_form(maestra: MaestraVenue) -> None:
    stream, offer = await maestra.take()
    for kind, canonical, method, tail in (
        ("streams", stream["id"], "GET", ""),
        ("streams", stream["id"], "POST", "/heartbeat"),
        ("streams/sessions", offer["session_id"], "POST", "/heartbeat"),
    ):
        bare = canonical.replace("-", "")
        for form in (canonical, canonical.upper(), bare, f"{{{canonical}}}", f"urn:uuid:{canonical}"):
            answer = await maestra.http.request(method, f"/{kind}/{form}{tail}")
            assert answer.status_code == 200, form
            assert canonical in answer.json().values(), form
    listed = await maestra.http.get("/streams/sessions", params={"stream_id": stream["id"].upper()})
    assert [row["session_id"] for row in listed.json()] == [offer["session_id"]]
    entity = uuid4()
    assert (await maestra.advertise(entity_id=str(entity).upper(), device_id=entity.hex))["entity_id"] == str(entity)


@pytest.mark.parametrize(
    ("method", "path", "status", "place"),
    [
        ("GET", "/streams/advertise", 422, ["path", "stream_id"]),
        ("DELETE", "/streams/types", 422, ["path", "stream_id"]),
        ("DELETE", "/streams/sessions", 422, ["path", "stream_id"]),
        ("DELETE", "/streams/state", 422, ["path", "stream_id"]),
        ("DELETE", "/streams/sessions/history", 422, ["path", "session_id"]),
        ("POST", "/streams/sessions/heartbeat", 422, ["path", "stream_id"]),
        ("POST", "/streams/nonsense/heartbeat", 422, ["path", "stream_id"]),
        ("POST", "/streams/sessions/nonsense/heartbeat", 422, ["path", "session_id"]),
        ("GET", "/streams/nonsense", 422, ["path", "stream_id"]),
        ("GET", "/streams/sessions?stream_id=nonsense", 422, ["query", "stream_id"]),
        ("GET", HISTORY + "?stream_id=nonsense", 422, ["query", "stream_id"]),
        ("GET", HISTORY + "?limit=0", 422, ["query", "limit"]),
        ("GET", HISTORY + "?limit=501", 422, ["query", "limit"]),
        ("GET", HISTORY + "?limit=many", 422, ["query", "limit"]),
    ],
)
async def test_reserved_words_and_bad_ids_are_422(
    maestra: MaestraVenue, method: str, path: str, status: int, place: list[str]
) -> None:
    answer = await maestra.http.request(method, path)
    assert answer.status_code == status
    assert [error["loc"] for error in answer.json()["detail"]] == [place]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", f"/streams/{uuid4()}", "GET"),
        ("GET", f"/streams/sessions/{uuid4()}", "DELETE"),
        ("HEAD", "/streams", "GET"),
        ("PATCH", "/streams/state", "GET"),
        ("GET", f"/streams/{uuid4()}/heartbeat", "POST"),
        ("GET", f"/streams/{uuid4()}/request", "POST"),
        ("POST", "/streams", "GET"),
    ],
)
async def test_wrong_methods_are_405(maestra: MaestraVenue, method: str, path: str, allow: str) -> None:
    answer = await maestra.http.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)
    if method != "HEAD":
        assert answer.json() == {"detail": "Method Not Allowed"}


@pytest.mark.parametrize("path", ["/nothing", "/streams/a/b/c", "/streams/x/preview/y", "/streams//heartbeat"])
async def test_unknown_paths_are_404(maestra: MaestraVenue, path: str) -> None:
    answer = await maestra.http.get(path)
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})


async def test_a_trailing_slash_is_redirected(maestra: MaestraVenue) -> None:
    """D12, kept: 307 to the address without it, method and body included."""
    answer = await maestra.http.get("/streams/")
    assert (answer.status_code, answer.headers["location"]) == (307, f"{maestra.running.url}/streams")
    created = await maestra.http.post("/streams/advertise/", json=CAMERA, follow_redirects=True)
    assert created.status_code == 201


async def test_unknown_ids_are_404(maestra: MaestraVenue) -> None:
    nobody = uuid4()
    for method, path in (
        ("GET", f"/streams/{nobody}"),
        ("DELETE", f"/streams/{nobody}"),
        ("POST", f"/streams/{nobody}/heartbeat"),
    ):
        answer = await maestra.http.request(method, path)
        assert (answer.status_code, answer.json()) == (404, GONE)
    for method, path in (
        ("DELETE", f"/streams/sessions/{nobody}"),
        ("POST", f"/streams/sessions/{nobody}/heartbeat"),
    ):
        answer = await maestra.http.request(method, path)
        assert (answer.status_code, answer.json()) == (404, {"detail": "Session not found or expired"})
    assert (await maestra.http.get(f"/streams/sessions?stream_id={nobody}")).json() == []


async def test_filters(maestra: MaestraVenue) -> None:
    stream = await maestra.advertise(stream_type="midi")
    assert list(await maestra.listed("/streams?stream_type=midi")) == [stream["id"]]
    assert await maestra.listed("/streams?stream_type=nothing") == {}
    assert await maestra.listed("/streams?stream_type=") == await maestra.listed("/streams")


async def test_lists_have_a_stable_order(maestra: MaestraVenue) -> None:
    """D11: oldest first, whatever is beaten or taken meanwhile."""
    made = [(await maestra.advertise())["id"] for _ in range(5)]
    for stream_id in (made[3], made[0]):
        await maestra.http.post(f"/streams/{stream_id}/heartbeat")
    assert [stream_id for stream_id in await maestra.listed() if stream_id in made] == made


async def test_the_same_publisher_twice_is_two_streams_and_the_same_consumer_two_sessions(
    maestra: MaestraVenue,
) -> None:
    first, second = await maestra.advertise(), await maestra.advertise()
    assert first["id"] != second["id"]
    await maestra.answer(first["id"], {"accepted": True})
    offers = {(await maestra.request(first["id"])).json()["session_id"] for _ in range(2)}
    assert len(offers) == 2
    assert (await maestra.listed())[first["id"]]["active_sessions"] == 2


async def test_history_filters_are_exact_and_anded(maestra: MaestraVenue) -> None:
    stream, offer = await maestra.take(consumer_id="filter-a")
    other = (await maestra.request(stream["id"], consumer_id="filter-b")).json()
    both = [other["session_id"], offer["session_id"]]

    async def found(**query: Any) -> list[str]:
        answer = await maestra.http.get(HISTORY, params=query)
        assert answer.status_code == 200
        return [row["session_id"] for row in answer.json()]

    assert await found(stream_id=stream["id"]) == both
    assert await found(stream_id=stream["id"], limit=1) == both[:1]
    assert await found(stream_id=stream["id"], consumer_id="filter-a") == both[1:]
    assert await found(stream_id=stream["id"], consumer_id="filter") == []
    assert await found(stream_id=stream["id"], publisher_id="td-workstation-01", consumer_id="filter-b") == both[:1]
    assert await found(stream_id=stream["id"], publisher_id="nobody") == []
    assert await found(stream_id=str(uuid4())) == []
    assert await found(stream_id=stream["id"], publisher_id="", consumer_id="") == both
    assert len(await found(limit=500)) >= 2


async def test_withdraw_closes_sessions_in_lists_and_history(maestra: MaestraVenue) -> None:
    """D5: the rows of a withdrawn stream's sessions do not stay active for ever."""
    stream, offer = await maestra.take()
    await maestra.http.delete(f"/streams/{stream['id']}")
    session = f"/streams/sessions/{offer['session_id']}"
    assert (await maestra.http.post(f"{session}/heartbeat")).status_code == 404
    assert offer["session_id"] not in await maestra.listed("/streams/sessions")
    [row] = (await maestra.http.get(HISTORY, params={"stream_id": stream["id"]})).json()
    assert row["status"] == "withdrawn"
    assert row["duration_seconds"] >= 0


async def test_heartbeats_ignore_their_body(maestra: MaestraVenue) -> None:
    stream = await maestra.advertise()
    for content in (b"", b"{}", b"rubbish \xff", b"[" * 1000):
        answer = await maestra.http.post(f"/streams/{stream['id']}/heartbeat", content=content)
        assert answer.json() == {"status": "ok", "stream_id": stream["id"]}


async def test_answers_fit_their_documented_models(maestra: MaestraVenue) -> None:
    """What msgspec encodes is what pydantic documents, field for field."""
    _, offer = await maestra.take()
    shapes: list[tuple[str, Any]] = [
        ("/streams", list[wire.Stream]),
        ("/streams/sessions", list[wire.Session]),
        (HISTORY, list[wire.HistoricSession]),
        (TYPES, list[wire.StreamType]),
        ("/streams/state", wire.RegistryState),
    ]
    for path, shape in shapes:
        answer = await maestra.http.get(path)
        adapter = TypeAdapter(shape)
        value = adapter.validate_json(answer.content)
        again = adapter.dump_python(value, mode="json")
        assert _without_times(answer.json()) == _without_times(again), path
    wire.Offer.model_validate(offer)
    assert UUID(offer["session_id"]).version == 4


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        times = ("advertised_at", "last_heartbeat", "started_at", "time", "created_at", "updated_at")
        return {key: _without_times(item) for key, item in value.items() if key not in times}
    return [_without_times(item) for item in value] if isinstance(value, list) else value
