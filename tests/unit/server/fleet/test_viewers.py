"""Viewers on a fleet of the test's making: rows, figures, silence, limits, kicks, probes. Sockets are real."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from app.agent_protocol import VncProxyError, VncProxyRequest
from app.contract import AgentRow, DesktopRow, ViewerBeat, ViewerMode
from app.errors import Conflict, Forbidden, NotFound, Unavailable
from app.server.events import EventLog, Published
from app.server.fleet import viewer as module
from app.server.fleet import viewers as viewers_module
from app.server.fleet.rfb_filter import REFUSAL
from app.server.fleet.viewer import Look
from app.server.fleet.viewers import MOST_VIEWERS, REFUSED_FOR, Viewers
from app.server.listeners import TAKE_OVER
from app.server.tasks import TaskTree
from tests.fakes.clock import Clock
from tests.fakes.vnc import Stream, listening, viewing


def desktop(session_id: str = "s1", **fields: Any) -> DesktopRow:
    values: dict[str, Any] = {
        "id": session_id, "name": "kim-xterm-abc234", "user": "kim", "template": "xterm", "platform": "attach",
        "agent_id": "a1", "state": "running", "phase": "Running", "created_at": 1.0, "updated_at": 1.0,
    }  # fmt: skip
    return DesktopRow(**values | fields)


class House:
    """The fleet that viewers see, and an application for their sockets: ``/v/<session>`` and ``/t/<proxy>``."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.events = EventLog(clock=self.clock.time)
        self.tasks = TaskTree()
        self.on_proxy_error: list[Callable[[str, VncProxyError], None]] = []
        self.desktops = {"s1": desktop(), "s2": desktop("s2")}
        self.agent = AgentRow(
            id="a1", uuid="u", platform="attach", status="online", max_sessions=9, connection_id="conn-1",
            created_at=1.0, updated_at=1.0,
        )  # fmt: skip
        self.requests: list[VncProxyRequest] = []
        self.away = False
        self.looking: dict[str, int] = {}
        self.heard: list[Published] = []
        self.news = asyncio.Event()
        self.until_ended: list[Callable[[], None]] = []
        self.viewers = Viewers(
            self, self.events, self.tasks, clock=self.clock.time, monotonic=self.clock.monotonic, dial_back_within=10
        )
        self.events.subscribe(self._hear)
        self.viewers.tunnels.reached("conn-1", "ws://here")

    def vnc_target(self, session_id: str) -> tuple[DesktopRow, AgentRow]:
        if session_id not in self.desktops:
            raise NotFound("no such session", code="session_not_found")
        return self.desktops[session_id], self.agent

    async def send_proxy_request(self, agent_id: str, message: VncProxyRequest) -> None:
        if self.away:
            raise Unavailable("agent a1 is offline", code="agent_offline")
        assert agent_id == "a1"
        self.requests.append(message)
        self.news.set()

    def viewer_opened(self, session_id: str, counts_as_activity: bool) -> None:
        self.looking[session_id] = self.looking.get(session_id, 0) + counts_as_activity

    def viewer_closed(self, session_id: str, counts_as_activity: bool) -> None:
        self.looking[session_id] -= counts_as_activity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hop = self.viewers.hop()
        await receive()
        await send({"type": "websocket.accept"})
        scope["extensions"][TAKE_OVER](hop)
        kind, name = scope["path"].strip("/").split("/")
        if kind == "t":
            await self.viewers.tunnel(name, hop)
            return
        mode: ViewerMode = "view" if b"view" in scope["query_string"] else "control"
        await self.viewers.serve(hop, Look(session_id=name, user="kim", mode=mode, until=self._until))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        """The port; a test says when a second is over, since the broker's own clock may tick wherever it stands."""
        self.viewers.start()
        for node in [node for node in self.tasks.root.walk() if node.name == "viewers"]:
            await node.stop()
        async with listening(self, self.tasks) as port:
            try:
                yield port
            finally:
                self.viewers.stop()
        await self.tasks.stop()

    async def until(self, holds: Callable[[], Any]) -> None:
        async with asyncio.timeout(10):
            while not holds():
                self.news.clear()
                await self.news.wait()

    async def asked(self, count: int = 1) -> VncProxyRequest:
        await self.until(lambda: len(self.requests) >= count)
        return self.requests[-1]

    @asynccontextmanager
    async def looking_at(
        self, port: int, session_id: str = "s1", query: str = ""
    ) -> AsyncIterator[tuple[ClientConnection, ClientConnection]]:
        """A viewer and its tunnel, joined."""
        count = len(self.requests)
        async with viewing(port, f"/v/{session_id}{query}", ping_interval=None) as viewer:
            proxy_id = (await self.asked(count + 1)).proxy_id
            async with viewing(port, f"/t/{proxy_id}") as tunnel:
                await tunnel.send(b"RFB 003.008\n")
                assert await viewer.recv() == b"RFB 003.008\n"
                yield viewer, tunnel

    def told(self, kind: str) -> list[Any]:
        return [event.change for event in self.heard if event.kind == kind]

    def _hear(self, event: Published) -> None:
        self.heard.append(event)
        self.news.set()

    def _until(self, ended: Callable[[], None]) -> Callable[[], None]:
        self.until_ended.append(ended)
        return lambda: self.until_ended.remove(ended)


