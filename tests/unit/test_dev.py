"""dev.py: what it decides before it starts anything, and that it does no set-up twice."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import dev
from tests.soak import share


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What ``dev.py run`` would start; set-up is taken as done."""
    commands: list[list[str]] = []
    monkeypatch.setattr(dev, "set_up", lambda **_: None)
    monkeypatch.setattr(dev, "become", lambda arguments: commands.append(arguments) or 0)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    return commands


@pytest.mark.parametrize(
    ("display", "typed", "becomes"),
    [
        (":0", [], []),
        (":0", ["--", "--broker", "http://127.0.0.1:8080"], ["--broker", "http://127.0.0.1:8080"]),
        (":0", ["demo"], ["demo"]),
        ("", [], ["serve"]),
        ("", ["--", "--port", "0"], ["serve", "--port", "0"]),
        ("", ["serve", "--port", "0"], ["serve", "--port", "0"]),
        ("", ["demo"], ["demo", "--headless"]),
        ("", ["demo", "--headless"], ["demo", "--headless"]),
        ("", ["kick", "x"], ["kick", "x"]),
    ],
)
def test_run_picks_the_role_that_the_machine_can_show(
    started: list[list[str]], monkeypatch: pytest.MonkeyPatch, display: str, typed: list[str], becomes: list[str]
) -> None:
    monkeypatch.setenv("DISPLAY", display)
    assert dev.main(["run", *typed]) == 0
    assert started == [["-P", "-m", "app", *becomes]]


