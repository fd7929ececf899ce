"""A desk for one page or panel: a real store with the venue, real settings and actions, and everything said noted.

``Desk`` is what the main window is to a page: it shows panels beside it, keeps toasts and runs what is spawned to
its end at once, so that a test reads like the operator's steps.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, cast

from PySide6.QtCore import QCoreApplication, QEvent
from PySide6.QtWidgets import QApplication, QHBoxLayout, QWidget

from app.errors import CallboardError
from app.models.store import Store
from app.models.undo import UndoStack
from app.ui.actions import Actions
from app.ui.context import Context
from app.ui.panel import Panel
from app.ui.settings import Settings
from app.ui.sheet import Sheet, SheetPanels
from app.ui.shot_venue import Venue
from app.ui.theme import Theme


class Said:
    """One toast."""

    def __init__(self, text: str, undo: Callable[[], None] | None, tone: str) -> None:
        self.text = text
        self.undo = undo
        self.tone = tone


class Desk(QWidget):
    """See the module's docstring. ``client`` is whatever the test talks to; None: no broker."""

    def __init__(self, folder: Path, client: Any = None, *, venue: bool = True) -> None:
        gone = int(QEvent.Type.DeferredDelete.value)
        QCoreApplication.sendPostedEvents(None, gone)  # the last desk goes: a theme is given to every widget there is
        super().__init__()
        self.said: list[Said] = []
        self.failed: list[BaseException] = []
        self.left_running: list[str] = []
        self.switched: list[str] = []
        self.connected: list[str | None] = []
        self.run_forever: set[str] = set()
        self._due: list[Coroutine[Any, Any, Any]] = []
        self._running = False
        self.clock = 100.0
        self.store = Store(monotonic=lambda: self.clock)
        self.venue = Venue(self.store)
        if venue:
            self.venue.open()
        theme = Theme.named("dark")
        app = cast(QApplication, QApplication.instance())
        theme.apply(app)
        self.sheet = Sheet(lambda covered: None)
        self.row = QHBoxLayout(self)
        self.row.addWidget(self.sheet)
        self.resize(1200, 800)
        actions = Actions(UndoStack())
        self.context = Context(
            store=self.store,
            client=client,
            actions=actions,
            settings=Settings(folder / "console.ini"),
            theme=theme,
            operator="kim",
            spawn=self.spawn,
            toast=self.toast,
            panels=SheetPanels(self.sheet),
            switch_theme=self.switched.append,
            connect_to=self.connected.append,
        )
        actions.bind(self.context)
        actions.set_blocked("")

    def put(self, widget: QWidget) -> None:
        """Show a page or view at the left of the sheet."""
        self.row.insertWidget(0, widget, 1)

    def show_panel(self, panel: Panel) -> None:
        """Show a panel in the sheet, as the window does."""
        self.context.panels.show(panel)
        QApplication.processEvents()

    def spawn(self, coro: Coroutine[Any, Any, Any], name: str) -> Any:
        """Run to the end now, or right after what runs; what the console would show as a toast is noted in ``failed``."""
        if any(name.startswith(word) for word in self.run_forever):
            self.left_running.append(name)
            coro.close()
            return None
        self._due.append(coro)
        while self._due and not self._running:
            self._running = True
            try:
                asyncio.run(self._closing(self._due.pop(0)))
            except CallboardError as error:
                self.failed.append(error)
            finally:
                self._running = False
        return None

    async def _closing(self, coro: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await coro
        finally:
            close = getattr(self.context.client, "close", None)
            if close is not None and inspect.iscoroutinefunction(close):
                await close()

    def toast(self, text: str, *, undo: Callable[[], None] | None = None, tone: str = "info") -> None:
        """Note what was said."""
        self.said.append(Said(text, undo, tone))

    @property
    def words(self) -> list[str]:
        """Texts of all toasts."""
        return [one.text for one in self.said]
