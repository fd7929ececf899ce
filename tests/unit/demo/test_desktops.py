"""The demo's desktops: real sessions of real agents on the board, taken as operators leave them, and gone at the end."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.client.api import ApiError, BrokerClient
from app.client.snapshot import Board, read_board
from app.demo import desktops
from app.demo.desks import DESKS, GRAPHICS_RACK, MEDIA_RACK, PEOPLE, PLACES, RACKS, TEMPLATES
from app.demo.desktops import Desktops, can_run
from app.demo.house import Place
from tests.fakes.broker import BrokerProcess, Brokers

WITHIN = 60.0
OPTIONS = ("--local-agent=off", "--limit-create=1000", "--limit-other=100000")


def place_of(broker: BrokerProcess) -> Place:
    return Place(broker.url, broker.nats_url, broker.token)


def left_in(folder: Path) -> list[str]:
    """Command lines of processes that still have to do with a folder."""
    lines = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or ())
        if str(folder) in line and process.info["status"] != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
            lines.append(line)
    return lines


@asynccontextmanager
async def living(broker: BrokerProcess) -> AsyncIterator[Desktops]:
    async with Desktops(place_of(broker), broker.data_dir, seed=1) as there:
        life = asyncio.create_task(there.run())
        try:
            yield there
        finally:
            life.cancel()
            await asyncio.wait([life])
            if not life.cancelled():
                life.result()


async def until(broker: BrokerProcess, holds: Callable[[Board], Any]) -> Board:
    """The board, once it is so."""
    async with asyncio.timeout(WITHIN):
        while not holds(board := await read_board(broker.url, broker.token)):
            await asyncio.sleep(0.2)
    return board


async def pictured(client: BrokerClient, session_id: str) -> bytes | None:
    """A picture; None where a busy machine had none within its second."""
    try:
        return await client.fleet.thumbnail(session_id, 320)
    except ApiError as error:
        if error.status not in (502, 504):
            raise
        return None


def states(board: Board) -> Counter[str]:
    """Of what is there; a busy machine may have ended a session that came up too slowly."""
    return Counter(row.state for row in board.desktops.values() if row.state != "terminated")


def all_there(board: Board) -> bool:
    drains = GRAPHICS_RACK in board.agents and board.agents[GRAPHICS_RACK].status == "draining"
    return drains and states(board) == {"running": len(DESKS) - 1, "hibernated": 1}


def test_the_cast_fits_its_racks() -> None:
    assert can_run()
    assert {desk.template for desk in DESKS} == {str(template["name"]) for template in TEMPLATES}
    assert {desk.user for desk in DESKS} == set(PEOPLE)
    held = Counter(desk.rack for desk in DESKS)
    assert set(held) == set(RACKS)
    assert max(held.values()) < PLACES, "there is room for a newcomer's own session"
    assert {desk.rack for desk in DESKS if desk.mood == "leaving"} == {GRAPHICS_RACK}
    assert all(desk.mood == "leaving" for desk in DESKS if desk.rack == GRAPHICS_RACK)


async def test_people_have_desktops_and_operators_have_their_way(
    brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desktops, "BACK_AFTER", (0.1, 0.2))
    monkeypatch.setattr(desktops, "STAYS", (3600.0, 3600.0))  # all are there together, however long it takes
    monkeypatch.setattr(desktops, "SLEEPS", (3600.0, 3600.0))
    broker = brokers.start(*OPTIONS)
    async with living(broker):
        board = await until(broker, all_there)
        assert {row.user for row in board.desktops.values()} == set(PEOPLE)
        assert {row.platform for row in board.desktops.values()} == {"local"}
        steady = next(
            row
            for row in board.desktops.values()
            if row.agent_id == MEDIA_RACK and "control" in row.tags and row.state == "running"
        )
        async with BrokerClient(broker.url, broker.token) as client:
            async with asyncio.timeout(WITHIN):
                while (picture := await pictured(client, steady.id)) is None:
                    await asyncio.sleep(0.2)
            assert picture.startswith(b"\xff\xd8")
            await client.fleet.delete_session(steady.id)

        def came_back(now: Board) -> bool:
            return any(
                row.state == "running" and (row.user, row.template) == (steady.user, steady.template)
                for row in now.desktops.values()
                if row.id not in board.desktops
            )

        await until(broker, came_back)
    assert left_in(broker.data_dir / "agents") == []


async def test_a_rack_drains_empties_and_takes_sessions_again(
    brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desktops, "LOOK_EVERY", 0.2)
    monkeypatch.setattr(desktops, "STAYS", (2.5, 3.0))
    monkeypatch.setattr(desktops, "EMPTY_FOR", 0.5)
    monkeypatch.setattr(desktops, "OPEN_FOR", (1.0, 1.1))
    broker = brokers.start(*OPTIONS)

    def on_graphics(board: Board) -> int:
        return sum(row.agent_id == GRAPHICS_RACK and row.state == "running" for row in board.desktops.values())

    def status(board: Board) -> str:
        return board.agents[GRAPHICS_RACK].status if GRAPHICS_RACK in board.agents else ""

    async with living(broker):
        await until(broker, lambda board: status(board) == "draining" and on_graphics(board))
        await until(broker, lambda board: on_graphics(board) == 0)
        await until(broker, lambda board: status(board) == "online")
        await until(broker, lambda board: status(board) == "draining" and on_graphics(board))


async def test_desktops_live_on_when_their_broker_comes_back_elsewhere(
    brokers: Brokers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desktops, "STAYS", (3600.0, 3600.0))  # nobody leaves, or wakes up, meanwhile
    monkeypatch.setattr(desktops, "SLEEPS", (3600.0, 3600.0))
    broker = brokers.start(*OPTIONS)
    async with living(broker) as there:
        board = await until(broker, all_there)
        servers = sorted(line for line in left_in(broker.data_dir / "agents") if "Xvnc" in line)
        broker.kill()
        again = brokers.start(*OPTIONS)
        assert again.url != broker.url
        await there.move(place_of(again))

        def back(now: Board) -> bool:
            return all(agent.status != "offline" for agent in now.agents.values()) and all_there(now)

        after = await until(again, back)
        assert set(board.desktops) <= set(after.desktops)
        assert sorted(line for line in left_in(broker.data_dir / "agents") if "Xvnc" in line) == servers
        assert len(servers) == len(DESKS)
    assert left_in(broker.data_dir / "agents") == []
