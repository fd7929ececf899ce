"""Commands on a platform that a test holds in its hands: order, places, ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.agent import executor as module
from app.agent.executor import Executor, stop_grace
from app.agent.platform import AgentFailure
from app.agent_protocol import Command, CommandResult, HeldSession
from tests.unit.agent.conftest import until


class Hand:
    """Sessions that begin and end when the test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.states: dict[str, str] = {}
        self.generations: dict[str, int] = {}
        self.gates: dict[str, asyncio.Event] = {}
        self.ended: list[dict[str, Any]] = []

    async def _do(self, verb: str, session_id: str, state: str | None) -> dict[str, Any]:
        self.calls.append((verb, session_id))
        gate = self.gates.get(session_id)
        if gate is not None:
            await gate.wait()
        if state is None:
            self.states.pop(session_id, None)
        else:
            self.states[session_id] = state
        return {}

    async def run(self, session_id: str, data: dict[str, Any], generation: int) -> dict[str, Any]:
        if data.get("fail"):
            raise AgentFailure("no room", "INSUFFICIENT_RESOURCES")
        if data.get("bug"):
            raise ZeroDivisionError("a bug")
        self.generations[session_id] = generation
        return await self._do("run", session_id, "running") | {"generation": generation}

    async def wake(self, session_id: str, data: dict[str, Any], generation: int) -> dict[str, Any]:
        return await self._do("wake", session_id, "running")

    async def hibernate(self, session_id: str) -> dict[str, Any]:
        return await self._do("hibernate", session_id, "hibernated")

    async def end(self, session_id: str, **how: Any) -> dict[str, Any]:
        self.ended.append(how)
        return await self._do("end", session_id, None)

    def held(self) -> list[HeldSession]:
        return [
            HeldSession(session_id=name, state=state, generation=self.generations.get(name, 1))
            for name, state in self.states.items()
        ]


class Rig:
    """An executor and what it finished."""

    def __init__(self, places: int = 3) -> None:
        self.hand = Hand()
        self.results: dict[str, CommandResult] = {}
        self.executor = Executor(self.hand, places, "a1", self._finished)  # type: ignore[arg-type]
        self._number = 0

    def _finished(self, command: Command, result: CommandResult) -> None:
        self.results[command.command_id] = result

    def submit(self, kind: str, session: str = "s1", generation: int = 0, **data: Any) -> str:
        self._number += 1
        command = Command(
            command_id=f"c{self._number}",
            command_type=f"{kind}_session",  # type: ignore[arg-type]
            session_id=session,
            data=data,
            generation=generation,
        )
        self.executor.submit(command)
        return command.command_id

    async def result(self, command_id: str) -> CommandResult:
        await until(lambda: command_id in self.results)
        return self.results[command_id]


async def test_commands_of_one_session_wait_for_each_other_and_others_do_not() -> None:
    rig = Rig()
    rig.hand.gates["s1"] = asyncio.Event()
    first = rig.submit("start")
    second = rig.submit("hibernate")
    other = rig.submit("start", "s2")
    assert (await rig.result(other)).status == "completed"
    assert rig.hand.calls == [("run", "s1"), ("run", "s2")]
    assert first not in rig.results
    rig.hand.gates["s1"].set()
    await rig.result(second)
    assert list(rig.results) == [other, first, second]
    await until(lambda: not rig.executor.busy)


async def test_every_end_is_a_result() -> None:
    rig = Rig()
    done = await rig.result(rig.submit("start", generation=4))
    assert (done.status, done.agent_id, done.result) == ("completed", "a1", {"session_id": "s1", "generation": 4})
    failed = await rig.result(rig.submit("start", "s2", fail=True))
    assert (failed.status, failed.error, failed.error_code) == ("failed", "no room", "INSUFFICIENT_RESOURCES")
    bug = await rig.result(rig.submit("start", "s3", bug=True))
    assert (bug.status, bug.error_code) == ("failed", "INTERNAL")


async def test_a_command_that_does_not_end_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(module.WITHIN, "start_session", 0.05)
    rig = Rig()
    rig.hand.gates["s1"] = asyncio.Event()
    assert (await rig.result(rig.submit("start"))).error_code == "TIMEOUT"


async def test_places_count_what_begins_and_not_what_sleeps() -> None:
    rig = Rig(places=1)
    rig.hand.gates["s1"] = asyncio.Event()
    beginning = rig.submit("start")
    assert (await rig.result(rig.submit("start", "s2"))).error_code == "AGENT_CAPACITY_EXCEEDED"
    rig.hand.gates["s1"].set()
    await rig.result(beginning)
    assert (await rig.result(rig.submit("start"))).status == "completed"  # the same session again
    await rig.result(rig.submit("hibernate"))
    await rig.result(rig.submit("start", "s2"))
    assert (await rig.result(rig.submit("wake"))).error_code == "AGENT_CAPACITY_EXCEEDED"
    await rig.result(rig.submit("stop", "s2"))
    assert (await rig.result(rig.submit("wake"))).status == "completed"


