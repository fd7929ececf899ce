"""The console's own token, and whether a request carries it (ARCHITECTURE.md, "Access").

A console that starts its broker writes the token to its standard input; a broker started otherwise keeps the
token it has or makes one. ``<data>/console.token`` (0600) is where an adopting console and the one-line verbs
find it. Called by ``main.py``; ``Access`` is what dialects and the console's routes ask.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
import threading
from collections.abc import Mapping

from starlette.types import Scope

from app.errors import ConfigError
from app.paths import DataFolder, write_private
from app.server.access.requests import bearer, operator_name, query_token

TOKEN_SHAPE = re.compile(r"[A-Za-z0-9._~+/=-]{16,256}")
STDIN_VARIABLE = "CALLBOARD_TOKEN_STDIN"
STDIN_WITHIN = 5.0
LINE_LIMIT = 1024


def establish_token(folder: DataFolder, environ: Mapping[str, str], stdin: int = 0) -> str:
    """The token of this run, written to the data folder; ``stdin`` is a descriptor. Raises ``ConfigError``."""
    if environ.get(STDIN_VARIABLE) == "1":
        token = _read_line(stdin)
        if not TOKEN_SHAPE.fullmatch(token):
            raise ConfigError(f"{STDIN_VARIABLE}: the line on standard input is not a token of 16 to 256 characters.")
    else:
        token = _kept(folder) or secrets.token_urlsafe(32)
    write_private(folder.token, token.encode() + b"\n")
    return token


def _kept(folder: DataFolder) -> str | None:
    try:
        token = folder.token.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return token if TOKEN_SHAPE.fullmatch(token) else None


def _read_line(stdin: int) -> str:
    """One line, from a parent that may have died before it wrote, or never write.

    Read from the bare descriptor: a thread left behind in a buffered reader would abort the process at its exit.
    """
    lines: list[str] = []

    def read() -> None:
        data = b""
        while not data.endswith(b"\n") and len(data) <= LINE_LIMIT and (more := os.read(stdin, 1)):
            data += more
        lines.append(data.decode("ascii", "replace").strip())

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(STDIN_WITHIN)
    if not lines:
        raise ConfigError(f"{STDIN_VARIABLE}: no token came on standard input within {STDIN_WITHIN:g} s.")
    return lines[0]


class Access:
    """Tells the console and its operator from everybody else."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()

    def accepts(self, token: str) -> bool:
        """Whether a text is the console's token; takes the same time whatever it is."""
        return hmac.compare_digest(token.encode("utf-8", "replace"), self._token)

    def has_console_token(self, scope: Scope) -> bool:
        """Whether a request carries the token, as a bearer's or, on a WebSocket, as ``?token=``."""
        token = bearer(scope) or (query_token(scope) if scope["type"] == "websocket" else "")
        return bool(token) and self.accepts(token)

    def operator(self, scope: Scope) -> str | None:
        """The operator's name, for a request that proves to come from a console; else None."""
        name = operator_name(scope)
        if not name:
            return None
        token = bearer(scope)
        return name if token and self.accepts(token) else None
