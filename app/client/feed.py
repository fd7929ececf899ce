"""The console feed as a client sees it: connect, decode, watch its age and its numbers, reconnect.

Called by ``app/ui`` (its store is fed from ``on_message``) and by the one-line verbs through ``snapshot.py``. As
ARCHITECTURE.md says, a gap, a silence or a broken connection leads to a new snapshot, never to a silent hole. No Qt.

* Messages reach ``on_message`` in order and without a gap; a diff that does not follow is not handed on.
* ``on_link`` gets a ``Link`` at each change; only ``live`` means that what is shown is true now.
* A resync is a new connection: the broker answers each connection with a whole snapshot.
* A listener that fails is told to the loop's exception handler, and costs this connection, not the feed.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode

import msgspec

from app.client.transport import base_url_of, feed_url_of, ssl_context_for
from app.contract import FEED_STALE_AFTER, PROTOCOL, Diff, FeedMessage, Hello, Pulse, Snapshot

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection

OPEN_TIMEOUT = 5.0
CLOSE_TIMEOUT = 1.0
GIVE_UP_AFTER = 10.0
"""Seconds of silence after which a connection that is still open is given up for a new one."""
BACKOFF_FIRST = 0.25
BACKOFF_LAST = 8.0
LAST_FAILURE = 16
"""After so many failures the wait grows no more, whatever it began with."""
STEADY_AFTER = 10.0
"""Seconds a feed has to be live before the next break counts as the first one again."""
LARGEST_MESSAGE = 32 * 1024 * 1024
"""A snapshot part is at most 1,000 rows; anything beyond this is not a feed."""

LinkState = Literal["connecting", "live", "down"]
LinkCode = Literal["", "unreachable", "refused", "protocol", "stale", "gap", "closed", "bad_message", "failed"]


@dataclass(frozen=True)
class Link:
    """How the feed stands. ``since`` is this machine's clock: when it went live, or was last heard before it broke."""

    state: LinkState
    since: float
    text: str = ""
    code: LinkCode = ""
    read_only: bool = False
    """True when this console and the broker may not act on each other (another protocol, or the broker says so)."""


class _Broken(Exception):
    """This connection is of no more use; says why."""

    def __init__(self, code: LinkCode, text: str, *, at_once: bool = False) -> None:
        super().__init__(text)
        self.code: LinkCode = code
        self.text = text
        self.at_once = at_once


class _Protocol(msgspec.Struct, tag="hello", tag_field="t"):
    """As much of a ``Hello`` as every version of it has."""

    protocol: int


class Numbers:
    """The sequence of one connection: whether each message follows the one before it. No I/O, no clock."""

    def __init__(self) -> None:
        self.seq: int | None = None
        self._part = 0
        self._parts = 0
        self._pulse: int | None = None

    @property
    def whole(self) -> bool:
        """True once a snapshot is complete."""
        return self.seq is not None and self._part == self._parts

    def snapshot(self, message: Snapshot) -> str:
        """Why this part does not follow; empty when it does."""
        first = message.part == 1
        if not first and (message.part != self._part + 1 or message.seq != self.seq or message.parts != self._parts):
            return f"snapshot part {message.part} of {message.parts} came after part {self._part}"
        if not 1 <= message.part <= message.parts:
            return f"snapshot part {message.part} of {message.parts}"
        self.seq, self._part, self._parts, self._pulse = message.seq, message.part, message.parts, None
        return ""

    def diff(self, message: Diff) -> str:
        """The same for a batch of events."""
        if self.seq is None or not self.whole:
            return "events came before the snapshot was complete"
        seq = self.seq
        for event in message.events:
            if event.seq != seq + 1:
                return f"event {event.seq} came after {seq}"
            seq = event.seq
        self.seq = seq
        return ""

    def pulse(self, message: Pulse) -> str:
        """The same for a beat. A batch may be under way, so events may lag one beat behind it, not two."""
        if self.seq is None or not self.whole:
            return ""
        before, self._pulse = self._pulse, message.seq
        if before is not None and self.seq < before:
            return f"events up to {before} were announced and {self.seq} is the last that came"
        if message.seq < self.seq:
            return f"the broker counts {message.seq} and {self.seq} has come already"
        return ""


