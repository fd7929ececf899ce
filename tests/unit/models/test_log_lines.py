"""A session's log in memory: bounded, filtered, without what could break the line it stands on."""

from __future__ import annotations

from app.models.filter import QueryError
from app.models.log_lines import LONGEST_LINE, MOST_LINES, LogLines


def test_keeps_the_last_lines_and_counts_what_went() -> None:
    lines = LogLines()
    lines.add(f"line {number}" for number in range(MOST_LINES + 7))
    assert len(lines) == MOST_LINES
    assert lines.dropped == 7
    assert lines.shown()[0] == "line 7"
    lines.clear()
    assert (lines.shown(), lines.dropped) == ([], 0)


def test_words_and_words_that_must_not_be() -> None:
    lines = LogLines()
    lines.add(["GO 41 House", "go 42 overture", "WARNING cue 58"])
    assert lines.set_filter("go -house") is None
    assert lines.shown() == ["go 42 overture"]
    assert lines.add(["GO 97", "standby"]) == ["GO 97"]
    assert lines.set_filter("") is None
    assert len(lines.shown()) == 5


def test_an_expression_and_one_that_is_none() -> None:
    lines = LogLines()
    lines.add(["GO 41", "go on", "stop"])
    assert lines.set_filter(r"re:go \d+|stop") is None
    assert lines.shown() == ["GO 41", "stop"]
    error = lines.set_filter("re:(a+)+")
    assert isinstance(error, QueryError)
    assert lines.shown() == ["GO 41", "stop"]


def test_control_characters_and_endless_lines() -> None:
    lines = LogLines()
    (told,) = lines.add(["\x1b[31mred\u202e\n"])
    assert told == "·[31mred·"
    (long,) = lines.add(["x" * 3 * LONGEST_LINE])
    assert len(long) == LONGEST_LINE
