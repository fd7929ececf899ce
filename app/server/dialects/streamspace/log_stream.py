"""Following a session's log: ``GET /api/v1/sessions/{id}/logs?follow=true`` with a WebSocket upgrade (seed 001).

One line for each text frame, the last ``tail`` first; 1000 when the session ends. A reader that is too slow loses the
oldest lines that wait, and is told how many. Used by ``application.py``, which has checked the caller.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator

from starlette.types import Receive, Scope, Send

from app.agent_protocol import LOG_LINES, CloseCode
from app.contract import DesktopRow
from app.errors import CallboardError, Invalid
from app.logs import get_logger
from app.server.access.principal import Principal
from app.server.dialects.streamspace.services import StreamSpaceServices
from app.server.dialects.streamspace.sessions import without_timestamp
from app.server.dialects.streamspace.wire import LogQuery

log = get_logger("logs")

WAITING = 2 * LOG_LINES
"""Lines that wait for a reader at most; then the oldest go."""
REASON_BYTES = 123
CLOSED_WITHIN = 2.0


class Follower:
    """Lines on their way to one reader."""

    def __init__(self, *, timestamps: bool) -> None:
        self._timestamps = timestamps
        self._lines: deque[str] = deque()
        self._skipped = 0
        self._more = asyncio.Event()
        self._end: tuple[int, str] | None = None

    def push(self, lines: list[str]) -> None:
        """Lines to be sent; of too many the oldest are dropped."""
        self._lines.extend(lines if self._timestamps else map(without_timestamp, lines))
        while len(self._lines) > WAITING:
            self._lines.popleft()
            self._skipped += 1
        self._more.set()

    def end(self, code: int, reason: str = "", *, at_once: bool = False) -> None:
        """Close after what waits, or without it; the first reason counts."""
        if at_once:
            self._lines.clear()
            self._skipped = 0
        if self._end is None:
            self._end = code, reason
        self._more.set()

    async def write(self, send: Send) -> None:
        """Send until the end, which is sent too."""
        while True:
            if self._skipped:
                skipped, self._skipped = self._skipped, 0
                await send({"type": "websocket.send", "text": f"… {skipped} lines skipped"})
            elif self._lines:
                await send({"type": "websocket.send", "text": self._lines.popleft()})
            elif self._end is not None:
                code, reason = self._end
                text = reason.encode()[:REASON_BYTES].decode("utf-8", "ignore")
                await send({"type": "websocket.close", "code": code, "reason": text})
                return
            else:
                self._more.clear()
                await self._more.wait()


class LogStream:
    """Serves every follower."""

    def __init__(self, services: StreamSpaceServices) -> None:
        self._fleet = services.fleet
        self._tokens = services.tokens
        self._tasks = services.tasks
        self._node = services.tasks.group("log followers")

    def check(self, query: LogQuery) -> None:
        """A WebSocket is for following; raises ``Invalid``."""
        if not query.follow:
            message = "A WebSocket is for following a log: follow must be true"
            raise Invalid(message, code="invalid_parameter", detail={"field": "follow"})

    async def serve(
        self, scope: Scope, receive: Receive, send: Send, *, row: DesktopRow, caller: Principal, query: LogQuery
    ) -> None:
        """One follower, accepted already, until either side ends it."""
        follower = Follower(timestamps=query.timestamps)

        def on_token_ended(token_id: str | None, user_id: str) -> None:
            if caller.user_id == user_id and token_id in (None, caller.token_id):
                follower.end(CloseCode.TOKEN, "The login has ended", at_once=True)

        lines = self._fleet.follow(row.id, min(query.tail, LOG_LINES))
        unsubscribe = self._tokens.subscribe(on_token_ended)
        reader = self._tasks.spawn(f"log of {row.name}", lambda: _read(lines, follower), parent=self._node)
        writer = self._tasks.spawn(f"follower of {row.name}", lambda: _write(follower, send), parent=self._node)
        try:
            while (await receive())["type"] != "websocket.disconnect":
                pass
        finally:
            unsubscribe()
            await reader.stop(CLOSED_WITHIN)
            await writer.stop(CLOSED_WITHIN)


async def _read(lines: AsyncIterator[list[str]], follower: Follower) -> None:
    try:
        async for some in lines:
            follower.push(some)
        follower.end(CloseCode.NORMAL, "The session has ended")
    except CallboardError as error:
        code = CloseCode.AGENT_LOST if error.code == "agent_offline" else CloseCode.INTERNAL
        follower.end(code, error.message)
    except Exception:
        follower.end(CloseCode.INTERNAL, "Internal error")
        raise


async def _write(follower: Follower, send: Send) -> None:
    try:
        await follower.write(send)
    except OSError as error:
        log.debug("a follower went away", reason=repr(error))
