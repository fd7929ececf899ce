"""Expressions of the operator: what is admitted finds things, what could hang is refused before it runs."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.models.patterns import LONGEST_PATTERN, PatternError, compile_pattern


@pytest.mark.parametrize(
    ("source", "text", "found"),
    [
        ("cam", "stage cam 1", True),
        ("^cam", "stage\ncam 1", True),  # each cell is a line
        ("left$", "stage left\nndi", True),
        (r"cam\s*\d+", "cam  12", True),
        ("cam[0-9]{2,3}", "cam7", False),
        ("(front|back) of house", "back of house", True),
        ("cam|mic|lx|sfx|amp|osc", "the lx desk", True),
        (r"\bcam\b", "webcam", False),
        ("(?:stage )?cam", "cam", True),
        ("[^]x]+y", "aay", True),
        ("CAM [A-C]", "cam b", True),
        (r"10\.0\.", "10.0.3", True),
        ("a{", "a{", True),
        ("^.*cam.*left$", "a cam at left", True),
    ],
)
def test_admitted(source: str, text: str, found: bool) -> None:
    assert compile_pattern(source)(text) is found


@pytest.mark.parametrize(
    "source",
    [
        "(a+)+",
        "(a*)*b",
        "((a+)b)+",
        "(a|a)*b",
        "(?:a|ab)+c",
        "(.*)*x",
        "(a+){2,}",
        "(a?){50}",
        ".*a.*b.*c",
        "a*a*a*b",
        "a?" * 30 + "a" * 30,
        "(a|b)(a|b)(a|b)(a|b)(a|b)(a|b)(a|b)(a|b)(a|b)(a|b)(a|b)",
        r"(a)\1",
        "(?=a+)b",
        "(?<!a)b",
        "(?P<name>a)",
        "(?i)a",
        "(?L)a",
        "a{1,400}",
        "x" * (LONGEST_PATTERN + 1),
        "(" * 20 + "a" + ")" * 20,
    ],
)
def test_refused(source: str) -> None:
    with pytest.raises(PatternError):
        compile_pattern(source)


@pytest.mark.parametrize(
    ("source", "at"), [("cam(", 3), ("cam)", 3), ("ca[m", 2), ("*cam", 0), ("cam\\", 3), ("a(?=b)", 1), ("a**", 2)]
)
def test_an_error_says_where(source: str, at: int) -> None:
    with pytest.raises(PatternError) as caught:
        compile_pattern(source)
    assert caught.value.at == at
    assert caught.value.message


PIECES = [
    "a",
    ".",
    "\\d",
    "[ab]",
    "(",
    ")",
    "(?:",
    "|",
    "*",
    "+",
    "?",
    "{2}",
    "{1,3}",
    "{2,}",
    "^",
    "$",
    "b",
    "\\",
    "]",
]


@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join) | st.text(max_size=30))
def test_whatever_is_typed_is_answered_at_once(source: str) -> None:
    hostile = ("a" * 299 + "!\n") * 3
    try:
        found = compile_pattern(source)
    except PatternError:
        return
    start = time.process_time()
    found(hostile)
    assert time.process_time() - start < 1.0


@given(st.text(alphabet="abc.|()*+?[]{}^$\\1", max_size=20), st.text(alphabet="abc\n", max_size=30))
def test_what_is_admitted_means_what_python_means(source: str, text: str) -> None:
    try:
        found = compile_pattern(source)
    except PatternError:
        return
    whole = re.compile(source, re.IGNORECASE | re.MULTILINE)
    lines = [whole.search(line) is not None for line in text.split("\n")]
    assert found(text) in (any(lines), whole.search(text) is not None)
