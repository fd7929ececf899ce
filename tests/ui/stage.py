"""A whole main window on the venue of the pictures, with a broker that writes down what it is asked.

``Stage`` is the console without a connection: real store, pages, actions and window; ``client`` answers as told.
Coroutines run to their end at once, so a test reads like the operator's steps. ``test_console.py`` has the real
broker. Time: the store's clock stands still (``clock``), Qt's timers run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, cast

from PySide6.QtCore import QCoreApplication, QEvent, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget

from app.client.api import ApiError
from app.client.destination import Destinations
from app.client.shapes import Offer
from app.contract import HoldRow, Row, SessionRow
from app.errors import CallboardError
from app.models.series import Plots
from app.models.store import Store
from app.models.undo import UndoStack
from app.ui import verbs
from app.ui.actions import Actions
from app.ui.console import confirm_panel
from app.ui.context import Context
from app.ui.main_window import MainWindow
from app.ui.pages.agents import AgentsPage
from app.ui.pages.sessions import SessionsPage
from app.ui.pages.streams import StreamsPage
from app.ui.settings import Settings
from app.ui.sheet import SheetPanels
from app.ui.shot_venue import Venue
from app.ui.strip import StripState
from app.ui.strip_words import Connected, strip_state
from app.ui.theme import Theme
from tests.ui.scripted_fleet import ScriptedFleet

Key = Qt.Key


class ScriptedBroker:
    """Writes down every call; raises ``refusal`` when it is set, answers with what such a call brings otherwise."""

    base_url = "http://127.0.0.1:8080"
    token = "token"
    operator = "kim"

    def __init__(self, store: Store) -> None:
        self.store = store
        self.calls: list[tuple[Any, ...]] = []
        self.refusal: ApiError | None = None
        self.made = 0
        self.destinations = Destinations()
        self.fleet = ScriptedFleet()

    def _note(self, *call: Any) -> None:
        self.calls.append(call)
        if self.refusal is not None:
            raise self.refusal

    def named(self, verb: str) -> list[tuple[Any, ...]]:
        """Calls of one verb."""
        return [call for call in self.calls if call[0] == verb]

    async def request(self, stream_id: str, **asked: Any) -> Offer:
        self._note("request", stream_id, asked)
        self.made += 1
        row = self.store.streams[stream_id]
        return Offer(
            session_id=f"session-new-{self.made}",
            stream_id=stream_id,
            stream_name=row.name,
            stream_type=row.stream_type,
            protocol=row.protocol,
            publisher_address=row.address,
            publisher_port=row.port,
        )

    async def hold(self, session_id: str, preset_id: str | None = None) -> HoldRow:
        self._note("hold", session_id, preset_id)
        return HoldRow(id=f"hold-{session_id}", session_id=session_id, stream_id="", operator="kim", since=0.0)

    async def release(self, hold_id: str) -> None:
        self._note("release", hold_id)

    async def stop_session(self, session_id: str, replaced_by: str = "") -> None:
        self._note("stop_session", session_id)

    async def withdraw(self, stream_id: str) -> None:
        self._note("withdraw", stream_id)

    async def record_audit(self, verb: str, name: str, object_id: str, **more: Any) -> None:
        self._note("record_audit", verb, name, object_id, more)


class Stage:
    """See the module's docstring."""

    def __init__(self, folder: Path) -> None:
        app = cast(QApplication, QApplication.instance())
        self.clock = 100.0
        self.store = Store(monotonic=lambda: self.clock)
        self.venue = Venue(self.store)
        self.client = ScriptedBroker(self.store)
        self.connected = Connected("this machine")
        self.failures: list[str] = []
        self.spawned: list[str] = []
        self._due: list[Coroutine[Any, Any, Any]] = []
        self._running = False
        self.broken: list[BaseException] = []
        self.settings = Settings(folder / "console.ini")
        self.settings.set("hold_back_seconds", 0.3)
        self.settings.set("hold_seconds", 0.2)
        self.settings.set("bounce_milliseconds", 60)
        self.settings.set("window/plots_open", False)
        theme = Theme.named("dark")
        theme.apply(app)
        self.actions = Actions(UndoStack())
        self.window = MainWindow(theme)
        self.window.resize(1440, 880)
        self.context = Context(
            store=self.store,
            client=cast(Any, self.client),
            actions=self.actions,
            settings=self.settings,
            theme=theme,
            operator="kim",
            spawn=cast(Any, self.spawn),
            toast=self.window.toasts.say,
            panels=SheetPanels(self.window.sheet),
            switch_theme=lambda name: None,
            connect_to=lambda url: None,
        )
        self.actions.bind(self.context)
        self.actions.confirm_panel = confirm_panel
        verbs.declare(self.actions)
        self.window.bind(self.context)
        self.window.strip_state = self.strip_state
        self.series = Plots(self.store)
        self.streams = StreamsPage(self.context, self.series)
        self.sessions = SessionsPage(self.context)
        self.window.add_page(self.streams)
        self.agents = AgentsPage(self.context)
        self.window.add_page(self.sessions)
        self.window.add_page(self.agents)

    def open(self, page: str = "Streams", *, venue: bool = True, fleet: dict[str, list[Row]] | None = None) -> None:
        """Show the window with a living board."""
        if venue:
            self.venue.open(fleet=fleet)
        self.window.start()
        self.window.show_page(page)
        self.window.show()
        QTest.qWaitForWindowExposed(self.window)
        self.window.activateWindow()
        QTest.qWaitForWindowActive(self.window)
        self.settle()

    def settle(self) -> None:
        """Let the tables take what the store has."""
        for page in (self.streams, self.sessions, self.agents):
            page.model.flush()
            page.model.arrange()
        self.window.refresh()

    def close(self) -> None:
        """The window goes; nothing waits behind it."""
        self.actions.cancel_all()
        self.window.close()
        for page in (self.streams, self.sessions, self.agents):
            page.model.close()
        self.window.deleteLater()
        QCoreApplication.sendPostedEvents(None, int(QEvent.Type.DeferredDelete.value))

    def strip_state(self) -> StripState:
        return strip_state(self.store, self.connected, self.failures, "kim", self.context.notices)

    def spawn(self, coro: Coroutine[Any, Any, Any], name: str) -> None:
        """Run to the end now, or right after what runs; an expected failure becomes a toast as in the console."""
        self.spawned.append(name)
        self._due.append(coro)
        while self._due and not self._running:
            self._running = True
            try:
                asyncio.run(self._due.pop(0))
            except CallboardError as error:
                self.window.toasts.say(error.message, tone="error")
            finally:
                self._running = False

    # -- what an operator does and sees ------------------------------------------------------------------------

    def key(self, key: Key, *modifiers: Qt.KeyboardModifier, to: QWidget | None = None) -> None:
        """Press a key where the keyboard is."""
        combined = Qt.KeyboardModifier.NoModifier
        for modifier in modifiers:
            combined |= modifier
        QTest.keyClick(to or QApplication.focusWidget() or self.window, key, combined)

    def said(self) -> list[str]:
        """Toasts that are shown."""
        return [toast.text for toast in self.window.toasts.items]

    def stream(self, name: str) -> str:
        """The id of a stream of the venue."""
        return next(row.id for row in self.store.streams.values() if row.name == name)

    def session(self, consumer: str) -> SessionRow:
        """A session of the venue."""
        return next(row for row in self.store.sessions.values() if row.consumer_id == consumer)

    def go_to(self, row_id: str) -> None:
        """Make a row of the page in front the current one, with the keyboard in the table."""
        view = self.window.page.table()
        assert view is not None
        view.setFocus()
        assert view.select_id(row_id)
