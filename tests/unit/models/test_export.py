"""CSV that no spreadsheet runs and JSON that says the same."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.models.export import csv_cell, write_csv, write_json


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
