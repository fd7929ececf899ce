"""The asyncio loop of the console on Qt's: qasync with exact timers and without its exit trap.

Used by ``main.py`` and, through the pytest hook, by every asynchronous UI test. Three things differ from stock
qasync:

* qasync starts and stops the application's own loop several times, and each stop emits ``aboutToQuit``, which
  QtWebEngine does not survive. ``Pump`` drives a plain ``QEventLoop`` instead. Consequence: ``QApplication.quit()``
  and ``quitOnLastWindowClosed`` do nothing here; the main window's closing is what ends ``main.py``.
* qasync's timers are coarse (5 % early). ``_Timers`` are precise and round up, so nothing runs before its time.
* a cancelled ``call_later`` gives its timer back at once instead of keeping it until it would have fired.

Never spin a nested Qt loop (``exec()``, ``processEvents()``, ``QTest.*``) while a coroutine runs: a task that comes
due in there can never be resumed or cancelled again.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

import qasync
from PySide6.QtCore import QAbstractEventDispatcher, QEventLoop, QObject, Qt, QTimerEvent
from PySide6.QtWidgets import QApplication

T = TypeVar("T")


class Pump:
    """The members of ``QApplication`` that qasync uses, on a plain ``QEventLoop``."""

    def __init__(self, app: QApplication) -> None:
        self._app = app
        self._loop = QEventLoop()
        self.aboutToQuit = app.aboutToQuit

    def exec(self) -> int:
        """Run until ``exit``."""
        return self._loop.exec()

    def exit(self, code: int = 0) -> None:
        """Return from ``exec`` without ending the application."""
        self._loop.exit(code)

    def eventDispatcher(self) -> QAbstractEventDispatcher:
        """The dispatcher that qasync watches sockets with."""
        return self._app.eventDispatcher()


class _Handle(asyncio.Handle):
    """A timer handle that gives its Qt timer back when it is cancelled."""

    __slots__ = ("_owner", "_timer", "_when")

    def __init__(
        self, callback: Callable[..., object], args: tuple[Any, ...], loop: Loop, context: Context | None, when: float
    ) -> None:
        super().__init__(callback, args, loop, context=context)
        self._owner: _Timers | None = None
        self._timer: int | None = None
        self._when = when

    def when(self) -> float:
        """The loop time at which it is due."""
        return self._when

    def attach(self, owner: _Timers, timer: int) -> None:
        """Its Qt timer runs."""
        self._owner, self._timer = owner, timer

    def detach(self) -> None:
        """Its Qt timer is gone."""
        self._timer = None

    def cancel(self) -> None:
        """Cancel, and stop the Qt timer now."""
        if not self.cancelled() and self._timer is not None and self._owner is not None:
            self._owner.drop(self._timer)
            self._timer = None
        super().cancel()


class _Timers(QObject):
    """Precise one-shot timers, one per handle; the interface that qasync's loop expects of its timer object."""

    def __init__(self) -> None:
        super().__init__()
        self.handles: dict[int, asyncio.Handle] = {}

    def add_callback(self, handle: asyncio.Handle, delay: float = 0) -> asyncio.Handle:
        """Run ``handle`` after ``delay`` seconds, never earlier."""
        timer = self.startTimer(math.ceil(max(0.0, delay) * 1000), Qt.TimerType.PreciseTimer)
        if isinstance(handle, _Handle):  # signal handlers come in as plain asyncio.Handle
            handle.attach(self, timer)
        self.handles[timer] = handle
        return handle

    def drop(self, timer: int) -> None:
        """Stop one timer."""
        if self.handles.pop(timer, None) is not None:
            self.killTimer(timer)

    def timerEvent(self, event: QTimerEvent) -> None:
        """A timer is due."""
        timer = event.timerId()
        self.killTimer(timer)
        handle = self.handles.pop(timer, None)
        if handle is None or handle.cancelled():
            return
        if isinstance(handle, _Handle):
            handle.detach()
        handle._run()

    def stop(self) -> None:
        """Stop them all; the loop closes."""
        for timer in list(self.handles):
            self.drop(timer)

    def set_debug(self, on: bool) -> None:
        """qasync calls it when asyncio's debug mode changes; nothing to do here."""


class Loop(qasync.QEventLoop):
    """See the module's docstring."""

    def __init__(self, app: QApplication) -> None:
        super().__init__(Pump(app))
        self._timer = _Timers()

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """As asyncio's, with a precise timer."""
        self._check_closed()
        handle = _Handle(callback, args, self, context, self.time() + delay)
        return self._timer.add_callback(handle, delay)

    def call_soon_threadsafe(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle | None:
        """As asyncio's: a closed loop refuses."""
        if self.is_closed():
            raise RuntimeError("Event loop is closed")
        return super().call_soon_threadsafe(callback, *args, context=context)


def run(main: Coroutine[Any, Any, T], app: QApplication) -> T:
    """Run ``main`` to its end on Qt's loop, then cancel what is left and close."""
    with asyncio.Runner(loop_factory=lambda: Loop(app)) as runner:
        return runner.run(main)
