"""Sockets and pages beside the operations: agents, their tunnels, viewers (seed 001, "VNC Proxy", "WebSocket Protocol").

The document has their paths at the root in its examples and calls them endpoints like the others; they are served in
both places. Everything that is wrong is told before the upgrade, in the envelope: ``application.py`` renders what is
raised here. After it, viewers and tunnels are hops of ``fleet/viewers.py``, which takes the transports over.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send

from app.agent_protocol import TUNNEL_PROTOCOL
from app.contract import ViewerMode
from app.errors import CallboardError, Forbidden, Invalid, NotFound, Unsupported
from app.server.access.requests import bearer
from app.server.access.tickets import is_ticket
from app.server.dialects.streamspace.agent_socket import AgentSocket
from app.server.dialects.streamspace.services import StreamSpaceServices
from app.server.dialects.streamspace.viewer_page import ViewerPage
from app.server.fleet.viewer import Look
from app.server.listeners import TAKE_OVER

if TYPE_CHECKING:
    from app.server.fleet.hop import Hop
    from app.server.listeners import Successor

PLACES = ("", "/api/v1")
BINARY = "binary"
"""What noVNC's older pages offer; a browser fails where an offered protocol is not answered, and where one is that was
not offered."""
_PROXY = re.compile(r"proxy-[0-9a-f]{16}")


def routes(services: StreamSpaceServices) -> list[BaseRoute]:
    """Every route that is no operation."""
    agents, tunnels, viewers = AgentSocket(services), TunnelSocket(services), ViewerSocket(services)
    page = ViewerPage(services.novnc_folder)
    found: list[BaseRoute] = []
    for place in PLACES:
        found += [
            WebSocketRoute(f"{place}/agent/ws", agents),
            WebSocketRoute(f"{place}/agent/tunnel/{{proxy_id}}", tunnels),
            WebSocketRoute(f"{place}/vnc-viewer/{{session_id}}", viewers),
            Route(f"{place}/vnc-viewer/assets/{{path:path}}", page.asset),
            Route(f"{place}/vnc-viewer/{{session_id}}", page.page),
        ]
    return found


class TunnelSocket:
    """``/agent/tunnel/{proxy_id}``: an agent dials back, with the token of its ``vnc_proxy_request``."""

    def __init__(self, services: StreamSpaceServices) -> None:
        self._viewers = services.viewers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One tunnel, from its upgrade to its end. Raises ``CallboardError`` only before the upgrade."""
        take_over = _take_over(scope)
        proxy_id = scope["path_params"]["proxy_id"]
        self._viewers.claim(proxy_id if _PROXY.fullmatch(proxy_id) else "", bearer(scope))
        hop = self._viewers.hop()
        await _accept(scope, receive, send, TUNNEL_PROTOCOL)
        take_over(hop)
        await self._viewers.tunnel(proxy_id, hop)


class ViewerSocket:
    """``/vnc-viewer/{session_id}?token=``: a person looks, with a login's token or a ticket for this one session."""

    def __init__(self, services: StreamSpaceServices) -> None:
        self._services = services
        self._viewers = services.viewers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One viewer, from its upgrade to its end. Raises ``CallboardError`` only before the upgrade."""
        take_over = _take_over(scope)
        look, ticket = self._look(scope)
        self._viewers.admit(look.session_id, look.user)
        if ticket:
            self._services.tokens.redeem_ticket(ticket, look.session_id)
        hop = self._viewers.hop()
        await _accept(scope, receive, send, BINARY)
        take_over(hop)
        await self._viewers.serve(hop, look)

    def _look(self, scope: Scope) -> tuple[Look, str]:
        """Who wants to look at what; and the ticket, where there is one. Raises ``CallboardError``."""
        services = self._services
        desktops, session_id = services.fleet.desktops, scope["path_params"]["session_id"]
        if session_id not in desktops:
            session_id = session_id.lower()
        text = services.callers.token(scope)
        if is_ticket(text):
            ticket = services.tokens.peek_ticket(text, session_id)
            principal, mode, shadow = ticket.principal, ticket.mode, ticket.shadow
        else:
            text = ""
            principal = services.callers.caller(scope)
            mode, shadow = _mode(scope), False
        row = desktops.get(session_id)
        if row is None:
            raise NotFound(f"No session with ID '{session_id}' exists", code="session_not_found")
        if not principal.is_admin and row.user != principal.username:
            raise Forbidden("This session is somebody else's", code="not_permitted")
        client = scope.get("client") or ("", 0)
        look = Look(
            session_id=session_id, user=principal.username, mode=mode,
            until=lambda ended: services.tokens.on_end(principal, ended),
            shadow=shadow or (mode == "view" and row.user != principal.username), address=client[0],
        )  # fmt: skip
        return look, text


def _mode(scope: Scope) -> ViewerMode:
    """``?mode=view`` is a wish that the broker enforces; without it a viewer is what the document knows."""
    mode = parse_qs(scope["query_string"].decode("latin-1")).get("mode", ["control"])[0]
    if mode == "view":
        return "view"
    if mode == "control":
        return "control"
    raise Invalid("mode is view or control", code="invalid_parameter", detail={"field": "mode"})


def _take_over(scope: Scope) -> Callable[[Successor | Hop], None]:
    """The listener's way of handing a transport over."""
    take_over: Callable[[Successor | Hop], None] | None = scope.get("extensions", {}).get(TAKE_OVER)
    if take_over is None:
        raise Unsupported("This listener cannot carry desktops")
    return take_over


async def _accept(scope: Scope, receive: Receive, send: Send, protocol: str) -> None:
    """Upgrade; the protocol is answered only where it was offered."""
    if (await receive())["type"] != "websocket.connect":
        raise CallboardError("The client went away", code="unavailable")
    answered = protocol if protocol in scope.get("subprotocols", ()) else None
    await send({"type": "websocket.accept", "subprotocol": answered})
