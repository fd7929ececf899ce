"""Acts that never reached the broker's API, on their way into its audit: cancelled kicks, panels that were closed.

console rule 7: every action writes an audit row, also a cancelled one. When the broker cannot be reached the rows wait
here (the last 200) and go out once the board is live again; ``detail`` keeps the time of the act. Used by
``actions.py`` alone.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from app.errors import CallboardError

if TYPE_CHECKING:
    from app.ui.context import Context

MOST = 200


class Record(NamedTuple):
    """One cancelled act."""

    verb: str
    object: str
    object_id: str
    before: dict[str, Any] | None
    detail: str
    milliseconds: float


class UnsentActs:
    """Records in order; at most one coroutine sends them."""

    def __init__(self) -> None:
        self.waiting: deque[Record] = deque(maxlen=MOST)
        self._sending = False

    def cancelled(
        self,
        context: Context,
        verb: str,
        name: str,
        row_id: str,
        before: dict[str, Any] | None,
        why: str,
        seconds: float,
    ) -> None:
        """Note a cancelled act and send it."""
        detail = f"cancelled at {time.strftime('%H:%M:%S')}: {why}"
        self.waiting.append(Record(verb, name, row_id, before, detail, round(seconds * 1000, 1)))
        self.send(context)

    def send(self, context: Context) -> None:
        """Send what waits; called when an act was cancelled and when the board is live again."""
        if self.waiting and not self._sending and context.client is not None:
            context.spawn(self._send(context), "audit of cancelled acts")

    async def _send(self, context: Context) -> None:
        self._sending = True
        try:
            while self.waiting and context.client is not None:
                record = self.waiting[0]
                try:
                    await context.client.record_audit(
                        record.verb,
                        record.object,
                        record.object_id,
                        result="cancelled",
                        before=record.before,
                        detail=record.detail,
                        milliseconds=record.milliseconds,
                    )
                except CallboardError as error:
                    if not getattr(error, "status", 0):
                        return  # not reached: they wait for the next time
                    context.toast(f"Not written to the audit: {error.message}", tone="error")
                if self.waiting and self.waiting[0] is record:
                    self.waiting.popleft()
        finally:
            self._sending = False
