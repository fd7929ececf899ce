from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.errors import ConfigError, PortInUse, Unavailable
from app.server import listeners
from app.server.listeners import Answer, Listener, bind
from app.server.tasks import TaskTree


@pytest.fixture
async def tree() -> AsyncIterator[TaskTree]:
    tree = TaskTree()
    yield tree
    await tree.stop()


async def ok(scope: Scope, receive: Receive, send: Send) -> None:
    await Response("ok")(scope, receive, send)


async def ask(port: int, path: str = "/") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    async with asyncio.timeout(15):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def test_a_port_in_use_is_told_with_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse) as caught:
            bind("127.0.0.1", port, "port")
    assert caught.value.message == f"Port {port} is in use on 127.0.0.1; --port chooses another."


def test_of_two_brokers_that_start_together_one_gets_the_port() -> None:
    with bind("127.0.0.1", 0, "port") as first, pytest.raises(PortInUse):
        bind("127.0.0.1", first.getsockname()[1], "port").close()


@pytest.mark.parametrize("host", ["203.0.113.9", "no.such.host.invalid", "two words"])
def test_an_address_of_somebody_else_is_a_configuration_error(host: str) -> None:
    with pytest.raises(ConfigError, match=r"--(host|port)"):
        bind(host, 0, "port")


def test_a_port_is_free_again_at_once() -> None:
    first = bind("127.0.0.1", 0, "port")
    port = first.getsockname()[1]
    first.setblocking(True)
    peer = socket.create_connection(("127.0.0.1", port))
    served, _ = first.accept()
    served.close()  # our side closes first and waits in TIME_WAIT, as after a kill
    first.close()
    peer.close()
    bind("127.0.0.1", port, "port").close()


async def test_several_ports_serve_in_one_loop_and_stop_together(tree: TaskTree) -> None:
    group = tree.group("listeners")
    both = [Listener(name, bind("127.0.0.1", 0, "port"), ok) for name in ("main", "other")]
    for listener in both:
        await listener.start(tree, group)
    assert [b"ok" in await ask(listener.port) for listener in both] == [True, True]
    ports = [listener.port for listener in both]
    for listener in both:
        await listener.stop()
    assert group.children == []
    for port in ports:
        with pytest.raises(OSError):
            await ask(port)


async def test_a_running_request_ends_before_the_listener_does(tree: TaskTree) -> None:
    begun, release = asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await release.wait()
        await ok(scope, receive, send)

    listener = Listener("main", bind("127.0.0.1", 0, "port"), slow)
    await listener.start(tree, tree.root)
    asked = asyncio.ensure_future(ask(listener.port))
    await begun.wait()
    stopping = asyncio.ensure_future(listener.stop())
    await asyncio.sleep(0)
    release.set()
    assert b"200 OK" in await asked
    await stopping


@pytest.mark.parametrize("halt", [0.0, 1.5])
async def test_a_request_that_does_not_end_is_cut_off(
    tree: TaskTree, monkeypatch: pytest.MonkeyPatch, halt: float
) -> None:
    """Also when the machine stands still for longer than the server had."""
    monkeypatch.setattr(listeners, "GRACE", 0.2)
    begun, tidied = asyncio.Event(), asyncio.Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.1)  # what it does at its end takes a while
            tidied.set()

    listener = Listener("main", bind("127.0.0.1", 0, "port"), endless)
    await listener.start(tree, tree.root)
    asked = asyncio.ensure_future(ask(listener.port))
    await begun.wait()
    asyncio.get_running_loop().call_later(0.02, time.sleep, halt)
    async with asyncio.timeout(15):
        await listener.stop()
        await asyncio.wait([asked])
        await tidied.wait()
    assert asked.exception() or b"500" in asked.result() or asked.result() == b""


async def test_forwarded_headers_of_strangers_do_not_change_the_client(tree: TaskTree) -> None:
    seen: list[Any] = []

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["client"][0])
        await ok(scope, receive, send)

    listener = Listener("main", bind("127.0.0.1", 0, "port"), note)
    await listener.start(tree, tree.root)
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 10.0.0.1\r\nConnection: close\r\n\r\n")
    await reader.read()
    writer.close()
    await writer.wait_closed()
    assert seen == ["127.0.0.1"]
    await listener.stop()


