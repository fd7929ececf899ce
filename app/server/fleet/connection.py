"""The edge of one agent's connection: frames from the socket to ``link.py``, what it wants done to socket and domain.

Made by ``Fleet.connect`` for the route that holds the WebSocket. Two nodes of the task tree each: one works on what came
in, in order, while the socket is read on; one writes. What comes in waits for room, so a busy broker slows its agents;
what goes out has a bound, and an agent that does not read it is closed.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from app.agent_protocol import CloseCode, Register, ToAgent, encode
from app.logs import get_logger
from app.server.fleet.link import Acked, AgentLink, Close, Effect, Send, Sent
from app.server.tasks import TaskNode, TaskTree

log = get_logger("agents")

FRAMES_WAITING = 64
"""Frames of one agent that may wait to be worked on before its socket is read no further."""
MESSAGES_WAITING = 1024
SEND_WITHIN = 20.0
CLOSE_WITHIN = 5.0


class Domain(Protocol):
    """What a connection tells; ``roster.py``."""

    async def handle(self, connection: AgentConnection, effect: Effect) -> None:
        """Something for the domain came in, or was given up."""

    def sent(self, effect: Sent | Acked) -> None:
        """A command moved on."""

    def dropped(self, connection: AgentConnection) -> None:
        """The connection has ended."""


class AgentConnection:
    """One socket of one agent, from its upgrade to its end."""

    def __init__(
        self,
        link: AgentLink,
        domain: Domain,
        send: Callable[[str], Awaitable[None]],
        close: Callable[[int, str], Awaitable[None]],
        tasks: TaskTree,
        parent: TaskNode,
        monotonic: Callable[[], float],
        *,
        address: str = "",
        key_id: str | None = None,
    ) -> None:
        self.id = f"conn-{secrets.token_hex(6)}"
        self.link = link
        self.address = address
        self.key_id = key_id
        self.leader: bool | None = None
        self.registered: Register | None = None
        """Its last word about itself."""
        self.claim = ""
        """What was not believed of it."""
        self._domain = domain
        self._send = send
        self._close = close
        self._tasks = tasks
        self._parent = parent
        self._monotonic = monotonic
        self._room = asyncio.Semaphore(FRAMES_WAITING)
        self._in: asyncio.Queue[str | bytes | Effect | None] = asyncio.Queue()
        self._out: asyncio.Queue[str | None] = asyncio.Queue(MESSAGES_WAITING)
        self._over = False
        self._worker = tasks.spawn(f"agent {link.agent_id}", self._work, parent=parent, kind="agent")
        self._writer = tasks.spawn(f"to agent {link.agent_id}", self._write, parent=parent, kind="agent")

    @property
    def agent_id(self) -> str:
        """Whose connection this is."""
        return self.link.agent_id

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._over

    # For the socket.

    async def receive(self, frame: str | bytes) -> None:
        """One text frame; returns when there is room for the next."""
        if self._over:
            return
        self.link.alive(self._monotonic())
        await self._room.acquire()
        if not self._over:
            self._in.put_nowait(frame)

    async def closed(self) -> None:
        """The socket has ended, whoever ended it. What it brought is still worked on."""
        self.link.close(CloseCode.NORMAL, "")
        self._finish()

    # For the domain.

    def say(self, message: ToAgent) -> None:
        """Send a message beside the commands."""
        self.perform([Send(message)])

    def perform(self, effects: Iterable[Effect]) -> None:
        """Do what the link wants done; what needs the domain waits its turn behind what came in before."""
        for effect in effects:
            if isinstance(effect, Send):
                self._put(encode(effect.message))
            elif isinstance(effect, Sent | Acked):
                self._domain.sent(effect)
            elif isinstance(effect, Close):
                self._end(effect)
            else:
                self._in.put_nowait(effect)

    def tick(self, now: float) -> None:
        """The time has moved on."""
        effects = self.link.tick(now)
        if effects:
            self.perform(effects)

    def end(self, code: int, reason: str) -> None:
        """Close from this side."""
        self.perform(self.link.close(code, reason))

    # Inside.

    def _put(self, frame: str) -> None:
        if self._over:
            return
        try:
            self._out.put_nowait(frame)
        except asyncio.QueueFull:
            self.end(CloseCode.HEARTBEAT_LOST, f"{MESSAGES_WAITING} messages wait: the agent does not read")

    def _end(self, close: Close) -> None:
        if self._over:
            return
        log.info("agent's connection closed", agent=self.agent_id, code=close.code, reason=close.reason)
        self._finish()

        async def tell() -> None:
            try:
                async with asyncio.timeout(CLOSE_WITHIN):
                    await self._close(close.code, close.reason)
            except Exception:
                log.debug("agent's socket was gone already", agent=self.agent_id, exc_info=True)

        self._tasks.spawn(f"close agent {self.agent_id}", tell, parent=self._parent, kind="agent")

    def _finish(self) -> None:
        if self._over:
            return
        self._over = True
        self._in.put_nowait(None)
        while not self._out.empty():
            self._out.get_nowait()
        self._out.put_nowait(None)
        self._room.release()
        self._domain.dropped(self)

    async def _work(self) -> None:
        """What came in, one after another."""
        while True:
            item = await self._in.get()
            if item is None:
                return
            if isinstance(item, str | bytes):
                for effect in self.link.receive(item, self._monotonic()):
                    if isinstance(effect, Send | Close | Sent | Acked):
                        self.perform([effect])
                    else:
                        await self._handle(effect)
                self._room.release()
            else:
                await self._handle(item)

    async def _handle(self, effect: Effect) -> None:
        try:
            await self._domain.handle(self, effect)
        except Exception:
            log.exception("an agent's message broke", agent=self.agent_id, effect=type(effect).__name__)
            self.end(CloseCode.INTERNAL, "the broker failed at a message")

    async def _write(self) -> None:
        while True:
            frame = await self._out.get()
            if frame is None:
                return
            try:
                async with asyncio.timeout(SEND_WITHIN):
                    await self._send(frame)
            except Exception:
                log.debug("agent's socket takes nothing", agent=self.agent_id, exc_info=True)
                self.end(CloseCode.HEARTBEAT_LOST, "the agent's socket takes nothing")
                return
