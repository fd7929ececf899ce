from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from app.server.access import Access
from app.server.access.guard import BODY_LIMIT, Guard, Policy
from app.server.access.networks import Hosts, Networks, Origins
from app.server.listeners import Listener, bind
from app.server.tasks import TaskTree

TOKEN = "t" * 32


class Keys:
    """One key."""

    def carried_by(self, scope: Scope) -> bool:
        return (b"x-api-key", b"cbk_right") in scope["headers"]


@dataclass
class Stage:
    """A guard around an application that a test chooses, without and with a server."""

    app: Callable[[Scope, Receive, Send], Any]
    counted: list[int] = field(default_factory=list)
    sent: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        policy = self.policy = Policy(Access(TOKEN), Keys(), Networks(["10.0.0.0/8"]), Hosts(), Origins())  # type: ignore[arg-type]
        self.guard = Guard(self.app, policy, self.refuse, self.counted.append)

    @staticmethod
    def refuse(scope: Scope, code: str, message: str) -> Response:
        return Response(f"{code}: {message}", media_type="text/plain")

    async def call(
        self,
        *headers: tuple[str, str],
        body: tuple[bytes, ...] = (b"",),
        client: str | None = "127.0.0.1",
        **changes: Any,
    ) -> int:
        """The status of one call; what was sent is in ``sent``."""
        given = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        if not any(name == b"host" for name, _ in given):
            given.append((b"host", b"127.0.0.1:8080"))
        scope: Scope = {
            "type": "http", "method": "POST", "path": "/x", "raw_path": b"/x", "query_string": b"", "headers": given,
            "client": (client, 1) if client else None, "server": ("192.168.0.1", 8080), **changes,
        }  # fmt: skip
        parts = list(body)

        async def receive() -> Message:
            if not parts:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

        self.sent.clear()

        async def send(message: Message) -> None:
            self.sent.append(message)

        await self.guard(scope, receive, send)
        starts = [message["status"] for message in self.sent if "status" in message]
        assert len(starts) <= 1
        return starts[0] if starts else 0

    @property
    def text(self) -> str:
        return b"".join(message.get("body", b"") for message in self.sent).decode()


