"""The viewer as a page: a plain GET on ``/vnc-viewer/{id}`` and the files it is made of (seed 001, "VNC Proxy").

The page is the same for every session and knows nothing; its token stands in the address and opens the WebSocket. So the
files need no token. The page runs nothing but its own scripts, and its address goes to nobody.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response

from app.novnc import ASSETS, PAGE, ViewerFiles
from app.server.access.requests import header

_NO_LEAK = {
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class ViewerPage:
    """Answers for the page and its files; raises ``NotFound`` and ``Unavailable``, which the dialect words."""

    def __init__(self, novnc_folder: Path | None = None) -> None:
        self._files = ViewerFiles(novnc_folder)
        self._tags: dict[str, str] = {}

    async def page(self, request: Request) -> Response:
        """The page, whatever the session is called."""
        content, kind = self._files.read(PAGE)
        headers = {
            **_NO_LEAK,
            "content-security-policy": _policy(request),
            "cache-control": "no-store",
            "x-frame-options": "DENY",
        }
        return Response(content, headers=headers, media_type=kind)

    async def asset(self, request: Request) -> Response:
        """One of its files; what a browser has already is not sent again."""
        name = ASSETS + request.path_params["path"]
        content, kind = self._files.read(name)
        tag = self._tags.get(name)
        if tag is None:
            tag = self._tags[name] = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        headers = {**_NO_LEAK, "cache-control": "no-cache", "etag": tag}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=kind)

    def close(self) -> None:
        """Let go of the files."""
        self._files.close()


def _policy(request: Request) -> str:
    """What the page may do. Its own host is named for WebSockets, which not every browser counts as ``'self'``; the
    guard has checked that it is ours."""
    host = (header(request.scope, b"host") or b"").decode("latin-1")
    sockets = f" ws://{host} wss://{host}" if host and not set(host) & set(" ;,'\"") else ""
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'{sockets}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
