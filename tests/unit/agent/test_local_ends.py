"""Ends of local sessions that something comes between: the agent's own end, a freezer, a disk that takes nothing."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest

from app.agent import processes
from app.agent.cgroups import Hierarchy
from app.agent.limits import SoftMeans
from app.agent.local import LocalPlatform
from app.agent.platform import AgentFailure
from app.agent.session import MARKER, SWEEPS, Session
from tests.unit.agent.conftest import Local, start_data, until


def session_of(platform: LocalPlatform, session_id: str) -> Session:
    return platform._sessions[session_id]


def saver(folder: Path) -> list[str]:
    """A program that takes until ``go`` to save what it has when it is asked to end."""
    wait = f"while test ! -e {folder}/go; do sleep 0.05; done"
    script = f"trap '{wait}; echo work > {folder}/saved; exit 0' TERM; : > {folder}/up; while :; do sleep 0.05; done"
    return ["sh", "-c", script]


async def begun(local: Local, folder: Path, **more: object) -> LocalPlatform:
    platform = await local()
    await platform.run("s1", start_data(saver(folder), **more), 1)
    await until(lambda: (folder / "up").exists())
    return platform


async def left_alone(platform: LocalPlatform, verb: asyncio.Task[object]) -> None:
    """The agent ends once the session was asked to."""
    grace = session_of(platform, "s1").folder / "grace"
    await until(grace.exists)
    verb.cancel()
    await asyncio.gather(verb, return_exceptions=True)
    await platform.stop()


async def test_a_graceful_end_outlives_the_agent_that_began_it(local: Local, tmp_path: Path) -> None:
    first = await begun(local, tmp_path)
    ends = first.end("s1", graceful=True, timeout=20, delete_home=False)
    await left_alone(first, asyncio.create_task(ends))
    second = await local()
    assert [one.state for one in second.held()] == ["stopping"]
    (tmp_path / "go").touch()
    await second.end("s1", graceful=True, timeout=20, delete_home=False)  # the broker says it again
    assert (tmp_path / "saved").exists()
    assert second.held() == []
    assert local.marked() == {}
    assert not (local.folder / "sessions" / "s1").exists()
    assert local.events == []


async def test_an_end_that_nobody_asks_for_again_is_finished_all_the_same(local: Local, tmp_path: Path) -> None:
    first = await begun(local, tmp_path)
    ends = first.end("s1", graceful=True, timeout=20, delete_home=False)
    await left_alone(first, asyncio.create_task(ends))
    second = await local()
    assert second.held()
    (tmp_path / "go").touch()
    await until(lambda: not second.held())
    assert (tmp_path / "saved").exists()
    await until(lambda: not (local.folder / "sessions" / "s1").exists())


async def test_hibernation_by_stopping_outlives_the_agent_that_began_it(local: Local, tmp_path: Path) -> None:
    first = await begun(local, tmp_path, hibernate="stop", persistent_home=True)
    await left_alone(first, asyncio.create_task(first.hibernate("s1")))
    (tmp_path / "up").unlink()
    second = await local()
    assert [one.state for one in second.held()] == ["hibernated"]
    waking = asyncio.create_task(second.wake("s1", {}, 1))  # waits for the end that is under way, and for its home
    await asyncio.wait([waking], timeout=0.1)
    assert not waking.done()
    (tmp_path / "go").touch()
    await waking
    assert (tmp_path / "saved").exists()
    assert [one.state for one in second.held()] == ["running"]


async def test_a_freeze_that_the_agent_did_not_live_to_see_is_undone(local: Local) -> None:
    first = await local(limits="soft")
    await first.run("s1", start_data(), 1)
    await until(lambda: len(local.marked()) >= 5)
    session = session_of(first, "s1")
    assert session.confinement is not None
    freeze, stood = session.confinement.freezer.freeze, asyncio.Event()

    async def half() -> None:
        await freeze()
        os.kill(processes.descendants(session.pid)[0], signal.SIGCONT)  # as if it had come to most of them only
        stood.set()
        await asyncio.Event().wait()

    object.__setattr__(session.confinement.freezer, "freeze", half)
    verb = asyncio.create_task(first.hibernate("s1"))
    await stood.wait()
    verb.cancel()
    await asyncio.gather(verb, return_exceptions=True)
    await first.stop()
    second = await local(limits="soft")
    assert [one.state for one in second.held()] == ["running"]
    await until(lambda: not stopped_below(session_of(second, "s1").pid))


def stopped_below(pid: int) -> list[int]:
    """Processes below this one that stand still."""
    found = []
    for one in processes.descendants(pid):
        with contextlib.suppress(OSError):  # a shell's sleeps come and go
            if processes.stat_of(one)[0] in "Tt":
                found.append(one)
    return found


async def test_what_is_begun_while_a_session_is_swept_ends_too(local: Local) -> None:
    """A shell that is killed a moment after it began its next program leaves that behind."""
    platform = await local()
    await platform.run("s1", start_data(), 1)
    session = session_of(platform, "s1")
    marked, begun_late = session._marked, []

    def and_then_one_more() -> set[int]:
        found = marked()
        if not begun_late:
            environment = {"PATH": os.environ["PATH"], MARKER: session.marker}
            begun_late.append(subprocess.Popen(["sleep", "600"], env=environment))
        return found

    session._marked = and_then_one_more  # type: ignore[method-assign]
    os.kill(session.pid, signal.SIGKILL)
    await until(lambda: begun_late)
    assert await asyncio.to_thread(begun_late[0].wait, 20) == -signal.SIGKILL


async def test_a_sweep_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs that go on beginning others do not hold their agent up: the next sweep takes what is left."""
    session, killed = Session(tmp_path, cast(Any, None), "marker"), []

    async def one_more() -> set[int]:
        return {10_000_000 + len(killed)}  # no process has such a number

    session._left = one_more  # type: ignore[method-assign]
    monkeypatch.setattr(processes, "kill_all", killed.append)
    async with asyncio.timeout(10):
        assert await session.sweep() == SWEEPS
    assert len(killed) == SWEEPS


