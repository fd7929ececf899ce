"""Who calls: one answer for every way in which a request proves it.

Called by the StreamSpace dialect on each request. A bearer's token is the console's own or a user's; a WebSocket and the
viewer's page, which a browser opens without headers, may carry it as ``?token=``.
"""

from __future__ import annotations

from starlette.types import Scope

from app.server.access.principal import Principal
from app.server.access.requests import bearer, operator_name, query_token
from app.server.access.token import Access
from app.server.access.tokens import Tokens

PAGES = ("/vnc-viewer/", "/api/v1/vnc-viewer/")
CONSOLE = "console"
"""Name of a console that does not say who sits at it."""


class Callers:
    """See the module's docstring."""

    def __init__(self, access: Access, tokens: Tokens) -> None:
        self._access = access
        self._tokens = tokens

    def caller(self, scope: Scope) -> Principal:
        """Who makes this request. Raises ``Unauthorised`` (``token_missing``, ``token_expired``, ``token_invalid``)."""
        token = self.token(scope)
        if token and self._access.accepts(token):
            return Principal("console", "", operator_name(scope) or CONSOLE, "admin")
        return self._tokens.principal_of(token)

    def token(self, scope: Scope) -> str:
        """The token that a request carries, of whatever kind; empty where there is none."""
        return bearer(scope) or (query_token(scope) if _takes_query(scope) else "")


def _takes_query(scope: Scope) -> bool:
    return scope["type"] == "websocket" or bool(scope["method"] == "GET" and scope["path"].startswith(PAGES))
