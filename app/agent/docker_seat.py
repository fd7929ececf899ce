"""One session of platform ``docker``: its container, what watches it, and the wait until it serves its desktop.

Used by ``docker.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app.agent.docker_engine import Engine
from app.agent.docker_load import Meter
from app.agent.docker_log import LogLines
from app.agent.greeting import security_types
from app.agent.platform import AgentFailure, FailureCode, RfbAddress, UnixAddress
from app.agent_protocol import LOG_LINES
from app.logs import get_logger

log = get_logger("agent")

MARK = ".hibernated"
"""Ends the name of a file beside a session's folder, out of its container's reach: it stands still because it was told to."""
LOOK_FIRST, LOOK_LAST = 0.02, 0.25
AGAIN_FIRST, AGAIN_LAST = 0.5, 10.0
LAST_WORDS = 50
"""Sessions whose log is kept after their end."""


@dataclass
class Seat:
    """One session: its container, and what watches it."""

    session_id: str
    generation: int
    folder: Path
    hibernate: str = "freeze"
    volume: str = ""
    container_id: str = ""
    state: str = "starting"
    """``starting``, ``running`` or ``hibernated``; ``ending`` when what happens next is our own doing."""
    address: RfbAddress | None = None
    result: dict[str, Any] = field(default_factory=dict)
    meter: Meter = field(default_factory=Meter)
    watchers: list[asyncio.Task[None]] = field(default_factory=list)


def marker(place: Path) -> Path:
    """The file that says that the session of this folder hibernates."""
    return place.with_name(place.name + MARK)


def discard(place: Path) -> None:
    """A session's folder and what stands beside it go."""
    shutil.rmtree(place, ignore_errors=True)
    marker(place).unlink(missing_ok=True)


async def until_served(engine: Engine, seat: Seat, within: float, *addresses: RfbAddress | None) -> None:
    """Wait until one of the addresses greets; a container that ends before says its last words instead."""
    ended = asyncio.ensure_future(engine.ended(seat.container_id))
    wait = LOOK_FIRST
    try:
        async with asyncio.timeout(within):
            while not ended.done():
                for address in addresses:
                    if address is not None and await _greets(address):
                        seat.address = address
                        return
                await asyncio.wait([ended], timeout=wait)
                wait = min(LOOK_LAST, wait * 1.5)
    except TimeoutError:
        raise AgentFailure(
            f"the container did not serve its desktop within {within:.0f} s", FailureCode.TIMEOUT
        ) from None
    finally:
        await cancelled(ended)
    words = " · ".join(await words_of(engine, seat.container_id, 3)) or "without a word"
    raise AgentFailure(f"the container ended before it served its desktop: {words}")


async def words_of(engine: Engine, container_id: str, tail: int) -> list[str]:
    """The last lines of a container's log."""
    lines, read = LogLines(), list[str]()
    async with contextlib.aclosing(engine.log(container_id, tail, follow=False)) as chunks:
        async for chunk in chunks:
            read += lines.feed(chunk)
    return (read + lines.rest())[-tail:] if tail > 0 else []


class LastWords:
    """The logs of the sessions that ended lately."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, list[str]] = OrderedDict()

    async def keep(self, engine: Engine, seat: Seat) -> None:
        """Read a container's log before it is removed."""
        try:
            self._lines[seat.session_id] = await words_of(engine, seat.container_id, LOG_LINES)
        except AgentFailure as failure:
            log.info("an ended container's log is lost", session=seat.session_id, error=failure.message)
        while len(self._lines) > LAST_WORDS:
            self._lines.popitem(last=False)

    def of(self, session_id: str, tail: int) -> list[str]:
        """The last lines of a session that has ended. Raises ``AgentFailure``."""
        if session_id not in self._lines:
            raise AgentFailure(f"session {session_id} is not known here", FailureCode.NO_SESSION)
        return self._lines[session_id][-tail:] if tail > 0 else []


async def _greets(address: RfbAddress) -> bool:
    if isinstance(address, UnixAddress) and not Path(address.path).exists():
        return False
    try:
        await security_types(address, "the container")
    except AgentFailure:
        return False
    return True


async def lasting(act: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    """Do it again and again while it wants that, ever later while the engine is away."""
    wait = AGAIN_FIRST
    while True:
        try:
            if not await act():
                return
            wait = AGAIN_FIRST
        except AgentFailure as failure:
            log.debug("the engine is away", error=failure.message)
            wait = min(AGAIN_LAST, wait * 2)
        await asyncio.sleep(wait)


async def unwatch(seat: Seat) -> None:
    """End what watches a session."""
    watchers, seat.watchers = seat.watchers, []
    for one in watchers:
        await cancelled(one)


async def cancelled(task: asyncio.Future[None]) -> None:
    """End a task, and take note of how it ended."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled() and isinstance(task.exception(), AgentFailure):
        log.debug("a watch ended", error=str(task.exception()))
