"""The local platform with real desktops: start, freeze, stop, adoption, sweep, limits."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.agent import limits, processes
from app.agent.platform import AgentFailure, UnixAddress
from app.agent.rfb import grab, greeting, open_rfb
from app.agent.session import Session
from tests.unit.agent.conftest import Local, start_data, until


def session_of(platform: object, session_id: str) -> Session:
    return platform._sessions[session_id]  # type: ignore[attr-defined]


async def lines_of(platform: object, session_id: str) -> str:
    return "\n".join(await platform.logs(session_id, 200))  # type: ignore[attr-defined]


async def test_a_session_is_a_desktop_that_only_we_can_reach(local: Local) -> None:
    platform = await local()
    result = await platform.run("s1", start_data(), 3)
    assert result["session_id"] == "s1"
    assert result["generation"] == 3
    assert result["started_at"].endswith("Z")
    assert result["limits"] == platform.metadata["limits"]
    address = await platform.rfb_address("s1")
    assert isinstance(address, UnixAddress)
    mode = os.stat(address.path).st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    frame = await grab(address)
    assert (frame.width, frame.height) == (640, 480)
    below = processes.descendants(session_of(platform, "s1").pid)
    assert below
    assert [one for pid in below for one in listening(pid)] == []
    for folder in (local.folder / "sessions", local.folder / "sessions" / "s1"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [(one.session_id, one.state, one.generation) for one in platform.held()] == [("s1", "running", 3)]


def listening(pid: int) -> list[Any]:
    """TCP ports that a process listens on."""
    try:
        return [one for one in psutil.Process(pid).net_connections("tcp") if one.status == psutil.CONN_LISTEN]
    except psutil.NoSuchProcess:  # a shell's sleeps come and go
        return []


async def test_a_start_again_finds_the_session_and_a_newer_one_replaces_it(local: Local) -> None:
    platform = await local()
    first = await platform.run("s1", start_data(), 1)
    pid = session_of(platform, "s1").pid
    assert await platform.run("s1", start_data(), 1) == first
    assert session_of(platform, "s1").pid == pid
    await platform.run("s1", start_data(), 2)
    assert session_of(platform, "s1").pid != pid
    with pytest.raises(AgentFailure, match="newer"):
        await platform.run("s1", start_data(), 1)
    assert local.events == []


async def test_the_end_leaves_nothing_but_the_log(local: Local) -> None:
    platform = await local()
    await platform.run("s1", start_data(["sh", "-c", "echo to the log; exec xterm"]), 1)
    await until(lambda: "to the log" in (local.folder / "sessions/s1/session.log").read_text())
    address = await platform.rfb_address("s1")
    await platform.end("s1", graceful=True, timeout=5, delete_home=False)
    assert platform.held() == []
    assert local.marked() == {}
    assert not Path(address.path).exists()  # type: ignore[union-attr]
    assert list((local.folder / "sessions").iterdir()) == []
    assert "to the log" in await lines_of(platform, "s1")
    assert await platform.end("s1", graceful=True, timeout=5, delete_home=False) == {}
    assert local.events == []


async def test_what_ignores_sigterm_is_ended_at_the_deadline_with_its_detached_child(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.agent.session.LAST_WAIT", 60.0)  # then the agent does what its supervisor did not
    platform = await local()
    script = (
        "trap '' TERM HUP; setsid sh -c 'trap \"\" TERM; while :; do sleep 0.1; done' & while :; do sleep 0.1; done"
    )
    await platform.run("s1", start_data(["sh", "-c", script]), 1)
    await until(lambda: len(local.marked()) >= 6)
    began = time.monotonic()
    await platform.end("s1", graceful=True, timeout=1, delete_home=False)
    assert 0.9 < time.monotonic() - began < 9, "ten seconds is what sessions get of an agent that ends"
    assert local.marked() == {}


async def test_an_end_by_force_waits_for_nothing(local: Local) -> None:
    platform = await local()
    await platform.run("s1", start_data(["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]), 1)
    began = time.monotonic()
    await platform.end("s1", graceful=False, timeout=60, delete_home=False)
    assert time.monotonic() - began < 30
    assert local.marked() == {}


async def test_a_program_that_ends_ends_its_session_and_says_how(local: Local) -> None:
    platform = await local()
    asked: list[asyncio.Task[str]] = []
    platform.on_event = lambda event: asked.append(asyncio.ensure_future(lines_of(platform, "s1")))
    await platform.run("s1", start_data(["sh", "-c", "echo goodbye; exit 7"]), 4)
    await until(lambda: asked)
    assert "goodbye" in await asked[0]  # who hears of the end may ask for the log at once
    platform.on_event = local.events.append
    await platform.run("s1", start_data(["sh", "-c", "echo goodbye; exit 7"]), 4)
    await until(lambda: local.events)
    event = local.events[0]
    assert (event.session_id, event.event, event.generation, event.code) == ("s1", "exited", 4, "PROGRAM_FAILED")
    assert event.message == "sh ended with status 7"
    assert platform.held() == []
    await until(lambda: not (local.folder / "sessions" / "s1").exists())
    assert "goodbye" in await lines_of(platform, "s1")


def socket_file(display: int | None) -> tuple[int, int] | None:
    """Which file is a display's socket now."""
    try:
        file = Path(f"/tmp/.X11-unix/X{display}").stat()
    except FileNotFoundError:
        return None
    return file.st_ino, file.st_ctime_ns


