"""One window on one desktop: bar, banner, picture, and the keys that stay here.

Made by ``desk.py``, one per session and mode; ``link.py`` is its connection. A window that is hidden for a while lets go
of its connection until it is seen again. Inside the picture all keys go to the desktop but one chord, which the bar
shows and the page watches for; a chord that comes takes the keyboard back to this window.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QByteArray, QEvent, Qt, QTimer, Signal
from PySide6.QtGui import QCloseEvent, QHideEvent, QKeyEvent, QShowEvent
from PySide6.QtWidgets import QVBoxLayout, QWidget

from app.contract import ViewerMode
from app.ui.verb_keys import pressed_text
from app.ui.viewer.bar import MODES, Banner, LoginRow, ViewerBar
from app.ui.viewer.clipboard import ClipboardBridge
from app.ui.viewer.keys import chord_of, of_press
from app.ui.viewer.link import ViewerLink
from app.ui.viewer.traffic import ViewerTraffic

if TYPE_CHECKING:
    from app.ui.context import Context
    from app.ui.viewer.web import Engine

HIDDEN_PATIENCE = 5000
"""Milliseconds that a hidden window keeps its connection: painting what nobody sees costs half a core."""


class ViewerWindow(QWidget):
    """See the module's docstring. ``gone`` is the last thing that it says."""

    gone = Signal()

    def __init__(
        self, context: Context, session_id: str, mode: ViewerMode, engine: Callable[[], Awaitable[Engine]]
    ) -> None:
        super().__init__()
        self.setObjectName("window")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMinimumSize(480, 320)
        self.resize(1240, 800)
        self.context = context
        self.session_id = session_id
        self.mode = mode
        self.scaled: bool = bool(context.settings.get("viewer/scale"))
        self._keys_wanted = mode == "control"
        self._live: asyncio.Task[None] | None = None
        self._end: asyncio.Future[None] | None = None
        self._closing = False
        self._build(engine)
        self._connect()
        self._restore()

    def _build(self, engine: Callable[[], Awaitable[Engine]]) -> None:
        self.bar = ViewerBar(self.mode, lambda: self.context.theme)
        self.banner = Banner()
        self.login = LoginRow()
        self.stage = QWidget()
        self.stage.setObjectName("viewer-stage")
        self.stage.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        inner = QVBoxLayout(self.stage)
        inner.setContentsMargins(0, 0, 0, 0)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        for widget in (self.bar, self.banner, self.login):
            column.addWidget(widget)
        column.addWidget(self.stage, 1)
        self.link: ViewerLink = ViewerLink(self.context, self.session_id, self.mode, engine, self.stage, self._options)
        self.clipboard = ClipboardBridge(self, lambda text: self.link.call("clipboard", text))
        self.traffic = ViewerTraffic(self.context.store, self.session_id, self.mode)
        self._hidden = QTimer(self, singleShot=True, interval=HIDDEN_PATIENCE)
        self._second = QTimer(self, interval=1000)

    def _connect(self) -> None:
        bar, link = self.bar, self.link
        bar.keys_wanted.connect(self.give_keys)
        bar.scale_wanted.connect(lambda: self.set_scaled(not self.scaled))
        bar.ctrl_alt_del_wanted.connect(self.ctrl_alt_del)
        bar.paste_wanted.connect(self.paste)
        bar.type_wanted.connect(self.type_clipboard)
        bar.full_screen_wanted.connect(self.full_screen)
        bar.chord_chosen.connect(self.set_chord)
        self.banner.again_wanted.connect(link.reconnect)
        self.login.given.connect(self._log_in)
        link.said.connect(self._on_link_said)
        link.connected_changed.connect(self._on_connected)
        link.keys_changed.connect(self._on_keys)
        link.keys_released.connect(self.take_keys)
        link.clipboard_changed.connect(self.clipboard.take)
        link.credentials_wanted.connect(self.login.ask)
        link.layout_told.connect(bar.set_layout_name)
        link.renamed.connect(self._show_name)
        self._hidden.timeout.connect(lambda: link.set_seen(False))
        self._second.timeout.connect(lambda: bar.set_traffic(self.traffic.text))

    def _restore(self) -> None:
        self.bar.set_chord(self._chord)
        self.bar.set_scaled(self.scaled)
        self.bar.set_connected(False)
        self._show_name()
        geometry = QByteArray.fromBase64(self.context.settings.get("viewer/geometry").encode())
        if not geometry.isEmpty():
            self.restoreGeometry(geometry)

    def start(self) -> None:
        """Show it at once, dark and empty, and connect."""
        self.show()
        self._second.start()
        self._live = self.context.spawn(self.link.live(), f"the viewer of {self.link.name}")

    # -- what the connection says ------------------------------------------------------------------------------

    @property
    def is_connected(self) -> bool:
        """Whether there is a picture that lives."""
        return self.link.is_connected

    @property
    def _chord(self) -> str:
        return chord_of(self.context.settings)

    def _options(self) -> dict[str, Any]:
        """How the next connection begins."""
        self.clipboard.forget()
        focus = self._keys_wanted and self.isActiveWindow()
        if focus and self.link.view is not None:
            self.link.view.setFocus()
        return {"scale": self.scaled, "chord": self._chord.split("+"), "focus": focus}

    def _on_link_said(self, text: str, again: bool, ended: bool) -> None:
        self.banner.say(text, again=again, ended=ended)
        self._show_bar()

    def _on_connected(self, connected: bool) -> None:
        self.bar.set_connected(connected)
        self.traffic.set_connected(connected)
        if not connected:
            self.login.hide()
            self.bar.set_traffic("")
            self._on_keys(False)
        self._show_bar()

    def _on_keys(self, remote: bool) -> None:
        self.bar.set_remote(remote)
        self.clipboard.set_open(remote and bool(self.context.settings.get("viewer/clipboard")))
        self._show_bar()

    def _show_name(self) -> None:
        self.bar.set_name(self.link.name)
        self.setWindowTitle(f"{self.link.name}, {MODES[self.mode].lower()}: Callboard")

    def _log_in(self, given: dict[str, str]) -> None:
        self.link.call("credentials", given)
        self.give_keys()

    # -- what people ask for -----------------------------------------------------------------------------------

    def give_keys(self) -> None:
        """Keys go to the desktop from now on."""
        if self.mode == "control" and self.link.view is not None and self.is_connected:
            self._keys_wanted = True
            self.link.view.setFocus()
            self.link.call("keys")

    def take_keys(self) -> None:
        """Keys stay here from now on."""
        self._keys_wanted = False
        self.setFocus()
        self._on_keys(False)

    def ctrl_alt_del(self) -> None:
        """The three keys that this machine would keep for itself."""
        self.link.call("ctrlAltDel")
        self.give_keys()

    def set_scaled(self, scaled: bool) -> None:
        """Fit the desktop into the window, or show it pixel for pixel."""
        self.scaled = scaled
        self.context.settings.set("viewer/scale", scaled)
        self.bar.set_scaled(scaled)
        self.link.call("scale", scaled)

    def set_chord(self, codes: str) -> None:
        """Other keys take the keyboard back."""
        self.context.settings.set("viewer/release", codes)
        self.bar.set_chord(codes)
        self.link.call("setChord", codes.split("+"))

    def paste(self) -> None:
        """This machine's clipboard becomes the desktop's."""
        reason = self.clipboard.push()
        if reason:
            self.context.toast(f"Paste: {reason}")
        self.give_keys()

    def type_clipboard(self) -> None:
        """This machine's clipboard as key presses, for desktops that take no clipboard."""
        text = self.clipboard.text
        if not text:
            self.context.toast("Type: the clipboard has no text")
            return
        self.link.call("type", text)
        self.give_keys()

    def full_screen(self) -> None:
        """F11: the picture alone, or the window again."""
        self.setWindowState(self.windowState() ^ Qt.WindowState.WindowFullScreen)

    # -- the window --------------------------------------------------------------------------------------------

    def _show_bar(self) -> None:
        """In full screen the picture is alone while it lives and no keys are wanted here."""
        alone = self.is_connected and (self.mode == "view" or self.bar.light.remote)
        self.bar.setVisible(not (self.isFullScreen() and alone))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Keys that stay here, as ``keys.py`` tells them."""
        key = of_press(pressed_text(event), self)
        if key is None or event.isAutoRepeat():
            super().keyPressEvent(event)
        else:
            key.act(self)

    def changeEvent(self, event: QEvent) -> None:
        """Minimised counts as hidden; full screen has its own bar."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.WindowStateChange:
            self._notice(self.isVisible() and not self.isMinimized())
            self._show_bar()

    def showEvent(self, event: QShowEvent) -> None:
        super().showEvent(event)
        self._notice(not self.isMinimized())

    def hideEvent(self, event: QHideEvent) -> None:
        super().hideEvent(event)
        self._notice(False)

    def _notice(self, seen: bool) -> None:
        if seen:
            self._hidden.stop()
            self.link.set_seen(True)
        elif not self._closing:
            self._hidden.start()

    def closeEvent(self, event: QCloseEvent) -> None:
        """The window goes at once, what is behind it in its own order."""
        event.accept()
        if not self._closing:
            self.context.settings.set("viewer/geometry", bytes(self.saveGeometry().toBase64().data()).decode())
            self.context.spawn(self.dismantle(), f"close the viewer of {self.link.name}")

    async def dismantle(self) -> None:
        """End everything that belongs to this window: once, and to its end, though who asked first is cancelled."""
        if self._end is None:
            self._closing = True
            self._second.stop()
            self._hidden.stop()
            self._end = asyncio.ensure_future(self._dismantle())
        await asyncio.shield(self._end)

    async def _dismantle(self) -> None:
        await self.link.dismantle(self._live)
        self.hide()
        self.gone.emit()
        self.deleteLater()
