from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.server.bus import wire


class Heard:
    """Notes every call."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def on_info(self, info: dict[str, Any]) -> None:
        self.calls.append(("info", info))

    def on_message(self, subject: bytes, sid: bytes, payload: bytes, status: bytes) -> None:
        self.calls.append(("message", subject, sid, payload, status))

    def on_ping(self) -> None:
        self.calls.append(("ping",))

    def on_pong(self) -> None:
        self.calls.append(("pong",))

    def on_error(self, text: str) -> None:
        self.calls.append(("error", text))


TRANSCRIPT: list[tuple[bytes, tuple[Any, ...] | None]] = [
    (b'INFO {"max_payload": 5, "server_name": "x"} \r\n', ("info", {"max_payload": 5, "server_name": "x"})),
    (b"+OK\r\n", None),
    (b"PING\r\n", ("ping",)),
    (b"ping\r\n", ("ping",)),
    (b"PONG\r\n", ("pong",)),
    (b"-ERR 'Authorization Violation'\r\n", ("error", "Authorization Violation")),
    (b"MSG a.b 7 3\r\nxyz\r\n", ("message", b"a.b", b"7", b"xyz", b"")),
    (b"MSG a.b 7 reply.to 4\r\n\r\n\r\n\r\n", ("message", b"a.b", b"7", b"\r\n\r\n", b"")),
    (b"MSG a 1 0\r\n\r\n", ("message", b"a", b"1", b"", b"")),
    (b"HMSG in.box 2 16 16\r\nNATS/1.0 503\r\n\r\n\r\n", ("message", b"in.box", b"2", b"", b"503")),
    (b"HMSG s 2 r 18 20\r\nNATS/1.0\r\nA: b\r\n\r\nhi\r\n", ("message", b"s", b"2", b"hi", b"")),
]


@given(st.lists(st.sampled_from(TRANSCRIPT), max_size=8), st.data())
def test_frames_are_the_same_in_whatever_pieces_they_come(
    frames: list[tuple[bytes, tuple[Any, ...] | None]], data: st.DataObject
) -> None:
    stream = b"".join(frame for frame, _ in frames)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    heard = Heard()
    parser = wire.Parser(heard)
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        parser.feed(stream[begin:end])
    assert heard.calls == [call for _, call in frames if call is not None]


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\r\n",
        b"INFO nothing\r\n",
        b"INFO []\r\n",
        b"MSG a 1 many\r\n",
        b"MSG a 1 -5\r\n",
        b"MSG 5\r\n",
        b"MSG a b c d 5\r\n",
        b"MSG a 1 99999999999\r\n",
        b"HMSG a 1 9 3\r\nxxx\r\n",
        b"HMSG a 1 x 3\r\nxxx\r\n",
        b"MSG a 1 3\r\nlonger\r\n",
        b"x" * (wire.LINE_LIMIT + 1),
    ],
)
def test_what_is_not_the_protocol_is_told(data: bytes) -> None:
    with pytest.raises(wire.BadFrame):
        wire.Parser(Heard()).feed(data)


@given(st.binary(max_size=300))
def test_rubbish_never_does_worse(data: bytes) -> None:
    parser = wire.Parser(Heard())
    try:
        parser.feed(data)
    except wire.BadFrame:
        return
    assert len(parser._rest) <= len(data)


@pytest.mark.parametrize(
    ("subject", "fits"),
    [
        ("maestra.stream.request.1", True),
        ("é", True),
        ("", False),
        ("a b", False),
        ("a\r\nPUB x 0\r\n", False),
        ("a\0", False),
    ],
)
def test_subjects(subject: str, fits: bool) -> None:
    assert wire.is_subject(subject) is fits


def test_frames_that_go_out() -> None:
    assert wire.publish("a.b", b"hi") == b"PUB a.b 2\r\nhi\r\n"
    assert wire.publish("a.b", b"", "r") == b"PUB a.b r 0\r\n\r\n"
    assert wire.subscribe("a.*", 3) == b"SUB a.* 3\r\n"


@pytest.mark.parametrize(
    ("user", "password", "expected"),
    [
        (None, None, {}),
        ("internal", "s3cr:et", {"user": "internal", "pass": "s3cr:et"}),
        ("token", None, {"auth_token": "token"}),
    ],
)
def test_credentials(user: str | None, password: str | None, expected: dict[str, str]) -> None:
    frame = wire.connect("me", user, password)
    options = msgspec.json.decode(frame.removeprefix(b"CONNECT ").removesuffix(b"\r\n"))
    assert {name: options[name] for name in ("user", "pass", "auth_token") if name in options} == expected
    assert options["no_responders"] is True
    assert options["headers"] is True
