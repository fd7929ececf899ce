"""Input that is malformed, hostile or too much: a whole envelope with the document's code, never a 422 or a 500."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.errors import CallboardError
from tests.contract.streamspace_venue import NOWHERE, Venue, told

pytestmark = pytest.mark.asyncio(loop_scope="module")

V1 = "/api/v1"
BODIES = [
    ("POST", f"{V1}/auth/login"),
    ("POST", f"{V1}/sessions"),
    ("PATCH", f"{V1}/sessions/{NOWHERE}"),
    ("PATCH", f"{V1}/agents/nobody"),
    ("POST", f"{V1}/templates"),
    ("PUT", f"{V1}/templates/firefox-browser"),
    ("POST", f"{V1}/users"),
    ("PATCH", f"{V1}/users/{NOWHERE}"),
    ("POST", f"{V1}/agent-keys"),
]
MALFORMED = [
    b"hello",
    b"{",
    b'{"a": 1} x',
    b'{"a": "\x01"}',
    b'{"a": NaN}',
    b'{"a": 1e999}',
    b'{"a": ' + b"9" * 5000 + b"}",
    b'{"a": "\\ud800"}',
    b'{"a": "\\u0000"}',
    b'{"a": "\xff"}',
    '{"a": 1}'.encode("utf-16"),
    b"[" * 100_000,
    b'{"a":' * 5000 + b"1" + b"}" * 5000,
    b"null",
    b"[]",
    b"5",
    b'"x"',
    b"true",
    b"username=ada&password=x",
]
PATHS = [
    "",
    "/",
    "/nowhere",
    "/agents/",
    "/agents//",
    "/agents/a/b",
    "/Agents",
    "/sessions/",
    f"/sessions/{NOWHERE}/",
    f"/sessions/{NOWHERE}/nothing",
    "/sessions//logs",
    "/templates/a/b",
    "/auth",
    "/auth/login/",
    "/users/a/b",
    "/agent-keys/a/b",
    "/agent/nothing",
    "/../users/x/y",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/\u202e",
]


@pytest.fixture
async def venue(steady_streamspace: Venue) -> AsyncIterator[Venue]:
    before = len(steady_streamspace.users.rows()), len(steady_streamspace.fleet.templates)
    yield steady_streamspace
    assert (len(steady_streamspace.users.rows()), len(steady_streamspace.fleet.templates)) == before
    assert steady_streamspace.fleet.desktops == {}


async def test_what_is_no_json_object(venue: Venue) -> None:
    for method, path in BODIES:
        for body in MALFORMED:
            answer = await venue.ada.request(method, path, content=body)
            assert told(answer) == (400, "VALIDATION_FAILED"), (path, body[:40])


async def test_an_empty_body_lacks_its_fields(venue: Venue) -> None:
    for method, path in BODIES:
        for body in (b"", b"{}", b' {"unknown": 1} '):
            answer = await venue.ada.request(method, path, content=body)
            expected = (404,) if NOWHERE in path else (400,)  # all of what may be left out is left out
            assert answer.status_code in expected, (path, body)
            told(answer)
            if answer.status_code == 400:
                assert answer.json()["code"] == "MISSING_REQUIRED_FIELD", path
                assert answer.json()["details"]["field"], path


async def test_the_content_type_does_not_matter(venue: Venue) -> None:
    body = json.dumps({"username": "ada", "password": "secure-password"}).encode()
    for headers in ({}, {"content-type": "text/plain"}, {"content-type": "nonsense \xff".encode("latin-1")}):
        answer = await venue.anyone.post(f"{V1}/auth/login", content=body, headers=headers)
        assert answer.status_code == 200, headers
    marked = b"\xef\xbb\xbf" + body
    assert (await venue.anyone.post(f"{V1}/auth/login", content=marked)).status_code == 200


async def test_values_of_every_wrong_type(venue: Venue) -> None:
    wrong: list[Any] = [None, True, 5, 1.5, [], {}, "", "\u0000x", "x" * 5000, ["x"], {"x": {}}]
    models = {
        "/sessions": {"user": "kim", "template": "firefox-browser"},
        "/templates": {"name": "x", "display_name": "x"},
        "/users": {"username": "x", "email": "x@example.com", "password": "12345678"},
    }
    fields = {
        "/sessions": ("user", "template", "platform", "state", "resources", "persistent_home", "idle_timeout", "tags"),
        "/templates": (
            "name",
            "display_name",
            "vnc",
            "environment",
            "default_resources",
            "command",
            "tags",
            "failover",
        ),
        "/users": ("username", "email", "password", "role"),
    }
    for path, good in models.items():
        for field in fields[path]:
            for value in wrong:
                if "\\u0000" in json.dumps(value):
                    continue  # no JSON that is let in
                answer = await venue.ada.post(V1 + path, json={**good, field: value})
                if answer.status_code == 201:  # a long password, for one
                    await _take_back(venue, path, answer)
                else:
                    assert answer.status_code in (400, 503), (path, field, value)
                    told(answer)


async def _take_back(venue: Venue, path: str, answer: httpx.Response) -> None:
    name = answer.json()["name"] if path == "/templates" else answer.json()["id"]
    assert (await venue.ada.delete(f"{V1}{path}/{name}")).status_code == 204


async def test_unknown_paths(venue: Venue) -> None:
    for path in PATHS:
        for method in ("GET", "POST", "DELETE"):
            answer = await venue.ada.request(method, V1 + "/" + path.removeprefix("/"))
            assert told(answer) == (404, "NOT_FOUND"), (method, path)
    for path in ("/agent/x", "/vnc-viewer/", "/vnc-viewer/a/b/c"):
        assert told(await venue.ada.get(path)) == (404, "NOT_FOUND"), path


async def test_wrong_methods(venue: Venue) -> None:
    for method, path, allowed in (
        ("POST", "/agents", "GET, HEAD"),
        ("PUT", "/sessions", "GET, HEAD, POST"),
        ("POST", "/agents/stats", "GET, HEAD"),
        ("DELETE", "/agents/x", "GET, HEAD, PATCH"),
        ("POST", f"/sessions/{NOWHERE}", "DELETE, GET, HEAD, PATCH"),
        ("GET", "/auth/login", "POST"),
        ("OPTIONS", "/auth/logout", "POST"),
        ("TRACE", "/users", "GET, HEAD, POST"),
        ("PROPFIND", "/templates", "GET, HEAD, POST"),
        ("GET", f"/agent-keys/{NOWHERE}/rotate", "POST"),
    ):
        answer = await venue.ada.request(method, V1 + path)
        assert told(answer) == (405, "METHOD_NOT_ALLOWED"), (method, path)
        assert answer.headers["allow"] == allowed, (method, path)
    assert told(await venue.ada.post(f"/vnc-viewer/{NOWHERE}")) == (405, "METHOD_NOT_ALLOWED")


async def test_head_is_get_without_a_body(venue: Venue) -> None:
    answer = await venue.ada.head(f"{V1}/templates")
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) > 100


async def test_bodies_that_are_too_large(venue: Venue) -> None:
    large = b'{"user":"' + b"x" * 1_100_000 + b'"}'

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(large), 65536):
            yield large[at : at + 65536]

    for content in (large, pieces()):
        answer = await venue.ada.post(f"{V1}/sessions", content=content)
        assert told(answer) == (413, "PAYLOAD_TOO_LARGE")
        assert "x-ratelimit-limit" in answer.headers


async def test_what_the_guard_refuses_looks_the_same(venue: Venue) -> None:
    for headers, path in (
        ({"host": "evil.example"}, f"{V1}/agents"),
        ({"origin": "https://evil.example"}, f"{V1}/auth/login"),
    ):
        answer = await venue.ada.post(path, headers=headers, json={})
        assert told(answer) == (403, "AUTH_INSUFFICIENT_PERMISSIONS")
        assert int(answer.headers["x-ratelimit-remaining"]) >= 0
    answer = await venue.ada.get(f"{V1}/agents?region=%ff", headers={"x-request-id": "mine"})
    assert told(answer) == (400, "VALIDATION_FAILED")
    assert answer.json()["request_id"] == "mine"


async def test_odd_query_strings(venue: Venue) -> None:
    for query in (
        "&&&",
        "=",
        "page",
        "page=",
        "?",
        "a=1&a=2",
        "%00=1",
        "region=%00",
        "region=%F0%9F%8E%AC",
        "limit=5&limit=7",
    ):
        answer = await venue.ada.get(f"{V1}/agents?{query}")
        assert answer.status_code == 200, query
    assert told(await venue.ada.get(f"{V1}/agents?" + "a=1&" * 500)) == (400, "INVALID_PARAMETER")


async def test_ss_40_every_answer_has_the_limit_headers_and_a_request_id(venue: Venue) -> None:
    for method, path, status in (
        ("GET", f"{V1}/agents", 200),
        ("GET", f"{V1}/agents/nobody", 404),
        ("GET", f"{V1}/agents?page=0", 400),
        ("GET", f"{V1}/nowhere", 404),
        ("POST", f"{V1}/agents", 405),
        ("POST", f"{V1}/auth/login", 400),
        ("DELETE", f"{V1}/agent-keys/machine", 409),
        ("GET", "/agent/ws", 404),
        ("GET", "/vnc-viewer/a/b", 404),
    ):
        answer = await venue.ada.request(method, path)
        assert answer.status_code == status, path
        for name in ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"):
            assert answer.headers.get_list(name) == [str(int(answer.headers[name]))], (path, name)
        assert answer.headers["x-request-id"].startswith("req-")
    mine = await venue.ada.get(f"{V1}/agents", headers={"X-Request-ID": "abc-123"})
    assert mine.headers.get_list("x-request-id") == ["abc-123"]


async def test_what_nobody_expected_is_one_500_with_its_id(
    venue: Venue, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def boom(*_: Any) -> Any:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(venue.users, "verify", boom)
    answer = await venue.anyone.post(f"{V1}/auth/login", json={"username": "a", "password": "b"})
    assert told(answer) == (500, "INTERNAL_ERROR")
    assert "secret" not in answer.text
    assert "x-ratelimit-limit" in answer.headers
    assert answer.json()["request_id"] in capsys.readouterr().out


async def test_errors_of_the_domain_that_no_table_knows(venue: Venue, monkeypatch: pytest.MonkeyPatch) -> None:
    def odd() -> Any:
        raise CallboardError("something new", code="brand_new", detail={"why": "x"})

    monkeypatch.setattr(venue.agent_keys, "rows", odd)
    answer = await venue.ada.get(f"{V1}/agent-keys")
    assert told(answer) == (500, "INTERNAL_ERROR")
    assert answer.json()["details"] == {"why": "x"}
