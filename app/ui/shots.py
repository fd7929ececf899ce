"""Pictures of every page, panel and state: ``python -m app.ui.shots [--theme T] [--scale N] [--out DIR] [--only NAME…]``.

Called by ``dev.py shots``, offscreen. Each picture is a fresh console (window, pages, store, actions) over the venue of
``shot_venue.py`` and the stand-in client of ``shot_client.py``, at a moment that does not pass: what is on it came
through the real store, tables and panels. The scenes themselves are ``shot_scenes.py``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from PySide6.QtWidgets import QWidget

WIDTH, HEIGHT = 1600, 1000
SETTLE_TURNS = 12
"""Turns of the Qt loop after which layouts, timers of 0 ms and the first paint are done."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Render what was asked for; the names go to standard output."""
    options = _options(arguments)
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    os.environ.setdefault("PYQTGRAPH_QT_LIB", "PySide6")
    os.environ["QT_SCALE_FACTOR"] = str(options.scale)
    freeze_time()
    from PySide6.QtWidgets import QApplication

    from app.ui.shot_scenes import SCENES

    unknown = set(options.only) - SCENES.keys()
    if unknown:
        sys.stderr.write(f"no such picture: {', '.join(sorted(unknown))}; there are {', '.join(SCENES)}\n")
        return 2
    app = QApplication.instance() or QApplication(sys.argv[:1])
    options.out.mkdir(parents=True, exist_ok=True)
    for name in options.only or SCENES:
        scene = SCENES[name]
        path = options.out / f"{name}.png"
        render(cast(QApplication, app), scene.theme or options.theme, scene.play, path)
        sys.stdout.write(f"{path}\n")
        sys.stdout.flush()
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="shots", description="Render every page with demo data.")
    parser.add_argument("--theme", choices=("dark", "blackout", "contrast"), default="dark")
    parser.add_argument("--scale", type=float, default=1.0, help="device pixels per pixel")
    parser.add_argument("--out", type=Path, default=Path("build/shots"))
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME")
    return parser.parse_args(arguments)


def freeze_time() -> None:
    """The wall clock of this process stands, in UTC; the monotonic clock, which timers need, goes on."""
    from app.ui.shot_venue import NOW

    os.environ["TZ"] = "UTC"
    if hasattr(time, "tzset"):
        time.tzset()
    time.time = lambda: NOW


def render(app: Any, theme: str, play: Callable[[Studio], None], path: Path) -> None:
    """One picture."""
    with tempfile.TemporaryDirectory(prefix="callboard-shot-") as folder:
        studio = Studio(app, theme, Path(folder))
        play(studio)
        studio.settle()
        picture = studio.front.grab()
        if not picture.save(str(path)):
            raise OSError(f"{path} could not be written")
        studio.close()


