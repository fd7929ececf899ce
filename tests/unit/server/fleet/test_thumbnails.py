"""Pictures of desktops: asked for once, kept a moment, refused in words."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest

from app.agent_protocol import ThumbnailData, ThumbnailRequest
from app.contract import DesktopRow, Thumbnail
from app.errors import CallboardError
from app.server.fleet import thumbnails
from tests.fakes.fleet_agent import FakeAgent
from tests.unit.server.fleet.conftest import House

JPEG = b"\xff\xd8\xff picture"


async def session(house: House, **fields: Any) -> tuple[FakeAgent, DesktopRow]:
    agent = house.agent(**fields)
    await agent.register()
    return agent, await house.running(agent)


def ask(house: House, session_id: str, width: int = 320) -> asyncio.Task[Thumbnail]:
    return asyncio.ensure_future(house.fleet.thumbnail(session_id, width))


async def answer(agent: FakeAgent, picture: bytes = JPEG, **fields: Any) -> ThumbnailRequest:
    request = await agent.next(ThumbnailRequest)
    data = {"jpeg": base64.b64encode(picture).decode(), "width": 320, "height": 180, **fields}
    await agent.say(ThumbnailData(request_id=request.request_id, session_id=request.session_id, **data))
    return request


async def code_of(awaited: Any) -> str:
    with pytest.raises(CallboardError) as caught:
        await awaited
    return caught.value.code


async def test_many_tiles_cost_one_picture_for_two_seconds(house: House) -> None:
    agent, row = await session(house)
    tiles = [ask(house, row.id) for _ in range(5)]
    request = await answer(agent)
    assert (request.session_id, request.width) == (row.id, 320)
    pictures = await asyncio.gather(*tiles)
    assert {picture.jpeg for picture in pictures} == {JPEG}
    assert (pictures[0].width, pictures[0].height, pictures[0].at) == (320, 180, house.clock.time())
    house.clock.advance(1.9)
    assert await house.fleet.thumbnail(row.id, 320) == pictures[0]
    house.clock.advance(0.1)
    again = ask(house, row.id)
    await answer(agent, JPEG + b"2")
    assert (await again).jpeg == JPEG + b"2"


async def test_a_clock_that_is_set_back_freezes_no_picture(house: House) -> None:
    agent, row = await session(house)
    first = ask(house, row.id)
    await answer(agent)
    await first
    house.clock.step(-3600.0)
    house.clock.advance(2.0)
    again = ask(house, row.id)
    await answer(agent, JPEG + b"2")
    assert (await again).jpeg == JPEG + b"2"


async def test_what_is_no_longer_fresh_is_not_kept(house: House) -> None:
    agent, row = await session(house)
    for width in (100, 200, 300):
        picture = ask(house, row.id, width)
        await answer(agent)
        await picture
        house.clock.advance(2.0)
    assert len(house.fleet._thumbnails._kept) == 1


async def test_widths_stay_within_reason(house: House) -> None:
    agent, row = await session(house)
    for width, sent in ((1, 32), (10**9, 1920)):
        picture = ask(house, row.id, width)
        assert (await answer(agent)).width == sent
        await picture


@pytest.mark.parametrize(
    ("fields", "code"),
    [({"error": "frozen"}, "rejected"), ({"jpeg": "not base64!"}, "bad_reply"), ({"jpeg": "aGVsbG8="}, "bad_reply")],
)
async def test_answers_that_are_no_picture(house: House, fields: dict[str, str], code: str) -> None:
    agent, row = await session(house)
    picture = ask(house, row.id)
    await answer(agent, **fields)
    assert await code_of(picture) == code


async def test_a_silent_agent(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnails, "ANSWER_WITHIN", 0.05)
    _, row = await session(house)
    assert await code_of(ask(house, row.id)) == "no_answer"


async def test_an_agent_that_drops_while_asked(house: House) -> None:
    agent, row = await session(house)
    picture = ask(house, row.id)
    await agent.next(ThumbnailRequest)
    await agent.drop()
    assert await code_of(picture) == "agent_offline"
    assert await code_of(ask(house, row.id)) == "agent_offline"


async def test_what_has_no_picture(house: House) -> None:
    agent, row = await session(house)
    picture = ask(house, row.id)
    await answer(agent)
    await picture
    assert await code_of(house.fleet.thumbnail("never", 320)) == "session_not_found"
    await house.fleet.delete(row.id, force=False, by="kim", admin=False)
    assert await code_of(ask(house, row.id)) == "session_not_running"


async def test_an_agent_that_makes_none(house: House) -> None:
    _, row = await session(house, capabilities=["vnc"])
    assert await code_of(ask(house, row.id)) == "unsupported"