async def test_a_display_that_dies_ends_its_session(local: Local) -> None:
    platform = await local()
    await platform.run("s1", start_data(), 1)
    display = session_of(platform, "s1").display
    server = next(pid for pid in processes.descendants(session_of(platform, "s1").pid) if name_of(pid).startswith("X"))
    file = socket_file(display)
    os.kill(server, signal.SIGKILL)
    await until(lambda: local.events)
    assert local.events[0].code == "DISPLAY_LOST"
    assert "SIGKILL" in local.events[0].message
    await until(lambda: socket_file(display) != file)  # it may be another server's by now
    assert local.marked() == {}


async def test_a_supervisor_that_is_killed_leaves_nothing_running(local: Local) -> None:
    platform = await local()
    await platform.run("s1", start_data(), 1)
    await until(lambda: len(local.marked()) >= 5)
    os.kill(session_of(platform, "s1").pid, signal.SIGKILL)
    await until(lambda: local.events)
    assert local.events[0].code == "SUPERVISOR_LOST"
    await until(lambda: not (local.folder / "sessions" / "s1").exists())
    await until(lambda: local.marked() == {})  # who was killed may not have got round to it


@pytest.mark.parametrize("means", ["auto", "soft"])
async def test_hibernation_freezes_every_process_and_a_wake_goes_on(local: Local, means: str, tmp_path: Path) -> None:
    platform = await local(limits=means)
    if means == "soft":
        platform._means = limits.SoftMeans()  # signals, although this machine has a freezer
    ticks = tmp_path / "ticks"
    script = f"setsid sh -c 'while :; do echo . >> {ticks}; sleep 0.02; done' & while :; do sleep 0.02; done"
    await platform.run("s1", start_data(["xterm", "-e", "sh", "-c", script]), 1)
    await until(lambda: ticks.exists() and ticks.stat().st_size > 4)
    assert await platform.hibernate("s1") == {"hibernate": "freeze"}
    size = ticks.stat().st_size
    supervisor = session_of(platform, "s1").pid
    before = [cpu_of(pid) for pid in processes.descendants(supervisor)]
    await asyncio.sleep(0.3)
    assert ticks.stat().st_size == size
    assert [cpu_of(pid) for pid in processes.descendants(supervisor)] == before
    with pytest.raises(AgentFailure) as refused:
        await platform.rfb_address("s1")
    assert refused.value.code == "VNC_HIBERNATED"
    assert await platform.hibernate("s1") == {"hibernate": "freeze"}
    assert platform.held()[0].state == "hibernated"
    result = await platform.wake("s1", {}, 1)
    assert result["session_id"] == "s1"
    await until(lambda: ticks.stat().st_size > size)
    await grab(await platform.rfb_address("s1"))


