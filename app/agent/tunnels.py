"""All tunnels of an agent: opened at the broker's request, closed with their session and with the agent.

Owned by ``agent.py``. Serves the StreamSpace document (seed 001, "VNC Proxy").
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from app.agent.options import AgentOptions
from app.agent.platform import AgentFailure, FailureCode, Platform
from app.agent.tunnel import Tunnel
from app.agent_protocol import CloseCode, VncProxyError, VncProxyRequest
from app.errors import CallboardError
from app.logs import get_logger

log = get_logger("agent.tunnel")

TUNNELS = 500
"""Tunnels at once; each costs two sockets and up to half a megabyte."""
REFUSALS = {CloseCode.HIBERNATED: FailureCode.VNC_HIBERNATED}
LOOK_AGAIN = 0.1
LOOKS = 30
"""Longer than a supervisor waits for what is left of its session once the display is gone."""


class Tunnels:
    """Tunnels by proxy id."""

    def __init__(self, options: AgentOptions, platform: Platform, tell: Callable[[VncProxyError], object]) -> None:
        self._options = options
        self._platform = platform
        self._tell = tell
        self._tls = options.tls()
        self._open: dict[str, tuple[str, Tunnel]] = {}
        self._opening: dict[str, tuple[VncProxyRequest, Tunnel, asyncio.Task[None]]] = {}

    def __len__(self) -> int:
        return len(self._open)

    def request(self, request: VncProxyRequest) -> None:
        """Open one; a repeated request is the same one."""
        proxy_id = request.proxy_id
        if proxy_id in self._open or proxy_id in self._opening:
            return
        if len(self._open) + len(self._opening) >= TUNNELS:
            self._refuse(request, AgentFailure(f"this agent has {TUNNELS} viewers", FailureCode.VNC_CONNECT))
            return
        tunnel = Tunnel(lambda: self._rfb_lost(proxy_id, request.session_id))
        task = asyncio.get_running_loop().create_task(self._dial(request, tunnel), name=f"tunnel {proxy_id}")
        self._opening[proxy_id] = request, tunnel, task
        task.add_done_callback(lambda _: self._opening.pop(proxy_id, None))

    def close_session(self, session_id: str, code: int, reason: str) -> None:
        """Every viewer of a session that is frozen or gone, also one that is on its way in."""
        for request, tunnel, opening in list(self._opening.values()):
            if request.session_id == session_id and opening.cancel():
                tunnel.close(code, reason)
                self._refuse(request, AgentFailure(reason, REFUSALS.get(code, FailureCode.VNC_NOT_FOUND)))
        for owner, tunnel in list(self._open.values()):
            if owner == session_id:
                tunnel.close(code, reason)

    async def stop(self) -> None:
        """Close everything."""
        opening = [task for _, _, task in self._opening.values()]
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        for _, tunnel in list(self._open.values()):
            tunnel.close(CloseCode.SHUTDOWN, "the agent ends")
        await asyncio.sleep(0)

    async def _dial(self, request: VncProxyRequest, tunnel: Tunnel) -> None:
        try:
            said = request.data.get("tunnel_url") or request.data.get("tunnel_path") or ""
            url = self._options.tunnel_url(str(said), request.proxy_id)
            address = await self._platform.rfb_address(request.session_id)
            await tunnel.open(address, url, str(request.data.get("tunnel_token") or ""), self._tls)
        except AgentFailure as failure:
            self._refuse(request, failure)
            return
        except CallboardError as error:
            self._refuse(request, AgentFailure(error.message, FailureCode.VNC_CONNECT))
            return
        except Exception as error:
            log.exception("a tunnel failed unexpectedly", session=request.session_id)
            self._refuse(request, AgentFailure(f"{type(error).__name__}: {error}", FailureCode.VNC_CONNECT))
            return
        self._open[request.proxy_id] = (request.session_id, tunnel)
        tunnel.closed.add_done_callback(lambda _: self._closed(request, tunnel))
        log.debug("viewer", session=request.session_id, proxy=request.proxy_id)

    def _rfb_lost(self, proxy_id: str, session_id: str, looks: int = LOOKS) -> None:
        """The desktop closed a connection: tell a session that ends, which we hear of in a moment, from a refusal."""
        entry = self._open.get(proxy_id)
        if entry is None:
            return
        if not any(held.session_id == session_id and held.state == "running" for held in self._platform.held()):
            entry[1].close(CloseCode.ENDED, "the session ended")
        elif looks:
            asyncio.get_running_loop().call_later(LOOK_AGAIN, self._rfb_lost, proxy_id, session_id, looks - 1)
        else:
            entry[1].close(CloseCode.REFUSED, "the VNC server closed the connection")

    def _closed(self, request: VncProxyRequest, tunnel: Tunnel) -> None:
        self._open.pop(request.proxy_id, None)
        log.debug("viewer gone", session=request.session_id, proxy=request.proxy_id, down=tunnel.down, up=tunnel.up)

    def _refuse(self, request: VncProxyRequest, failure: AgentFailure) -> None:
        log.warning("no tunnel", session=request.session_id, error=failure.message, code=failure.code)
        self._tell(
            VncProxyError(
                proxy_id=request.proxy_id,
                session_id=request.session_id,
                error=failure.message,
                error_code=failure.code,
            )
        )
