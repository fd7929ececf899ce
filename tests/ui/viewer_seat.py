"""A console's part that viewers need: store, context, desk, with real coroutines; and hands for a viewer's window."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

from PySide6.QtCore import QEvent, QObject, QPointF, Qt
from PySide6.QtGui import QKeyEvent, QKeySequence, QMouseEvent
from PySide6.QtWidgets import QApplication

from app.contract import FeedMessage, ViewerMode
from app.models.store import Store
from app.models.undo import UndoStack
from app.ui.actions import Actions
from app.ui.context import Context
from app.ui.settings import Settings
from app.ui.sheet import Sheet, SheetPanels
from app.ui.theme import Theme
from app.ui.viewer.attempts import End
from app.ui.viewer.desk import ViewerDesk
from app.ui.viewer.window import ViewerWindow
from tests.ui.vnc_house import desktop_row, show_rows, until


class Seat:
    """See the module's docstring. ``client`` is whatever gives tickets; ``monotonic`` is the board's clock."""

    def __init__(self, folder: Path, client: Any, monotonic: Callable[[], float] = time.monotonic) -> None:
        app = cast(QApplication, QApplication.instance())
        self.app = app
        theme = Theme.named("dark")
        theme.apply(app)
        self.store = Store(monotonic=monotonic)
        self.said: list[str] = []
        self.failures: list[BaseException] = []
        self.tasks: set[asyncio.Task[Any]] = set()
        self.settings = Settings(folder / "console.ini")
        self.context = Context(
            store=self.store,
            client=client,
            actions=Actions(UndoStack()),
            settings=self.settings,
            theme=theme,
            operator="kim",
            spawn=self.spawn,
            toast=self.toast,
            panels=SheetPanels(Sheet(lambda covered: None)),
            switch_theme=lambda name: None,
            connect_to=lambda url: None,
        )
        self.context.actions.bind(self.context)
        self.desk = ViewerDesk(self.context)
        self.ends: list[End] = []
        show_rows(self.store, desktop=[desktop_row()])

    def spawn(self, coro: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(coro, name=name)
        self.tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failures.append(error)

    def hear(self, message: FeedMessage) -> None:
        """What a feed says."""
        self.store.receive(message)

    def toast(self, text: str, *, undo: Any = None, tone: str = "info") -> None:
        self.said.append(text)

    async def close(self) -> None:
        """The end of a console: what was started is cancelled, and viewers take themselves down by that."""
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.desk.close()
        assert self.failures == []

    # -- hands -----------------------------------------------------------------------------------------------------

    def open(self, mode: ViewerMode, session_id: str = "s-1") -> ViewerWindow:
        """Press V or Shift+V."""
        window = self.desk.open(session_id, mode)
        window.link.ended.connect(self.ends.append)
        return window

    async def look(self, mode: ViewerMode, session_id: str = "s-1") -> ViewerWindow:
        """The same, and wait for the first picture."""
        framed = asyncio.Event()
        window = self.open(mode, session_id)
        window.link.framed.connect(framed.set)
        async with asyncio.timeout(40):
            await framed.wait()
        window.link.framed.disconnect(framed.set)
        return window

    def key(self, window: ViewerWindow, key: Qt.Key, text: str = "", kinds: str = "du") -> None:
        """Press (d) and release (u) a key where the keyboard is."""
        target = target_of(window)
        for kind in kinds:
            event = QEvent.Type.KeyPress if kind == "d" else QEvent.Type.KeyRelease
            self.app.postEvent(target, QKeyEvent(event, key, Qt.KeyboardModifier.NoModifier, text))

    def key_here(self, window: ViewerWindow, keys: str) -> None:
        """Press and release a key, as Qt writes it, in the window itself, outside the picture."""
        sequence: Any = QKeySequence(keys)
        combination = sequence[0]
        for kind in (QEvent.Type.KeyPress, QEvent.Type.KeyRelease):
            self.app.postEvent(window, QKeyEvent(kind, combination.key(), combination.keyboardModifiers()))

    def write(self, window: ViewerWindow, text: str) -> None:
        """Type a line."""
        for letter in text:
            self.key(window, Qt.Key(ord(letter.upper())), letter)
        self.key(window, Qt.Key.Key_Return, "\r")

    def click(self, window: ViewerWindow, x: float, y: float) -> None:
        """Press and release the left button in the picture."""
        target = target_of(window)
        at = QPointF(x, y)
        left, none, no = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier
        for kind, held in ((QEvent.Type.MouseButtonPress, left), (QEvent.Type.MouseButtonRelease, none)):
            self.app.postEvent(target, QMouseEvent(kind, at, at, left, held, no))


async def take_keyboard(window: ViewerWindow) -> None:
    """Until the light says so, the page has it too, and has been painted: the engine drops what is typed before that."""
    window.activateWindow()
    window.give_keys()
    await until(lambda: window.bar.light.remote, "keys go to the desktop")

    async def focused() -> bool:
        assert window.link.view is not None
        has = "document.hasFocus() && document.activeElement !== document.body"
        painted = "performance.getEntriesByType('paint').some((one) => one.name === 'first-contentful-paint')"
        return bool(await window.link.view.ask(f"{has} && {painted}"))

    await until(focused, "the painted page has the keyboard")


def target_of(window: ViewerWindow) -> QObject:
    """The widget of the web engine that takes keys and pointer."""
    assert window.link.view is not None
    proxy = window.link.view.focusProxy()
    assert proxy is not None
    return proxy


async def pixel(window: ViewerWindow, x: int = 350, y: int = 250) -> list[int]:
    """One pixel of the picture, as the page drew it."""
    assert window.link.view is not None
    found: list[int] = await window.link.view.ask(f"viewer.pixel({x}, {y})")
    return found


async def shows(window: ViewerWindow, *colour: int) -> None:
    """Wait for the picture to have that colour."""

    async def there() -> bool:
        return await pixel(window) == list(colour)

    await until(there, f"the picture is {colour}")
