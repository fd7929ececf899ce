"""Bad luck with publishers: rubbish, late, twice, never, no. Each is taken by key press and read off the window.

What holds for all of them: the answer is Maestra's, no session comes of it, the negotiation is over on the board, tasks
and queues are back at their base, and the strip, which is for the broker's own trouble, stays quiet.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable

from app.contract import NEGOTIATION_TIMEOUT, NegotiationRow
from app.ui.pages.streams import StreamsPage
from tests.e2e.house import WALL, YES, House, Publisher, Reply, in_a_house

RUBBISH: dict[bytes, str] = {
    b"": "the publisher's reply is not JSON: Expecting value",
    b"yes": "the publisher's reply is not JSON: Expecting value",
    b"\xff\xfe\x00": "the publisher's reply is not JSON: Not UTF-8: invalid start byte",
    b'{"accepted": true': "the publisher's reply is not JSON: Expecting ',' delimiter",
    b'{"accepted": NaN}': "the publisher's reply is not JSON: NaN is not JSON",
    b"[" * 100_000: "the publisher's reply is not JSON: Nested deeper than 64 levels",
    b"[]": "the publisher's reply is not a JSON object",
    b"true": "the publisher's reply is not a JSON object",
    b'{"accepted": true, "port": 99999}': "port in the publisher's reply is not a number from 0 to 65535",
    b'{"accepted": true, "port": "ten"}': "port in the publisher's reply is not a number from 0 to 65535",
    b'{"accepted": true, "address": null}': "address in the publisher's reply is not a text",
    b'{"accepted": true, "protocol": []}': "protocol in the publisher's reply is not a text",
    b'{"accepted": true, "transport_config": 7}': "transport_config in the publisher's reply is not an object",
}


async def take(house: House, camera: Publisher) -> StreamsPage:
    """Take the stream by key; the page that tells what came of it."""
    await house.take_by_key(camera.id)
    page = house.console.window.page
    assert isinstance(page, StreamsPage)
    await house.until(lambda: page.take_card.title.text() not in ("", "Negotiating"))
    return page


async def outcome(house: House, camera: Publisher, number: int = 1) -> tuple[str | None, str]:
    """How the first (second …) negotiation of a stream ended, as the board has it."""

    def ended() -> list[NegotiationRow]:
        rows = house.console.store.negotiations.values()
        return [row for row in rows if row.stream_id == camera.id and row.outcome is not None][number - 1 :]

    row = (await house.until(ended))[0]
    return row.outcome, row.detail


@in_a_house()
async def test_a_publisher_that_answers_rubbish_is_a_502_in_words(house: House) -> None:
    await house.preset()
    camera = await house.publisher(b"")
    async with house.unharmed():
        for number, (reply, words) in enumerate(RUBBISH.items(), 1):
            camera.replies = (reply,)
            answer = await camera.request()
            assert (answer.status_code, answer.json()) == (502, {"detail": f"NATS request failed: {words}"})
            assert await outcome(house, camera, number) == ("bad_reply", f"NATS request failed: {words}")
        page = await take(house, camera)
        text = f"Cam 1 was not given: NATS request failed: {words}."
        assert (page.take_card.title.text(), page.take_card.text.text()) == ("Bad answer (502)", text)
        assert house.toasts == [text]


@in_a_house()
async def test_a_publisher_that_rejects_is_a_502_with_its_reason(house: House) -> None:
    await house.preset()
    camera = await house.publisher()
    reasons: dict[str, Reply] = {
        "lens cap is on": {"accepted": False, "reason": "lens cap is on"},
        "Publisher rejected the request": {"accepted": False},
        '{"code":7}': {"accepted": 0, "reason": {"code": 7}},
        "x" * 999 + "…": {"accepted": None, "reason": "x" * 5000},
    }
    async with house.unharmed():
        for number, (words, reply) in enumerate(reasons.items(), 1):
            camera.replies = (reply,)
            answer = await camera.request()
            assert (answer.status_code, answer.json()) == (502, {"detail": words})
            assert await outcome(house, camera, number) == ("rejected", words)
        camera.replies = ({"accepted": False, "reason": "<b>lens</b> cap is on"},)
        page = await take(house, camera)
        text = "Cam 1 was not given: <b>lens</b> cap is on."
        assert (page.take_card.title.text(), page.take_card.text.text()) == ("Rejected (502)", text)
        assert house.toasts == [text]


@in_a_house()
async def test_a_publisher_that_never_answers_is_a_504_after_5_s(house: House) -> None:
    await house.preset()
    camera = await house.publisher()
    async with house.unharmed():
        began = time.monotonic()
        taking = asyncio.ensure_future(take(house, camera))
        other = asyncio.ensure_future(camera.request(consumer_id="truck"))
        await house.until(lambda: house.console.store.running_for(camera.id))
        await house.row_says(camera.id, state="CHANGING")
        page = house.console.window.page
        assert isinstance(page, StreamsPage)
        countdown = await house.until(lambda: page.countdown(camera.id))
        assert 0.0 < countdown.fraction <= 1.0
        assert countdown.text.endswith(" s")
        answer = await other
        assert NEGOTIATION_TIMEOUT <= time.monotonic() - began < NEGOTIATION_TIMEOUT + 4.0
        words = "Publisher did not respond within 5 seconds"
        assert (answer.status_code, answer.json()) == (504, {"detail": words})
        await taking
        assert await outcome(house, camera) == ("no_answer", words)
        text = f"Cam 1 did not answer: {words}."
        assert (page.take_card.title.text(), page.take_card.text.text()) == ("No answer (504)", text)
        assert house.toasts == [text]
        await house.row_says(camera.id, state="LIVE")


@in_a_house()
async def test_a_publisher_that_answers_late_has_answered_nobody(house: House) -> None:
    camera = await house.publisher(YES)
    too_late = asyncio.Event()
    camera.before_reply = too_late.wait
    async with house.unharmed():
        answer = await camera.request()
        assert (answer.status_code, answer.json()["detail"]) == (504, "Publisher did not respond within 5 seconds")
        sent = camera.bus.stats["out_msgs"]
        too_late.set()
        await house.until(lambda: camera.bus.stats["out_msgs"] > sent)
        await camera.bus.flush()  # the server has the late reply and has passed it on
        assert await house.sessions() == {}
    camera.before_reply = None
    assert (await camera.request()).status_code == 201, "the next request is not answered by the late reply"


@in_a_house()
async def test_a_publisher_that_answers_twice_has_answered_once(house: House) -> None:
    camera = await house.publisher(YES, {"accepted": True, "address": "10.6.6.6"}, {"accepted": False, "reason": "no"})
    base = await house.calm()
    answer = await camera.request()
    assert (answer.status_code, answer.json()["publisher_address"]) == (201, "10.0.40.21")
    (session,) = (await house.sessions()).values()
    assert session["session_id"] == answer.json()["session_id"]
    assert (await outcome(house, camera))[0] == "offer"
    camera.replies = (b"rubbish", YES)
    assert (await camera.request()).status_code == 502
    assert len(await house.sessions()) == 1
    await house.back_at(base)
    house.says_all_well()


@in_a_house()
async def test_a_publisher_that_does_not_listen_is_a_502_at_once(house: House) -> None:
    await house.preset()
    camera = Publisher(await house.bus(), house.http, await house.advertise(), ())
    await house.until(lambda: camera.id in house.console.store.streams)
    async with house.unharmed():
        began = time.monotonic()
        answer = await camera.request()
        assert time.monotonic() - began < 4.0, "it waited for an answer"
        words = "NATS request failed: nats: no responders available for request"
        assert (answer.status_code, answer.json()) == (502, {"detail": words})
        assert await outcome(house, camera) == ("no_responders", words)
        page = await take(house, camera)
        assert page.take_card.title.text() == "Nobody answers (502)"
        assert page.take_card.text.text() == f"Cam 1 was not given: {words}."


@in_a_house()
async def test_a_stream_withdrawn_while_its_publisher_thinks_is_a_404_and_no_session(house: House) -> None:
    camera = await house.publisher(YES)
    answer = await asked_then(house, camera, lambda: house.http.delete(f"/streams/{camera.id}"))
    assert answer == (404, {"detail": "Stream not found or expired"})
    assert await outcome(house, camera) == ("gone", "Stream not found or expired")
    assert await house.sessions() == {}
    ghost = await house.until(lambda: house.console.store.ghost("stream", camera.id))
    assert ghost.cause == "withdrawn"
    house.says_all_well()


@in_a_house()
async def test_a_consumer_that_hangs_up_while_the_publisher_thinks_leaves_nothing_stuck(house: House) -> None:
    camera = await house.publisher(YES)
    base = await house.calm()
    thinking, think = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        thinking.set()
        await think.wait()

    camera.before_reply = wait
    request = asyncio.ensure_future(camera.request())
    await thinking.wait()
    request.cancel()
    await asyncio.wait({request})
    think.set()
    assert (await outcome(house, camera))[0] == "offer"
    (session_id,) = await house.sessions()
    past = (await house.http.get("/streams/sessions/history")).json()
    assert [(row["session_id"], row["status"]) for row in past] == [(session_id, "active")]
    await house.back_at(base)


async def asked_then(
    house: House, camera: Publisher, act: Callable[[], Awaitable[object]]
) -> tuple[int, dict[str, object]]:
    """Ask the publisher, do something while it thinks, let it say yes; status and body of the consumer's answer."""
    thinking, think = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        thinking.set()
        await think.wait()

    camera.before_reply = wait
    request = asyncio.ensure_future(house.http.post(f"/streams/{camera.id}/request", json=WALL))
    await thinking.wait()
    await act()
    think.set()
    answer = await request
    return answer.status_code, dict(json.loads(answer.content))
