"""The view-only filter: every message type, every handshake, however the bytes are cut."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.server.fleet.rfb_filter import REFUSAL, BadInput, CannotEnforce, ViewOnly

GREETING = b"RFB 003.008\n"
OK = b"\0\0\0\0"
SERVER_INIT = struct.pack(">HH", 800, 600) + b"p" * 16 + struct.pack(">I", 4) + b"name"

PIXEL_FORMAT = struct.pack(">B3x16s", 0, b"f" * 16)
REQUEST = struct.pack(">BBHHHH", 3, 1, 0, 0, 800, 600)
CONTINUOUS = struct.pack(">BBHHHH", 150, 1, 0, 0, 800, 600)
FENCE = struct.pack(">B3xIB", 248, 7, 5) + b"fence"


def encodings(*values: int) -> bytes:
    return struct.pack(f">BxH{len(values)}i", 2, len(values), *values)


KEEP = [PIXEL_FORMAT, REQUEST, CONTINUOUS, FENCE, encodings(), encodings(7, 16, -223, -308, -258)]
DROP = {
    "key": struct.pack(">BBHI", 4, 1, 0, 0x61),
    "pointer": struct.pack(">BBHH", 5, 1, 30, 40),
    "cut text": struct.pack(">B3xi", 6, 5) + b"hello",
    "empty cut text": struct.pack(">B3xi", 6, 0),
    "long cut text": struct.pack(">B3xi", 6, 30000) + b"\x04" * 30000,
    "extended cut text": struct.pack(">B3xi", 6, -9) + b"\x05\x06\x03234567",
    "xvp": struct.pack(">BxBB", 250, 1, 2),
    "resize": struct.pack(">BxHHBx", 251, 80, 60, 1) + b"\x04" * 16,
    "resize of no screen": struct.pack(">BxHHBx", 251, 80, 60, 0),
    "QEMU key": struct.pack(">BBHII", 255, 0, 1, 0x61, 30),
    "audio on": struct.pack(">BBH", 255, 1, 0),
    "audio off": struct.pack(">BBH", 255, 1, 1),
    "audio format": struct.pack(">BBHBBI", 255, 1, 2, 3, 2, 44100),
}


class Wire:
    """A filter with a server and a viewer at its ends."""

    def __init__(self) -> None:
        self.filter = ViewOnly()
        self.at_server = b""
        self.at_viewer = b""

    def server(self, *parts: bytes) -> None:
        for part in parts:
            self._pass(part, b"")

    def viewer(self, *parts: bytes) -> None:
        for part in parts:
            self._pass(b"", part)

    def _pass(self, down: bytes, up: bytes) -> None:
        to_viewer, to_server = self.filter.passes(down, up)
        self.at_viewer += to_viewer
        self.at_server += to_server


def opened(init: bytes = b"\0") -> Wire:
    """Past the handshake of RFB 3.8 without authentication."""
    wire = Wire()
    wire.server(GREETING)
    wire.viewer(GREETING)
    wire.server(b"\x01\x01")
    wire.viewer(b"\x01")
    wire.server(OK)
    wire.viewer(init)
    wire.server(SERVER_INIT)
    assert wire.at_server == GREETING + b"\x01" + b"\x01"
    wire.at_server = b""
    return wire


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[begin:end] for begin, end in itertools.pairwise(edges)]


# --- messages -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", KEEP)
def test_what_asks_for_pictures_passes(message: bytes) -> None:
    wire = opened()
    wire.viewer(message)
    assert wire.at_server == message
    assert wire.filter.dropped == 0


@pytest.mark.parametrize("name", DROP)
def test_what_acts_on_the_desktop_is_dropped(name: str) -> None:
    wire = opened()
    wire.viewer(DROP[name], REQUEST)
    assert wire.at_server == REQUEST
    assert wire.filter.dropped == 1


@pytest.mark.parametrize("kind", sorted(set(range(256)) - {0, 2, 3, 4, 5, 6, 150, 248, 250, 251, 255}))
def test_an_unknown_message_ends_the_look(kind: int) -> None:
    wire = opened()
    with pytest.raises(BadInput, match=f"unknown type {kind}"):
        wire.viewer(bytes((kind,)) + bytes(40))


@pytest.mark.parametrize(
    "message",
    [b"\xff\x02" + bytes(10), b"\xff\x01\x00\x03", struct.pack(">B3xIB", 248, 0, 65), struct.pack(">BxH", 2, 1025)],
)
def test_a_message_of_a_length_that_nobody_has_ends_the_look(message: bytes) -> None:
    with pytest.raises(BadInput):
        opened().viewer(message)


def test_encodings_that_would_change_what_a_viewer_says_are_taken_out() -> None:
    wire = opened()
    wire.viewer(encodings(7, -316, -305, -259, 0x574D5664, 0x574D5668, -308, -258))
    assert wire.at_server == encodings(7, -308, -258)


@given(
    messages=st.lists(st.sampled_from([*KEEP, *DROP.values()]), max_size=30),
    places=st.lists(st.integers(min_value=0), max_size=60),
)
def test_however_the_bytes_are_cut_the_same_gets_through(messages: list[bytes], places: list[int]) -> None:
    wire = opened()
    wire.viewer(*cut(b"".join(messages), places))
    assert wire.at_server == b"".join(message for message in messages if message in KEEP)


@given(data=st.binary(max_size=400), places=st.lists(st.integers(min_value=0), max_size=20))
def test_whatever_a_viewer_sends_no_input_gets_through(data: bytes, places: list[int]) -> None:
    """What the server would read of it is again nothing but messages that ask for pictures."""
    wire = opened()
    try:
        wire.viewer(*cut(data, places))
    except BadInput:
        pass
    again = opened()
    again.viewer(wire.at_server)
    assert again.at_server == wire.at_server
    assert again.filter.dropped == 0


# --- handshakes -----------------------------------------------------------------------------------------------------


def test_a_look_is_always_shared() -> None:
    opened(init=b"\x00")
    opened(init=b"\x01")


def test_vnc_authentication() -> None:
    wire = Wire()
    wire.server(GREETING)
    wire.viewer(GREETING)
    wire.server(b"\x02\x10\x02")  # Tight, which is not known here, and VNC authentication
    assert wire.at_viewer.endswith(b"\x01\x02"), "only the known type is offered"
    wire.viewer(b"\x02")
    wire.server(b"c" * 16)
    wire.viewer(b"r" * 16, b"\x00")
    assert wire.at_server == GREETING + b"\x02" + b"r" * 16, "nothing is said before the server agrees"
    wire.server(OK + SERVER_INIT)
    assert wire.at_server == GREETING + b"\x02" + b"r" * 16 + b"\x01"
    assert wire.at_viewer == GREETING + b"\x01\x02" + b"c" * 16 + OK + SERVER_INIT
    assert wire.filter.settled
    wire.viewer(DROP["key"] + REQUEST)
    assert wire.at_server.endswith(b"\x01" + REQUEST)


def test_a_wrong_password_leads_nowhere() -> None:
    wire = Wire()
    wire.server(GREETING)
    wire.viewer(GREETING)
    wire.server(b"\x01\x02")
    wire.viewer(b"\x02" + b"r" * 16)
    wire.server(b"c" * 16, b"\0\0\0\x01", b"\0\0\0\x03bad")
    said = wire.at_server
    assert wire.at_viewer.endswith(b"\0\0\0\x01\0\0\0\x03bad")
    wire.viewer(b"\x01" + DROP["key"] + REQUEST)
    assert wire.at_server == said


def test_rfb_3_7_says_no_result_without_authentication() -> None:
    wire = Wire()
    wire.server(GREETING)
    wire.viewer(b"RFB 003.007\n")
    wire.server(b"\x01\x01")
    wire.viewer(b"\x01\x00" + REQUEST + DROP["pointer"])
    assert wire.at_server == b"RFB 003.007\n\x01\x01" + REQUEST
    wire.server(SERVER_INIT)
    assert wire.at_viewer.endswith(SERVER_INIT)


@pytest.mark.parametrize("version", [b"RFB 003.003\n", b"RFB 003.005\n"])
def test_rfb_3_3_where_the_server_chooses(version: bytes) -> None:
    wire = Wire()
    wire.server(GREETING)
    wire.viewer(version)
    wire.server(b"\0\0\0\x01")
    wire.viewer(b"\x00" + DROP["key"] + REQUEST)
    assert wire.at_server == version + b"\x01" + REQUEST


def test_rfb_3_3_with_vnc_authentication() -> None:
    wire = Wire()
    wire.server(b"RFB 003.003\n")
    wire.viewer(b"RFB 003.003\n")
    wire.server(b"\0\0\0\x02" + b"c" * 16)
    wire.viewer(b"r" * 16 + b"\x00")
    assert wire.at_server == b"RFB 003.003\n" + b"r" * 16
    wire.server(OK)
    assert wire.at_server.endswith(b"r" * 16 + b"\x01")


def test_a_newer_viewer_speaks_an_older_servers_version() -> None:
    """A viewer that claims more than the server greeted with is read as the server reads it."""
    wire = Wire()
    wire.server(b"RFB 003.003\n")
    wire.viewer(GREETING)
    wire.server(b"\0\0\0\x01")
    wire.viewer(b"\x00" + DROP["key"])
    assert wire.at_server == GREETING + b"\x01"


@pytest.mark.parametrize("greeting", [b"RFB 003.889\n", b"RFB 004.001\n", b"RFB 005.000\n"])
def test_servers_with_versions_of_their_own_speak_3_8(greeting: bytes) -> None:
    wire = Wire()
    wire.server(greeting)
    wire.viewer(GREETING)
    wire.server(b"\x02\x1e\x02")
    assert wire.at_viewer == greeting + b"\x01\x02"


def test_a_server_that_says_everything_at_once() -> None:
    """Greeting, types and result without waiting: what the viewer may say is set free in the right order."""
    wire = Wire()
    wire.server(GREETING + b"\x01\x01" + OK + SERVER_INIT)
    assert wire.at_viewer == GREETING
    wire.viewer(GREETING + b"\x01\x00" + REQUEST)
    assert wire.at_viewer == GREETING + b"\x01\x01" + OK + SERVER_INIT
    assert wire.at_server == GREETING + b"\x01\x01" + REQUEST


@pytest.mark.parametrize(
    "types", [b"\x01\x1e", b"\x01\x13", b"\x02\x05\x71", b"\x01\x10"], ids=["Apple", "VeNCrypt", "others", "Tight"]
)
def test_servers_whose_handshake_is_not_known_are_refused(types: bytes) -> None:
    wire = Wire()
    wire.server(GREETING)
    wire.viewer(GREETING)
    with pytest.raises(CannotEnforce) as caught:
        wire.server(types)
    assert caught.value.message == REFUSAL == "view-only cannot be enforced here; Shift+V for control"


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400", b"RFB 002.002\n", b"RFB 003.008\r", b"\x00" * 12])
def test_what_is_no_vnc_server_is_refused(greeting: bytes) -> None:
    with pytest.raises(CannotEnforce):
        Wire().server(greeting)


@pytest.mark.parametrize("kind", [0x1E, 16, 3])
def test_rfb_3_3_with_an_unknown_type_is_refused(kind: int) -> None:
    wire = Wire()
    wire.server(b"RFB 003.003\n")
    wire.viewer(b"RFB 003.003\n")
    with pytest.raises(CannotEnforce):
        wire.server(struct.pack(">I", kind))


@pytest.mark.parametrize("version", [b"RFB 003.004\n", b"RFB 003.016\n", b"RFB 004.008\n", b"GET / HTTP/1"])
def test_viewers_of_an_unknown_version_are_refused(version: bytes) -> None:
    wire = Wire()
    wire.server(GREETING)
    with pytest.raises(CannotEnforce):
        wire.viewer(version)


def test_a_viewer_may_not_choose_what_was_not_offered() -> None:
    wire = Wire()
    wire.server(GREETING)
    wire.viewer(GREETING)
    wire.server(b"\x02\x10\x01")
    with pytest.raises(BadInput, match="not offered"):
        wire.viewer(b"\x10")


@pytest.mark.parametrize(
    ("version", "refusal"),
    [(GREETING, b"\x00\0\0\0\x03too"), (b"RFB 003.003\n", b"\0\0\0\0\0\0\0\x03too")],
)
def test_a_server_that_refuses_everybody_is_heard_out(version: bytes, refusal: bytes) -> None:
    wire = Wire()
    wire.server(GREETING)
    wire.viewer(version)
    wire.server(refusal)
    assert wire.at_viewer == GREETING + refusal
    wire.viewer(b"\x01" + DROP["key"])
    assert wire.at_server == version


def test_a_viewer_that_runs_ahead_waits_for_the_server() -> None:
    """Everything at once, before the server has said a word: it is read as the server will read it."""
    wire = Wire()
    wire.viewer(GREETING + b"\x01" + b"\x00" + DROP["key"] + REQUEST)
    assert wire.at_server == b""
    wire.server(GREETING)
    assert wire.at_server == GREETING
    wire.server(b"\x01\x01", OK, SERVER_INIT)
    assert wire.at_server == GREETING + b"\x01\x01" + REQUEST


def test_neither_side_fills_memory_during_the_handshake() -> None:
    wire = Wire()
    with pytest.raises(BadInput):
        wire.viewer(bytes(100_000))
    wire = Wire()
    wire.server(GREETING)
    with pytest.raises(CannotEnforce):
        wire.server(bytes(100_000))


SIDES = [
    (b"\x01\x01", b"\x01", [OK]),
    (b"\x02\x02\x01", b"\x02" + b"r" * 16, [b"c" * 16, OK]),
]


@given(
    side=st.sampled_from(SIDES),
    down=st.lists(st.integers(min_value=0), max_size=12),
    up=st.lists(st.integers(min_value=0), max_size=12),
)
def test_a_handshake_may_come_in_any_pieces(
    side: tuple[bytes, bytes, list[bytes]], down: list[int], up: list[int]
) -> None:
    types, choice, rest = side
    wire = Wire()
    wire.server(*cut(GREETING, down))
    wire.viewer(*cut(GREETING, up))
    wire.server(*cut(types, down))
    wire.viewer(*cut(choice + b"\x00", up))
    wire.server(*cut(b"".join(rest) + SERVER_INIT, down))
    assert wire.at_server == GREETING + choice + b"\x01"
    assert wire.at_viewer == GREETING + types + b"".join(rest) + SERVER_INIT
