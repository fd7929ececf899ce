"""One WebSocket after its handshake: frames however they are cut, control frames, what breaks the protocol, the end.

The peer is a raw socket on a real listener, so that every byte is ours; some tests use the ``websockets`` client.
"""

from __future__ import annotations

import asyncio
import base64
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send
from websockets.utils import apply_mask

from app.agent_protocol import FRAME_LIMIT
from app.server.fleet import hop as hops
from app.server.fleet.hop import READ_SIZE, Hop, close_payload, read_close
from app.server.listeners import TAKE_OVER
from tests.fakes.vnc import listening, viewing


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A close waits for a peer that is only slow, as this process may be; one test says that it does not wait for ever."""
    monkeypatch.setattr(hops, "CLOSE_WITHIN", 60.0)


class Place:
    """An application that takes each connection over and keeps what comes."""

    def __init__(self) -> None:
        self.buffer = bytearray(READ_SIZE)
        self.hops: asyncio.Queue[Hop] = asyncio.Queue()
        self.got = bytearray()
        self.news = asyncio.Event()
        self.ends: asyncio.Queue[tuple[int, str]] = asyncio.Queue()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hop = Hop(self.buffer)
        hop.sink, hop.ended = self.take, lambda code, reason: self.ends.put_nowait((code, reason))
        await receive()
        await send({"type": "websocket.accept"})
        scope["extensions"][TAKE_OVER](hop)
        self.hops.put_nowait(hop)
        await hop.closed.wait()

    def take(self, pieces: list[bytes]) -> None:
        self.got += b"".join(pieces)
        self.news.set()

    async def until(self, data: bytes) -> None:
        async with asyncio.timeout(10):
            while len(self.got) < len(data):
                self.news.clear()
                await self.news.wait()
        assert bytes(self.got) == data


class Peer:
    """A raw client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def frame(self) -> tuple[int, bytes]:
        """The next frame of the broker's: opcode and payload."""
        async with asyncio.timeout(10):
            first, size = await self.reader.readexactly(2)
            assert first & 0x80, "every frame is a whole message"
            assert not size & 0x80, "a server does not mask"
            if size == 126:
                size = int.from_bytes(await self.reader.readexactly(2), "big")
            elif size == 127:
                size = int.from_bytes(await self.reader.readexactly(8), "big")
            return first & 15, await self.reader.readexactly(size)

    async def close_code(self) -> int:
        """The code of the close frame that comes next."""
        opcode, payload = await self.frame()
        assert opcode == 8
        return read_close(payload)[0]


def frame(payload: bytes, opcode: int = 2, *, final: bool = True, masked: bool = True, rsv: int = 0) -> bytes:
    size = len(payload)
    head = bytes([(0x80 if final else 0) | rsv | opcode])
    bit = 0x80 if masked else 0
    if size < 126:
        head += bytes([bit | size])
    elif size < 65536:
        head += bytes([bit | 126]) + struct.pack("!H", size)
    else:
        head += bytes([bit | 127]) + struct.pack("!Q", size)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    return head + mask + apply_mask(payload, mask)


@asynccontextmanager
async def connected(place: Place) -> AsyncIterator[tuple[Peer, Hop]]:
    async with listening(place) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        key = base64.b64encode(os.urandom(16)).decode()
        writer.write(
            f"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        answer = await reader.readuntil(b"\r\n\r\n")
        assert b" 101 " in answer
        try:
            yield Peer(reader, writer), await asyncio.wait_for(place.hops.get(), 10)
        finally:
            writer.close()


MESSAGES = st.lists(st.integers(0, 70_000) | st.sampled_from([0, 1, 125, 126, 127, 65535, 65536, 300_000]), max_size=8)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=MESSAGES, cuts=st.lists(st.integers(0, 400_000), max_size=6))
async def test_payload_arrives_whole_however_its_frames_are_cut(sizes: list[int], cuts: list[int]) -> None:
    place = Place()
    payloads = [os.urandom(size) for size in sizes]
    stream = b"".join(frame(payload) for payload in payloads)
    async with connected(place) as (peer, _):
        at = 0
        for cut in [*sorted(cut for cut in cuts if cut < len(stream)), len(stream)]:
            peer.writer.write(stream[at:cut])
            await peer.writer.drain()
            await asyncio.sleep(0)
            at = cut
        await place.until(b"".join(payloads))


