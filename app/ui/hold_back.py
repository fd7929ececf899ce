"""Acts of tier 1 in their hold-back: what waits, by (verb name, id), and the timer of each press.

Owned by ``actions.py``; ``pending.py`` and the delegates read ``waiting``. Several objects of one press wait and are
sent together; each of them can be taken out alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QObject, Qt, QTimer, Signal

from app.ui.verb import Pending

Key = tuple[str, str]


class HoldBack(QObject):
    """See the module's docstring."""

    due = Signal(list)
    """Keys of a press whose time is over; they wait until they are taken."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.waiting: dict[Key, Pending] = {}
        self._timers: dict[int, QTimer] = {}
        self._presses = 0

    def begin(self, press: Sequence[Pending]) -> None:
        """Let all of one press wait."""
        self._presses += 1
        number = self._presses
        for pending in press:
            pending.press = number
            self.waiting[(pending.verb.name, pending.id)] = pending
        timer = QTimer(self)
        timer.setSingleShot(True)
        timer.setTimerType(Qt.TimerType.PreciseTimer)
        timer.timeout.connect(lambda: self.due.emit(self.of_press(number)))
        timer.start(int(press[0].seconds * 1000))
        self._timers[number] = timer

    def of_press(self, number: int) -> list[Key]:
        """Keys of one press that still wait."""
        return [key for key, pending in self.waiting.items() if pending.press == number]

    def take(self, key: Key) -> Pending | None:
        """Take one out; the timer of its press ends with the last of them."""
        pending = self.waiting.pop(key, None)
        if pending is not None and not self.of_press(pending.press):
            timer = self._timers.pop(pending.press)
            timer.stop()
            timer.deleteLater()
        return pending
