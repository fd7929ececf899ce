"""Hypothesis drives a live state beside a model of it: any order of verbs, time, clock steps, kills and stops.

An implementation subclasses ``StateMachine`` with its venue. What is checked after every step: the rows and
their order, the view that a listener builds from the events alone, and what history says of every session.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from abc import abstractmethod
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.contract import KINDS, SESSION_TTL, STREAM_TTL, HoldRow, SessionRow, StreamRow
from app.errors import Conflict, Expired
from tests.contract.venue import Venue

T = TypeVar("T")

SECONDS = st.sampled_from([0.5, 1.0, 7.5, 10.0, 14.5, 29.5, 30.0, 31.0])
STEPS = st.sampled_from([-86_400.0, -45.0, 45.0, 86_400.0])


@dataclass
class Model:
    """What must be so. Deadlines are in seconds of the test; tenths never matter since ``SECONDS`` are halves."""

    now: float = 0.0
    streams: dict[str, float] = field(default_factory=dict)
    sessions: dict[str, float] = field(default_factory=dict)
    stream_of: dict[str, str] = field(default_factory=dict)
    holds: dict[str, str] = field(default_factory=dict)
    history: dict[str, str] = field(default_factory=dict)

    def end_session(self, session_id: str, status: str) -> None:
        del self.sessions[session_id]
        self.history[session_id] = status
        self.holds = {hold: held for hold, held in self.holds.items() if held != session_id}

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.streams = {id: deadline for id, deadline in self.streams.items() if deadline > self.now}
        for session_id in [id for id, deadline in self.sessions.items() if deadline <= self.now]:
            self.end_session(session_id, "expired")

    def restart(self) -> None:
        self.streams = dict.fromkeys(self.streams, self.now + STREAM_TTL)
        self.sessions = dict.fromkeys(self.sessions, self.now + SESSION_TTL)


class StateMachine(RuleBasedStateMachine):
    """See the module's docstring."""

    @abstractmethod
    async def make_venue(self, folder: Path) -> Venue:
        """A venue whose state is open."""

    @abstractmethod
    async def close_venue(self, venue: Venue) -> None:
        """Give everything back."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.folder = Path(tempfile.mkdtemp(prefix="callboard-state-"))
        self.loop = asyncio.new_event_loop()
        self.venue = self.run(self.make_venue(self.folder))
        self.seen: list[str] = []
        self.mirror: dict[str, dict[str, Any]] = {"stream": {}, "session": {}, "hold": {}}
        self.read_events = 0

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(coroutine)

    def teardown(self) -> None:
        self.run(self.close_venue(self.venue))
        self.run(self.loop.shutdown_default_executor())
        self.loop.close()
        shutil.rmtree(self.folder)

    def pick(self, data: st.DataObject, *live: dict[str, Any]) -> str:
        """An id that is live, was live, or never was."""
        known = [id for rows in live for id in rows]
        return data.draw(st.sampled_from([*known, *self.seen[-5:], "nobody"]))

    @initialize()
    def begin(self) -> None:
        self.advertise()

    @rule()
    def advertise(self) -> None:
        row: StreamRow = self.run(self.venue.state.advertise(self.venue.stream()))
        self.seen.append(row.id)
        self.model.streams[row.id] = self.model.now + STREAM_TTL

    @rule(data=st.data())
    def heartbeat_stream(self, data: st.DataObject) -> None:
        target = self.pick(data, self.model.streams)
        row = self.run(self.venue.state.heartbeat_stream(target))
        assert (row is not None) == (target in self.model.streams)
        if row is not None:
            assert row.confirmed
            self.model.streams[target] = self.model.now + STREAM_TTL

    @rule(data=st.data(), by_hold=st.booleans())
    def heartbeat_session(self, data: st.DataObject, by_hold: bool) -> None:
        target = self.pick(data, self.model.sessions)
        row = self.run(self.venue.state.heartbeat_session(target, by_hold=by_hold))
        assert (row is not None) == (target in self.model.sessions)
        if row is not None:
            self.model.sessions[target] = self.model.now + SESSION_TTL

    @rule(data=st.data())
    def open_session(self, data: st.DataObject) -> None:
        target = self.pick(data, self.model.streams)
        row: SessionRow = self.venue.session(self.venue.stream(id=target))
        try:
            self.run(self.venue.state.open_session(row))
        except Expired:
            assert target not in self.model.streams
            return
        assert target in self.model.streams
        self.seen.append(row.id)
        self.model.sessions[row.id] = self.model.now + SESSION_TTL
        self.model.stream_of[row.id] = target
        self.model.history[row.id] = "active"

    @precondition(lambda self: self.model.streams)
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        target = self.pick(data, self.model.streams)
        removed = self.run(self.venue.state.withdraw(target))
        assert (removed is not None) == (target in self.model.streams)
        if removed is None:
            return
        del self.model.streams[target]
        lost = [id for id in self.model.sessions if self.model.stream_of[id] == target]
        assert [row.id for row in removed.sessions] == lost
        for session_id in lost:
            self.model.end_session(session_id, "withdrawn")

    @precondition(lambda self: self.model.sessions)
    @rule(data=st.data())
    def close_session(self, data: st.DataObject) -> None:
        target = self.pick(data, self.model.sessions)
        row = self.run(self.venue.state.close_session(target))
        assert (row is not None) == (target in self.model.sessions)
        if row is not None:
            self.model.end_session(target, "stopped")

    @precondition(lambda self: self.model.sessions)
    @rule(data=st.data())
    def put_hold(self, data: st.DataObject) -> None:
        target = self.pick(data, self.model.sessions)
        row: HoldRow = self.venue.hold(self.venue.session(self.venue.stream(), id=target))
        try:
            self.run(self.venue.state.put_hold(row))
        except Expired:
            assert target not in self.model.sessions
        except Conflict:
            assert target in self.model.holds.values()
        else:
            assert target in self.model.sessions
            self.model.holds[row.id] = target

    @precondition(lambda self: self.model.holds)
    @rule(data=st.data())
    def drop_hold(self, data: st.DataObject) -> None:
        target = self.pick(data, self.model.holds)
        row = self.run(self.venue.state.drop_hold(target))
        assert (row is not None) == (target in self.model.holds)
        self.model.holds.pop(target, None)

    @rule(seconds=SECONDS)
    def advance(self, seconds: float) -> None:
        self.run(self.venue.advance(seconds))
        self.model.advance(seconds)

    @rule(seconds=STEPS)
    def step_wall_clock(self, seconds: float) -> None:
        self.venue.step_wall_clock(seconds)

    @rule(away=SECONDS, clean=st.booleans())
    def restart(self, away: float, clean: bool) -> None:
        again = self.venue.stop_and_restart if clean else self.venue.kill_and_restart
        self.run(again(away=away))
        self.model.now += away
        self.model.restart()
        rows = [*self.venue.state.streams.values(), *self.venue.state.sessions.values()]
        assert not any(row.confirmed for row in rows)

    @invariant()
    def rows_are_as_in_the_model(self) -> None:
        state = self.venue.state
        assert list(state.streams) == list(self.model.streams)
        assert list(state.sessions) == list(self.model.sessions)
        assert {hold.id: hold.session_id for hold in state.holds.values()} == self.model.holds
        for stream_id in {*self.model.streams, *self.model.stream_of.values()}:
            wanted = [id for id in self.model.sessions if self.model.stream_of[id] == stream_id]
            assert [row.id for row in state.sessions_of(stream_id)] == wanted

    @invariant()
    def events_alone_tell_the_same(self) -> None:
        for event in self.venue.events[self.read_events :]:
            table, verb = KINDS[event.kind]
            if table not in self.mirror:
                continue
            if verb == "put":
                assert event.id not in self.mirror[table]
                self.mirror[table][event.id] = event.change
            else:
                assert event.id in self.mirror[table]
                if verb == "remove":
                    del self.mirror[table][event.id]
        self.read_events = len(self.venue.events)
        state = self.venue.state
        assert [*self.mirror["stream"]] == [*state.streams]
        assert [*self.mirror["session"]] == [*state.sessions]
        assert {*self.mirror["hold"]} == {*state.holds}

    @invariant()
    def history_is_as_in_the_model(self) -> None:
        history = self.run(self.venue.history())
        assert {id: row.status for id, row in history.items()} == self.model.history
        for row in history.values():
            assert row.duration_seconds is None or row.duration_seconds >= 0
