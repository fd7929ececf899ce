"""What the operator did and can take back, newest last.

Used by ``app/ui/actions.py``. An act that cannot be undone is never put here, so Ctrl+Z always means something. An
act names the objects it was done to by id; what it runs was bound to them when it was done, never to rows. Repeats
of one act within 3 s merge into one entry (habit of OBS): five quick kicks are taken back by one key.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

Step = Callable[[], Awaitable[object]]
MERGE_SECONDS = 3.0
MOST_ACTS = 100


class Act:
    """One entry. ``label`` names the act (``kick cam1``); ``run`` takes it back, ``rerun`` does it again."""

    def __init__(
        self, label: str, step: Step, *, redo: Step | None, ids: tuple[str, ...], merge: str, at: float
    ) -> None:
        self.ids = ids
        self._first_label = label
        self._steps = [step]
        self._redo = [redo]
        self._merge = merge
        self._at = at

    @property
    def label(self) -> str:
        """The act in words; of several that merged, how many there are besides the first."""
        more = len(self._steps) - 1
        return f"{self._first_label} and {more} more" if more else self._first_label

    @property
    def can_redo(self) -> bool:
        """Whether every part of it can be done again."""
        return all(step is not None for step in self._redo)

    async def run(self) -> None:
        """Take it back, the last part first. Raises what a part raises; parts that worked are not run again."""
        while self._steps:
            await self._steps[-1]()
            self._steps.pop()

    async def rerun(self) -> None:
        """Do it again, the first part first; nothing for an act that cannot be redone."""
        for step in self._redo:
            if step is not None:
                await step()

    def absorbs(self, merge: str, at: float) -> bool:
        """Whether an act of that kind at that time is a repeat of this one."""
        return bool(merge) and merge == self._merge and at - self._at <= MERGE_SECONDS

    def add(self, step: Step, redo: Step | None, ids: tuple[str, ...], at: float) -> None:
        """Take a repeat in."""
        self._steps.append(step)
        self._redo.append(redo)
        self.ids += ids
        self._at = at


class UndoStack:
    """Acts that can be undone and, until the next new act, those that were and can be redone."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._done: list[Act] = []
        self._undone: list[Act] = []

    def push(
        self, label: str, undo: Step, *, redo: Step | None = None, ids: tuple[str, ...] = (), merge: str = ""
    ) -> Act:
        """Note an act that happened. ``merge``: the same word within 3 s makes one entry of both."""
        at = self._monotonic()
        self._undone.clear()
        if self._done and self._done[-1].absorbs(merge, at):
            self._done[-1].add(undo, redo, ids, at)
            return self._done[-1]
        act = Act(label, undo, redo=redo, ids=ids, merge=merge, at=at)
        self._done.append(act)
        del self._done[:-MOST_ACTS]
        return act

    @property
    def next_undo(self) -> Act | None:
        """What Ctrl+Z would take back."""
        return self._done[-1] if self._done else None

    @property
    def next_redo(self) -> Act | None:
        """What Ctrl+Shift+Z would do again."""
        return self._undone[-1] if self._undone else None

    def pop_undo(self) -> Act | None:
        """Take the newest act out; the caller runs it, and gives it to ``undone`` or ``put_back``."""
        return self._done.pop() if self._done else None

    def pop_redo(self) -> Act | None:
        """Take the act undone last out; the caller reruns it and pushes it anew."""
        return self._undone.pop() if self._undone else None

    def take(self, act: Act) -> bool:
        """Take that very act out; False when it is not there any more."""
        if act not in self._done:
            return False
        self._done.remove(act)
        return True

    def undone(self, act: Act) -> None:
        """The act was taken back; it can be redone if it knows how."""
        if act.can_redo:
            self._undone.append(act)

    def put_back(self, act: Act) -> None:
        """Taking it back failed for now (no answer, no link): it is the next to be undone again."""
        self._done.append(act)

    def clear(self) -> None:
        """Another broker is shown: what was done at the last one cannot be undone here."""
        self._done.clear()
        self._undone.clear()

    def forget(self, row_id: str) -> None:
        """Drop acts on an object for which undoing has become pointless."""
        self._done = [act for act in self._done if row_id not in act.ids]
        self._undone = [act for act in self._undone if row_id not in act.ids]
