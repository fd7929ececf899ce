"""Platform ``docker``: a session is a container of Docker or Podman, without a network, its desktop a socket in a folder.

Run by the agent's core. The engine keeps containers while no agent runs; labels on them say whose they are, so the next
agent adopts them. Hibernating freezes a container, or stops it and keeps it. Serves the StreamSpace document (seed 001,
"WebSocket Protocol"); what the images must do stands in ``docker_spec.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from app.agent.config import DockerSettings
from app.agent.docker_engine import Engine, engine_url
from app.agent.docker_log import LogLines
from app.agent.docker_seat import LastWords, Seat, discard, lasting, marker, until_served, unwatch, words_of
from app.agent.docker_spec import (
    LABEL,
    RFB_FILE,
    Found,
    Image,
    Order,
    container_name,
    container_of,
    home_volume,
    order_of,
    tcp_port,
    what_happened,
)
from app.agent.platform import AgentFailure, FailureCode, RfbAddress, TcpAddress, UnixAddress
from app.agent_protocol import AgentLoad, Capacity, HeldSession, SessionEvent, SessionLoad
from app.logs import get_logger

log = get_logger("agent")

LONGEST_SOCKET = 107
"""Bytes of a path that the system takes for a socket."""
HIBERNATE_GRACE = 10.0
FILES_WITHOUT_LIMIT = 1_048_576


class DockerPlatform:
    """See the module's docstring."""

    name = "docker"

    def __init__(
        self,
        settings: DockerSettings,
        agent_id: str,
        state_dir: Path,
        environ: Mapping[str, str] | None = None,
        engine: Engine | None = None,
    ) -> None:
        self.capabilities = ["hibernate", "logs", "vnc", "thumbnail", "load"]
        self.metadata: dict[str, Any] = {"limits": "engine", "network": settings.network}
        self.attached: list[dict[str, Any]] = []
        self.on_event: Callable[[SessionEvent], None] = _ignore
        self._settings = settings
        self._agent_id = agent_id
        self._folder = state_dir / "rfb"
        self._environ = os.environ if environ is None else environ
        self._engine = engine or Engine("")
        self._seats: dict[str, Seat] = {}
        self._last_words = LastWords()

    # -- life --------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect to the engine and adopt what runs there."""
        if len(os.fsencode(self._place("", 0) / RFB_FILE)) > LONGEST_SOCKET:
            raise AgentFailure(f"{self._folder} is too long a path for sockets: give the agent another --state-dir.")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._folder.chmod(0o700)  # whoever reaches this folder reaches every desktop
        except OSError as error:
            raise AgentFailure(f"{self._folder} cannot be made: {error.strerror}") from error
        if not self._engine.url:
            self._engine = Engine(engine_url(self._settings, self._environ))
        await self._engine.open()
        self.metadata |= {"engine": self._engine.kind, "docker_version": self._engine.version}
        psutil.cpu_percent(None)  # the first answer is of no use
        try:
            await self._adopt()
        except BaseException:
            await self.stop()
            raise

    async def stop(self, *, end_sessions: bool = False) -> None:
        """Let go of the engine; the containers go on."""
        if end_sessions:
            for session_id in list(self._seats):
                await self.end(session_id, graceful=True, timeout=HIBERNATE_GRACE, delete_home=False)
        for seat in self._seats.values():
            await unwatch(seat)
        self._seats.clear()
        await self._engine.close()

    def capacity(self) -> Capacity:
        """Two GiB for a session, as templates ask for when they ask for nothing else."""
        whole = psutil.virtual_memory().total / 2**30  # the engine's machine is this one
        return Capacity(max_sessions=max(1, int(whole // 2)), max_cpu=float(_processors()), max_memory=round(whole, 1))

    async def _adopt(self) -> None:
        """Take over the newest container of each session; what is older, or never came up, is removed."""
        found = sorted(await self._engine.ours(self._agent_id), key=lambda one: -one.generation)
        for one in found:
            place = self._place(one.session_id, one.generation)
            hibernated = one.state == "paused" or (one.state == "exited" and marker(place).exists())
            if one.session_id in self._seats or not (one.state == "running" or hibernated):
                await self._engine.remove(one.container_id)
                discard(place)
                continue
            seat = Seat(
                one.session_id, one.generation, place, hibernate=one.labels.get("hibernate", "freeze"),
                volume=one.labels.get("volume", ""), container_id=one.container_id,
            )  # fmt: skip
            self._seats[one.session_id] = seat
            seat.result = self._result(seat, one)
            seat.address = self._adopted_address(one, place)
            seat.state = "hibernated" if hibernated else "running"
            self._watch(seat)
        log.info("adopted containers", sessions=len(self._seats))

    def _adopted_address(self, found: Found, place: Path) -> RfbAddress:
        port = found.labels.get("port", "")
        if port.isdigit() and found.address and not (place / RFB_FILE).exists():
            return TcpAddress(found.address, int(port))
        return UnixAddress(str(place / RFB_FILE), exposed=True)

    # -- verbs -------------------------------------------------------------------------------------------------

    async def run(self, session_id: str, data: dict[str, Any], generation: int) -> dict[str, Any]:
        """Start a container and wait until it serves its desktop, or find it serving."""
        present = self._seats.get(session_id)
        if present is not None and present.generation > generation:
            raise AgentFailure("a newer generation of this session runs here", FailureCode.INTERNAL)
        if present is not None and present.generation == generation:
            return await self.wake(session_id, data, generation)
        order = order_of(session_id, data, generation)
        if present is not None:
            await self.end(session_id, graceful=False, timeout=0.0, delete_home=False)
        seat = Seat(session_id, generation, self._place(session_id, generation), hibernate=order.hibernate)
        seat.volume = home_volume(order) if order.persistent_home else ""
        self._refuse_a_taken_home(seat)
        self._seats[session_id] = seat  # before the first await, so that nobody else takes the home
        try:
            await self._begin(seat, order)
        except BaseException:
            seat.state = "ending"
            await asyncio.shield(self._clear(seat))
            raise
        return seat.result

    async def hibernate(self, session_id: str) -> dict[str, Any]:
        """Freeze a container, or stop and keep it, as its template wants."""
        seat = self._seat(session_id)
        if seat.state != "hibernated":
            if seat.hibernate == "stop":
                marker(seat.folder).touch()
                await unwatch(seat)
                await self._engine.stop(seat.container_id, HIBERNATE_GRACE)
            else:
                await self._engine.pause(seat.container_id)
            seat.state = "hibernated"
        return {"session_id": session_id, "hibernate": seat.hibernate}

    async def wake(self, session_id: str, data: dict[str, Any], generation: int) -> dict[str, Any]:
        """Let a container go on, or start it again; a session that was only reserved begins here."""
        seat = self._seats.get(session_id)
        if seat is None or seat.generation < generation:
            return await self.run(session_id, data, generation)
        if seat.state == "running":
            return seat.result
        found = await self._engine.inspect(seat.container_id)
        if found is None:
            await self._clear(seat)
            raise AgentFailure("the container of this session is gone", FailureCode.NO_SESSION)
        if found.state == "paused":
            await self._engine.unpause(seat.container_id)
        else:  # stopped when it was hibernated, or by a restart of the machine since
            await unwatch(seat)
            await self._engine.start(seat.container_id)
            await until_served(self._engine, seat, self._settings.ready_within, seat.address)
            self._watch(seat)
        marker(seat.folder).unlink(missing_ok=True)
        seat.state = "running"
        return seat.result

    async def end(self, session_id: str, *, graceful: bool, timeout: float, delete_home: bool) -> dict[str, Any]:
        """Stop and remove a container; its log is kept a while, its home unless that shall go too."""
        seat = self._seats.get(session_id)
        if seat is None:
            for one in await self._engine.ours(self._agent_id, session_id):
                await self._engine.remove(one.container_id)
            return {"session_id": session_id}
        before, seat.state = seat.state, "ending"
        try:
            await unwatch(seat)
            if graceful and before != "starting":
                await self._stop(seat, timeout)
            await self._clear(seat)
            if delete_home and seat.volume:
                await self._engine.remove_volume(seat.volume)
        except BaseException:
            if session_id in self._seats:
                seat.state = before
                self._watch(seat)
            raise
        return {"session_id": session_id}

    async def _stop(self, seat: Seat, timeout: float) -> None:
        found = await self._engine.inspect(seat.container_id)
        if found is not None and found.state == "paused":
            await self._engine.unpause(seat.container_id)  # what is frozen hears no signal
        if found is not None and found.state in ("paused", "running"):
            await self._engine.stop(seat.container_id, timeout)

    async def _begin(self, seat: Seat, order: Order) -> None:
        image = await self._image(order.image)
        port = tcp_port(image, order, self._settings)
        discard(seat.folder)
        seat.folder.mkdir(mode=0o700)
        seat.folder.chmod(0o777)  # whichever user the image runs as; the folder above lets nobody through
        body = container_of(
            order, image, self._settings, agent_id=self._agent_id, folder=str(seat.folder),
            processors=_processors(), files=_most_files(),
        )  # fmt: skip
        if port is not None:
            body["Labels"][f"{LABEL}port"] = str(port)
        if seat.volume:
            labels = {f"{LABEL}agent": self._agent_id, f"{LABEL}user": order.user, f"{LABEL}template": order.template}
            await self._engine.keep_volume(seat.volume, labels)
        await self._create(seat, body)
        await self._engine.start(seat.container_id)
        found = await self._engine.inspect(seat.container_id)
        over_tcp = TcpAddress(found.address, port) if found is not None and found.address and port is not None else None
        await until_served(
            self._engine,
            seat,
            self._settings.ready_within,
            UnixAddress(str(seat.folder / RFB_FILE), exposed=True),
            over_tcp,
        )
        if found is not None:
            seat.result = self._result(seat, found)
        seat.state = "running"
        self._watch(seat)

    async def _create(self, seat: Seat, body: dict[str, Any]) -> None:
        """Make the container. A start that is given up meanwhile waits for the id: nobody else could remove it."""
        making = asyncio.create_task(self._engine.create(container_name(seat.session_id, seat.generation), body))
        try:
            await asyncio.shield(making)
        finally:
            while not making.done():  # the engine's own time-out bounds it
                with contextlib.suppress(asyncio.CancelledError):  # given up once is given up
                    await asyncio.wait([making])
            if not making.cancelled() and making.exception() is None:
                seat.container_id = making.result()

    async def _image(self, name: str) -> Image:
        """The image, fetched if that is allowed. Raises ``AgentFailure`` with what to do."""
        pull = self._settings.pull
        image = None if pull == "always" else await self._engine.image(name)
        if image is None and pull != "never":
            await self._engine.pull(name, self._settings.pull_within)
            image = await self._engine.image(name)
        if image is None:
            raise AgentFailure(
                f"The image {name} is not on this machine; fetch it with `{self._engine.kind} pull {name}`, "
                'or let the agent do so: [docker] pull = "missing" in its configuration.',
                FailureCode.TEMPLATE,
            )
        return image

    async def _clear(self, seat: Seat) -> None:
        """Remove what there is of a session, and forget it."""
        await unwatch(seat)
        if seat.container_id:
            await self._last_words.keep(self._engine, seat)
            await self._engine.remove(seat.container_id)
        discard(seat.folder)
        if self._seats.get(seat.session_id) is seat:
            del self._seats[seat.session_id]

    # -- what happens by itself --------------------------------------------------------------------------------

    def _watch(self, seat: Seat) -> None:
        seat.watchers = [
            asyncio.create_task(self._until_ended(seat), name=f"end of {seat.session_id}"),
            asyncio.create_task(lasting(lambda: self._measure(seat)), name=f"load of {seat.session_id}"),
        ]

    async def _until_ended(self, seat: Seat) -> None:
        """Say that a container has ended by itself, also across a restart of the engine."""
        found: Found | None = None

        async def look() -> bool:
            nonlocal found
            await self._engine.ended(seat.container_id)
            found = await self._engine.inspect(seat.container_id)
            return found is not None and found.state in ("running", "paused")

        await lasting(look)
        if seat.state == "ending":
            return
        event, message = what_happened(found)
        seat.state = "ending"
        seat.watchers = [one for one in seat.watchers if one is not asyncio.current_task()]
        try:
            await self._clear(seat)
        except AgentFailure as failure:
            log.warning("an ended container stays behind", session=seat.session_id, error=failure.message)
            self._seats.pop(seat.session_id, None)
        code = "OUT_OF_MEMORY" if event == "oom" else ""
        for one in dict.fromkeys((event, "exited")):  # want of memory alone would be a warning: the session goes on
            self.on_event(
                SessionEvent(
                    session_id=seat.session_id, event=one, generation=seat.generation, message=message, code=code
                )
            )

    async def _measure(self, seat: Seat) -> bool:
        async for sample in self._engine.samples(seat.container_id):
            seat.meter.take(sample)
        return True

    # -- questions ---------------------------------------------------------------------------------------------

    def held(self) -> list[HeldSession]:
        """Every session that came up."""
        states = {"running": "running", "ending": "running", "hibernated": "hibernated"}
        return [
            HeldSession(
                session_id=one.session_id, generation=one.generation, state=states[one.state], result=one.result
            )
            for one in self._seats.values()
            if one.state in states
        ]

    async def load(self) -> AgentLoad:
        """The machine's load, and what each container used since the last question."""
        sessions = []
        for seat in self._seats.values():
            cpu, memory = seat.meter.read(frozen=seat.state == "hibernated")
            sessions.append(SessionLoad(session_id=seat.session_id, cpu=cpu, memory=memory))
        return AgentLoad(cpu=psutil.cpu_percent(None), memory=psutil.virtual_memory().percent, sessions=sessions)

    async def rfb_address(self, session_id: str) -> RfbAddress:
        """Where the desktop is served."""
        seat = self._seats.get(session_id)
        if seat is None or seat.address is None:
            raise AgentFailure(f"session {session_id} does not run here", FailureCode.VNC_NOT_FOUND)
        if seat.state == "hibernated":
            raise AgentFailure("the session is hibernated; wake it first", FailureCode.VNC_HIBERNATED)
        return seat.address

    def picture_refused(self, session_id: str) -> str:
        """Never: these desktops ask for no password."""
        return ""

    async def logs(self, session_id: str, tail: int) -> list[str]:
        """The last lines of a container's log, also just after its end."""
        seat = self._seats.get(session_id)
        if seat is None:
            return self._last_words.of(session_id, tail)
        return await words_of(self._engine, seat.container_id, tail)

    async def follow(self, session_id: str, tail: int) -> AsyncIterator[list[str]]:
        """The last lines, then further ones until the container has ended."""
        lines = LogLines()
        said = self._engine.log(self._seat(session_id).container_id, tail, follow=True)
        async with contextlib.aclosing(said) as chunks:
            async for chunk in chunks:
                whole = lines.feed(chunk)
                if whole:
                    yield whole
        rest = lines.rest()
        if rest:
            yield rest

    def missing(self, programs: list[str]) -> list[str]:
        """What images hold is not known before they run."""
        return []

    # -- parts -------------------------------------------------------------------------------------------------

    def _result(self, seat: Seat, found: Found) -> dict[str, Any]:
        return {
            "session_id": seat.session_id,
            "container_id": found.container_id[:12],
            "started_at": found.started_at,
            "generation": seat.generation,
            "limits": "engine",
            "platform_metadata": {"engine": self._engine.kind, "volume_name": seat.volume or None},
        }

    def _seat(self, session_id: str) -> Seat:
        seat = self._seats.get(session_id)
        if seat is None:
            raise AgentFailure(f"session {session_id} does not run here", FailureCode.NO_SESSION)
        return seat

    def _refuse_a_taken_home(self, wanted: Seat) -> None:
        for other in self._seats.values():
            if wanted.volume and other.volume == wanted.volume:
                raise AgentFailure(
                    f"the home of this user and template is used by session {other.session_id}", FailureCode.HOME_IN_USE
                )

    def _place(self, session_id: str, generation: int) -> Path:
        """The folder whose inside is the container's ``/run/callboard``; short, for the sake of socket paths."""
        return self._folder / hashlib.sha256(f"{session_id}\0{generation}".encode()).hexdigest()[:16]


def _processors() -> int:
    return psutil.cpu_count() or 1


def _most_files() -> int:
    """How many files a process of this user may open: an engine cannot give more than that away."""
    if sys.platform == "win32":
        return FILES_WITHOUT_LIMIT
    import resource

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return FILES_WITHOUT_LIMIT if hard == resource.RLIM_INFINITY else hard


def _ignore(event: SessionEvent) -> None:
    """Until the core listens."""
