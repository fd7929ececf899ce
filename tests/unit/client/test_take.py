"""Console rule 10, case by case, against a broker that answers what the case says and writes down what it got."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from app.client.api import BrokerClient
from app.client.snapshot import Board
from app.client.take import Standing, TakeResult, carried, take
from app.contract import HoldRow, PresetRow, SessionRow, StreamRow
from app.models.rows import Rows

CAMERA_A, CAMERA_B = "stream-a", "stream-b"


def stream(id: str, name: str) -> StreamRow:
    return StreamRow(
        id=id,
        name=name,
        stream_type="ndi",
        publisher_id="td-workstation-01",
        protocol="ndi",
        address="192.168.1.50",
        port=5960,
        advertised_at=1.0,
        last_heartbeat=1.0,
        expires_at=31.0,
    )


def session(id: str, stream_id: str, name: str, port: int | None = 5961, consumer: str = "wall") -> SessionRow:
    return SessionRow(
        id=id,
        stream_id=stream_id,
        stream_name=name,
        stream_type="ndi",
        publisher_id="td-workstation-01",
        publisher_address="192.168.1.50",
        publisher_port=5960,
        consumer_id=consumer,
        consumer_address="192.168.1.60",
        consumer_port=port,
        protocol="ndi",
        started_at=1_000_000_000.0,
        expires_at=1_000_000_030.0,
    )


def preset(**changes: Any) -> PresetRow:
    fields: dict[str, Any] = {
        "id": "preset-wall",
        "name": "LED wall",
        "consumer_id": "wall",
        "consumer_address": "192.168.1.60",
        "consumer_port": 5961,
        "config": {"preferred_codec": "h264"},
    }
    return PresetRow(**{**fields, **changes})


@dataclass
class House:
    """A broker: what it was asked, in order, and what it answers to that."""

    answers: dict[str, tuple[int, dict[str, Any]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    bodies: dict[str, Any] = field(default_factory=dict)
    board: Board = field(default_factory=Board)
    client: BrokerClient = field(default_factory=lambda: BrokerClient("http://127.0.0.1:9"))
    pauses: dict[str, tuple[asyncio.Event, asyncio.Event]] = field(default_factory=dict)

    def pause(self, line: str) -> tuple[asyncio.Event, asyncio.Event]:
        """Say when ``line`` is asked, and answer it when told."""
        self.pauses[line] = asyncio.Event(), asyncio.Event()
        return self.pauses[line]

    async def handle(self, request: Request) -> Response:
        line = f"{request.method} {request.url.path}"
        self.asked.append(line)
        body = await request.body()
        self.bodies[line] = json.loads(body) if body else None
        if line in self.pauses:
            asked, answer = self.pauses[line]
            asked.set()
            await answer.wait()
        status, answer = self.answers.get(line, (500, {"detail": f"nobody expected {line}"}))
        return JSONResponse(answer, status)

    async def take(self, stream_id: str, chosen: PresetRow) -> TakeResult:
        return await take(self.client, self.board, stream_id, chosen)


def offer(session_id: str, stream_id: str, name: str) -> tuple[int, dict[str, Any]]:
    return 201, {
        "session_id": session_id,
        "stream_id": stream_id,
        "stream_name": name,
        "stream_type": "ndi",
        "protocol": "ndi",
        "publisher_address": "192.168.1.50",
        "publisher_port": 5960,
        "transport_config": {"ndi_name": "TD-01 (Camera A)"},
    }


REQUEST_A = f"POST /streams/{CAMERA_A}/request"
REQUEST_B = f"POST /streams/{CAMERA_B}/request"
HOLD = "POST /console/v1/holds"
STOP_A = "DELETE /streams/sessions/session-a"


@pytest.fixture
async def house(http: Callable[..., Awaitable[str]]) -> Any:
    house = House()
    house.board.streams = {
        CAMERA_A: stream(CAMERA_A, "Camera A"),
        CAMERA_B: stream(CAMERA_B, "Camera B"),
    }
    house.answers = {
        REQUEST_A: offer("session-a", CAMERA_A, "Camera A"),
        REQUEST_B: offer("session-b", CAMERA_B, "Camera B"),
        HOLD: (
            201,
            {"id": "hold-1", "session_id": "session-b", "stream_id": CAMERA_B, "operator": "ann", "since": 1.0},
        ),
        STOP_A: (200, {"status": "stopped", "session_id": "session-a"}),
    }
    routes = [Route("/{path:path}", house.handle, methods=["GET", "POST", "DELETE", "PUT"])]
    house.client = BrokerClient(await http(Starlette(routes=routes)), "token", "ann")
    yield house
    await house.client.close()


def carry_a(house: House) -> None:
    """Camera A is on the wall already."""
    house.board.sessions = {"session-a": session("session-a", CAMERA_A, "Camera A")}


def hold(house: House, session_id: str, preset_id: str | None) -> None:
    """Callboard holds that session for a preset."""
    row = HoldRow(
        id=f"hold-of-{session_id}", session_id=session_id, stream_id="", operator="ann", preset_id=preset_id, since=1.0
    )
    house.board.holds[row.id] = row


async def test_a_free_destination(house: House) -> None:
    result = await house.take(CAMERA_A, preset())
    assert result.ok
    assert result.outcome == "taken"
    assert result.text == "Camera A is on LED wall."
    assert result.offer is not None
    assert result.offer.transport_config == {"ndi_name": "TD-01 (Camera A)"}
    assert result.hold is not None
    assert house.asked == [REQUEST_A, HOLD]
    assert house.bodies[REQUEST_A] == {
        "consumer_id": "wall",
        "consumer_address": "192.168.1.60",
        "consumer_port": 5961,
        "config": {"preferred_codec": "h264"},
    }
    assert house.bodies[HOLD] == {"session_id": "session-a", "preset_id": "preset-wall"}
    assert result.milliseconds > 0.0


async def test_replace_asks_for_b_first_and_ends_a_last(house: House) -> None:
    carry_a(house)
    result = await house.take(CAMERA_B, preset())
    assert house.asked == [REQUEST_B, HOLD, STOP_A]
    assert result.text == "Camera B is on LED wall; it replaced Camera A."
    assert [row.id for row in result.replaced] == ["session-a"]


async def test_add_ends_nothing(house: House) -> None:
    carry_a(house)
    result = await house.take(CAMERA_B, preset(mode="add"))
    assert house.asked == [REQUEST_B, HOLD]
    assert result.replaced == ()
    assert result.text == "Camera B is on LED wall."


async def test_what_is_taken_already_sends_nothing(house: House) -> None:
    carry_a(house)
    for mode in ("replace", "add"):
        result = await house.take(CAMERA_A, preset(mode=mode))
        assert result.outcome == "already"
        assert result.ok
        assert result.already is not None
        assert result.text.startswith("Camera A is already on LED wall, since ")
        assert result.text.endswith("Nothing was sent.")
    assert house.asked == []


@pytest.mark.parametrize(
    ("status", "detail", "outcome", "text"),
    [
        (502, "Already at 2 of 2", "rejected", "Camera B was not given: Already at 2 of 2."),
        (504, "Publisher did not respond within 5 seconds", "no_answer", "Camera B did not answer: Publisher did"),
        (404, "Stream not found or expired", "gone", "Camera B is gone: Stream not found or expired."),
        (503, "NATS is away", "failed", "Camera B could not be taken: NATS is away."),
        (403, "not from here", "failed", "Camera B could not be taken: not from here."),
    ],
)
async def test_when_b_fails_a_stays_and_the_words_say_so(
    house: House, status: int, detail: str, outcome: str, text: str
) -> None:
    carry_a(house)
    house.answers[REQUEST_B] = (status, {"detail": detail})
    result = await house.take(CAMERA_B, preset())
    assert not result.ok
    assert result.outcome == outcome
    assert result.status == status
    assert result.text.startswith(text)
    assert result.text.endswith("Camera A stays on LED wall.")
    assert [row.id for row in result.kept] == ["session-a"]
    assert house.asked == [REQUEST_B]


async def test_a_failed_add_says_nothing_of_what_stays(house: House) -> None:
    carry_a(house)
    house.answers[REQUEST_B] = (502, {"detail": "no"})
    assert (await house.take(CAMERA_B, preset(mode="add"))).text == "Camera B was not given: no."


async def test_no_broker_at_all(house: House) -> None:
    house.client = BrokerClient("http://127.0.0.1:9", "token")
    result = await house.take(CAMERA_A, preset())
    assert result.outcome == "failed"
    assert result.status == 0
    assert result.code == "unreachable"
    assert "No broker answers at http://127.0.0.1:9" in result.text


async def test_a_hold_that_fails_is_said_and_the_take_stands(house: House) -> None:
    carry_a(house)
    house.answers[HOLD] = (409, {"detail": "The session is held already", "code": "conflict"})
    result = await house.take(CAMERA_B, preset())
    assert result.ok
    assert result.hold is None
    assert result.hold_error == "The session is held already"
    assert "could not hold it, so it ends after 30 s" in result.text
    assert house.asked == [REQUEST_B, HOLD, STOP_A]


async def test_a_consumer_that_beats_itself_is_not_held(house: House) -> None:
    result = await house.take(CAMERA_A, preset(held_by="consumer"))
    assert house.asked == [REQUEST_A]
    assert result.hold is None
    assert result.hold_error == ""


async def test_a_session_that_has_gone_meanwhile_has_made_room(house: House) -> None:
    carry_a(house)
    house.answers[STOP_A] = (404, {"detail": "Session not found or expired"})
    result = await house.take(CAMERA_B, preset())
    assert [row.id for row in result.replaced] == ["session-a"]
    assert result.not_ended == ()


async def test_a_session_that_does_not_end_is_said(house: House) -> None:
    carry_a(house)
    house.answers[STOP_A] = (503, {"detail": "The journal is away"})
    result = await house.take(CAMERA_B, preset())
    assert result.ok
    assert result.replaced == ()
    assert result.not_ended[0].session.id == "session-a"
    assert result.text == "Camera B is on LED wall. Camera A did not end: The journal is away."


async def test_the_later_of_two_presses_wins(house: House) -> None:
    """B answers while A, which was pressed first, is still being asked; A's offer comes last and must not stay."""
    asked, answer = house.pause(REQUEST_A)
    first = asyncio.ensure_future(house.take(CAMERA_A, preset()))
    await asyncio.wait_for(asked.wait(), 15)
    later = await house.take(CAMERA_B, preset())
    assert later.ok
    answer.set()
    overtaken = await asyncio.wait_for(first, 15)
    assert house.asked[-1] == STOP_A
    assert house.asked.count(HOLD) == 1
    assert not overtaken.ok
    assert (overtaken.outcome, overtaken.code) == ("failed", "overtaken")
    assert overtaken.text == "Camera A was not put on LED wall: Camera B was asked for later, and is there."
    assert overtaken.offer is None


