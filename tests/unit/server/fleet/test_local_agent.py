"""The broker's own agent as a child process: started, watched, explained, ended."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.server.events import EventLog
from app.server.fleet import local_agent
from app.server.fleet.local_agent import LocalAgent, LocalAgentPlace, agent_id
from app.server.health import Health
from app.server.tasks import TaskTree
from tests.fakes.tasks import ended


class Bench:
    """A health to read and a place for the child's things."""

    def __init__(self, folder: Path) -> None:
        self.tasks = TaskTree()
        self.events = EventLog()
        self.news = asyncio.Event()
        self.events.subscribe(lambda _event: self.news.set())
        self.health = Health(self.events)
        self.folder = folder
        self.place = LocalAgentPlace(
            broker="http://127.0.0.1:1",
            key="secret-key",
            state_dir=folder / "agent",
            log_file=folder / "logs" / "a.log",
        )
        self.made: list[LocalAgent] = []

    def agent(self, code: str) -> LocalAgent:
        one = LocalAgent(self.tasks, self.health, self.place, command=lambda: [sys.executable, "-c", code])
        self.made.append(one)
        return one

    def text(self) -> str:
        return next((row.text for row in self.health.rows() if row.id == "agent"), "")

    async def until(self, fits: object) -> None:
        async with asyncio.timeout(20):
            while not fits():  # type: ignore[operator]
                self.news.clear()
                await self.news.wait()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    one = Bench(tmp_path)
    yield one
    for agent in one.made:
        await agent.stop()
    await ended(one.tasks)


async def test_why_it_does_not_run_stands_on_the_health_and_it_is_tried_again(bench: Bench) -> None:
    code = "import sys; open('started', 'a').write('x'); sys.exit('the state folder is in use')"
    agent = bench.agent(f"import os; os.chdir({str(bench.folder)!r}); {code}")
    assert agent.start()
    await bench.until(lambda: "in use" in bench.text())
    assert bench.text() == "This machine's own agent does not run: the state folder is in use"
    assert bench.health.ok
    async with asyncio.timeout(20):
        while len((bench.folder / "started").read_text()) < 2:
            await asyncio.sleep(0.02)


async def test_a_program_that_is_not_there(bench: Bench) -> None:
    agent = LocalAgent(bench.tasks, bench.health, bench.place, command=lambda: [str(bench.folder / "nothing")])
    bench.made.append(agent)
    assert agent.start()
    await bench.until(lambda: "cannot be run" in bench.text())


async def test_the_key_goes_through_the_environment_and_nothing_else_of_the_broker_does(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CALLBOARD_ADMIN_PASSWORD", "hunter2")
    monkeypatch.setenv("CALLBOARD_TOKEN", "token")
    code = "import os, sys; sys.exit(repr({k: v for k, v in os.environ.items() if k.startswith('CALLBOARD_')}))"
    assert bench.agent(code).start()
    await bench.until(lambda: "secret-key" in bench.text())
    assert bench.text().endswith("{'CALLBOARD_AGENT_KEY': 'secret-key'}")
    command = LocalAgent(bench.tasks, bench.health, bench.place)._own_command()
    assert "secret-key" not in " ".join(command)
    assert command[1:4] == ["-m", "app", "agent"]


async def test_it_ends_with_the_broker(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_agent, "WELL_AFTER", 0.05)
    bench.health.set("agent", True, "an older complaint")
    agent = bench.agent("import time; time.sleep(600)")
    assert agent.start()
    await bench.until(lambda: bench.text() == "")
    pid = agent.pid
    assert pid is not None
    assert Path(f"/proc/{pid}").exists()
    await agent.stop()
    assert not Path(f"/proc/{pid}").exists()


async def test_one_that_does_not_want_to_end_is_killed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_agent, "WELL_AFTER", 0.5)
    monkeypatch.setattr(local_agent, "ENDS_WITHIN", 0.2)
    bench.health.set("agent", True, "an older complaint")
    agent = bench.agent("import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)")
    assert agent.start()
    await bench.until(lambda: bench.text() == "")
    pid = agent.pid
    await agent.stop()
    assert not Path(f"/proc/{pid}").exists()


async def test_without_xvnc_there_is_none(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(bench.folder))
    assert not bench.agent("").start()
    assert bench.text() == ""


def test_a_log_that_has_grown_is_begun_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_agent, "_LOG_LIMIT", 10)
    place = LocalAgentPlace(broker="x", key="k", state_dir=tmp_path, log_file=tmp_path / "agent.log")
    place.log_file.write_text("x" * 100)
    agent = LocalAgent(TaskTree(), Health(EventLog()), place)
    agent._errors().close()
    assert place.log_file.stat().st_size == 0
    assert (tmp_path / "agent.old.log").stat().st_size == 100


def test_its_name_is_its_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "Stage Left.local")
    assert agent_id() == "Stage-Left.local-local"
