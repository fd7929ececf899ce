"""What the floor and the dialects read out of an ASGI request, and the id that an error and its log line share.

Used by the guard, by ``Access``, and by the operations and error handlers of dialects.
"""

from __future__ import annotations

import secrets
from urllib.parse import parse_qs, unquote

from starlette.types import Receive, Scope

from app.config import is_loopback

OPERATOR = "callboard.operator"
"""Where a scope keeps the name of an administrator who has logged in: it counts, and not what the header says."""
OPERATOR_HEADER = b"x-callboard-operator"
OPERATOR_LENGTH = 100
SUCCESSOR_HEADER = b"x-callboard-replaced-by"
SUCCESSOR_LENGTH = 100


class Hangup(Exception):
    """The client went away before its body was complete."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first header of this (lower-case) name."""
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return None


def bearer(scope: Scope) -> str:
    """The token of ``Authorization: Bearer``, or nothing."""
    value = header(scope, b"authorization")
    if value is None or value[:7].lower() != b"bearer ":
        return ""
    return value[7:].strip().decode("latin-1")


def query_token(scope: Scope) -> str:
    """The token of ``?token=``, which a browser's WebSocket needs, or nothing."""
    query: bytes = scope.get("query_string", b"")
    if b"token=" not in query:
        return ""
    return parse_qs(query.decode("latin-1")).get("token", [""])[0]


def from_this_machine(scope: Scope) -> bool:
    """Whether a request comes from this machine: over loopback, or from the very address that it calls."""
    client, server = scope.get("client"), scope.get("server")
    if client is None:
        return False
    return is_loopback(client[0].removeprefix("::ffff:")) or (server is not None and client[0] == server[0])


def successor(scope: Scope) -> str:
    """The session that takes the place of one that an operator ends, as a console says; "" when it says none.

    It may name what is none: who asks looks it up.
    """
    value = header(scope, SUCCESSOR_HEADER)
    return value.decode("latin-1")[:SUCCESSOR_LENGTH] if value is not None else ""


def operator_name(scope: Scope) -> str:
    """Who has logged in, else what ``X-Callboard-Operator`` says (percent-encoded UTF-8); plain text, one short line."""
    known: str = scope.get(OPERATOR, "")
    if known:
        return known
    value = header(scope, OPERATOR_HEADER)
    if not value:
        return ""
    text = unquote(value.decode("utf-8", "replace"), errors="replace")
    return "".join(letter for letter in text if letter.isprintable())[:OPERATOR_LENGTH].strip()


def request_id(scope: Scope) -> str:
    """The id of this request, made when it is first asked for: most requests never need one."""
    known = scope.get("callboard.request_id")
    if known is None:
        known = scope["callboard.request_id"] = secrets.token_hex(8)
    text: str = known
    return text


async def body_of(receive: Receive) -> bytes:
    """The whole body (the guard limits its size); raises ``Hangup``."""
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body: bytes = message.get("body", b"")
        return body
    parts = []
    while message["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()
    raise Hangup