async def test_a_take_that_a_later_one_ended_before_its_hold_says_so(house: House) -> None:
    house.answers[HOLD] = (404, {"detail": "Session not found or expired", "code": "expired"})
    asked, answer = house.pause(HOLD)
    first = asyncio.ensure_future(house.take(CAMERA_A, preset()))
    await asyncio.wait_for(asked.wait(), 15)
    assert (
        await house.take(CAMERA_B, preset(held_by="consumer"))
    ).text == "Camera B is on LED wall; it replaced Camera A."
    answer.set()
    assert (await asyncio.wait_for(first, 15)).code == "overtaken"


async def test_an_overtaken_session_that_does_not_end_is_said(house: House) -> None:
    house.answers[STOP_A] = (503, {"detail": "The journal is away"})
    asked, answer = house.pause(REQUEST_A)
    first = asyncio.ensure_future(house.take(CAMERA_A, preset()))
    await asyncio.wait_for(asked.wait(), 15)
    await house.take(CAMERA_B, preset())
    answer.set()
    assert (await asyncio.wait_for(first, 15)).text.endswith("Camera A did not end: The journal is away.")


async def test_of_two_presses_that_are_answered_in_order_the_first_is_replaced(house: House) -> None:
    """The view does not show the session of the first yet: the feed is a batch behind the answers."""
    asked_a, answer_a = house.pause(REQUEST_A)
    first = asyncio.ensure_future(house.take(CAMERA_A, preset()))
    await asyncio.wait_for(asked_a.wait(), 15)
    asked_b, answer_b = house.pause(REQUEST_B)
    second = asyncio.ensure_future(house.take(CAMERA_B, preset()))
    await asyncio.wait_for(asked_b.wait(), 15)
    answer_a.set()
    assert (await asyncio.wait_for(first, 15)).ok
    answer_b.set()
    result = await asyncio.wait_for(second, 15)
    assert result.text == "Camera B is on LED wall; it replaced Camera A."
    assert house.asked[-1] == STOP_A
    (replaced,) = result.replaced
    assert (replaced.id, replaced.stream_id, replaced.consumer_id) == ("session-a", CAMERA_A, "wall")