class FeedClient:
    """Keeps one feed running for ever; see the module's docstring for what it promises."""

    def __init__(
        self,
        url: str,
        token: str | None,
        on_message: Callable[[FeedMessage], None],
        on_link: Callable[[Link], None],
        *,
        stale_after: float = FEED_STALE_AFTER,
        backoff: tuple[float, float] = (BACKOFF_FIRST, BACKOFF_LAST),
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._base = base_url_of(url)
        self._token = token
        self._on_message = on_message
        self._on_link = on_link
        self._stale_after = stale_after
        self._backoff = backoff
        self._jitter = jitter
        self._decoder: msgspec.json.Decoder[FeedMessage] = msgspec.json.Decoder(FeedMessage)
        self._wake = asyncio.Event()
        self._heard_at = time.time()
        self._heard = time.monotonic()
        self._numbers = Numbers()
        self._read_only = False
        self._failures = 0
        self._live_at: float | None = None
        self.link = Link("connecting", self._heard_at, f"Connecting to {self._base}")

    @property
    def seq(self) -> int | None:
        """The last number that came, None before the first snapshot."""
        return self._numbers.seq

    @property
    def age(self) -> float:
        """Seconds since anything came from the broker."""
        return time.monotonic() - self._heard

    def resync(self) -> None:
        """Ask for a new snapshot now (F5), by a new connection; also cuts a back-off short."""
        self._failures = 0
        self._wake.set()

    def retarget(self, url: str, token: str | None) -> None:
        """Follow another broker, or the same one with another token or port; reconnects at once on a change."""
        base = base_url_of(url)
        if (base, token) != (self._base, self._token):
            self._base, self._token = base, token
            self.resync()

    def renew(self, token: str) -> None:
        """Use another token of the same person from the next connection on; the present one goes on."""
        self._token = token

    async def run(self) -> None:
        """Run until cancelled."""
        self._on_link(self.link)
        await asyncio.to_thread(importlib.import_module, "websockets.asyncio.client")
        while True:
            self._wake.clear()
            try:
                await self._connection()
            except _Broken as broken:
                await self._pause(broken)
            except Exception as error:  # noqa: BLE001 - told to the loop's exception handler
                asyncio.get_running_loop().call_exception_handler({"message": "the feed", "exception": error})
                await self._pause(_Broken("failed", f"This console failed on what the broker sent: {error}."))

    # -- one connection ----------------------------------------------------------------------------------------

    async def _connection(self) -> None:
        """One connection from open to broken; always ends by ``_Broken`` or cancellation."""
        from websockets.asyncio.client import connect
        from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

        base = self._base
        query = "?" + urlencode({"token": self._token}) if self._token else ""
        try:
            async with connect(
                feed_url_of(base) + query,
                ssl=ssl_context_for(base) if base.startswith("https:") else None,
                open_timeout=OPEN_TIMEOUT,
                close_timeout=CLOSE_TIMEOUT,
                ping_interval=None,
                compression=None,
                proxy=None,
                max_size=LARGEST_MESSAGE,
                user_agent_header=None,
            ) as connection:
                await self._listen(connection)
        except InvalidStatus as error:
            raise _refusal(base, error.response.status_code) from error
        except TimeoutError as error:
            raise _Broken("unreachable", f"{base} does not answer.") from error
        except OSError as error:
            raise _Broken("unreachable", f"No broker answers at {base}: {_reason(error)}.") from error
        except ConnectionClosed as error:
            why = f": {error.rcvd.reason}" if error.rcvd is not None and error.rcvd.reason else ""
            raise _Broken("closed", f"{base} closed the feed{why}.") from error
        except WebSocketException as error:
            raise _Broken("closed", f"The feed of {base} broke: {str(error) or type(error).__name__}") from error

    async def _listen(self, connection: ClientConnection) -> None:
        """Take messages until something is wrong; a wish to resync counts as such."""
        self._numbers = Numbers()
        self._read_only = False
        self._touch()
        wish = asyncio.ensure_future(self._wake.wait())
        receive: asyncio.Future[bytes] | None = None
        try:
            while True:
                if receive is None:
                    receive = asyncio.ensure_future(connection.recv(decode=False))
                both: set[asyncio.Future[Any]] = {wish, receive}
                await asyncio.wait(both, timeout=self._patience(), return_when=asyncio.FIRST_COMPLETED)
                if wish.done():
                    raise _Broken("", "Asking for a new snapshot.", at_once=True)
                if receive.done():
                    frame, receive = receive.result(), None
                    self._take(frame)
                else:
                    self._silence()
        finally:
            wish.cancel()
            if receive is not None:
                receive.cancel()
                await asyncio.wait({receive}, timeout=CLOSE_TIMEOUT)

    def _patience(self) -> float:
        """Seconds until the silence has to be looked at."""
        limit = self._stale_after if self.link.state == "live" else GIVE_UP_AFTER
        return max(0.01, limit - self.age)

    def _silence(self) -> None:
        """Nothing came for a while: say so, and after a longer while give the connection up."""
        silent = self.age
        if silent >= GIVE_UP_AFTER:
            raise _Broken("stale", f"Nothing from {self._base} for {silent:.0f} s.", at_once=True)
        if silent >= self._stale_after and self.link.state == "live":
            self._down("stale", f"Nothing from {self._base} for {silent:.0f} s.")

    def _take(self, frame: bytes) -> None:
        """Decode one frame, check that it follows, hand it on."""
        try:
            message = self._decoder.decode(frame)
        except msgspec.DecodeError as error:
            raise self._not_understood(frame, error) from error
        if isinstance(message, Hello):
            self._hello(message)
            wrong = ""
        elif isinstance(message, Snapshot):
            wrong = self._numbers.snapshot(message)
        elif isinstance(message, Diff):
            wrong = self._numbers.diff(message)
        else:
            wrong = self._numbers.pulse(message)
        self._touch()
        if wrong:
            raise _Broken("gap", f"A gap in the feed: {wrong}.", at_once=True)
        self._on_message(message)
        if self._numbers.whole and self.link.state != "live":
            self._live()

    def _hello(self, message: Hello) -> None:
        if message.protocol != PROTOCOL:
            raise _other_protocol(message.protocol)
        self._read_only = message.read_only

    def _not_understood(self, frame: bytes, error: msgspec.DecodeError) -> _Broken:
        """A frame of another version of the feed, or of something that is no broker."""
        try:
            protocol = msgspec.json.decode(frame, type=_Protocol).protocol
        except msgspec.DecodeError:
            return _Broken("bad_message", f"{self._base} sent something that is not a feed: {error}")
        return _other_protocol(protocol)

    # -- the link's state --------------------------------------------------------------------------------------

    def _touch(self) -> None:
        self._heard, self._heard_at = time.monotonic(), time.time()

    def _live(self) -> None:
        self._live_at = time.monotonic()
        self.link = Link("live", self._heard_at, "", "", self._read_only)
        self._on_link(self.link)

    def _down(self, code: LinkCode, text: str) -> None:
        since = self._heard_at if self.link.state == "live" else self.link.since
        link = Link("down" if code else "connecting", since, text, code, read_only=code == "protocol")
        if link != self.link:
            self.link = link
            self._on_link(link)

    async def _pause(self, broken: _Broken) -> None:
        """Wait before the next connection: not at all for the first gap, longer with each failure, at most 8 s."""
        if self._live_at is not None and time.monotonic() - self._live_at > STEADY_AFTER:
            self._failures = 0
        self._live_at = None
        self._failures += 1
        if broken.at_once and self._failures == 1:
            self._down(broken.code, broken.text)
            return
        failures = LAST_FAILURE if broken.code == "protocol" else self._failures
        self._down(broken.code, broken.text)
        try:
            async with asyncio.timeout(backoff_delay(failures, self._backoff, self._jitter())):
                await self._wake.wait()
        except TimeoutError:
            return


def backoff_delay(failures: int, backoff: tuple[float, float], jitter: float) -> float:
    """Seconds to wait after so many failures in a row; ``jitter`` 0..1 keeps a house of consoles from marching."""
    first, last = backoff
    return min(last, first * 2.0 ** (min(failures, LAST_FAILURE) - 1)) * (0.5 + jitter / 2)


def _other_protocol(protocol: int) -> _Broken:
    text = (
        f"The broker speaks version {protocol} of the feed and this console version {PROTOCOL}: "
        "read only until both are of one version."
    )
    return _Broken("protocol", text)


def _refusal(base: str, status: int) -> _Broken:
    """What an HTTP answer to the WebSocket handshake means."""
    if status in (401, 403):
        return _Broken("refused", f"{base} refused this console's token ({status}).")
    if status == 404:
        return _Broken("refused", f"{base} has no console feed: it is not a Callboard broker ({status}).")
    return _Broken("unreachable", f"{base} answered {status} instead of opening the feed.")


def _reason(error: OSError) -> str:
    """Why no connection came about, in the words of the system."""
    if error.errno is not None:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__
