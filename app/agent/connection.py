"""The agent's control connection: one WebSocket at a time, begun again with jitter for as long as the agent lives.

Owned by ``agent.py``, which gives it the protocol (``link.py``) and gets the effects. Reading never waits for writing:
what is to be sent goes through a bounded queue, and a broker that does not read it loses the connection. Serves the
StreamSpace document (seed 001, "WebSocket Protocol": connection lifecycle).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from app.agent.link import Effect, HangUp, Link
from app.agent.options import AgentOptions
from app.agent_protocol import FRAME_LIMIT, CloseCode, FromAgent, encode
from app.logs import get_logger

log = get_logger("agent.connection")

FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0
REPLACED_WAIT = 60.0
"""Another agent goes by our name and won; to come back at once would only throw it out in turn."""
ALIVE_AFTER = 10.0
"""Seconds of life, or one command, after which the back-off begins anew."""
OPEN_WITHIN = 10.0
PING = 20.0
OUTBOX = 2000
BULK = 16
"""Messages queued beyond which logs and pictures wait."""
SEND_WITHIN = 20.0
TICK = 0.5


class BackOff:
    """Seconds before the next try: doubling, with jitter, so that agents that lost one broker do not come as one."""

    def __init__(self, random_source: Callable[[], float] = random.random) -> None:
        self._random = random_source
        self._wait = FIRST_WAIT

    def next(self) -> float:
        """How long to wait now; the next wait is longer."""
        wait = self._wait
        self._wait = min(self._wait * 2, LONGEST_WAIT)
        return wait * (0.5 + self._random() / 2)

    def reset(self) -> None:
        """The connection proved good."""
        self._wait = FIRST_WAIT


class Outbox:
    """What one connection has to send; of logs and pictures only so many at once."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[tuple[str, bool]] = asyncio.Queue(OUTBOX)
        self.bulk = asyncio.Semaphore(BULK)


class Connection:
    """Connects, feeds the link, carries out what concerns the wire, and hands on the rest."""

    def __init__(
        self,
        options: AgentOptions,
        link: Link,
        act: Callable[[Effect], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._link = link
        self._act = act
        self._clock = clock
        self._tls = options.tls()
        self._back_off = BackOff()
        self._outbox: Outbox | None = None
        self._socket: ClientConnection | None = None
        self._close_code = 0
        self.up = asyncio.Event()
        """Set while the broker listens to us."""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                why = await self._once()
            except Exception as error:
                log.exception("the connection failed unexpectedly")
                why = repr(error)
            wait = REPLACED_WAIT if self._close_code == CloseCode.REPLACED else self._back_off.next()
            log.warning("no connection to the broker", broker=self._options.broker, why=why, again_in=round(wait, 1))
            await asyncio.sleep(wait)

    def send(self, message: FromAgent, *, bulk: bool = False) -> bool:
        """Queue a message; False when there is no connection, or the broker does not read."""
        if self._outbox is None:
            return False
        try:
            self._outbox.queue.put_nowait((encode(message), bulk))
        except asyncio.QueueFull:
            self.hang_up("the broker does not read")
            return False
        return True

    async def deliver(self, message: FromAgent) -> bool:
        """The same for bulk: waits while much of it is queued, so that acknowledgements never stand behind it."""
        outbox = self._outbox
        if outbox is None:
            return False
        await outbox.bulk.acquire()
        if outbox is not self._outbox:
            outbox.bulk.release()  # whoever waits too learns that there is no connection
            return False
        return self.send(message, bulk=True)

    async def flush(self, within: float) -> None:
        """Wait until everything queued went out, but not for long."""
        outbox = self._outbox
        if outbox is None:
            return
        try:
            async with asyncio.timeout(within):
                await outbox.queue.join()
        except TimeoutError:
            return

    def hang_up(self, reason: str) -> None:
        """End this connection; ``run`` begins the next."""
        if self._socket is not None:
            log.warning("hanging up", reason=reason)
            self._outbox = None
            self._socket.transport.abort()

    async def _once(self) -> str:
        """One connection from dialling to its end; why it ended."""
        headers = {"Authorization": f"Bearer {self._options.key}"} if self._options.key else {}
        self._close_code = 0
        try:
            socket = await connect(
                self._options.control_url(),
                additional_headers=headers,
                compression=None,
                max_size=FRAME_LIMIT,
                max_queue=64,
                ping_interval=PING,
                ping_timeout=PING,
                open_timeout=OPEN_WITHIN,
                close_timeout=2,
                ssl=self._tls,
                proxy=None,
            )
        except InvalidStatus as error:
            body = (error.response.body or b"")[:300].decode("utf-8", "replace")
            return f"refused with status {error.response.status_code} {body}".strip()
        except (OSError, WebSocketException, TimeoutError, EOFError) as error:
            return f"{type(error).__name__}: {error}"
        try:
            return await self._talk(socket)
        finally:
            self._link.closed()
            self._outbox = self._socket = None
            self.up.clear()
            await socket.close(CloseCode.SHUTDOWN, "agent ends")

    async def _talk(self, socket: ClientConnection) -> str:
        """The life of one connection."""
        self._socket = socket
        outbox = Outbox()
        self._outbox = outbox
        self.carry_out(self._link.connected(self._clock()))
        helpers = [asyncio.create_task(self._write(socket, outbox)), asyncio.create_task(self._tick())]
        try:
            return await self._read(socket)
        finally:
            self._outbox = None
            outbox.bulk.release()  # those who wait to send look again, one after the other
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)

    async def _read(self, socket: ClientConnection) -> str:
        try:
            while True:
                frame = await socket.recv()
                effects = self._link.receive(frame, self._clock())
                self.carry_out(effects)
        except ConnectionClosed as closed:
            self._close_code = closed.rcvd.code if closed.rcvd is not None else 0
            return str(closed)

    async def _write(self, socket: ClientConnection, outbox: Outbox) -> None:
        try:
            while True:
                text, bulk = await outbox.queue.get()
                async with asyncio.timeout(SEND_WITHIN):
                    await socket.send(text)
                outbox.queue.task_done()
                if bulk:
                    outbox.bulk.release()
        except TimeoutError:
            self.hang_up("the broker does not read")
        except ConnectionClosed:
            return  # the reader hears of it too

    async def _tick(self) -> None:
        began = self._clock()
        while True:
            await asyncio.sleep(TICK)
            now = self._clock()
            if now - began >= ALIVE_AFTER:
                self._back_off.reset()
            self.carry_out(self._link.tick(now))

    def proved(self) -> None:
        """The broker gave us something to do: this connection is good."""
        self._back_off.reset()

    def carry_out(self, effects: list[Effect]) -> None:
        """Do what the link decided, in its order."""
        for effect in effects:
            if isinstance(effect, HangUp):
                self.hang_up(effect.reason)
            else:
                self._act(effect)
