"""A look at a VNC server's first words: whether view-only could be enforced there, before anybody is promised it.

Made by ``viewers.py`` in a viewer's place; it greets the server and reads which security types it has. VNC servers count
who leaves without a login, so where none is wanted the login is finished; nobody is asked for a password. Serves the
StreamSpace document (seed 001, "VNC Proxy").
"""

from __future__ import annotations

import asyncio

from app.agent_protocol import CloseCode
from app.errors import CallboardError
from app.server.fleet.hop import Hop
from app.server.fleet.rfb_filter import CannotEnforce, ViewOnly

VERSION = b"RFB 003.008\n"
NO_PASSWORD = 1


class Probe:
    """Waits for a tunnel of ``agent_id``'s and for what the server says on it."""

    def __init__(self, agent_id: str) -> None:
        self.agent_id = agent_id
        self._rules = ViewOnly()
        self._entered = False
        self._tunnel: Hop | None = None
        self._found = asyncio.Event()
        self._verdict: bool | None = None

    def join(self, tunnel: Hop) -> None:
        """The agent has dialled back."""
        self._tunnel = tunnel
        tunnel.sink, tunnel.ended = self._received, self._ended

    async def verdict(self) -> bool | None:
        """Whether view-only can be enforced; None when the server did not say."""
        await self._found.wait()
        return self._verdict

    def fail(self) -> None:
        """No more will come."""
        self._conclude(None)

    def _received(self, pieces: list[bytes]) -> None:
        rules = self._rules
        try:
            _, answer = rules.passes(b"".join(pieces), b"")
            if rules.greeted and not rules.agreed:
                _, answer = rules.passes(b"", VERSION)
            elif NO_PASSWORD in rules.offers and not self._entered:
                self._entered = True
                _, more = rules.passes(b"", bytes((NO_PASSWORD,)))
                answer += more
        except CannotEnforce:
            self._conclude(False)
            return
        except CallboardError:
            self._conclude(None)
            return
        if answer and self._tunnel is not None:
            self._tunnel.send([answer])
        if rules.settled or (rules.offers and not self._entered):
            self._conclude(True if rules.offers else None)  # without types the server refuses everybody for now

    def _ended(self, _: int, __: str) -> None:
        self._conclude(None)

    def _conclude(self, verdict: bool | None) -> None:
        if not self._found.is_set():
            self._verdict = verdict
            self._found.set()
        if self._tunnel is not None:
            self._tunnel.close(CloseCode.NORMAL, "")
