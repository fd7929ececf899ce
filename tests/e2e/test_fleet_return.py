"""Two hundred agents with two thousand sessions come back at the same moment to a broker that was killed with -9.

It is killed while sessions begin, fall asleep and end. What was answered counts; what was not may have happened or
not; and broker, agents and a console that looked on all along agree about all of it.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import httpx
import pytest

from app.contract import SLOT_STATES
from app.demo.agents import SimulatedAgent
from app.models.fleet_states import is_on_its_way
from tests.e2e.console_process import Watcher, watching
from tests.e2e.fleet_crowd import NAME, Crowd, a_crowd
from tests.e2e.house import eventually

AGENTS, SESSIONS = 200, 2_000
ACTS = 60
"""Of each kind: begin, hibernate, end."""
WITHIN = 90.0
NEW = {"user": "admin", "template": NAME, "platform": SimulatedAgent.platform, "persistent_home": False}
Answers = dict[str, list[httpx.Response | None]]


@pytest.mark.timeout(300)
async def test_everybody_comes_back_at_once_to_a_killed_broker(tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    async with a_crowd(tmp_path, AGENTS, SESSIONS, seed) as crowd, watching(crowd.url, crowd.broker.token) as console:
        await settled(crowd, console)
        await agree(crowd, console)
        assert set(await crowd.sessions()) == set(crowd.was)

        asleep, ended = chosen(crowd)
        answers = await killed_meanwhile(crowd, asleep, ended)
        await crowd.start()
        await settled(crowd, console)
        rows = await agree(crowd, console)
        nothing_is_lost(crowd, rows, answers, asleep, ended)
        assert crowd.tally.registrations == 2 * AGENTS, "an agent needed more than one connection"


def chosen(crowd: Crowd) -> tuple[list[str], list[str]]:
    """Running sessions to hibernate and others to end."""
    running = [row.id for row in crowd.was.values() if row.state == "running"]
    picked = crowd.dice.sample(running, 2 * ACTS)
    return picked[:ACTS], picked[ACTS:]


async def killed_meanwhile(crowd: Crowd, asleep: list[str], ended: list[str]) -> Answers:
    """Everything at once, and the end of the broker when a third is answered; what each was told, if anything.

    The client has at most a hundred requests under way: those that wait for their turn then come too late for certain.
    """
    enough, count = asyncio.Event(), 0

    async def ask(method: str, path: str, body: object = None) -> httpx.Response | None:
        nonlocal count
        answer = await crowd.ask(method, path, body)
        count += 1
        if count == ACTS:
            crowd.broker.process.kill()
            enough.set()
        return answer

    begin = [ask("POST", "/sessions", NEW) for _ in range(ACTS)]
    sleep = [ask("PATCH", f"/sessions/{one}", {"state": "hibernated"}) for one in asleep]
    end = [ask("DELETE", f"/sessions/{one}") for one in ended]
    asked = [asyncio.ensure_future(one) for three in zip(begin, sleep, end, strict=True) for one in three]
    await enough.wait()
    await crowd.kill()
    answers = await asyncio.gather(*asked)
    return {"begin": answers[0::3], "sleep": answers[1::3], "end": answers[2::3]}


async def settled(crowd: Crowd, console: Watcher) -> None:
    """Wait until everybody is there and nothing is on its way any more, at the broker and in the console."""
    store = console.store

    def calm() -> bool:
        online = sum(row.status == "online" for row in store.agents.values())
        return store.live and online == len(crowd.agents) and not any(map(is_on_its_way, store.desktops.values()))

    async def nothing_is_open() -> bool:
        return (await crowd.figures())["callboard_commands_open"] == 0

    try:
        await console.until(calm, WITHIN)
        await eventually(nothing_is_open, WITHIN)
    except TimeoutError:
        left = [row for row in store.desktops.values() if is_on_its_way(row)]
        raise AssertionError(f"{crowd.tally}, {len(left)} on their way: {left[:3]}") from None


async def agree(crowd: Crowd, console: Watcher) -> dict[str, str]:
    """The broker's rows, what agents hold and what the console shows are the same; states by session."""
    rows, held, store = await crowd.sessions(), crowd.held(), console.store
    live = {one: (row["agent_id"], row["state"]) for one, row in rows.items() if row["state"] != "terminated"}
    assert live == held

    def shown() -> dict[str, tuple[str | None, str]]:
        return {row.id: (row.agent_id, row.state) for row in store.desktops.values() if row.state != "terminated"}

    try:
        await console.until(lambda: shown() == live, 10.0)
    except TimeoutError:
        differ = set(shown().items()) ^ set(live.items())
        raise AssertionError(f"the console shows something else: {sorted(differ)[:5]}") from None
    assert len({row["name"] for row in rows.values()}) == len(rows)
    for agent_id, agent in store.agents.items():
        slots = sum(on == agent_id and state in SLOT_STATES for on, state in live.values())
        assert agent.sessions == slots, f"{agent_id} counts {agent.sessions} sessions, {slots} are on it"
    return {one: row["state"] for one, row in rows.items()}


def nothing_is_lost(crowd: Crowd, rows: dict[str, str], answers: Answers, asleep: list[str], ended: list[str]) -> None:
    """Each session is where its last answer put it, and no command had its effect twice."""
    assert set(crowd.was) <= set(rows), "sessions are lost"
    untouched = {one: row.state for one, row in crowd.was.items() if one not in asleep and one not in ended}
    assert {one: rows[one] for one in untouched} == untouched
    told = {"begin": 202, "sleep": 200, "end": 204}
    for kind, given in answers.items():
        assert {answer.status_code for answer in given if answer is not None} <= {told[kind]}
    assert any(answer is None for given in answers.values() for answer in given), "the broker was not killed meanwhile"
    begun = [answer.json()["id"] for answer in answers["begin"] if answer is not None]
    new = set(rows) - set(crowd.was)
    assert set(begun) <= new, "what was answered is lost"
    assert {rows[one] for one in new} == {"running"}
    assert len(new) <= ACTS
    for one, answer in zip(asleep, answers["sleep"], strict=True):
        done = answer is not None and answer.json()["state"] == "hibernated"
        assert rows[one] in (("hibernated",) if done else ("running", "hibernated"))
    for one, answer in zip(ended, answers["end"], strict=True):
        assert rows[one] in (("terminated",) if answer is not None else ("running", "terminated"))
    starts = crowd.effects("start_session")
    assert starts == dict.fromkeys(new, 1)
    for kind in ("hibernate_session", "stop_session"):
        assert set(crowd.effects(kind).values()) <= {1}
    assert crowd.effects("wake_session") == {}
