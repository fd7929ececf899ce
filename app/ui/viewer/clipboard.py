"""This machine's clipboard and a desktop's, kept alike while the keys go to that desktop, and only then.

Used by ``window.py``. Text the operator copied here reaches a desktop when the keyboard does; text copied there comes
here while its window has the keyboard. A window in the back neither gives nor takes.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QObject
from PySide6.QtGui import QGuiApplication

MOST = 1 << 20
"""Characters; a longer text stays where it is."""


class ClipboardBridge(QObject):
    """See the module's docstring. ``send`` puts text on the desktop's clipboard."""

    def __init__(self, parent: QObject, send: Callable[[str], None]) -> None:
        super().__init__(parent)
        self._send = send
        self._both: str | None = None
        self._open = False
        self._local = QGuiApplication.clipboard()
        self._local.dataChanged.connect(self._changed)

    @property
    def text(self) -> str:
        """What is on this machine's clipboard."""
        return self._local.text()

    def set_open(self, is_open: bool) -> None:
        """Whether the keys go to the desktop; what was copied meanwhile follows them."""
        self._open = is_open
        if is_open:
            self._changed()

    def forget(self) -> None:
        """Another connection: nobody knows what the desktop has."""
        self._both = None

    def push(self) -> str:
        """Send this machine's clipboard now; why that did not happen, or ""."""
        text = self.text
        if not text:
            return "the clipboard has no text"
        if len(text) > MOST:
            return f"the clipboard has {len(text):,} characters, more than a desktop takes"
        self._both = text
        self._send(text)
        return ""

    def take(self, text: str) -> None:
        """The desktop's clipboard has another text."""
        if self._open and text != self._both:
            self._both = text
            self._local.setText(text)

    def _changed(self) -> None:
        if self._open and self.text and self.text != self._both:
            self.push()