@pytest.mark.parametrize("means", ["auto", "soft"])
async def test_a_frozen_session_can_be_ended(local: Local, means: str) -> None:
    platform = await local(limits=means)
    if means == "soft":
        platform._means = limits.SoftMeans()
    await platform.run("s1", start_data(), 1)
    await platform.hibernate("s1")
    await platform.end("s1", graceful=True, timeout=5, delete_home=False)
    assert local.marked() == {}
    assert platform.held() == []


async def test_hibernation_by_stopping_keeps_the_home(local: Local) -> None:
    platform = await local()
    await platform.run("s1", start_data(["sh", "-c", "date > $HOME/kept; exec xterm"], hibernate="stop"), 1)
    home = local.folder / "sessions/s1/home"
    await until(lambda: (home / "kept").exists())
    (home / "mine").write_text("work")
    assert await platform.hibernate("s1") == {"hibernate": "stop"}
    assert local.marked() == {}
    assert platform.held()[0].state == "hibernated"
    await platform.stop()
    again = await local()
    assert again.held()[0].state == "hibernated"
    await again.wake("s1", {}, 1)
    assert (home / "mine").read_text() == "work"
    assert again.held()[0].state == "running"
    await grab(await again.rfb_address("s1"))
    assert local.events == []


async def test_a_wake_of_what_was_never_started_starts_it(local: Local) -> None:
    platform = await local()
    with pytest.raises(AgentFailure, match="no such session"):
        await platform.wake("s1", {}, 1)
    await platform.wake("s1", start_data(), 1)
    assert platform.held()[0].state == "running"


async def test_the_next_agent_adopts_running_and_frozen_sessions(local: Local) -> None:
    first = await local()
    await asyncio.gather(*(first.run(f"s{number}", start_data(), 1) for number in range(3)))
    await first.hibernate("s2")
    held = {one.session_id: (one.state, one.result) for one in first.held()}
    await first.stop()
    second = await local()
    assert {one.session_id: (one.state, one.result) for one in second.held()} == held
    await second.wake("s2", {}, 1)
    for number in range(3):
        await grab(await second.rfb_address(f"s{number}"))
    os.kill(session_of(second, "s0").pid, signal.SIGTERM)
    await until(lambda: local.events)
    assert local.events[0].session_id == "s0"
    await second.end("s1", graceful=True, timeout=5, delete_home=False)
    assert [one.session_id for one in second.held()] == ["s2"]


async def test_what_no_supervisor_looks_after_is_swept_and_strangers_are_not(local: Local) -> None:
    first = await local()
    await first.run("s1", start_data(), 1)
    await until(lambda: len(local.marked()) >= 5)
    supervisor = session_of(first, "s1").pid
    await first.stop()
    os.kill(supervisor, signal.SIGKILL)
    os.waitpid(supervisor, 0)
    assert local.marked()
    stranger = await asyncio.create_subprocess_exec("sleep", "60", env={"CALLBOARD_SESSION": f"{local.state_id}x:s1"})
    second = await local()
    await until(lambda: local.marked() == {})
    assert second.held() == []
    assert stranger.returncode is None
    stranger.kill()
    await stranger.wait()


async def test_another_process_with_the_pid_of_a_supervisor_is_left_alone(local: Local) -> None:
    first = await local()
    await first.run("s1", start_data(), 1)
    state = local.folder / "sessions/s1/state.json"
    await first.stop()
    text = state.read_text()
    start = processes.start_of(session_of(first, "s1").pid)
    state.write_text(text.replace(start, str(int(start) + 1)))
    second = await local()
    assert second.held() == []
    await until(lambda: local.marked() == {})


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (start_data(["no-such-program"]), "PROGRAM_MISSING"),
        (start_data(["../bin/sh"]), "PROGRAM_MISSING"),
        (start_data(vnc={"resolution": "9x9"}), "TEMPLATE_INVALID"),
        (start_data(vnc={"color_depth": 3}), "TEMPLATE_INVALID"),
        ({**start_data(), "command": []}, "TEMPLATE_INVALID"),
        ({**start_data(), "command": "xterm"}, "TEMPLATE_INVALID"),
    ],
)
async def test_a_start_that_cannot_be_leaves_nothing(local: Local, data: dict[str, object], code: str) -> None:
    platform = await local()
    with pytest.raises(AgentFailure) as refused:
        await platform.run("s1", data, 1)
    assert refused.value.code == code
    assert platform.held() == []
    assert list((local.folder / "sessions").iterdir()) == []


