"""An agent at the other end of ``Fleet.connect``, without a socket: a test says what it says."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

from app.agent_protocol import (
    Capacity,
    Command,
    CommandAck,
    CommandResult,
    FromAgent,
    Heartbeat,
    HeldSession,
    Register,
    RegisterAck,
    ResultAck,
    ToAgent,
    encode,
    to_agent,
)
from app.server.fleet.registry import Fleet

T = TypeVar("T", bound=ToAgent)
SOON = 20.0


class FakeAgent:
    """One agent; ``open`` makes a new connection each time."""

    def __init__(
        self,
        fleet: Fleet,
        agent_id: str = "stage-left",
        platform: str = "local",
        region: str | None = None,
        *,
        slots: int | None = 10,
        capabilities: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        inventory: list[HeldSession] | None = None,
        attached: list[dict[str, Any]] | None = None,
    ) -> None:
        self.fleet = fleet
        self.id = agent_id
        self.platform = platform
        self.region = region
        self.slots = slots
        self.capabilities = ["hibernate", "logs", "vnc", "thumbnail", "load"] if capabilities is None else capabilities
        self.metadata = metadata or {}
        self.inventory = inventory
        self.attached = attached or []
        self.waiting: list[ToAgent] = []
        self.closed: tuple[int, str] | None = None
        self._news = asyncio.Condition()
        self.connection: Any = None

    async def open(self) -> FakeAgent:
        self.waiting.clear()
        self.closed = None

        async def send(frame: str) -> None:
            async with self._news:
                self.waiting.append(to_agent(frame))
                self._news.notify_all()

        async def close(code: int, reason: str) -> None:
            async with self._news:
                self.closed = (code, reason)
                self._news.notify_all()

        self.connection = self.fleet.connect(self.id, self.platform, self.region, send, close, "127.0.0.1")
        return self

    async def register(self, **fields: Any) -> RegisterAck:
        """Open if need be, register, and the answer."""
        if self.connection is None or self.connection.over:
            await self.open()
        values: dict[str, Any] = {
            "agent_id": self.id,
            "platform": self.platform,
            "region": self.region,
            "capacity": Capacity(max_sessions=self.slots),
            "metadata": self.metadata,
            "capabilities": self.capabilities,
            "sessions": self.inventory,
            "attached": self.attached,
        }
        await self.say(Register(**values | fields))
        return await self.next(RegisterAck)

    async def say(self, message: FromAgent) -> None:
        await self.connection.receive(encode(message))

    async def next(self, kind: type[T]) -> T:
        """The oldest message of this kind that was not taken yet; others stay."""
        async with asyncio.timeout(SOON), self._news:
            while True:
                for message in self.waiting:
                    if isinstance(message, kind):
                        self.waiting.remove(message)
                        return message
                await self._news.wait()

    async def command(self, kind: str | None = None) -> Command:
        command = await self.next(Command)
        assert kind is None or command.command_type == kind, command
        return command

    async def gone(self) -> tuple[int, str]:
        """The close of this side's socket by the broker."""
        async with asyncio.timeout(SOON), self._news:
            while self.closed is None:
                await self._news.wait()
            return self.closed

    async def acknowledge(self, command: Command) -> None:
        await self.say(CommandAck(command_id=command.command_id, agent_id=self.id))

    async def complete(self, command: Command, **result: Any) -> None:
        """Acknowledge, tell the result, and wait until the broker has it."""
        await self.acknowledge(command)
        await self.say(CommandResult(command_id=command.command_id, status="completed", result=result))
        await self.settled(command)

    async def fail(self, command: Command, error: str = "no", code: str = "INSUFFICIENT_RESOURCES") -> None:
        await self.say(CommandResult(command_id=command.command_id, status="failed", error=error, error_code=code))
        await self.settled(command)

    async def settled(self, command: Command) -> None:
        ack = await self.next(ResultAck)
        assert ack.command_id == command.command_id

    async def beat(self, **fields: Any) -> None:
        await self.say(Heartbeat(agent_id=self.id, **fields))
        await self.heard()

    async def heard(self) -> None:
        """What was said so far has been worked on: an answer to a stray result comes after it."""
        await self.say(CommandResult(command_id="cmd-nobody-sent-this", status="completed"))
        while (await self.next(ResultAck)).command_id != "cmd-nobody-sent-this":
            pass

    async def drop(self) -> None:
        """The socket ends."""
        await self.connection.closed()
