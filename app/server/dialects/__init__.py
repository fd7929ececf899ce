"""What a dialect is to the floor, and how the dialects of one port share it.

``main.py`` builds one ``Dialect`` per folder here and one ``Port`` per listener; the guard asks the port how the
dialect of a path words its refusals.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send


@dataclass(frozen=True)
class Dialect:
    """One API: its application, the paths it owns (an empty prefix: all others) and its error format.

    ``login``: it has a login of its own, and its requests carry secrets. ``refuse_request`` words a refusal that
    needs the request, where ``refuse`` alone does not do.
    """

    name: str
    app: ASGIApp
    refuse: Callable[[str, str], Response]
    prefixes: tuple[str, ...]
    openapi: Callable[[], dict[str, Any]]
    refuse_request: Callable[[Scope, str, str], Response] | None = None
    login: bool = False


class Port:
    """The dialects of one listener as one ASGI application; the first whose prefix fits gets the request."""

    def __init__(self, dialects: Sequence[Dialect]) -> None:
        self.dialects = tuple(dialects)
        routes = [(prefix, dialect) for dialect in dialects for prefix in dialect.prefixes]
        self._routes = sorted(routes, key=lambda route: not route[0])  # what is left over is matched last

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass a request to its dialect."""
        return self.dialect_of(scope["path"]).app(scope, receive, send)

    def dialect_of(self, path: str) -> Dialect:
        """Whose path this is."""
        for prefix, dialect in self._routes:
            if path.startswith(prefix):
                return dialect
        return self.dialects[-1]

    def refuse(self, scope: Scope, code: str, message: str) -> Response:
        """An error in the format of the path's dialect."""
        dialect = self.dialect_of(scope["path"])
        if dialect.refuse_request is not None:
            return dialect.refuse_request(scope, code, message)
        return dialect.refuse(code, message)

    @property
    def logins(self) -> tuple[str, ...]:
        """Paths of the dialects that have a login of their own."""
        return tuple(prefix for dialect in self.dialects if dialect.login for prefix in dialect.prefixes)

    def openapi(self, title: str, version: str) -> dict[str, Any]:
        """One document for all dialects; schemas of one name must be equal, or carry their dialect's name."""
        paths: dict[str, Any] = {}
        components: dict[str, dict[str, Any]] = {}
        for dialect in self.dialects:
            document = dialect.openapi()
            for path, operations in document.get("paths", {}).items():
                paths.setdefault(path, {}).update(operations)
            for kind, entries in document.get("components", {}).items():
                known = components.setdefault(kind, {})
                for name, entry in entries.items():
                    if known.setdefault(name, entry) != entry:
                        raise ValueError(f"{dialect.name} describes {kind}/{name} otherwise than another dialect")
        return {
            "openapi": "3.1.0",
            "info": {"title": title, "version": version},
            "paths": paths,
            "components": components,
        }