@pytest.mark.parametrize("session_id", ["", "../x", "a/b", ".", "a" * 65, "x y"])
async def test_an_id_never_leads_out_of_the_folder(local: Local, session_id: str) -> None:
    platform = await local()
    with pytest.raises(AgentFailure):
        await platform.run(session_id, start_data(), 1)
    with pytest.raises(AgentFailure):
        await platform.logs(session_id, 10)
    assert sorted(path.name for path in local.folder.iterdir()) == ["ended", "sessions"]


async def test_a_persistent_home_stays_is_locked_and_goes_when_asked(local: Local) -> None:
    platform = await local()
    data = start_data(["sh", "-c", "date > $HOME/kept; exec xterm"], persistent_home=True)
    await platform.run("s1", data, 1)
    home = local.folder / "homes/john.doe/xterm"
    await until(lambda: (home / "kept").exists())
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    with pytest.raises(AgentFailure) as refused:
        await platform.run("s2", data, 1)
    assert refused.value.code == "HOME_IN_USE"
    await platform.run("s3", start_data(), 1)
    await platform.end("s3", graceful=True, timeout=5, delete_home=True)
    assert home.exists()  # not the home of a session that had one of its own
    await platform.end("s1", graceful=True, timeout=5, delete_home=False)
    await platform.run("s2", data, 1)
    assert (home / "kept").exists()
    await platform.end("s2", graceful=True, timeout=5, delete_home=True)
    assert not home.exists()


@pytest.mark.parametrize("look_every", [3600.0, 0.01])
async def test_limits_of_memory_and_cpu_are_enforced(
    local: Local, monkeypatch: pytest.MonkeyPatch, look_every: float
) -> None:
    """Whether the agent hears of the end first, or of the want of memory."""
    monkeypatch.setattr("app.agent.local_keeper.WATCH_EVERY", look_every)
    platform = await local()
    hog = "import time\nparts=[]\nwhile True: parts.append(bytearray(8<<20)); time.sleep(0.005)"
    await platform.run("s1", start_data(["python3", "-c", hog], resources={"memory": "128Mi", "cpu": "500m"}), 1)
    await until(lambda: any(event.event == "exited" for event in local.events), 60)
    assert local.events[-1].code == "OUT_OF_MEMORY"
    assert [event.event for event in local.events] == ["oom", "exited"]