async def test_a_head_that_comes_byte_by_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place()
    async with connected(place) as (peer, hop):
        data = frame(b"x" * 70_000) + frame(b"y" * 200) + frame(b"z")
        for index, byte in enumerate(data):  # past the kernel, which would join them
            place.buffer[0] = byte
            hop.buffer_updated(1)
            if index > 40 and index < 70_000:
                break
        rest = data[index + 1 :]
        peer.writer.write(rest)
        await place.until(b"x" * 70_000 + b"y" * 200 + b"z")


async def test_fragments_with_a_ping_between_them() -> None:
    place = Place()
    async with connected(place) as (peer, _):
        peer.writer.write(
            frame(b"one ", final=False) + frame(b"hello", 9) + frame(b"two ", 0, final=False) + frame(b"three", 0)
        )
        assert await peer.frame() == (10, b"hello")
        await place.until(b"one two three")


async def test_text_is_reserved_and_ignored() -> None:
    place = Place()
    async with connected(place) as (peer, _):
        peer.writer.write(frame(b"{}", 1) + frame(b"te", 1, final=False) + frame(b"xt", 0) + frame(b"bytes"))
        await place.until(b"bytes")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(b"x", masked=False), 1002),
        (frame(b"x", rsv=0x40), 1002),
        (frame(b"x", 3), 1002),
        (frame(b"x", 11), 1002),
        (frame(b"x", 0), 1002),
        (frame(b"x", final=False) + frame(b"y"), 1002),
        (frame(b"x", 9, final=False), 1002),
        (frame(bytes(126), 9), 1002),
        (b"\x82\xff" + struct.pack("!Q", FRAME_LIMIT + 1) + b"mask", 1009),
        (b"\x82\xff" + struct.pack("!Q", 2**63) + b"mask", 1009),
    ],
    ids=["unmasked", "extension", "opcode 3", "opcode 11", "continues nothing", "interrupts", "cut ping", "long ping",
         "too big", "far too big"],
)  # fmt: skip
async def test_what_breaks_the_protocol_is_closed_with_a_reason(data: bytes, code: int) -> None:
    place = Place()
    async with connected(place) as (peer, hop):
        peer.writer.write(data)
        assert await peer.close_code() == code
        assert (await asyncio.wait_for(place.ends.get(), 10))[0] == code
        peer.writer.write(frame(close_payload(code, ""), 8))
        await asyncio.wait_for(hop.closed.wait(), 10)
        assert await peer.reader.read() == b""


async def test_the_largest_frame_passes() -> None:
    place = Place()
    payload = os.urandom(FRAME_LIMIT)
    async with connected(place) as (peer, _):
        peer.writer.write(frame(payload))
        await place.until(payload)


async def test_what_is_sent_is_one_frame_of_its_pieces() -> None:
    place = Place()
    async with connected(place) as (peer, hop):
        for size in (0, 125, 126, 65535, 65536):
            hop.send([bytes(size)])
            assert await peer.frame() == (2, bytes(size))
        hop.send([b"one", b"two"])
        assert await peer.frame() == (2, b"onetwo")
        assert hop.sent == 125 + 126 + 65535 + 65536 + 6


async def test_the_peers_close_is_answered_and_told_after_its_last_words() -> None:
    place = Place()
    async with connected(place) as (peer, hop):
        place.ends.put_nowait((0, ""))  # so that the order of words and end can be seen
        peer.writer.write(frame(b"last words") + frame(close_payload(4502, "no desktop"), 8) + frame(b"after"))
        assert await peer.close_code() == 4502
        assert await peer.reader.read() == b""
        await asyncio.wait_for(hop.closed.wait(), 10)
        await place.until(b"last words")
        assert [place.ends.get_nowait() for _ in range(2)] == [(0, ""), (4502, "no desktop")]
        assert place.ends.empty(), "an end is told once"


@pytest.mark.parametrize(
    ("payload", "told"),
    [(b"", (1005, "")), (b"\x03", (1002, "")), (b"\x03\xee", (1002, "")), (b"\x03\xe8\xff", (1002, "")),
     (struct.pack("!H", 5000), (1002, "")), (struct.pack("!H", 3999) + b"ok", (3999, "ok"))],
)  # fmt: skip
async def test_closes_of_all_kinds(payload: bytes, told: tuple[int, str]) -> None:
    place = Place()
    async with connected(place) as (peer, _):
        peer.writer.write(frame(payload, 8))
        assert await asyncio.wait_for(place.ends.get(), 10) == told
        assert (await peer.frame())[0] == 8


