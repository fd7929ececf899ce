from __future__ import annotations

from typing import Any

import pytest

from app.errors import Forbidden, Invalid
from app.server.access.principal import Principal
from app.server.dialects.streamspace import wire
from app.server.dialects.streamspace.operations import Call, Operation, answer, nothing

KIM = Principal("user", "u1", "kim", "user")
ADA = Principal("user", "u2", "ada", "admin")


async def endpoint(call: Call, *given: Any) -> Any:
    """Gives back what it got."""
    return call, given


def operation(**more: Any) -> Operation:
    return Operation("POST", "/api/v1/x", endpoint, "X", None, **more)


def receiver(*messages: dict[str, Any]) -> Any:
    waiting = list(messages)

    async def receive() -> dict[str, Any]:
        return waiting.pop(0)

    return receive


def refusal(read: Any, given: bytes) -> tuple[str, Any]:
    with pytest.raises(Invalid) as caught:
        read(given)
    return caught.value.code, caught.value.detail


def test_a_query_that_is_left_out_is_all_defaults() -> None:
    query = operation(query=wire.SessionQuery).read_query(b"")
    assert (query.page, query.limit, query.sort, query.order) == (1, 20, "created_at", "desc")
    assert operation(query=wire.TemplateQuery).read_query(b"").limit == 50


def test_a_query_is_read_from_text() -> None:
    query = operation(query=wire.SessionQuery).read_query(b"page=3&limit=100&tags=a%2Cb&user=&unknown=1&page=4")
    assert (query.page, query.limit, query.tags, query.user) == (4, 100, "a,b", None)
    assert operation(query=wire.LogQuery).read_query(b"follow=TRUE&timestamps=0&tail=0").model_dump() == {
        "tail": 0,
        "follow": True,
        "timestamps": False,
    }


@pytest.mark.parametrize(
    ("text", "field"),
    [
        (b"page=0", "page"),
        (b"page=-1", "page"),
        (b"page=1.5", "page"),
        (b"page=one", "page"),
        (b"page=1_0", "page"),
        (b"page=%D9%A1", "page"),
        (b"page=99999999999999999999", "page"),
        (b"limit=0", "limit"),
        (b"limit=101", "limit"),
        (b"state=dead", "state"),
        (b"platform=vax", "platform"),
        (b"sort=name", "sort"),
        (b"order=up", "order"),
    ],
)
def test_a_31_a_parameter_that_does_not_fit_is_named(text: bytes, field: str) -> None:
    code, detail = refusal(operation(query=wire.SessionQuery).read_query, text)
    assert code == "invalid_parameter"
    assert detail["field"] == field


def test_too_many_parameters() -> None:
    assert refusal(operation(query=wire.SessionQuery).read_query, b"a=1&" * 200)[0] == "invalid_parameter"


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b"", "missing_required_field", "user"),
        (b"{}", "missing_required_field", "user"),
        (b'{"user":"kim"}', "missing_required_field", "template"),
        (b'{"user":1}', "missing_required_field", "template"),
        (b'{"user":"","template":"t"}', "validation_failed", "user"),
        (b'{"user":null,"template":"t"}', "validation_failed", "user"),
        (b'{"user":7,"template":"t"}', "validation_failed", "user"),
        (b'{"user":"kim","template":"t","persistent_home":"yes"}', "validation_failed", "persistent_home"),
        (b'{"user":"kim","template":"t","persistent_home":1}', "validation_failed", "persistent_home"),
        (b'{"user":"kim","template":"t","platform":"vax"}', "validation_failed", "platform"),
        (b'{"user":"kim","template":"t","state":"terminated"}', "validation_failed", "state"),
        (b'{"user":"kim","template":"t","resources":[]}', "validation_failed", "resources"),
        (b'{"user":"kim","template":"t","resources":{"memory":"lots"}}', "validation_failed", "resources.memory"),
        (b'{"user":"kim","template":"t","resources":{"cpu":"0"}}', "validation_failed", "resources.cpu"),
        (b'{"user":"kim","template":"t","idle_timeout":"soon"}', "validation_failed", "idle_timeout"),
        (b'{"user":"kim","template":"t","tags":"a"}', "validation_failed", "tags"),
        (b'{"user":"kim","template":"t","tags":[1]}', "validation_failed", "tags.0"),
    ],
)
def test_a_body_that_does_not_fit(body: bytes, code: str, field: str) -> None:
    found, detail = refusal(operation(body=wire.CreateSession).read_body, body)
    assert (found, detail["field"]) == (code, field)


@pytest.mark.parametrize(
    "body",
    [b"{", b"nonsense", b"\xff", b'{"user":NaN}', b'"text"', b"[]", b"null", b"[" * 200, b'{"user":"\\ud800"}'],
)
def test_a_body_that_is_no_json_object(body: bytes) -> None:
    assert refusal(operation(body=wire.CreateSession).read_body, body)[0] == "validation_failed"


def test_a_template_that_fails_its_schema_is_invalid() -> None:
    read = operation(body=wire.CreateTemplate).read_body
    assert refusal(read, b'{"display_name":"x"}') == ("missing_required_field", {"field": "name"})
    assert refusal(read, b'{"name":"x","display_name":"x","vnc":{"port":"x"}}')[0] == "template_invalid"


def test_a_body_that_fits() -> None:
    read = operation(body=wire.CreateSession).read_body
    body = read(b'{"user":"kim","template":"t","tags":["a","b","a"],"resources":{"memory":"2Gi"},"more":1}')
    assert (body.tags, body.resources.memory, body.platform) == (["a", "b"], "2Gi", None)


async def test_only_administrators() -> None:
    with pytest.raises(Forbidden) as caught:
        await operation(admin=True).serve({}, receiver(), KIM, {})
    assert caught.value.code == "not_permitted"
    call, given = await operation(admin=True).serve({}, receiver(), ADA, {"x": "1"})  # type: ignore[misc]
    assert (call.caller, call.ids, given) == (ADA, {"x": "1"}, ())


def test_answers() -> None:
    assert (answer({"a": 1}, 201).body, answer({}, 201).status_code) == (b'{"a":1}', 201)
    assert (nothing().status_code, nothing().body, nothing().raw_headers) == (204, b"", [])
