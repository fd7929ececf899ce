"""Rows of a table as CSV for spreadsheets and JSON for programs; text from the network cannot become a formula.

Each row is what ``RowTable.record`` gives. Writers go to any text stream; who opens the file is the caller.
A time is an ``Instant``: for programs seconds since 1970, for spreadsheets a date of this machine's zone, which the
head of its column names.
"""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import TextIO

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class Instant(float):
    """A time in seconds since 1970, which a spreadsheet would take for a number."""


def csv_cell(value: object, zone: timezone = UTC) -> str | int | float:
    """One cell: numbers stay numbers, lists become text, and text that a spreadsheet would run gets an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Instant):
        return datetime.fromtimestamp(value, zone).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, int):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def write_csv(stream: TextIO, columns: Sequence[tuple[str, str]], rows: Iterable[Mapping[str, object]]) -> int:
    """Write ``rows`` under a head line; ``columns`` are (key, title). Returns how many rows there were."""
    found, zone = list(rows), zone_of(time.localtime().tm_gmtoff)
    times = {key for key, _title in columns if any(isinstance(row.get(key), Instant) for row in found)}
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow([csv_cell(f"{title} ({zone})" if key in times else title) for key, title in columns])
    for row in found:
        writer.writerow([csv_cell(row.get(key), zone) for key, _title in columns])
    return len(found)


def zone_of(offset: int) -> timezone:
    """One zone for the whole file, also across a change of the clocks; by name ``UTC+02:00``."""
    return timezone(timedelta(seconds=offset))


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
