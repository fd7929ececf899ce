"""The agent's side of the protocol as a state machine without I/O: frames and moments in, things to do out.

Driven by ``connection.py`` (frames, time) and ``executor.py`` (ends of commands, events). Decides what is new, what is a
repetition, which result to tell again, and in which order results and events of one session leave. Serves the
StreamSpace document (seed 001, "WebSocket Protocol").

Rules learnt from faults: a command is marked in the journal before anything is awaited; results are repeated one at a
time, oldest first, until the broker has them; an event never overtakes the result of the same session.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from app.agent.journal import Done, Journal
from app.agent_protocol import (
    REGISTER_WITHIN,
    BadMessage,
    Command,
    CommandAck,
    CommandResult,
    FromAgent,
    HeldSession,
    LogsCancel,
    LogsRequest,
    ProgramsRequest,
    Register,
    RegisterAck,
    ResultAck,
    SessionEvent,
    ThumbnailRequest,
    ToAgent,
    UnknownType,
    VncProxyRequest,
    to_agent,
)
from app.errors import Invalid, Unavailable
from app.logs import get_logger
from app.quantities import duration_seconds

log = get_logger("agent.link")

HEARTBEAT = 10.0
RESULT_AGAIN = 5.0
"""Seconds after which a result without its acknowledgement steps behind the others and is told again."""
EVENTS_KEPT = 1000
BEGINS = ("start_session", "wake_session")

Question = LogsRequest | LogsCancel | ThumbnailRequest | ProgramsRequest | VncProxyRequest


@dataclass(frozen=True)
class Send:
    """Put this message on the wire."""

    message: FromAgent


@dataclass(frozen=True)
class Execute:
    """A command to carry out, marked in the journal; its end comes back through ``Link.finished``."""

    command: Command


@dataclass(frozen=True)
class Ask:
    """A question without a journal: answered from what is so now."""

    question: Question


@dataclass(frozen=True)
class EndStale:
    """Sessions that the broker gave to somebody else, or forgot."""

    sessions: tuple[tuple[str, int], ...]
    """Ids, and the generations that the broker was told of: what was begun since is not meant."""

    @property
    def session_ids(self) -> tuple[str, ...]:
        """Which sessions."""
        return tuple(session_id for session_id, _ in self.sessions)


@dataclass(frozen=True)
class Beat:
    """A heartbeat is due; the caller adds the load."""


@dataclass(frozen=True)
class Registered:
    """The broker took the registration."""

    standby: bool
    epoch: int


@dataclass(frozen=True)
class HangUp:
    """The connection is of no use."""

    reason: str


Effect = Send | Execute | Ask | EndStale | Beat | Registered | HangUp
Inventory = Callable[[], list[HeldSession]]


class Link:
    """One agent's conversation, over any number of connections."""

    def __init__(self, register: Callable[[], Register], inventory: Inventory, journal: Journal) -> None:
        self._register = register
        self._inventory = inventory
        self._journal = journal
        self._under_way: dict[str, Command] = {}
        self._results: OrderedDict[str, Done] = OrderedDict((done.command_id, done) for done in journal.undelivered())
        self._told: str | None = None
        """The result that waits for its acknowledgement on this connection."""
        self._told_at = 0.0
        self._inventoried: dict[str, int] = {}
        """Generations of the sessions that the last registration named."""
        self._events: deque[SessionEvent] = deque(maxlen=EVENTS_KEPT)
        self._connected_at: float | None = None
        self._registered = False
        self._acknowledges = False
        self._heartbeat = HEARTBEAT
        self._next_beat = 0.0
        self.epoch = 0
        self.standby = False
        self.unknown = 0
        """Messages of types that this agent does not know."""
        self.bad = 0
        """Frames that were no message."""

    @property
    def registered(self) -> bool:
        """Whether the broker listens to more than a registration."""
        return self._registered

    @property
    def unsettled(self) -> int:
        """Results that the broker may lack."""
        return len(self._results)

    def connected(self, now: float) -> list[Effect]:
        """A connection is open."""
        self._connected_at = now
        self._registered = False
        self._told = None
        register = self._register()
        register.sessions = self._inventory()
        self._inventoried = {held.session_id: held.generation for held in register.sessions}
        return [Send(register)]

    def closed(self) -> None:
        """The connection is gone; what was not acknowledged will be told again."""
        self._connected_at = None
        self._registered = False
        self._told = None

    def receive(self, frame: str | bytes, now: float) -> list[Effect]:
        """One frame of the broker's."""
        try:
            message = to_agent(frame)
        except UnknownType:
            self.unknown += 1
            return []
        except BadMessage:
            self.bad += 1
            return []
        return self._on_message(message, now)

    def _on_message(self, message: ToAgent, now: float) -> list[Effect]:
        match message:
            case RegisterAck():
                return self._on_register_ack(message, now)
            case Command():
                return self._on_command(message, now)
            case ResultAck():
                return self._on_result_ack(message.command_id, now)
            case _:
                return [Ask(message)]

    def _on_register_ack(self, ack: RegisterAck, now: float) -> list[Effect]:
        self._registered = True
        self._acknowledges = ack.epoch > 0
        self.epoch = ack.epoch
        self.standby = ack.status == "standby"
        try:
            self._heartbeat = max(1.0, float(duration_seconds(ack.heartbeat_interval)))
        except Invalid:
            self._heartbeat = HEARTBEAT
        self._next_beat = now + self._heartbeat
        effects: list[Effect] = [Registered(self.standby, ack.epoch), Beat()]
        if ack.stop:
            known = self._inventoried
            effects.append(EndStale(tuple((name, known[name]) for name in ack.stop if name in known)))
        return effects + self._tell(now)

    def _on_command(self, command: Command, now: float) -> list[Effect]:
        """New: mark and do it. Under way: acknowledge again. Done: tell its result again."""
        try:
            return self._decide(command, now)
        except Unavailable as error:  # not acknowledged, so that it comes again
            log.error("command not taken", command=command.command_id, why=error.message)
            return []

    def _decide(self, command: Command, now: float) -> list[Effect]:
        acknowledged = Send(CommandAck(command_id=command.command_id, agent_id=self._register().agent_id))
        if command.command_id in self._under_way:
            return [acknowledged]
        done = self._journal.done(command.command_id)
        if done is not None:
            self._results.setdefault(command.command_id, done)
            return [acknowledged, *self._tell(now)]
        self._journal.begin(command)  # one that an earlier life of this agent began and did not end is done again
        self._under_way[command.command_id] = command
        return [acknowledged, Execute(command)]

    def _on_result_ack(self, command_id: str, now: float) -> list[Effect]:
        if self._results.pop(command_id, None) is not None:
            self._delivered(command_id)
        if self._told == command_id:
            self._told = None
        return self._tell(now)

    def finished(self, command: Command, result: CommandResult, now: float) -> list[Effect]:
        """A command came to its end."""
        self._under_way.pop(command.command_id, None)
        try:
            self._journal.finish(command, result)
        except Unavailable as error:  # told from memory; after the end of this process it would be done again
            log.error("the end of a command is not kept", command=command.command_id, why=error.message)
        done = Done(command.command_id, command.session_id, command.command_type, result)
        self._results[command.command_id] = done
        return self._tell(now)

    def _delivered(self, command_id: str) -> None:
        try:
            self._journal.delivered(command_id)
        except Unavailable as error:  # it will be told once more by the next agent, which harms nobody
            log.error("a delivery is not kept", command=command_id, why=error.message)

    def happened(self, event: SessionEvent, now: float) -> list[Effect]:
        """Something to tell that no command asked for; kept while there is no connection, the oldest dropped."""
        self._events.append(event)
        return self._tell(now)

    def tick(self, now: float) -> list[Effect]:
        """Time passed; to be called about once a second."""
        if self._connected_at is None:
            return []
        if not self._registered:
            late = now - self._connected_at >= REGISTER_WITHIN
            return [HangUp("the broker did not answer the registration")] if late else []
        effects: list[Effect] = []
        if now >= self._next_beat:
            self._next_beat = now + self._heartbeat
            effects.append(Beat())
        if self._told is not None and now - self._told_at >= RESULT_AGAIN:
            if self._told in self._results:
                self._results.move_to_end(self._told)
            self._told = None
            effects += self._tell(now)
        return effects

    def _tell(self, now: float) -> list[Effect]:
        """The oldest result if none is on its way, and every event that no result of its session stands before."""
        effects: list[Effect] = []
        while self._registered and self._told is None and self._results:
            command_id, done = next(iter(self._results.items()))
            effects.append(Send(done.result))
            effects += self._what_became_of(done)
            if self._acknowledges:
                self._told, self._told_at = command_id, now
            else:  # a broker that knows no acknowledgement has what was sent
                del self._results[command_id]
                self._delivered(command_id)
        return effects + self._tell_events()

    def _tell_events(self) -> list[Effect]:
        if not self._registered or not self._events:
            return []
        busy = {done.session_id for command_id, done in self._results.items() if command_id != self._told}
        busy |= {command.session_id for command in self._under_way.values()}
        ready = [event for event in self._events if event.session_id not in busy]
        waiting = [event for event in self._events if event.session_id in busy]
        self._events = deque(waiting, EVENTS_KEPT)
        return [Send(event) for event in ready]

    def _what_became_of(self, done: Done) -> list[Effect]:
        """The result of a beginning is true no more when its session ended since: say so right behind it."""
        if done.command_type not in BEGINS or done.result.status != "completed":
            return []
        if any(held.session_id == done.session_id for held in self._inventory()):
            return []
        if any(event.session_id == done.session_id and event.event == "exited" for event in self._events):
            return []
        generation = int(done.result.result.get("generation") or 1)
        text = "the session ended while the broker was away"
        return [Send(SessionEvent(session_id=done.session_id, event="exited", generation=generation, message=text))]
