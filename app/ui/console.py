"""The console put together: store, actions, window, pages, connection; and what keeps them going.

``main.py`` makes one ``Console`` and runs it. Order of a start: theme and window (nothing heavy imported yet), first
paint, then the connection, then the other pages, then pyqtgraph; what takes long to import is imported by a thread,
so that the window answers meanwhile. Every coroutine of the window is started by
``spawn``: an expected failure becomes a toast in the broker's words, an unexpected one is logged and stands on the
strip until the console is restarted, so nothing stops silently.
"""

from __future__ import annotations

import asyncio
import gc
import getpass
import importlib
import os
import sys
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from PySide6.QtCore import QTimer
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QApplication

from app.errors import CallboardError
from app.models.series import Plots
from app.models.store import Store
from app.models.undo import UndoStack
from app.paths import resource
from app.ui import verbs
from app.ui.actions import Actions
from app.ui.connection import Connection
from app.ui.console_log import ConsoleLog
from app.ui.context import Context
from app.ui.main_window import MainWindow
from app.ui.page import Page
from app.ui.settings import Settings
from app.ui.sheet import SheetPanels
from app.ui.strip import StripState
from app.ui.strip_words import strip_state
from app.ui.theme import Theme
from app.ui.viewer.warm import WarmUp

if TYPE_CHECKING:
    from app.ui.pages.agents import AgentsPage
    from app.ui.pages.streams import StreamsPage

FAILURES_SHOWN = 3
TURN = 0.005
"""Seconds that the window has to itself between two steps of its making."""
PAGES = tuple(f"app.ui.pages.{name}" for name in ("sessions", "agents", "wall", "history", "settings"))
"""What is imported beside the window, once it is painted."""


