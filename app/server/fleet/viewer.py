"""One viewer of a desktop: who looks at what, its relay, its pulse, and in what word its end is told.

Made by ``viewers.py``, which admits viewers, finds their tunnels and knows when they have to go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from app.agent_protocol import CloseCode
from app.contract import Gone, ViewerBeat, ViewerMode, ViewerRow
from app.server.fleet.hop import LOST, NO_CODE, Hop
from app.server.fleet.relay import Relay

SILENT_AFTER = 20.0
"""Seconds without a sign of life after which an end counts as gone."""
REASONS = {
    CloseCode.NORMAL: "closed",
    CloseCode.SHUTDOWN: "closed",
    NO_CODE: "closed",
    LOST: "closed",
    CloseCode.TOKEN: "login ended",
    CloseCode.KICKED: "kicked",
    CloseCode.SESSION_GONE: "session gone",
    CloseCode.TUNNEL_TIMEOUT: "no tunnel",
    CloseCode.ENDED: "session ended",
    CloseCode.HIBERNATED: "hibernated",
    CloseCode.REFUSED: "refused",
    CloseCode.AGENT_LOST: "agent lost",
}
"""Close code → ``Gone.reason``."""


@dataclass(frozen=True)
class Look:
    """Who wants to look at what, and how. ``until`` takes what to do when the login behind it ends; its answer lets go."""

    session_id: str
    user: str
    mode: ViewerMode
    until: Callable[[Callable[[], None]], Callable[[], None]]
    shadow: bool = False
    address: str = ""

    @property
    def counts(self) -> bool:
        """Whether this is the user at work, for the idle clock."""
        return self.mode == "control" and not self.shadow


class Viewer:
    """One viewer, from its upgrade to its end."""

    def __init__(self, row: ViewerRow, look: Look, generation: int, hop: Hop) -> None:
        self.row = row
        self.look = look
        self.generation = generation
        self.relay = Relay(hop, look.mode, self._over)
        self.settled = asyncio.Event()
        """It is joined, or over."""
        self.gone: Gone | None = None
        self.by = ""

    def join(self, tunnel: Hop) -> None:
        """The agent has dialled back."""
        self.row.open = True
        self.relay.join(tunnel)
        self.settled.set()

    def fail(self, code: int, reason: str) -> None:
        """End it from here."""
        self.relay.end(code, reason)

    def _over(self, code: int, reason: str) -> None:
        self.gone = Gone(reason=REASONS.get(code, "failed"), text=reason, by=self.by)
        self.settled.set()

    def ping(self, *, tunnel: bool) -> None:
        """Ask whether both ends are still there, the agent's only if ``tunnel``; an end that is not is cut off."""
        relay = self.relay
        if relay.viewer.silence > SILENT_AFTER:
            relay.viewer.abort()
            return
        relay.viewer.ping()
        if relay.tunnel is not None:
            if relay.tunnel.silence > SILENT_AFTER:
                relay.tunnel.abort()
            elif min(relay.viewer.held_for, relay.tunnel.held_for) > SILENT_AFTER:
                relay.viewer.abort()  # neither reads, so neither is read, and no pong could be heard
            elif tunnel:
                relay.tunnel.ping()

    def measure(self, seconds: float) -> ViewerBeat:
        """Bytes so far, bytes a second over the last ``seconds`` and the round trip in ms; kept in the row."""
        row, relay = self.row, self.relay
        down, up, rtt = relay.viewer.sent, relay.up_bytes, relay.viewer.rtt
        beat = ViewerBeat(
            open=row.open, down_bytes=down, up_bytes=up,
            down_rate=round((down - row.down_bytes) / seconds, 1), up_rate=round((up - row.up_bytes) / seconds, 1),
            rtt=round(rtt * 1000, 2) if rtt is not None else None,
        )  # fmt: skip
        for name in beat.__struct_fields__:
            setattr(row, name, getattr(beat, name))
        return beat
