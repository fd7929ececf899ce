"""A house for end-to-end tests: a broker process, the console on it in this process, publishers and consumers.

Nothing here is a stand-in: the broker is ``python -m app serve`` with its nats-server, the console is the whole window
on Qt's loop, adopting that broker by its data folder, publishers are nats-py clients. ``until`` waits for what the
console learns or shows; what only the broker knows is asked for over HTTP.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from nats.aio.client import Client
from nats.aio.msg import Msg
from PySide6.QtCore import QCoreApplication, QEvent, Qt, QTimer
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel

from app.client.broker_file import running_broker
from app.demo.nats_client import connect as connect_nats
from app.ui.console import Console
from app.ui.settings import Settings
from tests.fakes.broker import BrokerProcess
from tests.fakes.ports import free_ports

WITHIN = 45.0
OPERATOR = "kim"
FINGER = 0.1
"""Seconds between two presses; what comes faster is the repeat of a key that is held (``app/ui/key_repeat.py``)."""
CAMERA: dict[str, Any] = {
    "name": "Cam 1",
    "stream_type": "srt",
    "publisher_id": "cam-1",
    "protocol": "srt",
    "address": "10.0.40.21",
    "port": 9710,
}
WALL: dict[str, Any] = {"consumer_id": "wall", "consumer_address": "10.0.40.50", "consumer_port": 5000}
PRESET: dict[str, Any] = WALL | {"name": "Wall", "default": True}
YES: dict[str, Any] = {"accepted": True, "transport_config": {"latency_ms": 80}}
QUEUES = (
    "callboard_task_nodes",
    "callboard_asyncio_tasks",
    "callboard_journal_waiting",
    "callboard_bus_waiting",
    "callboard_feed_waiting",
)
"""What a fault may raise and has to bring back."""

Reply = bytes | dict[str, Any]


async def eventually(ask: Callable[[], Awaitable[Any]], within: float = WITHIN) -> Any:
    """Ask another process until its answer is true: there is no event of it to wait for."""
    async with asyncio.timeout(within):
        while not (found := await ask()):
            await asyncio.sleep(0.02)
    return found


class Publisher:
    """One stream with its nats-py client. ``asked`` holds what consumers sent; ``replies`` go to each of them."""

    def __init__(self, bus: Client, http: httpx.AsyncClient, row: dict[str, Any], replies: tuple[Reply, ...]) -> None:
        self.bus = bus
        self.http = http
        self.row = row
        self.replies = replies
        self.asked: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.before_reply: Callable[[], Awaitable[Any]] | None = None

    @property
    def id(self) -> str:
        """The stream's."""
        return str(self.row["id"])

    async def listen(self) -> None:
        """Answer requests from now on."""
        await self.bus.subscribe(f"maestra.stream.request.{self.id}", cb=self._answer)
        await self.bus.flush()

    async def beat(self) -> int:
        """One heartbeat over HTTP; its status."""
        return (await self.http.post(f"/streams/{self.id}/heartbeat")).status_code

    async def request(self, **changes: Any) -> httpx.Response:
        """A consumer asks for the stream."""
        return await self.http.post(f"/streams/{self.id}/request", json=WALL | changes)

    async def _answer(self, message: Msg) -> None:
        await self.asked.put(json.loads(message.data))
        if self.before_reply is not None:
            await self.before_reply()
        for reply in self.replies:
            await message.respond(reply if isinstance(reply, bytes) else json.dumps(reply).encode())


