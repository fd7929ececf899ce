"""The agent's side of the protocol: what one frame leads to, and exactly-once effects over cut connections."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.agent.journal import SqliteJournal
from app.agent.link import Ask, Beat, Effect, EndStale, Execute, HangUp, Link, Registered, Send
from app.agent_protocol import (
    Command,
    CommandAck,
    CommandResult,
    HeldSession,
    LogsRequest,
    Register,
    RegisterAck,
    ResultAck,
    SessionEvent,
    encode,
)

ACK = RegisterAck(agent_id="a", status="registered", epoch=1)


class Bench:
    """A link with what it is told to hold; ``sent`` are the messages of the last step."""

    def __init__(self) -> None:
        self.journal = SqliteJournal(None)
        self.held: list[HeldSession] = []
        self.link = self.again()

    def again(self) -> Link:
        """A new life of the agent on the same journal."""
        self.link = Link(lambda: Register(agent_id="a", platform="local"), lambda: list(self.held), self.journal)
        return self.link

    def up(self, ack: RegisterAck = ACK) -> list[Effect]:
        """Connect and register."""
        self.link.connected(0.0)
        return self.link.receive(encode(ack), 0.0)

    def get(self, message: Any, now: float = 0.0) -> list[Effect]:
        """What the broker says."""
        return self.link.receive(encode(message), now)


@pytest.fixture
def bench() -> Iterator[Bench]:
    one = Bench()
    yield one
    one.journal.close()


def command(number: int = 1, kind: Any = "start_session", session: str = "s1") -> Command:
    return Command(command_id=f"c{number}", command_type=kind, session_id=session)


def completed(of: Command, **result: Any) -> CommandResult:
    return CommandResult(command_id=of.command_id, status="completed", result=result)


def messages(effects: list[Effect], kind: type[Any]) -> list[Any]:
    return [effect.message for effect in effects if isinstance(effect, Send) and isinstance(effect.message, kind)]


def test_a_connection_begins_with_the_inventory(bench: Bench) -> None:
    bench.held = [HeldSession(session_id="s1", generation=2)]
    (register,) = messages(bench.link.connected(0.0), Register)
    assert register.sessions == bench.held
    effects = bench.get(RegisterAck(agent_id="a", status="registered", epoch=7, stop=["s1", "unheard-of"]))
    assert Registered(False, 7) in effects
    assert EndStale((("s1", 2),)) in effects
    assert Beat() in effects


def test_a_command_is_acknowledged_carried_out_once_and_answered(bench: Bench) -> None:
    bench.up()
    first = bench.get(command())
    assert [one.command_id for one in messages(first, CommandAck)] == ["c1"]
    assert [effect for effect in first if isinstance(effect, Execute)] == [Execute(command())]
    assert not any(isinstance(effect, Execute) for effect in bench.get(command()))
    bench.held = [HeldSession(session_id="s1")]
    assert messages(bench.link.finished(command(), completed(command()), 1.0), CommandResult)
    again = bench.get(command())
    assert not any(isinstance(effect, Execute) for effect in again)
    bench.get(ResultAck(command_id="c1"))
    assert bench.link.unsettled == 0
    repeated = bench.get(command())
    assert [one.command_id for one in messages(repeated, CommandResult)] == ["c1"]


def test_results_are_repeated_one_at_a_time_oldest_first(bench: Bench) -> None:
    bench.up()
    for number in (1, 2, 3):
        bench.get(command(number, "stop_session", f"s{number}"))
    bench.link.closed()
    for number in (2, 1, 3):
        assert bench.link.finished(command(number, "stop_session", f"s{number}"), completed(command(number)), 1.0) == []
    bench.again()
    assert [one.command_id for one in messages(bench.up(), CommandResult)] == ["c2"]
    assert [one.command_id for one in messages(bench.get(ResultAck(command_id="c2")), CommandResult)] == ["c1"]
    assert [one.command_id for one in messages(bench.get(ResultAck(command_id="c1")), CommandResult)] == ["c3"]
    assert bench.get(ResultAck(command_id="c3")) == []
    assert bench.link.unsettled == 0


def test_a_result_that_is_not_acknowledged_lets_the_others_pass_and_comes_again(bench: Bench) -> None:
    bench.up()
    for number in (1, 2):
        bench.get(command(number, "stop_session", f"s{number}"))
    assert messages(bench.link.finished(command(1, "stop_session"), completed(command(1)), 0.0), CommandResult)
    assert messages(bench.link.finished(command(2, "stop_session"), completed(command(2)), 0.0), CommandResult) == []
    assert [one.command_id for one in messages(bench.link.tick(6.0), CommandResult)] == ["c2"]
    assert [one.command_id for one in messages(bench.get(ResultAck(command_id="c2"), 6.0), CommandResult)] == ["c1"]


def test_a_broker_that_knows_no_acknowledgement_gets_each_result_once(bench: Bench) -> None:
    bench.up(RegisterAck(agent_id="a", status="registered"))
    bench.get(command(1, "stop_session"))
    assert len(messages(bench.link.finished(command(1, "stop_session"), completed(command()), 0.0), CommandResult)) == 1
    assert bench.link.unsettled == 0
    assert bench.journal.undelivered() == []


def test_an_event_never_overtakes_a_result_of_its_session(bench: Bench) -> None:
    bench.up()
    bench.get(command(1, "stop_session", "s9"))
    bench.get(command(2))
    bench.link.finished(command(1, "stop_session", "s9"), completed(command(1)), 0.0)
    exited = SessionEvent(session_id="s1", event="exited")
    assert bench.link.happened(exited, 0.0) == []
    assert bench.link.finished(command(2), completed(command(2)), 0.0) == []
    told = [effect.message for effect in bench.get(ResultAck(command_id="c1")) if isinstance(effect, Send)]
    assert [type(one) for one in told] == [CommandResult, SessionEvent]
    assert bench.link.happened(SessionEvent(session_id="s2", event="oom"), 0.0)


def test_a_beginning_told_late_is_followed_by_the_end_of_its_session(bench: Bench) -> None:
    bench.up()
    bench.get(command())
    bench.link.closed()
    bench.link.finished(command(), completed(command(), generation=4), 0.0)
    told = [effect.message for effect in bench.up() if isinstance(effect, Send)]
    assert [type(one) for one in told] == [CommandResult, SessionEvent]
    assert (told[1].event, told[1].generation) == ("exited", 4)


def test_events_wait_for_a_connection_and_are_bounded(bench: Bench) -> None:
    for number in range(1500):
        bench.link.happened(SessionEvent(session_id=f"s{number}", event="activity"), 0.0)
    assert len(messages(bench.up(), SessionEvent)) == 1000


def test_heartbeats_keep_the_interval_of_the_broker(bench: Bench) -> None:
    bench.up(RegisterAck(agent_id="a", status="registered", heartbeat_interval="4s"))
    assert bench.link.tick(3.9) == []
    assert bench.link.tick(4.0) == [Beat()]
    assert bench.link.tick(7.9) == []
    assert bench.link.tick(8.1) == [Beat()]
    bench.get(RegisterAck(agent_id="a", status="registered", heartbeat_interval="soon"), 10.0)
    assert bench.link.tick(19.0) == []
    assert bench.link.tick(20.0) == [Beat()]


def test_a_broker_that_does_not_answer_the_registration_is_left(bench: Bench) -> None:
    bench.link.connected(0.0)
    assert bench.link.tick(9.9) == []
    assert [type(effect) for effect in bench.link.tick(10.0)] == [HangUp]
    bench.link.closed()
    assert bench.link.tick(30.0) == []


@pytest.mark.parametrize(
    ("frame", "unknown", "bad"),
    [('{"type":"new"}', 1, 0), ('{"type":[]}', 1, 0), ("{", 0, 1), ('{"type":"command"}', 0, 1)],
)
def test_what_is_not_understood_is_counted_and_passed_over(bench: Bench, frame: str, unknown: int, bad: int) -> None:
    bench.up()
    assert bench.link.receive(frame, 0.0) == []
    assert (bench.link.unknown, bench.link.bad) == (unknown, bad)


def test_without_a_journal_nothing_is_begun_and_what_ended_is_told(bench: Bench) -> None:
    bench.up()
    bench.get(command(1, "stop_session"))
    bench.journal.close()
    assert bench.get(command(2, "stop_session", "s2")) == []
    told = bench.link.finished(command(1, "stop_session"), completed(command(1)), 0.0)
    assert [one.command_id for one in messages(told, CommandResult)] == ["c1"]
    assert bench.get(ResultAck(command_id="c1")) == []


def test_questions_are_handed_on(bench: Bench) -> None:
    bench.up()
    question = LogsRequest(request_id="r", session_id="s1")
    assert bench.get(question) == [Ask(question)]


def test_a_standby_registers_and_says_so(bench: Bench) -> None:
    assert Registered(True, 1) in bench.up(RegisterAck(agent_id="a", status="standby", epoch=1))
    assert bench.link.standby


class Fault:
    """A world of one broker, one agent and a wire that is cut before or after any message, and agents that die.

    The broker sends what has no result, in a window; the agent's effects are counted by command.
    """

    WINDOW = 3

    def __init__(self, seed: int, loss: float, deaths: float, commands: int) -> None:
        self.random = random.Random(seed)
        self.loss, self.deaths = loss, deaths
        self.bench = Bench()
        self.open = {
            f"c{n}": Command(command_id=f"c{n}", command_type="stop_session", session_id=f"s{n % 4}")
            for n in range(commands)
        }
        self.effects: dict[str, int] = {}
        self.results: dict[str, str] = {}
        self.under_way: list[Command] = []
        self.now = 0.0
        self.steps = 0

    def run(self) -> None:
        while self.open:
            self.steps += 1
            assert self.steps < 20_000, "it never settles"
            self.connection()

    def cut(self) -> bool:
        return self.random.random() < self.loss

    def connection(self) -> None:
        self.bench.link.closed()
        to_broker = self.sends(self.bench.link.connected(self.now))
        if self.cut():
            return
        to_broker = self.sends(self.bench.get(ACK, self.now))
        for sent in list(self.open.values())[: self.WINDOW]:
            if self.cut():
                return
            to_broker += self.sends(self.bench.get(sent, self.now))
        while to_broker or self.under_way:
            self.now += 0.1
            if self.random.random() < self.deaths:
                self.under_way.clear()
                self.bench.again()
                return
            if self.under_way and (not to_broker or self.random.random() < 0.5):
                done = self.under_way.pop(self.random.randrange(len(self.under_way)))
                to_broker += self.sends(self.bench.link.finished(done, completed(done), self.now))
                continue
            message = to_broker.pop(0)
            if self.cut():
                return
            if isinstance(message, CommandResult):
                self.open.pop(message.command_id, None)
                self.results[message.command_id] = message.status
                if self.cut():
                    return
                to_broker += self.sends(self.bench.get(ResultAck(command_id=message.command_id), self.now))

    def sends(self, effects: list[Effect]) -> list[Any]:
        """Begin what is to be carried out: the effect comes at once, the end of it later."""
        for effect in effects:
            if isinstance(effect, Execute):
                self.effects[effect.command.command_id] = self.effects.get(effect.command.command_id, 0) + 1
                self.under_way.append(effect.command)
        return [effect.message for effect in effects if isinstance(effect, Send)]


@settings(max_examples=60)
@given(st.integers(0, 1 << 30), st.sampled_from([0.0, 0.05, 0.15, 0.3]), st.integers(1, 25))
def test_every_effect_happens_exactly_once_however_the_wire_is_cut(seed: int, loss: float, commands: int) -> None:
    world = Fault(seed, loss, 0.0, commands)
    world.run()
    world.bench.journal.close()
    assert world.effects == {f"c{number}": 1 for number in range(commands)}
    assert world.results == {f"c{number}": "completed" for number in range(commands)}


@settings(max_examples=40)
@given(st.integers(0, 1 << 30), st.sampled_from([0.0, 0.1]), st.integers(1, 15))
def test_a_dying_agent_repeats_only_what_it_had_not_ended(seed: int, loss: float, commands: int) -> None:
    world = Fault(seed, loss, 0.05, commands)
    world.run()
    world.bench.journal.close()
    assert set(world.results) == {f"c{number}" for number in range(commands)}
    assert set(world.effects) == set(world.results)  # the platform makes a repetition harmless
