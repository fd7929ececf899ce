"""The one-line verbs against a running broker: find the object, act, say in words how it went.

Called by ``app/cli.py``; built on the same ``take`` workflow and the same API as the window. A stream, session or
preset is given by id, by the beginning of an id, or by its exact name; what could be two things is refused.
"""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from app.client.api import BrokerClient
from app.client.connect import Endpoint, connection_string
from app.client.snapshot import Board, read_board
from app.client.take import Standing, take
from app.contract import AgentRow, DesktopRow, PresetRow, Row, SessionRow, StreamRow, ViewerRow
from app.errors import CallboardError, ConfigError, NotFound, Unauthorised

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
        result = await take(client, board, wanted.id, chosen, partial(_standing, address, board))
    if result.offer is None:
        return Outcome(result.ok, result.text)
    return Outcome(True, f"{result.text}\n{connection_string(Endpoint.of(result.offer))}")


async def _standing(address: Address, board: Board, session_id: str) -> Standing:
    """Read the board again: it shows the session just begun, and whatever began before."""
    try:
        now = await read_board(address.url, address.token)
    except CallboardError:
        return "late"
    board.sessions, board.holds, board.presets = now.sessions, now.holds, now.presets
    return "shown" if session_id in now.sessions else "gone"


async def kick_session(address: Address, session: str) -> Outcome:
    """End a stream's session, as Delete does; or send away one viewer, or all viewers of a desktop, which goes on."""
    _with_token(address)
    board = await read_board(address.url, address.token)
    every: list[Row] = [*board.sessions.values(), *board.viewers.values(), *board.desktops.values()]
    row = find("session", session, every, _names_to_kick)
    async with BrokerClient(address.url, address.token, operator_name()) as client:
        if isinstance(row, SessionRow):
            await client.stop_session(row.id)
            what = f"The session of {row.consumer_id} on {row.stream_name} has ended"
            return Outcome(True, f"{what}; the picture stops when the publisher obeys.")
        if isinstance(row, ViewerRow):
            await client.fleet.kick_viewer(row.id)
            return Outcome(True, f"{row.user} no longer sees {row.session_name}; the session goes on.")
        await client.fleet.kick_viewers(row.id)
        return Outcome(True, f"Nobody sees {_names_to_kick(row)[0]} any more; the session goes on.")


async def drain_agent(address: Address, agent: str, *, undo: bool = False) -> Outcome:
    """Let an agent take no new sessions, as D does, or let it take some again."""
    _with_token(address)
    board = await read_board(address.url, address.token)
    row = find("agent", agent, board.agents.values(), _agent_names)
    async with BrokerClient(address.url, address.token, operator_name()) as client:
        if undo:
            await client.fleet.undrain(row.id)
            return Outcome(True, f"{row.id} takes new sessions again.")
        await client.fleet.drain(row.id)
    left = (
        f"{row.sessions} {'session goes' if row.sessions == 1 else 'sessions go'} on" if row.sessions else "it is empty"
    )
    return Outcome(True, f"{row.id} takes no new sessions; {left}.")


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


def _names_to_kick(row: Row) -> tuple[str, ...]:
    if isinstance(row, SessionRow):
        return (f"{row.stream_name} to {row.consumer_id}", row.stream_name, row.consumer_id)
    if isinstance(row, ViewerRow):
        return (f"{row.user} at {row.session_name}",)
    return (row.name,) if isinstance(row, DesktopRow) else ()


def _agent_names(row: AgentRow) -> tuple[str, ...]:
    return (row.id,)


def _preset_names(row: PresetRow) -> tuple[str, ...]:
    return (row.name,)