async def test_takes_to_other_destinations_do_not_meddle(house: House) -> None:
    asked, answer = house.pause(REQUEST_A)
    first = asyncio.ensure_future(house.take(CAMERA_A, preset()))
    await asyncio.wait_for(asked.wait(), 15)
    assert (await house.take(CAMERA_B, preset(id="preset-desk", consumer_port=7000))).ok
    answer.set()
    assert (await asyncio.wait_for(first, 15)).ok
    assert STOP_A not in house.asked


async def test_a_failed_later_press_overtakes_nobody(house: House) -> None:
    house.answers[REQUEST_B] = (502, {"detail": "no"})
    asked, answer = house.pause(REQUEST_A)
    first = asyncio.ensure_future(house.take(CAMERA_A, preset()))
    await asyncio.wait_for(asked.wait(), 15)
    assert not (await house.take(CAMERA_B, preset())).ok
    answer.set()
    assert (await asyncio.wait_for(first, 15)).ok
    assert STOP_A not in house.asked


async def test_what_came_to_the_destination_during_the_negotiation_leaves_too(house: House) -> None:
    asked, answer = house.pause(REQUEST_B)
    second = asyncio.ensure_future(house.take(CAMERA_B, preset()))
    await asyncio.wait_for(asked.wait(), 15)
    carry_a(house)  # another console has put it there
    answer.set()
    result = await asyncio.wait_for(second, 15)
    assert house.asked == [REQUEST_B, HOLD, STOP_A]
    assert [row.id for row in result.replaced] == ["session-a"]


