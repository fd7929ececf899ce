"""A key that is held down is one press, also where the window system does not say so.

X11 reports key repeat as pairs of release and press, and Qt finds out which pairs are repeats only if both stand in
its queue at once: under load many arrive as fresh presses. A held Delete would then send the kick that it has just
begun to hold back, a held Ctrl+Z undo the whole evening, and a hold button never fill. No finger lets go of a key
and presses it again within ``SOONEST``; a press that does is marked as the repeat it is. Installed by the main
window on its native window, where every key arrives first; ``HoldButton`` waits ``SOONEST`` before it lets go.
"""

from __future__ import annotations

import time

from PySide6.QtCore import QCoreApplication, QEvent, QObject
from PySide6.QtGui import QKeyEvent

SOONEST = 0.025
"""Seconds between release and press of one key below which no hand has done it."""


class KeyRepeat(QObject):
    """Event filter of one native window."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._released: dict[int, float] = {}
        self._resending = False

    def repeats(self, key: int) -> bool:
        """Whether a press of ``key`` that comes now is its repeat; for shortcuts, whose press nobody else sees."""
        return time.monotonic() - self._released.get(key, 0.0) < SOONEST

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Note releases; send a press that is a repeat on as one."""
        kind = event.type()
        if kind == QEvent.Type.KeyRelease and isinstance(event, QKeyEvent):
            self._released[event.key()] = time.monotonic()
        elif kind == QEvent.Type.KeyPress and isinstance(event, QKeyEvent) and self._unmarked(event):
            self._resend(watched, event)
            return True
        return False

    def _unmarked(self, event: QKeyEvent) -> bool:
        return not self._resending and not event.isAutoRepeat() and self.repeats(event.key())

    def _resend(self, watched: QObject, event: QKeyEvent) -> None:
        copy = QKeyEvent(
            event.type(),
            event.key(),
            event.modifiers(),
            event.nativeScanCode(),
            event.nativeVirtualKey(),
            event.nativeModifiers(),
            event.text(),
            True,
            event.count(),
        )
        self._resending = True
        try:
            QCoreApplication.sendEvent(watched, copy)
        finally:
            self._resending = False
