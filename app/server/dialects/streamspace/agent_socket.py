"""The socket that an agent holds: ``/agent/ws?agent_id=&platform=&region=`` (seed 001, "Agent WebSocket Connection").

The document describes no login; here an agent carries a key (``X-Agent-API-Key``, a bearer's token or ``?key=``), and
what is wrong is told before the upgrade. What the frames mean is ``fleet/link.py``'s, which also bounds what waits for a
slow agent; the size of a frame and pings are the listener's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

from app.agent_protocol import CloseCode
from app.contract import PLATFORMS
from app.errors import Forbidden, Invalid, Unauthorised
from app.logs import get_logger
from app.server.access.agent_keys import carried_key
from app.server.access.requests import from_this_machine, header
from app.server.dialects.streamspace.services import StreamSpaceServices
from app.server.fleet.hop import REASON_BYTES

if TYPE_CHECKING:
    from app.server.fleet.connection import AgentConnection
    from app.server.storage.people import AgentKeyRow

log = get_logger("agents")


class AgentSocket:
    """Answers on the path; one call for each connection."""

    def __init__(self, services: StreamSpaceServices) -> None:
        self._services = services
        self._connections: dict[AgentConnection, AgentKeyRow] = {}
        """Those that came with a key."""
        services.agent_keys.subscribe(self._key_ended)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One agent, from its upgrade to its end. Raises ``CallboardError`` only before the upgrade."""
        key = self._key(scope)
        agent_id, platform, region = _who(scope)
        if key is not None and key.agent_id not in (None, agent_id):
            raise Forbidden(f"This key is for agent {key.agent_id}", code="not_permitted")

        async def send_text(frame: str) -> None:
            await send({"type": "websocket.send", "text": frame})

        async def close(code: int, reason: str) -> None:
            short = reason.encode("utf-8", "replace")[:REASON_BYTES].decode("utf-8", "ignore")
            await send({"type": "websocket.close", "code": code, "reason": short})

        client = scope.get("client") or ("", 0)
        connection = self._services.fleet.connect(
            agent_id, platform, region, send_text, close, client[0], key.id if key is not None else None
        )
        gone = self._services.viewers.tunnels.reached(connection.id, base_address(scope))
        if key is not None:
            self._connections[connection] = key
        try:
            await receive()
            await send({"type": "websocket.accept"})
            await _read(connection, receive)
        finally:
            gone()
            self._connections.pop(connection, None)
            await connection.closed()

    def _key(self, scope: Scope) -> AgentKeyRow | None:
        """The key of this request; None where an agent of this machine needs none. Raises ``Unauthorised``."""
        row = self._services.agent_keys.carried_by(scope)
        if row is not None:
            return row
        carried = carried_key(scope)
        if self._services.open_agents and not carried and from_this_machine(scope):
            return None
        if carried:
            raise Unauthorised("This agent key opens nothing here", code="token_invalid")
        raise Unauthorised("An agent needs a key", code="token_missing")

    def _key_ended(self, _: str) -> None:
        for connection, key in list(self._connections.items()):
            if not self._services.agent_keys.holds(key):
                connection.end(CloseCode.TOKEN, "The agent's key was withdrawn")


async def _read(connection: AgentConnection, receive: Receive) -> None:
    """Hand over every frame until the socket closes."""
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        text = message.get("text")
        await connection.receive(text if text is not None else message["bytes"])


def _who(scope: Scope) -> tuple[str, str, str | None]:
    """Agent, platform and region as the address says them. Raises ``Invalid``."""
    query = parse_qs(scope["query_string"].decode("latin-1"))
    given = {name: query.get(name, [""])[0] for name in ("agent_id", "platform", "region")}
    for name in ("agent_id", "platform"):
        if not given[name]:
            raise Invalid(f"{name} is missing", code="missing_required_field", detail={"field": name})
    if given["platform"] not in PLATFORMS:
        text = f"'{given['platform']}' is not a platform; platforms are {', '.join(PLATFORMS)}"
        raise Invalid(text, code="invalid_parameter", detail={"field": "platform"})
    return given["agent_id"], given["platform"], given["region"] or None


def base_address(scope: Scope) -> str:
    """How the agent reached us, which is how its tunnels will: the guard has checked the name."""
    host = header(scope, b"host") or b"127.0.0.1"
    return f"{scope['scheme']}://{host.decode('latin-1')}"
