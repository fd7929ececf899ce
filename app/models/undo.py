"""What the operator did and can take back, newest last.

Used by ``app/ui/actions.py``. An act that cannot be undone is never put here, so Ctrl+Z always means something. What
an act runs was bound to its objects when it was done, never to rows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

Step = Callable[[], Awaitable[object]]
MOST_ACTS = 100


class Act:
    """One entry. ``label`` names the act (``kick cam1``); ``run`` takes it back."""

    def __init__(self, label: str, run: Step) -> None:
        self.label = label
        self.run = run


class UndoStack:
    """Acts that can be undone."""

    def __init__(self) -> None:
        self._done: list[Act] = []

    def push(self, label: str, undo: Step) -> Act:
        """Note an act that happened."""
        act = Act(label, undo)
        self._done.append(act)
        del self._done[:-MOST_ACTS]
        return act

    @property
    def next_undo(self) -> Act | None:
        """What Ctrl+Z would take back."""
        return self._done[-1] if self._done else None

    def pop_undo(self) -> Act | None:
        """Take the newest act out; the caller runs it, and gives it to ``put_back`` when that fails for now."""
        return self._done.pop() if self._done else None

    def take(self, act: Act) -> bool:
        """Take that very act out; False when it is not there any more."""
        if act not in self._done:
            return False
        self._done.remove(act)
        return True

    def put_back(self, act: Act) -> None:
        """Taking it back failed for now (no answer, no link): it is the next to be undone again."""
        self._done.append(act)

    def clear(self) -> None:
        """Another broker is shown: what was done at the last one cannot be undone here."""
        self._done.clear()
