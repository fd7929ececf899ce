"""One viewer and its tunnel, joined: payload across, backpressure across, close codes across.

Built by ``viewers.py``; no timers and no rows here. In control mode bytes pass untouched from hop to hop. In view-only
mode what the viewer says goes through ``rfb_filter.py``, and so does the server's side of the handshake. Serves the
StreamSpace document (seed 001, "VNC Proxy": "Bidirectional data relay").
"""

from __future__ import annotations

from collections.abc import Callable

from app.agent_protocol import TUNNEL_FRAME, CloseCode
from app.contract import ViewerMode
from app.errors import CallboardError
from app.logs import get_logger
from app.server.fleet.hop import LOST, NO_CODE, Hop
from app.server.fleet.rfb_filter import CannotEnforce, ViewOnly

log = get_logger("viewers")

GONE_REASON = "The viewer went away"
LOST_REASON = "The connection to the agent broke"

Over = Callable[[int, str], None]


class Relay:
    """``over`` is told once with the code and the reason that the viewer's side ended with."""

    def __init__(self, viewer: Hop, mode: ViewerMode, over: Over) -> None:
        self.viewer = viewer
        self.tunnel: Hop | None = None
        self._filter = ViewOnly() if mode == "view" else None
        self._over: Over | None = over
        viewer.sink = self._too_early
        viewer.ended = self._viewer_ended

    def join(self, tunnel: Hop) -> None:
        """Let bytes pass from now on."""
        viewer = self.viewer
        self.tunnel = tunnel
        viewer.full, viewer.drained = tunnel.hold, tunnel.release
        tunnel.full, tunnel.drained = viewer.hold, viewer.release
        tunnel.ended = self._tunnel_ended
        if self._filter is None:
            tunnel.sink, viewer.sink = viewer.send, self._up
        else:
            tunnel.sink, viewer.sink = self._down_filtered, self._up_filtered

    def end(self, code: int, reason: str) -> None:
        """End both sides with this."""
        self.viewer.close(code, reason)
        if self.tunnel is not None:
            self.tunnel.close(code, reason)
        self._tell(code, reason)

    @property
    def up_bytes(self) -> int:
        """Bytes that have gone on to the desktop."""
        return self.tunnel.sent if self.tunnel is not None else 0

    # --- bytes ----------------------------------------------------------------------------------------------------

    def _too_early(self, _: list[bytes]) -> None:
        self.end(CloseCode.INTERNAL, "A VNC server speaks first")

    def _up(self, pieces: list[bytes]) -> None:
        """To the agent, whose frames are kept at 64 KiB."""
        tunnel = self.tunnel
        if tunnel is None:
            return
        if sum(map(len, pieces)) <= TUNNEL_FRAME:
            tunnel.send(pieces)
            return
        whole = memoryview(b"".join(pieces))
        for at in range(0, len(whole), TUNNEL_FRAME):
            tunnel.send([bytes(whole[at : at + TUNNEL_FRAME])])

    def _up_filtered(self, pieces: list[bytes]) -> None:
        self._pass(b"", b"".join(pieces))

    def _down_filtered(self, pieces: list[bytes]) -> None:
        self._pass(b"".join(pieces), b"")

    def _pass(self, down: bytes, up: bytes) -> None:
        """Through the filter, both ways, since each side may wait for the other."""
        rules, tunnel = self._filter, self.tunnel
        if rules is None or tunnel is None:
            return
        try:
            down, up = rules.passes(down, up)
        except CannotEnforce as error:
            self.end(CloseCode.REFUSED, error.message)
            return
        except CallboardError as error:
            log.warning("a view-only viewer was closed", reason=error.message)
            self.end(CloseCode.INTERNAL, error.message)
            return
        if up:
            self._up([up])
        if down:
            self.viewer.send([down])
        if rules.settled:
            tunnel.sink = self.viewer.send

    # --- ends -----------------------------------------------------------------------------------------------------

    def _viewer_ended(self, code: int, reason: str) -> None:
        if self.tunnel is not None:
            self.tunnel.close(*(_across(code, reason) if code != LOST else (CloseCode.SHUTDOWN, GONE_REASON)))
        self._tell(code, reason or (GONE_REASON if code == LOST else ""))

    def _tunnel_ended(self, code: int, reason: str) -> None:
        across = _across(code, reason) if code != LOST else (CloseCode.AGENT_LOST, LOST_REASON)
        self.viewer.close(*across)
        self._tell(*across)

    def _tell(self, code: int, reason: str) -> None:
        over, self._over = self._over, None
        if over is not None:
            over(code, reason)


def _across(code: int, reason: str) -> tuple[int, str]:
    """A close code as the other side gets it: those that are about the desktop as they are, others as 1011."""
    if code == NO_CODE:
        return CloseCode.NORMAL, reason
    if code in (CloseCode.NORMAL, CloseCode.SHUTDOWN, CloseCode.INTERNAL) or code >= 3000:
        return code, reason
    return CloseCode.INTERNAL, reason