class Studio:
    """A console without a connection: the same parts as ``console.Console``, fed by the venue."""

    def __init__(self, app: Any, theme: str, folder: Path) -> None:
        from app.models.series import Plots
        from app.models.store import Store
        from app.models.undo import UndoStack
        from app.ui import verbs
        from app.ui.actions import Actions
        from app.ui.console import confirm_panel
        from app.ui.context import Context
        from app.ui.main_window import MainWindow
        from app.ui.settings import Settings
        from app.ui.sheet import SheetPanels
        from app.ui.shot_client import StillClient
        from app.ui.shot_venue import Venue
        from app.ui.strip_words import Connected
        from app.ui.theme import Theme

        self.app = app
        self.feed_clock = 1000.0
        self.failures: list[str] = []
        self.connected = Connected("this machine")
        self.store = Store(monotonic=lambda: self.feed_clock)
        self.venue = Venue(self.store)
        self.client = StillClient(self.venue)
        self.series = Plots(self.store)
        dressed = Theme.named(theme)
        dressed.apply(app)
        self.window = MainWindow(dressed)
        self.window.resize(WIDTH, HEIGHT)
        self.front: QWidget = self.window
        """What the picture shows."""
        self.actions = Actions(UndoStack())
        self.context = Context(
            store=self.store,
            client=cast(Any, self.client),
            actions=self.actions,
            settings=Settings(folder / "console.ini"),
            theme=dressed,
            operator="kim",
            spawn=cast(Any, self.spawn),
            toast=self.window.toasts.say,
            panels=SheetPanels(self.window.sheet),
            switch_theme=lambda name: None,
            connect_to=lambda url: None,
        )
        self.context.embedded = self.broker_process(folder)
        self.context.log_words = "The log of this console is /home/kim/.local/share/callboard/logs/console.log"
        self.actions.bind(self.context)
        self.actions.confirm_panel = confirm_panel
        verbs.declare(self.actions)
        self.window.bind(self.context)
        self.window.strip_state = self.strip_state
        self._add_pages()

    def _add_pages(self) -> None:
        """Every page, in the order of the rail."""
        from app.ui.pages.agents import AgentsPage
        from app.ui.pages.history import HistoryPage
        from app.ui.pages.sessions import SessionsPage
        from app.ui.pages.settings import SettingsPage
        from app.ui.pages.streams import StreamsPage
        from app.ui.pages.wall import WallPage

        self.streams = StreamsPage(self.context, self.series)
        self.sessions = SessionsPage(self.context)
        self.agents = AgentsPage(self.context)
        self.wall = WallPage(self.context)
        self.history = HistoryPage(self.context)
        self.settings = SettingsPage(self.context)
        for page in (self.streams, self.sessions, self.agents, self.wall, self.history):
            self.window.add_page(page)
        self.window.add_page(self.settings, at_foot=True)

    def broker_process(self, folder: Path) -> Any:
        """The embedded broker as it is while it runs; nothing is started."""
        from app.client.process import BrokerState, EmbeddedBroker

        embedded = EmbeddedBroker(folder)
        embedded.state = BrokerState("running", self.client.base_url, "token", 4711, "0.1.0")
        return embedded

    def start(self, page: str = "Streams") -> None:
        """Show the window on a page, as after a start."""
        self.context.settings.set("window/page", page)
        self.window.start()
        self.window.show()
        self.streams.build_plots()
        self.agents.build_plots()
        self.settle()

    def strip_state(self) -> Any:
        """What the strip says, at the picture's time of day."""
        from app.ui.strip_words import strip_state

        state = strip_state(self.store, self.connected, self.failures, self.context.operator, self.context.notices)
        return replace(state, clock=time.strftime("%H:%M:%S", time.localtime(time.time())))

    def spawn(self, coro: Coroutine[Any, Any, Any], _name: str) -> None:
        """Run to the end at once: everything the stand-in answers is there already."""
        asyncio.run(coro)

    def settle(self) -> None:
        """Let layouts and short timers happen; the window has the keyboard."""
        self.window.refresh()
        self.window.activateWindow()
        for _ in range(SETTLE_TURNS):
            self.app.processEvents()
            self.app.sendPostedEvents(None, 0)
        self.window.refresh()
        self.app.processEvents()

    def wait(self, seconds: float) -> None:
        """Let the Qt loop go on for a moment, for what a timer paints."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.app.processEvents()

    def close(self) -> None:
        """Drop the window before the next picture."""
        self.actions.cancel_all()
        for page in self.window.pages.values():
            page.deactivate()
        if self.front is not self.window:
            self.front.close()
        self.window.closing = lambda: True
        self.window.close()
        self.window.deleteLater()
        self.settle_deletes()

    def settle_deletes(self) -> None:
        """Really delete what was told to go."""
        from PySide6.QtCore import QCoreApplication, QEvent

        QCoreApplication.sendPostedEvents(None, int(QEvent.Type.DeferredDelete.value))


if __name__ == "__main__":
    sys.exit(main())