@pytest.mark.parametrize("kind", ["stop", "hibernate", "stale"])
async def test_who_comes_while_somebody_leaves_gets_that_place(kind: str) -> None:
    rig = Rig(places=1)
    await rig.result(rig.submit("start", generation=1))
    rig.hand.gates["s1"] = asyncio.Event()
    if kind == "stale":
        rig.executor.end_stale("s1", 1)
    else:
        rig.submit(kind)
    coming, too_many = rig.submit("start", "s2"), rig.submit("start", "s3")
    await until(lambda: len(rig.hand.calls) == 2)
    assert rig.hand.calls[1][1] == "s1"
    assert coming not in rig.results
    rig.hand.gates["s1"].set()
    results = [await rig.result(one) for one in (coming, too_many)]
    assert sorted(one.status for one in results) == ["completed", "failed"]


async def test_what_a_stop_says_is_passed_on() -> None:
    rig = Rig()
    await rig.result(rig.submit("stop", graceful=False, timeout="0s", delete_home=True))
    await rig.result(rig.submit("stop"))
    assert rig.hand.ended == [
        {"graceful": False, "timeout": 0.0, "delete_home": True},
        {"graceful": True, "timeout": 30.0, "delete_home": False},
    ]


@pytest.mark.parametrize(
    ("said", "seconds"), [("30s", 30), ("1m", 40), ("0", 0), (5, 5), (None, 30), ("soon", 30), (-3, 0), ([], 30)]
)
def test_the_grace_of_a_stop(said: Any, seconds: float) -> None:
    assert stop_grace({"timeout": said}) == seconds


async def test_a_stale_session_ends_behind_what_it_has_to_do() -> None:
    rig = Rig()
    rig.submit("start")
    rig.executor.end_stale("s1", 1)
    rig.executor.end_stale("s1", 1)
    await until(lambda: not rig.executor.busy)
    assert rig.hand.calls == [("run", "s1"), ("end", "s1")]


async def test_a_session_begun_anew_since_is_not_stale() -> None:
    """The broker's answer to a registration speaks of what was here then."""
    rig = Rig()
    await rig.result(rig.submit("start", generation=1))
    rig.submit("start", generation=2)
    rig.executor.end_stale("s1", 1)
    await until(lambda: not rig.executor.busy)
    assert rig.hand.states == {"s1": "running"}
    assert rig.hand.calls == [("run", "s1"), ("run", "s1")]


async def test_what_speaks_of_an_earlier_beginning_touches_nothing() -> None:
    rig = Rig()
    await rig.result(rig.submit("start", generation=3))
    assert (await rig.result(rig.submit("stop", generation=2))).status == "completed"
    assert (await rig.result(rig.submit("hibernate", generation=2))).error_code == "SESSION_NOT_FOUND"
    assert rig.hand.calls == [("run", "s1")]
    await rig.result(rig.submit("stop", generation=3))
    assert rig.hand.calls == [("run", "s1"), ("end", "s1")]


async def test_an_ending_agent_waits_a_while_and_leaves_the_rest_for_the_next() -> None:
    rig = Rig()
    rig.hand.gates["s1"] = asyncio.Event()
    rig.submit("start")
    rig.submit("hibernate")
    quick = rig.submit("start", "s2")
    await asyncio.sleep(0)
    await rig.executor.stop(0.05)
    assert list(rig.results) == [quick]
    assert not rig.executor.busy


async def test_a_flood_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "QUEUED", 3)
    rig = Rig()
    rig.hand.gates["s1"] = asyncio.Event()
    sent = [rig.submit("hibernate") for _ in range(5)]
    assert rig.results[sent[-1]].error_code == "AGENT_CAPACITY_EXCEEDED"
    rig.hand.gates["s1"].set()
    assert (await rig.result(sent[0])).status == "completed"
    await until(lambda: not rig.executor.busy)


async def test_a_command_that_comes_as_the_worker_ends_is_carried_out() -> None:
    hand = Hand()
    done: list[str] = []
    again = Command(command_id="c2", command_type="hibernate_session", session_id="s1")

    def finished(command: Command, result: CommandResult) -> None:
        done.append(command.command_id)
        if command.command_id == "c1":  # in the one turn of the loop between the worker's end and word of it
            asyncio.get_running_loop().call_soon(executor.submit, again)

    executor = Executor(hand, 2, "a", finished)  # type: ignore[arg-type]
    executor.submit(Command(command_id="c1", command_type="hibernate_session", session_id="s1"))
    await until(lambda: done == ["c1", "c2"])
    await until(lambda: not executor.busy)
