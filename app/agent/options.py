"""What an agent is told when it starts, checked; and the addresses that follow from it.

Made by ``app/cli.py``, by the embedded broker's child and by tests; used by ``main.py`` and ``connection.py``. Serves the
StreamSpace document (seed 001, "WebSocket Protocol": connection parameters).
"""

from __future__ import annotations

import re
import socket
import ssl
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlencode, urlsplit, urlunsplit

from app import paths
from app.config import LOG_LEVELS, is_loopback
from app.errors import ConfigError
from app.trust import client_context

PLATFORMS = ("local", "attach", "docker")
AN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}


@dataclass(frozen=True, kw_only=True)
class AgentOptions:
    """Options of ``callboard agent``. What is None has a default that ``checked`` fills in, or none."""

    broker: str
    """``http://host:8080`` or ``ws://…``; with a path where the API stands below one."""
    platform: str = "local"
    agent_id: str | None = None
    """Default: platform and host name."""
    region: str | None = None
    key: str | None = field(default=None, repr=False)
    """The agent key, shown to the broker as a Bearer token."""
    max_sessions: int | None = None
    """Default: what the platform says."""
    state_dir: Path | None = None
    """Journal, sessions and homes. Default: a folder named after the agent in the user's data folder."""
    config: Path | None = None
    """TOML of the platform: targets of ``attach``, engine of ``docker``."""
    end_sessions: bool = False
    """End every session when the agent ends, instead of leaving them for the next agent to adopt."""
    ca: Path | None = None
    """Certificates to trust on ``wss``, PEM. Default: the system's."""
    log_level: str = "info"
    tunnel_hosts: tuple[str, ...] = ()
    """Hosts beside the broker's own on which it may ask for tunnels: the other nodes of a cluster."""
    parent: int | None = None
    """A process whose end is this agent's end too: the broker that started it."""

    def checked(self) -> AgentOptions:
        """The same with its defaults. Raises ``ConfigError`` for what cannot work."""
        if self.platform not in PLATFORMS:
            raise ConfigError(f"--platform: {self.platform!r} is not one of {', '.join(PLATFORMS)}.")
        agent_id = self.agent_id or default_id(self.platform)
        if not AN_ID.fullmatch(agent_id):
            raise ConfigError(f"--agent-id: {agent_id!r} is not made of letters, digits, dots and dashes.")
        if self.max_sessions is not None and not 1 <= self.max_sessions <= 10_000:
            raise ConfigError(f"--max-sessions: {self.max_sessions} is not between 1 and 10000.")
        if self.log_level not in LOG_LEVELS:
            raise ConfigError(f"--log-level: {self.log_level!r} is not one of {', '.join(LOG_LEVELS)}.")
        folder = self.state_dir or paths.data_dir() / "agents" / agent_id
        split_broker(self.broker)
        return replace(self, agent_id=agent_id, state_dir=folder.expanduser().absolute())

    @property
    def name(self) -> str:
        """The agent's id, there once checked."""
        return self.agent_id or default_id(self.platform)

    @property
    def folder(self) -> Path:
        """The state folder, there once checked."""
        return self.state_dir or paths.data_dir() / "agents" / self.name

    def control_url(self) -> str:
        """Where the agent's control connection goes."""
        query = {"agent_id": self.name, "platform": self.platform} | ({"region": self.region} if self.region else {})
        scheme, place, path = split_broker(self.broker)
        return urlunsplit((scheme, place, f"{path}/agent/ws", urlencode(query), ""))

    def tunnel_url(self, said: str, proxy_id: str) -> str:
        """Where a tunnel goes: what the broker said, a path of it, or the usual place.

        Never to a host that this agent's own configuration does not name, and never plain when we are not. Raises
        ``ConfigError``.
        """
        scheme, place, path = split_broker(self.broker)
        if not said:
            return urlunsplit((scheme, place, f"{path}/agent/tunnel/{proxy_id}", "", ""))
        if said.startswith("/") and not said.startswith("//"):
            return urlunsplit((scheme, place, said, "", ""))
        try:
            parts = urlsplit(said)
            fits = parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
        except ValueError:
            fits = False
        if not fits:
            raise ConfigError("the broker named no WebSocket for the tunnel")
        if parts.hostname not in (urlsplit(f"//{place}").hostname, *(host.lower() for host in self.tunnel_hosts)):
            raise ConfigError(
                f"the broker wants a tunnel to {parts.hostname}, which is not in this agent's tunnel_hosts"
            )
        if scheme == "wss" and parts.scheme == "ws":
            raise ConfigError("the broker named a tunnel without TLS on a connection with TLS")
        return said

    def tls(self) -> ssl.SSLContext | None:
        """What to trust; None where there is no TLS. Raises ``ConfigError`` for certificates that cannot be read."""
        if split_broker(self.broker)[0] != "wss":
            return None
        return client_context(self.broker, self.ca)

    @property
    def bares_key(self) -> bool:
        """Whether the key would cross a network that anybody may listen to."""
        scheme, place, _ = split_broker(self.broker)
        return scheme == "ws" and bool(self.key) and not is_loopback(urlsplit(f"//{place}").hostname or "")


def default_id(platform: str) -> str:
    """``local-stage-left``: unique enough for one agent of a kind on each host."""
    host = re.sub(r"[^A-Za-z0-9.-]+", "-", socket.gethostname()).strip(".-") or "host"
    return f"{platform}-{host}"[:100]


def split_broker(broker: str) -> tuple[str, str, str]:
    """Scheme of its WebSockets, host with port, and path without a slash at its end. Raises ``ConfigError``."""
    try:
        parts = urlsplit(broker)
        fits = parts.scheme in SCHEMES and bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc
    except ValueError:
        fits = False
    if not fits:
        raise ConfigError(f"--broker: {broker!r} is not the address of a broker; write it like http://10.0.0.5:8080.")
    return SCHEMES[parts.scheme], parts.netloc, parts.path.rstrip("/")
