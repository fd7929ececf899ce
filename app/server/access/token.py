"""The console's own token, and whether a request is a console's (ARCHITECTURE.md, "Access").

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
from collections.abc import Callable, Mapping

from starlette.types import Scope

from app.errors import ConfigError, Unauthorised
from app.paths import DataFolder, write_private
from app.server.access.principal import Principal
from app.server.access.requests import OPERATOR, bearer, operator_name, query_token
from app.server.access.tokens import Tokens

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
    """Tells consoles and their operators from everybody else: by the console's token, or an administrator's login."""

    def __init__(self, token: str, tokens: Tokens | None = None) -> None:
        self._token = token.encode()
        self._tokens = tokens

    def trust(self, tokens: Tokens) -> None:
        """Take an administrator's login for a console, too."""
        self._tokens = tokens

    def accepts(self, token: str) -> bool:
        """Whether a text is the console's token; takes the same time whatever it is."""
        return hmac.compare_digest(token.encode("utf-8", "replace"), self._token)

    def has_console_token(self, scope: Scope) -> bool:
        """Whether a request is a console's: the token is a bearer's or, on a WebSocket, ``?token=``.

        With an administrator's login the operator is that administrator, whatever the request says.
        """
        token = _carried(scope)
        if not token:
            return False
        if self.accepts(token):
            return True
        administrator = self._administrator(token)
        if administrator is None:
            return False
        scope[OPERATOR] = administrator.username
        return True

    def operator(self, scope: Scope) -> str | None:
        """The operator's name, for a request that proves to come from a console; else None."""
        if scope["type"] == "websocket" or not bearer(scope):
            return None
        return (self.has_console_token(scope) and operator_name(scope)) or None

    def on_end(self, scope: Scope, ended: Callable[[], None]) -> Callable[[], None]:
        """Call ``ended`` once when the login that a console came with ends; the answer stops that.

        The console's own token never does.
        """
        token, tokens = _carried(scope), self._tokens
        administrator = None if self.accepts(token) else self._administrator(token)
        if administrator is None or tokens is None:
            return _nothing
        return tokens.on_end(administrator, ended)

    def _administrator(self, token: str) -> Principal | None:
        if self._tokens is None or token.count(".") != 2:  # no JWT; most bearers' tokens are API keys
            return None
        try:
            principal = self._tokens.principal_of(token)
        except Unauthorised:
            return None
        return principal if principal.is_admin else None


def _carried(scope: Scope) -> str:
    return bearer(scope) or (query_token(scope) if scope["type"] == "websocket" else "")


def _nothing() -> None:
    """There is nothing to stop."""
