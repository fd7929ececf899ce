"""Regular expressions typed by an operator, made safe: they may never hang the window.

Used by ``filter`` alone. Python's engine backtracks, so a pattern is admitted only when a scan of its text shows
that it cannot explode: no repeat inside a repeated group, no alternatives inside one, at most two open repeats
and a few options, no back references, no look-around. What is admitted runs over one cell at a time (a line of
the searched text), cut at a length that keeps the worst case near a tenth of a second.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable

LONGEST_PATTERN = 120
MOST_OPEN = 2
MOST_OPTIONS = (10, 4, 2)
"""Options (``?``, ``{0,3}``, alternatives in a group) admitted beside 0, 1 and 2 open repeats."""
LINE_LIMITS = (0, 300, 200)
"""Characters of a cell that are looked at, by number of open repeats; 0: the whole row at once."""
_BRACES = re.compile(r"\{(\d{0,4})(,?)(\d{0,4})\}")
_ESCAPES = frozenset("dDwWsSbB")


class PatternError(Exception):
    """The pattern is wrong or not admitted; ``at`` is the place in it."""

    def __init__(self, message: str, at: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.at = at


def compile_pattern(source: str) -> Callable[[str], bool]:
    """A test of lower-case text that says whether ``source`` is found in it. Raises ``PatternError``."""
    if len(source) > LONGEST_PATTERN:
        raise PatternError(f"the expression is longer than {LONGEST_PATTERN} characters", LONGEST_PATTERN)
    open_repeats = _Scan(source).open_repeats
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            search = re.compile(source, re.IGNORECASE | re.MULTILINE).search
    except re.error as error:
        raise PatternError(error.msg, error.pos or 0) from error
    except (OverflowError, RecursionError, ValueError) as error:
        raise PatternError(str(error)) from error
    limit = LINE_LIMITS[open_repeats]
    if not limit:
        return lambda text: search(text) is not None
    return lambda text: any(search(line, 0, limit) is not None for line in text.split("\n"))


class _Scan:
    """Walks a pattern once and refuses what could explode. ``open_repeats``: how many have no upper bound."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._at = 0
        self.open_repeats = 0
        self._options = 0
        self._sequence(depth=0)
        if self._at < len(source):
            raise PatternError("a closing bracket too many", self._at)
        if self._options > MOST_OPTIONS[self.open_repeats]:
            raise PatternError("too many optional parts", 0)

    def _sequence(self, depth: int) -> bool:
        """Read up to the end or the closing bracket; True when there were repeats or alternatives inside."""
        source, risky = self._source, False
        while self._at < len(source) and source[self._at] != ")":
            if source[self._at] == "|":
                self._at += 1
                self._options += 1 if depth else 0
                risky = True
                continue
            if self._quantifier_here():
                raise PatternError("nothing to repeat", self._at)
            inside_risky = self._one(source[self._at], depth)
            repeated = self._quantifier(inside_risky)
            risky = risky or inside_risky or repeated
        return risky

    def _one(self, character: str, depth: int) -> bool:
        """Read one character, class, escape or group; True for a group with repeats or alternatives inside."""
        if character == "(":
            return self._group(depth)
        if character == "[":
            self._class()
        elif character == "\\":
            self._escape()
        else:
            self._at += 1
        return False

    def _group(self, depth: int) -> bool:
        start = self._at
        self._at += 1
        if self._source.startswith("?", self._at):
            if not self._source.startswith("?:", self._at):
                raise PatternError("look-around, flags and named groups are not offered", start)
            self._at += 2
        if depth > 10:
            raise PatternError("brackets are nested too deep", start)
        risky = self._sequence(depth + 1)
        if self._at >= len(self._source):
            raise PatternError("a closing bracket is missing", start)
        self._at += 1
        return risky

    def _class(self) -> None:
        start = self._at
        self._at += 1
        if self._source.startswith("^", self._at):
            self._at += 1
        if self._source.startswith("]", self._at):
            self._at += 1
        while self._at < len(self._source) and self._source[self._at] != "]":
            self._at += 2 if self._source[self._at] == "\\" else 1
        if self._at >= len(self._source):
            raise PatternError("] is missing", start)
        self._at += 1

    def _escape(self) -> None:
        if self._at + 1 >= len(self._source):
            raise PatternError("nothing after the last \\", self._at)
        escaped = self._source[self._at + 1]
        if escaped.isalnum() and escaped not in _ESCAPES:
            raise PatternError(f"\\{escaped} is not offered", self._at)
        self._at += 2

    def _quantifier_here(self) -> bool:
        character = self._source[self._at]
        return character in "*+?" or (character == "{" and _BRACES.match(self._source, self._at) is not None)

    def _quantifier(self, group_is_risky: bool) -> bool:
        """Read a quantifier if there is one; True when there was."""
        if self._at >= len(self._source) or not self._quantifier_here():
            return False
        start = self._at
        least, most = self._bounds()
        if self._source.startswith(("?", "+"), self._at):
            self._at += 1
        if group_is_risky and most != 1:
            raise PatternError("a repeat inside a repeat could take for ever", start)
        if most is None or most - least > 8:
            self.open_repeats += 1
            if self.open_repeats > MOST_OPEN:
                raise PatternError(f"at most {MOST_OPEN} open repeats (* or +)", start)
        elif most != least:
            self._options += most - least
        return True

    def _bounds(self) -> tuple[int, int | None]:
        character = self._source[self._at]
        if character != "{":
            self._at += 1
            return (0, 1) if character == "?" else (0 if character == "*" else 1, None)
        found = _BRACES.match(self._source, self._at)
        if found is None or not (found[1] or found[3]):
            raise PatternError("{ needs numbers", self._at)
        self._at = found.end()
        least = int(found[1] or 0)
        most = None if found[2] and not found[3] else int(found[3] or least)
        if max(least, most or 0) > 200:
            raise PatternError("a repeat of more than 200", found.start())
        return least, most
