"""How errors look in the console's own API: ``{"detail": sentence, "code": word}``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from app.errors import CallboardError

STATUS = {
    "not_found": 404,
    "expired": 404,
    "not_allowed": 405,
    "conflict": 409,
    "forbidden": 403,
    "unauthorised": 401,
    "rate_limited": 429,
    "unsupported": 501,
    "malformed": 400,
    "invalid": 422,
    "too_large": 413,
    "unavailable": 503,
    "locked": 423,
}
"""Codes of ``app/errors.py``; whatever else a subclass says is a 500."""

FLEET_STATUS = {
    "agent_not_found": 404,
    "agent_connected": 409,
    "session_not_found": 404,
    "session_not_running": 409,
    "session_terminating": 409,
    "not_permitted": 403,
    "agent_offline": 503,
    "rejected": 502,
    "bad_reply": 502,
    "no_answer": 504,
    "token_missing": 401,
    "token_expired": 401,
    "token_invalid": 401,
}
"""Codes that the fleet and logins raise."""

CODES = {status: code for code, status in STATUS.items() if code != "expired"}


def refuse(code: str, message: str) -> Response:
    """An error as the guard and the routes send it."""
    headers = {"www-authenticate": "Bearer"} if code == "unauthorised" else None
    body = msgspec.json.encode({"detail": message, "code": code})
    return Response(body, STATUS.get(code) or FLEET_STATUS.get(code, 500), headers, "application/json")


def render(error: CallboardError) -> Response:
    """An expected failure."""
    return refuse(error.code, error.message)


def in_words(problems: Sequence[Any]) -> str:
    """Pydantic's list of errors as one sentence."""
    parts = []
    for problem in problems:
        place = ".".join(str(step) for step in problem.get("loc", ())[1:])
        message = problem.get("ctx", {}).get("error") or problem.get("msg", "does not fit")
        parts.append(f"{place}: {message}" if place else str(message))
    return "; ".join(parts)
