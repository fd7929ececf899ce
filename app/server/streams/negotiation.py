"""The handshake with a publisher, without I/O, and the board's rows about it.

The registry sends what ``request_payload`` makes on ``maestra.stream.request.{id}`` and gives the answer to
``read_reply``; nothing is stored before that has accepted it (seed "Request a Stream").
``Negotiations`` keeps a row per handshake, running or ended less than ``GHOST_SECONDS`` ago, and tells the feed.
"""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from app.contract import GHOST_SECONDS, NEGOTIATION_TIMEOUT, Gone, NegotiationRow, Outcome, StreamRow
from app.errors import Rejected
from app.server.events import EventLog
from app.server.streams.strict_json import BadJson, decode

MAX_ROWS = 1000
"""Rows kept; the oldest goes first, and the feed is told."""
MAX_REASON = 1000
"""Characters of a publisher's reason that are passed on."""
MAX_PROTOCOL = 50
_DIGITS = re.compile(r"\s*[0-9]{1,9}\s*")
_NO_REASON = "Publisher rejected the request"


class ConsumerRequest(NamedTuple):
    """Who asks for a stream, and where to."""

    consumer_id: str
    consumer_address: str
    consumer_port: int | None = None
    config: dict[str, Any] = {}


class Accepted(NamedTuple):
    """A publisher's yes, with what it left out filled from the advertisement."""

    address: str
    port: int
    protocol: str
    transport_config: dict[str, Any]


def request_subject(stream_id: str) -> str:
    """Where the publisher of this stream listens."""
    return f"maestra.stream.request.{stream_id}"


def request_payload(stream_id: str, wanted: ConsumerRequest, now: float) -> bytes:
    """The question as the publisher reads it."""
    return msgspec.json.encode(
        {
            "stream_id": stream_id,
            "consumer_id": wanted.consumer_id,
            "consumer_address": wanted.consumer_address,
            "consumer_port": wanted.consumer_port,
            "config": wanted.config,
            "timestamp": datetime.fromtimestamp(now, UTC),
        }
    )


def read_reply(data: bytes, stream: StreamRow) -> Accepted:
    """Validate a publisher's answer; raises ``Rejected``, with code ``bad_reply`` when it makes no sense.

    ``accepted`` counts as Python counts it, as in the original: ``"yes"`` and ``1`` accept, and so does ``"no"``;
    false, 0, "", null, [] and {} reject, and so does a reply without it.
    """
    try:
        reply = decode(data)
    except BadJson as exc:
        raise _bad(f"the publisher's reply is not JSON: {exc.reason}") from exc
    if not isinstance(reply, dict):
        raise _bad("the publisher's reply is not a JSON object")
    if not reply.get("accepted", False):
        raise Rejected(_reason(reply.get("reason")))
    transport_config = reply.get("transport_config", {})
    if not isinstance(transport_config, dict):
        raise _bad("transport_config in the publisher's reply is not an object")
    protocol = _text(reply, "protocol", stream.protocol)
    if len(protocol) > MAX_PROTOCOL:
        raise _bad(f"protocol in the publisher's reply is longer than {MAX_PROTOCOL} characters")
    return Accepted(
        address=_text(reply, "address", stream.address),
        port=_port(reply["port"]) if "port" in reply else stream.port,
        protocol=protocol,
        transport_config=transport_config,
    )


def _bad(what: str) -> Rejected:
    return Rejected(f"NATS request failed: {what}", code="bad_reply")


def _reason(reason: object) -> str:
    if not reason:
        return _NO_REASON
    text = reason if isinstance(reason, str) else msgspec.json.encode(reason).decode()
    return text if len(text) <= MAX_REASON else text[: MAX_REASON - 1] + "…"


def _text(reply: Mapping[str, Any], key: str, default: str) -> str:
    value = reply.get(key, default)
    if not isinstance(value, str) or not value:
        raise _bad(f"{key} in the publisher's reply is not a text")
    return value


def _port(value: object) -> int:
    """As the API itself reads a port: 7000, "7000", 7000.0 and true are numbers, 7000.5 and null are not."""
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or not 0 <= value <= 65535:
        raise _bad("port in the publisher's reply is not a number from 0 to 65535")
    return int(value)


class Negotiations:
    """Rows of the table ``negotiation``: in memory only, bounded, each cleared ``GHOST_SECONDS`` after its end."""

    def __init__(
        self,
        events: EventLog,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._events = events
        self._clock = clock
        self._monotonic = monotonic
        self._rows: dict[str, NegotiationRow] = {}
        self._ended: deque[tuple[float, str]] = deque()
        self._something_ended = asyncio.Event()

    @property
    def rows(self) -> Mapping[str, NegotiationRow]:
        """Rows by id, oldest first."""
        return self._rows

    def begin(self, stream: StreamRow, consumer_id: str) -> NegotiationRow:
        """Put a running negotiation on the board."""
        now = self._clock()
        row = NegotiationRow(
            id=str(uuid.uuid4()),
            stream_id=stream.id,
            stream_name=stream.name,
            consumer_id=consumer_id,
            started_at=now,
            deadline=now + NEGOTIATION_TIMEOUT,
        )
        if len(self._rows) >= MAX_ROWS:
            self._clear(next(iter(self._rows)), "superseded")
        self._rows[row.id] = row
        self._events.publish("negotiation.started", row.id, row)
        return row

    def end(
        self,
        row: NegotiationRow,
        outcome: Outcome,
        *,
        milliseconds: float,
        detail: str = "",
        session_id: str | None = None,
    ) -> None:
        """Say how it ended. A row that has been dropped meanwhile is still told to the feed, and cleared at once."""
        kept = row.id in self._rows
        ended = msgspec.structs.replace(
            row, outcome=outcome, detail=detail, milliseconds=round(milliseconds, 3), session_id=session_id
        )
        self._rows[row.id] = ended
        self._events.publish("negotiation.ended", row.id, ended)
        if not kept:
            self._clear(row.id, "superseded")
            return
        self._ended.append((self._monotonic() + GHOST_SECONDS, row.id))
        if len(self._ended) > MAX_ROWS:
            self._clear(self._ended.popleft()[1], "superseded")
        self._something_ended.set()

    async def sweep(self) -> None:
        """Clear rows as their minute is over, for ever: the body of a task node."""
        while True:
            if not self._ended:
                self._something_ended.clear()
                await self._something_ended.wait()
            due, negotiation_id = self._ended[0]
            wait = due - self._monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
                continue
            self._ended.popleft()
            self._clear(negotiation_id, "expired")

    def _clear(self, negotiation_id: str, reason: str) -> None:
        if self._rows.pop(negotiation_id, None) is not None:
            self._events.publish("negotiation.cleared", negotiation_id, Gone(reason=reason))