class House:
    """See the module's docstring. ``http`` is a stranger's client, ``desk`` one with the console's token."""

    def __init__(self, process: BrokerProcess, console: Console, name: str) -> None:
        self.name = name
        self.process = process
        self.console = console
        self.http = httpx.AsyncClient(base_url=process.url, trust_env=False, timeout=15.0)
        bearer = {"Authorization": f"Bearer {process.token}", "X-Callboard-Operator": OPERATOR}
        self.desk = httpx.AsyncClient(base_url=process.url, trust_env=False, timeout=15.0, headers=bearer)
        self._buses: list[Client] = []
        self._pressed = 0.0

    # -- peers -------------------------------------------------------------------------------------------------

    async def bus(self, url: str = "") -> Client:
        """A nats-py client that comes back as publishers do."""

        async def quietly(error: Exception) -> None:
            """Whoever needs the connection learns of it there."""

        client = await connect_nats(
            url or self.process.nats_url, reconnect_time_wait=0.05, max_reconnect_attempts=-1, error_cb=quietly
        )
        self._buses.append(client)
        return client

    async def publisher(self, *replies: Reply, bus: Client | None = None, **changes: Any) -> Publisher:
        """A stream whose publisher sends ``replies`` to every request; none: it listens and stays silent."""
        made = Publisher(bus or await self.bus(), self.http, await self.advertise(**changes), replies)
        await made.listen()
        await self.until(lambda: made.id in self.console.store.streams)
        return made

    async def advertise(self, **changes: Any) -> dict[str, Any]:
        """The camera, changed; its row as answered."""
        answer = await self.http.post("/streams/advertise", json=CAMERA | changes)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def preset(self, **changes: Any) -> dict[str, Any]:
        """A default preset; it is on the board when this returns."""
        answer = await self.desk.post("/console/v1/presets", json=PRESET | changes)
        assert answer.status_code == 201, answer.text
        row = dict(answer.json())
        await self.until(lambda: row["id"] in self.console.store.presets)
        return row

    # -- what the broker knows ---------------------------------------------------------------------------------

    async def state(self) -> dict[str, Any]:
        """Every stream, session and type as any client lists them."""
        answer = await self.http.get("/streams/state")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def sessions(self) -> dict[str, dict[str, Any]]:
        """Live sessions by id."""
        answer = await self.http.get("/streams/sessions")
        assert answer.status_code == 200, answer.text
        return {row["session_id"]: row for row in answer.json()}

    async def figures(self) -> dict[str, float]:
        """``/metrics``, lines without labels."""
        answer = await self.http.get("/metrics")
        assert answer.status_code == 200, answer.text
        return figures_of(answer.text)

    async def queues(self) -> dict[str, float]:
        """What has to be back at its base after a fault."""
        figures = await self.figures()
        return {name: figures[name] for name in QUEUES}

    async def calm(self) -> dict[str, float]:
        """The base: the figures of a broker that three looks in a row find the same."""
        seen = [await self.queues()]

        async def steady() -> bool:
            seen.append(await self.queues())
            return seen[-3:].count(seen[-1]) == 3

        await eventually(steady)
        return seen[-1]

    async def back_at(self, base: dict[str, float], within: float = 30.0) -> None:
        """Wait until tasks and queues are what they were."""
        last: dict[str, float] = {}

        async def same() -> bool:
            last.update(await self.queues())
            return last == base

        try:
            await eventually(same, within)
        except TimeoutError:
            raise AssertionError(f"tasks or queues stay at {last}, they were at {base}") from None

    @asynccontextmanager
    async def unharmed(self) -> AsyncIterator[None]:
        """What the block does changes no row, leaves no task or queue behind, and the strip has no complaint."""
        base, rows = await self.calm(), await self.state()
        yield
        await self.back_at(base)
        assert await self.state() == rows
        assert set(self.console.store.streams) == {row["id"] for row in rows["streams"]}
        assert set(self.console.store.sessions) == {row["session_id"] for row in rows["sessions"]}
        self.says_all_well()
        assert (await self.http.get("/healthz")).json()["status"] == "ok"

    async def kill_the_broker(self) -> None:
        """``kill -9``; the board has said so when this returns, however soon the console has begun another."""
        lost = asyncio.ensure_future(self.until(lambda: not self.console.store.live))
        await asyncio.to_thread(self.process.kill)
        await lost

    # -- what the operator does and sees -----------------------------------------------------------------------

    async def until(self, condition: Callable[[], Any], within: float = WITHIN) -> Any:
        """Wait for the change of the store, of an act, or for the refresh of the window that makes it true."""
        console = self.console
        changed = asyncio.Event()
        stop = console.store.listen(lambda _: changed.set())
        console.actions.changed.connect(changed.set)
        console.window._timer.timeout.connect(changed.set)
        try:
            async with asyncio.timeout(within):
                while not (found := condition()):
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            raise AssertionError(
                f"it does not become true; the strip: {self.strip}; the window: {self.reads()}"
            ) from None
        finally:
            stop()
            console.actions.changed.disconnect(changed.set)
            console.window._timer.timeout.disconnect(changed.set)
        return found

    @property
    def strip(self) -> str:
        """The text on the strip, as a screen reader reads it."""
        return self.console.window.strip.accessibleName()

    async def strip_says(self, words: str, within: float = WITHIN) -> str:
        """Wait for words on the strip; all of its text."""
        await self.until(lambda: words in self.strip, within)
        return self.strip

    async def strip_is_quiet(self, within: float = WITHIN) -> None:
        """Wait until nothing on the strip complains."""
        await self.until(lambda: (now := self.console.strip_state()).live and not now.problems, within)
        self.says_all_well()

    def says_all_well(self) -> None:
        """The strip names the broker and complains of nothing."""
        window = self.console.window
        window.refresh()
        assert window.strip.state.live
        assert window.strip.state.problems == ()
        assert window.strip.state.blocked == ""
        assert self.strip.startswith(self.name)
        assert "NOT LIVE" not in self.strip
        assert "DOWN" not in self.strip

    @property
    def toasts(self) -> list[str]:
        """Sentences at the foot of the window, oldest first."""
        return [toast.text for toast in self.console.window.toasts.items]

    def press(self, key: Qt.Key, modifiers: Qt.KeyboardModifier = Qt.KeyboardModifier.NoModifier) -> None:
        """A key at the native window, no sooner after the last one than a finger does it.

        It comes from Qt's loop: no nested loop may run inside a coroutine.
        """
        window, now = self.console.window, time.monotonic()
        self._pressed = max(now, self._pressed + FINGER)
        wait = math.ceil((self._pressed - now) * 1000)
        QTimer.singleShot(wait, window, lambda: QTest.keyClick(window.windowHandle(), key, modifiers))

    async def show(self, page: str, row_id: str) -> None:
        """Bring a page to the front with the keyboard on one row of its table."""
        window = self.console.window
        window.show_page(page)
        view = window.page.table()
        assert view is not None
        view.setFocus()
        await self.until(lambda: view.select_id(row_id))

    def cells(self, row_id: str) -> dict[str, str]:
        """What stands in a row of the table in front, by the key of the column."""
        view = self.console.window.page.table()
        assert view is not None
        item = view.table.item(view.table.row_of(row_id))
        return {column.key: view.table.cell(item, column) for column in view.table.columns}

    async def take_by_key(self, stream_id: str) -> None:
        """Press R on a stream; the take has ended, well or not, when this returns."""
        ended: list[str] = []

        def finished(verb: str, row_id: str, _: object) -> None:
            if verb == "take":
                ended.append(row_id)

        await self.show("Streams", stream_id)
        self.console.actions.finished.connect(finished)
        try:
            self.press(Qt.Key.Key_R)
            await self.until(lambda: stream_id in ended)
        finally:
            self.console.actions.finished.disconnect(finished)
        self.console.window.page.refresh()

    async def row_says(self, row_id: str, **wanted: str) -> dict[str, str]:
        """Wait until the cells of a row say this (of the state its word counts); all of them."""
        cells: dict[str, str] = {}

        def says() -> bool:
            cells.update(self.cells(row_id))
            said = cells | {"state": cells["state"].split(" ")[0]} if "state" in cells else cells
            return all(said[column] == words for column, words in wanted.items())

        try:
            await self.until(says, 20.0)  # a row that nobody beats lives for 30 s
        except AssertionError:
            raise AssertionError(f"the row stays at { {name: cells.get(name) for name in wanted} }") from None
        return cells

    def reads(self) -> str:
        """Every label that is visible in the window, line by line."""
        labels = self.console.window.findChildren(QLabel)
        return "\n".join(label.text() for label in labels if label.isVisible() and label.text())

    # -- the end -----------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Peers go."""
        for bus in self._buses:
            await bus.close()
        await self.http.aclose()
        await self.desk.aclose()


