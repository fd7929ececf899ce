"""The board as it is now, once: for the one-line verbs, which have no store to keep.

Called by ``verbs.py``. A ``Board`` is the ``TakeView`` of ``take.py``, filled from one snapshot of the feed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from app.client.feed import FeedClient, Link
from app.contract import (
    AgentRow,
    DesktopRow,
    FeedMessage,
    HoldRow,
    PresetRow,
    Row,
    SessionRow,
    Snapshot,
    StreamRow,
    ViewerRow,
)
from app.errors import Unavailable

R = TypeVar("R", bound=Row)


@dataclass
class Board:
    """Rows by table and id."""

    streams: dict[str, StreamRow] = field(default_factory=dict)
    sessions: dict[str, SessionRow] = field(default_factory=dict)
    holds: dict[str, HoldRow] = field(default_factory=dict)
    presets: dict[str, PresetRow] = field(default_factory=dict)
    agents: dict[str, AgentRow] = field(default_factory=dict)
    desktops: dict[str, DesktopRow] = field(default_factory=dict)
    viewers: dict[str, ViewerRow] = field(default_factory=dict)

    def add(self, part: Snapshot) -> None:
        """Take in one part of a snapshot."""
        _fill(self.streams, part.rows.get("stream", ()), StreamRow)
        _fill(self.sessions, part.rows.get("session", ()), SessionRow)
        _fill(self.holds, part.rows.get("hold", ()), HoldRow)
        _fill(self.presets, part.rows.get("preset", ()), PresetRow)
        _fill(self.agents, part.rows.get("agent", ()), AgentRow)
        _fill(self.desktops, part.rows.get("desktop", ()), DesktopRow)
        _fill(self.viewers, part.rows.get("viewer", ()), ViewerRow)


def _fill(table: dict[str, R], rows: Iterable[msgspec.Raw], shape: type[R]) -> None:
    decoder = msgspec.json.Decoder(shape)
    for raw in rows:
        row = decoder.decode(raw)
        table[row.id] = row


async def read_board(url: str, token: str | None, timeout: float = 10.0) -> Board:
    """One whole snapshot. ``Unavailable`` says why there is none, in the words of the link."""
    board = Board()
    result: asyncio.Future[Link] = asyncio.get_running_loop().create_future()

    def on_message(message: FeedMessage) -> None:
        if isinstance(message, Snapshot) and not result.done():
            try:
                board.add(message)
            except msgspec.DecodeError as error:
                text = f"The board of the broker at {url} cannot be read: {error}"
                result.set_exception(Unavailable(text, code="bad_answer"))

    def on_link(link: Link) -> None:
        if link.state != "connecting" and not result.done():
            result.set_result(link)

    feed = asyncio.ensure_future(FeedClient(url, token, on_message, on_link).run())
    try:
        async with asyncio.timeout(timeout):
            link = await result
    except TimeoutError as error:
        raise Unavailable(f"The broker at {url} sent no snapshot within {timeout:g} s.", code="timeout") from error
    finally:
        feed.cancel()
        await asyncio.wait({feed})
    if link.state != "live":
        raise Unavailable(link.text, code=link.code or None)
    return board
