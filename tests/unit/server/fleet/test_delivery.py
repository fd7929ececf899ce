"""Hypothesis cuts, doubles and delays what goes between broker and agents, and kills either: every effect once.

The broker's side is a whole fleet on a database that survives; the agents' side is the agent's own link with its own
journal over a small world of sessions. After any sequence of faults, once everything is connected and said, both sides
agree on every session, no command had its effect twice, none is lost, and no slot leaked.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from app.agent.journal import SqliteJournal
from app.agent.link import Beat, EndStale, Execute, Link, Send
from app.agent_protocol import Capacity, Command, CommandResult, Heartbeat, HeldSession, Register, encode
from app.contract import SLOT_STATES
from app.errors import CallboardError
from tests.unit.server.fleet.conftest import House

T = TypeVar("T")
AGENTS = ("a", "b")
SLOTS = 6
TEMPLATE = "firefox-browser"
NAMES = st.sampled_from(AGENTS)
SOME = st.integers(1, 6)


class World:
    """One agent's machine, its link and the frames on their way."""

    def __init__(self, name: str, effects: Counter[str]) -> None:
        self.name = name
        self.effects = effects
        self.sessions: dict[str, tuple[int, str]] = {}
        self.journal = SqliteJournal(None)
        self.connection: Any = None
        self.to_agent: deque[str] = deque()
        self.to_broker: deque[str] = deque()
        self.seen: list[str] = []
        self.said: list[str] = []
        self.clock = 0.0
        self.failing = False
        self.born()

    def born(self) -> None:
        """The process starts: what was begun and not ended is forgotten but for the journal."""
        self.link = Link(self.register, self.held, self.journal)
        self.work: deque[Command | str] = deque()

    def register(self) -> Register:
        return Register(
            agent_id=self.name, platform="docker", capacity=Capacity(max_sessions=SLOTS), capabilities=["hibernate"]
        )

    def held(self) -> list[HeldSession]:
        return [
            HeldSession(session_id=session_id, generation=generation, state=state)
            for session_id, (generation, state) in self.sessions.items()
        ]

    def perform(self, effects: list[Any]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self.to_broker.append(encode(effect.message))
            elif isinstance(effect, Beat):
                self.to_broker.append(encode(Heartbeat(agent_id=self.name)))
            elif isinstance(effect, Execute):
                self.work.append(effect.command)
            elif isinstance(effect, EndStale):
                self.work += effect.session_ids

    def do_one(self) -> None:
        """Carry out the oldest command."""
        command = self.work.popleft()
        if isinstance(command, str):  # stale: ended behind what was to be done with it before
            self.sessions.pop(command, None)
            return
        self.effects[command.command_id] += 1
        fails = self.failing and command.command_type == "start_session"
        fails = fails or (command.command_type == "hibernate_session" and command.session_id not in self.sessions)
        self.failing = False
        status = "failed" if fails else "completed"
        if not fails:
            match command.command_type:
                case "stop_session":
                    self.sessions.pop(command.session_id, None)
                case "hibernate_session":
                    self.sessions[command.session_id] = (command.generation, "hibernated")
                case _:
                    self.sessions[command.session_id] = (command.generation, "running")
        about = {"session_id": command.session_id}
        result = CommandResult(command_id=command.command_id, status=status, result=about, error="no" if fails else "")
        self.perform(self.link.finished(command, result, self.clock))


class Delivery(RuleBasedStateMachine):
    """See the module's docstring."""

    @initialize()
    def begin(self) -> None:
        self.runner = asyncio.Runner(debug=False)
        self.effects: Counter[str] = Counter()
        self.house = self.run(self._house())
        self.worlds = {name: World(name, self.effects) for name in AGENTS}
        for world in self.worlds.values():
            self.connect_now(world)
            self.run(self._to_broker(world, 10))
            self._to_agent(world, 10)

    async def _house(self) -> House:
        house = House()
        await house.start()
        return house

    def run(self, doing: Coroutine[Any, Any, T]) -> T:
        async def settled() -> T:
            result = await doing
            for _ in range(40):
                await asyncio.sleep(0)
            return result

        return self.runner.run(settled())

    # What people do.

    @rule(count=st.integers(1, 3), hibernated=st.booleans())
    def create(self, count: int, hibernated: bool) -> None:
        state = "hibernated" if hibernated else "running"
        for number in range(count):
            self.house.clock.advance(0.001)  # else their order after a restart hangs on their ids, which are random
            self.attempt(self.house.create(user=f"u{number}", template=TEMPLATE, state=state))

    @precondition(lambda self: self.house.fleet.desktops)
    @rule(which=st.integers(0, 20), wanted=st.sampled_from(["hibernated", "running", "terminating", "terminated"]))
    def change(self, which: int, wanted: str) -> None:
        rows = list(self.house.fleet.desktops.values())
        ids = [row.id for row in rows if row.state != "terminated"] or [rows[-1].id]
        session_id = ids[which % len(ids)]
        self.attempt(self.house.fleet._sessions.request(session_id, wanted, by="kim", admin=True))

    def attempt(self, doing: Coroutine[Any, Any, Any]) -> None:
        async def tried() -> None:
            try:
                await doing
            except CallboardError:
                return

        self.run(tried())

    # What the network does.

    @rule(name=NAMES, count=SOME)
    def frames_reach_the_broker(self, name: str, count: int) -> None:
        self.run(self._to_broker(self.worlds[name], count))

    @rule(name=NAMES, count=SOME)
    def frames_reach_the_agent(self, name: str, count: int) -> None:
        self._to_agent(self.worlds[name], count)

    @rule(name=NAMES, which=SOME)
    def a_frame_comes_twice(self, name: str, which: int) -> None:
        world = self.worlds[name]
        if world.connection is None or not world.link.registered:
            return
        if world.said:
            world.to_broker.appendleft(world.said[-which:][0])
        if world.seen:
            world.to_agent.appendleft(world.seen[-which:][0])

    @rule(name=NAMES)
    def cut(self, name: str) -> None:
        self.run(self._cut(self.worlds[name]))

    @rule(name=NAMES)
    def connect(self, name: str) -> None:
        self.connect_now(self.worlds[name])

    @rule(name=NAMES, heard=SOME, done=SOME, said=SOME)
    def things_go_their_way(self, name: str, heard: int, done: int, said: int) -> None:
        self.connect(name)
        self.frames_reach_the_broker(name, 3)
        self.frames_reach_the_agent(name, heard)
        self.the_agent_works(name, done)
        self.frames_reach_the_broker(name, said)

    @rule(name=NAMES, cut=st.booleans())
    def an_agent_stays_away(self, name: str, cut: bool) -> None:
        """Longer than the grace; cut, or silent on an open socket."""
        world = self.worlds[name]
        if cut:
            self.run(self._cut(world))
        self.run(self._time(65.0, silent=name))

    @rule(name=NAMES, count=SOME)
    def the_agent_works(self, name: str, count: int) -> None:
        world = self.worlds[name]
        for _ in range(min(count, len(world.work))):
            world.do_one()

    @rule(name=NAMES)
    def the_next_start_fails(self, name: str) -> None:
        self.worlds[name].failing = True

    # What fails.

    @rule(name=NAMES)
    def the_agent_is_killed(self, name: str) -> None:
        world = self.worlds[name]
        self.run(self._cut(world))
        world.born()

    @rule()
    def the_broker_is_killed(self) -> None:
        self.run(self._restart())

    @rule(seconds=st.sampled_from([5.0, 15.0, 65.0]))
    def time_passes(self, seconds: float) -> None:
        self.run(self._time(seconds))

    @rule()
    def a_commit_fails(self) -> None:
        self.house.store.away = True
        self.attempt(self.house.create(user="lost", template=TEMPLATE))
        self.house.store.away = False
        self.run(self._time(1.0))

    # How it is done.

    async def _to_broker(self, world: World, count: int) -> None:
        for _ in range(min(count, len(world.to_broker))):
            frame = world.to_broker.popleft()
            if '"register"' not in frame:  # an inventory is of its moment, and no network repeats it by itself
                world.said.append(frame)
            await world.connection.receive(frame)

    def _to_agent(self, world: World, count: int) -> None:
        for _ in range(min(count, len(world.to_agent))):
            frame = world.to_agent.popleft()
            world.seen.append(frame)
            world.perform(world.link.receive(frame, world.clock))

    async def _cut(self, world: World) -> None:
        if world.connection is not None:
            await world.connection.closed()
        world.connection = None
        world.to_agent = deque()
        world.to_broker.clear()
        world.said.clear()
        world.seen.clear()
        world.link.closed()

    def connect_now(self, world: World) -> None:
        if world.connection is not None and not world.connection.over:
            return
        self.run(self._cut(world))
        frames = world.to_agent

        async def send(frame: str) -> None:
            frames.append(frame)

        async def close(_code: int, _reason: str) -> None:
            frames.clear()

        async def opened() -> None:
            world.connection = self.house.fleet.connect(world.name, "docker", None, send, close)

        self.run(opened())
        world.perform(world.link.connected(world.clock))

    async def _restart(self) -> None:
        for world in self.worlds.values():
            await self._cut(world)
        await self.house.restart()

    async def _time(self, seconds: float, silent: str = "") -> None:
        while seconds > 0:
            step = min(seconds, 9.0)
            seconds -= step
            self.house.clock.advance(step)
            for world in self.worlds.values():
                world.clock += step
                if world.connection is not None and world.link.registered and world.name != silent:
                    world.perform(world.link.tick(world.clock))
                    world.connection.link.alive(self.house.clock.monotonic())
            self.house.fleet.tick()
            for _ in range(10):
                await asyncio.sleep(0)
        await self.house.fleet.upkeep()

    # What must be so.

    @invariant()
    def no_slot_leaks(self) -> None:
        fleet = self.house.fleet
        wakes = fleet._state.commands.wakes
        for name in AGENTS:
            rows = [row for row in fleet.desktops.values() if row.agent_id == name]
            taken = sum(row.state in SLOT_STATES or wakes(row.id, name) for row in rows)
            assert fleet._state.used[name] == taken, (name, rows)

    @invariant()
    def no_effect_twice(self) -> None:
        assert all(count == 1 for count in self.effects.values()), self.effects

    def teardown(self) -> None:
        if not hasattr(self, "worlds"):
            return
        for _ in range(200):
            for world in self.worlds.values():
                world.failing = False
                self.connect_now(world)
                self._to_agent(world, 1000)
                while world.work:
                    world.do_one()
                self.run(self._to_broker(world, 1000))
            self.run(self._time(1.0))
            if not len(self.house.fleet._state.commands) and not any(map(self._busy, self.worlds.values())):
                break
        try:
            self.everything_agrees()
        finally:
            self.runner.run(self.house.stop())
            self.runner.close()
            for world in self.worlds.values():
                world.journal.close()

    @staticmethod
    def _busy(world: World) -> bool:
        """An answer to a registration may name what is to be ended, so all that is under way counts."""
        return bool(world.to_agent or world.work or world.link.unsettled)

    def everything_agrees(self) -> None:
        fleet = self.house.fleet
        assert not len(fleet._state.commands), fleet._state.commands._open
        self.no_slot_leaks()
        self.no_effect_twice()
        self.agree_on(3)
        for world in self.worlds.values():  # a result that came after it was given up may have left a state behind
            self.run(self._cut(world))
            self.connect_now(world)
            self.run(self._to_broker(world, 1000))
        self.agree_on(4)
        assert {row.state for row in fleet.desktops.values()} <= {"running", "hibernated", "terminated"}
        assert all(fleet._state.used[name] >= 0 for name in AGENTS)

    def agree_on(self, what: int) -> None:
        """Both sides know the same sessions: on which agent, of which generation, and for 4 in which state."""
        held = {
            (session_id, world.name, generation, state)[:what]
            for world in self.worlds.values()
            for session_id, (generation, state) in world.sessions.items()
        }
        known = {
            (row.id, row.agent_id, row.generation, row.state)[:what]
            for row in self.house.fleet.desktops.values()
            if row.state in ("running", "hibernated") and row.started_at is not None
        }
        assert held == known


Delivery.TestCase.settings = settings(max_examples=40, stateful_step_count=40)
TestDelivery = Delivery.TestCase


ACTS = {
    "things_go_their_way": 30,
    "create": 8,
    "change": 14,
    "a_frame_comes_twice": 6,
    "frames_reach_the_broker": 6,
    "frames_reach_the_agent": 6,
    "the_agent_works": 4,
    "cut": 4,
    "connect": 4,
    "the_agent_is_killed": 3,
    "the_broker_is_killed": 2,
    "an_agent_stays_away": 1,
    "time_passes": 2,
    "the_next_start_fails": 1,
    "a_commit_fails": 1,
}
"""How often each happens in a storm: mostly work, so that there is something for the faults to hit."""


@pytest.mark.parametrize("seed", range(6))
def test_a_long_storm(seed: int) -> None:
    storm(seed)


@pytest.mark.soak
def test_storm_after_storm(soak_seconds: float) -> None:
    ends = time.monotonic() + soak_seconds
    while time.monotonic() < ends:
        seed = random.randrange(1 << 30)
        print(f"seed {seed}")
        storm(seed)


def storm(seed: int) -> None:
    """800 acts and faults, then quiet, then everything is compared."""
    chance = random.Random(seed)
    machine = Delivery()
    machine.begin()
    try:
        for _ in range(800):
            name, some = chance.choice(AGENTS), chance.randint(1, 6)
            act = chance.choices(list(ACTS), list(ACTS.values()))[0]
            match act:
                case "create":
                    machine.create(chance.randint(1, 3), chance.random() < 0.1)
                case "change" if machine.house.fleet.desktops:
                    machine.change(
                        chance.randrange(100), chance.choice(["hibernated", "running", "terminating", "terminated"])
                    )
                case "things_go_their_way":
                    machine.things_go_their_way(name, some, chance.randint(1, 6), chance.randint(1, 6))
                case "an_agent_stays_away":
                    machine.an_agent_stays_away(name, chance.random() < 0.5)
                case "time_passes":
                    machine.time_passes(chance.choice([5.0, 15.0, 65.0]))
                case "a_frame_comes_twice" | "frames_reach_the_broker" | "frames_reach_the_agent" | "the_agent_works":
                    getattr(machine, act)(name, some)
                case "cut" | "connect" | "the_agent_is_killed" | "the_next_start_fails":
                    getattr(machine, act)(name)
                case "the_broker_is_killed" | "a_commit_fails":
                    getattr(machine, act)()
            machine.no_slot_leaks()
            machine.no_effect_twice()
    finally:
        machine.teardown()
    assert len(machine.effects) > 60, "a storm without weather proves nothing"