def figures_of(text: str) -> dict[str, float]:
    """Prometheus' lines that have no labels."""
    lines = (line.split(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in lines if "{" not in name}


@asynccontextmanager
async def a_console(
    folder: Path, data_dir: Path, options: tuple[str, ...] = (), broker: str | None = None
) -> AsyncIterator[Console]:
    """The real window; it is left, and its broker goes on, with the end of the block."""
    app = QApplication.instance()
    assert isinstance(app, QApplication)
    settings = Settings(folder / "console.ini")
    settings.set("operator", OPERATOR)
    settings.set("window/plots_open", False)
    console = Console(app, settings, data_dir, options)
    console.show()
    console.window.resize(1440, 880)  # the screen that Qt has offscreen is smaller than any operator's
    console.window.activateWindow()
    running = asyncio.create_task(console.run(broker))
    try:
        yield console
    finally:
        console.leave_now()
        async with asyncio.timeout(WITHIN):
            await running
        console.window.deleteLater()
        QCoreApplication.sendPostedEvents(None, int(QEvent.Type.DeferredDelete.value))


@asynccontextmanager
async def a_house(
    folder: Path, *options: str, name: str = "house", quiet: bool = True, **more: Any
) -> AsyncIterator[House]:
    """A broker process and a console on it; both are gone with the block, and whatever broker the console started.

    ``quiet``: the strip has nothing to complain of when the block begins.
    """
    given = " ".join(options)  # the console starts a killed broker with the same ones: never on the default ports
    free = [f"--{port}=0" for port in ("port", "nats-port") if f"--{port}" not in given]
    options = (f"--name={name}", *free, *options)
    process = BrokerProcess(folder / "data", options, **more)
    try:
        await asyncio.to_thread(process.start)
        async with a_console(folder, folder / "data", options) as console:
            house = House(process, console, name)
            try:
                if quiet:
                    await house.strip_is_quiet()
                yield house
            finally:
                await house.close()
                if console.context.embedded is not None and console.context.embedded.state.pid != process.pid:
                    await console.context.embedded.stop()
    finally:
        await asyncio.to_thread(process.end)
        end_what_is_left(folder / "data")


def in_a_house(
    *options: str, name: str = "house", nats_returns: bool = False
) -> Callable[[Callable[[House], Awaitable[None]]], Callable[[Path], Awaitable[None]]]:
    """Make a test of a coroutine that takes a house; its broker gets these options of ``serve``.

    ``nats_returns``: its nats-server goes and comes back, on a port that nobody is given meanwhile.
    """

    def make(test: Callable[[House], Awaitable[None]]) -> Callable[[Path], Awaitable[None]]:
        async def run(tmp_path: Path) -> None:
            ports = [f"--nats-port={port}" for port in free_ports(int(nats_returns))]
            async with a_house(tmp_path, *ports, *options, name=name) as house:
                await test(house)

        run.__name__, run.__doc__ = test.__name__, test.__doc__
        return run

    return make


def end_what_is_left(data_dir: Path) -> None:
    """A broker that a console started after ours was killed; its nats-server ends with it."""
    found = running_broker(data_dir)
    if found is not None:
        os.kill(found.pid, 9)
