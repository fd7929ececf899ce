"""How often and when a viewer tries again: back-off 1, 2, 4, 8, 15 s, at most ten times, and what an end means.

Used by ``link.py``. Plain values, no Qt: what the page says of a close code and what the broker answers to the wish
for a ticket become one ``End``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from app.errors import CallboardError

DELAYS = (1.0, 2.0, 4.0, 8.0, 15.0)
MOST = 10
STEADY = 10.0
"""Seconds after which a connection counts as one that worked, so that the next loss begins at the first delay."""

Retry = Literal["soon", "ticket", "wake", "never"]
"""With back-off; once more with a fresh ticket; when the session runs again; only when a person asks."""

RETRIES: dict[str, Retry] = {"soon": "soon", "ticket": "ticket", "wake": "wake"}
NOT_RUNNING = ("session_not_running", "not_running")
"""Codes of a broker that has the session, only not running."""


@dataclass(frozen=True)
class End:
    """Why a viewer is not connected, as a sentence, and what comes next."""

    text: str
    retry: Retry
    code: int = 0

    @classmethod
    def of_page(cls, told: dict[str, Any]) -> End:
        """What the page says of a connection that was closed."""
        code, retry = told.get("code"), RETRIES.get(str(told.get("retry")), "never")
        return cls(str(told.get("text") or "The connection was closed."), retry, code if isinstance(code, int) else 0)

    @classmethod
    def of_refusal(cls, error: CallboardError) -> End:
        """What it means that no ticket was given, by what the broker says."""
        status = getattr(error, "status", 0)
        if error.code.lower() in NOT_RUNNING:
            return cls(error.message, "wake")
        return cls(error.message, "soon" if status in (0, 429) or status >= 500 else "never")


class Attempts:
    """Counts tries since the last connection that worked."""

    def __init__(self) -> None:
        self.made = 0
        self._tickets = 0

    def lasted(self, seconds: float) -> None:
        """A connection ended after so many seconds."""
        if seconds >= STEADY:
            self.begin()

    def begin(self) -> None:
        """A person asked, or it worked: count from the first again."""
        self.made = self._tickets = 0

    def next(self, retry: Retry) -> float | None:
        """Seconds until the next try; None: no further one by itself."""
        if retry in ("wake", "never") or self.made >= MOST:
            return None
        self.made += 1
        if retry == "ticket":
            self._tickets += 1
            if self._tickets == 1:
                return 0.0
        return DELAYS[min(self.made, len(DELAYS)) - 1]
