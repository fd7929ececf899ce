"""Real brokers for tests: one in this process, to look inside, and one as a process, to be killed.

Both listen on free ports, with a real nats-server. ``broker``, ``broker_process`` and, for a module whose tests need
no broker of their own, ``shared_broker`` are fixtures; a folder's conftest imports the ones it wants.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from app.client.api import BrokerClient
from app.config import ServeConfig
from app.server.main import Broker
from tests.fakes.ports import held_port

ROOT = Path(__file__).resolve().parents[2]
READY_WITHIN = 60.0
ENDED_WITHIN = 30.0


def serve_config(data_dir: Path, **settings: Any) -> ServeConfig:
    """Settings of a broker on free ports; those named here count as given on the command line."""
    free = {"port": 0, "nats_port": 0, "name": "test broker", "local_agent": "off"}
    given = {name: f"option --{name.replace('_', '-')}" for name in settings}
    return ServeConfig(data_dir=data_dir, given=given, **{**free, **settings})


@dataclass
class RunningBroker:
    """A broker in this process."""

    broker: Broker
    line: Mapping[str, Any]
    token: str
    operator: str = "Ada"

    @property
    def url(self) -> str:
        """Its main address."""
        return str(self.line["main"])

    @property
    def nats_url(self) -> str:
        """Where publishers connect."""
        return str(self.line["nats"])

    @property
    def headers(self) -> dict[str, str]:
        """What a console sends with each request."""
        return {"Authorization": f"Bearer {self.token}", "X-Callboard-Operator": self.operator}

    def client(self, *, console: bool = True, **options: Any) -> httpx.AsyncClient:
        """An HTTP client of it, with a console's token or as a stranger."""
        headers = self.headers if console else {}
        return httpx.AsyncClient(base_url=self.url, headers=headers, trust_env=False, timeout=30.0, **options)


@asynccontextmanager
async def running_broker(data_dir: Path, **settings: Any) -> AsyncIterator[RunningBroker]:
    """Start a broker in this process; it has ended cleanly when the block has."""
    broker = Broker(serve_config(data_dir, **settings), asyncio.Event())
    async with AsyncExitStack() as cleanup:
        line = await broker.start(cleanup)
        yield RunningBroker(broker, line, broker.folder.token.read_text().strip())


@dataclass
class BrokerProcess:
    """``python -m app serve`` as a child. ``log`` is what it wrote to standard error, line by line."""

    data_dir: Path
    options: tuple[str, ...] = ()
    environ: dict[str, str] = field(default_factory=dict)
    stdin: bytes | None = None
    program: tuple[str, ...] = ("-m", "app")
    line: dict[str, Any] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)

    def start(self) -> Self:
        """Start and wait for the readiness line."""
        self.launch()
        text = self.read_line()
        if not text:
            raise RuntimeError(f"the broker ended with {self.wait()}: {self.tail}")
        self.line = json.loads(text)
        return self

    def launch(self) -> None:
        """Start without waiting."""
        ports = [f"--{name}=0" for name in ("port", "nats-port") if f"--{name}" not in " ".join(self.options)]
        command = [sys.executable, *self.program, "serve", f"--data-dir={self.data_dir}", *ports, *self.options]
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **self.environ},
            stdin=subprocess.PIPE if self.stdin is not None else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        if self.stdin is not None and self.process.stdin is not None:
            self.process.stdin.write(self.stdin)
            self.process.stdin.close()
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._readers = [
            threading.Thread(target=self._read_stdout, daemon=True),
            threading.Thread(target=self._read_stderr, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def read_line(self, timeout: float = READY_WITHIN) -> str:
        """The next line of standard output; empty at its end."""
        try:
            return self._lines.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"the broker said nothing in {timeout:g} s; its log: {self.tail}") from None

    @property
    def tail(self) -> str:
        """The end of what it wrote to standard error."""
        return "".join(self.log[-60:])

    @property
    def url(self) -> str:
        """Its main address."""
        return str(self.line["main"])

    @property
    def nats_url(self) -> str:
        """Where publishers connect."""
        return str(self.line["nats"])

    @property
    def token(self) -> str:
        """The console's token."""
        return (self.data_dir / "console.token").read_text().strip()

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    def kill(self) -> None:
        """``kill -9``."""
        self.process.kill()
        self.wait()

    def terminate(self) -> int:
        """SIGTERM; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self, timeout: float = ENDED_WITHIN) -> int:
        """Its exit status, with everything it wrote in ``log``."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"the broker did not end in {timeout:g} s; its log: {self.tail}") from None
        for reader in self._readers:
            reader.join(5.0)
        return code

    def end(self) -> None:
        """Leave nothing behind, whatever the test did."""
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()

    def _read_stdout(self) -> None:
        stream = self.process.stdout
        if stream is not None:
            for line in stream:
                self._lines.put(line.decode())
        self._lines.put("")

    def _read_stderr(self) -> None:
        stream = self.process.stderr
        if stream is not None:
            self.log.extend(line.decode("utf-8", "replace") for line in stream)


class Brokers:
    """Starts broker processes and ends every one of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[BrokerProcess] = []

    def make(self, *options: str, data_dir: Path | None = None, **more: Any) -> BrokerProcess:
        """A process that is not started yet; the same data folder unless told otherwise."""
        process = BrokerProcess(data_dir or self._folder, options, **more)
        self._started.append(process)
        return process

    def start(self, *options: str, data_dir: Path | None = None, **more: Any) -> BrokerProcess:
        """A process that is ready."""
        return self.make(*options, data_dir=data_dir, **more).start()

    def end(self) -> None:
        """End all of them."""
        for process in self._started:
            if hasattr(process, "process"):
                process.end()


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[RunningBroker]:
    """A broker in this process."""
    async with running_broker(tmp_path / "data") as running:
        yield running


@pytest.fixture
def brokers(tmp_path: Path) -> Iterator[Brokers]:
    """Broker processes on one data folder."""
    started = Brokers(tmp_path / "data")
    yield started
    started.end()


@pytest.fixture
def kept_port() -> Iterator[int]:
    """A port for a server that comes and goes: bound here without listening, it is nobody else's in between."""
    with held_port() as place:
        yield place.getsockname()[1]


@pytest.fixture
def broker_process(brokers: Brokers) -> BrokerProcess:
    """A broker process that is ready."""
    return brokers.start()


@pytest.fixture(scope="module")
def module_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrokerProcess]:
    """A broker process for all tests of a module; they ask for ``shared_broker``."""
    started = Brokers(tmp_path_factory.mktemp("broker") / "data")
    yield started.start()
    started.end()


@pytest.fixture
async def shared_broker(module_broker: BrokerProcess) -> AsyncIterator[BrokerProcess]:
    """The module's broker without streams, sessions and presets; for tests that leave it running as it is."""
    yield module_broker
    async with BrokerClient(module_broker.url, module_broker.token) as client:
        for stream in await client.streams():
            await client.withdraw(stream.id)
        for session in await client.sessions():  # of streams that had expired
            await client.stop_session(session.id)
        for preset in await client.presets():
            await client.delete_preset(preset.id)