async def closed(socket: ClientConnection) -> tuple[int | None, str | None]:
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionClosed):
            while True:
                await socket.recv()
    return socket.close_code, socket.close_reason


async def test_a_viewers_row_from_its_opening_to_its_end() -> None:
    house = House()
    async with house.open() as port:
        async with house.looking_at(port) as (viewer, _):
            [row] = house.viewers.rows()
            assert (row.session_name, row.agent_id, row.since) == ("kim-xterm-abc234", "a1", house.clock.wall)
            assert (row.open, house.looking) == (True, {"s1": 1})
            await viewer.close(1000)
        await house.until(lambda: not house.viewers.rows())
        assert house.looking == {"s1": 0}
        assert house.until_ended == []
        assert [event.kind for event in house.heard] == ["viewer.opened", "viewer.closed"]


async def test_figures_of_a_second() -> None:
    house = House()
    async with house.open() as port, house.looking_at(port) as (viewer, tunnel):
        house.viewers.beat(1.0)
        await tunnel.send(bytes(5000))
        await Stream(viewer).read(5000)
        await viewer.send(bytes(300))
        await Stream(tunnel).read(300)
        house.viewers.beat(2.0)
        beat = house.told("viewer.beat")[-1]
        assert isinstance(beat, ViewerBeat)
        assert (beat.open, beat.down_bytes, beat.up_bytes) == (True, 5012, 300)
        assert (beat.down_rate, beat.up_rate) == (2500.0, 150.0)
        await (await viewer.ping())
        house.viewers.beat(1.0)
        assert house.told("viewer.beat")[-1].rtt > 0
        assert house.told("viewer.beat")[-1].down_rate == 0


async def test_a_peer_that_is_silent_for_too_long_is_cut_off() -> None:
    house = House()
    async with house.open() as port, house.looking_at(port) as (viewer, tunnel):
        viewer.transport.pause_reading()
        [watched] = house.viewers._viewers.values()
        house.viewers.beat(1.0)
        hop = watched.relay.viewer
        hop._pinged_at = hop._alive_at = hop._pinged_at - module.SILENT_AFTER - 1
        house.viewers.beat(1.0)
        assert await closed(tunnel) == (1001, "The viewer went away")
        await house.until(lambda: not house.viewers.rows())
        viewer.transport.abort()


async def test_a_tunnel_that_is_silent_for_too_long_is_a_lost_agent() -> None:
    house = House()
    async with house.open() as port, house.looking_at(port) as (viewer, tunnel):
        tunnel.transport.pause_reading()
        [watched] = house.viewers._viewers.values()
        hop = watched.relay.tunnel
        assert hop
        hop.ping()
        hop._pinged_at = hop._alive_at = hop._pinged_at - module.SILENT_AFTER - 1
        house.viewers.beat(1.0)
        assert (await closed(viewer))[0] == 4503
        tunnel.transport.abort()


