"""Agents that are killed and cut off at any moment: no session lost, none doubled, every command's effect once."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from app.agent import processes
from app.agent.folder import StateFolder
from app.agent.session import MARKER
from app.agent_protocol import Command, CommandResult, Register
from tests.fakes.agent_broker import AgentBroker, AgentSide
from tests.unit.agent.conftest import start_data

VERBS = ("start_session", "hibernate_session", "wake_session", "stop_session")


class Show:
    """Sessions that are taken through their life, one command after the other, over as many agents as it takes."""

    def __init__(self, sessions: int, seed: int) -> None:
        self.random = random.Random(seed)
        self.left = {
            f"s{number}": [self.command(number, at, verb) for at, verb in enumerate(VERBS)]
            for number in range(sessions)
        }
        self.results: dict[str, CommandResult] = {}

    @staticmethod
    def command(number: int, at: int, verb: str) -> Command:
        kind = "stop" if number % 2 else "freeze"
        data = start_data(["sh", "-c", "echo x >> $HOME/begun; exec xterm"], hibernate=kind) if at == 0 else {}
        return Command(command_id=f"c{number}-{at}", command_type=verb, session_id=f"s{number}", data=data)  # type: ignore[arg-type]

    async def play(self, side: AgentSide) -> None:
        """Send what has no result yet, one command of each session, until all is done or the connection is gone."""
        try:
            while commands := [queue[0] for queue in self.left.values() if queue]:
                for command in commands:
                    await side.send(command)
                await asyncio.gather(*(self.settle(side, command) for command in commands))
        except (ConnectionClosed, AssertionError):
            return

    async def settle(self, side: AgentSide, command: Command) -> None:
        result = await side.wait(CommandResult, command_id=command.command_id, within=60)
        self.results[command.command_id] = result
        self.left[command.session_id].pop(0)


async def run(broker: AgentBroker, state: Path, show: Show, faults: int) -> int:
    """Agents one after the other; how many it took."""
    lives = 0
    while any(show.left.values()):
        lives += 1
        assert lives < 20 * faults + 20, "it never settles"
        arguments = ("agent", "--broker", broker.url, "--agent-id", "a1", "--state-dir", str(state))
        agent = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "app", *arguments, stderr=asyncio.subprocess.DEVNULL
        )
        try:
            side = await broker.agent(least=len(broker.agents) + 1, within=30)
            inventory = [one.session_id for one in (await side.wait(Register)).sessions or []]
            assert len(inventory) == len(set(inventory))
            playing = asyncio.create_task(show.play(side))
            if lives <= faults:
                await asyncio.wait([playing], timeout=show.random.uniform(0.0, 0.5))
                if show.random.random() < 0.3:
                    side.socket.transport.abort()
                    await asyncio.sleep(show.random.uniform(0.0, 0.2))
                agent.kill()
            await playing
        finally:
            if agent.returncode is None:
                agent.kill()
            await agent.wait()
    return lives


@pytest.mark.parametrize("faults", [5, pytest.param(150, marks=[pytest.mark.soak, pytest.mark.timeout(900)])])
async def test_random_kills_lose_and_double_nothing(state: Path, faults: int) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    rounds = 1 if faults < 20 else faults // 10
    for number in range(rounds):
        show = Show(4, seed + number)
        async with AgentBroker() as broker:
            await run(broker, state, show, min(faults, 10))
        failed = {name: result.error for name, result in show.results.items() if result.status != "completed"}
        assert failed == {}, f"seed {seed + number}"
        assert len(show.results) == 4 * len(VERBS)
        with StateFolder(state) as folder:
            assert processes.marked(MARKER, f"{folder.id}:") == {}
            assert os.listdir(state / "sessions") == []
            folder.journal._run("DELETE FROM command")
