"""People who look at desktops: admitted, joined with a tunnel of their agent, measured, and closed with a reason.

Called by the StreamSpace dialect (seed 001, "VNC Proxy"), which brings the sockets, and by the console's routes, which
kick. Each viewer has one tunnel; several may look at one desktop. The viewer is let in at once, since a VNC server speaks
first, and closed when the agent has not dialled back in time, or when its session, its agent or its login ends.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from app.agent_protocol import CloseCode, VncProxyError, VncProxyRequest
from app.contract import AgentRow, DesktopRow, Gone, ViewerMode, ViewerRow
from app.errors import CallboardError, Conflict, Forbidden, NotFound, Unavailable
from app.logs import get_logger
from app.server.events import EventLog, Published
from app.server.fleet.hop import READ_SIZE, Hop
from app.server.fleet.probe import Probe
from app.server.fleet.rfb_filter import KNOWN_TYPES, REFUSAL
from app.server.fleet.tunnels import Tunnels
from app.server.fleet.viewer import Look, Viewer
from app.server.tasks import TaskTree

log = get_logger("viewers")

DIAL_BACK_WITHIN = 10.0
PROBE_WITHIN = 5.0
BEAT_EVERY = 1.0
PING_TUNNEL_EVERY = 20
"""Beats between two pings of a tunnel; a viewer is pinged at each beat, which measures its round trip."""
REFUSED_FOR = 60.0
"""Seconds that a user who was kicked may not look at that session."""
MOST_WORDS = 500
"""Characters of an agent's error that are told."""
MOST_VIEWERS = 32
"""At one desktop at once."""
PROXY_CODES = {
    "VNC_NOT_FOUND": CloseCode.SESSION_GONE,
    "VNC_HIBERNATED": CloseCode.HIBERNATED,
}
"""What an agent that cannot open a desktop says → the viewer's close code; 4502 for everything else."""


class Desktops(Protocol):
    """What viewers need of the fleet; ``registry.Fleet``."""

    on_proxy_error: list[Callable[[str, VncProxyError], None]]
    """Told the agent's id and what it says when it cannot open a desktop."""

    def vnc_target(self, session_id: str) -> tuple[DesktopRow, AgentRow]:
        """The desktop and its agent. Raises where there is nothing to look at."""

    async def send_proxy_request(self, agent_id: str, message: VncProxyRequest) -> None:
        """Ask the agent for a tunnel. Raises ``Unavailable``."""

    def viewer_opened(self, session_id: str, counts_as_activity: bool) -> None:
        """Somebody looks."""

    def viewer_closed(self, session_id: str, counts_as_activity: bool) -> None:
        """Somebody looks no longer."""


