"""The connection of one viewer: ticket, page, socket, its end, the pause, and again.

Made by ``window.py``. Each connection asks the broker for a new ticket for **this** session and mode (60 s, single use),
so that a login never stands in an address and a reconnect can never end at another desktop; a ticket for view-only
that is refused is never replaced by one for control. ``live`` is the one coroutine; what the page says and what people
want reaches it through an event and a future.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Signal
from PySide6.QtWidgets import QWidget

from app.contract import DesktopRow, ViewerMode
from app.errors import CallboardError, Unavailable
from app.models.wording import plain
from app.ui.viewer.attempts import MOST, Attempts, End

if TYPE_CHECKING:
    from app.models.changes import Changes
    from app.ui.context import Context
    from app.ui.viewer.web import Engine, WebView

PAGE_PATIENCE = 20.0
WAKE_LOOK = 5.0
"""Seconds after which a viewer that waits for its session looks at the board again, should it have missed the return."""


class ViewerLink(QObject):
    """See the module's docstring. ``name`` is what people call the session, also after it has gone."""

    said = Signal(str, bool, bool)
    """A sentence for the banner ("" = all is well), whether "again" makes sense, whether nothing more happens by itself."""
    connected_changed = Signal(bool)
    framed = Signal()
    keys_changed = Signal(bool)
    keys_released = Signal()
    clipboard_changed = Signal(str)
    credentials_wanted = Signal(list)
    layout_told = Signal(str)
    ended = Signal(object)
    """A connection is over; its ``End``."""
    renamed = Signal(str)

    def __init__(
        self,
        context: Context,
        session_id: str,
        mode: ViewerMode,
        engine: Callable[[], Awaitable[Engine]],
        stage: QWidget,
        options: Callable[[], dict[str, Any]],
    ) -> None:
        super().__init__(stage)
        self.context = context
        self.session_id = session_id
        self.mode = mode
        self.name = session_id
        self.view: WebView | None = None
        self.is_connected = False
        self.text = ""
        self._engine = engine
        self._stage = stage
        self._options = options
        self._attempts = Attempts()
        self._wish = asyncio.Event()
        self._end: asyncio.Future[End] | None = None
        self._seen = True
        self._asleep = False
        self._state = ""
        self._closing = False
        self._unlisten = context.store.listen(self._store_changed)
        self._follow_row()

    # -- what people want --------------------------------------------------------------------------------------

    def reconnect(self) -> None:
        """Try again now; a person asked."""
        self._attempts.begin()
        self._wish.set()

    def set_seen(self, seen: bool) -> None:
        """Whether anybody sees the picture; the connection is given back while nobody does."""
        if seen == self._seen:
            return
        self._seen = seen
        if seen:
            self.reconnect()
        elif not self._closing:
            self.call("close")
            self._over(End("", "never"))

    def call(self, name: str, *arguments: Any) -> None:
        """Call a method of the page's ``viewer``."""
        if self.view is not None and self.view.ready.is_set():
            self.view.call(name, *arguments)

    async def dismantle(self, live: asyncio.Task[None] | None) -> None:
        """End ``live`` and take the view down, in the order that the engine survives."""
        self._closing = True
        self._unlisten()
        if live is not None:
            live.cancel()
            await asyncio.wait({live})
        if self.view is not None:
            view, self.view = self.view, None
            await view.dismantle()

    # -- the life of it ----------------------------------------------------------------------------------------

    async def live(self) -> None:
        """Connect and stay connected until cancelled."""
        while True:
            end = await self._once()
            self.ended.emit(end)
            await self._pause(end)

    async def _once(self) -> End:
        """One connection from the wish for a ticket to its end, which is what it returns."""
        self._wish.clear()
        self._say(f"Connecting to {self.name}…")
        loading = asyncio.ensure_future(self._page())
        try:
            url = await self._ticket()
            await loading
        except CallboardError as error:
            return End.of_refusal(error)
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
        if not self._seen:
            return End("", "never")
        self._end = asyncio.get_running_loop().create_future()
        begun = time.monotonic()
        self.call("open", {"url": url, "viewOnly": self.mode == "view", **self._options()})
        try:
            return await self._end
        finally:
            self._end = None
            if self.is_connected:
                self._attempts.lasted(time.monotonic() - begun)
            self._set_connected(False)

    async def _ticket(self) -> str:
        """Where to connect, with a ticket made for this moment."""
        client = self.context.client
        if client is None:
            raise Unavailable("No broker is connected.")
        ticket = await client.fleet.ticket(self.session_id, self.mode)
        if ticket.mode != self.mode:
            raise Unavailable(f"The broker gave a ticket for {ticket.mode} instead of {self.mode}.")
        return client.fleet.viewer_url(self.session_id, ticket)

    async def _page(self) -> None:
        """The page, loaded; made at the first connection, and again where its process has ended."""
        if self.view is not None and self.view.is_broken:
            broken, self.view = self.view, None
            await broken.dismantle()
        if self.view is None:
            engine = await self._engine()
            from app.ui.viewer.web import WebView

            self.view = WebView(engine, self._stage, self._told, self.context.theme.color("strip"))
            layout = self._stage.layout()
            if layout is not None:
                layout.addWidget(self.view)
            self.view.show()
        try:
            async with asyncio.timeout(PAGE_PATIENCE):
                await self.view.ready.wait()
        except TimeoutError as error:
            raise Unavailable(f"The viewer's page did not load within {PAGE_PATIENCE:g} s.") from error

    async def _pause(self, end: End) -> None:
        """Say how it ended and wait for the next try: a time, the session's return, or a person."""
        if not self._seen:
            self._say(f"{self.name} is not connected while its window is hidden.", again=True)
            await self._wish.wait()
            return
        text = end.text if end.text.endswith((".", "!", "?")) else f"{end.text}."
        delay = self._attempts.next(end.retry)
        if end.retry == "wake":
            await self._until_it_runs(text)
        elif delay is None:
            given_up = "" if end.retry == "never" else f" Given up after {MOST} tries."
            self._say(f"{self.name}: {text}{given_up}", again=True, ended=True)
            await self._wish.wait()
        else:
            await self._count_down(text, delay)

    async def _until_it_runs(self, text: str) -> None:
        self._say(f"{self.name}: {text} It is shown again when it runs.", again=True)
        self._asleep = True
        while not await self._wished(WAKE_LOOK):
            row = self._row
            if row is not None and row.state == "running":
                break
        self._asleep = False

    async def _count_down(self, text: str, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            tries = f"{self._attempts.made} of {MOST}"
            self._say(f"{self.name}: {text} Trying again in {max(1.0, left):.0f} s ({tries}).", again=True)
            if await self._wished(min(left, 1.0)):
                break

    async def _wished(self, seconds: float) -> bool:
        """Whether somebody wants a connection now; waits so long for it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wish.wait()
        return self._wish.is_set()

    # -- what the page says ------------------------------------------------------------------------------------

    def _told(self, name: str, said: dict[str, Any]) -> None:
        if self._closing:
            return
        if name == "state":
            self._on_state(said)
        elif name == "frame":
            self.framed.emit()
        elif name == "keys":
            self.keys_changed.emit(bool(said.get("remote")))
        elif name == "released":
            self.keys_released.emit()
        elif name == "clipboard":
            self.clipboard_changed.emit(str(said.get("text", "")))
        elif name == "credentials":
            self.credentials_wanted.emit([str(one) for one in said.get("types", [])])
        elif name == "ready":
            self.layout_told.emit(str(said.get("layout", "")))
        elif name == "crashed":
            self._over(End("The picture's process ended unexpectedly.", "soon"))

    def _on_state(self, said: dict[str, Any]) -> None:
        if said.get("state") == "connected":
            self._say("")
            self._set_connected(True)
        elif said.get("state") == "closed":
            self._over(End.of_page(said))

    def _over(self, end: End) -> None:
        if self._end is not None and not self._end.done():
            self._end.set_result(end)

    def _set_connected(self, connected: bool) -> None:
        if connected != self.is_connected:
            self.is_connected = connected
            self.connected_changed.emit(connected)

    def _say(self, text: str, *, again: bool = False, ended: bool = False) -> None:
        if text != self.text:
            self.text = text
            self.said.emit(text, again, ended)

    # -- what the board says -----------------------------------------------------------------------------------

    @property
    def _row(self) -> DesktopRow | None:
        return self.context.store.desktops.get(self.session_id)

    def _store_changed(self, changes: Changes) -> None:
        if changes.reset or self.session_id in changes.redrawn("desktop"):
            self._follow_row()

    def _follow_row(self) -> None:
        row = self._row
        state = row.state if row is not None else ""
        if row is not None and plain(row.name) != self.name:
            self.name = plain(row.name)
            self.renamed.emit(self.name)
        if state == "running" != self._state and self._asleep:
            self._wish.set()
        self._state = state
