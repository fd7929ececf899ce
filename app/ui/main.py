"""The console's composition root: from the command line to a painted window, and from its end to an exit status.

Called by ``app/cli.py``. Nothing that is not needed to paint is imported here or by what is imported here: pyqtgraph,
numpy, httpx, websockets, keyring and the web engine come after the first paint. ``CALLBOARD_STARTUP_PROBE=1`` makes the program say
``painted <time.monotonic()>`` on standard error at the first paint and quit, which is what the benchmark measures.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from PySide6.QtWidgets import QApplication

from app.paths import config_dir
from app.ui.console_log import ConsoleLog
from app.ui.loop import run
from app.ui.viewer.engine import prepare


def main(
    broker: str | None,
    data_dir: Path,
    serve_options: Sequence[str] = (),
    *,
    demo: bool = False,
    config: Path | None = None,
) -> int:
    """Run the console until its window is closed; the exit status."""
    log = ConsoleLog(data_dir)
    log.watch()
    try:
        app = application()
        folder = config or (data_dir if demo else config_dir())
        return run(console(app, log, broker, data_dir, serve_options, folder / "console.ini", demo=demo), app)
    except Exception as error:
        log.died(error)
        raise
    finally:
        log.close()


def application() -> QApplication:
    """The one ``QApplication``, named so that the desktop knows it."""
    existing = QApplication.instance()
    if isinstance(existing, QApplication):
        return existing
    QApplication.setDesktopFileName("callboard")
    prepare()
    app = QApplication(sys.argv[:1])
    app.setApplicationName("Callboard")
    app.setQuitOnLastWindowClosed(False)
    return app


async def console(
    app: QApplication,
    log: ConsoleLog,
    broker: str | None,
    data_dir: Path,
    serve_options: Sequence[str],
    settings_file: Path,
    *,
    demo: bool = False,
) -> int:
    """The console itself; cancelled or closed, it leaves the broker running."""
    import asyncio

    from app.ui.console import Console, on_terminate
    from app.ui.settings import Settings

    one = Console(app, Settings(settings_file), data_dir, serve_options, log=log, demo=demo)
    if os.environ.get("CALLBOARD_STARTUP_PROBE"):
        one.window.painted.connect(lambda: _probe(one.closed))
    on_terminate(asyncio.get_running_loop(), one.leave_now)
    one.show()
    await one.run(broker)
    return 0


def _probe(closed: object) -> None:
    sys.stderr.write(f"painted {time.monotonic()}\n")
    sys.stderr.flush()
    os._exit(0)
