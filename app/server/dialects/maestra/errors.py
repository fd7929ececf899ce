"""How errors look in the Maestra dialect: ``{"detail": …}`` with FastAPI's statuses (seed 000).

``detail`` is a sentence, or for 422 pydantic's list of errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from app.errors import CallboardError

CODE_HEADER = b"x-callboard-code"
STATUS = {
    "not_found": 404,
    "expired": 404,
    "rejected": 502,
    "bad_reply": 502,
    "no_responders": 502,
    "bus_away": 502,
    "no_answer": 504,
    "conflict": 409,
    "forbidden": 403,
    "unauthorised": 401,
    "rate_limited": 429,
    "unsupported": 501,
    "invalid": 422,
    "too_large": 413,
    "unavailable": 503,
    "locked": 423,
}
"""Codes of ``app/errors.py``; any other one is a 500."""


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


def refuse(code: str, message: str) -> Response:
    """An error as the guard and the routes send it.

    The seed's body has no place for the code, and one status stands for several; so a header tells it to the console.
    """
    response = Json(msgspec.json.encode({"detail": message}), STATUS.get(code, 500))
    response.raw_headers.append((CODE_HEADER, code.encode("latin-1", "replace")))
    return response


def render(error: CallboardError) -> Response:
    """An expected failure."""
    return refuse(error.code, error.message)


def unprocessable(errors: Sequence[Any]) -> Response:
    """A 422 with pydantic's errors."""
    return Json(msgspec.json.encode({"detail": [_printable(error) for error in errors]}), 422)


def _printable(error: dict[str, Any]) -> dict[str, Any]:
    """One error without what JSON or a client cannot take: documentation links, bytes, exception objects."""
    kept = {key: value for key, value in error.items() if key != "url"}
    if isinstance(kept.get("input"), bytes):
        kept["input"] = kept["input"].decode("utf-8", "replace")
    if "ctx" in kept:
        kept["ctx"] = {
            key: value if isinstance(value, (str, int, float)) else str(value) for key, value in kept["ctx"].items()
        }
    return kept
