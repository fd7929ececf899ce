"""Undo: an act that can be taken back is told with its Undo, stands on the stack for Ctrl+Z, and is taken back once.

Owned by ``actions.py``. Taking back may negotiate again and last seconds, so it says that it is under way; where it
fails for now (no answer, no link) it stays the next to be undone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer

from app.errors import CallboardError

if TYPE_CHECKING:
    from app.models.undo import Act, Step, UndoStack
    from app.ui.context import Context

SHOWN_AFTER = 300
"""Milliseconds: a key that shows nothing is pressed twice."""


class TakeBack(QObject):
    """See the module's docstring. ``context`` and ``blocked`` are asked each time."""

    def __init__(
        self, parent: QObject, stack: UndoStack, context: Callable[[], Context], blocked: Callable[[], str]
    ) -> None:
        super().__init__(parent)
        self.stack = stack
        self._context = context
        self._blocked = blocked

    def tell(self, text: str, tone: str, label: str, undo: Step | None) -> None:
        """Say what was done, and offer to take it back where that is possible."""
        if undo is None:
            if text:
                self._context().toast(text, tone=tone)
            return
        act = self.stack.push(label, undo)
        self._context().toast(text, undo=lambda: self._this(act), tone=tone)

    def newest(self) -> str:
        """Take back the newest act; its label, "" when there was none or nothing can be done now."""
        context, blocked = self._context(), self._blocked()
        if blocked:
            context.toast(f"Undo: {blocked}")
            return ""
        act = self.stack.pop_undo()
        if act is None:
            context.toast("Nothing to undo")
            return ""
        context.spawn(self._run(act), f"undo {act.label}")
        return act.label

    def _this(self, act: Act) -> None:
        """The Undo of a toast: that very act, whatever was done since."""
        blocked = self._blocked()
        if blocked:
            self._context().toast(f"Undo: {blocked}")
        elif self.stack.take(act):
            self._context().spawn(self._run(act), f"undo {act.label}")

    async def _run(self, act: Act) -> None:
        context, label = self._context(), act.label
        slow = QTimer(self)
        slow.setSingleShot(True)
        slow.timeout.connect(lambda: context.toast(f"Undoing: {label}"))
        slow.start(SHOWN_AFTER)
        try:
            await act.run()
        except CallboardError as error:
            if not getattr(error, "status", 1):
                self.stack.put_back(act)
            context.toast(f"Undo {label}: {error.message}", tone="error")
        else:
            context.toast(f"Undone: {label}", tone="good")
        finally:
            slow.stop()
            slow.deleteLater()
