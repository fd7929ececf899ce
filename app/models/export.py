"""Rows of a table as CSV for spreadsheets and JSON for programs; text from the network cannot become a formula.

``rows`` are what ``RowTable.export_rows`` gives. Writers go to any text stream; who opens the file is the caller.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TextIO

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def csv_cell(value: object) -> str | int | float:
    """One cell: numbers stay numbers, lists become text, and text that a spreadsheet would run gets an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def write_csv(stream: TextIO, columns: Sequence[tuple[str, str]], rows: Iterable[Mapping[str, object]]) -> int:
    """Write ``rows`` under a head line; ``columns`` are (key, title). Returns how many rows there were."""
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow([csv_cell(title) for _key, title in columns])
    count = 0
    for row in rows:
        writer.writerow([csv_cell(row.get(key)) for key, _title in columns])
        count += 1
    return count


def write_json(stream: TextIO, rows: Iterable[Mapping[str, object]]) -> int:
    """Write ``rows`` as one JSON list of objects, unquoted: programs run no formulas. Returns how many there were."""
    stream.write("[")
    count = 0
    for row in rows:
        stream.write(",\n " if count else "\n ")
        json.dump(row, stream, ensure_ascii=False, default=str)
        count += 1
    stream.write("\n]\n")
    return count
