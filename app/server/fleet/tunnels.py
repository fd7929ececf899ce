"""Which tunnels are waited for, and where an agent is to dial.

Each viewer has a tunnel of its own, which its agent opens: the broker asks for it with ``vnc_proxy_request``, which names
an address and a token of 128 bits, good once and for 15 s. The address is the one by which the agent itself reached
the broker, since nobody else knows which of the broker's names that agent can resolve. No I/O; called by ``viewers.py``
and by the agents' sockets.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable

from app.errors import Unauthorised, Unavailable

TOKEN_SECONDS = 15.0
PATH = "/agent/tunnel/"


class Tunnels:
    """Tokens by proxy, and the agents' way to us by connection."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._waiting: dict[str, tuple[str, float]] = {}
        self._ways: dict[str, str] = {}

    def reached(self, connection_id: str, base: str) -> Callable[[], None]:
        """An agent's connection came by ``base`` (``wss://host:port``); the answer forgets that again.

        By connection, since a standby of the same agent may reach us by another name.
        """
        self._ways[connection_id] = base

        def gone() -> None:
            self._ways.pop(connection_id, None)

        return gone

    def expect(self, proxy_id: str, connection_id: str | None) -> tuple[str, str]:
        """Address and token for a tunnel of the agent on this connection; it counts from now.

        Raises ``Unavailable`` (``agent_offline``).
        """
        base = self._ways.get(connection_id or "")
        if base is None:
            raise Unavailable("The agent is not connected", code="agent_offline")
        token = secrets.token_hex(16)
        self._waiting[proxy_id] = (token, self._clock() + TOKEN_SECONDS)
        return f"{base}{PATH}{proxy_id}", token

    def claim(self, proxy_id: str, token: str) -> None:
        """Use a token up. Raises ``Unauthorised`` for one that is not waited for, of whatever reason."""
        expected, until = self._waiting.get(proxy_id, ("", 0.0))
        if not expected or self._clock() > until or not hmac.compare_digest(token.encode(), expected.encode()):
            raise Unauthorised("No tunnel is waited for with this token", code="token_invalid")
        del self._waiting[proxy_id]

    def forget(self, proxy_id: str) -> None:
        """Nobody waits for this tunnel any more."""
        self._waiting.pop(proxy_id, None)

    @property
    def waiting(self) -> int:
        """How many are waited for."""
        return len(self._waiting)
