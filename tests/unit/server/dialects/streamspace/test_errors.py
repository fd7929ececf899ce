from __future__ import annotations

import json
import re
from typing import Any

import pytest

from app.errors import CallboardError, Invalid, NotFound, Unavailable
from app.server.dialects.streamspace.errors import (
    INTERNAL,
    TABLE,
    refuse,
    refuse_request,
    render,
    request_name,
    rfc3339,
)

SEED = {
    "AUTH_INVALID_CREDENTIALS": 401,
    "AUTH_TOKEN_EXPIRED": 401,
    "AUTH_TOKEN_INVALID": 401,
    "AUTH_TOKEN_MISSING": 401,
    "AUTH_INSUFFICIENT_PERMISSIONS": 403,
    "AGENT_NOT_FOUND": 404,
    "AGENT_OFFLINE": 503,
    "AGENT_DRAINING": 503,
    "NO_AGENTS_AVAILABLE": 503,
    "AGENT_CAPACITY_EXCEEDED": 503,
    "SESSION_NOT_FOUND": 404,
    "SESSION_ALREADY_EXISTS": 409,
    "INVALID_STATE_TRANSITION": 400,
    "SESSION_PROVISIONING_FAILED": 500,
    "SESSION_TERMINATING": 409,
    "TEMPLATE_NOT_FOUND": 404,
    "TEMPLATE_INVALID": 400,
    "VALIDATION_FAILED": 400,
    "INVALID_PARAMETER": 400,
    "MISSING_REQUIRED_FIELD": 400,
    "RATE_LIMIT_EXCEEDED": 429,
}
"""The document's tables of codes."""


def scope(*headers: tuple[str, str]) -> dict[str, Any]:
    return {"type": "http", "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers]}


def body(response: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(response.body)
    return found


def test_ss_39_every_code_of_the_document_with_its_status() -> None:
    here = {(kind.code, kind.status) for kind in TABLE.values()}
    assert set(SEED.items()) <= here
    assert ("TEMPLATE_NOT_FOUND", 400) in here, "a reference in a body, seed: Create Session"


def test_nothing_answers_422() -> None:
    assert 422 not in {kind.status for kind in TABLE.values()}


def test_ss_38_the_envelope_is_always_whole() -> None:
    response = render(scope(), NotFound("No agent with ID 'x' exists", code="agent_not_found"))
    found = body(response)
    assert list(found) == ["error", "message", "code", "details", "timestamp", "request_id"]
    assert found["error"] == "Agent not found"
    assert found["message"] == "No agent with ID 'x' exists"
    assert found["code"] == "AGENT_NOT_FOUND"
    assert found["details"] == {}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found["timestamp"])
    assert re.fullmatch(r"req-[0-9a-f]{12}", found["request_id"])
    assert response.status_code == 404


def test_what_a_domain_adds_stands_in_details() -> None:
    found = body(render(scope(), Invalid("no", code="template_invalid", detail={"field": "vnc"})))
    assert (found["code"], found["details"]) == ("TEMPLATE_INVALID", {"field": "vnc"})
    assert body(render(scope(), Invalid("no", detail=["a list"])))["details"] == {}


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (CallboardError("boom"), "INTERNAL_ERROR", 500),
        (Unavailable("disk full"), "SERVICE_UNAVAILABLE", 503),
        (CallboardError("no", code="provisioning_failed"), "SESSION_PROVISIONING_FAILED", 500),
        (CallboardError("no", code="too_large"), "PAYLOAD_TOO_LARGE", 413),
    ],
)
def test_errors_of_the_floor(error: CallboardError, code: str, status: int) -> None:
    response = render(scope(), error)
    assert (body(response)["code"], response.status_code) == (code, status)


def test_a_plain_request_id_is_echoed_and_any_other_replaced() -> None:
    assert request_name(scope(("x-request-id", "abc-123"))) == "abc-123"
    for odd in ("", "two words", "a" * 129, "caf\xe9", 'x"\n'):
        assert request_name(scope(("x-request-id", odd))).startswith("req-"), odd


def test_one_request_has_one_id() -> None:
    one = scope()
    assert body(refuse_request(one, "malformed", "no"))["request_id"] == request_name(one)
    assert body(refuse("malformed", "no"))["request_id"].startswith("req-")


def test_a_401_says_how_to_authenticate() -> None:
    assert (b"www-authenticate", b"Bearer") in refuse_request(scope(), "token_missing", "no").raw_headers
    assert b"www-authenticate" not in dict(refuse_request(scope(), "forbidden", "no").raw_headers)


def test_ss_1_times_are_whole_seconds_in_utc() -> None:
    assert rfc3339(1763808300.987) == "2025-11-22T10:45:00Z"


def test_ss_37_every_status_of_the_document_but_422() -> None:
    """200 to 204 are operations' (``test_streamspace_docs.py``); 422 is never sent, since two other places say 400."""
    errors = {kind.status for kind in TABLE.values()} | {INTERNAL.status}
    assert {400, 401, 403, 404, 409, 429, 500, 503} == errors - {405, 413}