async def echo_length(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the whole body, answer its length."""
    length = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length += len(message["body"])
        if not message["more_body"]:
            break
    await Response(str(length))(scope, receive, send)


@pytest.fixture
def stage() -> Stage:
    return Stage(echo_length)


async def test_ordinary_requests_pass_and_are_counted(stage: Stage) -> None:
    assert await stage.call() == 200
    assert stage.text == "0"
    assert stage.counted == [200]


@pytest.mark.parametrize(
    ("headers", "changes", "status"),
    [
        ([("host", "evil.example")], {}, 403),
        ([("host", "127.0.0.1"), ("host", "127.0.0.1")], {}, 400),
        ([("origin", "http://evil.example")], {}, 403),
        ([("origin", "null")], {}, 403),
        ([("origin", "http://127.0.0.1:8080")], {}, 200),
        ([("origin", "callboard://viewer")], {}, 200),
        ([("origin", "http://evil.example")], {"method": "GET"}, 200),
        ([("origin", "http://evil.example")], {"method": "DELETE"}, 403),
        ([("origin", "http://evil.example")], {"type": "websocket", "method": "GET"}, 403),
        ([], {"client": "10.9.9.9"}, 200),
        ([], {"client": "11.0.0.1"}, 403),
        ([], {"client": None}, 403),
        ([], {"client": "192.168.0.1"}, 200),
        ([("x-api-key", "cbk_right")], {"client": "11.0.0.1"}, 200),
        ([("x-api-key", "cbk_wrong")], {"client": "11.0.0.1"}, 403),
        ([("authorization", f"Bearer {TOKEN}")], {"client": "11.0.0.1"}, 200),
        ([("authorization", "Bearer wrong")], {"client": "11.0.0.1"}, 403),
        ([], {"client": "11.0.0.1", "query_string": f"token={TOKEN}".encode()}, 403),
        ([], {"client": "11.0.0.1", "query_string": f"token={TOKEN}".encode(), "type": "websocket"}, 200),
        ([("content-length", str(BODY_LIMIT))], {}, 200),
        ([("content-length", str(BODY_LIMIT + 1))], {}, 413),
        ([("content-length", "9" * 30)], {}, 413),
        ([("content-length", "-1")], {}, 413),
        ([], {"raw_path": b"/%ff"}, 400),
        ([], {"raw_path": b"/%C3%A9/%zz"}, 200),
        ([], {"query_string": b"a=%ff"}, 400),
        ([], {"query_string": b"a=\xff"}, 400),
        ([], {"query_string": b"a=%C3%A9&b=%"}, 200),
    ],
)
async def test_rules(stage: Stage, headers: list[tuple[str, str]], changes: dict[str, Any], status: int) -> None:
    assert await stage.call(*headers, **changes) == status
    if status != 200:
        (start,) = [message for message in stage.sent if "status" in message]
        names = dict(start["headers"])
        assert len(names[b"x-request-id"]) == 16
        assert stage.counted == [status]


LOGINS = ("/api/v1/", "/agent/", "/vnc-viewer/")
SECRET = ("authorization", "Bearer somebody's-token")


@pytest.mark.parametrize(
    ("path", "client", "scheme", "allow_plain", "status"),
    [
        ("/api/v1/auth/login", "127.0.0.1", "http", False, 200),
        ("/api/v1/auth/login", "::ffff:127.0.0.1", "http", False, 200),
        ("/api/v1/auth/login", "192.168.0.1", "http", False, 200),
        ("/api/v1/auth/login", "11.0.0.1", "http", False, 403),
        ("/api/v1/auth/login", "10.9.9.9", "http", False, 403),
        ("/api/v1/auth/login", "11.0.0.1", "https", False, 200),
        ("/api/v1/auth/login", "11.0.0.1", "http", True, 200),
        ("/api/v1/sessions", None, "http", False, 403),
        ("/agent/ws", "11.0.0.1", "ws", False, 403),
        ("/agent/ws", "11.0.0.1", "wss", False, 200),
        ("/agent/tunnel/proxy-1", "11.0.0.1", "ws", False, 403),
        ("/vnc-viewer/x", "11.0.0.1", "ws", False, 403),
        ("/vnc-viewer/x", "11.0.0.1", "wss", False, 200),
        ("/vnc-viewer/x", "11.0.0.1", "ws", True, 200),
        ("/streams", "11.0.0.1", "https", True, 403),
    ],
)
async def test_a_dialect_with_a_login_needs_no_network_but_encryption(
    stage: Stage, path: str, client: str | None, scheme: str, allow_plain: bool, status: int
) -> None:
    """Passwords, agents' keys and viewers' tokens pass between machines by TLS, or where somebody said otherwise."""
    stage.policy.logins = LOGINS
    stage.policy.allow_plain = lambda: allow_plain
    kind = {"type": "websocket", "method": "GET"} if scheme.startswith("ws") else {}
    assert await stage.call(SECRET, client=client, path=path, scheme=scheme, **kind) == status
    if status == 403 and path != "/streams":
        assert "unencrypted" in stage.text


async def test_a_dialect_with_a_login_is_no_way_round_host_and_origin(stage: Stage) -> None:
    stage.policy.logins = LOGINS
    assert await stage.call(("host", "evil.example"), path="/api/v1/sessions") == 403
    assert await stage.call(("origin", "http://evil.example"), path="/api/v1/sessions") == 403
    assert (
        await stage.call(("origin", "callboard://viewer"), path="/vnc-viewer/x", type="websocket", method="GET") == 200
    )


async def test_a_body_without_a_length_is_counted_while_it_comes(stage: Stage) -> None:
    chunked = ("transfer-encoding", "chunked")
    half = b"x" * (BODY_LIMIT // 2)
    assert await stage.call(chunked, body=(half, half)) == 200
    assert stage.text == str(BODY_LIMIT)
    assert await stage.call(chunked, body=(half, half, b"x", half)) == 413
    assert "too_large" in stage.text
    assert (b"connection", b"close") in stage.sent[0]["headers"]
    assert stage.counted == [200, 413]


async def test_a_dialect_that_answers_after_the_limit_is_not_heard() -> None:
    async def stubborn(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        await Response("fine", 201)(scope, receive, send)

    stage = Stage(stubborn)
    assert await stage.call(("transfer-encoding", "chunked"), body=(b"x" * BODY_LIMIT, b"xx")) == 413
    assert "fine" not in stage.text


async def test_what_nobody_expected_is_logged_once_and_answered_with_its_id() -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError("mine")

    stage = Stage(broken)
    with structlog.testing.capture_logs() as logs:
        assert await stage.call() == 500
    (line,) = logs
    assert line["event"] == "request failed"
    assert line["request_id"] in stage.text
    assert "mine" not in stage.text
    assert stage.counted == [500]


async def test_an_answer_that_breaks_off_is_not_followed_by_another() -> None:
    async def breaks_off(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ZeroDivisionError

    stage = Stage(breaks_off)
    with structlog.testing.capture_logs() as logs:
        assert await stage.call() == 200
    assert len(logs) == 1
    assert len(stage.sent) == 1


async def test_a_request_that_a_stopping_broker_cuts_off_is_told() -> None:
    """uvicorn cancels it then, and has only a text of its own to answer with."""
    begun = asyncio.Event()

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await asyncio.Event().wait()

    stage = Stage(waits)
    call = asyncio.ensure_future(stage.call())
    await begun.wait()
    call.cancel()
    assert await call == 503
    assert stage.text == "unavailable: The broker stops"
    assert stage.counted == [503]


async def test_something_within_a_request_that_is_cancelled_is_a_failure_and_no_stop() -> None:
    async def awaits_what_is_cancelled(scope: Scope, receive: Receive, send: Send) -> None:
        within = asyncio.ensure_future(asyncio.Event().wait())
        within.cancel()
        await within

    stage = Stage(awaits_what_is_cancelled)
    with structlog.testing.capture_logs() as logs:
        assert await stage.call() == 500
    assert stage.text.startswith("internal: Internal error")
    assert stage.counted == [500]
    assert [line["event"] for line in logs] == ["request failed"]


async def test_a_socket_that_a_stopping_broker_cuts_off_gets_no_answer_of_http() -> None:
    begun = asyncio.Event()

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await asyncio.Event().wait()

    stage = Stage(waits)
    call = asyncio.ensure_future(stage.call(type="websocket"))
    await begun.wait()
    call.cancel()
    await asyncio.wait([call])
    assert call.cancelled()
    assert stage.sent == []


async def test_refusals_are_logged_once_a_minute(stage: Stage) -> None:
    with structlog.testing.capture_logs() as logs:
        for _ in range(5):
            await stage.call(("host", "evil.example"))
        await stage.call(("host", "evil.example"), client="10.0.0.9")
    assert [line["client"] for line in logs] == ["127.0.0.1", "10.0.0.9"]


async def test_lifespan_is_none_of_its_business(stage: Stage) -> None:
    assert await stage.call(type="lifespan") == 0


# -- over a real server ----------------------------------------------------------------------------------------


@pytest.fixture
async def port(stage: Stage) -> AsyncIterator[int]:
    tree = TaskTree()
    listener = Listener("main", bind("127.0.0.1", 0, "port"), stage.guard)
    await listener.start(tree, tree.root)
    yield listener.port
    await listener.stop()
    await tree.stop()


async def raw(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        async with asyncio.timeout(15):
            return await reader.read(4096)
    finally:
        writer.close()
        try:
            await writer.wait_closed()
        except OSError:
            pass  # the server may have cut the connection, which is what some cases are about


HEAD = b"Host: 127.0.0.1\r\nContent-Length: 0\r\n"


@pytest.mark.parametrize(
    ("request_line", "headers", "status"),
    [
        (b"POST /%ff HTTP/1.1", HEAD, b"400"),
        (b"POST /\xff HTTP/1.1", HEAD, b"400"),
        (b"POST /a?b=\xff HTTP/1.1", HEAD, b"400"),
        (b"POST /%zz%4 HTTP/1.1", HEAD, b"200"),
        (b"POST /%00 HTTP/1.1", HEAD, b"200"),
        (b"POST http://127.0.0.1/x HTTP/1.1", HEAD, b"200"),
        (b"POST * HTTP/1.1", HEAD, b"200"),
        (b"RUBBISH", HEAD, b"400"),
        (b"POST / HTTP/9.9", HEAD, b"400"),
        (b"POST / HTTP/1.0", b"Content-Length: 0\r\n", b"403"),
        (b"POST / HTTP/1.1", b"Host: 127.0.0.1\r\nContent-Length: x\r\n", b"400"),
        (b"POST / HTTP/1.1", b"Host: 127.0.0.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n", b"400"),
        (b"POST / HTTP/1.1", b"Host: 127.0.0.1\r\nBad\x00: 1\r\n", b"400"),
        (b"POST / HTTP/1.1", b"Host: 127.0.0.1\r\nX: \xff\xfe\r\nContent-Length: 0\r\n", b"200"),
        (b"POST / HTTP/1.1", b"Host: 127.0.0.1\r\nContent-Length: 2000000\r\n", b"413"),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1", HEAD, b"4"),
        (b"GET / HTTP/1.1", b"Host: 127.0.0.1\r\n" + b"X: " + b"a" * 70_000, b"431"),
    ],
)
async def test_malformed_http_gets_a_clean_answer(
    port: int, request_line: bytes, headers: bytes, status: bytes
) -> None:
    answer = await raw(port, request_line + b"\r\n" + headers + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 " + status), answer


async def test_a_websocket_of_another_origin_is_refused_before_it_opens(port: int) -> None:
    upgrade = (
        b"GET /x HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://evil.example\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    answer = await raw(port, upgrade)
    assert answer.startswith(b"HTTP/1.1 403")
    assert b"other origins" in answer


async def test_a_chunked_body_over_the_limit_is_cut_off(port: int) -> None:
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    head = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = await raw(port, head + chunk * 17)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer


async def test_a_connection_is_kept_over_many_requests(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(3):
        writer.write(b"POST / HTTP/1.1\r\n" + HEAD + b"\r\n")
        async with asyncio.timeout(15):
            head = await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(1) == b"0"
        assert head.startswith(b"HTTP/1.1 200")
    writer.close()
    await writer.wait_closed()
