"""What a NATS server refuses is asked for again: its rules are mended without ending connections."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import msgspec
import psutil
import pytest
import structlog

from app.demo.nats_client import connect as connect_nats
from app.errors import Unavailable
from app.paths import DataFolder
from app.server.bus import nats as bus_module
from app.server.bus.embedded import EmbeddedNats
from app.server.bus.nats import Bus
from app.server.tasks import TaskTree
from tests.unit.server.bus.test_nats import Board

REQUEST = "maestra.stream.request.x"
HEARTBEATS = "maestra.stream.heartbeat.*"


class Rules:
    """What the internal user of a running server may do."""

    def __init__(self, server: EmbeddedNats, folder: DataFolder) -> None:
        self._server = server
        self._file = folder.nats / "nats-server.conf"

    def deny(self, **denied: str) -> None:
        """Forbid one subject for each verb, all else is allowed, and let the server read it as an operator does."""
        told = msgspec.json.decode(self._file.read_bytes())
        told["port"] = self._server.port
        user = told["authorization"]["users"][0]
        user["permissions"] = {verb: {"allow": [">"], "deny": [subject]} for verb, subject in denied.items()}
        self._file.write_bytes(msgspec.json.encode(told))
        assert self._server.pid is not None
        psutil.Process(self._server.pid).send_signal(signal.SIGHUP)


@pytest.fixture
def rules(server: EmbeddedNats, folder: DataFolder, monkeypatch: pytest.MonkeyPatch) -> Rules:
    monkeypatch.setattr(bus_module, "ASK_AGAIN", 0.05)
    return Rules(server, folder)


async def refused(bus: Bus, board: Board) -> None:
    """Ask until the server's new rules hold."""
    async with asyncio.timeout(10):
        while board.nats.ok:
            asked = bus.request(REQUEST, b"", 60.0)
            await asyncio.wait([asked], timeout=0.05)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)


@pytest.mark.parametrize("denied", [{"publish": "maestra.stream.request.*"}, {"subscribe": "_CALLBOARD.>"}])
async def test_a_broker_that_may_work_again_does_so_over_the_same_connection(
    tree: TaskTree, server: EmbeddedNats, rules: Rules, denied: dict[str, str]
) -> None:
    board = Board()
    bus = Bus(tree, board.health, lambda: server.url)
    await bus.start()
    link = bus._link
    beats: list[bytes] = []
    await bus.subscribe(HEARTBEATS, lambda subject, payload: beats.append(payload))
    with structlog.testing.capture_logs() as logs:
        rules.deny(**denied)
        await refused(bus, board)
        assert board.nats.take_down
        looks = counted(bus)
        async with asyncio.timeout(10):
            while looks() < 3:
                await asyncio.sleep(0.01)
        assert board.nats.take_down
        with pytest.raises(Unavailable, match="does not let this broker work") as caught:
            await bus.request(REQUEST, b"", 60.0)
        assert caught.value.code == "bus_away"
    assert sum(line["event"] == "NATS refuses" for line in logs) < 3, "not once for each look"
    rules.deny()
    await board.until(lambda: board.nats.ok)
    with pytest.raises(Unavailable) as caught:
        await bus.request(REQUEST, b"", 60.0)
    assert caught.value.code == "no_responders"
    assert bus._link is link
    publisher = await connect_nats(server.url, allow_reconnect=False)
    await publisher.publish("maestra.stream.heartbeat.s1", b"one")
    await publisher.flush()
    await bus.subscribe("another", lambda subject, payload: None)  # and what came before is here
    assert beats == [b"one"], "none twice, for all that was subscribed again"
    await publisher.close()
    await bus.stop()


def counted(bus: Bus) -> Any:
    """How often it has looked whether the server still refuses."""
    looks = 0
    look = bus._ask_again

    async def watched(link: Any) -> None:
        nonlocal looks
        await look(link)
        looks += 1

    bus._ask_again = watched  # type: ignore[method-assign]
    return lambda: looks


async def test_what_it_may_announce_or_hear_again_is_told(tree: TaskTree, server: EmbeddedNats, rules: Rules) -> None:
    board = Board()
    bus = Bus(tree, board.health, lambda: server.url)
    await bus.start()
    heard = asyncio.Event()
    await bus.subscribe(HEARTBEATS, lambda subject, payload: heard.set())
    rules.deny(subscribe=HEARTBEATS)
    await board.until(lambda: not board.nats.ok)
    assert not board.nats.take_down
    rules.deny(publish="maestra.stream.advertise")
    async with asyncio.timeout(10):
        while "advertise" not in board.nats.text:
            bus.publish("maestra.stream.advertise", b"x")
            await asyncio.sleep(0.01)
    assert not board.nats.take_down
    rules.deny()
    await board.until(lambda: board.nats.ok)
    publisher = await connect_nats(server.url, allow_reconnect=False)
    await publisher.publish("maestra.stream.heartbeat.s1", b"one")
    async with asyncio.timeout(10):
        await heard.wait()
    await publisher.close()
    await bus.stop()