async def test_what_the_view_shows_of_the_take_itself_stays(house: House) -> None:
    """The feed may be faster than the answer."""
    asked, answer = house.pause(REQUEST_A)
    taking = asyncio.ensure_future(house.take(CAMERA_A, preset()))
    await asyncio.wait_for(asked.wait(), 15)
    carry_a(house)
    answer.set()
    assert (await asyncio.wait_for(taking, 15)).ok
    assert house.asked == [REQUEST_A, HOLD]


async def test_b_that_is_gone_before_it_is_held_leaves_a_where_it_is(house: House) -> None:
    carry_a(house)
    house.answers[HOLD] = (404, {"detail": "Session not found or expired", "code": "expired"})
    result = await house.take(CAMERA_B, preset())
    assert house.asked == [REQUEST_B, HOLD]
    assert (result.ok, result.outcome) == (False, "gone")
    assert result.text == "Camera B is gone: Session not found or expired. Camera A stays on LED wall."


async def test_two_presets_of_one_consumer_are_one_destination(house: House) -> None:
    carry_a(house)
    hold(house, "session-a", "preset-of-the-same-wall")
    result = await house.take(CAMERA_B, preset())
    assert house.asked == [REQUEST_B, HOLD, STOP_A]
    assert [row.id for row in result.replaced] == ["session-a"]


async def test_two_pictures_on_one_destination_are_said_when_one_is_asked_for_again(house: House) -> None:
    house.board.sessions = {
        "session-a": session("session-a", CAMERA_A, "Camera A"),
        "session-b": session("session-b", CAMERA_B, "Camera B"),
    }
    result = await house.take(CAMERA_A, preset())
    assert result.outcome == "already"
    assert result.text.endswith("Nothing was sent. Camera B is there too: kick what should go.")
    assert house.asked == []
    assert (await house.take(CAMERA_A, preset(mode="add"))).text.endswith("Nothing was sent.")


def test_what_a_preset_carries() -> None:
    house = House()
    board = house.board
    board.presets = {one: preset(id=one) for one in ("preset-wall", "preset-2")}
    board.sessions = {
        "mine": session("mine", CAMERA_A, "Camera A"),
        "other input": session("other input", CAMERA_A, "Camera A", port=5962),
        "other consumer": session("other consumer", CAMERA_A, "Camera A", consumer="desk"),
        "held for me": session("held for me", CAMERA_B, "Camera B", port=None, consumer="renamed since"),
        "held for another": session("held for another", CAMERA_B, "Camera B"),
        "held for none": session("held for none", CAMERA_B, "Camera B"),
    }
    board.sessions["held for a deleted one"] = session("held for a deleted one", CAMERA_B, "Camera B")
    hold(house, "held for me", "preset-wall")
    hold(house, "held for another", "preset-2")
    hold(house, "held for none", None)
    hold(house, "held for a deleted one", "deleted")
    assert [row.id for row in carried(board, preset())] == [
        "mine",
        "held for me",
        "held for none",
        "held for a deleted one",
    ]
    rows = Rows()
    for table, found in (("session", board.sessions), ("hold", board.holds), ("preset", board.presets)):
        for row in found.values():
            rows.put(table, row)
    for chosen in board.presets.values():  # the window shows what a take goes by
        assert {row.id for row in rows.carried_by(chosen)} == {row.id for row in carried(board, chosen)}


