"""Following a session's log: ``GET /api/v1/sessions/{id}/logs?follow=true`` with a WebSocket upgrade (seed 001).

One line for each text frame, the last ``tail`` first; 1000 when the session ends, 4401 when the login does. A line is
taken from the fleet when the one before it has left, so what a slow reader loses is dropped, and told, in the fleet's own
bounded queue. Used by ``application.py``, which has checked the caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import cast

from starlette.types import Receive, Send

from app.agent_protocol import LOG_LINES, CloseCode
from app.contract import DesktopRow
from app.errors import CallboardError, Invalid
from app.logs import get_logger
from app.server.access.principal import Principal
from app.server.dialects.streamspace.services import StreamSpaceServices
from app.server.dialects.streamspace.sessions import without_timestamp
from app.server.dialects.streamspace.wire import LogQuery
from app.server.events import Published

log = get_logger("logs")

LAST_LINES_WITHIN = 5.0
"""Seconds that an agent has for the last lines of a session that has ended."""
REASON_BYTES = 123
STOPPED_WITHIN = 2.0
ENDED = "The session has ended"


class LogStream:
    """Serves every follower."""

    def __init__(self, services: StreamSpaceServices, *, last_lines_within: float = LAST_LINES_WITHIN) -> None:
        self._services = services
        self._tasks = services.tasks
        self._node = services.tasks.group("log followers")
        self._last_lines_within = last_lines_within

    def check(self, query: LogQuery) -> None:
        """A WebSocket is for following; raises ``Invalid``."""
        if not query.follow:
            message = "A WebSocket is for following a log: follow must be true"
            raise Invalid(message, code="invalid_parameter", detail={"field": "follow"})

    async def serve(self, receive: Receive, send: Send, *, row: DesktopRow, caller: Principal, query: LogQuery) -> None:
        """One follower, accepted already, until either side ends it."""
        services = self._services
        end = _End()

        def on_login_ended() -> None:
            end.set(CloseCode.TOKEN, "The login has ended")

        def on_event(event: Published) -> None:
            change = event.change
            if event.id == row.id and isinstance(change, DesktopRow) and change.state == "terminated":
                end.set_later(self._last_lines_within, CloseCode.NORMAL, ENDED)

        lines = services.fleet.follow(row.id, min(query.tail, LOG_LINES))
        unsubscribe = (
            services.tokens.on_end(caller, on_login_ended),
            services.events.subscribe(on_event, "desktop.changed"),
        )
        pump = self._tasks.spawn(
            f"log of {row.name}", lambda: _pump(lines, send, end, timestamps=query.timestamps), parent=self._node
        )

        async def close() -> None:
            await end.reached.wait()
            await pump.stop(STOPPED_WITHIN)
            await _sent(send, {"type": "websocket.close", "code": end.code, "reason": end.reason})

        closer = self._tasks.spawn(f"end of {row.name}", close, parent=self._node)
        try:
            while (await receive())["type"] != "websocket.disconnect":
                pass
        finally:
            for each in unsubscribe:
                each()
            end.cancel()
            await pump.stop(STOPPED_WITHIN)
            await closer.stop(STOPPED_WITHIN)


class _End:
    """Why a follower is closed; the first reason counts."""

    def __init__(self) -> None:
        self.code = 0
        self.reason = ""
        self.reached = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def set(self, code: int, reason: str) -> None:
        """Close now."""
        if not self.reached.is_set():
            self.code = code
            self.reason = reason.encode()[:REASON_BYTES].decode("utf-8", "ignore")
            self.reached.set()

    def set_later(self, seconds: float, code: int, reason: str) -> None:
        """Close in a while, unless something else does before."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self.set, code, reason)

    def cancel(self) -> None:
        """The connection has ended by itself."""
        if self._timer is not None:
            self._timer.cancel()


async def _pump(lines: AsyncIterator[list[str]], send: Send, end: _End, *, timestamps: bool) -> None:
    try:
        async with aclosing(cast("AsyncGenerator[list[str], None]", lines)):  # the fleet keeps a place for its reader
            async for some in lines:
                for line in some:
                    text = line if timestamps else without_timestamp(line)
                    if not await _sent(send, {"type": "websocket.send", "text": text}):
                        return
        end.set(CloseCode.NORMAL, ENDED)
    except CallboardError as error:
        code = CloseCode.AGENT_LOST if error.code == "agent_offline" else CloseCode.INTERNAL
        end.set(code, error.message)
    except Exception:
        end.set(CloseCode.INTERNAL, "Internal error")
        raise


async def _sent(send: Send, message: dict[str, object]) -> bool:
    """Send, unless the client has gone."""
    try:
        await send(message)
    except OSError as error:
        log.debug("a follower went away", reason=repr(error))
        return False
    return True
