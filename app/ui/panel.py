"""The base of everything that asks or explains in place: a sheet at the right of the table, never a dialog.

Derived by ``app/ui/dialogs/*``. A panel fills ``self.body`` (a ``QVBoxLayout``) and ``self.buttons`` (a
``QHBoxLayout`` at the bottom, right-aligned), and is shown with ``context.panels.show(panel)``. Esc, the ✕ or a
newer panel call ``cancel()``; a panel that is done calls ``done()``. ``closed`` is emitted once, in every case.

``HoldButton`` is the guard of tier 2: it fires only after it was held down for ``hold_seconds`` (1.5 s), by mouse
or by Space/Enter, fills while held, and falls back when let go.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from PySide6.QtCore import QElapsedTimer, QEvent, QRectF, Qt, QTimer, Signal
from PySide6.QtGui import QColor, QKeyEvent, QPainter, QPaintEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QToolButton, QVBoxLayout

from app.ui.key_repeat import SOONEST
from app.ui.theme import plain_label

if TYPE_CHECKING:
    from PySide6.QtWidgets import QWidget

    from app.ui.context import Context


class Panel(QFrame):
    """A sheet with a title, a body and a row of buttons. ``first_focus`` names the widget that gets the keyboard."""

    closed = Signal()
    of_page: ClassVar[bool] = False
    """It asks about rows of the page in front, and goes when that page does."""

    def __init__(self, context: Context, title: str, *, subtitle: str = "") -> None:
        super().__init__()
        self.context = context
        self.first_focus: QWidget | None = None
        self._finished = False
        self.setProperty("role", "panel")
        outer = QVBoxLayout(self)
        outer.setContentsMargins(16, 12, 16, 12)
        outer.setSpacing(8)
        head = QHBoxLayout()
        self.title = plain_label(title, "title", wrap=True)
        head.addWidget(self.title, 1)
        close = QToolButton()
        close.setText("✕")
        close.setToolTip("Close (Esc)")
        close.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        close.clicked.connect(self.cancel)
        head.addWidget(close, 0, Qt.AlignmentFlag.AlignTop)
        outer.addLayout(head)
        if subtitle:
            outer.addWidget(plain_label(subtitle, "hint", wrap=True))
        self.body = QVBoxLayout()
        self.body.setSpacing(8)
        outer.addLayout(self.body, 1)
        self.buttons = QHBoxLayout()
        self.buttons.setSpacing(8)
        self.buttons.addStretch(1)
        outer.addLayout(self.buttons)

    def add_button(self, text: str, kind: str = "plain") -> QPushButton:
        """A button in the bottom row; ``kind`` as in ``theme.py``."""
        button = QPushButton(text)
        button.setProperty("kind", kind)
        self.buttons.addWidget(button)
        return button

    def cancel(self) -> None:
        """The operator does not want it. Override ``cancelled`` for what that means."""
        if not self._finished:
            self._finished = True
            self.cancelled()
            self._leave()

    def done(self) -> None:
        """The panel has done its work."""
        if not self._finished:
            self._finished = True
            self._leave()

    def cancelled(self) -> None:
        """Called once when the panel is cancelled; nothing by default."""

    def _leave(self) -> None:
        self.closed.emit()
        self.context.panels.close(self)


class HoldButton(QPushButton):
    """Fires ``fired`` after being held down for ``seconds``; anything shorter does nothing and says so."""

    fired = Signal()

    def __init__(self, text: str, color: QColor, *, seconds: float = 1.5) -> None:
        super().__init__(text)
        self.setProperty("kind", "danger")
        self.setToolTip(f"Hold for {seconds:g} s")
        self._color = color
        self._milliseconds = int(seconds * 1000)
        self._clock = QElapsedTimer()
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(30)
        self._timer.timeout.connect(self._tick)
        self._holding = False
        self._letting_go = QTimer(self)
        self._letting_go.setSingleShot(True)
        self._letting_go.setInterval(int(SOONEST * 1000))
        self._letting_go.timeout.connect(self._key_let_go)
        self.pressed.connect(self.begin)
        self.released.connect(self.let_go)

    @property
    def fraction(self) -> float:
        """How much of the hold time has passed, 0 to 1."""
        if not self._holding:
            return 0.0
        return min(1.0, self._clock.elapsed() / max(1, self._milliseconds))

    def begin(self) -> None:
        """The button goes down."""
        self._holding = True
        self._clock.start()
        self._timer.start()

    def let_go(self) -> None:
        """The button goes up before its time."""
        self._holding = False
        self._timer.stop()
        self._letting_go.stop()
        self.update()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter holds as Space does; key repeat is not a new press."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            if self._letting_go.isActive():
                self._letting_go.stop()  # the key was not let go: this is its repeat
            elif not event.isAutoRepeat():
                self.setDown(True)
                self.begin()
            return
        super().keyPressEvent(event)

    def keyReleaseEvent(self, event: QKeyEvent) -> None:
        """Let go by key."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            if not event.isAutoRepeat() and self._holding:
                self._letting_go.start()
            return
        super().keyReleaseEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        """A button that is disabled while held does not fire."""
        if event.type() == QEvent.Type.EnabledChange and not self.isEnabled():
            self.let_go()
        super().changeEvent(event)

    def paintEvent(self, event: QPaintEvent) -> None:
        """The button with its fill."""
        super().paintEvent(event)
        if self._holding:
            painter = QPainter(self)
            color = QColor(self._color)
            color.setAlpha(90)
            painter.fillRect(QRectF(1, 1, (self.width() - 2) * self.fraction, self.height() - 2), color)
            painter.end()

    def _key_let_go(self) -> None:
        self.setDown(False)
        self.let_go()

    def _tick(self) -> None:
        if self.fraction >= 1.0 and not self._letting_go.isActive():
            self.setDown(False)
            self.let_go()
            self.fired.emit()
        else:
            self.update()
