"""The demo's roles: headless, on a broker elsewhere, and beside the window; the composition root of ``app/demo``.

Called by ``app/cli.py`` (``callboard demo``, ``demo-clients``). The demo has a data folder and ports of its own, so it
never meets the real board; whichever way it ends, its publishers, consumers, desktops and its own broker end with it.
Beside the window its people live in a child process, so that they take no time from the window's thread; that child
ends, and takes the broker along, when its standard input closes, which the death of the console does too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec

from app import logs
from app.client.broker_file import (
    folder_is_held,
    main_url,
    process_runs,
    read_agent_key,
    read_token,
    running_broker,
)
from app.client.process import BrokerState, EmbeddedBroker
from app.demo.desktops import Desktops, can_run
from app.demo.house import Place
from app.demo.simulation import Simulation
from app.demo.venue import Venue, others
from app.errors import CallboardError, ConfigError, Forbidden, PortInUse, Unavailable
from app.packaged import own_command

SERVE_OPTIONS = (
    "--port", "0", "--nats-port", "0", "--local-agent", "off",
    "--limit-create", "10000", "--limit-other", "100000",
)  # fmt: skip
"""The demo's broker takes free ports; dialects of later issues add theirs here. It has agents of its own, and its people
share one login, whose limits are out of their way."""
DEMO_FILE = "demo.json"
LOOK_EVERY = 0.3
BROKER_WITHIN = 90.0
"""Seconds that the broker beside the window may take to appear."""
LEAVE_WITHIN = 20.0
STARTING_FOR = 12.0
UNSEEN_FOR = 3.0
"""Seconds after the end of a window in which its broker may still be starting, or not even show that it does."""
DEFAULT_NATS_PORT = 4222

Ready = Callable[[dict[str, Any]], None]


class _Owner(msgspec.Struct):
    """``demo.json``: the demo that uses a folder."""

    pid: int
    started_at: float


@dataclass(frozen=True)
class Size:
    """How much of everything: ``publishers`` None is the cast; ``agents`` are simulated ones beside the real."""

    publishers: int | None = None
    agents: int = 0
    desktops: bool = True


def headless(data_dir: Path, size: Size, *, ready: Ready) -> int:
    """Broker and people without a window, until SIGTERM or SIGINT; the exit status."""
    logs.configure("warning")
    with _own(data_dir):
        return asyncio.run(_headless(data_dir, size, ready))


def visit(
    url: str, nats_url: str | None, token: str | None, agent_key: str | None, size: Size, *, force: bool, ready: Ready
) -> int:
    """Only the people, on a broker that runs already, until SIGTERM or SIGINT; the exit status."""
    logs.configure("warning")
    if size.agents and agent_key is None:
        raise ConfigError("--agents: agents need a key of that broker; give it as CALLBOARD_AGENT_KEY.")
    return asyncio.run(_visit(Place(url, nats_url, token), agent_key, size, force, ready))


def companions(data_dir: Path, size: Size) -> int:
    """The child beside the window: people for the broker of ``data_dir`` until standard input closes."""
    logs.configure("error")
    return asyncio.run(_companions(data_dir, size))


@contextlib.contextmanager
def beside_window(data_dir: Path, size: Size) -> Iterator[None]:
    """While the window is open, ``companions`` live in a child process; leaving ends them and the demo's broker."""
    with _own(data_dir):
        arguments = [*own_command(), "demo-clients", "--data-dir", str(data_dir), "--agents", str(size.agents)]
        if size.publishers is not None:
            arguments += ["--publishers", str(size.publishers)]
        if not size.desktops:
            arguments += ["--no-desktops"]
        flags: dict[str, Any] = {"start_new_session": True} if sys.platform != "win32" else {}
        child = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, **flags)
        try:
            yield
        finally:
            if child.stdin is not None:
                child.stdin.close()
            try:
                child.wait(LEAVE_WITHIN)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


# -- roles -----------------------------------------------------------------------------------------------------


async def _headless(data_dir: Path, size: Size, ready: Ready) -> int:
    ended = _on_signals()
    states: asyncio.Queue[BrokerState] = asyncio.Queue()
    broker = EmbeddedBroker(data_dir, states.put_nowait, options=SERVE_OPTIONS)
    try:
        state = await broker.start()
        place = _place(data_dir)
        if state.state != "running" or place is None:
            raise PortInUse(state.text or "The demo's broker did not start.")
        ready({"ready": True, "pid": os.getpid(), "broker_pid": state.pid, "main": place.url, "nats": place.nats_url})
        await _live(ended, data_dir, place, size, broker.run())
    finally:
        await broker.stop()
    return 0


async def _visit(place: Place, agent_key: str | None, size: Size, force: bool, ready: Ready) -> int:
    ended = _on_signals()
    strangers = await others(place)
    if strangers and not force:
        raise Forbidden(f"{strangers} other streams live on {place.url}; the demo goes there only with --force.")
    place = Place(place.url, place.nats_url or await _nats_of(place), place.token)
    try:
        async with AsyncExitStack() as stack:
            lives: list[_Life] = [await stack.enter_async_context(Venue(place, size.publishers, own=False))]
            if size.agents and agent_key is not None:
                lives.append(await stack.enter_async_context(Simulation(place, agent_key, size.agents)))
            ready({"ready": True, "pid": os.getpid(), "main": place.url, "nats": place.nats_url})
            await _until(ended, *(life.run() for life in lives))
    except (OSError, TimeoutError) as error:
        raise Unavailable(f"The NATS server at {place.nats_url} does not answer; give it as --nats-url.") from error
    return 0


