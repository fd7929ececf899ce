"""Which means of limiting a session is chosen, and what each writes where."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from app.agent import cgroups, supervisor
from app.agent.cgroups import Cgroup1, Cgroup2, Hierarchy, Systemd, detect
from app.agent.limits import SignalFreezer, SoftMeans, Wanted, short, some_cpus, standing
from app.agent.processes import descendants
from app.errors import Invalid
from tests.unit.agent.conftest import until


def no_pid() -> int:
    return 0


def tree(root: Path, *files: str) -> None:
    for name in files:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("cpu memory pids" if name.endswith("controllers") else "")


@pytest.fixture
def no_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups.shutil, "which", lambda _: None)


def test_what_a_session_may_use() -> None:
    assert Wanted.of({"memory": "2Gi", "cpu": "1500m"}) == Wanted(2 << 30, 1.5)
    assert Wanted.of({}) == Wanted.of(None) == Wanted()
    assert Wanted.of({"memory": "1Ki"}).memory == 64 << 20
    with pytest.raises(Invalid):
        Wanted.of({"memory": "plenty"})


async def test_cgroup_2_where_it_has_the_controllers(tmp_path: Path, no_systemd: None) -> None:
    tree(tmp_path, "cgroup.controllers", "cgroup.procs", "own/cgroup.procs", "own/cgroup.controllers")
    means = await detect("id1", Hierarchy(tmp_path, "0::/own\n"))
    assert isinstance(means, Cgroup2)
    for folder in (tmp_path / "own", tmp_path / "own/callboard-id1"):
        assert (folder / "cgroup.subtree_control").read_text() == "+memory +cpu"
    confinement = means.confine("s1", Wanted(1 << 30, 0.5), no_pid)
    folder = tmp_path / "own/callboard-id1" / short("s1")
    assert confinement.joins == [str(folder / "cgroup.procs")]
    assert (folder / "memory.max").read_text() == str(1 << 30)
    assert (folder / "cpu.max").read_text() == "50000 100000"
    (folder / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    assert confinement.count_oom() == 2
    assert confinement.memory is None


async def test_cgroup_1_where_version_2_has_nothing(tmp_path: Path, no_systemd: None) -> None:
    tree(tmp_path, "memory/own/cgroup.procs", "cpu,cpuacct/cgroup.procs", "freezer/cgroup.procs")
    tree(tmp_path, "memory/own/callboard-id1/memory.limit_in_bytes", "cpu,cpuacct/callboard-id1/cpu.cfs_quota_us")
    tree(tmp_path, "freezer/callboard-id1/freezer.state")
    own = "4:memory:/own\n3:cpu,cpuacct:/outside\n2:freezer:/\n0::/\n"
    means = await detect("id1", Hierarchy(tmp_path, own))
    assert isinstance(means, Cgroup1)
    confinement = means.confine("s1", Wanted(1 << 30, 2.0), no_pid)
    name = f"callboard-id1/{short('s1')}"
    assert [str(folder.relative_to(tmp_path)) for folder in confinement.folders] == [
        f"memory/own/{name}",
        f"cpu,cpuacct/{name}",
        f"freezer/{name}",
    ]
    assert (tmp_path / "memory/own" / name / "memory.limit_in_bytes").read_text() == str(1 << 30)
    assert (tmp_path / "cpu,cpuacct" / name / "cpu.cfs_quota_us").read_text() == "200000"


async def test_soft_where_there_is_nothing(tmp_path: Path, no_systemd: None) -> None:
    means = await detect("id1", Hierarchy(tmp_path, ""))
    assert isinstance(means, SoftMeans)
    confinement = means.confine("s1", Wanted(1 << 30, 1.0), no_pid)
    assert (confinement.name, confinement.memory, confinement.data_limit) == ("soft", 1 << 30, 1 << 30)
    assert len(confinement.affinity) == 1 or len(os.sched_getaffinity(0)) == 1
    assert isinstance(confinement.freezer, SignalFreezer)
    assert confinement.joins == []


def test_sessions_are_spread_over_the_cpus() -> None:
    available = os.sched_getaffinity(0)
    chosen = {cpu for number in range(64) for cpu in some_cpus(f"s{number}", 0.5) or available}
    assert chosen == available
    assert some_cpus("s1", float(len(available))) == []
    assert some_cpus("s1", None) == []


async def test_systemd_scopes_where_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a stand-in that runs what it is given, since systemd is not the init of a test machine."""
    said = tmp_path / "said"
    program = tmp_path / "systemd-run"
    script = f'#!/bin/sh\necho "$@" >> {said}\nwhile [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n'
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setattr(cgroups.shutil, "which", lambda _: str(program))
    monkeypatch.setattr(cgroups, "RUNNING", tmp_path)
    means = await detect("id1", Hierarchy(tmp_path, ""))
    assert isinstance(means, Systemd)
    confinement = means.confine("s1", Wanted(1 << 30, 1.5), no_pid)
    words = confinement.wrap
    assert words[0] == str(program)
    assert "MemoryMax=1073741824" in words
    assert "CPUQuota=150%" in words
    assert words[-1] == "--"
    assert ("--user" in words) is (os.geteuid() != 0)
    process = await asyncio.create_subprocess_exec(*words, "sh", "-c", "exit 7")
    assert await process.wait() == 7


