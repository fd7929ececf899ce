"""CSV that no spreadsheet runs and JSON that says the same."""

from __future__ import annotations

import csv
import io
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.models.export import Instant, csv_cell, write_csv, write_json


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("  =1", "'  =1"),
        ("Cam 1", "Cam 1"),
        ("10.0.0.1:80", "10.0.0.1:80"),
        (-5, -5),
        (2.5, 2.5),
        (True, "true"),
        (None, ""),
        ([1, "a"], '[1, "a"]'),
    ],
)
def test_cells(value: object, cell: object) -> None:
    assert csv_cell(value) == cell


@given(st.lists(st.fixed_dictionaries({"name": st.text(), "port": st.integers()}), max_size=8))
def test_what_is_written_can_be_read_and_runs_nothing(rows: list[dict[str, object]]) -> None:
    stream = io.StringIO(newline="")
    assert write_csv(stream, [("name", "Name"), ("port", "Port")], rows) == len(rows)
    stream.seek(0)
    head, *read = list(csv.reader(stream))
    assert head == ["Name", "Port"]
    assert [int(row[1]) for row in read] == [row["port"] for row in rows]
    for (name, _port), row in zip(read, rows, strict=True):
        assert name.removeprefix("'") == str(row["name"]).removeprefix("'")
        assert not name.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r"))


VALUES = st.text(max_size=9) | st.integers() | st.none() | st.lists(st.floats(0, 1), max_size=3)


@given(st.lists(st.dictionaries(st.text(max_size=5), VALUES, max_size=4), max_size=4))
def test_json_says_what_the_rows_say(rows: list[dict[str, object]]) -> None:
    stream = io.StringIO()
    assert write_json(stream, rows) == len(rows)
    assert json.loads(stream.getvalue()) == rows


def test_a_spreadsheet_gets_times_as_dates_of_the_zone_in_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "CET-1")
    time.tzset()
    try:
        stream = io.StringIO(newline="")
        rows = [
            {"name": "Cam", "at": None, "age": 3.8336544},
            {"name": "Pit", "at": Instant(1795329805.44), "age": 2.0},
        ]
        write_csv(stream, [("name", "Name"), ("at", "Since"), ("age", "Age")], rows)
        head, *lines = csv.reader(io.StringIO(stream.getvalue()))
        assert head == ["Name", "Since (UTC+01:00)", "Age"]
        assert lines == [["Cam", "", "3.834"], ["Pit", "2026-11-22 07:43:25", "2.0"]]
    finally:
        monkeypatch.undo()
        time.tzset()


def test_programs_get_times_as_numbers() -> None:
    stream = io.StringIO()
    write_json(stream, [{"at": Instant(1795329805.44)}])
    assert json.loads(stream.getvalue()) == [{"at": 1795329805.44}]
