"""Logs of sessions: the agent's, the broker's own, those of ended sessions, and following."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from app.agent_protocol import LogsCancel, LogsData, LogsRequest
from app.contract import DesktopRow
from app.errors import NotFound
from app.server.fleet import follow, logs
from tests.fakes.fleet_agent import SOON, FakeAgent
from tests.unit.server.fleet.conftest import House

LINES = [f"2025-11-22T10:45:{second:02d}Z [INFO] line {second}" for second in range(10)]


async def session(house: House, **fields: object) -> tuple[FakeAgent, DesktopRow]:
    agent = house.agent(**fields)
    await agent.register()
    return agent, await house.running(agent)


async def answer(agent: FakeAgent, lines: list[str], *, eof: bool = True, error: str = "") -> LogsRequest:
    request = await agent.next(LogsRequest)
    await agent.say(LogsData(request_id=request.request_id, lines=lines, eof=eof, error=error))
    return request


class Reader:
    """One follower, read by its own task."""

    def __init__(self, house: House, session_id: str, tail: int = 100) -> None:
        self.lines: list[str] = []
        self.over = False
        self._news = asyncio.Event()
        self._task = asyncio.ensure_future(self._read(house, session_id, tail))

    async def _read(self, house: House, session_id: str, tail: int) -> None:
        async with aclosing(house.fleet.follow(session_id, tail)) as batches:
            async for lines in batches:
                self.lines += lines
                self._news.set()
        self.over = True
        self._news.set()

    async def until(self, fits: object) -> None:
        async with asyncio.timeout(SOON):
            while not fits():  # type: ignore[operator]
                self._news.clear()
                await self._news.wait()

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


async def test_the_agents_lines(house: House) -> None:
    agent, row = await session(house)
    reading = asyncio.ensure_future(house.fleet.logs(row.id, 5))
    request = await answer(agent, LINES)
    assert request.data == {"tail": 5, "follow": False, "timestamps": True}
    assert await reading == LINES[-5:]


async def test_lines_in_several_messages(house: House) -> None:
    agent, row = await session(house)
    reading = asyncio.ensure_future(house.fleet.logs(row.id, 100))
    request = await answer(agent, LINES[:4], eof=False)
    await agent.say(LogsData(request_id=request.request_id, lines=LINES[4:], eof=True))
    assert await reading == LINES


async def test_of_long_lines_the_last_are_kept(house: House) -> None:
    agent, row = await session(house)
    reading = asyncio.ensure_future(house.fleet.logs(row.id, 1000))
    request = await agent.next(LogsRequest)
    long = [f"{number:03}".ljust(logs.LONGEST_LINE, ".") for number in range(150)]
    for at in range(0, 150, 50):
        await agent.say(LogsData(request_id=request.request_id, lines=long[at : at + 50], eof=at == 100))
    assert await reading == long[-64:]


async def test_nobody_answers_for_another(house: House) -> None:
    agent, row = await session(house)
    other = house.agent("other")
    await other.register()
    reading = asyncio.ensure_future(house.fleet.logs(row.id, 100))
    request = await agent.next(LogsRequest)
    await other.say(LogsData(request_id=request.request_id, lines=["forged"], eof=True))
    await other.heard()
    await agent.say(LogsData(request_id=request.request_id, lines=LINES, eof=True))
    assert await reading == LINES


async def test_a_silent_agent_leaves_the_brokers_own_lines_and_is_not_asked_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "ANSWER_WITHIN", 0.05)
    agent, row = await session(house)
    lines = await house.fleet.logs(row.id, 100)
    assert [line.split(" ", 1)[1] for line in lines] == [
        "[callboard] Pending: Session provisioning in progress...",
        "[callboard] Running: Session is running",
    ]
    await agent.next(LogsRequest)
    await house.fleet.logs(row.id, 100)
    await agent.heard()
    assert not [message for message in agent.waiting if isinstance(message, LogsRequest)]


@pytest.mark.parametrize("how", ["offline", "error", "cannot", "pending"])
async def test_the_brokers_own_lines(house: House, how: str) -> None:
    agent, row = await session(house, capabilities=["vnc"] if how == "cannot" else None)
    if how == "offline":
        await agent.drop()
    reading = asyncio.ensure_future(house.fleet.logs(row.id, 1))
    if how in ("error", "pending"):
        await answer(agent, [], error="no such session" if how == "error" else "")
    (line,) = await reading
    assert line.endswith("Running: Session is running")


async def test_after_a_restart_the_rows_tell(house: House) -> None:
    _, row = await session(house)
    await house.restart()
    lines = await house.fleet.logs(row.id, 100)
    assert [line.split(" ", 1)[1] for line in lines] == [
        "[callboard] session created", "[callboard] session started", "[callboard] Running: Session is running",
    ]  # fmt: skip


async def test_no_session_no_log(house: House) -> None:
    with pytest.raises(NotFound):
        await house.fleet.logs("never", 5)
    with pytest.raises(NotFound):
        await anext(house.fleet.follow("never", 5))


async def test_the_last_lines_of_an_ended_session_are_kept(house: House) -> None:
    agent, row = await session(house)
    await house.fleet.delete(row.id, force=True, by="kim", admin=True)
    await answer(agent, LINES)
    async with asyncio.timeout(SOON):
        while ("desktop_log", row.id) not in house.store.kept:
            await asyncio.sleep(0)
    assert await house.fleet.logs(row.id, 3) == LINES[-3:]
    assert await house.fleet.logs(row.id, 0) == []
    await house.restart()
    assert await house.fleet.logs(row.id, 1000) == LINES


async def test_an_ended_session_without_an_agent_keeps_the_brokers_own(house: House) -> None:
    agent, row = await session(house)
    await agent.drop()
    await house.fleet.delete(row.id, force=True, by="kim", admin=True)
    async with asyncio.timeout(SOON):
        while ("desktop_log", row.id) not in house.store.kept:
            await asyncio.sleep(0)
    assert (await house.fleet.logs(row.id, 1))[0].endswith("Terminated: Session ended by force")


# Following.


async def test_following_begins_with_the_last_lines_and_goes_on(house: House) -> None:
    agent, row = await session(house)
    reader = Reader(house, row.id, 3)
    request = await answer(agent, LINES, eof=False)
    assert request.data["follow"] is True
    await reader.until(lambda: reader.lines == LINES[-3:])
    await agent.say(LogsData(request_id=request.request_id, lines=["more"]))
    await reader.until(lambda: reader.lines[-1] == "more")
    await reader.stop()
    assert (await agent.next(LogsCancel)).request_id == request.request_id


async def test_many_followers_are_one_question(house: House) -> None:
    agent, row = await session(house)
    first = Reader(house, row.id, 2)
    request = await answer(agent, LINES, eof=False)
    await first.until(lambda: len(first.lines) == 2)
    second = Reader(house, row.id, 5)
    await second.until(lambda: second.lines == LINES[-5:])
    await agent.say(LogsData(request_id=request.request_id, lines=["x"]))
    for reader in (first, second):
        await reader.until(lambda reader=reader: reader.lines[-1] == "x")
    assert not [message for message in agent.waiting if isinstance(message, LogsRequest)]
    await first.stop()
    await agent.heard()
    assert not [message for message in agent.waiting if isinstance(message, LogsCancel)]
    await second.stop()
    await agent.next(LogsCancel)


async def test_following_ends_with_the_session(house: House) -> None:
    agent, row = await session(house)
    reader = Reader(house, row.id)
    await answer(agent, LINES, eof=False)
    await reader.until(lambda: reader.lines == LINES)
    await house.fleet.delete(row.id, force=True, by="kim", admin=True)
    request = await agent.next(LogsRequest)
    await agent.say(LogsData(request_id=request.request_id, lines=LINES, eof=True))
    follower = [node for node in house.tasks.root.walk() if node.kind == "log"]
    for node in follower:
        await agent.drop()
        await node.wait()
    await reader.until(lambda: reader.over)


async def test_a_reconnect_doubles_and_loses_nothing(house: House) -> None:
    agent, row = await session(house)
    reader = Reader(house, row.id)
    await answer(agent, LINES[:5], eof=False)
    await reader.until(lambda: reader.lines == LINES[:5])
    await agent.drop()
    await agent.register()
    await answer(agent, LINES[2:8], eof=False)
    await reader.until(lambda: reader.lines == LINES[:8])
    await reader.stop()


async def test_a_slow_follower_loses_the_oldest_and_is_told(house: House) -> None:
    agent, row = await session(house)
    slow = house.fleet.follow(row.id, 10)
    beginning = asyncio.ensure_future(anext(slow))
    request = await answer(agent, ["first"], eof=False)
    assert await beginning == ["first"]
    for start in range(0, 1500, 500):
        lines = [str(number) for number in range(start, start + 500)]
        await agent.say(LogsData(request_id=request.request_id, lines=lines))
    await agent.heard()
    control = Reader(house, row.id, 1)
    await control.until(lambda: control.lines == ["1499"])
    lines = await anext(slow)
    assert lines[0] == "… 500 lines skipped"
    assert lines[1:] == [str(number) for number in range(500, 1500)]
    await slow.aclose()
    await control.stop()


async def test_a_silent_agent_is_followed_by_the_brokers_own_lines(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "ANSWER_WITHIN", 0.05)
    _, row = await session(house)
    reader = Reader(house, row.id)
    await reader.until(lambda: len(reader.lines) == 2)
    await house.fleet.delete(row.id, force=True, by="kim", admin=True)
    await reader.until(lambda: reader.over)
    assert reader.lines[-1].endswith("Terminated: Session ended by force")


async def test_following_an_ended_session(house: House) -> None:
    agent, row = await session(house)
    await agent.drop()
    await house.fleet.delete(row.id, force=True, by="kim", admin=True)
    reader = Reader(house, row.id)
    await reader.until(lambda: reader.over)
    assert reader.lines[-1].endswith("Terminated: Session ended by force")


def test_an_endless_line_is_cut() -> None:
    (line,) = logs.clean(["x" * 100_000])
    assert len(line) == logs.LONGEST_LINE + 1
