"""app/server/access/requests.py: bodies that come in pieces, and those that break off."""

from __future__ import annotations

import pytest
from starlette.types import Message

from app.server.access.requests import Hangup, body_of


async def messages(*parts: Message) -> bytes:
    """Read a body that comes as these messages."""
    waiting = list(parts)

    async def receive() -> Message:
        return waiting.pop(0)

    return await body_of(receive)


async def test_bodies_in_pieces_and_cut_off() -> None:
    def piece(body: bytes, more: bool) -> Message:
        return {"type": "http.request", "body": body, "more_body": more}

    assert await messages({"type": "http.request"}) == b""
    assert await messages(piece(b"a", True), piece(b"", True), piece(b"b", False)) == b"ab"
    for cut in ([], [piece(b"a", True)]):
        with pytest.raises(Hangup):
            await messages(*cut, {"type": "http.disconnect"})