async def test_two_ends_of_which_neither_reads_are_cut_off() -> None:
    house = House()
    async with house.open() as port, house.looking_at(port) as (viewer, tunnel):
        [watched] = house.viewers._viewers.values()
        hops = watched.relay.viewer, watched.relay.tunnel
        assert hops[1]
        for end in (viewer, tunnel):
            end.transport.pause_reading()
        floods = [asyncio.create_task(flood(end)) for end in (viewer, tunnel)]
        async with asyncio.timeout(10):
            while not all(hop._held for hop in hops):
                await asyncio.sleep(0.01)
        house.viewers.beat(1.0)
        assert house.viewers.rows()
        for hop in hops:
            assert hop.silence == 0
            hop._held_at -= module.SILENT_AFTER + 1
        house.viewers.beat(1.0)
        await house.until(lambda: not house.viewers.rows())
        for end in (viewer, tunnel):
            end.transport.abort()
        await asyncio.gather(*floods)


async def flood(end: ClientConnection) -> None:
    """Send until nobody takes any more."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            await end.send(bytes(65536))


async def test_a_desktop_has_so_many_viewers_at_most() -> None:
    house = House()
    async with house.open() as port, contextlib.AsyncExitStack() as stack:
        for _ in range(MOST_VIEWERS):
            await stack.enter_async_context(viewing(port, "/v/s1"))
        await house.until(lambda: len(house.viewers.rows()) == MOST_VIEWERS)
        with pytest.raises(Unavailable):
            house.viewers.admit("s1", "lee")
        assert house.viewers.admit("s2", "lee").id == "s2"


async def test_a_kick_refuses_that_user_at_that_session_for_a_minute() -> None:
    house = House()
    async with house.open() as port:
        async with house.looking_at(port) as (viewer, _):
            [row] = house.viewers.rows()
            house.viewers.kick(row.id, "Ada", "")
            assert await closed(viewer) == (4403, "Closed by Ada")
        await house.until(lambda: not house.viewers.rows())
        gone = house.told("viewer.closed")[-1]
        assert (gone.reason, gone.by, gone.text) == ("kicked", "Ada", "Closed by Ada")
        with pytest.raises(Forbidden, match="it opens again in 60 s"):
            house.viewers.admit("s1", "kim")
        house.viewers.admit("s2", "kim")
        house.viewers.admit("s1", "lee")
        house.clock.advance(REFUSED_FOR + 0.1)
        house.viewers.admit("s1", "kim")
        with pytest.raises(NotFound):
            house.viewers.kick(row.id, "Ada", "")


async def test_who_kicks_everybody_may_look_again_at_once() -> None:
    house = House()
    async with house.open() as port, house.looking_at(port) as (viewer, _):
        assert [row.user for row in house.viewers.kick_all("s1", "Ada", "show starts", operator="kim")] == ["kim"]
        assert await closed(viewer) == (4403, "Closed by Ada: show starts")
        house.viewers.admit("s1", "kim")


async def test_who_is_kicked_with_everybody_may_not() -> None:
    house = House()
    async with house.open() as port, house.looking_at(port) as (viewer, _):
        house.viewers.kick_all("s1", "Ada", operator="ada")
        assert await closed(viewer) == (4403, "Closed by Ada")
        with pytest.raises(Forbidden):
            house.viewers.admit("s1", "kim")


async def test_an_agent_that_cannot_be_asked() -> None:
    house = House()
    house.away = True
    async with house.open() as port, viewing(port, "/v/s1") as viewer:
        assert await closed(viewer) == (4503, "agent a1 is offline")


async def test_a_session_that_is_gone_between_the_upgrade_and_the_tunnel() -> None:
    house = House()
    async with house.open() as port, viewing(port, "/v/nobody") as viewer:
        assert await closed(viewer) == (4410, "no such session")


async def test_a_login_that_ends() -> None:
    house = House()
    async with house.open() as port, house.looking_at(port) as (viewer, _):
        [ended] = house.until_ended
        ended()
        assert await closed(viewer) == (4401, "The login behind this view has ended")


@pytest.mark.parametrize("change", [{"generation": 2}, {"agent_id": "a2"}, {"agent_id": None}])
async def test_a_session_that_begins_anew_elsewhere(change: dict[str, Any]) -> None:
    house = House()
    async with house.open() as port, house.looking_at(port) as (viewer, _), house.looking_at(port, "s2") as (other, _):
        house.events.publish("desktop.changed", "s1", desktop(tags=["still the same"]))
        house.events.publish("desktop.changed", "s1", desktop(**change))
        assert (await closed(viewer))[0] == 4503
        assert [row.session_id for row in house.viewers.rows()] == ["s2"]
        await other.ping()


async def test_another_agents_word_about_a_viewer_does_not_count() -> None:
    house = House()
    async with house.open() as port, viewing(port, "/v/s1"):
        proxy_id = (await house.asked()).proxy_id
        message = VncProxyError(proxy_id=proxy_id, session_id="s1", error="gone" * 200_000)
        house.on_proxy_error[0]("somebody else", message)
        assert [row.id for row in house.viewers.rows()] == [proxy_id]
        house.on_proxy_error[0]("a1", message)
        await house.until(lambda: not house.viewers.rows())
    assert house.told("viewer.closed")[0].text == "gone" * 125


# --- probes ---------------------------------------------------------------------------------------------------------


async def answer(house: House, port: int, types: bytes) -> None:
    """A server with these security types."""
    proxy_id = (await house.asked()).proxy_id
    async with viewing(port, f"/t/{proxy_id}") as tunnel:
        await tunnel.send(b"RFB 003.008\n")
        assert await tunnel.recv() == b"RFB 003.008\n"
        await tunnel.send(types)
        if 1 in types[1:]:
            assert await tunnel.recv() == b"\x01", "who leaves without a login is counted as an intruder"
            await tunnel.send(bytes(4))
        assert (await closed(tunnel))[0] == 1000


@pytest.mark.parametrize(("types", "enforceable"), [(b"\x01\x01", True), (b"\x02\x1e\x02", True), (b"\x01\x1e", False)])
async def test_a_servers_first_words_tell_whether_view_only_can_be_enforced(types: bytes, enforceable: bool) -> None:
    house = House()
    async with house.open() as port:
        server = asyncio.create_task(answer(house, port, types))
        if enforceable:
            await house.viewers.check_view_only("s1")
            await house.viewers.check_view_only("s1")
        else:
            for _ in range(2):
                with pytest.raises(Conflict) as caught:
                    await house.viewers.check_view_only("s1")
                assert caught.value.message == REFUSAL
        await server
        assert len(house.requests) == 1
        house.desktops["s1"] = desktop(generation=2)
        house.away = True
        await house.viewers.check_view_only("s1")  # another server by now; the viewer itself will find out
    assert house.viewers.rows() == []


async def test_a_server_of_our_own_agent_needs_no_probe() -> None:
    house = House()
    house.desktops["s1"] = desktop(platform="local")
    async with house.open():
        await house.viewers.check_view_only("s1")
    assert house.requests == []


@pytest.mark.parametrize(("types", "enforceable"), [([1], True), ([30, 2], True), ([30, 33], False), ([], False)])
async def test_what_the_agent_says_of_a_server_needs_no_probe(types: list[int], enforceable: bool) -> None:
    house = House()
    house.desktops["s1"] = desktop(platform_metadata={"security_types": types})
    async with house.open():
        if enforceable:
            await house.viewers.check_view_only("s1")
        else:
            with pytest.raises(Conflict, match="view-only cannot be enforced here"):
                await house.viewers.check_view_only("s1")
    assert house.requests == []


async def test_a_server_that_refuses_everybody_for_now_is_not_remembered() -> None:
    house = House()
    async with house.open() as port:
        for _ in range(2):
            server = asyncio.create_task(answer(house, port, b"\x00\0\0\0\x04busy"))
            await house.viewers.check_view_only("s1")
            await server
            assert len(house.requests) == 1
            house.requests.clear()


async def test_an_agent_that_cannot_open_the_desktop_ends_the_probe_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewers_module, "PROBE_WITHIN", 600.0)
    house = House()
    async with house.open():
        asking = asyncio.create_task(house.viewers.check_view_only("s1"))
        proxy_id = (await house.asked()).proxy_id
        house.viewers.proxy_failed("a1", VncProxyError(proxy_id=proxy_id, session_id="s1", error="no"))
        await asyncio.wait_for(asking, 15)
