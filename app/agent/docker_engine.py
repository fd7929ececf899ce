"""The container engine, Docker or Podman, over its socket: the dozen calls that sessions need, each with a time-out.

Used by ``docker.py``. Regular calls go through aiodocker, which speaks to both engines alike; the ones that last (log,
load, end) are read from the same connections here, so that leaving one closes it. Every trouble is an ``AgentFailure``.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
from aiodocker import Docker
from aiodocker.exceptions import DockerError
from aiodocker.volumes import DockerVolume

from app.agent.config import DockerSettings
from app.agent.docker_spec import LABEL, Found, Image, found_of, image_of
from app.agent.platform import AgentFailure, FailureCode

SOON = 10.0
LONG = 60.0
"""Seconds a question may take, and an act: creating copies an image where the storage cannot overlay."""
UNIX = "unix://"
NOT_FOUND, NOT_MODIFIED, CONFLICT = 404, 304, 409
LARGEST_LINE = 1024 * 1024
PLACE = "unix://localhost"
"""What a URL of the engine begins with; the connector knows where that really is."""


def engine_url(settings: DockerSettings, environ: Mapping[str, str]) -> str:
    """Where the engine is: as configured, DOCKER_HOST, or the first usual place with a socket."""
    named = settings.socket or environ.get("DOCKER_HOST", "")
    if named:
        url = f"{UNIX}{named}" if named.startswith("/") else named
        if not url.startswith(UNIX):
            raise AgentFailure(
                f"{named} is no socket of this machine. A desktop comes out of its container through a folder, "
                "so the engine must run here."
            )
        return url
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    places = ["/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock"]
    if runtime:
        places.insert(2, f"{runtime}/podman/podman.sock")
    for place in places:
        if Path(place).is_socket() and os.access(place, os.R_OK | os.W_OK):
            return f"{UNIX}{place}"
    raise AgentFailure(f"No container engine: there is no socket that may be used at {', '.join(places)}.")


class Engine:
    """One engine; ``open`` before use, ``close`` after."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.kind = "docker"
        self.version = ""
        self._docker: Docker | None = None

    async def open(self) -> None:
        """Connect and ask what it is."""
        connector = aiohttp.UnixConnector(self.url.removeprefix(UNIX), limit=0)  # sessions hold lasting connections
        session = aiohttp.ClientSession(connector=connector)
        self._docker = Docker(url=PLACE, connector=connector, session=session)
        try:
            async with self._asking("the engine cannot be asked", SOON):
                said = await self._api.version()
        except AgentFailure:
            await self.close()
            raise
        parts = [str(part.get("Name", "")) for part in said.get("Components") or []]
        self.kind = "podman" if any("podman" in part.lower() for part in parts) else "docker"
        self.version = str(said.get("Version", ""))

    async def close(self) -> None:
        """Close every connection."""
        docker, self._docker = self._docker, None
        if docker is not None:
            await docker.close()
            await docker.session.close()

    @property
    def _api(self) -> Docker:
        if self._docker is None:
            raise AgentFailure("the container engine is not connected", FailureCode.INTERNAL)
        return self._docker

    # -- images and volumes ------------------------------------------------------------------------------------

    async def image(self, name: str) -> Image | None:
        """What an image says of itself; None when it is not on this machine."""
        async with self._asking(f"image {name} cannot be looked up", SOON):
            try:
                return image_of(name, await self._api.images.inspect(name))
            except DockerError as error:
                if error.status == NOT_FOUND:
                    return None
                raise

    async def pull(self, name: str, within: float) -> None:
        """Fetch an image from its registry."""
        async with self._asking(f"image {name} cannot be fetched", within):
            await self._api.images.pull(name)

    async def keep_volume(self, name: str, labels: dict[str, str]) -> None:
        """Make a volume unless it is there."""
        async with self._asking(f"the home {name} cannot be made", LONG):
            volumes: Any = self._api.volumes  # published without types
            await volumes.create({"Name": name, "Labels": labels})

    async def remove_volume(self, name: str) -> None:
        """Delete a volume; one that is not there is deleted already."""
        async with self._asking(f"the home {name} cannot be deleted", LONG):
            volume: Any = DockerVolume
            await self._despite(NOT_FOUND, volume(self._api, name).delete())

    # -- containers --------------------------------------------------------------------------------------------

    async def create(self, name: str, body: dict[str, Any]) -> str:
        """Create a container; its id. One of that name is replaced: nobody answers for it."""
        async with self._asking("the container cannot be created", LONG):
            try:
                return (await self._api.containers.create(body, name=name)).id
            except DockerError as error:
                if error.status != CONFLICT:
                    raise
            await self._api.containers.container(name).delete(force=True)
            return (await self._api.containers.create(body, name=name)).id

    async def start(self, container_id: str) -> None:
        """Start, also again."""
        async with self._asking("the container cannot be started", LONG):
            await self._api.containers.container(container_id).start()

    async def pause(self, container_id: str) -> None:
        """Freeze everything in it."""
        async with self._asking("the container cannot be frozen", LONG):
            await self._api.containers.container(container_id).pause()

    async def unpause(self, container_id: str) -> None:
        """Let it go on."""
        async with self._asking("the container cannot be woken", LONG):
            await self._api.containers.container(container_id).unpause()

    async def stop(self, container_id: str, grace: float) -> None:
        """End its command: politely, and after ``grace`` seconds at once."""
        async with self._asking("the container cannot be stopped", grace + LONG):
            await self._despite(NOT_FOUND, self._api.containers.container(container_id).stop(t=max(0, round(grace))))

    async def remove(self, container_id: str) -> None:
        """Remove it, whatever it does; one that is gone is removed already."""
        async with self._asking("the container cannot be removed", LONG):
            await self._despite(NOT_FOUND, self._api.containers.container(container_id).delete(force=True, v=True))

    async def inspect(self, container_id: str) -> Found | None:
        """How it is; None when it is gone."""
        async with self._asking("the container cannot be looked at", SOON):
            try:
                return found_of(await self._api.containers.container(container_id).show())
            except DockerError as error:
                if error.status == NOT_FOUND:
                    return None
                raise

    async def ours(self, agent_id: str, session_id: str = "") -> list[Found]:
        """Every container of an agent, or of one session of it, also stopped ones."""
        labels = [f"{LABEL}agent={agent_id}"] + ([f"{LABEL}session={session_id}"] if session_id else [])
        async with self._asking("the containers cannot be listed", SOON):
            listed = await self._api.containers.list(all=True, filters=json.dumps({"label": labels}))
        found = [await self.inspect(one.id) for one in listed]
        return [one for one in found if one is not None]

    # -- what lasts --------------------------------------------------------------------------------------------

    async def ended(self, container_id: str) -> None:
        """Return when its command has ended."""
        async with self._lasting("POST", f"containers/{container_id}/wait", {}) as response:
            await response.read()

    async def samples(self, container_id: str) -> AsyncGenerator[dict[str, Any], None]:
        """What it uses, about once a second."""
        async with self._lasting("GET", f"containers/{container_id}/stats", {"stream": "1"}) as response:
            async for line in response.content:
                sample = json.loads(line) if line.strip() else None
                if isinstance(sample, dict):
                    yield sample

    async def log(self, container_id: str, tail: int, *, follow: bool) -> AsyncGenerator[bytes, None]:
        """What its programs wrote, as the engine frames it: see ``docker_log.py``."""
        wanted = {"stdout": "1", "stderr": "1", "timestamps": "1", "tail": str(tail), "follow": "1" if follow else "0"}
        async with self._lasting("GET", f"containers/{container_id}/logs", wanted) as response:
            async for chunk in response.content.iter_any():
                yield chunk

    @asynccontextmanager
    async def _lasting(self, method: str, path: str, query: dict[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """A call that is read for as long as it is wanted; leaving closes its connection."""
        api = self._api
        url = f"{PLACE}/{api.api_version}/{path}"
        try:
            response = await api.session.request(
                method, url, params=query, timeout=aiohttp.ClientTimeout(total=None, sock_connect=SOON),
                read_bufsize=LARGEST_LINE,
            )  # fmt: skip
            try:
                if response.status >= 400:
                    raise AgentFailure(f"the engine refuses {path}: {response.status}", FailureCode.INTERNAL)
                yield response
            finally:
                response.close()
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise AgentFailure(f"the container engine went away: {error}", FailureCode.INTERNAL) from error

    @asynccontextmanager
    async def _asking(self, trouble: str, seconds: float) -> AsyncIterator[None]:
        """Say every trouble of a call as one failure, and give up after ``seconds``."""
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            raise AgentFailure(f"{trouble}: the engine took longer than {seconds:.0f} s", FailureCode.TIMEOUT) from None
        except DockerError as error:
            raise AgentFailure(f"{trouble}: {_words(error)}") from error
        except (aiohttp.ClientError, OSError) as error:
            raise AgentFailure(f"{trouble}: {str(error) or type(error).__name__}") from error

    @staticmethod
    async def _despite(status: int, act: Awaitable[None]) -> None:
        """Do it, unless the engine says ``status``: then it is so already."""
        try:
            await act
        except DockerError as error:
            if error.status not in (status, NOT_MODIFIED):
                raise


def _words(error: DockerError) -> str:
    """The engine's own words, in one line; some of its errors are JSON within text."""
    text = str(error.message)
    try:
        said = json.loads(text)
    except ValueError:
        return " ".join(text.split())
    return " ".join(str(said.get("message", said) if isinstance(said, dict) else said).split())
