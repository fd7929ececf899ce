"""app/packaged.py: how the packaged program starts itself, and what it keeps from the programs of others."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from app.packaged import foreign_environment, own_command, packed_files


@pytest.fixture
def packed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """As if this were the packaged application, with its files in the folder."""
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "_MEIPASS", str(tmp_path), raising=False)
    monkeypatch.setattr(sys, "executable", "/opt/callboard/callboard")
    return tmp_path


def test_the_sources_are_run_by_python() -> None:
    assert own_command() == [sys.executable, "-m", "app"]
    assert packed_files() is None


def test_the_packaged_program_runs_itself(packed: Path) -> None:
    assert own_command() == ["/opt/callboard/callboard"]
    assert packed_files() == packed


def test_programs_of_others_find_their_own_libraries(packed: Path) -> None:
    environ = {
        "PATH": "/usr/bin",
        "LD_LIBRARY_PATH": str(packed),
        "QT_PLUGIN_PATH": str(packed / "PySide6" / "Qt" / "plugins"),
        "QML2_IMPORT_PATH": str(packed / "PySide6" / "Qt" / "qml"),
        "_PYI_ARCHIVE_FILE": "/opt/callboard/callboard",
    }
    assert foreign_environment(environ) == {"PATH": "/usr/bin"}


def test_what_the_operator_had_set_is_given_back(packed: Path) -> None:
    environ = {
        "LD_LIBRARY_PATH": f"{packed}:/opt/vendor/lib",
        "LD_LIBRARY_PATH_ORIG": "/opt/vendor/lib",
        "DYLD_LIBRARY_PATH": f"{packed}:/opt/vendor/lib",
        "QT_PLUGIN_PATH": "/opt/vendor/plugins",
    }
    assert foreign_environment(environ) == {
        "LD_LIBRARY_PATH": "/opt/vendor/lib",
        "DYLD_LIBRARY_PATH": "/opt/vendor/lib",
        "QT_PLUGIN_PATH": "/opt/vendor/plugins",
    }


def test_without_packaging_the_environment_is_everybodys() -> None:
    environ = {"LD_LIBRARY_PATH": "/opt/vendor/lib", "QT_PLUGIN_PATH": "/opt/vendor/plugins"}
    assert foreign_environment(environ) == environ
