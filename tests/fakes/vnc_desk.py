"""A real broker with users, and an agent on its socket that dials back to a VNC server of the test's.

``Desk.desktop()`` is a running session of kim's; ``look`` opens a viewer on it. Ada is an administrator.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from app.server.events import Published
from tests.fakes.broker import RunningBroker, running_broker
from tests.fakes.streamspace import ScriptedAgent, dialled
from tests.fakes.vnc import Agent, Open, VncServer

PASSWORD = "secure-password"
AGENT = "k8s-prod-us-east-1"


class DialingAgent(ScriptedAgent):
    """A scripted agent that opens tunnels too."""

    def __init__(self, target: Open, agent_id: str = AGENT, **register: Any) -> None:
        super().__init__(agent_id, **register)
        self.tunnels = Agent(target)
        self.answers = True
        """Whether it dials back."""

    async def hear(self, frame: str) -> None:
        """As every scripted agent, and ``vnc_proxy_request``."""
        await super().hear(frame)
        if self.heard[-1]["type"] == "vnc_proxy_request":
            if self.answers:
                self.tunnels.asked(self.heard[-1])
            else:
                self.tunnels.requests.append(self.heard[-1])

    async def until_asked(self, count: int = 1) -> dict[str, Any]:
        """The newest request for a tunnel, when there are so many."""
        await self.until(lambda: len(self.tunnels.requests) >= count)
        return self.tunnels.requests[-1]


class Desk:
    """See the module's docstring."""

    def __init__(self, broker: RunningBroker, server: VncServer | None, agent: DialingAgent) -> None:
        self.broker = broker
        self.server = server
        self.agent = agent
        self.events: list[Published] = []
        self.news = asyncio.Event()
        broker.broker.events.subscribe(self._heard)

    @property
    def viewers(self) -> Any:
        """The domain's viewers."""
        return self.broker.broker.viewers

    def token(self, username: str) -> str:
        """A login's token."""
        logins = self.broker.broker.logins
        row = logins.users.get(username)
        assert row is not None
        return logins.tokens.issue(row)[0]

    def api(self, username: str = "ada") -> httpx.AsyncClient:
        """A client with a user's login."""
        client = self.broker.client(console=False)
        client.headers["Authorization"] = f"Bearer {self.token(username)}"
        return client

    async def desktop(self, user: str = "kim", **more: Any) -> str:
        """A running session's id."""
        async with self.api() as api:
            body = {"user": user, "template": "firefox-browser", "persistent_home": False, **more}
            answer = await api.post("/api/v1/sessions", json=body)
        assert answer.status_code == 202, answer.text
        session_id: str = answer.json()["id"]
        await self.until(lambda: self.broker.broker.fleet.desktops[session_id].state == "running")
        return session_id

    def url(self, session_id: str, token: str = "", *, place: str = "", query: str = "") -> str:
        """A viewer's address."""
        given = "&".join(part for part in (f"token={token}" if token else "", query) if part)
        address = f"ws{self.broker.url.removeprefix('http')}{place}/vnc-viewer/{session_id}"
        return f"{address}?{given}" if given else address

    @asynccontextmanager
    async def look(
        self, session_id: str, user: str = "kim", *, query: str = "", token: str | None = None, **options: Any
    ) -> AsyncIterator[ClientConnection]:
        """A viewer's WebSocket."""
        url = self.url(session_id, self.token(user) if token is None else token, query=query)
        async with connect(url, compression=None, max_size=None, proxy=None, **options) as socket:
            yield socket

    async def ticket(self, session_id: str, mode: str) -> httpx.Response:
        """What the console gets for one look."""
        async with self.broker.client() as console:
            return await console.post(f"/console/v1/desktops/{session_id}/ticket", json={"mode": mode})

    async def start_over(self) -> None:
        """Forget what a test has done; sessions stay."""
        await self.alone()
        self.agent.answers = True
        self.agent.script.clear()
        await self.agent.tunnels.settled()
        self.agent.tunnels.requests.clear()
        self.agent.tunnels.ends.clear()
        if self.server is not None:
            self.server.said.clear()
            self.server.shared.clear()
        self.events.clear()
        self.viewers._refused.clear()
        logins = self.broker.broker.logins
        logins.limiter._windows.clear()
        for row in logins.users.rows():
            await logins.users.change(row.id, active=True)

    def told(self, kind: str) -> list[Any]:
        """Changes of one kind of event, in order."""
        return [event.change for event in self.events if event.kind == kind]

    async def until(self, holds: Any) -> None:
        """Until an event has made this true."""
        async with asyncio.timeout(30):
            while not holds():
                self.news.clear()
                await self.news.wait()

    async def alone(self) -> None:
        """Until nobody looks any more."""
        await self.until(lambda: not self.viewers.rows())

    def _heard(self, event: Published) -> None:
        self.events.append(event)
        self.news.set()


@asynccontextmanager
async def open_desk(
    folder: Path, *, server: VncServer | None = None, target: Open | None = None, tls: ssl.SSLContext | None = None,
    host: str | None = None, **settings: Any,
) -> AsyncIterator[Desk]:  # fmt: skip
    """A broker, its users, and an agent; the VNC server is a scripted one unless there is a target."""
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(running_broker(folder, **settings))
        if target is None:
            server = await stack.enter_async_context((server or VncServer()).running())
            target = server.open
        logins = broker.broker.logins
        for username, role in (("ada", "admin"), ("kim", "user"), ("lee", "user")):
            await logins.users.create(username, f"{username}@example.com", PASSWORD, role)  # type: ignore[arg-type]
        agent = DialingAgent(target)
        agent.tunnels.tls = tls
        url = broker.url if host is None else broker.url.replace("127.0.0.1", host)
        await stack.enter_async_context(dialled(url, logins.agent_keys.machine_key(), agent, **_tls(tls)))
        yield Desk(broker, server, agent)
        await agent.tunnels.settled()


def _tls(context: ssl.SSLContext | None) -> dict[str, Any]:
    return {"ssl": context} if context is not None else {}