class Console:
    """One window and all behind it."""

    def __init__(
        self,
        app: QApplication,
        settings: Settings,
        data_dir: Path,
        serve_options: Sequence[str] = (),
        *,
        log: ConsoleLog | None = None,
        demo: bool = False,
    ) -> None:
        self.app = app
        self._log = log or ConsoleLog(data_dir)
        self._closes_log = log is None
        self._demo = demo
        self.settings = settings
        self.failures: list[str] = []
        self._excepthook = sys.excepthook
        self.closed = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._leaving = False
        theme = Theme.named(settings.get("theme"))
        theme.apply(app)
        app.setWindowIcon(QIcon(str(resource("callboard.svg"))))
        self.store = Store()
        self.series = Plots(self.store)
        self.actions = Actions(UndoStack())
        self.window = MainWindow(theme)
        self.context = Context(
            store=self.store,
            client=None,
            actions=self.actions,
            settings=settings,
            theme=theme,
            operator=settings.get("operator") or account_name(),
            spawn=self.spawn,
            toast=self.window.toasts.say,
            panels=SheetPanels(self.window.sheet),
            switch_theme=self.switch_theme,
            connect_to=self.connect_to,
            log_words=self._log.where,
        )
        self.actions.bind(self.context)
        self.actions.confirm_panel = confirm_panel
        self._warm_up = WarmUp(self.context, verbs.declare(self.actions), self.window.last_input)
        self.connection = Connection(self.context, data_dir, serve_options)
        self._was_live = False
        self.store.listen(lambda _: self._board_changed())
        self._build_window()

    def _build_window(self) -> None:
        window = self.window
        window.bind(self.context)
        window.strip_state = self.strip_state
        window.closing = self.may_close
        window.resync_wanted.connect(self.connection.resync)
        window.declare_page("Streams", "Ctrl+1", self._streams)
        window.declare_page("Sessions", "Ctrl+2", self._sessions)
        window.declare_page("Agents", "Ctrl+3", self._agents)
        window.declare_page("Wall", "Ctrl+0", self._wall)
        window.declare_page("History", "Ctrl+7", self._history)
        window.declare_page("Settings", "Ctrl+9", self._settings, at_foot=True)
        self._clock = QTimer(window)
        self._clock.setInterval(1000)
        self._clock.timeout.connect(self.second)

    # Pages are imported when they are made: the first paint needs one of them.

    def _streams(self) -> Page:
        from app.ui.pages.streams import StreamsPage

        return StreamsPage(self.context, self.series)

    def _sessions(self) -> Page:
        from app.ui.pages.sessions import SessionsPage

        return SessionsPage(self.context)

    def _agents(self) -> Page:
        from app.ui.pages.agents import AgentsPage

        return AgentsPage(self.context)

    def _wall(self) -> Page:
        from app.ui.pages.wall import WallPage

        return WallPage(self.context)

    def _history(self) -> Page:
        from app.ui.pages.history import HistoryPage

        return HistoryPage(self.context)

    def _settings(self) -> Page:
        from app.ui.pages.settings import SettingsPage

        return SettingsPage(self.context)

    @property
    def streams(self) -> StreamsPage:
        """The Streams page."""
        return cast("StreamsPage", self.window.made("Streams"))

    @property
    def agents(self) -> AgentsPage:
        """The Agents page."""
        return cast("AgentsPage", self.window.made("Agents"))

    # -- life --------------------------------------------------------------------------------------------------

    def show(self) -> None:
        """Show the window; it is painted in the first turn of the loop."""
        screen = self.window.screen()
        if screen is not None:
            self.window.resize(self.window.size().boundedTo(screen.availableSize()))
        self.window.start()
        self.window.show()

    async def run(self, broker: str | None) -> None:
        """Connect, finish the window, and stay until it is closed."""
        await self._first_paint()
        await imported("app.logs")
        self._watch_failures()
        await imported("httpx", "websockets.asyncio.client", "app.client.process", "app.client.feed")
        settle_memory()
        self.connect_to(broker)
        self._clock.start()
        await imported(*PAGES)
        await in_turns(self.window.making_pages())
        os.environ.setdefault("PYQTGRAPH_QT_LIB", "PySide6")
        await imported("numpy", "pyqtgraph")
        await in_turns(self.streams.building_plots())
        await in_turns(self.agents.building_plots())
        settle_memory()
        await self.closed.wait()
        self.window.hide()
        self._clock.stop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.connection.close()
        sys.excepthook = self._excepthook
        if self._closes_log:
            self._log.close()

    async def _first_paint(self) -> None:
        painted = asyncio.Event()
        self.window.painted.connect(painted.set)
        if self.window.was_painted:
            return
        await painted.wait()

    def second(self) -> None:
        """Once a second: ghosts end, plots get their sample."""
        self.store.tick()
        self.series.sample()
        if "Streams" in self.window.pages:
            self.streams.second()
        if "Agents" in self.window.pages:
            self.agents.second()
        self._warm_up.second()

    def _board_changed(self) -> None:
        """The board became live, or stopped being so: say it at once rather than at the next refresh."""
        if self.store.live != self._was_live:
            self._was_live = not self._was_live
            self.window.refresh()

    def strip_state(self) -> StripState:
        """What the strip says now."""
        return strip_state(
            self.store, self.connection.state, self.failures, self.context.operator, self.context.notices
        )

    # -- what the context offers -------------------------------------------------------------------------------

    def spawn(self, coro: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start a coroutine of the window; see the module's docstring."""
        task = asyncio.get_running_loop().create_task(coro, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def tasks_named(self, name: str) -> list[asyncio.Task[Any]]:
        """Coroutines of that name that still run."""
        return [task for task in self._tasks if task.get_name() == name]

    def _watch_failures(self) -> None:
        """From now on nothing fails silently: coroutines, callbacks of the loop, and slots of Qt."""
        self._log.set_up()
        self.context.log_words = self._log.where
        loop, before = asyncio.get_running_loop(), self._excepthook

        def in_callback(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            error = context.get("exception")
            self._failed(str(context.get("message", "a callback")), error if isinstance(error, Exception) else None)

        def in_slot(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
            if isinstance(error, Exception):
                self._failed("the window", error)
            else:
                before(kind, error, trace)

        loop.set_exception_handler(in_callback)
        sys.excepthook = in_slot

    def _failed(self, where: str, error: Exception | None) -> None:
        """Log a mistake of ours and keep it on the strip."""
        from app.logs import get_logger

        get_logger("console").error("failed", where=where, exc_info=error)
        words = f"internal error in “{where}”: {type(error).__name__}; see the log, F1 says where"
        if words not in self.failures:
            self.failures = [*self.failures[1 - FAILURES_SHOWN :], words]
        if not self.closed.is_set():
            self.window.strip.set_state(self.strip_state())

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            return
        if isinstance(error, CallboardError):
            self.window.toasts.say(error.message, tone="error")
            return
        self._failed(task.get_name(), error if isinstance(error, Exception) else None)

    def switch_theme(self, name: str) -> None:
        """Another theme, now and from the next start on."""
        self.settings.set("theme", name)
        theme = Theme.named(name)
        self.context.theme = theme
        theme.apply(self.app)
        self.window.set_theme(theme)

    def connect_to(self, url: str | None) -> None:
        """Show another broker."""
        if url is None:
            self.connection.show_embedded()
        else:
            self.connection.show_remote(url)

    # -- the end -----------------------------------------------------------------------------------------------

    def may_close(self) -> bool:
        """With live rows on a broker of our own: ask in place what is to become of it. That of a demo ends anyway."""
        embedded = self.context.embedded
        ours = embedded is not None and embedded.state.state == "running" and not self.connection.is_remote
        if (
            self._leaving
            or self._demo
            or not ours
            or not (self.store.streams or self.store.sessions or self.store.desktops)
        ):
            self._leave()
            return True
        from app.ui.dialogs.quit_panel import QuitPanel

        if not isinstance(self.window.sheet.current, QuitPanel):
            panel = QuitPanel(self.context, self.leave_now, self._stop_and_close, lambda: None)
            self.context.panels.show(panel)
        return False

    def leave_now(self) -> None:
        """Close without asking; the broker goes on."""
        self._leaving = True
        self.window.close()

    def _stop_and_close(self) -> None:
        async def stop() -> None:
            if self.context.embedded is not None:
                await self.context.embedded.stop()
            self.leave_now()

        self.context.toast("The broker is stopping")
        self.spawn(stop(), "stop the broker")

    def _leave(self) -> None:
        self.window.save_layout()
        self.closed.set()


async def in_turns(steps: Iterable[None]) -> None:
    """Go through steps, of which each is short, and leave the window its turns between them."""
    for _ in steps:
        await asyncio.sleep(TURN)


async def imported(*names: str) -> None:
    """Import modules in a thread: on the loop each would hold the window up for 50 to 350 ms."""
    for name in names:
        await asyncio.to_thread(importlib.import_module, name)


def settle_memory() -> None:
    """Take what start-up has made so far out of later collections.

    Modules, classes and widgets stay to the end, and walking them took two thirds of the 50 ms that a full collection
    held the Qt thread up with 10,000 rows on the board. The first generation is larger than the 700 of the default,
    since a snapshot makes rows by the thousand and none of them is rubbish. Done as soon as the window is painted
    and again when everything is there, each is short.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 10)


def account_name() -> str:
    """Who sits here, as the machine knows it."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "unknown"


def confirm_panel(context: Context, title: str, losses: list[tuple[str, str]], verb_text: str) -> Any:
    """The panel of tier 2."""
    from app.ui.dialogs.confirm import ConfirmPanel

    return ConfirmPanel(context, title, losses, verb_text)


def on_terminate(loop: asyncio.AbstractEventLoop, close: Callable[[], None]) -> None:
    """SIGTERM and SIGINT close the window without asking; where loops have no signals, the system's way stays."""
    import signal

    if os.name == "posix":
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, close)
