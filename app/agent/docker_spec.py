"""What a container of a session is made of: a command's data and an image's labels in, the engine's words out. No I/O.

Used by ``docker.py``. Conventions for images: the desktop is served as RFB on the socket ``CALLBOARD_RFB_SOCKET`` (in a
folder that only the agent reaches, so mode 0666 is right), in the size ``CALLBOARD_GEOMETRY``. Labels an image may have:
``org.callboard.rfb`` = ``socket`` or a TCP port, ``org.callboard.home`` = where a person's home is mounted,
``org.callboard.read-only`` = ``true`` when it can live without writing to itself. Serves the StreamSpace document
(seed 001, "WebSocket Protocol": start_session).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from app.agent.config import VNC_PORT, DockerSettings
from app.agent.platform import AgentFailure, FailureCode
from app.agent_protocol import SessionEventName
from app.errors import Invalid
from app.quantities import cpu_cores, memory_bytes

LABEL = "org.callboard."
RFB_FOLDER = "/run/callboard"
RFB_FILE = "rfb.sock"
HOME = "/home/session"
GEOMETRY = re.compile(r"[1-9]\d{1,4}x[1-9]\d{1,4}")
IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}")
LEAST_SHARED, MOST_SHARED = 64 * 2**20, 2**30
KILLED = 137
"""Exit status of what was killed outright."""
LOG_OPTIONS = {"max-size": "4m", "max-file": "1"}


@dataclass(frozen=True, kw_only=True)
class Order:
    """A start as it was commanded, checked."""

    session_id: str
    generation: int
    name: str
    user: str
    template: str
    image: str
    memory: int | None
    cores: float | None
    geometry: str
    depth: int
    vnc_port: int
    persistent_home: bool
    hibernate: Literal["freeze", "stop"]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Image:
    """What an image says of itself."""

    name: str
    labels: dict[str, str]
    home: str
    """``HOME`` of its environment, or nothing."""


@dataclass(frozen=True)
class Found:
    """A container of ours as the engine knows it."""

    container_id: str
    session_id: str
    generation: int
    state: str
    """``created``, ``running``, ``paused``, ``exited`` …"""
    labels: dict[str, str]
    started_at: str
    exit_code: int
    out_of_memory: bool
    limited: bool
    """Whether its memory is bounded."""
    address: str
    """On its network; empty without one."""


def order_of(session_id: str, data: dict[str, Any], generation: int) -> Order:
    """Read the data of a start. Raises ``AgentFailure`` for what no container can be made of."""
    image = str(data.get("image") or "")
    if not IMAGE.fullmatch(image):
        raise AgentFailure(f"The template names no image that could be run: {image!r}.", FailureCode.TEMPLATE)
    resources = data.get("resources") or {}
    vnc = data.get("vnc") or {}
    geometry = str(vnc.get("resolution") or "1280x720")
    if not GEOMETRY.fullmatch(geometry):
        raise AgentFailure(f"{geometry!r} is no size of a screen.", FailureCode.TEMPLATE)
    try:
        memory = memory_bytes(str(resources["memory"])) if resources.get("memory") else None
        cores = cpu_cores(str(resources["cpu"])) if resources.get("cpu") else None
        depth, port = int(vnc.get("color_depth") or 24), int(vnc.get("port") or VNC_PORT)
    except (Invalid, ValueError) as error:
        raise AgentFailure(str(error), FailureCode.TEMPLATE) from error
    return Order(
        session_id=session_id,
        generation=generation,
        name=str(data.get("name") or session_id),
        user=str(data.get("user") or "nobody"),
        template=str(data.get("template") or "session"),
        image=image,
        memory=memory,
        cores=cores,
        geometry=geometry,
        depth=depth,
        vnc_port=port,
        persistent_home=bool(data.get("persistent_home", True)),
        hibernate="stop" if data.get("hibernate") == "stop" else "freeze",
        environment={str(name): str(value) for name, value in (data.get("environment") or {}).items()},
    )


def container_name(session_id: str, generation: int) -> str:
    """One name for one start, so that the engine itself refuses a second."""
    return f"callboard-{re.sub(r'[^A-Za-z0-9_.-]', '-', session_id)[:80]}-{generation}"


def home_volume(order: Order) -> str:
    """The volume of a person's home: readable, and different for every user and template however they are written."""
    exact = hashlib.sha256(f"{order.user}\0{order.template}".encode()).hexdigest()[:10]
    readable = re.sub(r"[^A-Za-z0-9_.-]", "-", f"{order.user}-{order.template}")[:80]
    return f"callboard-home-{readable}-{exact}"


def tcp_port(image: Image, order: Order, settings: DockerSettings) -> int | None:
    """The port on which the desktop may be served; None: on the socket alone. Raises ``AgentFailure``."""
    said = image.labels.get(f"{LABEL}rfb", "")
    if said == "socket" or (not said and settings.network == "none"):
        return None
    if settings.network == "none":
        raise AgentFailure(
            f"{image.name} serves its desktop on TCP, and containers of this agent have no network: "
            "name one in its configuration, [docker] network.",
            FailureCode.TEMPLATE,
        )
    if not said:
        return order.vnc_port
    if not said.isdigit() or not 1 <= int(said) <= 65535:
        raise AgentFailure(f"{image.name} says {LABEL}rfb={said!r}, which is no port.", FailureCode.TEMPLATE)
    return int(said)


