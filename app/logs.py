"""Structured logs: one JSON object per line on standard error, with secrets taken out.

Each role's main calls ``configure`` once; everybody else calls ``get_logger(area)`` and logs an event name with
fields. Standard output is never written: on ``serve`` it carries the readiness line alone. The console, which is often
started where nobody sees its standard error, also writes to a ``LogFile``.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import sys
import threading
from pathlib import Path
from typing import Any, Protocol, TextIO, cast

import msgspec
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}

SECRET_KEYS = frozenset(
    {"token", "key", "password", "authorization", "secret", "credential", "api_key", "ticket", "jwt", "tunnel_token"}
)
SECRETS_IN_TEXT = re.compile(
    r"((?:token|key|password|secret|ticket)(?:=|%3d))[^&\s\"']+|(bearer\s+)[\w.~+/=-]+|(\w+://[^/\s:@]*:)[^@\s/]+(?=@)"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*|\bcb[akt]_[\w-]{16,}",
    re.IGNORECASE,
)
"""Also our own kinds of secrets where nothing says so: users' tokens, API keys, agents' keys, viewers' tickets."""
HIDDEN = "[hidden]"
FILE_LIMIT = 2 * 1024 * 1024
"""Bytes after which a log file is put aside; the one that was put aside before is gone then."""

if sys.platform == "win32":

    def try_lock(handle: int) -> bool:
        """Files that others have open cannot be renamed there, so nobody else can be faster."""
        return handle >= 0

else:
    import fcntl

    def try_lock(handle: int) -> bool:
        """Become the one that puts this file aside; False while another does."""
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


def get_logger(area: str) -> FilteringBoundLogger:
    """A logger of one area of the program, such as ``bus`` or ``feed``."""
    return cast(FilteringBoundLogger, structlog.get_logger(area=area))


class Writable(Protocol):
    """What lines can be written to."""

    def write(self, text: str, /) -> object:
        """Write a line."""

    def flush(self) -> object:
        """Let nothing wait."""


def configure(level: str = "info", stream: TextIO | None = None, file: LogFile | None = None) -> None:
    """Send every log of this process, those of libraries too, to ``stream`` (default: standard error) and ``file``."""
    number = LEVELS[level]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact,
            structlog.processors.JSONRenderer(serializer=_serialise),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, Lasting(stream or sys.stderr, file))),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, LibraryHandler):
            root.removeHandler(handler)
    root.addHandler(LibraryHandler())
    root.setLevel(max(number, logging.WARNING))


class Lasting:
    """Streams that may break without breaking who writes to them: a program outlives the reader of its log."""

    def __init__(self, *streams: Writable | None) -> None:
        self._streams = [stream for stream in streams if stream is not None]  # a program may have no standard error

    def write(self, text: str) -> None:
        """Write, or not."""
        for stream in self._streams:
            with contextlib.suppress(OSError, ValueError):
                stream.write(text)

    def flush(self) -> None:
        """The same for what waits."""
        for stream in self._streams:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()


class LogFile:
    """A log that several processes append to and that stays small: one older file is kept beside it.

    Each line is one write to the end, so lines of two processes never mix. Whoever finds the file too long locks it,
    puts it aside and begins a new one; the others notice, at their next line, that the name is another file's.
    """

    def __init__(self, path: Path, limit: int = FILE_LIMIT) -> None:
        self.path = path
        self._limit = limit
        self._lock = threading.Lock()
        self._torn = False
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if sys.platform == "win32" and path.exists() and path.stat().st_size > limit:
            with contextlib.suppress(OSError):  # there, only a file that nobody has open can be put aside
                self._put_aside()
        self._handle = self._open()

    def fileno(self) -> int:
        """The same number for as long as it is open, whatever file it is by now."""
        return self._handle

    def write(self, text: str) -> None:
        """Append a line with its end."""
        data = text.encode("utf-8", "backslashreplace")
        with self._lock:
            self._renew(len(data))
            if self._torn:  # the disk was full: this line must not continue that one
                data = b"\n" + data
            self._torn = os.write(self._handle, data) < len(data)

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Write no more."""
        handle, self._handle = self._handle, -1
        os.close(handle)

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)

    def _renew(self, more: int) -> None:
        """Go on in the file that has the name; one that has become too long loses it first."""
        if self._has_name():
            if os.fstat(self._handle).st_size + more <= self._limit or not try_lock(self._handle):
                return
            if self._has_name():  # nobody else was faster
                try:
                    self._put_aside()
                except OSError:
                    return  # it grows, which is better than to lose the line
        new = self._open()
        os.dup2(new, self._handle, inheritable=False)
        os.close(new)
        self._torn = False

    def _put_aside(self) -> None:
        self.path.replace(self.path.with_name(f"{self.path.name}.1"))

    def _has_name(self) -> bool:
        try:
            return os.path.samestat(os.stat(self.path), os.fstat(self._handle))
        except FileNotFoundError:
            return False


class LibraryHandler(logging.Handler):
    """Carries what libraries log through the standard module into our own lines."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record under the area ``library``."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = str(record.msg)
        fields: dict[str, Any] = {"logger": record.name}
        if record.exc_info:
            fields["exc_info"] = record.exc_info
        level = max(level for level in LEVELS.values() if level <= max(record.levelno, 10))
        get_logger("library").log(level, message, **fields)


def redact(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Take tokens, keys and passwords out of a line, wherever they stand."""
    for name, value in event.items():
        event[name] = HIDDEN if name in SECRET_KEYS else _without_secrets(value)
    return event


def _without_secrets(value: Any, levels: int = 8) -> Any:
    """The same value with its texts cleaned; what nests deeper than ``levels`` is not for a log."""
    if isinstance(value, str):
        return clean(value)
    if not isinstance(value, dict | list | tuple):
        return value
    if not levels:
        return HIDDEN
    if isinstance(value, dict):
        return {
            name: HIDDEN if name in SECRET_KEYS else _without_secrets(part, levels - 1) for name, part in value.items()
        }
    return [_without_secrets(part, levels - 1) for part in value]


def clean(text: str) -> str:
    """A text without the secrets that URLs and headers carry."""
    return SECRETS_IN_TEXT.sub(lambda found: f"{found[1] or found[2] or found[3] or ''}{HIDDEN}", text)


def _serialise(event: EventDict, **_: Any) -> str:
    try:
        return msgspec.json.encode(event, enc_hook=repr).decode()
    except (UnicodeEncodeError, OverflowError, TypeError, RecursionError):  # hostile values; slower, and never refuses
        return json.dumps({name: repr(value) for name, value in event.items()})