async def test_a_frozen_session_whose_supervisor_was_killed_leaves_nothing(local: Local, tmp_path: Path) -> None:
    """The older freezer keeps even what was killed."""
    platform = await local()
    own = Hierarchy().v1("freezer")
    base = own / f"callboard-{local.state_id}-t" if own is not None and os.geteuid() == 0 else None
    platform._means.release()
    platform._means = SoftMeans(base)
    await platform.run("s1", start_data(), 1)
    await until(lambda: len(local.marked()) >= 5)
    await platform.hibernate("s1")
    os.kill(session_of(platform, "s1").pid, signal.SIGKILL)
    await until(lambda: local.events)
    await until(lambda: not (local.folder / "sessions" / "s1").exists())
    await until(lambda: local.marked() == {})
    await until(lambda: base is None or list(base.glob("*/")) == [])


async def test_an_end_that_failed_while_frozen_can_be_asked_for_again(local: Local) -> None:
    platform = await local()
    await platform.run("s1", start_data(), 1)
    await platform.hibernate("s1")
    freezer = session_of(platform, "s1").confinement.freezer  # type: ignore[union-attr]
    thaw = freezer.thaw

    async def fails() -> None:
        raise AgentFailure("not now")

    object.__setattr__(freezer, "thaw", fails)
    with pytest.raises(AgentFailure):
        await platform.end("s1", graceful=True, timeout=5, delete_home=False)
    object.__setattr__(freezer, "thaw", thaw)
    async with asyncio.timeout(20):
        await platform.end("s1", graceful=True, timeout=5, delete_home=False)
    assert local.marked() == {}


async def test_a_disk_that_takes_nothing_does_not_keep_a_session_alive(local: Local) -> None:
    """To end the session that filled it may be the only way to get room."""
    platform = await local()
    await platform.run("s1", start_data(), 1)
    folder = session_of(platform, "s1").folder
    for name in ("record.json.new", "grace"):
        (folder / name).mkdir()  # whoever writes there fails
    ended = local.folder / "ended"
    ended.rmdir()
    ended.write_text("")
    await platform.end("s1", graceful=True, timeout=5, delete_home=False)
    assert platform.held() == []
    assert local.marked() == {}
    assert not folder.exists()
    ended.unlink()
