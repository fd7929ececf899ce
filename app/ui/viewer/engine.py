"""Loading Qt's web engine: what has to be said before the application exists, and the loading itself afterwards.

``main.py`` calls ``prepare`` before it makes the ``QApplication``; ``desk.py`` calls ``load`` when the first viewer
opens or ``warm.py`` finds a quiet moment before. The engine refuses to run as root with its sandbox, so it is switched
off then and only then.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QCoreApplication, Qt

from app.errors import Unavailable

if TYPE_CHECKING:
    from app.ui.viewer.web import Engine

MODULES = (
    "PySide6.QtWebEngineCore",
    "PySide6.QtWebChannel",
    "PySide6.QtWebEngineWidgets",
    "app.ui.viewer.web",
)


def prepare() -> None:
    """Before the ``QApplication``: without this the engine cannot be loaded after it."""
    QCoreApplication.setAttribute(Qt.ApplicationAttribute.AA_ShareOpenGLContexts)


async def import_modules() -> None:
    """Import what the engine is in a thread, while the window answers. Raises ``Unavailable``."""
    try:
        for name in MODULES:
            await asyncio.to_thread(importlib.import_module, name)
    except ImportError as error:
        raise Unavailable(f"Qt's web engine cannot be loaded on this machine: {error}") from error


async def load(novnc_folder: Path | None = None) -> Engine:
    """Load the engine and make its profile, which holds the Qt thread up for some tenths of a second."""
    if getattr(os, "geteuid", lambda: 1)() == 0:
        os.environ.setdefault("QTWEBENGINE_DISABLE_SANDBOX", "1")
    await import_modules()
    from app.ui.viewer.web import Engine

    return Engine(novnc_folder)