async def test_the_watchdog_is_the_limit_where_there_is_no_other(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.agent.local_keeper.WATCH_EVERY", 0.1)
    monkeypatch.setattr("app.agent.local_load.FRESH", 0.0)
    platform = await local(limits="soft")
    children = "import time,subprocess,sys\nfor _ in range(4): subprocess.Popen([sys.executable,'-c','b=bytearray(30<<20);import time;time.sleep(99)'])\ntime.sleep(99)"
    await platform.run("s1", start_data(["python3", "-c", children], resources={"memory": "100Mi"}), 1)
    await until(lambda: any(event.event == "exited" for event in local.events), 60)
    assert local.events[0].event == "oom"
    assert local.events[-1].code == "OUT_OF_MEMORY"


async def test_the_load_tells_cpu_and_memory_of_each_session(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.agent.local_load.FRESH", 0.0)
    platform = await local()
    await platform.run("s1", start_data(["sh", "-c", "while :; do :; done"]), 1)
    await platform.load()
    async with asyncio.timeout(15):
        while not (one := (load := await platform.load()).sessions[0]).cpu or one.cpu <= 5:
            await asyncio.sleep(0.2)  # what it gets of a busy machine
    assert [each.session_id for each in load.sessions] == ["s1"]
    assert one.memory is not None
    assert one.memory > 5_000_000
    assert load.memory is not None


async def test_a_template_cannot_change_what_a_session_is_made_of(local: Local, tmp_path: Path) -> None:
    platform = await local()
    out = tmp_path / "env"
    said = {"LD_PRELOAD": "/x.so", "PATH": "/nowhere", "HOME": "/root", "GREETING": "hi there", "A B": "no", "N": 3}
    script = f"env > {out}.new; mv {out}.new {out}; exec xterm"
    await platform.run("s1", start_data(["sh", "-c", script], environment=said), 1)
    await until(out.exists)
    seen = dict(line.split("=", 1) for line in out.read_text().splitlines() if "=" in line)
    assert seen["GREETING"] == "hi there"
    assert seen["N"] == "3"
    assert "LD_PRELOAD" not in seen
    assert seen["PATH"] != "/nowhere"
    assert seen["HOME"] == str(local.folder / "sessions/s1/home")
    assert not {name for name in seen if name.startswith("CALLBOARD_")} - {"CALLBOARD_SESSION"}


async def test_logs_are_followed_until_the_end(local: Local) -> None:
    platform = await local()
    await platform.run("s1", start_data(["sh", "-c", "for i in 1 2 3 4 5; do echo line $i; sleep 0.1; done"]), 1)
    lines = [line async for part in platform.follow("s1", 100) for line in part]
    assert [line.split(" ", 1)[1] for line in lines if "line" in line] == [f"line {number}" for number in range(1, 6)]


async def test_the_last_input_is_known(local: Local, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.agent.idle.WITHIN", 30.0)
    platform = await local()
    await platform.run("s1", start_data(), 1)
    session = session_of(platform, "s1")
    tool = {**os.environ, "DISPLAY": f":{session.display}", "XAUTHORITY": str(session.authority)}
    await asyncio.sleep(0.6)
    before = (await platform.load()).sessions[0].active_at
    assert before is not None
    assert time.time() - before > 0.5
    moving = await asyncio.create_subprocess_exec("xdotool", "mousemove", "50", "60", env=tool)
    assert await moving.wait() == 0
    after = (await platform.load()).sessions[0].active_at
    assert after is not None
    assert after > before


async def test_a_display_asks_for_its_secret(local: Local) -> None:
    platform = await local()
    await platform.run("s1", start_data(), 1)
    session = session_of(platform, "s1")
    for authority, allowed in ((session.authority, True), (Path("/dev/null"), False)):
        tool = {"PATH": os.environ["PATH"], "DISPLAY": f":{session.display}", "XAUTHORITY": str(authority)}
        asking = await asyncio.create_subprocess_exec("xdpyinfo", env=tool, stdout=-3, stderr=-3)
        assert (await asking.wait() == 0) is allowed


async def test_viewers_that_leave_before_they_are_in_shut_nobody_out(local: Local) -> None:
    platform = await local()
    await platform.run("s1", start_data(), 1)
    address = await platform.rfb_address("s1")
    for _ in range(12):
        reader, writer = await open_rfb(address)
        await greeting(reader)
        writer.transport.abort()
    assert (await grab(address)).width == 640


async def test_a_program_that_cannot_be_run_is_a_failure_in_words(local: Local, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF and nothing else")
    program.chmod(0o755)
    platform = await local()
    with pytest.raises(AgentFailure, match="cannot be started: Exec format error"):
        await platform.run("s1", start_data([str(program)]), 1)
    assert platform.held() == []
    assert local.marked() == {}
    assert "Exec format error" in await lines_of(platform, "s1")


async def test_a_packaged_callboard_starts_its_supervisor_by_itself(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = local.folder / "callboard"
    entry = Path(__file__).resolve().parents[3] / "packaging" / "entry.py"
    program.write_text(f'#!/bin/sh\nexport PYTHONPATH={entry.parents[1]}\nexec {sys.executable} {entry} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "executable", str(program))
    platform = await local()
    await platform.run("s1", start_data(), 1)
    await grab(await platform.rfb_address("s1"))


def name_of(pid: int) -> str:
    try:
        return psutil.Process(pid).name()
    except psutil.NoSuchProcess:
        return ""


def cpu_of(pid: int) -> tuple[int, str]:
    fields = processes.stat_of(pid)
    return pid, f"{fields[11]} {fields[12]}"
