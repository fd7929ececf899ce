"""Structured logs: one JSON object per line on standard error, with secrets taken out.

Each role's main calls ``configure`` once; everybody else calls ``get_logger(area)`` and logs an event name with
fields. Standard output is never written: on ``serve`` it carries the readiness line alone.
"""

from __future__ import annotations

import contextlib
import json
import logging
import re
import sys
from typing import Any, TextIO, cast

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


def get_logger(area: str) -> FilteringBoundLogger:
    """A logger of one area of the program, such as ``bus`` or ``feed``."""
    return cast(FilteringBoundLogger, structlog.get_logger(area=area))


def configure(level: str = "info", stream: TextIO | None = None) -> None:
    """Send every log of this process, those of libraries too, to ``stream`` (default: standard error)."""
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
        logger_factory=structlog.WriteLoggerFactory(file=cast(TextIO, Lasting(stream or sys.stderr))),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in list(root.handlers):
        if isinstance(handler, LibraryHandler):
            root.removeHandler(handler)
    root.addHandler(LibraryHandler())
    root.setLevel(max(number, logging.WARNING))


class Lasting:
    """A stream that may break without breaking who writes to it: a program outlives the reader of its log."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write, or not."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        """The same for what waits."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


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
