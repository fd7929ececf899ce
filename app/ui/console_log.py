"""The console's own log: ``console.log`` in the data folder's ``logs``, beside standard error, and what goes into it.

Made by ``main.py`` before anything else, since a console that was started from the desktop has no standard error that
anybody reads. From then on whatever Qt says and whatever nobody caught is written down too; the console itself sets the
logs up when the window is there (``set_up``), or the first thing that has to be written down does.
"""

from __future__ import annotations

import faulthandler
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from PySide6.QtCore import QMessageLogContext, QtMsgType, qInstallMessageHandler

from app.paths import log_dir

if TYPE_CHECKING:
    from app.logs import LogFile

NAME = "console.log"
MOST_LATER = 32
"""Lines that may come up while one is being written, such as what Qt says of an object that goes just then."""
QT_LEVELS = {
    QtMsgType.QtDebugMsg: 10,
    QtMsgType.QtInfoMsg: 20,
    QtMsgType.QtWarningMsg: 30,
    QtMsgType.QtCriticalMsg: 40,
    QtMsgType.QtFatalMsg: 40,
}


class _Line:
    """Writes lines to ``write``. Those that the writing itself brings about come after the one that is under way: its
    locks are this thread's own, so to write them at once would wait for ever."""

    def __init__(self, write: Callable[[str], None], thread: threading.local) -> None:
        self._write = write
        self._thread = thread

    def msg(self, line: str) -> None:
        """Write a line now, or after the one that this thread is writing."""
        later: list[str] | None = getattr(self._thread, "later", None)
        if later is not None:
            if len(later) < MOST_LATER:
                later.append(line)
            return
        self._thread.later = later = []
        try:
            self._write(line)
            for one in later:  # it may grow meanwhile
                self._write(one)
        finally:
            self._thread.later = None

    debug = info = warning = error = critical = msg


class ConsoleLog:
    """See the module's docstring. ``trouble`` says why there is no file, once ``set_up`` was called."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self.path = log_dir(data_dir) / NAME
        self.trouble = ""
        self._file: LogFile | None = None
        self._is_set_up = False
        self._watches = False
        self._before = (sys.excepthook, threading.excepthook)

    @property
    def where(self) -> str:
        """Where the log is, as a sentence for people."""
        return self.trouble or f"The log of this console is {self.path}"

    def watch(self) -> None:
        """From now on nothing that Qt says or that nobody caught is lost."""
        self._watches = True
        _dump_to_stderr()
        sys.excepthook = self._uncaught
        threading.excepthook = self._uncaught_in_thread
        qInstallMessageHandler(self._qt_says)

    def set_up(self) -> None:
        """Send logs to the file too; a file that cannot be written costs no more than itself."""
        if self._is_set_up:
            return
        self._is_set_up = True
        from app import logs

        try:
            self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = logs.LogFile(self.path)
        except OSError as error:
            self.trouble = f"This console writes no log file: {self.path}: {error.strerror}"
        logs.configure(file=self._file)
        self._write_in_turn()
        log = logs.get_logger("console")
        if self._file is None:
            log.warning("no log file", path=str(self.path), reason=self.trouble)
        elif self._watches and (sys.stderr is None or not sys.stderr.isatty()):
            faulthandler.enable(self._file)  # a crash of the interpreter itself

    def _write_in_turn(self) -> None:
        """From now on a line never waits for another of its own thread."""
        import structlog

        inner, thread = structlog.get_config()["logger_factory"], threading.local()
        structlog.configure(logger_factory=lambda *args: _Line(inner(*args).msg, thread))

    def died(self, error: Exception) -> None:
        """The console ends by an error; whoever called it says so too."""
        self._say(40, "console", "ended by an error", exc_info=error)

    def close(self) -> None:
        """The end of the program; later words go to standard error alone."""
        if self._watches:
            self._watches = False
            qInstallMessageHandler(None)
            sys.excepthook, threading.excepthook = self._before
            _dump_to_stderr()
        if self._file is not None:
            from app import logs

            logs.configure()
            self._file.close()
            self._file = None

    def _say(self, level: int, area: str, event: str, **fields: object) -> None:
        self.set_up()
        from app.logs import get_logger

        get_logger(area).log(level, event, **fields)

    def _uncaught(self, kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not issubclass(kind, KeyboardInterrupt):
            self._say(40, "console", "uncaught", exc_info=(kind, error, trace))
        self._before[0](kind, error, trace)

    def _uncaught_in_thread(self, told: threading.ExceptHookArgs) -> None:
        if told.exc_value is not None:
            thread = told.thread.name if told.thread is not None else ""
            caught = (told.exc_type, told.exc_value, told.exc_traceback)
            self._say(40, "console", "uncaught in a thread", thread=thread, exc_info=caught)
        self._before[1](told)

    def _qt_says(self, kind: QtMsgType, context: QMessageLogContext, text: str) -> None:
        category = context.category
        self._say(QT_LEVELS.get(kind, 30), "qt", text, category=category if category != "default" else "")


def _dump_to_stderr() -> None:
    """What is left of a crash of the interpreter goes to standard error, where there is one."""
    if sys.stderr is None:
        faulthandler.disable()
    else:
        faulthandler.enable()
