"""The broker's composition root: the only module of the server that sees everything.

``run`` is called by ``app/cli.py``; tests call ``serve``. Start, each step on what the one before made:

1. the certificate fits, the data folder is ours (lock, layout), the console's token stands;
2. events, tasks, health;
3. database, settings, users and keys: who may reach us is known and checked;
4. sockets bound, so that a port that is taken is told before anything runs;
5. nats-server and the bus; 6. journal and live state; 7. streams domain, announcements, holds;
8. fleet: agents, sessions and commands as they were left, viewers;
9. listeners accept; 10. this machine's own agent; 11. ``broker.json``, then the readiness line.

Stop runs the same steps backwards: our own agent goes, viewers are told, requests under way get ``listeners.GRACE``
seconds, then the domains stop, deadlines and heartbeats are flushed, history that has not been moved waits in the
journal, and the children end last. Sessions of agents go on.
"""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

from app import __version__, logs
from app.config import ServeConfig
from app.contract import PROTOCOL, Hello, Row
from app.errors import ConfigError
from app.logs import get_logger
from app.paths import DataFolder
from app.quantities import duration_seconds
from app.server.access import Access
from app.server.access.agent_keys import MACHINE
from app.server.access.exposure import Exposure
from app.server.access.first_admin import keep_password, make_first_admin, tell_password
from app.server.access.guard import Guard, Policy
from app.server.access.keys import ApiKeys
from app.server.access.logins import Logins
from app.server.access.networks import Hosts, Networks, Origins
from app.server.access.tls import publish_certificate, server_context
from app.server.access.token import establish_token
from app.server.audit import Audit
from app.server.bus.embedded import EmbeddedNats, reachable
from app.server.bus.nats import Bus
from app.server.dialects import Dialect, Port
from app.server.dialects.console import application as console
from app.server.dialects.console.services import Services
from app.server.dialects.maestra import errors as maestra_errors
from app.server.dialects.maestra import routes as maestra
from app.server.dialects.streamspace import application as streamspace
from app.server.dialects.streamspace.services import Limits, StreamSpaceServices
from app.server.events import EventLog
from app.server.feed import FeedHub
from app.server.fleet.local_agent import LocalAgent, LocalAgentPlace
from app.server.fleet.registry import Fleet
from app.server.fleet.viewers import Viewers
from app.server.health import Health
from app.server.instance import Instance
from app.server.listeners import Listener, bind
from app.server.metrics import Metrics
from app.server.presets import Presets
from app.server.process import Ready, alone_on_stdout, listen_to_signals, loop_factory, settle_memory
from app.server.storage.database import Database
from app.server.storage.fleet import FleetStore
from app.server.storage.history import HistoryMover
from app.server.storage.journal import Journal
from app.server.storage.memory import MemoryState
from app.server.streams.registry import Streams
from app.server.tasks import TaskTree
from app.server.watch import ClockWatch, watch_disk

log = get_logger("broker")


def run(config: ServeConfig, *, ready: Ready) -> int:
    """The whole life of a broker process; the exit status. Raises ``ConfigError`` and ``PortInUse``."""
    logs.configure(config.log_level)
    os.umask(0o077)  # databases and logs are their owner's too
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(serve(config, ready=alone_on_stdout(ready), signals=True))


async def serve(config: ServeConfig, *, ready: Ready, stop: asyncio.Event | None = None, signals: bool = False) -> int:
    """Serve until ``stop`` is set, a signal comes or a console asks; 0 after a clean stop."""
    broker = Broker(config, stop or asyncio.Event())
    async with AsyncExitStack() as cleanup:
        if signals:
            cleanup.callback(listen_to_signals(broker.stop))
        line = await broker.start(cleanup)
        settle_memory()
        ready(line)
        await broker.stopping.wait()
        log.info("broker stops")
    log.info("broker has stopped")
    return 0


