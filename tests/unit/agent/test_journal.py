"""The agent's memory of commands: what is in it after any end of the process, and for how long."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from app.agent.journal import KEPT, SqliteJournal
from app.agent_protocol import Command, CommandResult
from app.errors import ConfigError


def command(number: int = 1) -> Command:
    return Command(command_id=f"c{number}", command_type="start_session", session_id="s1")


def result(number: int = 1) -> CommandResult:
    return CommandResult(command_id=f"c{number}", status="completed", result={"limits": "soft"})


def test_a_command_is_begun_once_and_its_result_is_kept_until_delivered(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "j")
    assert journal.begin(command())
    assert not journal.begin(command())
    assert journal.done("c1") is None
    assert journal.undelivered() == []
    journal.finish(command(), result())
    journal.close()
    again = SqliteJournal(tmp_path / "j")
    done = again.done("c1")
    assert done is not None
    assert done.result == result()
    assert done.session_id == "s1"
    assert [one.command_id for one in again.undelivered()] == ["c1"]
    again.delivered("c1")
    assert again.undelivered() == []
    assert again.done("c1") is not None
    again.close()


def test_results_stand_in_the_order_of_their_ends(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "j")
    for number in (1, 2, 3):
        journal.begin(command(number))
    for number in (3, 1, 2):
        journal.finish(command(number), result(number))
    assert [one.command_id for one in journal.undelivered()] == ["c3", "c1", "c2"]
    journal.close()


def test_a_day_after_its_end_a_command_is_forgotten(tmp_path: Path) -> None:
    now = 1000.0
    journal = SqliteJournal(tmp_path / "j", now=lambda: now)
    journal.begin(command(1))
    journal.finish(command(1), result(1))
    now += KEPT - 1
    journal.begin(command(2))
    journal.prune()
    assert journal.done("c1") is not None
    now += 2
    journal.prune()
    assert journal.done("c1") is None
    assert not journal.begin(command(2))
    journal.close()


def test_kill_9_undoes_nothing(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom tests.unit.agent.test_journal import *\n"
        "journal = SqliteJournal(Path(sys.argv[1]))\njournal.begin(command(1))\njournal.finish(command(1), result(1))\n"
        "journal.begin(command(2))\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path / "j")], timeout=60, check=False)
    assert ended.returncode == -9
    journal = SqliteJournal(tmp_path / "j")
    assert [one.command_id for one in journal.undelivered()] == ["c1"]
    assert not journal.begin(command(2))
    assert journal.done("c2") is None
    journal.close()


def test_a_fact_stays_what_it_was(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "j")
    assert journal.fact("id", lambda: "one") == "one"
    assert journal.fact("id", lambda: "two") == "one"
    journal.close()


def test_a_journal_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "j").write_bytes(b"not a database" * 100)
    with pytest.raises(ConfigError, match="journal"):
        SqliteJournal(tmp_path / "j")
