"""An agent that speaks the StreamSpace document's words alone and does what a test says.

``ScriptedAgent`` is told frames and says frames; ``connected`` puts it on a fleet in this process, ``dialled`` on the
WebSocket of a real broker.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from app.server.fleet.registry import Fleet

Say = Callable[[dict[str, Any]], Awaitable[None]]
RESULTS = {
    "pod_ip": "10.42.1.5",
    "pod_name": "john-doe-firefox-browser-abc123-7c8f9d6b5",
    "vnc_port": 5900,
    "started_at": "2025-11-22T10:45:12Z",
}
"""What the document's own example of a started session says."""


class ScriptedAgent:
    """One agent. ``script`` says by command type what becomes of it: ``complete``, ``hold`` or ``fail``."""

    def __init__(self, agent_id: str = "k8s-prod-us-east-1", platform: str = "kubernetes", **register: Any) -> None:
        self.agent_id = agent_id
        self.platform = platform
        self.register = {
            "type": "register",
            "agent_id": agent_id,
            "platform": platform,
            "region": "us-east-1",
            "capacity": {"max_cpu": 100, "max_memory": 256, "max_sessions": 100},
            "metadata": {"agent_version": "v2.0-beta.1", "is_leader": True},
            **register,
        }
        self.script: dict[str, str] = {}
        self.commands: list[dict[str, Any]] = []
        self.heard: list[dict[str, Any]] = []
        self.logs: list[str] = []
        self.registered = asyncio.Event()
        self.closed: tuple[int, str] | None = None
        self._news = asyncio.Event()
        self._say: Say | None = None

    async def begin(self, say: Say) -> None:
        """The socket is open."""
        self._say = say
        await self.say(self.register)

    async def say(self, message: dict[str, Any]) -> None:
        """Send one message."""
        if self._say is not None:
            await self._say(message)

    async def hear(self, frame: str) -> None:
        """The broker said something."""
        message = json.loads(frame)
        self.heard.append(message)
        kind = message["type"]
        if kind == "register_ack":
            self.registered.set()
        elif kind == "command":
            self.commands.append(message)
            await self.say({"type": "command_ack", "command_id": message["command_id"], "status": "acknowledged"})
            await self._act(message)
        elif kind == "logs_request":
            await self._tell_logs(message)
        self._news.set()

    async def _act(self, command: dict[str, Any]) -> None:
        does = self.script.get(command["command_type"], "complete")
        if does == "complete":
            await self.complete(command)
        elif does == "fail":
            await self.fail(command)

    async def complete(self, command: dict[str, Any]) -> None:
        """Say that a command is done."""
        result = {"session_id": command["session_id"], **RESULTS}
        await self._end(command, status="completed", result=result)

    async def fail(self, command: dict[str, Any]) -> None:
        """Say that it cannot be done, in the document's words."""
        error = "Failed to create pod: insufficient resources"
        await self._end(command, status="failed", error=error, error_code="INSUFFICIENT_RESOURCES")

    async def _end(self, command: dict[str, Any], **more: Any) -> None:
        head = {"type": "command_result", "command_id": command["command_id"], "agent_id": self.agent_id}
        await self.say({**head, **more})

    async def _tell_logs(self, message: dict[str, Any]) -> None:
        data = message["data"]
        lines = self.logs[-data["tail"] :] if data["tail"] else []
        answer = {"type": "logs_data", "request_id": message["request_id"], "lines": lines}
        await self.say({**answer, "eof": not data.get("follow")})

    async def more_logs(self, *lines: str, eof: bool = False) -> None:
        """Lines for whoever follows."""
        [request] = [each for each in self.heard if each["type"] == "logs_request" and each["data"].get("follow")]
        await self.say({"type": "logs_data", "request_id": request["request_id"], "lines": list(lines), "eof": eof})

    async def until(self, holds: Callable[[], bool]) -> None:
        """Until the broker has said what makes this true."""
        async with asyncio.timeout(30):
            while not holds():
                self._news.clear()
                await self._news.wait()

    async def until_command(self, command_type: str) -> dict[str, Any]:
        """The newest command of a type, when there is one."""
        await self.until(lambda: any(each["command_type"] == command_type for each in self.commands))
        return [each for each in self.commands if each["command_type"] == command_type][-1]


@asynccontextmanager
async def connected(fleet: Fleet, agent: ScriptedAgent) -> AsyncIterator[ScriptedAgent]:
    """The agent on a fleet of this process, registered; the block's end is the socket's."""

    async def close(code: int, reason: str) -> None:
        agent.closed = (code, reason)
        agent._news.set()

    connection = fleet.connect(agent.agent_id, agent.platform, "us-east-1", agent.hear, close, "127.0.0.1", None)

    async def say(message: dict[str, Any]) -> None:
        await connection.receive(json.dumps(message))

    await agent.begin(say)
    async with asyncio.timeout(10):
        await agent.registered.wait()
    try:
        yield agent
    finally:
        await connection.closed()


@asynccontextmanager
async def dialled(url: str, key: str, agent: ScriptedAgent, **options: Any) -> AsyncIterator[ScriptedAgent]:
    """The agent on ``ws://…/agent/ws`` of a broker, registered, with a heartbeat each second."""
    address = f"{url.replace('http', 'ws', 1)}/agent/ws?agent_id={agent.agent_id}&platform={agent.platform}"
    headers = {"X-Agent-API-Key": key}
    async with connect(address, additional_headers=headers, compression=None, proxy=None, **options) as socket:

        async def say(message: dict[str, Any]) -> None:
            await socket.send(json.dumps(message))

        async def listen() -> None:
            with contextlib.suppress(ConnectionClosed):
                async for frame in socket:
                    await agent.hear(str(frame))

        async def beat() -> None:
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await asyncio.sleep(1.0)
                    await say({"type": "heartbeat", "agent_id": agent.agent_id, "timestamp": "2025-11-22T10:35:00Z"})

        listening = [asyncio.create_task(listen()), asyncio.create_task(beat())]
        await agent.begin(say)
        async with asyncio.timeout(10):
            await agent.registered.wait()
        try:
            yield agent
        finally:
            for task in listening:
                task.cancel()
            await asyncio.gather(*listening, return_exceptions=True)