async def test_an_agent_that_ends_while_it_tries_systemd_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, said = tmp_path / "systemd-run", tmp_path / "said"
    program.write_text(f"#!/bin/sh\necho $$ > {said}.new\nmv {said}.new {said}\nexec sleep 600\n")
    program.chmod(0o755)
    monkeypatch.setattr(cgroups.shutil, "which", lambda _: str(program))
    monkeypatch.setattr(cgroups, "RUNNING", tmp_path)
    monkeypatch.setattr(cgroups, "TRY_WITHIN", 60.0)
    trying = asyncio.ensure_future(detect("id1", Hierarchy(tmp_path, "")))
    await until(said.exists)
    trying.cancel()
    await asyncio.wait([trying], timeout=30)
    assert trying.cancelled()
    assert not Path(f"/proc/{said.read_text().strip()}").exists()


async def test_systemd_that_refuses_is_not_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups.shutil, "which", lambda _: "/bin/false")
    monkeypatch.setattr(cgroups, "RUNNING", tmp_path)
    assert isinstance(await detect("id1", Hierarchy(tmp_path, "")), SoftMeans)


async def test_signals_stop_a_tree_that_goes_on_forking() -> None:
    """A shell that begins a new child all the time, in sessions of their own."""
    script = "while :; do setsid sh -c 'sleep 0.05' & sleep 0.01; done"
    process = await asyncio.create_subprocess_exec("sh", "-c", f"({script}) & wait", start_new_session=True)
    freezer = SignalFreezer(lambda: process.pid)
    try:
        await until(lambda: len(descendants(process.pid)) > 2)
        await freezer.freeze()
        assert freezer.frozen()
        stopped = descendants(process.pid)
        await asyncio.sleep(0.1)
        assert descendants(process.pid) == stopped
        assert all(standing(pid) for pid in stopped)
        await freezer.thaw()
        await until(lambda: descendants(process.pid) != stopped)
    finally:
        for pid in [*descendants(process.pid), process.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        await process.wait()


def test_a_session_that_is_gone_has_no_processes_and_nobody_is_signalled_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Below 0 the system keeps everything that runs, and a signal to 0 goes to our own group."""
    told: list[tuple[int, int]] = []
    monkeypatch.setattr(supervisor.os, "kill", lambda pid, number: told.append((pid, number)))
    assert descendants(0) == []
    assert descendants(os.getppid())
    supervisor.signal_all([0, 1, -1], signal.SIGKILL)
    assert told == []


async def test_groups_that_are_of_no_use_are_given_back(tmp_path: Path, no_systemd: None) -> None:
    tree(tmp_path, "memory/cgroup.procs", "cpu/cgroup.procs", "freezer/cgroup.procs", "cgroup.procs")
    (tmp_path / "cgroup.controllers").write_text("pids")
    means = await detect("id1", Hierarchy(tmp_path, "3:memory:/\n2:cpu:/\n1:freezer:/\n0::/\n"))
    assert means.name == "soft"
    assert list(tmp_path.glob("**/callboard-*")) == []


async def test_groups_of_sessions_that_ended_meanwhile_go_with_the_agent(tmp_path: Path) -> None:
    means = SoftMeans(tmp_path / "callboard-id1")
    (gone,) = means.confine("s1", Wanted(), no_pid).folders
    (lives,) = means.confine("s2", Wanted(), no_pid).folders
    (lives / "occupied").mkdir()  # as the kernel keeps a group with processes
    means.release()
    assert (gone.exists(), lives.exists()) == (False, True)


async def test_a_service_manager_that_does_not_answer_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "systemd-run"
    program.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(cgroups, "RUNNING", tmp_path)
    monkeypatch.setattr(cgroups, "TRY_WITHIN", 2.0)
    monkeypatch.setattr(cgroups.shutil, "which", lambda _: str(program))
    means = await detect("id1", Hierarchy(tmp_path, ""))
    assert means.name == "soft"
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()