class Broker:
    """Everything that makes one broker, held together for its life."""

    def __init__(self, config: ServeConfig, stopping: asyncio.Event) -> None:
        self.config = config
        self.stopping = stopping
        self.started_at = time.time()
        self.folder = DataFolder(config.data_dir)
        self.events = EventLog(first=int(self.started_at * 1_000_000))
        self.tasks = TaskTree()
        self.health = Health(self.events)
        self.metrics = Metrics(self.events)
        self.networks = Networks(config.allow_networks)
        self.urls: dict[str, str] = {}
        self.nats: EmbeddedNats | None = None
        self.port = 0

    def stop(self) -> None:
        """Begin a clean stop; asking twice changes nothing."""
        self.stopping.set()

    async def start(self, cleanup: AsyncExitStack) -> dict[str, Any]:
        """Start every part in order, leaving its end on ``cleanup``; the readiness line."""
        config = self.config
        self.tls = server_context(config.tls_cert, config.tls_key) if config.tls_cert and config.tls_key else None
        instance = Instance(self.folder)
        instance.acquire()
        cleanup.callback(instance.release)
        with _writing(self.folder):
            token = await asyncio.to_thread(establish_token, self.folder, os.environ)
            publish_certificate(self.folder, config.tls_cert)
        await self._start_access(Access(token), cleanup)

        main_socket = bind(self.exposure.host, config.port, "port")
        cleanup.callback(main_socket.close)
        self.port = main_socket.getsockname()[1]
        main_url = f"{self.exposure.scheme}://{reachable(self.exposure.host)}:{self.port}"
        bus = self.bus = await self._start_bus(cleanup)
        await self._make_first_admin(main_url)  # its password is told once: not by a start that fails for a port
        self.urls = {"main": main_url, **self.urls}
        await self._start_state(bus, cleanup)
        await self._start_fleet(cleanup)
        await self._start_listener(main_socket, cleanup)
        cleanup.callback(self.viewers.stop)
        self._start_local_agent(main_url, cleanup)
        with _writing(self.folder):
            instance.announce(config.name, self.exposure.host, self.urls, PROTOCOL)
        log.info("broker is ready", version=__version__, data_dir=str(self.folder.path), **self.urls)
        return {"ready": True, "pid": os.getpid(), **self.urls}

    async def _start_access(self, access: Access, cleanup: AsyncExitStack) -> None:
        """The database, and who may reach us and log in."""
        database = self.database = Database(self.folder.database, full_sync=self.config.durability == "power")
        cleanup.push_async_callback(database.stop)
        cleanup.push_async_callback(self.tasks.stop, 3.0)
        await database.start()
        self.access = access
        self.keys = ApiKeys(database)
        self.presets = Presets(database, self.events)
        self.exposure = Exposure(self.config, database, self.keys, self.networks, health=self.health)
        await self.keys.load()
        await self.presets.load()
        await self.exposure.load()
        with _writing(self.folder):
            self.logins = Logins(database, self.folder, access, os.environ)
            await self.logins.load()

    async def _make_first_admin(self, main_url: str) -> None:
        """An administrator where there is none; a password that was made is told and kept."""
        made = await make_first_admin(self.logins.users, os.environ)
        if made is None:
            return
        tell_password(made, os.environ)

        async def keep() -> None:
            await keep_password(made, main_url)

        self.tasks.spawn("keyring", keep)

    async def _start_bus(self, cleanup: AsyncExitStack) -> Bus:
        """nats-server, unless another is used, and our connection to it."""
        host, given = self.exposure.host, self.config.nats_url
        url, explain = (lambda: given or ""), (lambda: "")
        if given is None:
            nats = self.nats = EmbeddedNats(self.tasks, self.folder.nats, self.folder.logs, host, self.config.nats_port)
            cleanup.push_async_callback(nats.stop)
            await nats.start()
            url, explain = (lambda: nats.url), (lambda: nats.text)
            self.urls["nats"] = f"nats://{reachable(host)}:{nats.port}"
        else:
            self.urls["nats"] = logs.clean(given)
        bus = Bus(self.tasks, self.health, url, explain=explain)
        cleanup.push_async_callback(bus.stop)
        await bus.start()
        return bus

    async def _start_state(self, bus: Bus, cleanup: AsyncExitStack) -> None:
        """Journal, live state, history and the streams domain."""
        events, tasks = self.events, self.tasks
        journal = Journal(self.folder.journal, self.config.durability, health=self.health)
        self.state = MemoryState(journal, events, tasks=tasks, parent=tasks.group("live state"))
        mover = HistoryMover(journal, self.database, health=self.health)
        self.audit = Audit(journal, mover, self.database, events)
        self.streams = Streams(
            state=self.state, events=events, bus=bus, database=self.database, history=mover, tasks=tasks
        )
        cleanup.push_async_callback(journal.close)
        await self.state.open()
        cleanup.push_async_callback(self.state.close)
        cleanup.push_async_callback(mover.stop)
        await mover.start(tasks, tasks.group("history"))
        await self.streams.start()
        cleanup.push_async_callback(self.streams.stop)
        clock = ClockWatch(self.health)
        tasks.spawn("disk", lambda: watch_disk(self.health, self.folder.path), restart="on_failure", kind="watch")
        tasks.spawn("clock", clock.run, restart="on_failure", kind="watch")
        self.metrics.watch(lambda: self._gauges(bus, journal))

    async def _start_fleet(self, cleanup: AsyncExitStack) -> None:
        """Agents, sessions and commands as they were left, and who looks at them."""
        self.fleet_store = FleetStore(self.database, self.tasks)
        keep = float(duration_seconds(self.config.purge_after))
        self.fleet = Fleet(store=self.fleet_store, events=self.events, tasks=self.tasks, purge_after=keep)
        self.viewers = Viewers(self.fleet, self.events, self.tasks)
        await self.fleet.start()
        cleanup.push_async_callback(self.fleet.stop)
        self.viewers.start()
        looking = self.tasks.spawn("logins", self.logins.look_after, restart="on_failure", kind="watch")
        cleanup.push_async_callback(looking.stop)

    async def _start_listener(self, main_socket: socket.socket, cleanup: AsyncExitStack) -> None:
        """Feed, dialects and the main port."""
        hello = Hello(
            protocol=PROTOCOL, broker=self.config.name, version=__version__, started_at=self.started_at
        )  # fmt: skip
        self.feed = FeedHub(self.events, self._snapshot, hello, self.tasks)
        self.feed.start()
        cleanup.callback(self.feed.stop)
        origins, hosts = Origins(self.config.allow_origins), Hosts((*self.config.allow_hosts, self.exposure.host))
        port = self._main_port()
        policy = Policy(
            self.access, self.keys, self.networks, hosts, origins,
            logins=port.logins, allow_plain=lambda: self.exposure.allow_plain,
        )  # fmt: skip
        guard = Guard(port, policy, port.refuse, self.metrics.count_answer)
        listener = Listener("main", main_socket, guard, self.tls)
        cleanup.push_async_callback(listener.stop)
        await listener.start(self.tasks, self.tasks.group("listeners"))

    def _start_local_agent(self, main_url: str, cleanup: AsyncExitStack) -> None:
        """The agent of this machine, where it has what one needs; begun anew when its key changes."""
        if self.config.local_agent == "off":
            return
        keys, folder = self.logins.agent_keys, self.folder
        place = LocalAgentPlace(
            broker=main_url,
            key=keys.machine_key(),
            state_dir=folder.path / "agent",
            log_file=folder.logs / "agent.log",
            ca=folder.certificate if self.tls is not None else None,
        )
        agent = self.local_agent = LocalAgent(self.tasks, self.health, place)
        agent.start()

        async def begin_anew() -> None:
            await agent.stop()
            agent.change_key(keys.machine_key())
            agent.start()

        def rotated(key_id: str) -> None:
            if key_id == MACHINE:
                self.tasks.spawn("the local agent's new key", begin_anew)

        cleanup.callback(keys.subscribe(rotated))
        cleanup.push_async_callback(agent.stop)

    def _main_port(self) -> Port:
        """The dialects of the main port; Maestra gets every path that no other claims."""
        services = Services(
            streams=self.streams,
            access=self.access,
            audit=self.audit,
            presets=self.presets,
            exposure=self.exposure,
            keys=self.keys,
            feed=self.feed,
            health=self.health,
            metrics=self.metrics,
            broker=self._about,
            ports=lambda: (self.port, self.nats.port if self.nats is not None else None),
            fleet=self.fleet,
            viewers=self.viewers,
            tokens=self.logins.tokens,
            callers=self.logins.callers,
            stop=self.stop,
        )
        app = maestra.build(self.streams, self.access, self.audit)
        streams = Dialect("maestra", app, maestra_errors.refuse, ("/streams", ""), app.openapi)
        own = console.build(services, lambda: port.openapi("Callboard", __version__))
        port = Port([streams, own, self._streamspace()])
        return port

    def _streamspace(self) -> Dialect:
        """Agents, desktop sessions and their users."""
        config, logins = self.config, self.logins
        return streamspace.build(
            StreamSpaceServices(
                fleet=self.fleet,
                viewers=self.viewers,
                users=logins.users,
                tokens=logins.tokens,
                callers=logins.callers,
                agent_keys=logins.agent_keys,
                limiter=logins.limiter,
                audit=self.audit,
                events=self.events,
                tasks=self.tasks,
                limits=Limits(login=config.limit_login, create_session=config.limit_create, other=config.limit_other),
                open_agents=config.open_agents,
                novnc_folder=config.novnc_folder,
            )
        )

    def _snapshot(self) -> dict[str, list[Row]]:
        tables: dict[str, list[Row]] = {**self.streams.snapshot(), **self.fleet.snapshot()}
        tables["viewer"] = list(self.viewers.rows())
        return {**tables, "preset": list(self.presets.rows()), "health": list(self.health.rows())}

    def _about(self) -> dict[str, Any]:
        return {
            "name": self.config.name,
            "version": __version__,
            "pid": os.getpid(),
            "started_at": self.started_at,
            "data_dir": str(self.folder.path),
            "urls": self.urls,
            "host": self.exposure.host,
            "protocol": PROTOCOL,
        }

    def _gauges(self, bus: Bus, journal: Journal) -> dict[str, float]:
        parts = {f"callboard_part_ok:{row.id}": float(row.ok) for row in self.health.rows()}
        return {
            "callboard_streams": len(self.state.streams),
            "callboard_sessions": len(self.state.sessions),
            "callboard_holds": len(self.state.holds),
            "callboard_consoles": self.feed.consoles,
            "callboard_console_resyncs": self.feed.resyncs,
            "callboard_feed_waiting": self.feed.waiting,
            "callboard_bus_waiting": bus.waiting,
            "callboard_bus_dropped": bus.dropped,
            "callboard_journal_waiting": journal.waiting,
            "callboard_task_nodes": sum(1 for _ in self.tasks.root.walk()),
            "callboard_viewers": len(self.viewers.rows()),
            "callboard_fleet_commits_waiting": self.fleet_store.waiting,
            **self.fleet.gauges(),
            "callboard_asyncio_tasks": len(asyncio.all_tasks()),
            **parts,
        }


@contextmanager
def _writing(folder: DataFolder) -> Iterator[None]:
    """A folder that cannot be written, because it is full or somebody else's, is told in one line."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"The data folder {folder.path} cannot be written: {error.strerror}.") from error
