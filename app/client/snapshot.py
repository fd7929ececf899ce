"""The board as it is now, once: for the one-line verbs, which have no store to keep.

Called by ``verbs.py``. A ``Board`` is the ``TakeView`` of ``take.py``, filled from one snapshot of the feed and from
what has happened since: consoles share snapshots, so one may be older than this console's last act.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import msgspec

from app.client.feed import FeedClient, Link
from app.contract import (
    KINDS,
    PATCHES,
    ROWS,
    AgentRow,
    Beat,
    DesktopRow,
    Diff,
    Event,
    FeedMessage,
    HoldRow,
    PresetRow,
    Pulse,
    Row,
    SessionRow,
    Snapshot,
    StreamRow,
    ViewerRow,
)
from app.errors import Unavailable


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

    @property
    def tables(self) -> dict[str, dict[str, Any]]:
        """By the names that the contract has for their rows."""
        return {
            "stream": self.streams,
            "session": self.sessions,
            "hold": self.holds,
            "preset": self.presets,
            "agent": self.agents,
            "desktop": self.desktops,
            "viewer": self.viewers,
        }

    def add(self, part: Snapshot) -> None:
        """Take in one part of a snapshot."""
        for name, table in self.tables.items():
            decoder = msgspec.json.Decoder(ROWS[name])
            for raw in part.rows.get(name, ()):
                row = decoder.decode(raw)
                table[row.id] = row

    def apply(self, diff: Diff) -> None:
        """Take in what has happened since."""
        tables = self.tables
        for event in diff.events:
            name, op = KINDS.get(event.kind, ("", "note"))
            table = tables.get(name)
            if table is None:
                continue
            if op == "put":
                table[event.id] = msgspec.json.decode(event.change, type=ROWS[name])
            elif op == "remove":
                table.pop(event.id, None)
            elif op in ("beat", "patch") and event.id in table:
                _change(table[event.id], event)


def _change(row: Row, event: Event) -> None:
    """Fields of a beat or a patch replace the row's of the same name; a beat without a time moves only the end."""
    change = msgspec.json.decode(event.change, type=PATCHES.get(event.kind, Beat))
    for name in change.__struct_fields__:
        if (value := getattr(change, name)) is not None or event.kind in PATCHES:
            setattr(row, name, value)


async def read_board(url: str, token: str | None, timeout: float = 10.0) -> Board:
    """The whole board as of now or later. ``Unavailable`` says why there is none, in the words of the link."""
    board = Board()
    result: asyncio.Future[Link] = asyncio.get_running_loop().create_future()
    now = 0
    """The broker's number when it let this console in; a snapshot may be older."""

    def on_message(message: FeedMessage) -> None:
        nonlocal now
        if result.done():
            return
        try:
            if isinstance(message, Snapshot):
                board.add(message)
            elif isinstance(message, Diff):
                board.apply(message)
            elif isinstance(message, Pulse) and client.seq is None:
                now = message.seq
        except msgspec.DecodeError as error:
            text = f"The board of the broker at {url} cannot be read: {error}"
            result.set_exception(Unavailable(text, code="bad_answer"))
        else:
            look(client.link)

    def look(link: Link) -> None:
        whole = link.state == "live" and client.seq is not None and client.seq >= now
        if (whole or link.state == "down") and not result.done():
            result.set_result(link)

    client = FeedClient(url, token, on_message, look)
    feed = asyncio.ensure_future(client.run())
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
