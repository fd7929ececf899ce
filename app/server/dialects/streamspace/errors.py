"""How errors look in the StreamSpace dialect: the envelope of six fields, always whole (seed 001, "Error Handling").

``TABLE`` is the one place that turns a code of the domain into the document's code, status and short text. Used by every
module of the dialect, by the sockets before they are upgraded, and by the guard for what never gets as far as a route.
"""

from __future__ import annotations

import re
import secrets
import time
from typing import Any, NamedTuple

import msgspec
from starlette.responses import Response
from starlette.types import Scope

from app.errors import CallboardError
from app.server.access.requests import header

REQUEST_ID = "callboard.request_id"
"""Where the floor keeps a request's id within its scope."""
_GIVEN_ID = re.compile(rb"[\x21-\x7e]{1,128}")


class Kind(NamedTuple):
    """One line of the document's tables: code, status, and the short text of ``error``."""

    code: str
    status: int
    error: str


TABLE = {
    "bad_credentials": Kind("AUTH_INVALID_CREDENTIALS", 401, "Authentication failed"),
    "token_expired": Kind("AUTH_TOKEN_EXPIRED", 401, "Token expired"),
    "token_invalid": Kind("AUTH_TOKEN_INVALID", 401, "Invalid token"),
    "token_missing": Kind("AUTH_TOKEN_MISSING", 401, "Authentication required"),
    "unauthorised": Kind("AUTH_TOKEN_INVALID", 401, "Invalid token"),
    "inactive": Kind("AUTH_INSUFFICIENT_PERMISSIONS", 403, "Insufficient permissions"),
    "not_permitted": Kind("AUTH_INSUFFICIENT_PERMISSIONS", 403, "Insufficient permissions"),
    "forbidden": Kind("AUTH_INSUFFICIENT_PERMISSIONS", 403, "Insufficient permissions"),
    "agent_not_found": Kind("AGENT_NOT_FOUND", 404, "Agent not found"),
    "agent_offline": Kind("AGENT_OFFLINE", 503, "Agent offline"),
    "agent_draining": Kind("AGENT_DRAINING", 503, "Agent draining"),
    "no_agents_available": Kind("NO_AGENTS_AVAILABLE", 503, "No agents available"),
    "agent_capacity_exceeded": Kind("AGENT_CAPACITY_EXCEEDED", 503, "Agent capacity exceeded"),
    "session_not_found": Kind("SESSION_NOT_FOUND", 404, "Session not found"),
    "session_already_exists": Kind("SESSION_ALREADY_EXISTS", 409, "Session already exists"),
    "session_terminating": Kind("SESSION_TERMINATING", 409, "Session is terminating"),
    "session_not_running": Kind("SESSION_NOT_RUNNING", 409, "Session is not running"),
    "invalid_state_transition": Kind("INVALID_STATE_TRANSITION", 400, "Invalid state transition"),
    "provisioning_failed": Kind("SESSION_PROVISIONING_FAILED", 500, "Session provisioning failed"),
    "template_not_found": Kind("TEMPLATE_NOT_FOUND", 404, "Template not found"),
    "template_reference": Kind("TEMPLATE_NOT_FOUND", 400, "Invalid request"),
    "template_invalid": Kind("TEMPLATE_INVALID", 400, "Invalid template"),
    "template_exists": Kind("TEMPLATE_ALREADY_EXISTS", 409, "Template already exists"),
    "template_built_in": Kind("TEMPLATE_BUILT_IN", 409, "Template is built in"),
    "user_not_found": Kind("USER_NOT_FOUND", 404, "User not found"),
    "user_exists": Kind("USER_ALREADY_EXISTS", 409, "User already exists"),
    "key_not_found": Kind("AGENT_KEY_NOT_FOUND", 404, "Agent key not found"),
    "validation_failed": Kind("VALIDATION_FAILED", 400, "Invalid request"),
    "invalid": Kind("VALIDATION_FAILED", 400, "Invalid request"),
    "malformed": Kind("VALIDATION_FAILED", 400, "Invalid request"),
    "invalid_parameter": Kind("INVALID_PARAMETER", 400, "Invalid parameter"),
    "missing_required_field": Kind("MISSING_REQUIRED_FIELD", 400, "Missing required field"),
    "not_found": Kind("NOT_FOUND", 404, "Not found"),
    "expired": Kind("NOT_FOUND", 404, "Not found"),
    "not_allowed": Kind("METHOD_NOT_ALLOWED", 405, "Method not allowed"),
    "conflict": Kind("CONFLICT", 409, "Conflict"),
    "locked": Kind("CONFLICT", 409, "Conflict"),
    "unsupported": Kind("OPERATION_NOT_SUPPORTED", 409, "Operation not supported"),
    "too_large": Kind("PAYLOAD_TOO_LARGE", 413, "Payload too large"),
    "rate_limited": Kind("RATE_LIMIT_EXCEEDED", 429, "Rate limit exceeded"),
    "unavailable": Kind("SERVICE_UNAVAILABLE", 503, "Service unavailable"),
    "no_answer": Kind("SERVICE_UNAVAILABLE", 503, "Service unavailable"),
}
"""Codes of errors as ``app/errors.py`` and the domains say them; whatever else is a 500."""
INTERNAL = Kind("INTERNAL_ERROR", 500, "Internal server error")


class Json(Response):
    """A JSON answer whose bytes are ready."""

    def __init__(self, body: bytes, status_code: int = 200) -> None:
        self.status_code = status_code
        self.body = body
        self.background = None
        self.raw_headers = [
            (b"content-length", b"%d" % len(body)),
            (b"content-type", b"application/json"),
        ]


def request_name(scope: Scope) -> str:
    """The request's id: what the client sent as ``X-Request-ID`` where that is plain, else one of ours (``req-…``)."""
    known = scope.get(REQUEST_ID)
    if known is None:
        given = header(scope, b"x-request-id")
        if given is not None and _GIVEN_ID.fullmatch(given):
            known = given.decode("ascii")
        else:
            known = "req-" + secrets.token_hex(6)
        scope[REQUEST_ID] = known
    name: str = known
    return name


def rfc3339(epoch: float) -> str:
    """Whole seconds in UTC, as everywhere in this dialect."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))


def envelope(
    scope: Scope, kind: Kind, message: str, details: dict[str, Any] | None = None, **more: int | str
) -> Response:
    """An error as the document has it, every field there; ``more`` stands beside the six."""
    body = {
        "error": kind.error,
        "message": message,
        "code": kind.code,
        "details": details or {},
        **more,
        "timestamp": rfc3339(time.time()),
        "request_id": request_name(scope),
    }
    response = Json(msgspec.json.encode(body), kind.status)
    if kind.status == 401:
        response.raw_headers.append((b"www-authenticate", b"Bearer"))
    return response


def refuse_request(scope: Scope, code: str, message: str) -> Response:
    """An error of the floor, or of a socket before its upgrade, by its code."""
    return envelope(scope, TABLE.get(code, INTERNAL), message)


def refuse(code: str, message: str) -> Response:
    """The same where no request is at hand."""
    return refuse_request({"headers": []}, code, message)


def render(scope: Scope, error: CallboardError) -> Response:
    """An expected failure; what a domain adds as a mapping stands in ``details``."""
    details = error.detail if isinstance(error.detail, dict) else None
    return envelope(scope, TABLE.get(error.code, INTERNAL), error.message, details)
