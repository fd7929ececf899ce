"""Loading the web engine before the first viewer needs it: at a quiet moment, and only where a viewer is probable.

Made by ``console.py``, which calls ``second``. The engine's profile can only be made on the Qt thread and holds it up for
some tenths of a second, and engine and processes take some 150 MiB. So it is made when somebody works at this
window, has let go of keys and pointer for a while and waits for nothing, and when there is a desktop to look at; its
modules are imported in a thread before. A board on a wall, where nobody ever presses a key, never pays for it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QObject

from app.errors import Unavailable
from app.ui.viewer.engine import import_modules
from app.ui.viewer.verbs import desktop_shows

if TYPE_CHECKING:
    from app.ui.context import Context
    from app.ui.viewer.desk import ViewerDesk

QUIET = 5.0
"""Seconds without a key and without a move of the pointer."""
INPUT = frozenset(
    {
        QEvent.Type.KeyPress,
        QEvent.Type.KeyRelease,
        QEvent.Type.MouseButtonPress,
        QEvent.Type.MouseButtonRelease,
        QEvent.Type.MouseMove,
        QEvent.Type.Wheel,
    }
)


class LastInput(QObject):
    """Event filter of a native window: when a person last did something there; None before the first time."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.at: float | None = None

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Note the time, and let everything through."""
        if event.type() in INPUT:
            self.at = time.monotonic()
        return False


class WarmUp:
    """See the module's docstring."""

    def __init__(self, context: Context, desk: ViewerDesk, last: LastInput) -> None:
        self._context = context
        self._desk = desk
        self._last = last
        self._imported = False
        self._busy = False
        self.done = False

    def second(self) -> None:
        """Once a second: take the next step, if now is the moment."""
        if self.done or self._busy or not self._is_quiet():
            return
        if self._desk.windows:
            self.done = True
        elif self._is_probable():
            self._busy = True
            self._context.spawn(self._step(), "load the web engine")

    async def _step(self) -> None:
        from app.logs import get_logger  # not before the first paint

        try:
            if not self._imported:
                await import_modules()
                self._imported = True
                return  # what comes now holds up the Qt thread: it waits for a quiet second of its own
            self.done = True
            began = time.monotonic()
            await self._desk.warm()
            get_logger("viewer").info("web engine loaded", milliseconds=round((time.monotonic() - began) * 1000))
        except Unavailable as error:
            self.done = True
            get_logger("viewer").warning("no web engine", reason=error.message)
        finally:
            self._busy = False

    def _is_quiet(self) -> bool:
        actions = self._context.actions
        waits = actions.pending or actions.running or actions.bulks or self._context.panels.current is not None
        return self._last.at is not None and time.monotonic() - self._last.at >= QUIET and not waits

    def _is_probable(self) -> bool:
        store = self._context.store
        return store.live and any(not desktop_shows(self._context, one) for one in store.desktops)