class Viewers:
    """See the module's docstring."""

    def __init__(
        self,
        fleet: Desktops,
        events: EventLog,
        tasks: TaskTree,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        dial_back_within: float = DIAL_BACK_WITHIN,
    ) -> None:
        self.tunnels = Tunnels(clock=monotonic)
        self._fleet = fleet
        self._events = events
        self._tasks = tasks
        self._clock = clock
        self._monotonic = monotonic
        self._dial_back_within = dial_back_within
        self._buffer = bytearray(READ_SIZE)
        self._viewers: dict[str, Viewer] = {}
        self._probes: dict[str, Probe] = {}
        self._refused: dict[tuple[str, str], tuple[float, str]] = {}
        self._enforceable: dict[str, tuple[int, bool]] = {}
        """By session: its generation, and whether view-only can be enforced there."""
        self._beats = 0
        self._unsubscribe: Callable[[], None] = lambda: None

    # --- life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen, and measure once a second."""
        self._unsubscribe = self._events.subscribe(self._heard, "desktop.changed", "desktop.removed", "agent.changed")
        self._fleet.on_proxy_error.append(self.proxy_failed)
        self._tasks.spawn("viewers", self._beat_for_ever, restart="on_failure", kind="watch")

    def stop(self) -> None:
        """Close every viewer: the broker stops."""
        self._unsubscribe()
        if self.proxy_failed in self._fleet.on_proxy_error:
            self._fleet.on_proxy_error.remove(self.proxy_failed)
        for viewer in list(self._viewers.values()):
            viewer.fail(CloseCode.SHUTDOWN, "The broker stops")

    def rows(self) -> list[ViewerRow]:
        """Everybody who looks, the first first."""
        return [viewer.row for viewer in self._viewers.values()]

    # --- one viewer -----------------------------------------------------------------------------------------------

    def admit(self, session_id: str, user: str) -> DesktopRow:
        """Whether this user may begin to look. Raises as ``vnc_target``, ``Forbidden`` after a kick, ``Unavailable``."""
        desktop, _ = self._fleet.vnc_target(session_id)
        until, by = self._refused.get((user, session_id), (0.0, ""))
        left = until - self._monotonic()
        if left > 0:
            text = f"{by or 'An operator'} closed your view of this desktop; it opens again in {left:.0f} s"
            raise Forbidden(text, code="not_permitted")
        if sum(viewer.row.session_id == session_id for viewer in self._viewers.values()) >= MOST_VIEWERS:
            raise Unavailable(f"{MOST_VIEWERS} viewers look at this desktop already")
        return desktop

    def hop(self) -> Hop:
        """An end for a socket that has just been accepted."""
        return Hop(self._buffer)

    async def serve(self, hop: Hop, look: Look) -> None:
        """One viewer's life on its socket; returns when the socket is closed."""
        try:
            desktop, agent = self._fleet.vnc_target(look.session_id)
        except CallboardError as error:
            hop.close(CloseCode.AGENT_LOST if isinstance(error, Unavailable) else CloseCode.ENDED, error.message)
            await hop.closed.wait()
            return
        row = ViewerRow(
            id=f"proxy-{secrets.token_hex(8)}", session_id=desktop.id, session_name=desktop.name, agent_id=agent.id,
            user=look.user, mode=look.mode, shadow=look.shadow, address=look.address, since=self._clock(),
        )  # fmt: skip
        viewer = self._viewers[row.id] = Viewer(row, look, desktop.generation, hop)
        self._fleet.viewer_opened(desktop.id, look.counts)
        self._events.publish("viewer.opened", row.id, msgspec.structs.replace(row))
        log.info("viewer opened", viewer=row.id, session=desktop.id, user=look.user, mode=look.mode)
        let_go = look.until(lambda: viewer.fail(CloseCode.TOKEN, "The login behind this view has ended"))
        try:
            await self._join(viewer, desktop, agent)
            await hop.closed.wait()
        finally:
            let_go()
            hop.abort()
            self._remove(viewer)

    async def _join(self, viewer: Viewer, desktop: DesktopRow, agent: AgentRow) -> None:
        """Ask for the tunnel and wait for it."""
        try:
            async with asyncio.timeout(self._dial_back_within):
                await self._request(viewer.row.id, agent, desktop, viewer.look.mode)
                await viewer.settled.wait()
        except TimeoutError:
            viewer.fail(CloseCode.TUNNEL_TIMEOUT, f"Agent {viewer.row.agent_id} did not open the desktop in time")
        except CallboardError as error:
            viewer.fail(CloseCode.AGENT_LOST, error.message)
        finally:
            self.tunnels.forget(viewer.row.id)

    async def _request(self, proxy_id: str, agent: AgentRow, desktop: DesktopRow, mode: ViewerMode) -> None:
        url, token = self.tunnels.expect(proxy_id, agent.connection_id)
        data = {
            "pod_name": desktop.pod_name,
            "namespace": desktop.namespace,
            "vnc_port": desktop.vnc_port,
            "tunnel_url": url,
            "tunnel_token": token,
            "mode": mode,
        }
        message = VncProxyRequest(session_id=desktop.id, proxy_id=proxy_id, data=data)
        await self._fleet.send_proxy_request(agent.id, message)

    def _remove(self, viewer: Viewer) -> None:
        row = viewer.row
        self._viewers.pop(row.id, None)
        self.tunnels.forget(row.id)
        viewer.fail(CloseCode.SHUTDOWN, "The viewer went away")
        gone = viewer.gone or Gone(reason="closed")
        self._fleet.viewer_closed(row.session_id, viewer.look.counts)
        self._events.publish("viewer.closed", row.id, gone)
        log.info("viewer closed", viewer=row.id, session=row.session_id, user=row.user, reason=gone.reason)

    # --- tunnels --------------------------------------------------------------------------------------------------

    def claim(self, proxy_id: str, token: str) -> None:
        """An agent dials back; its token is used up by this. Raises ``Unauthorised``."""
        self.tunnels.claim(proxy_id, token)

    async def tunnel(self, proxy_id: str, hop: Hop) -> None:
        """A tunnel that was claimed, on its socket, until that is closed."""
        waiting = self._viewers.get(proxy_id) or self._probes.get(proxy_id)
        if waiting is None:
            hop.close(CloseCode.NORMAL, "The viewer went away")
        else:
            waiting.join(hop)
        try:
            await hop.closed.wait()
        finally:
            hop.abort()

    def proxy_failed(self, agent_id: str, message: VncProxyError) -> None:
        """An agent cannot open the desktop that one of its viewers waits for."""
        code = PROXY_CODES.get(message.error_code, CloseCode.REFUSED)
        viewer = self._viewers.get(message.proxy_id)
        if viewer is not None and viewer.row.agent_id == agent_id and not viewer.row.open:
            viewer.fail(code, message.error[:MOST_WORDS])
        probe = self._probes.get(message.proxy_id)
        if probe is not None and probe.agent_id == agent_id:
            probe.fail()

    # --- view-only ------------------------------------------------------------------------------------------------

    async def check_view_only(self, session_id: str) -> None:
        """Find out whether view-only can be enforced at a desktop. Raises ``Conflict`` with the reason where it cannot.

        The agent may have said which security types there are; else a look at the server's first words tells. Where they
        do not come the viewer itself will find out.
        """
        desktop, agent = self._fleet.vnc_target(session_id)
        if desktop.platform == "local":
            return  # our own agent starts these servers, and how is known
        types = desktop.platform_metadata.get("security_types")
        if isinstance(types, list):
            if not any(one in KNOWN_TYPES for one in types):
                raise Conflict(REFUSAL)
            return
        known = self._enforceable.get(session_id)
        if known is None or known[0] != desktop.generation:
            verdict = await self._probe(desktop, agent)
            if verdict is None:
                return
            known = self._enforceable[session_id] = (desktop.generation, verdict)
        if not known[1]:
            raise Conflict(REFUSAL)

    async def _probe(self, desktop: DesktopRow, agent: AgentRow) -> bool | None:
        proxy_id = f"proxy-{secrets.token_hex(8)}"
        probe = self._probes[proxy_id] = Probe(agent.id)
        try:
            async with asyncio.timeout(PROBE_WITHIN):
                await self._request(proxy_id, agent, desktop, "view")
                return await probe.verdict()
        except (TimeoutError, Unavailable):
            return None
        finally:
            del self._probes[proxy_id]
            self.tunnels.forget(proxy_id)
            probe.fail()

    # --- ends -----------------------------------------------------------------------------------------------------

    def kick(self, viewer_id: str, by: str, reason: str = "") -> ViewerRow:
        """Close one viewer; its user is refused at that session for a minute. Raises ``NotFound``."""
        viewer = self._viewers.get(viewer_id)
        if viewer is None:
            raise NotFound("There is no such viewer; it may have closed by itself")
        self._refuse(viewer, by)
        self._kick(viewer, by, reason)
        return viewer.row

    def kick_all(self, session_id: str, by: str, reason: str = "", *, operator: str = "") -> list[ViewerRow]:
        """The same for everybody at one session; ``operator``, who looked too, may look again at once."""
        at = [viewer for viewer in self._viewers.values() if viewer.row.session_id == session_id]
        for viewer in at:
            if viewer.row.user != operator:
                self._refuse(viewer, by)
            self._kick(viewer, by, reason)
        return [viewer.row for viewer in at]

    def _kick(self, viewer: Viewer, by: str, reason: str) -> None:
        viewer.by = by
        viewer.fail(CloseCode.KICKED, f"Closed by {by}{': ' if reason else ''}{reason}")

    def _refuse(self, viewer: Viewer, by: str) -> None:
        now = self._monotonic()
        self._refused = {who: until for who, until in self._refused.items() if until[0] > now}
        self._refused[viewer.row.user, viewer.row.session_id] = (now + REFUSED_FOR, by)

    def _heard(self, event: Published) -> None:
        """The fleet changed: whoever looks at what is no more is told why."""
        if event.kind == "desktop.changed" and isinstance(event.change, DesktopRow):
            self._desktop_changed(event.change)
        elif event.kind == "desktop.removed":
            self._enforceable.pop(event.id, None)
            self._end_where(lambda row: row.session_id == event.id, CloseCode.SESSION_GONE, "The session is gone")
        elif event.kind == "agent.changed" and isinstance(event.change, AgentRow) and event.change.status == "offline":
            self._end_where(lambda row: row.agent_id == event.id, CloseCode.AGENT_LOST, f"Agent {event.id} is offline")

    def _desktop_changed(self, desktop: DesktopRow) -> None:
        def at(row: ViewerRow) -> bool:
            return row.session_id == desktop.id

        if desktop.state == "hibernated":
            self._end_where(at, CloseCode.HIBERNATED, "The session is hibernated")
        elif desktop.state in ("terminating", "terminated"):
            self._enforceable.pop(desktop.id, None)
            self._end_where(at, CloseCode.ENDED, desktop.message or "The session has ended")
        else:
            for viewer in [viewer for viewer in self._viewers.values() if at(viewer.row)]:
                if viewer.generation != desktop.generation or viewer.row.agent_id != desktop.agent_id:
                    viewer.fail(CloseCode.AGENT_LOST, "The session begins anew on another agent")

    def _end_where(self, matches: Callable[[ViewerRow], bool], code: int, reason: str) -> None:
        for viewer in [viewer for viewer in self._viewers.values() if matches(viewer.row)]:
            viewer.fail(code, reason)

    # --- figures --------------------------------------------------------------------------------------------------

    async def _beat_for_ever(self) -> None:
        last = self._monotonic()
        while True:
            await asyncio.sleep(BEAT_EVERY)
            now = self._monotonic()
            self.beat(max(now - last, 1e-3))
            last = now

    def beat(self, seconds: float) -> None:
        """Measure every viewer over the last ``seconds``; let those go who are not there."""
        self._beats += 1
        for viewer in list(self._viewers.values()):
            viewer.ping(tunnel=self._beats % PING_TUNNEL_EVERY == 0)
            self._events.publish("viewer.beat", viewer.row.id, viewer.measure(seconds))
