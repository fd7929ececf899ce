"""What a start may say, and what becomes of it before a process exists."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest

from app.agent import desktop
from app.agent.desktop import allowed, environment, find, program_command, size_of, window_manager, write_authority
from app.agent.platform import AgentFailure


@pytest.mark.parametrize(("text", "size"), [("1280x720", (1280, 720)), (None, (1920, 1080)), ("", (1920, 1080))])
def test_a_resolution(text: Any, size: tuple[int, int]) -> None:
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["1280", "1280x", "99999x100", "10x10", "1280x720; rm", "-1x5", "٣٠٠x300"])
def test_what_is_no_resolution(text: str) -> None:
    with pytest.raises(AgentFailure) as refused:
        size_of(text)
    assert refused.value.code == "TEMPLATE_INVALID"


def test_a_program_is_found_and_its_arguments_stay_arguments() -> None:
    command = program_command(["sh", "-c", "a; b", "$(c)", "*"])
    assert command[0].endswith("/sh")
    assert command[1:] == ["-c", "a; b", "$(c)", "*"]


@pytest.mark.parametrize("said", [None, [], "xterm", [""], [1], ["sh", "a\0b"], ["sh"] * 300, ["sh", "x" * 20_000]])
def test_what_is_no_command(said: Any) -> None:
    with pytest.raises(AgentFailure) as refused:
        program_command(said)
    assert refused.value.code == "TEMPLATE_INVALID"


def test_only_programs_of_this_machine_and_never_of_a_relative_path(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "tool").write_text("#!/bin/sh\n")
    (tmp_path / "tool").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    assert find("tool") is None
    assert find("./tool") is None
    assert find(str(tmp_path / "tool")) == str(tmp_path / "tool")
    assert find("/no/such/tool") is None


@pytest.mark.parametrize("name", ["chromium", "google-chrome-stable", "chromium-browser"])
def test_chromium_as_root_needs_a_decision(tmp_path: Path, monkeypatch: Any, name: str) -> None:
    program = tmp_path / name
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr(desktop.os, "geteuid", lambda: 0)
    with pytest.raises(AgentFailure, match="--no-sandbox"):
        program_command([str(program)])
    assert program_command([str(program), "--no-sandbox"])
    monkeypatch.setattr(desktop.os, "geteuid", lambda: 1000)
    assert program_command([str(program)])


def test_variables_that_would_change_the_session_are_left_out() -> None:
    said = {
        "LD_PRELOAD": "x", "LD_LIBRARY_PATH": "x", "PATH": "x", "HOME": "x", "DISPLAY": ":0", "XAUTHORITY": "x",
        "CALLBOARD_AGENT_KEY": "x", "GLIBC_TUNABLES": "x", "a=b": "x", "": "x", "BAD\0": "x", "Z": "a\0b", 3: "x",
        "PUID": 1000, "TZ": "UTC", "LANG": "de_DE.UTF-8",
    }  # fmt: skip
    assert allowed(said) == {"PUID": "1000", "TZ": "UTC", "LANG": "de_DE.UTF-8"}
    assert allowed(None) == allowed([1]) == {}


def test_the_environment_holds_nothing_of_ours(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("CALLBOARD_AGENT_KEY", "hush")
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/x")
    whole = environment({}, home=tmp_path, runtime=tmp_path, authority=tmp_path / "X", marker="id:s1")
    assert "hush" not in whole.values()
    assert "DBUS_SESSION_BUS_ADDRESS" not in whole
    assert (whole["HOME"], whole["CALLBOARD_SESSION"]) == (str(tmp_path), "id:s1")


def test_a_window_manager_that_is_missing_is_none() -> None:
    assert window_manager(("surely-not-there", "-x")) == []
    assert window_manager(()) == []
    assert window_manager(("sh", "-x"))[1:] == ["-x"]


def test_the_secret_of_a_display_is_fresh_and_private(tmp_path: Path) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        write_authority(path)
        assert os.stat(path).st_mode & 0o777 == 0o600
    first, second = (path.read_bytes() for path in paths)
    assert struct.unpack(">HHHH18sH", first[:28])[4] == b"MIT-MAGIC-COOKIE-1"
    assert len(first) == len(second) == 44
    assert first[-16:] != second[-16:]
