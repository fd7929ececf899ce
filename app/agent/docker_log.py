"""A container's log as the engine sends it, turned into lines ``<RFC 3339 UTC> <text>``. No I/O.

Used by ``docker.py``. Without a terminal the engine frames each piece with eight bytes: which stream, and how long. A
line may come in several pieces, and both streams at once.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

HEADER = 8
LONGEST = 4096
"""Characters of a line that are kept."""
_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)(?: |$)")


class LogLines:
    """Takes bytes as they come, gives whole lines back."""

    def __init__(self) -> None:
        self._bytes = b""
        self._partial: dict[int, bytes] = {}

    def feed(self, data: bytes) -> list[str]:
        """The lines that ``data`` completes."""
        self._bytes += data
        lines: list[str] = []
        while len(self._bytes) >= HEADER:
            length = int.from_bytes(self._bytes[4:HEADER], "big")
            if len(self._bytes) < HEADER + length:
                break
            stream, piece = self._bytes[0], self._bytes[HEADER : HEADER + length]
            self._bytes = self._bytes[HEADER + length :]
            *whole, rest = (self._partial.get(stream, b"") + piece).split(b"\n")
            self._partial[stream] = rest[: 4 * LONGEST]
            lines += [_line(one) for one in whole]
        return lines

    def rest(self) -> list[str]:
        """What is left when no more comes: lines without an end."""
        left = [one for one in self._partial.values() if one]
        self._partial.clear()
        return [_line(one) for one in left]


def _line(raw: bytes) -> str:
    text = raw.decode("utf-8", "replace").rstrip("\r")
    match = _STAMP.match(text)
    if match is None:
        return text[:LONGEST]
    at = datetime.fromisoformat(match[1] + match[3].replace("Z", "+00:00")).astimezone(UTC)
    thousandths = f"{match[2] or '.'}000"[1:4]
    return f"{at:%Y-%m-%dT%H:%M:%S}.{thousandths}Z {text[match.end() :]}"[:LONGEST]