async def test_a_peer_that_vanishes_is_told_as_lost() -> None:
    place = Place()
    async with connected(place) as (peer, hop):
        peer.writer.transport.abort()
        assert await asyncio.wait_for(place.ends.get(), 10) == (1006, "")
        await asyncio.wait_for(hop.closed.wait(), 10)
        hop.send([b"nobody hears this"])
        hop.close(1000)


async def test_a_close_of_ours_waits_for_the_answer_and_says_nothing_more() -> None:
    place = Place()
    async with connected(place) as (peer, hop):
        hop.close(4403, "Closed by kim: " + "ü" * 100)
        hop.send([b"too late"])
        opcode, payload = await peer.frame()
        code, reason = read_close(payload)
        assert (opcode, code) == (8, 4403)
        assert len(payload) <= 125
        assert reason.startswith("Closed by kim: üü")
        assert not hop.closed.is_set()
        peer.writer.write(frame(b"ignored") + frame(payload, 8))
        await asyncio.wait_for(hop.closed.wait(), 10)
        assert not place.got


async def test_a_peer_that_does_not_answer_a_close_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hops, "CLOSE_WITHIN", 0.05)
    place = Place()
    async with connected(place) as (peer, hop):
        hop.close(4403, "kicked")
        await asyncio.wait_for(hop.closed.wait(), 10)
        assert await peer.close_code() == 4403
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await peer.frame()


async def test_a_ping_measures_the_round_trip() -> None:
    place = Place()
    async with connected(place) as (peer, hop):
        hop.ping()
        hop.ping()
        opcode, payload = await peer.frame()
        assert opcode == 9
        assert hop.rtt is None
        peer.writer.write(frame(b"other", 10) + frame(payload, 10) + frame(b"", 9))
        assert await peer.frame() == (10, b""), "one ping at a time, so the next frame is the pong of ours"
        assert hop.rtt is not None
        assert 0 < hop.rtt < 10
        assert hop.silence == 0


async def test_silence_counts_from_a_ping_and_ends_with_any_sign_of_life() -> None:
    place = Place()
    async with connected(place) as (peer, hop):
        hop.ping()
        await peer.frame()
        hop._pinged_at -= 50
        hop._alive_at -= 30
        assert 30 <= hop.silence < 50, "since the later of the two, however long this test takes"
        hop.hold()
        assert hop.silence == 0, "while it is held nothing can be heard of it"
        hop.release()
        hop._pinged_at -= 50
        hop._alive_at -= 30
        peer.writer.write(frame(b"alive"))
        await place.until(b"alive")
        assert hop.silence < 30


async def test_a_held_hop_reads_nothing_until_it_is_released() -> None:
    place = Place()
    async with connected(place) as (peer, hop):
        hop.hold()
        hop.hold()
        for _ in range(40):
            peer.writer.write(frame(bytes(65536)))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await place.news.wait()
        hop.release()
        await place.until(bytes(40 * 65536))


async def test_a_flood_of_pings_without_reading_fills_no_memory() -> None:
    """Pongs that nobody takes are not kept: 40 MB of pings leave less than a megabyte behind."""
    place = Place()
    async with connected(place) as (peer, hop):
        peer.writer.transport.set_write_buffer_limits(high=1)  # type: ignore[union-attr]
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        flood = frame(bytes(125), 9) * 2000
        most = 0
        for _ in range(160):
            peer.writer.write(flood)
            await peer.writer.drain()
            most = max(most, hop.waiting)
        assert most < 600_000
        peer.writer.transport.abort()
        await asyncio.wait_for(hop.closed.wait(), 10)


async def test_the_server_stops() -> None:
    place = Place()
    async with listening(place) as port, viewing(port, "/") as client:
        hop = await asyncio.wait_for(place.hops.get(), 10)
        hop.shutdown()
        async with asyncio.timeout(10):
            await client.wait_closed()
        assert client.close_code == 1001
        assert await asyncio.wait_for(place.ends.get(), 10) == (1001, "The broker stops")
