"""An agent's own configuration file: targets of ``attach``, the engine of ``docker``, ways of ``local``.

Read by ``app/agent/main.py`` from ``--config`` or, where that is not given, from ``agent.toml`` in the user's
configuration folder. What stands here can come from nowhere else: neither a broker nor a template can name a host, a
socket or a network. Serves the StreamSpace document (seed 001, "Agent Management").

    tunnel_hosts = ["broker-2.show.lan"]    # only with a cluster of brokers

    [[target]]
    name = "media-server-1"             # what sessions are made of, as of a template
    title = "Media server, stage left"
    host = "10.0.0.21"
    port = 5900

    [docker]
    pull = "missing"
"""

from __future__ import annotations

import difflib
import re
import tomllib
from pathlib import Path
from typing import Any, Literal

import msgspec

from app import paths
from app.errors import ConfigError

A_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
VNC_PORT = 5900


class Target(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A VNC server that runs already: on ``host`` and ``port``, or on the socket file ``unix``."""

    name: str
    title: str = ""
    host: str = ""
    port: int = VNC_PORT
    unix: str = ""

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return self.unix or (f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}")


class DockerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How containers are run. The defaults let nothing in or out but the desktop's socket."""

    socket: str = ""
    """``unix:///run/podman/podman.sock``; empty: DOCKER_HOST, then the usual places."""
    network: str = "none"
    """A network of the engine, for images whose programs need one or which serve VNC on TCP."""
    pull: Literal["never", "missing", "always"] = "never"
    """``never``: only images that are on this machine already."""
    read_only: bool | None = None
    """The image cannot be written to. None: where the image says by its label that it can live with that."""
    init: bool = False
    """An init of the engine's before the image's command; Podman needs catatonit for it."""
    no_new_privileges: bool = True
    drop: tuple[str, ...] = ("AUDIT_WRITE", "MKNOD", "NET_RAW", "SETFCAP")
    """Capabilities that containers are not given."""
    files: int = 4096
    processes: int = 2000
    """Limits in each container; those of the agent's own user bound them where they are lower."""
    tmp: str = "256Mi"
    """Memory that ``/tmp`` may take."""
    ready_within: float = 60.0
    """Seconds a container may take until it serves its desktop."""
    pull_within: float = 900.0


class LocalSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How sessions run as processes of this machine."""

    limits: Literal["auto", "soft"] = "auto"
    """``soft``: without systemd and control groups, even where they work."""
    window_manager: tuple[str, ...] = ("matchbox-window-manager", "-use_titlebar", "no")
    """Beside each program, where it is installed; empty: none."""
    max_sessions: int | None = None
    log_limit: str = "8Mi"
    """Size at which a session's log is put aside; one older part is kept."""


class AgentConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file; each platform reads its own part."""

    tunnel_hosts: tuple[str, ...] = ()
    """Hosts on which the broker may ask for tunnels, beside the one it was reached on: other nodes of a cluster."""
    target: tuple[Target, ...] = ()
    docker: DockerSettings = DockerSettings()
    local: LocalSettings = LocalSettings()


_SECTIONS: dict[str, type[msgspec.Struct]] = {"target": Target, "docker": DockerSettings, "local": LocalSettings}


def default_file() -> Path:
    """Where the file is looked for when none is given; it need not exist."""
    return paths.config_dir() / "agent.toml"


def load_agent_config(file: Path | None) -> AgentConfig:
    """The configuration, or an empty one where there is no file. Raises ``ConfigError`` with one readable line."""
    path = file or default_file()
    try:
        table = tomllib.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        if file is None:
            return AgentConfig()
        raise ConfigError(f"The agent's configuration file {path} does not exist.") from None
    except OSError as error:
        raise ConfigError(f"The agent's configuration file {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"The agent's configuration file {path} is not valid TOML: {error}.") from error
    _refuse_unknown(table, path)
    try:
        config = msgspec.convert(table, AgentConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {error}.") from error
    _check_targets(config.target, path)
    if config.docker.network == "host":
        raise ConfigError(f"{path}: [docker] network = 'host' would put desktops on this machine's own addresses.")
    return config


def _refuse_unknown(table: dict[str, Any], path: Path) -> None:
    """Name the key that nobody reads, and what was probably meant."""
    _refuse(table, AgentConfig.__struct_fields__, f"{path}: there is no section")
    for section, fields in _SECTIONS.items():
        found = table.get(section, [])
        for entry in found if isinstance(found, list) else [found]:
            if isinstance(entry, dict):
                _refuse(entry, fields.__struct_fields__, f"{path}: [{section}] has no setting")


def _refuse(table: dict[str, Any], known: tuple[str, ...], words: str) -> None:
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, known, 1, 0.6)
            raise ConfigError(f"{words} {key!r}; {f'did you mean {near[0]!r}?' if near else 'leave it out.'}")


def _check_targets(targets: tuple[Target, ...], path: Path) -> None:
    seen: set[str] = set()
    for target in targets:
        if not A_NAME.fullmatch(target.name):
            raise ConfigError(
                f"{path}: the target name {target.name!r} is not made of small letters, digits and dashes."
            )
        if target.name in seen:
            raise ConfigError(f"{path}: two targets are called {target.name!r}.")
        seen.add(target.name)
        if bool(target.host) == bool(target.unix):
            raise ConfigError(f"{path}: target {target.name!r} needs either a host or a unix socket.")
        if not 1 <= target.port <= 65535:
            raise ConfigError(f"{path}: target {target.name!r} has the port {target.port}, which does not exist.")
