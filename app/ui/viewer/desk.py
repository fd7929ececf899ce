"""All viewer windows of a console, and the one web engine behind them.

Made by ``verbs.py``. The engine is loaded when the first viewer opens, or a little earlier by ``warm``; windows and
engine are taken down in order when the console ends, which is when the console cancels what it has started.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from app.contract import ViewerMode
from app.ui.viewer.engine import load
from app.ui.viewer.window import ViewerWindow

if TYPE_CHECKING:
    from app.ui.context import Context
    from app.ui.viewer.web import Engine


class ViewerDesk:
    """See the module's docstring. ``windows`` by session and mode."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.windows: dict[tuple[str, ViewerMode], ViewerWindow] = {}
        self._engine: asyncio.Task[Engine] | None = None
        self._keeper: asyncio.Task[None] | None = None

    def open(self, session_id: str, mode: ViewerMode) -> ViewerWindow:
        """The window on that session in that mode: a new one, or the one that is open already, brought to the front."""
        key = (session_id, mode)
        window = self.windows.get(key)
        if window is not None:
            window.setWindowState(window.windowState() & ~window.windowState().WindowMinimized)
            window.show()
            window.raise_()
            window.activateWindow()
            if not window.is_connected:
                window.link.reconnect()
            return window
        window = self.windows[key] = ViewerWindow(self.context, session_id, mode, self.engine)
        window.gone.connect(lambda: self.windows.pop(key, None))
        self._keep()
        window.start()
        return window

    async def warm(self) -> None:
        """Load the engine now, so that the first viewer opens as fast as the next. Raises ``Unavailable``."""
        self._keep()
        await self.engine()

    async def engine(self) -> Engine:
        """The one engine; loaded once, whoever asks first."""
        return await asyncio.shield(self._load())

    def _load(self) -> asyncio.Task[Engine]:
        if self._engine is None or (self._engine.done() and self._engine.exception() is not None):
            folder = self.context.settings.get("viewer/novnc")
            self._engine = asyncio.get_running_loop().create_task(load(Path(folder) if folder else None))
        return self._engine

    def _keep(self) -> None:
        if self._keeper is None or self._keeper.done():
            self._keeper = self.context.spawn(self._until_the_end(), "viewers")

    async def _until_the_end(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await self.close()

    async def close(self) -> None:
        """Close every window, then the engine."""
        from app.logs import get_logger  # not before the first paint

        ends = await asyncio.gather(*(window.dismantle() for window in self.windows.values()), return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                get_logger("viewer").error("a viewer does not close", error=repr(end))
        self.windows.clear()
        engine, self._engine = self._engine, None
        if engine is not None:
            await asyncio.wait({engine})
            if engine.exception() is None:
                engine.result().close()
