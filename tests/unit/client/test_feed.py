"""The feed client against servers that misbehave in every way a feed can."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.client.feed import BACKOFF_FIRST, BACKOFF_LAST, Numbers, backoff_delay
from app.contract import Diff, Event, FeedMessage, Pulse, Snapshot
from tests.unit.client.conftest import FeedServer, Listener, Peer

Listen = Callable[..., Listener]
FAST = (0.01, 0.02)


async def live(server: FeedServer, listener: Listener, seq: int) -> Peer:
    """Bring the next connection up with a snapshot as of ``seq``."""
    peer = await server.accept()
    await peer.hello()
    await peer.snapshot(seq)
    assert (await listener.link("live")).text == ""
    await listener.snapshot(seq)
    return peer


async def test_a_snapshot_then_events_in_order(feed_server: FeedServer, listen: Listen) -> None:
    listener = listen(feed_server.url)
    assert (await listener.link("connecting")).state == "connecting"
    peer = await feed_server.accept()
    assert peer.path == "/console/v1/feed?token=secret"
    await peer.hello()
    await peer.snapshot(7, 1, 2)
    await peer.snapshot(7, 2, 2)
    await listener.link("live")
    await peer.diff(8, 9)
    await peer.pulse(9)
    await peer.diff(10)
    assert await listener.numbers(3) == [8, 9, 10]
    assert listener.client.seq == 10
    assert listener.client.age < 5.0


async def test_a_half_snapshot_is_not_live(feed_server: FeedServer, listen: Listen) -> None:
    listener = listen(feed_server.url)
    peer = await feed_server.accept()
    await peer.hello()
    await peer.snapshot(7, 1, 2)
    await listener.snapshot(7)
    assert listener.client.link.state == "connecting"
    await peer.snapshot(7, 2, 2)
    await listener.link("live")


async def test_a_gap_leads_to_a_new_snapshot_and_is_never_handed_on(feed_server: FeedServer, listen: Listen) -> None:
    listener = listen(feed_server.url, backoff=FAST)
    peer = await live(feed_server, listener, 3)
    await peer.diff(4)
    await peer.diff(6, 7)
    link = await listener.link("down")
    assert link.code == "gap"
    assert "event 6 came after 4" in link.text
    again = await live(feed_server, listener, 9)
    await again.diff(10)
    await listener.numbers(1)
    assert listener.handed_on == [4, 10]


async def test_numbers_that_were_announced_and_never_came(feed_server: FeedServer, listen: Listen) -> None:
    listener = listen(feed_server.url, backoff=FAST)
    peer = await live(feed_server, listener, 3)
    await peer.pulse(5)
    await peer.pulse(5)
    assert "announced" in (await listener.link("down")).text
    await live(feed_server, listener, 5)


async def test_a_new_snapshot_on_the_same_connection_is_taken(feed_server: FeedServer, listen: Listen) -> None:
    listener = listen(feed_server.url)
    peer = await live(feed_server, listener, 3)
    await peer.snapshot(40)
    await peer.diff(41)
    assert await listener.numbers(1) == [41]
    assert listener.client.link.state == "live"


async def test_silence_is_down_and_the_next_beat_is_live(feed_server: FeedServer, listen: Listen) -> None:
    listener = listen(feed_server.url, stale_after=0.15)
    peer = await live(feed_server, listener, 3)
    link = await listener.link("down")
    assert link.code == "stale"
    assert "Nothing from" in link.text
    await peer.pulse(3)
    await listener.link("live")
    assert feed_server.peers.empty()


async def test_a_listener_that_fails_is_told_of_and_the_feed_goes_on(feed_server: FeedServer, listen: Listen) -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context))
    listener = listen(feed_server.url, backoff=FAST)
    failures = [ZeroDivisionError("one row too odd")]

    def fail_once(message: FeedMessage) -> None:
        if isinstance(message, Diff) and failures:
            raise failures.pop()
        listener._on_message(message)

    listener.client._on_message = fail_once
    peer = await live(feed_server, listener, 3)
    await peer.diff(4)
    link = await listener.link("down")
    assert (link.code, link.text) == ("failed", "This console failed on what the broker sent: one row too odd.")
    again = await live(feed_server, listener, 9)
    await again.diff(10)
    assert await listener.numbers(1) == [10]
    assert [str(context["exception"]) for context in told] == ["one row too odd"]


async def test_a_closed_connection_is_opened_again(feed_server: FeedServer, listen: Listen) -> None:
    listener = listen(feed_server.url, backoff=FAST)
    first = await live(feed_server, listener, 3)
    since = listener.client.link.since
    await first.close()
    down = await listener.link("down")
    assert down.code == "closed"
    assert down.since >= since
    await live(feed_server, listener, 4)


async def test_down_keeps_the_moment_it_was_last_heard(feed_server: FeedServer, listen: Listen) -> None:
    listener = listen(feed_server.url, backoff=FAST)
    peer = await live(feed_server, listener, 3)
    await feed_server.stop()
    await peer.close()
    first = await listener.link("down")
    later = await listener.link("down")
    assert later.code == "unreachable"
    assert later.since == first.since


async def test_nobody_there_and_then_somebody(feed_server: FeedServer, listen: Listen) -> None:
    await feed_server.stop()
    listener = listen(feed_server.url, backoff=FAST)
    link = await listener.link("down")
    assert link.code == "unreachable"
    assert link.text == f"No broker answers at {feed_server.url}: Connection refused."
    await feed_server.start()
    await live(feed_server, listener, 1)


@pytest.mark.parametrize(
    ("status", "words"), [(403, "refused this console's token"), (404, "not a Callboard broker"), (503, "answered 503")]
)
async def test_a_refused_handshake_says_what_it_means(
    feed_server: FeedServer, listen: Listen, status: int, words: str
) -> None:
    feed_server.refusal = status
    listener = listen(feed_server.url, backoff=FAST)
    assert words in (await listener.link("down")).text
    feed_server.refusal = None
    await live(feed_server, listener, 1)


async def test_another_protocol_is_read_only_in_words(feed_server: FeedServer, listen: Listen) -> None:
    listener = listen(feed_server.url)
    peer = await feed_server.accept()
    await peer.hello(protocol=99)
    link = await listener.link("down")
    assert link.read_only
    assert link.code == "protocol"
    assert "version 99" in link.text
    assert listener.messages.empty()


async def test_a_hello_of_a_later_shape_is_still_understood(feed_server: FeedServer, listen: Listen) -> None:
    listener = listen(feed_server.url)
    peer = await feed_server.accept()
    await peer.send(t="hello", protocol=2, broker={"name": "stage"})
    assert (await listener.link("down")).code == "protocol"


async def test_a_broker_that_says_read_only(feed_server: FeedServer, listen: Listen) -> None:
    listener = listen(feed_server.url)
    peer = await feed_server.accept()
    await peer.hello(read_only=True)
    await peer.snapshot(1)
    assert (await listener.link("live")).read_only


async def test_what_is_no_feed_is_said(feed_server: FeedServer, listen: Listen) -> None:
    listener = listen(feed_server.url, backoff=FAST)
    peer = await feed_server.accept()
    await peer.connection.send("good evening")
    link = await listener.link("down")
    assert link.code == "bad_message"
    await live(feed_server, listener, 1)


async def test_resync_asks_for_a_new_snapshot(feed_server: FeedServer, listen: Listen) -> None:
    listener = listen(feed_server.url)
    await live(feed_server, listener, 3)
    listener.client.resync()
    assert (await listener.link("connecting")).text == "Asking for a new snapshot."
    await live(feed_server, listener, 8)


async def test_resync_cuts_a_back_off_short(feed_server: FeedServer, listen: Listen) -> None:
    await feed_server.stop()
    listener = listen(feed_server.url, backoff=(3600.0, 3600.0))
    await listener.link("down")
    await feed_server.start()
    listener.client.resync()
    await live(feed_server, listener, 1)


async def test_retarget_follows_the_broker_to_another_port(feed_server: FeedServer, listen: Listen) -> None:
    other = FeedServer()
    await other.start()
    try:
        listener = listen(feed_server.url)
        await live(feed_server, listener, 3)
        listener.client.retarget(other.url, "new token")
        peer = await live(other, listener, 1)
        assert peer.path == "/console/v1/feed?token=new+token"
        listener.client.retarget(other.url, "new token")
        await peer.diff(2)
        assert await listener.numbers(1) == [2]
        assert other.peers.empty()
    finally:
        await other.close()


async def test_gaps_that_never_end_do_not_spin(feed_server: FeedServer, listen: Listen) -> None:
    listener = listen(feed_server.url, backoff=(3600.0, 3600.0))
    peer = await live(feed_server, listener, 3)
    await peer.diff(9)
    peer = await live(feed_server, listener, 10)
    await peer.diff(19)
    assert (await listener.link("down")).code == "gap"
    listener.client.resync()
    await live(feed_server, listener, 20)
    assert feed_server.peers.empty()


async def test_a_server_that_accepts_and_says_nothing(listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.client.feed.OPEN_TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        listener = listen(f"http://127.0.0.1:{silent.getsockname()[1]}", backoff=FAST)
        link = await listener.link("down")
        assert link.code == "unreachable"
        assert link.text.endswith("does not answer.")


def test_the_back_off_grows_to_its_end_and_no_further() -> None:
    full = [backoff_delay(failures, (BACKOFF_FIRST, BACKOFF_LAST), 1.0) for failures in range(1, 9)]
    assert full == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]
    assert backoff_delay(10_000, (BACKOFF_FIRST, BACKOFF_LAST), 0.0) == 4.0


@given(st.integers(1, 10_000), st.floats(0.0, 1.0))
def test_the_back_off_is_jittered_within_its_bounds(failures: int, jitter: float) -> None:
    assert BACKOFF_FIRST / 2 <= backoff_delay(failures, (BACKOFF_FIRST, BACKOFF_LAST), jitter) <= BACKOFF_LAST


def diff(*numbers: int) -> Diff:
    return Diff(at=1.0, events=[Event(number, 1.0, "stream.beat", "a", None) for number in numbers])  # type: ignore[arg-type]


@given(st.integers(0, 1_000), st.lists(st.integers(1, 5), max_size=30))
def test_numbers_take_exactly_what_follows(seq: int, sizes: list[int]) -> None:
    numbers = Numbers()
    assert numbers.snapshot(Snapshot(seq=seq, at=1.0, part=1, parts=1, rows={})) == ""
    for size in sizes:
        batch = diff(*range(seq + 1, seq + size + 1))
        wrong = diff(*range(seq + 2, seq + size + 2))
        assert numbers.diff(wrong)
        assert numbers.diff(batch) == ""
        assert numbers.diff(batch)
        seq += size
        assert numbers.seq == seq


def test_events_before_the_snapshot_are_a_gap() -> None:
    assert "before the snapshot" in Numbers().diff(diff(1))


@pytest.mark.parametrize(("part", "parts", "seq"), [(3, 3, 5), (2, 4, 5), (2, 3, 6), (1, 0, 5)])
def test_parts_that_do_not_follow(part: int, parts: int, seq: int) -> None:
    numbers = Numbers()
    assert numbers.snapshot(Snapshot(seq=5, at=1.0, part=1, parts=3, rows={})) == ""
    assert numbers.snapshot(Snapshot(seq=seq, at=1.0, part=part, parts=parts, rows={}))


def test_a_beat_may_be_ahead_of_its_batch_once() -> None:
    numbers = Numbers()
    numbers.snapshot(Snapshot(seq=5, at=1.0, part=1, parts=1, rows={}))
    assert numbers.pulse(Pulse(at=1.0, seq=6)) == ""
    assert numbers.diff(diff(6)) == ""
    assert numbers.pulse(Pulse(at=2.0, seq=6)) == ""
    assert numbers.pulse(Pulse(at=3.0, seq=4))
