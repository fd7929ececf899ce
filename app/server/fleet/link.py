"""One connection of one agent, without I/O: frames and the time go in, what is to be done comes out.

Owned by ``connection.py``, which does the I/O, and driven by ``roster.py``. Serves the StreamSpace document (seed 001,
"WebSocket Protocol"), with what it leaves open: register within 10 s or close 4001, words that differ from the address
close 4003, three missed heartbeats close 4008, ten frames that are no messages close too, types nobody knows are counted.
Commands go out in order, at most ``WINDOW`` under way, one of each session; one that is not acknowledged is sent again,
and a new connection sends again whatever has not ended.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass
from typing import Literal

import msgspec

from app.agent_protocol import (
    REGISTER_WITHIN,
    WINDOW,
    BadMessage,
    CloseCode,
    Command,
    CommandAck,
    CommandResult,
    FromAgent,
    Register,
    RegisterAck,
    ResultAck,
    ToAgent,
    UnknownType,
    from_agent,
)
from app.contract import AGENT_LOST_AFTER
from app.server.storage.fleet import CommandRow

BAD_FRAMES = 10
"""Frames that are no messages before the connection is closed."""
ACK_WITHIN = 10.0
RESENDS = 3
NO_ACK = "NO_ACK"
NO_RESULT = "NO_RESULT"
RESULT_WITHIN = {"start_session": 180.0, "wake_session": 180.0, "hibernate_session": 60.0, "stop_session": 60.0}
"""Seconds from an acknowledgement to the result."""

_kind = msgspec.json.Decoder(dict[str, object])


@dataclass(frozen=True)
class Send:
    """Give the agent this message."""

    message: ToAgent


@dataclass(frozen=True)
class Close:
    """End the connection."""

    code: int
    reason: str


@dataclass(frozen=True)
class Heard:
    """A message for the domain: everything but acknowledgements and results."""

    message: FromAgent


@dataclass(frozen=True)
class Sent:
    """A command went out, for the ``attempt``-th time on this connection."""

    command_id: str
    attempt: int


@dataclass(frozen=True)
class Acked:
    """The agent has the command."""

    command_id: str


@dataclass(frozen=True)
class Finished:
    """A command has ended: with a result, or because none came. ``settled`` is owed once that is durable."""

    command_id: str
    result: CommandResult | None
    why: str = ""
    code: str = ""


@dataclass(frozen=True)
class Stray:
    """A result of a command that this connection does not have."""

    result: CommandResult


Effect = Send | Close | Heard | Sent | Acked | Finished | Stray


class _Order:
    """A command on its way. ``due``: when something must have come."""

    __slots__ = ("attempt", "due", "number", "row", "state")

    def __init__(self, row: CommandRow, number: int) -> None:
        self.row = row
        self.number = number
        self.attempt = 0
        self.due = 0.0
        self.state: Literal["waiting", "sent", "acked", "ending"] = "waiting"


class AgentLink:
    """See the module's docstring. ``now`` is any clock that only goes forward."""

    def __init__(self, agent_id: str, platform: str, region: str | None, now: float) -> None:
        self.agent_id = agent_id
        self.platform = platform
        self.region = region
        self.phase: Literal["waiting", "standby", "registered", "closed"] = "waiting"
        self.unknown = 0
        """Messages of types that nobody knows, and results of commands that nobody sent."""
        self.bad = 0
        self._opened = now
        self._heard = now
        self._count = 0
        self._orders: dict[str, _Order] = {}
        self._of_session: dict[str, deque[_Order]] = {}
        self._ready: list[tuple[int, _Order]] = []
        self._under_way: dict[str, _Order] = {}

    @property
    def waiting(self) -> int:
        """Commands that have not ended."""
        return len(self._orders)

    # What comes in.

    def alive(self, now: float) -> None:
        """A frame arrived; whatever it says, the agent lives."""
        self._heard = now

    def receive(self, frame: str | bytes, now: float) -> list[Effect]:
        """What one frame leads to."""
        if self.phase == "closed":
            return []
        self._heard = max(self._heard, now)
        try:
            message = from_agent(frame)
        except UnknownType:
            self.unknown += 1
            return []
        except BadMessage as error:
            return self._not_a_message(frame, error)
        if isinstance(message, Register):
            return self._registers(message)
        if self.phase == "waiting":
            self.unknown += 1
            return []
        if isinstance(message, CommandAck):
            return self._acknowledged(message, now)
        if isinstance(message, CommandResult):
            return self._ended(message)
        return [Heard(message)]

    def tick(self, now: float) -> list[Effect]:
        """What the time leads to; to be called about once a second."""
        if self.phase == "closed":
            return []
        if self.phase == "waiting":
            if now - self._opened >= REGISTER_WITHIN:
                return self.close(CloseCode.NOT_REGISTERED, f"no register within {REGISTER_WITHIN:g} s")
            return []
        if now - self._heard >= AGENT_LOST_AFTER:
            return self.close(CloseCode.HEARTBEAT_LOST, f"no heartbeat for {AGENT_LOST_AFTER:g} s")
        effects: list[Effect] = []
        for order in [order for order in self._under_way.values() if order.state != "ending" and now >= order.due]:
            if order.state == "sent" and order.attempt <= RESENDS:
                effects += self._send(order, now)
            else:
                effects.append(_gave_up(order))
                order.state = "ending"
        return effects

    # What the domain decides.

    def accept(self, ack: RegisterAck, commands: list[CommandRow], now: float) -> list[Effect]:
        """Registered: answer, then send what is open, oldest first. Again: answer, and add what is new."""
        if self.phase == "closed":
            return []
        self.phase = "registered"
        effects: list[Effect] = [Send(ack)]
        for row in commands:
            self._add(row)
        return effects + self._fill(now)

    def park(self, ack: RegisterAck) -> list[Effect]:
        """A standby: it is kept, and gets nothing to do."""
        if self.phase == "closed":
            return []
        self.phase = "standby"
        self._forget_all()
        return [Send(ack)]

    def submit(self, row: CommandRow, now: float) -> list[Effect]:
        """One more command; without effect before ``accept``, which is given all."""
        if self.phase != "registered":
            return []
        self._add(row)
        return self._fill(now)

    def settled(self, command_id: str, now: float, *, answer: bool) -> list[Effect]:
        """A command has ended for good; ``answer`` an agent that told its result, so that it stops repeating it."""
        if self.phase == "closed":
            return []
        effects: list[Effect] = [Send(ResultAck(command_id=command_id))] if answer else []
        order = self._orders.pop(command_id, None)
        if order is None:
            return effects
        self._under_way.pop(command_id, None)
        queue = self._of_session[order.row.session_id]
        head = queue[0] is order
        queue.remove(order)
        if not queue:
            del self._of_session[order.row.session_id]
        elif head:
            heapq.heappush(self._ready, (queue[0].number, queue[0]))
        return effects + self._fill(now)

    def close(self, code: int, reason: str) -> list[Effect]:
        """End the connection from this side."""
        if self.phase == "closed":
            return []
        self.phase = "closed"
        self._forget_all()
        return [Close(code, reason)]

    # Inside.

    def _registers(self, message: Register) -> list[Effect]:
        if message.agent_id != self.agent_id or message.platform != self.platform:
            return self.close(CloseCode.BAD_REGISTER, "register and the address name different agents or platforms")
        return [Heard(message)]

    def _not_a_message(self, frame: str | bytes, error: BadMessage) -> list[Effect]:
        if self.phase == "waiting" and _is_register(frame):
            return self.close(CloseCode.BAD_REGISTER, f"register does not fit: {error}"[:120])
        self.bad += 1
        if self.bad >= BAD_FRAMES:
            return self.close(CloseCode.BAD_REGISTER, f"{BAD_FRAMES} frames were no messages")
        return []

    def _acknowledged(self, message: CommandAck, now: float) -> list[Effect]:
        order = self._under_way.get(message.command_id)
        if order is None:
            self.unknown += 1
            return []
        if order.state != "sent":
            return []
        order.state = "acked"
        order.due = now + RESULT_WITHIN.get(order.row.command_type, 60.0)
        return [Acked(message.command_id)]

    def _ended(self, message: CommandResult) -> list[Effect]:
        order = self._under_way.get(message.command_id) or self._orders.get(message.command_id)
        if order is None:
            return [Stray(message)]
        if order.state == "ending":  # its end is being kept; the answer follows
            return []
        order.state = "ending"
        self._under_way[message.command_id] = order
        return [Finished(message.command_id, message)]

    def _add(self, row: CommandRow) -> None:
        if row.id in self._orders:
            return
        self._count += 1
        order = _Order(row, self._count)
        self._orders[row.id] = order
        queue = self._of_session.setdefault(row.session_id, deque())
        queue.append(order)
        if queue[0] is order:
            heapq.heappush(self._ready, (order.number, order))

    def _fill(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        while self._ready and len(self._under_way) < WINDOW:
            _, order = heapq.heappop(self._ready)
            if order.state == "waiting" and order.row.id in self._orders:
                effects += self._send(order, now)
        return effects

    def _send(self, order: _Order, now: float) -> list[Effect]:
        order.attempt += 1
        order.state = "sent"
        order.due = now + ACK_WITHIN
        self._under_way[order.row.id] = order
        row = order.row
        message = Command(
            command_id=row.id,
            command_type=row.command_type,  # type: ignore[arg-type]  # kept as text, made from the literals alone
            session_id=row.session_id,
            data=row.data,
            attempt=row.attempt + order.attempt,
            generation=row.generation,
        )
        return [Sent(row.id, row.attempt + order.attempt), Send(message)]

    def _forget_all(self) -> None:
        self._orders.clear()
        self._of_session.clear()
        self._ready.clear()
        self._under_way.clear()


def _gave_up(order: _Order) -> Finished:
    if order.state == "sent":
        return Finished(order.row.id, None, f"the agent did not take the command, sent {order.attempt} times", NO_ACK)
    within = RESULT_WITHIN.get(order.row.command_type, 60.0)
    return Finished(order.row.id, None, f"no result from the agent within {within:g} s", NO_RESULT)


def _is_register(frame: str | bytes) -> bool:
    try:
        return _kind.decode(frame).get("type") == "register"
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
