"""The broker's place on NATS: requests that fail at once, publishes that never wait, subscriptions that last.

Built by ``main.py``; used by the streams domain. It connects again for ever and keeps the health part ``nats``. A
request under way fails the moment the connection is gone instead of at its time-out.
"""

from __future__ import annotations

import asyncio
import inspect
import secrets
from collections import deque
from collections.abc import Awaitable, Callable

from app.errors import NoAnswer, Unavailable
from app.logs import clean, get_logger
from app.server.bus import wire
from app.server.bus.link import Link, open_link
from app.server.health import Health
from app.server.tasks import TaskNode, TaskTree

log = get_logger("bus")

Handler = Callable[[str, bytes], Awaitable[None] | None]

OUTBOX_MESSAGES = 10_000
OUTBOX_BYTES = 16 * 1024 * 1024
INBOX_MESSAGES = 10_000
WRITE_BYTES = 64 * 1024
RETRY = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds between attempts to connect; the last one repeats."""
CONNECT_TIMEOUT = 2.0
ASK_AGAIN = 5.0
"""Seconds between two looks whether the server still refuses: who mends its rules need not end our connection."""
TOLD_LIMIT = 1000
NO_RESPONDERS = b"503"
REQUESTS = "maestra.stream.request."
"""What questions begin with; a server that refuses one refuses them all."""


class Bus:
    """A client of one NATS server. ``dropped`` counts messages that were given up, out or in."""

    def __init__(
        self, tree: TaskTree, health: Health, url: Callable[[], str], *, explain: Callable[[], str] = lambda: ""
    ) -> None:
        self.dropped = 0
        self._tree = tree
        self._health = health
        self._url = url
        self._explain = explain
        self._inbox = f"_CALLBOARD.{secrets.token_hex(8)}"
        self._token = secrets.token_hex(8)
        """Where the next answer comes to: nobody who has been asked once may guess it."""
        self._nobody = f"{REQUESTS}{secrets.token_hex(8)}"
        """A question that no publisher hears, to learn whether questions are let through."""
        self._link: Link | None = None
        self._refused = ""
        self._mute = False
        self._heard: tuple[str, bool] = "", False
        """What was refused since the last look, and whether that takes our voice."""
        self._told: set[str] = set()
        """Refusals that are in the log already."""
        self._waiting: dict[str, asyncio.Future[bytes]] = {}
        self._handlers: list[tuple[str, Handler]] = []
        self._outbox: deque[bytes] = deque()
        self._outbox_bytes = 0
        self._flushing: asyncio.Handle | None = None
        self._arrived: deque[tuple[Handler, str, bytes]] = deque()
        self._arrival = asyncio.Event()
        self._first = asyncio.Event()
        self._node: TaskNode | None = None

    @property
    def connected(self) -> bool:
        """Whether a request has a chance now."""
        return self._link is not None and self._link.alive

    @property
    def waiting(self) -> int:
        """Requests without an answer yet, and messages that wait to be sent or delivered; a figure of ``/metrics``."""
        return len(self._waiting) + len(self._outbox) + len(self._arrived)

    async def start(self, wait: float = 3.0) -> None:
        """Begin to connect; returns when that succeeded or after ``wait`` seconds, and goes on trying."""
        self._node = self._tree.spawn("bus", self._run, restart="on_failure", kind="bus")
        self._tree.spawn("deliveries", self._deliver, parent=self._node, restart="on_failure", kind="bus")
        try:
            async with asyncio.timeout(wait):
                await self._first.wait()
        except TimeoutError:
            log.warning("NATS is away at the start", reason=self._explain())

    async def stop(self) -> None:
        """Send what waits, for a second at most, and close."""
        link = self._link
        if link is not None and link.alive:
            try:
                async with asyncio.timeout(1.0):
                    self._flush()
                    await link.settled()
            except (TimeoutError, Unavailable) as error:
                log.warning("bus closed with unsent messages", count=len(self._outbox), error=repr(error))
        if self._flushing is not None:
            self._flushing.cancel()
        if self._node is not None:
            await self._node.stop(3.0)

    def request(self, subject: str, payload: bytes, timeout: float) -> asyncio.Future[bytes]:
        """Send a question now; the future gets the first answer, so there is time to do something else meanwhile.

        It fails with ``NoAnswer``, or with ``Unavailable`` at once (``no_responders``, ``bus_away``).
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()
        link = self._link
        if link is None or not link.alive or self._mute:
            answer.set_exception(_away(self._refused))
            return answer
        if not wire.is_subject(subject) or len(payload) > link.max_payload:
            text = f"NATS cannot carry this request of {len(payload)} bytes"
            answer.set_exception(Unavailable(text, code="bus_away"))
            return answer
        token = self._token
        link.write(wire.publish(subject, payload, f"{self._inbox}.{token}"))
        self._token = secrets.token_hex(8)
        self._waiting[token] = answer
        patience = loop.call_later(timeout, _give_up, answer, subject, timeout)

        def forget(_: asyncio.Future[bytes]) -> None:
            patience.cancel()
            del self._waiting[token]

        answer.add_done_callback(forget)
        return answer

    def publish(self, subject: str, payload: bytes) -> None:
        """Send without waiting; while NATS is away the newest messages are kept, within a bound."""
        limit = self._link.max_payload if self._link is not None else OUTBOX_BYTES
        if not wire.is_subject(subject) or len(payload) > limit:
            self.dropped += 1
            log.warning("message cannot be published", subject=subject, bytes=len(payload))
            return
        frame = wire.publish(subject, payload)
        self._outbox.append(frame)
        self._outbox_bytes += len(frame)
        while len(self._outbox) > OUTBOX_MESSAGES or self._outbox_bytes > OUTBOX_BYTES:
            self._outbox_bytes -= len(self._outbox.popleft())
            self.dropped += 1
        if self._flushing is None and self._link is not None:  # one write for many
            self._flushing = asyncio.get_running_loop().call_soon(self._flush)

    async def subscribe(self, subject: str, handler: Handler) -> None:
        """Call ``handler(subject, payload)`` for each message, now and after every reconnect."""
        self._handlers.append((subject, handler))
        link = self._link
        if link is not None and link.alive:
            self._attach(link, subject, handler)
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    await link.settled()
            except (TimeoutError, Unavailable) as error:
                log.info("subscribed while NATS goes away", subject=subject, reason=str(error))

    async def _run(self) -> None:
        attempt = 0
        while True:
            link: Link | None = None
            try:
                link = await self._connect()
                attempt = 0
                reason = await self._until_closed(link)
                log.warning("NATS is gone", reason=self._explain() or reason)
            except (Unavailable, TimeoutError) as error:
                reason = clean(str(error) or "no answer in time")
                if attempt == 0:
                    log.warning("NATS cannot be reached", error=reason)
            finally:
                self._lost()
                if link is not None:
                    link.close()
            self._health.set("nats", False, self._explain() or f"NATS is away: {reason}", take_down=True)
            await asyncio.sleep(RETRY[min(attempt, len(RETRY) - 1)])
            attempt += 1

    async def _connect(self) -> Link:
        """A link with everything subscribed; what waited is on its way."""
        link = await open_link(self._url(), self._flush, CONNECT_TIMEOUT)
        self._refused, self._mute = self._heard = "", False
        self._told.clear()
        link.on_refusal = self._on_refusal
        try:
            link.subscribe(f"{self._inbox}.*", self._answered)
            attached = -1
            async with asyncio.timeout(CONNECT_TIMEOUT):
                while attached < len(self._handlers):  # more may be added while we wait
                    for subject, handler in self._handlers[max(attached, 0) :]:
                        self._attach(link, subject, handler)
                    attached = len(self._handlers)
                    await link.settled()
        except (Unavailable, TimeoutError):
            link.close()
            raise
        self._link = link
        self._health.set("nats", not self._refused, self._refused, take_down=self._mute)
        self._first.set()
        if self.dropped:
            log.warning("messages were dropped so far", dropped=self.dropped)
        self._flush()
        return link

    def _on_refusal(self, text: str) -> None:
        """The server's account may not do what a broker does. What takes need counts more than what is announced."""
        mute = self._inbox in text or REQUESTS in text
        if text not in self._told and len(self._told) < TOLD_LIMIT:
            self._told.add(text)
            log.warning("NATS refuses", reason=text)
        heard = f"NATS does not let this broker work: {text}", mute
        if not self._heard[0] or (mute and not self._heard[1]):
            self._heard = heard
        if self._mute or (self._refused and not mute):
            return
        self._refused, self._mute = heard
        if self._link is not None:
            self._health.set("nats", False, self._refused, take_down=mute)

    async def _until_closed(self, link: Link) -> str:
        """Why the link closed; as long as the server refuses something, ask again whether it still does."""
        while not link.closed.done():
            await asyncio.wait([link.closed], timeout=ASK_AGAIN)
            if self._refused and link.alive:
                await self._ask_again(link)
        return link.closed.result()

    async def _ask_again(self, link: Link) -> None:
        """Do again what may be refused and harms nobody; a refusal that is not repeated until the next look is over.

        Announcements cannot be tried in vain: those that are due tell.
        """
        link.subscribe_again()
        if self._mute:
            link.write(wire.publish(self._nobody, b"", f"{self._inbox}.0"))
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await link.settled()
        except (Unavailable, TimeoutError):
            return  # its keep-alive finds out
        before = self._refused, self._mute
        (self._refused, self._mute), self._heard = self._heard, ("", False)
        if (self._refused, self._mute) == before:
            return
        if not self._refused:
            self._told.clear()
            log.info("NATS lets this broker work again")
        self._health.set("nats", not self._refused, self._refused, take_down=self._mute)

    def _attach(self, link: Link, subject: str, handler: Handler) -> None:
        """A coroutine is awaited by the node of deliveries, in order; a plain function is called on the spot."""
        waits = inspect.iscoroutinefunction(handler)

        def take(subject: str, payload: bytes, _: bytes) -> None:
            if waits:
                self._arrived.append((handler, subject, payload))
                if len(self._arrived) > INBOX_MESSAGES:
                    self._arrived.popleft()
                    self.dropped += 1
                self._arrival.set()
                return
            try:
                handler(subject, payload)
            except Exception:
                log.exception("bus handler failed", subject=subject)

        link.subscribe(subject, take)

    async def _deliver(self) -> None:
        while True:
            while self._arrived:
                handler, subject, payload = self._arrived.popleft()
                try:
                    waits = handler(subject, payload)
                    if waits is not None:
                        await waits
                except Exception:
                    log.exception("bus handler failed", subject=subject)
            self._arrival.clear()
            await self._arrival.wait()

    def _flush(self) -> None:
        """Write what has gathered, as much as the connection takes."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        link, outbox = self._link, self._outbox
        while outbox and link is not None and link.alive and link.writable:
            frames = []
            size = 0
            while outbox and size < WRITE_BYTES:
                frames.append(outbox.popleft())
                size += len(frames[-1])
            self._outbox_bytes -= size
            link.write(b"".join(frames))

    def _answered(self, subject: str, payload: bytes, status: bytes) -> None:
        answer = self._waiting.get(subject[len(self._inbox) + 1 :])
        if answer is None or answer.done():
            return
        if status == NO_RESPONDERS and not payload:
            text = "NATS request failed: no responders available for request"
            answer.set_exception(Unavailable(text, code="no_responders"))
        else:
            answer.set_result(payload)

    def _lost(self) -> None:
        """The connection is gone: fail every request that waits on it."""
        self._link = None
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(_away())


def _give_up(answer: asyncio.Future[bytes], subject: str, timeout: float) -> None:
    if not answer.done():
        answer.set_exception(NoAnswer(f"No answer on {subject} within {timeout:g} s"))


def _away(why: str = "") -> Unavailable:
    return Unavailable(why or "NATS is away: no stream can be requested now", code="bus_away")
