"""A console process for tests that kill it, and a feed that watches the broker without a window."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import msgspec

from app.client.feed import FeedClient, Link
from app.contract import BEAT_EVERY, Beat, Diff, FeedMessage
from app.models.store import Store
from tests.e2e.house import OPERATOR
from tests.fakes.broker import ROOT

WITHIN = 40.0


class ConsoleProcess:
    """See ``console_driver.py``. ``seen`` is what could be read on the window last."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        self.data_dir = data_dir
        self.options = options
        self.seen: dict[str, Any] = {}
        self.pressed = 0

    async def start(self) -> Self:
        """Start the program; its window comes when it comes."""
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        settings = self.data_dir.parent / "console.ini"
        settings.write_text(f'[General]\noperator="\\"{OPERATOR}\\""\n[window]\nplots_open=false\n')
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.e2e.console_driver", str(self.data_dir), *self.options, cwd=ROOT,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**22,
        )  # fmt: skip
        return self

    async def press(self, keys: str) -> None:
        """A key sequence, where the keyboard is."""
        assert self.process.stdin is not None
        self.pressed += 1
        self.process.stdin.write(f"{keys}\n".encode())
        await self.process.stdin.drain()

    async def until(self, condition: Callable[[dict[str, Any]], Any], within: float = WITHIN) -> Any:
        """Wait for the refresh of its window that makes it true."""
        assert self.process.stdout is not None
        try:
            async with asyncio.timeout(within):
                while not (self.seen and (found := condition(self.seen))):
                    line = await self.process.stdout.readline()
                    assert line, f"the console has ended: {await self.process.wait()}"
                    self.seen = json.loads(line)
        except TimeoutError:
            raise AssertionError(f"the window does not show it: {self.seen}") from None
        return found

    async def row(self, row_id: str, **cells: str) -> dict[str, str]:
        """Wait until a row of the table in front says this; of the state its word counts."""

        def says(seen: dict[str, Any]) -> Any:
            row = seen["rows"].get(row_id)
            if row is None:
                return None
            said = row | {"state": row["state"].split(" ")[0]}
            return row if all(said[column] == words for column, words in cells.items()) else None

        return dict(await self.until(says))

    async def go_to(self, page: str, keys: str, row_id: str) -> None:
        """Bring a page to the front by its key and make a row the current one with the arrows."""
        await self.press(keys)
        await self.until(lambda seen: seen["page"] == page and row_id in seen["rows"])
        await self.press("Home")
        while not (await self.fresh())["rows"][row_id]["current"]:
            await self.press("Down")

    async def fresh(self) -> dict[str, Any]:
        """What a refresh shows after every key that was pressed; lines of before may still be on their way."""
        self.seen = {}
        await self.until(lambda seen: seen["pressed"] == self.pressed)
        return self.seen

    async def kill(self) -> None:
        """``kill -9``; its pipes are read to their end, or they would outlive the loop."""
        if self.process.returncode is None:
            self.process.kill()
        await asyncio.wait_for(self.process.communicate(), WITHIN)


class Watcher:
    """A feed into a store, which outlives consoles and brokers; ``beats`` holds every beat of a session as it came,
    and when.

    ``late`` is how far a message stayed away at the most beyond the second in which one has to come: so late the broker
    or this process was, and so much later than it happened may something be seen.
    """

    def __init__(self, url: str, token: str) -> None:
        self.store = Store()
        self.beats: list[tuple[str, Beat, float]] = []
        self.gone: dict[str, float] = {}
        self.late = 0.0
        self._heard = time.monotonic()
        self._changed = asyncio.Event()
        self._feed = FeedClient(url, token, self._message, self._link)
        self.store.listen(lambda _: self._changed.set())
        self._task = asyncio.ensure_future(self._feed.run())

    def _message(self, message: FeedMessage) -> None:
        before, self._heard = self._heard, time.monotonic()
        self.late = max(self.late, self._heard - before - BEAT_EVERY)
        if isinstance(message, Diff):
            for event in message.events:
                if event.kind == "session.beat":
                    beat = msgspec.json.decode(event.change, type=Beat)
                    self.beats.append((event.id, beat, self._heard))
                elif event.kind in ("session.expired", "session.stopped"):
                    self.gone[event.id] = time.monotonic()
        if not self.store.receive(message):
            self._feed.resync()
        self._changed.set()

    def _link(self, link: Link) -> None:
        self.store.set_link(link.state, link.since, link.text)

    async def until(self, condition: Callable[[], Any], within: float = WITHIN) -> Any:
        """Wait for the message that makes it true; a beat comes every second."""
        async with asyncio.timeout(within):
            while not (found := condition()):
                self._changed.clear()
                await self._changed.wait()
        return found

    async def close(self) -> None:
        """Watch no more."""
        self._task.cancel()
        await asyncio.wait({self._task})


@asynccontextmanager
async def watching(url: str, token: str) -> AsyncIterator[Watcher]:
    """A watcher for the time of a block, live when it begins."""
    watcher = Watcher(url, token)
    try:
        await watcher.until(lambda: watcher.store.live)
        yield watcher
    finally:
        await watcher.close()