@pytest.mark.parametrize("mine_is_later", [True, False])
async def test_of_two_consoles_the_session_that_began_later_stays(house: House, mine_is_later: bool) -> None:
    """While this take waits for the board, it shows another console's session at the same destination too."""
    mine, other = session("session-a", CAMERA_A, "Camera A"), session("session-z", CAMERA_B, "Camera Z")
    (mine if mine_is_later else other).started_at += 1.0
    house.answers["DELETE /streams/sessions/session-z"] = (200, {"status": "stopped", "session_id": "session-z"})

    async def shown(session_id: str) -> Standing:
        assert session_id == "session-a"
        house.board.sessions = {"session-a": mine, "session-z": other}
        return "shown"

    result = await take(house.client, house.board, CAMERA_A, preset(held_by="consumer"), shown)
    assert result.ok is mine_is_later
    if mine_is_later:
        assert house.asked == [REQUEST_A, "DELETE /streams/sessions/session-z"]
        assert result.text == "Camera A is on LED wall; it replaced Camera Z."
    else:
        assert house.asked == [REQUEST_A, STOP_A]
        assert result.text == "Camera A was not put on LED wall: Camera Z was taken there a moment later."


async def test_a_session_that_another_console_ended_before_the_board_showed_it_ends_nothing(house: House) -> None:
    async def gone(_: str) -> Standing:
        house.board.sessions = {"session-z": session("session-z", CAMERA_B, "Camera Z")}
        return "gone"

    house.answers[STOP_A] = (404, {"detail": "Session not found or expired"})
    result = await take(house.client, house.board, CAMERA_A, preset(held_by="consumer"), gone)
    assert result.code == "overtaken"
    assert "DELETE /streams/sessions/session-z" not in house.asked


async def test_a_session_that_ends_before_the_board_shows_it_leaves_the_picture_that_was_there(house: House) -> None:
    """Its publisher withdrew, or somebody kicked it; no other console took the place."""
    carry_a(house)

    async def gone(_: str) -> Standing:
        return "gone"

    result = await take(house.client, house.board, CAMERA_B, preset(), gone)
    assert house.asked == [REQUEST_B, HOLD]
    assert (result.ok, result.outcome, result.status) == (False, "gone", 404)
    assert result.text == "Camera B is gone: Its session has ended again already. Camera A stays on LED wall."
    assert [row.id for row in result.kept] == ["session-a"]


async def test_while_the_board_is_late_only_what_was_there_before_ends(house: House) -> None:
    """What came since may be another console's, and later; both ending the other's would leave the place empty."""
    carry_a(house)

    async def late(_: str) -> Standing:
        house.board.sessions["session-z"] = session("session-z", CAMERA_B, "Camera Z")
        return "late"

    result = await take(house.client, house.board, CAMERA_B, preset(), late)
    assert house.asked == [REQUEST_B, HOLD, STOP_A]
    assert result.text == "Camera B is on LED wall; it replaced Camera A."


@pytest.mark.parametrize("shown", [True, False])
async def test_while_the_board_is_late_what_this_console_put_there_before_ends(house: House, shown: bool) -> None:
    """Its own order of presses is known, whatever the board shows."""
    asked_a, answer_a = house.pause(REQUEST_A)
    first = asyncio.ensure_future(house.take(CAMERA_A, preset()))
    await asyncio.wait_for(asked_a.wait(), 15)

    async def late(_: str) -> Standing:
        if shown:
            carry_a(house)
        return "late"

    asked_b, answer_b = house.pause(REQUEST_B)
    second = asyncio.ensure_future(take(house.client, house.board, CAMERA_B, preset(), late))
    await asyncio.wait_for(asked_b.wait(), 15)
    answer_a.set()
    assert (await asyncio.wait_for(first, 15)).ok
    answer_b.set()
    assert (await asyncio.wait_for(second, 15)).text == "Camera B is on LED wall; it replaced Camera A."
