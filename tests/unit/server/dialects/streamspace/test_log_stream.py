from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from app.contract import DesktopRow
from app.errors import CallboardError, Invalid, Unavailable
from app.server.access.principal import Principal
from app.server.access.tokens import Tokens
from app.server.dialects.streamspace.log_stream import LogStream
from app.server.dialects.streamspace.sessions import without_timestamp
from app.server.dialects.streamspace.wire import LogQuery
from app.server.events import EventLog
from app.server.tasks import TaskTree

KIM = Principal("user", "u1", "kim", "user", "t1")
ROW = DesktopRow(
    id="s1", name="kim-xterm-1", user="kim", template="xterm", platform="local", agent_id="a", state="running",
    phase="Running", created_at=0.0, updated_at=0.0,
)  # fmt: skip
LINES = ["2025-11-22T10:45:15Z [INFO] one", "2025-11-22T10:45:16.5Z [INFO] two"]


class Socket:
    """A client that reads when it is let, and what it got."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.reads = asyncio.Event()
        self.reads.set()
        self.got = asyncio.Event()

    async def send(self, message: Any) -> None:
        await self.reads.wait()
        self.sent.append(message)
        self.got.set()
        if message["type"] == "websocket.close":
            await self.incoming.put({"type": "websocket.disconnect", "code": message["code"]})

    async def receive(self) -> Any:
        return await self.incoming.get()

    async def until(self, count: int) -> None:
        while len(self.sent) < count:
            self.got.clear()
            await self.got.wait()

    @property
    def texts(self) -> list[str]:
        return [message["text"] for message in self.sent if message["type"] == "websocket.send"]

    @property
    def closed(self) -> tuple[int, str]:
        [close] = [message for message in self.sent if message["type"] == "websocket.close"]
        return close["code"], close["reason"]


class Fleet:
    """Follows what the test puts in."""

    def __init__(self) -> None:
        self.lines: asyncio.Queue[list[str] | Exception | None] = asyncio.Queue()
        self.tail = -1
        self.closed = asyncio.Event()

    async def follow(self, session_id: str, tail: int) -> AsyncIterator[list[str]]:
        self.tail = tail
        try:
            while (some := await self.lines.get()) is not None:
                if isinstance(some, Exception):
                    raise some
                yield some
        finally:
            self.closed.set()


class Logins:
    """Remembers who listens; the clock stands still."""

    on_end = Tokens.on_end

    def __init__(self) -> None:
        self._clock = lambda: 0.0
        self.listeners: list[Callable[[str | None, str], None]] = []

    def subscribe(self, listener: Callable[[str | None, str], None]) -> Callable[[], None]:
        self.listeners.append(listener)

        def unsubscribe() -> None:
            self.listeners = [known for known in self.listeners if known is not listener]

        return unsubscribe

    def _stands(self, _: Principal) -> bool:
        return True


class Desk:
    """A log stream and one follower of it."""

    def __init__(self) -> None:
        self.fleet, self.tokens, self.tasks, self.socket = Fleet(), Logins(), TaskTree(), Socket()
        self.events = EventLog()
        services: Any = SimpleNamespace(fleet=self.fleet, tokens=self.tokens, tasks=self.tasks, events=self.events)
        self.stream = LogStream(services, last_lines_within=0.05)

    async def serve(self, caller: Principal = KIM, **query: Any) -> None:
        wanted = LogQuery(follow=True, **query)
        await self.stream.serve(self.socket.receive, self.socket.send, row=ROW, caller=caller, query=wanted)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    yield desk
    assert desk.tokens.listeners == []
    assert [node.name for node in desk.tasks.root.walk()] == ["broker", "log followers"]


async def test_ss_20_one_line_a_frame_and_1000_at_the_end(desk: Desk) -> None:
    for some in (LINES, None):
        desk.fleet.lines.put_nowait(some)
    await desk.serve(tail=50)
    assert desk.socket.texts == LINES
    assert desk.socket.closed == (1000, "The session has ended")
    assert desk.fleet.tail == 50


async def test_a_18_timestamps_are_left_out_when_asked(desk: Desk) -> None:
    for some in (LINES, None):
        desk.fleet.lines.put_nowait(some)
    await desk.serve(timestamps=False, tail=10**9 - 1)
    assert desk.socket.texts == ["[INFO] one", "[INFO] two"]
    assert desk.fleet.tail == 1000


async def test_a_client_that_goes_ends_the_following(desk: Desk) -> None:
    serving = asyncio.create_task(desk.serve())
    desk.fleet.lines.put_nowait(LINES)
    await desk.socket.until(2)
    desk.socket.incoming.put_nowait({"type": "websocket.receive", "text": "hello?"})
    desk.socket.incoming.put_nowait({"type": "websocket.disconnect", "code": 1001})
    await serving
    assert desk.fleet.closed.is_set()


async def test_a_slow_reader_takes_a_line_from_the_fleet_when_the_last_one_has_left(desk: Desk) -> None:
    desk.socket.reads.clear()
    serving = asyncio.create_task(desk.serve())
    for some in (["one"], ["two"], ["three"], None):
        desk.fleet.lines.put_nowait(some)
    await asyncio.sleep(0.05)
    assert desk.fleet.lines.qsize() == 3
    desk.socket.reads.set()
    await serving
    assert desk.socket.texts == ["one", "two", "three"]


async def test_a_login_that_ends_does_not_wait_for_a_slow_reader(desk: Desk) -> None:
    desk.socket.reads.clear()
    serving = asyncio.create_task(desk.serve())
    desk.fleet.lines.put_nowait(LINES)
    while not desk.tokens.listeners or desk.fleet.lines.qsize():
        await asyncio.sleep(0)
    desk.tokens.listeners[0]("t1", "u1")
    await desk.fleet.closed.wait()
    desk.socket.reads.set()
    await serving
    assert (desk.socket.texts, desk.socket.closed[0]) == ([], 4401)


async def test_a_18_an_agent_that_never_ends_the_log_does_not_hold_it_open(desk: Desk) -> None:
    serving = asyncio.create_task(desk.serve())
    desk.fleet.lines.put_nowait(["one"])
    await desk.socket.until(1)
    desk.events.publish("desktop.changed", "another", msgspec.structs.replace(ROW, id="another", state="terminated"))
    desk.events.publish("desktop.changed", ROW.id, ROW)
    desk.events.publish("desktop.changed", ROW.id, msgspec.structs.replace(ROW, state="terminated"))
    desk.fleet.lines.put_nowait(["last words"])
    await serving
    assert desk.socket.texts == ["one", "last words"]
    assert desk.socket.closed == (1000, "The session has ended")


@pytest.mark.parametrize(("token_id", "user_id", "ends"), [("t1", "u1", True), (None, "u1", True), ("t2", "u1", False)])
async def test_a_29_a_login_that_ends_closes_4401(desk: Desk, token_id: str | None, user_id: str, ends: bool) -> None:
    serving = asyncio.create_task(desk.serve())
    desk.fleet.lines.put_nowait(["one"])
    await desk.socket.until(1)
    desk.tokens.listeners[0](token_id, user_id)
    desk.fleet.lines.put_nowait(None)
    await serving
    assert desk.socket.closed[0] == (4401 if ends else 1000)


async def test_a_29_a_login_that_runs_out_closes_4401(desk: Desk) -> None:
    await desk.serve(Principal("user", "u1", "kim", "user", "t1", expires_at=0.02))
    assert desk.socket.closed == (4401, "The login has ended")


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (Unavailable("Agent a is offline", code="agent_offline"), 4503, "Agent a is offline"),
        (CallboardError("é" * 200), 1011, "é" * 61),
    ],
)
async def test_what_the_fleet_cannot_follow_is_told(desk: Desk, error: Exception, code: int, reason: str) -> None:
    desk.fleet.lines.put_nowait(error)
    await desk.serve()
    assert desk.socket.closed == (code, reason)


async def test_a_client_that_breaks_off_is_no_failure(desk: Desk) -> None:
    async def send(message: Any) -> None:
        desk.socket.incoming.put_nowait({"type": "websocket.disconnect", "code": 1006})
        raise ConnectionResetError

    desk.socket.send = send  # type: ignore[method-assign]
    desk.fleet.lines.put_nowait(LINES)
    await desk.serve()


def test_a_socket_is_for_following(desk: Desk) -> None:
    with pytest.raises(Invalid) as caught:
        desk.stream.check(LogQuery())
    assert (caught.value.code, caught.value.detail) == ("invalid_parameter", {"field": "follow"})
    desk.stream.check(LogQuery(follow=True))


def test_only_a_time_at_the_beginning_is_a_timestamp() -> None:
    assert without_timestamp("2025-11-22T10:45:15.123456Z a  b") == "a  b"
    for other in ("", "plain", "2025-11-22 10:45 x", "a-very-long-first-word-indeed then more"):
        assert without_timestamp(other) == other
