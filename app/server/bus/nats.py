"""The broker's connection to NATS: requests that fail at once, publishes that never wait, subscriptions that last.

Built by ``main.py``; used by the streams domain. It connects again for ever and keeps the health part ``nats``.
One connection is one client of nats-py without that library's own reconnecting, so that a request under way
fails the moment the server is gone instead of at its time-out.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Awaitable, Callable

import nats.aio.client
import nats.errors
from nats.aio.msg import Msg

from app.errors import NoAnswer, Unavailable
from app.logs import clean, get_logger
from app.server.health import Health
from app.server.tasks import TaskNode, TaskTree

log = get_logger("bus")

Handler = Callable[[str, bytes], Awaitable[None] | None]

OUTBOX_MESSAGES = 10_000
OUTBOX_BYTES = 16 * 1024 * 1024
GATHER = 0.002
"""Seconds that publishes gather: one write for many, and none while the answer that caused them is under way."""
RETRY = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds between attempts to connect; the last one repeats."""
CONNECT_TIMEOUT = 2
PENDING_BYTES = 16 * 1024 * 1024
NO_RESPONDERS = "503"


class Bus:
    """A client of one NATS server. ``dropped`` counts publishes that were given up while it was away."""

    def __init__(
        self, tree: TaskTree, health: Health, url: Callable[[], str], *, explain: Callable[[], str] = lambda: ""
    ) -> None:
        self.dropped = 0
        self._tree = tree
        self._health = health
        self._url = url
        self._explain = explain
        self._inbox = f"_CALLBOARD.{secrets.token_hex(8)}"
        self._client: nats.aio.client.Client | None = None
        self._waiting: dict[str, asyncio.Future[bytes]] = {}
        self._handlers: list[tuple[str, Handler]] = []
        self._outbox: deque[tuple[str, bytes]] = deque()
        self._outbox_bytes = 0
        self._wake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._first = asyncio.Event()
        self._node: TaskNode | None = None

    @property
    def connected(self) -> bool:
        """Whether a request has a chance now."""
        return self._client is not None and self._client.is_connected

    @property
    def waiting(self) -> int:
        """Requests without an answer yet, and messages that have not been sent."""
        return len(self._waiting) + len(self._outbox)

    async def start(self, wait: float = 3.0) -> None:
        """Begin to connect; returns when that succeeded or after ``wait`` seconds, and goes on trying."""
        self._node = self._tree.spawn("bus", self._run, restart="on_failure", kind="bus")
        try:
            async with asyncio.timeout(wait):
                await self._first.wait()
        except TimeoutError:
            log.warning("NATS is away at the start", reason=self._explain())

    async def stop(self) -> None:
        """Send what waits, for a second at most, and close."""
        client = self._client
        if client is not None and client.is_connected:
            try:
                async with asyncio.timeout(1.0):
                    await self._send_outbox(client)
                    await _settled(client)
            except (TimeoutError, nats.errors.Error, OSError) as error:
                log.warning("bus closed with unsent messages", count=len(self._outbox), error=repr(error))
        if self._timer is not None:
            self._timer.cancel()
        if self._node is not None:
            await self._node.stop(3.0)

    async def request(self, subject: str, payload: bytes, timeout: float) -> bytes:
        """The first answer. Raises ``NoAnswer``, or ``Unavailable`` at once (``no_responders``, ``bus_away``)."""
        client = self._client
        if client is None or not client.is_connected:
            raise self._away()
        token = secrets.token_hex(8)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[token] = answer
        try:
            async with asyncio.timeout(timeout):
                await client.publish(subject, payload, reply=f"{self._inbox}.{token}")
                return await answer
        except TimeoutError:
            raise NoAnswer(f"No answer on {subject} within {timeout:g} s") from None
        except (nats.errors.Error, OSError) as error:
            raise Unavailable(f"NATS request failed: {error}", code="bus_away") from error
        finally:
            del self._waiting[token]

    def publish(self, subject: str, payload: bytes) -> None:
        """Send without waiting; while NATS is away the newest messages are kept, within a bound."""
        self._outbox.append((subject, payload))
        self._outbox_bytes += len(payload)
        while len(self._outbox) > OUTBOX_MESSAGES or self._outbox_bytes > OUTBOX_BYTES:
            self._outbox_bytes -= len(self._outbox.popleft()[1])
            self.dropped += 1
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER, self._send_soon)

    def _send_soon(self) -> None:
        self._timer = None
        self._wake.set()

    async def subscribe(self, subject: str, handler: Handler) -> None:
        """Call ``handler(subject, payload)`` for each message, now and after every reconnect."""
        self._handlers.append((subject, handler))
        client = self._client
        if client is not None and client.is_connected:
            await self._attach(client, subject, handler)
            await _settled(client)

    async def _run(self) -> None:
        attempt = 0
        while True:
            closed = asyncio.Event()
            client = nats.aio.client.Client()
            try:
                await self._connect(client, closed)
                attempt = 0
                await self._serve(client, closed)
                log.warning("NATS is gone", reason=self._explain())
            except (nats.errors.Error, OSError, TimeoutError) as error:
                reason = clean(str(client.last_error or error) or repr(error))
                if attempt == 0:
                    log.warning("NATS cannot be reached", error=reason)
                self._lost(reason)
                await asyncio.sleep(RETRY[min(attempt, len(RETRY) - 1)])
                attempt += 1
            else:
                self._lost("the connection broke")
            finally:
                await self._close(client)

    async def _connect(self, client: nats.aio.client.Client, closed: asyncio.Event) -> None:
        async def on_error(error: Exception) -> None:
            log.info("bus error", error=clean(str(error) or repr(error)))

        async def on_closed() -> None:
            closed.set()
            self._wake.set()

        await client.connect(
            self._url(),
            name="callboard broker",
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=CONNECT_TIMEOUT,
            error_cb=on_error,
            closed_cb=on_closed,
            disconnected_cb=on_closed,
            ping_interval=5,
            max_outstanding_pings=2,
        )
        await client.subscribe(f"{self._inbox}.*", cb=self._answered)
        for subject, handler in self._handlers:
            await self._attach(client, subject, handler)
        await _settled(client)

    async def _serve(self, client: nats.aio.client.Client, closed: asyncio.Event) -> None:
        """Send what is published until the connection closes."""
        self._client = client
        self._health.set("nats", True)
        self._first.set()
        if self.dropped:
            log.warning("messages were dropped while NATS was away", dropped=self.dropped)
        while not closed.is_set():
            self._wake.clear()
            await self._send_outbox(client)
            await self._wake.wait()

    async def _send_outbox(self, client: nats.aio.client.Client) -> None:
        outbox = self._outbox
        while outbox and client.is_connected:
            subject, payload = outbox.popleft()
            self._outbox_bytes -= len(payload)
            try:
                await client.publish(subject, payload)
            except (nats.errors.BadSubjectError, nats.errors.MaxPayloadError) as error:
                self.dropped += 1
                log.warning("message cannot be published", subject=subject, error=repr(error))

    async def _attach(self, client: nats.aio.client.Client, subject: str, handler: Handler) -> None:
        async def deliver(message: Msg) -> None:
            try:
                waits = handler(message.subject, message.data)
                if waits is not None:
                    await waits
            except Exception:
                log.exception("bus handler failed", subject=message.subject)

        await client.subscribe(subject, cb=deliver, pending_bytes_limit=PENDING_BYTES)

    async def _answered(self, message: Msg) -> None:
        answer = self._waiting.get(message.subject[len(self._inbox) + 1 :])
        if answer is None or answer.done():
            return
        if message.headers and not message.data and message.headers.get("Status") == NO_RESPONDERS:
            text = "NATS request failed: no responders available for request"
            answer.set_exception(Unavailable(text, code="no_responders"))
        else:
            answer.set_result(message.data)

    def _lost(self, reason: str) -> None:
        """The connection is gone: say so, and fail every request that waits on it."""
        self._client = None
        self._health.set("nats", False, self._explain() or f"NATS is away: {reason}", take_down=True)
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(self._away())

    def _away(self) -> Unavailable:
        return Unavailable("NATS is away: no stream can be requested now", code="bus_away")

    async def _close(self, client: nats.aio.client.Client) -> None:
        try:
            async with asyncio.timeout(1.0):
                await client.close()
        except (TimeoutError, nats.errors.Error, OSError) as error:
            log.info("bus did not close cleanly", error=repr(error))


async def _settled(client: nats.aio.client.Client) -> None:
    """Return when the server knows our subscriptions. nats-py writes a flush ahead of a subscription that waits."""
    await client.flush(CONNECT_TIMEOUT)
    await client.flush(CONNECT_TIMEOUT)