class Writes(asyncio.Transport):
    """A transport that keeps what is written to it, write by write."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        self.pieces.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ([b"head", b"body"], [b"headbody"]),
        ([b"head", b""], [b"head"]),
        ([b"head", b"one", b"two"], [b"headone", b"two"]),
        ([b"head", b"x" * 20_000], [b"head", b"x" * 20_000]),
        ([listeners.STATUS_100, b"head", b"body"], [listeners.STATUS_100, b"headbody"]),
    ],
)
def test_head_and_body_leave_together(written: list[bytes], sent: list[bytes]) -> None:
    transport = Writes()
    answer = Answer(transport)
    for piece in written:
        answer.write(piece)
    assert transport.pieces == sent
    answer.close()
    assert transport.pieces == sent
    assert answer.is_closing()


def test_a_head_without_a_body_is_sent_at_the_end() -> None:
    transport = Writes()
    answer = Answer(transport)
    answer.write(b"head")
    assert transport.pieces == []
    answer.close()
    answer.close()
    assert transport.pieces == [b"head"]


async def test_answers_of_every_kind_arrive_on_one_connection(tree: TaskTree) -> None:
    """HEAD and 204 have no body; a body in parts, a long one and 100-continue come whole and in order."""

    async def parts(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/none":
            await Response(status_code=204)(scope, receive, send)
        elif scope["path"] == "/long":
            await Response("y" * 50_000)(scope, receive, send)
        elif scope["path"] == "/echo":
            await Response((await receive())["body"])(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for more in (True, False):
                await send({"type": "http.response.body", "body": b"part", "more_body": more})

    listener = Listener("main", bind("127.0.0.1", 0, "port"), parts)
    await listener.start(tree, tree.root)
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    async with asyncio.timeout(15):
        for method, path in (("HEAD", "/long"), ("GET", "/none"), ("GET", "/long"), ("GET", "/parts")):
            writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            if path == "/parts":
                assert await reader.readuntil(b"0\r\n\r\n") == b"4\r\npart\r\n4\r\npart\r\n0\r\n\r\n"
            elif path == "/long" and method == "GET":
                assert b"content-length: 50000" in head
                assert await reader.readexactly(50_000) == b"y" * 50_000
        writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == listeners.STATUS_100
        writer.write(b"ab")
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(2) == b"ab"
    writer.close()
    await writer.wait_closed()
    await listener.stop()


async def test_an_answer_that_breaks_off_shows_its_head(tree: TaskTree) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})

    listener = Listener("main", bind("127.0.0.1", 0, "port"), broken)
    await listener.start(tree, tree.root)
    assert (await ask(listener.port)).startswith(b"HTTP/1.1 200 OK\r\n")
    await listener.stop()


@pytest.mark.parametrize(
    ("begun", "told"),
    [
        (b"", b""),
        (b"POST / HTTP/1.1\r\nHost: x\r\n", b"HTTP/1.1 408 Request Timeout"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{", b"HTTP/1.1 408 Request Timeout"),
    ],
)
async def test_a_client_that_falls_silent_within_a_request_is_let_go(
    tree: TaskTree, monkeypatch: pytest.MonkeyPatch, begun: bytes, told: bytes
) -> None:
    monkeypatch.setattr(listeners, "SILENCE", 0.02)
    ended = asyncio.Event()

    async def reads_all(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        ended.set()

    listener = Listener("main", bind("127.0.0.1", 0, "port"), reads_all)
    await listener.start(tree, tree.root)
    client = socket.create_connection(("127.0.0.1", listener.port))
    client.sendall(begun)  # before the listener knows of it, and looks for its silence
    reader, writer = await asyncio.open_connection(sock=client)
    async with asyncio.timeout(15):
        assert (await reader.read()).partition(b"\r\n")[0] == told
        if begun.endswith(b"{"):
            await ended.wait()
    writer.close()
    await writer.wait_closed()
    await listener.stop()
    assert tree.root.children == []


async def test_a_client_that_waits_for_its_answer_or_between_requests_is_not_silent(tree: TaskTree) -> None:
    begun, release = asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        begun.set()
        await release.wait()
        await ok(scope, receive, send)

    listener = Listener("main", bind("127.0.0.1", 0, "port"), slow)
    await listener.start(tree, tree.root)
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    for _ in range(2):
        begun.clear()
        release.clear()
        writer.write(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
        async with asyncio.timeout(15):
            await begun.wait()
            for _ in range(3):
                listener.let_go_of_the_silent()
            release.set()
            assert (await reader.readuntil(b"\r\n\r\nok")).startswith(b"HTTP/1.1 200 OK")
        for _ in range(3):
            listener.let_go_of_the_silent()
    writer.close()
    await writer.wait_closed()
    await listener.stop()


async def test_a_listener_that_cannot_start_says_why(tree: TaskTree) -> None:
    sock = bind("127.0.0.1", 0, "port")
    sock.close()
    listener = Listener("main", sock, ok)
    with pytest.raises(Unavailable, match="main listener does not start: OSError"):
        await listener.start(tree, tree.root)
