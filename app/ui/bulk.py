"""One verb on many objects under way: how far it is, what it waits for, and how it is stopped.

Made by ``actions.py``, shown by ``pending.py``. Verbs that count against the broker's limits go through the client's
pace (``app/client/pace.py``): "12 of 40, waiting 12 s". Others go one after the other. A single act never queues
behind a bulk, because it does not come here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from app.errors import CallboardError
from app.ui.verb import Done, Verb

if TYPE_CHECKING:
    from app.client.pace import Progress
    from app.ui.context import Context

Act = Callable[[], Awaitable[Done]]
STOPPED = "stopped"
"""Code of an act that was not sent because the operator stopped the bulk."""


class Bulk:
    """How far one bulk is. ``changed`` is called after each step."""

    def __init__(self, label: str, total: int, changed: Callable[[], None]) -> None:
        self.label = label
        self.total = total
        self.done = 0
        self.waiting = 0.0
        self.stopped = False
        self._changed = changed

    @property
    def text(self) -> str:
        """``Hibernate: 12 of 40, waiting 12 s``."""
        wait = f", waiting {self.waiting:.0f} s" if self.waiting >= 0.5 else ""
        return f"{self.label}: {self.done} of {self.total}{wait}"

    def stop(self) -> None:
        """Send nothing more; what is on its way ends by itself."""
        self.stopped = True
        self._changed()

    def progress(self, progress: Progress) -> None:
        """What the pace says."""
        self.done, self.waiting = progress.done, progress.waiting
        self._changed()

    def step(self) -> None:
        """One more is done."""
        self.done += 1
        self._changed()


async def run_bulk(context: Context, verb: Verb, acts: Sequence[Act], bulk: Bulk) -> list[Done | CallboardError]:
    """Do all acts; results in their order, an expected failure in place of its result."""
    guarded = [_unless_stopped(act, bulk) for act in acts]
    client = context.client
    if verb.paced and client is not None:
        from app.client.pace import Act as PacedAct

        return await client.fleet.pace.run([PacedAct(act) for act in guarded], bulk.progress)
    results: list[Done | CallboardError] = []
    for act in guarded:
        try:
            results.append(await act())
        except CallboardError as error:
            results.append(error)
        bulk.step()
    return results


def _unless_stopped(act: Act, bulk: Bulk) -> Act:
    async def run() -> Done:
        if bulk.stopped:
            raise CallboardError("stopped by the operator", code=STOPPED)
        return await act()

    return run