async def _companions(data_dir: Path, size: Size) -> int:
    ended = _on_signals()
    _end_with_stdin(ended)
    place = None
    try:
        place = await _first_place(data_dir, ended)
        if place is not None:
            await _live(ended, data_dir, place, size)
    finally:
        await _end_broker(data_dir, grace=UNSEEN_FOR if place is None else 0.0)
    return 0


async def _live(
    ended: asyncio.Event, data_dir: Path, place: Place, size: Size, *beside: Coroutine[Any, Any, Any]
) -> None:
    """Everybody of the demo's own board, until ``ended``; desktops where this machine can run any."""
    async with AsyncExitStack() as stack:
        lives: list[_Life] = [await stack.enter_async_context(Venue(place, size.publishers, own=True))]
        if size.desktops and can_run():
            lives.append(await stack.enter_async_context(Desktops(place, data_dir)))
        key = read_agent_key(data_dir)
        if size.agents and key is not None:
            lives.append(await stack.enter_async_context(Simulation(place, key, size.agents)))
        await _until(ended, *beside, *(life.run() for life in lives), _follow(data_dir, lives))


# -- what they are made of -------------------------------------------------------------------------------------


class _Life(Protocol):
    """A part of the demo that can live at any address."""

    place: Place

    async def run(self) -> None:
        """Live for ever."""

    async def move(self, place: Place) -> None:
        """Go on at another address."""


async def _until(ended: asyncio.Event, *lives: Coroutine[Any, Any, Any]) -> None:
    """Run everything until ``ended``; what fails ends the rest and is raised."""
    tasks = [asyncio.ensure_future(life) for life in (ended.wait(), *lives)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def _follow(data_dir: Path, lives: Sequence[_Life]) -> None:
    """Move everybody when the broker has come back at another address."""
    while True:
        await asyncio.sleep(LOOK_EVERY)
        place = await asyncio.to_thread(_place, data_dir)
        for life in lives:
            if place is not None and place != life.place:
                try:
                    await life.move(place)
                except (OSError, TimeoutError, CallboardError):
                    continue  # not there yet; the next look tries again


async def _end_broker(data_dir: Path, grace: float) -> None:
    """Stop the demo's broker, also one that is only starting; ``grace``: seconds that it may not be seen at all."""
    began = time.monotonic()
    while await asyncio.to_thread(running_broker, data_dir) is None:
        waited = time.monotonic() - began
        starting = await asyncio.to_thread(folder_is_held, data_dir)
        if waited > (STARTING_FOR if starting else grace):
            return
        await asyncio.sleep(LOOK_EVERY)
    broker = EmbeddedBroker(data_dir)
    await broker.start()
    await broker.stop()


async def _first_place(data_dir: Path, ended: asyncio.Event) -> Place | None:
    """Where the broker is, once it is; None when the window closed, or no broker came, before."""
    try:
        async with asyncio.timeout(BROKER_WITHIN):
            while not ended.is_set():
                place = await asyncio.to_thread(_place, data_dir)
                if place is not None:
                    return place
                await asyncio.sleep(LOOK_EVERY)
    except TimeoutError:
        return None
    return None


def _place(data_dir: Path) -> Place | None:
    """Where the broker of a data folder is reached now; None while there is none."""
    found = running_broker(data_dir)
    url = main_url(found) if found is not None else None
    if found is None or url is None:
        return None
    return Place(url, found.urls.get("nats"), read_token(data_dir))


async def _nats_of(place: Place) -> str:
    """The NATS server of a broker elsewhere: as it says itself, else the usual port of its machine."""
    from app.client.api import ApiError, BrokerClient

    if place.token is not None:
        async with BrokerClient(place.url, place.token) as client:
            try:
                return (await client.broker()).urls["nats"]
            except (ApiError, KeyError):
                pass  # not a token of that broker: guess
    host = urlsplit(place.url).hostname or ""
    return f"nats://{f'[{host}]' if ':' in host else host}:{DEFAULT_NATS_PORT}"


def _on_signals() -> asyncio.Event:
    """An event that SIGTERM or SIGINT sets."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, ended.set)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(ended.set))
    return ended


def _end_with_stdin(ended: asyncio.Event) -> None:
    """Set ``ended`` when standard input closes, by will or by the death of who holds its other end."""
    import threading

    loop = asyncio.get_running_loop()

    def wait() -> None:
        while sys.stdin.buffer.read(1024):
            pass
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=wait, name="stdin", daemon=True).start()


@contextlib.contextmanager
def _own(data_dir: Path) -> Iterator[None]:
    """One demo per folder. ``PortInUse`` names the one that is there."""
    import psutil

    path = data_dir / DEMO_FILE
    try:
        other = msgspec.json.decode(path.read_bytes(), type=_Owner)
    except (OSError, msgspec.DecodeError):
        other = None
    if other is not None and other.pid != os.getpid() and process_runs(other.pid, other.started_at):
        raise PortInUse(f"Another demo uses {data_dir}, process {other.pid}: end it, or give this one its --data-dir.")
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.encode(_Owner(os.getpid(), psutil.Process().create_time())))
    except OSError as error:
        raise ConfigError(f"The data folder {data_dir} cannot be used: {error.strerror or error}.") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