def test_run_without_a_display_says_so(started: list[list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    dev.main(["run"])
    said = capsys.readouterr()
    assert "no display" in said.err
    assert said.out == ""


def test_an_unknown_command_is_refused_with_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert dev.main(["tset"]) == 2
    assert "package" in capsys.readouterr().err


def test_help_needs_nothing_installed() -> None:
    told = subprocess.run(
        [sys.executable, "-S", "-E", dev.__file__, "--help"],
        capture_output=True,
        check=False,
        text=True,
        timeout=30,
    )
    assert told.returncode == 0
    assert all(command in told.stdout for command in dev.COMMANDS)


def test_an_old_python_is_refused_in_words() -> None:
    started = f"import runpy, sys; sys.version_info = (3, 8, 10, 'final', 0); runpy.run_path({dev.__file__!r})"
    told = subprocess.run([sys.executable, "-c", started], capture_output=True, check=False, text=True, timeout=30)
    assert told.returncode == 1
    assert told.stderr.startswith("dev.py: Python 3.11 or newer is needed"), told.stderr
    assert "Traceback" not in told.stderr


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A made-up environment with a stamp for it; returns the set-up steps taken."""
    steps: list[str] = []
    monkeypatch.setattr(dev, "PYTHON", tmp_path / "python")
    monkeypatch.setattr(dev, "STAMP", tmp_path / "stamp.json")
    monkeypatch.setattr(dev, "LOCK", tmp_path / "requirements.lock")
    dev.PYTHON.write_text("")
    dev.LOCK.write_text("click==8.5.1\n")
    dev.STAMP.write_text(json.dumps(dev.fingerprint()))
    monkeypatch.setattr(dev, "make_environment", lambda: steps.append("environment"))
    monkeypatch.setattr(dev, "install_packages", lambda: steps.append("packages"))
    monkeypatch.setattr(dev, "pip", lambda *_: steps.append("callboard"))
    return steps


def test_a_finished_set_up_is_not_repeated(environment: list[str]) -> None:
    dev.set_up()
    assert environment == []


def test_what_is_wished_for_is_looked_at_last(environment: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev, "install_wished", lambda packages: environment.append(f"wished {packages}"))
    monkeypatch.setattr(sys, "platform", "linux")
    dev.STAMP.unlink()
    dev.set_up(wished={"no-such-tool": "no-such", "sh": "dash"})
    assert environment[-2:] == ["callboard", "wished ['no-such']"]


def test_a_changed_lock_installs_packages_again(environment: list[str]) -> None:
    dev.LOCK.write_text("click==8.5.2\n")
    dev.set_up()
    assert environment == ["packages", "callboard"]
    dev.set_up()
    assert environment == ["packages", "callboard"]


def test_another_python_makes_a_new_environment(environment: list[str]) -> None:
    dev.STAMP.write_text(json.dumps(dev.fingerprint() | {"python": "3.9"}))
    dev.set_up()
    assert environment[0] == "environment"


@pytest.mark.parametrize("stamp", ["", "[]", "{", '{"folder": "/elsewhere"}'])
def test_a_broken_or_foreign_stamp_means_set_up(environment: list[str], stamp: str) -> None:
    dev.STAMP.write_text(stamp)
    dev.set_up()
    assert "callboard" in environment


def test_an_environment_whose_python_is_gone_is_made_anew(environment: list[str]) -> None:
    dev.PYTHON.unlink()
    dev.set_up()
    assert environment == ["environment", "packages", "callboard"]


def test_system_packages_are_named_by_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    missing = dev.missing_packages({"libno-such.so.7": "libno-such7"}, {"no-such-tool": "no-such", "sh": "dash"})
    assert missing == ["libno-such7", "no-such"]
    monkeypatch.setattr(sys, "platform", "darwin")
    assert dev.missing_packages({"libno-such.so.7": "libno-such7"}, {}) == []


def test_without_root_the_one_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev, "root_prefix", lambda: None)
    monkeypatch.setattr(dev.shutil, "which", lambda _: "/usr/bin/apt-get")
    with pytest.raises(dev.SetupFailed, match=r"sudo apt-get update && sudo apt-get install .* libgl1"):
        dev.install_system_packages(["libgl1"])


def test_where_there_is_no_apt_the_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dev.shutil, "which", lambda _: None)
    with pytest.raises(dev.SetupFailed, match="libgl1"):
        dev.install_system_packages(["libgl1"])


def test_a_pattern_of_files_stands_for_a_package_too(tmp_path: Path) -> None:
    assert not dev.has_tool(f"{tmp_path}/**/*.ttf")
    (tmp_path / "deep" / "deeper").mkdir(parents=True)
    (tmp_path / "deep" / "deeper" / "sans.ttf").write_text("")
    assert dev.has_tool(f"{tmp_path}/**/*.ttf")


@pytest.mark.parametrize(("newer", "name"), [(0, "libasound2t64"), (100, "libasound2")])
def test_a_renamed_package_is_asked_for_as_this_release_knows_it(
    monkeypatch: pytest.MonkeyPatch, newer: int, name: str
) -> None:
    monkeypatch.setattr(dev.shutil, "which", lambda _: "/usr/bin/apt-cache")
    monkeypatch.setattr(dev.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], newer))
    assert dev.present_name("libasound2") == name
    assert dev.present_name("libgl1") == "libgl1"


def test_what_can_be_done_without_is_tried_once_and_said_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[list[str]] = []

    def fails(packages: list[str]) -> None:
        tried.append(packages)
        raise dev.SetupFailed("apt-get install failed: no network")

    monkeypatch.setattr(dev, "install_system_packages", fails)
    monkeypatch.setattr(dev, "GIVEN_UP", tmp_path / "without.json")
    dev.install_wished(["tigervnc-standalone-server"])
    assert "no network" in capsys.readouterr().err
    dev.install_wished(["tigervnc-standalone-server"])
    assert "tigervnc-standalone-server" in capsys.readouterr().err
    assert tried == [["tigervnc-standalone-server"]]
    dev.install_wished(["xterm"])
    assert tried[1:] == [["xterm"]]


@pytest.mark.parametrize(
    ("typed", "wished"),
    [([], True), (["serve"], True), (["agent", "--platform", "local"], True), (["demo"], True), (["kick", "x"], False)],
)
def test_desktops_are_wished_for_by_the_roles_that_run_them(
    started: list[list[str]], monkeypatch: pytest.MonkeyPatch, typed: list[str], wished: bool
) -> None:
    asked: list[dict[str, object]] = []
    monkeypatch.setattr(dev, "set_up", lambda **needs: asked.append(needs))
    assert dev.main(["run", *typed]) == 0
    assert asked[0]["wished"] == (dev.DESKTOP_TOOLS if wished else None)
    assert "tools" not in asked[0], "nothing of a desktop is demanded of a machine that only shows the console"


def test_pip_is_tried_twice_then_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[object] = []
    monkeypatch.setattr(dev.time, "sleep", lambda _: None)
    failing = subprocess.CompletedProcess([], 1)
    monkeypatch.setattr(dev.subprocess, "run", lambda *a, **k: tries.append(a) or failing)
    with pytest.raises(dev.SetupFailed, match="twice"):
        dev.pip("install", "x")
    assert len(tries) == 2


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("importlib-metadata==10.2.0 ; python_full_version < '3.12'", "importlib-metadata"),
        ("PySide6_Addons==6.11.3", "pyside6-addons"),
        ("sqlalchemy[asyncio]>=2.1", "sqlalchemy"),
    ],
)
def test_requirements_compare_by_their_bare_name(line: str, name: str) -> None:
    assert dev.normalise(line) == name


def test_the_lock_covers_what_is_asked_for_and_names_no_place() -> None:
    project = tomllib.loads((dev.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lock = dev.LOCK.read_text(encoding="utf-8")
    asked = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    assert {dev.normalise(line) for line in asked} <= {dev.normalise(line) for line in lock.splitlines()}
    assert "//" not in lock
    assert all("==" in line for line in lock.splitlines() if line.strip())


@pytest.mark.parametrize(
    ("total", "tests", "workers", "each"), [(180, 1, 1, 180), (180, 3, 2, 90), (180, 2, 2, 180), (180, 0, 2, 180)]
)
def test_soak_tests_share_the_time_of_the_gate(total: float, tests: int, workers: int, each: float) -> None:
    assert share(total, tests, workers) == each
