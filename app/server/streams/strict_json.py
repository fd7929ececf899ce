"""Reading JSON that strangers send: request bodies (maestra dialect) and publishers' replies (negotiation).

Stricter than ``json.loads``, because what is read here is stored, listed, journalled and sent on to every
console: no NaN or Infinity, no lone surrogates, no NUL characters, UTF-8 only, nesting of at most
``MAX_DEPTH``. A good document costs one pass of msgspec; only a bad or suspicious one is looked at twice.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

MAX_DEPTH = 64
"""Levels of arrays and objects; every reader down the line (journal, feed, console) has to recurse them too."""

_BOM = b"\xef\xbb\xbf"
_NOT_READ = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class BadJson(ValueError):
    """``reason`` in words and ``position``, a character offset, in FastAPI's manner."""

    def __init__(self, reason: str, position: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.position = position


def decode(data: bytes) -> Any:
    """The document in ``data``, a byte order mark before it allowed; raises ``BadJson``."""
    try:
        value = msgspec.json.decode(data)
    except _NOT_READ:
        value = _second_look(data)
    if b"\\u0000" in data or data.count(b"[") + data.count(b"{") > MAX_DEPTH:
        _inspect(value)
    return value


def _second_look(data: bytes) -> Any:
    """Try without the mark, then say what is wrong in the words of the standard parser, which FastAPI's clients know."""
    if data.startswith(_BOM):
        data = data[len(_BOM) :]
        try:
            return msgspec.json.decode(data)
        except _NOT_READ:
            pass
    try:
        json.loads(data.decode(), parse_constant=_refuse_constant)
    except json.JSONDecodeError as exc:
        raise BadJson(exc.msg, exc.pos) from exc
    except UnicodeDecodeError as exc:
        raise BadJson(f"Not UTF-8: {exc.reason}", exc.start) from exc
    except RecursionError as exc:
        raise BadJson(f"Nested deeper than {MAX_DEPTH} levels") from exc
    except BadJson:
        raise
    except ValueError as exc:
        raise BadJson("Number too long") from exc
    raise BadJson("Lone surrogate, or a number out of range")


def _refuse_constant(name: str) -> Any:
    raise BadJson(f"{name} is not JSON")


def _inspect(value: Any) -> None:
    """Walk without recursion; raises on NUL characters and on too deep a nesting."""
    pending: list[tuple[Any, int]] = [(value, 0)]
    while pending:
        item, depth = pending.pop()
        if isinstance(item, str):
            if "\0" in item:
                raise BadJson("NUL character in a string")
        elif isinstance(item, (dict, list)):
            if depth >= MAX_DEPTH:
                raise BadJson(f"Nested deeper than {MAX_DEPTH} levels")
            children = [*item.keys(), *item.values()] if isinstance(item, dict) else item
            pending.extend((child, depth + 1) for child in children)
