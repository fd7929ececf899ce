"""The console's log file, in a process of its own: what Qt says, what nobody caught, and how the program ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.ui.console_log import MOST_LATER

ROOT = Path(__file__).resolve().parents[2]
BEGIN = """
import sys, threading
from pathlib import Path
from PySide6.QtCore import qWarning
from app.ui.console_log import ConsoleLog
log = ConsoleLog(Path(sys.argv[1]))
log.watch()
"""


def run(script: str, folder: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        cwd=ROOT, env={**os.environ, "QT_QPA_PLATFORM": "offscreen"}, stderr=subprocess.PIPE, text=True, timeout=60,
        check=False, **more,
    )  # fmt: skip


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "logs" / "console.log").read_text().splitlines()]


def test_what_qt_says_stands_in_the_file_and_on_standard_error(tmp_path: Path) -> None:
    ran = run(BEGIN + 'qWarning("lost http://h/?token=abcdef")\nlog.close()\nqWarning("later")\n', tmp_path / "data")
    assert ran.returncode == 0, ran.stderr
    (line,) = lines(tmp_path / "data")
    assert (line["area"], line["level"], line["event"]) == ("qt", "warning", "lost http://h/?token=[hidden]")
    assert "lost http://h/?token=[hidden]" in ran.stderr
    assert "abcdef" not in ran.stderr
    assert "later" in ran.stderr


@pytest.mark.parametrize(
    ("end", "event"),
    [
        ("raise ValueError('at the end')", "uncaught"),
        ("def f():\n    raise ValueError('at the end')\nt = threading.Thread(target=f); t.start(); t.join(); sys.exit(1)",
         "uncaught in a thread"),
    ],
)  # fmt: skip
def test_what_nobody_caught_stands_there_too(tmp_path: Path, end: str, event: str) -> None:
    ran = run(BEGIN + end, tmp_path / "data")
    assert ran.returncode == 1
    (line,) = lines(tmp_path / "data")
    assert line["event"] == event
    assert "ValueError: at the end" in line["exception"]
    assert ran.stderr.splitlines()[-1] == "ValueError: at the end"


def test_a_crash_of_the_interpreter_leaves_its_trace(tmp_path: Path) -> None:
    ran = run(BEGIN + "log.set_up()\nimport os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", tmp_path / "data")
    assert ran.returncode == -11
    assert "Segmentation fault" in (tmp_path / "data" / "logs" / "console.log").read_text()


def test_a_console_that_cannot_begin_says_why_in_the_file(tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
from app.ui import main
def broken():
    raise ValueError("no display")
main.application = broken
main.main(None, Path(sys.argv[1]))
"""
    ran = run(script, tmp_path / "data")
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1] == "ValueError: no display"
    assert [line["event"] for line in lines(tmp_path / "data")] == ["ended by an error"]


def test_no_file_is_said_and_harms_nothing(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a folder")
    ran = run(BEGIN + "log.set_up()\nprint(log.where, file=sys.stderr)", tmp_path / "data")
    assert ran.returncode == 0, ran.stderr
    assert "This console writes no log file" in ran.stderr.splitlines()[-1]


SAYS_WHILE_WRITING = """
from app.logs import LogFile, get_logger
write, said = LogFile.write, []
def speaks(self, text):
    if {when}:
        said.append(1)
        qWarning(f"said within {{len(said)}}")
    write(self, text)
LogFile.write = speaks
log.set_up()
get_logger("feed").info("outer")
log.close()
"""


def test_what_qt_says_while_a_line_is_written_comes_after_it(tmp_path: Path) -> None:
    """Any line may be under way when an object of Qt's goes and Qt has a word on that."""
    ran = run(BEGIN + SAYS_WHILE_WRITING.format(when="not said"), tmp_path / "data")
    assert ran.returncode == 0, ran.stderr
    assert [line["event"] for line in lines(tmp_path / "data")] == ["outer", "said within 1"]


def test_lines_that_bring_about_each_other_come_to_an_end(tmp_path: Path) -> None:
    ran = run(BEGIN + SAYS_WHILE_WRITING.format(when="True"), tmp_path / "data")
    assert ran.returncode == 0, ran.stderr
    told = [line["event"] for line in lines(tmp_path / "data")]
    assert told == ["outer", *(f"said within {number}" for number in range(1, MOST_LATER + 1))]
