"""The one-line verbs against a running broker: find the object, act, say in words how it went.

Called by ``app/cli.py``; built on the same ``take`` workflow and the same API as the window. A stream, session or
preset is given by id, by the beginning of an id, or by its exact name; what could be two things is refused.
"""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from app.client.api import BrokerClient
from app.client.connect import Endpoint, connection_string
from app.client.snapshot import read_board
from app.client.take import take
from app.contract import PresetRow, Row, SessionRow, StreamRow
from app.errors import ConfigError, NotFound, Unauthorised

T = TypeVar("T")
R = TypeVar("R", bound=Row)


@dataclass(frozen=True)
class Address:
    """A broker and the token that opens its console API."""

    url: str
    token: str | None


@dataclass(frozen=True)
class Outcome:
    """How a verb ended, in words."""

    ok: bool
    text: str


def run(verb: Coroutine[Any, Any, T]) -> T:
    """Run one verb to its end."""
    return asyncio.run(verb)


def operator_name() -> str:
    """The account's name on this machine."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


async def take_stream(address: Address, stream: str, preset: str) -> Outcome:
    """Take a stream to a preset's consumer, as pressing R does."""
    _with_token(address)
    board = await read_board(address.url, address.token)
    chosen = find("preset", preset, board.presets.values(), _preset_names)
    wanted = find("stream", stream, board.streams.values(), _stream_names)
    async with BrokerClient(address.url, address.token, operator_name()) as client:
        result = await take(client, board, wanted.id, chosen)
    if result.offer is None:
        return Outcome(result.ok, result.text)
    return Outcome(True, f"{result.text}\n{connection_string(Endpoint.of(result.offer))}")


async def kick_session(address: Address, session: str) -> Outcome:
    """End a session, as Delete does."""
    _with_token(address)
    board = await read_board(address.url, address.token)
    row = find("session", session, board.sessions.values(), _session_names)
    async with BrokerClient(address.url, address.token, operator_name()) as client:
        await client.stop_session(row.id)
    text = (
        f"The session of {row.consumer_id} on {row.stream_name} has ended; the picture stops when the publisher obeys."
    )
    return Outcome(True, text)


def find(kind: str, text: str, rows: Iterable[R], names: Callable[[R], tuple[str, ...]]) -> R:
    """The one row that is meant. ``NotFound``, or ``ConfigError`` when it could be several."""
    every = list(rows)
    for row in every:
        if row.id == text:
            return row
    named = [row for row in every if text in names(row)]
    found = named or [row for row in every if text and row.id.startswith(text.lower())]
    if not found:
        raise NotFound(f"There is no {kind} {text!r}.")
    if len(found) > 1:
        several = ", ".join(f"{row.id} ({names(row)[0]})" for row in found[:5])
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise ConfigError(f"{text!r} could be {len(found)} {kind}s: {several}{more}. Give the id.")
    return found[0]


def _with_token(address: Address) -> None:
    if address.token is None:
        raise Unauthorised(f"The token of {address.url} is not known here; give it as CALLBOARD_TOKEN.")


def _stream_names(row: StreamRow) -> tuple[str, ...]:
    return (row.name,)


def _session_names(row: SessionRow) -> tuple[str, ...]:
    return (f"{row.stream_name} to {row.consumer_id}", row.stream_name, row.consumer_id)


def _preset_names(row: PresetRow) -> tuple[str, ...]:
    return (row.name,)
