"""The lines of a session's log: the last few thousand, and which of them pass the filter. No Qt.

Used by ``app/ui/logs_pane.py``. The filter is a word, ``-word`` or ``re:expression``, with the same guard against
expressions that take for ever as the tables' filter.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from app.models.filter import QueryError
from app.models.patterns import PatternError, compile_pattern
from app.models.wording import clean

MOST_LINES = 5000
LONGEST_LINE = 4000

Test = Callable[[str], bool]


def log_filter(text: str) -> Test | QueryError:
    """A test of lines: every word must be in it, ``-word`` must not, ``re:`` looks for an expression."""
    words = text.split()
    if text.startswith("re:"):
        try:
            found = compile_pattern(text[3:])
        except PatternError as error:
            return QueryError(f"re: {error.message}", 3 + error.at)
        return lambda line: found(line.lower())
    wanted = [word.lower() for word in words if not word.startswith("-")]
    unwanted = [word[1:].lower() for word in words if len(word) > 1 and word.startswith("-")]

    def test(line: str) -> bool:
        low = line.lower()
        return all(word in low for word in wanted) and not any(word in low for word in unwanted)

    return test


class LogLines:
    """See the module's docstring. ``dropped`` counts lines that had to go."""

    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=MOST_LINES)
        self.dropped = 0
        self.text = ""
        self._test: Test | None = None

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, lines: Iterable[str]) -> list[str]:
        """Take lines, and return those of them that pass the filter."""
        shown = []
        for line in lines:
            told = clean(line.rstrip("\r\n")[:LONGEST_LINE])
            if len(self._lines) == MOST_LINES:
                self.dropped += 1
            self._lines.append(told)
            if self._test is None or self._test(told):
                shown.append(told)
        return shown

    def clear(self) -> None:
        """Forget everything but the filter."""
        self._lines.clear()
        self.dropped = 0

    def set_filter(self, text: str) -> QueryError | None:
        """Show only what passes; a filter that cannot be read is returned and the old one stays."""
        test = log_filter(text.strip())
        if isinstance(test, QueryError):
            return test
        self.text = text.strip()
        self._test = test if self.text else None
        return None

    def shown(self) -> list[str]:
        """Every line that passes, oldest first."""
        return list(self._lines) if self._test is None else [line for line in self._lines if self._test(line)]