def container_of(
    order: Order, image: Image, settings: DockerSettings, *, agent_id: str, folder: str, processors: int, files: int
) -> dict[str, Any]:
    """The body of the engine's create call. ``folder`` is where the socket comes out; ``files`` the limit we have."""
    home = image.labels.get(f"{LABEL}home") or image.home or HOME
    read_only = settings.read_only
    if read_only is None:
        read_only = image.labels.get(f"{LABEL}read-only") == "true"
    environment = {} if image.home or image.labels.get(f"{LABEL}home") else {"HOME": home}
    environment |= order.environment | {
        "CALLBOARD_SESSION": order.session_id,
        "CALLBOARD_RFB_SOCKET": f"{RFB_FOLDER}/{RFB_FILE}",
        "CALLBOARD_GEOMETRY": order.geometry,
        "CALLBOARD_DEPTH": str(order.depth),
    }
    return {
        "Image": order.image,
        "Hostname": re.sub(r"[^a-z0-9-]", "-", order.name.lower()).strip("-")[:63] or "session",
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Labels": labels_of(order, agent_id),
        "HostConfig": _host(order, settings, home, read_only=read_only, folder=folder)
        | _limits(order, settings, processors, files),
    }


def labels_of(order: Order, agent_id: str) -> dict[str, str]:
    """By which the next agent knows what it adopts."""
    labels = {
        "agent": agent_id,
        "session": order.session_id,
        "generation": str(order.generation),
        "name": order.name,
        "user": order.user,
        "template": order.template,
        "hibernate": order.hibernate,
        "volume": home_volume(order) if order.persistent_home else "",
    }
    return {f"{LABEL}{name}": value for name, value in labels.items()}


def _host(order: Order, settings: DockerSettings, home: str, *, read_only: bool, folder: str) -> dict[str, Any]:
    """What the container sees of the machine: its socket's folder, its home, and memory to write to."""
    binds = [f"{folder}:{RFB_FOLDER}:rw"]
    tmpfs = {"/tmp": f"rw,nosuid,nodev,mode=1777,size={memory_bytes(settings.tmp)}"}  # noqa: S108 - the container's own
    if order.persistent_home:
        binds.append(f"{home_volume(order)}:{home}:rw")
    elif read_only:
        tmpfs[home] = "rw,nosuid,nodev,mode=1777"
    return {
        "NetworkMode": settings.network,
        "Binds": binds,
        "Tmpfs": tmpfs,
        "ReadonlyRootfs": read_only,
        "Init": settings.init,
        "CapDrop": list(settings.drop),
        "SecurityOpt": ["no-new-privileges"] if settings.no_new_privileges else [],
        "RestartPolicy": {"Name": "no"},
        "LogConfig": {"Type": "json-file", "Config": LOG_OPTIONS},
    }


def _limits(order: Order, settings: DockerSettings, processors: int, files: int) -> dict[str, Any]:
    limits: dict[str, Any] = {
        "PidsLimit": settings.processes,
        "ShmSize": max(LEAST_SHARED, min((order.memory or 0) // 4, MOST_SHARED)),
        "Ulimits": [
            {"Name": "nofile", "Soft": min(settings.files, files), "Hard": min(settings.files, files)},
            {"Name": "nproc", "Soft": settings.processes, "Hard": settings.processes},
        ],
    }
    if order.memory is not None:
        limits |= {"Memory": order.memory, "MemorySwap": order.memory}
    if order.cores is not None:
        limits["NanoCpus"] = int(min(order.cores, processors) * 1_000_000_000)
    return limits


def image_of(name: str, inspected: dict[str, Any]) -> Image:
    """Read what the engine says of an image."""
    config = inspected.get("Config") or {}
    environment = dict(entry.partition("=")[::2] for entry in config.get("Env") or [])
    return Image(name, dict(config.get("Labels") or {}), environment.get("HOME", ""))


def found_of(inspected: dict[str, Any]) -> Found:
    """Read what the engine says of a container."""
    labels: dict[str, str] = (inspected.get("Config") or {}).get("Labels") or {}
    state = inspected.get("State") or {}
    generation = labels.get(f"{LABEL}generation", "")
    return Found(
        container_id=str(inspected.get("Id", "")),
        session_id=labels.get(f"{LABEL}session", ""),
        generation=int(generation) if generation.isdigit() else 0,
        state=str(state.get("Status", "")).lower(),
        labels={name.removeprefix(LABEL): value for name, value in labels.items() if name.startswith(LABEL)},
        started_at=_to_second(str(state.get("StartedAt", ""))),
        exit_code=int(state.get("ExitCode") or 0),
        out_of_memory=bool(state.get("OOMKilled")),
        limited=bool((inspected.get("HostConfig") or {}).get("Memory")),
        address=_address(inspected.get("NetworkSettings") or {}),
    )


def what_happened(found: Found | None) -> tuple[SessionEventName, str]:
    """A container that ended by itself, in words. Podman cannot always tell who killed it."""
    if found is None:
        return "exited", "the container was removed"
    if found.out_of_memory:
        return "oom", "the session ran out of memory"
    if found.exit_code == KILLED and found.limited:
        return "oom", "the session was killed; most likely it ran out of memory"
    return "exited", f"the container ended with {found.exit_code}"


def _address(settings: dict[str, Any]) -> str:
    networks = settings.get("Networks") or {}
    addresses = [settings.get("IPAddress"), *(one.get("IPAddress") for one in networks.values() if one)]
    return next((address for address in addresses if address), "")


def _to_second(stamp: str) -> str:
    """``2026-11-22T03:19:04.123456789Z`` → ``2026-11-22T03:19:04Z``."""
    match = re.match(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)", stamp)
    return f"{match[1]}Z" if match else ""
