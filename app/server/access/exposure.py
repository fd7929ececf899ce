"""Who may reach this broker: the settings behind that page of the console, and what they mean in sentences.

Options, environment and the TOML file win; what the page changes is kept in the database and holds where they
are silent. Networks change at once, the address to listen on at the next start. Called by ``main.py`` and the
console's routes.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import msgspec
import psutil

from app.config import ServeConfig, check_network, is_loopback, option
from app.errors import ConfigError, Conflict, Invalid
from app.server.access.keys import ApiKeys
from app.server.access.networks import Networks
from app.server.health import Health
from app.server.listeners import bind
from app.server.storage.database import ApiKeyRow, Database

SETTING = "access"
NETWORK_LIMIT = 256
PART = "access"
"""The line of health that says when secrets pass unencrypted."""
WARNING = "Passwords, keys and tokens of other machines pass unencrypted (allow_plain)"
_PLAIN_LOGINS = (
    "Users with a password and agents with a key may log in from any network, and these secrets pass unencrypted "
    "(allow_plain)."
)
_NO_LOGINS = (
    "Users and agents of other machines are refused, since their passwords, keys and tokens would pass unencrypted: "
    "set tls_cert and tls_key, or allow_plain."
)


class Stored(msgspec.Struct):
    """What the page has set; None where it has not."""

    host: str | None = None
    allow_networks: list[str] | None = None
    allow_plain: bool | None = None


class Exposure:
    """The settings that hold, and how they are changed. ``host`` is the one in use, ``next_host`` comes after it."""

    def __init__(
        self,
        config: ServeConfig,
        database: Database,
        keys: ApiKeys,
        networks: Networks,
        *,
        health: Health | None = None,
    ) -> None:
        self._config = config
        self._database = database
        self._keys = keys
        self._networks = networks
        self._health = health
        self._stored = Stored()
        self._changing = asyncio.Lock()
        self.host = config.host

    async def load(self) -> None:
        """Read what was set, apply it and check it. Raises ``ConfigError``."""
        kept = await self._database.get_setting(SETTING)
        if kept is not None:
            self._stored = msgspec.convert(kept, Stored)
        self.host = self.next_host
        self._networks.replace(self.allow_networks)
        if self._exposed(self.host, self.allow_networks, plain=self.allow_plain):
            raise ConfigError(
                f"{option('host')} {self.host} lets other machines reach this broker, and nobody is allowed to: "
                f"name their networks with {option('allow_networks')}, make an API key in the console first, "
                f"or let users and agents log in with {option('tls_cert')} and {option('tls_key')}."
            )
        self._warn()

    @property
    def next_host(self) -> str:
        """Where the broker listens after its next start."""
        return self._host_after(self._stored)

    @property
    def allow_networks(self) -> tuple[str, ...]:
        """Networks that need no key."""
        return self._networks_after(self._stored)

    @property
    def allow_plain(self) -> bool:
        """Whether secrets may pass without TLS off this machine."""
        if self._fixed("allow_plain") or self._stored.allow_plain is None:
            return self._config.allow_plain
        return self._stored.allow_plain

    async def change(self, wanted: Stored) -> None:
        """Set what is not None. Raises ``Conflict`` for what the command line decides, ``Invalid`` for nonsense."""
        async with self._changing:
            for name in ("host", "allow_networks", "allow_plain"):
                if getattr(wanted, name) is not None and self._fixed(name):
                    raise Conflict(f"This is set by the {self._config.given[name]}; change it there.")
            new = msgspec.structs.replace(self._stored)
            if wanted.allow_networks is not None:
                new.allow_networks = _networks(wanted.allow_networks)
            if wanted.host is not None:
                new.host = await asyncio.to_thread(_listenable, wanted.host)
            if wanted.allow_plain is not None:
                new.allow_plain = wanted.allow_plain
            plain = self._config.allow_plain if new.allow_plain is None else new.allow_plain
            if self._exposed(self._host_after(new), self._networks_after(new), plain=plain):
                raise Invalid(
                    "Other machines would reach the broker and none be allowed: name a network or make a key."
                )
            await self._database.set_setting(SETTING, msgspec.to_builtins(new))
            self._stored = new
            self._networks.replace(self.allow_networks)
            self._warn()

    async def delete_key(self, key_id: str) -> ApiKeyRow:
        """Withdraw an API key, unless it is all that lets other machines in. Raises ``NotFound``, ``Conflict``."""
        async with self._changing:
            rest = [row for row in self._keys.rows() if row.id != key_id]
            if not rest and self._exposed(self.next_host, self.allow_networks, plain=self.allow_plain, keys=0):
                raise Conflict(
                    "This key is all that lets other machines in: name a network first, or listen on 127.0.0.1."
                )
            return await self._keys.delete(key_id)

    def view(self, port: int, nats_port: int | None) -> dict[str, Any]:
        """The page: settings, addresses for publishers, and sentences."""
        return {
            "host": self.next_host,
            "allow_networks": list(self.allow_networks),
            "allow_plain": self.allow_plain,
            "urls": [f"{self.scheme}://{place(address)}:{port}" for address in addresses(self.host)],
            "words": self._words(nats_port),
            "keys": [{"id": row.id, "name": row.name, "created_at": row.created_at} for row in self._keys.rows()],
        }

    @property
    def encrypted(self) -> bool:
        """Whether the broker speaks TLS."""
        return self._config.tls_cert is not None

    @property
    def scheme(self) -> str:
        """How the address of the main port begins."""
        return "https" if self.encrypted else "http"

    def _words(self, nats_port: int | None) -> list[str]:
        words = ["Programs on this machine may advertise, take and stop streams without a login."]
        if is_loopback(self.host):
            words.append("Other machines cannot reach this broker: it listens on this machine alone.")
        else:
            words += self._words_for_others(nats_port)
        words.append("Users log in to see agents and desktops: their own, or as administrators every one.")
        if self._config.open_agents:
            words.append("Any program on this machine may register as an agent, without a key (open_agents).")
        else:
            words.append("Agents register with a key; this machine's own key opens from this machine alone.")
        words.append(
            "Only a console that knows this broker's token, or an administrator who has logged in, may hold, "
            "configure, audit or stop it."
        )
        words.append("Web pages of other origins may change nothing here.")
        if self.next_host != self.host:
            words.append(f"From the next start on the broker listens on {self.next_host}.")
        fixed = [name for name in ("host", "allow_networks", "allow_plain") if self._fixed(name)]
        words += [f"{name} is set by the {self._config.given[name]} and cannot be changed here." for name in fixed]
        return words

    def _words_for_others(self, nats_port: int | None) -> list[str]:
        """What machines off this one may do, and how safely."""
        where = "on every address of this machine" if self.host in ("0.0.0.0", "::") else f"on {self.host}"  # noqa: S104
        words = [f"Other machines can reach this broker {where}."]
        if self.allow_networks:
            words.append(f"Machines in {', '.join(self.allow_networks)} may do the same without a login.")
        words.append(f"{_keys_in_words(len(self._keys.rows()))} from any network.")
        if self.encrypted:
            words.append("Users with a password and agents with a key may log in from any network, encrypted by TLS.")
        else:
            words.append(_PLAIN_LOGINS if self.allow_plain else _NO_LOGINS)
            words.append(
                "What passes between machines is not encrypted: whoever can listen on the network can read it."
            )
        if nats_port is not None:
            plain = " It is not encrypted." if self.encrypted else ""
            words.append(
                f"Every machine that reaches port {nats_port} (NATS) may answer requests for streams, send heartbeats "
                f"and hear what is announced, and nothing else; networks and keys do not limit that.{plain}"
            )
        return words

    def _warn(self) -> None:
        """Show on the strip that secrets pass unencrypted."""
        if self._health is None:
            return
        plain = self.allow_plain and not self.encrypted and not is_loopback(self.host)
        if plain or any(row.id == PART for row in self._health.rows()):
            self._health.set(PART, True, WARNING if plain else "")

    def _host_after(self, stored: Stored) -> str:
        return self._config.host if self._fixed("host") else stored.host or self._config.host

    def _networks_after(self, stored: Stored) -> tuple[str, ...]:
        if self._fixed("allow_networks") or stored.allow_networks is None:
            return self._config.allow_networks
        return tuple(stored.allow_networks)

    def _fixed(self, name: str) -> bool:
        return name in self._config.given

    def _exposed(self, host: str, networks: tuple[str, ...], *, plain: bool, keys: int | None = None) -> bool:
        """Whether other machines reach the broker and none of them may do anything, not even log in."""
        count = len(self._keys.rows()) if keys is None else keys
        return not is_loopback(host) and not networks and not count and not self.encrypted and not plain


def _keys_in_words(count: int) -> str:
    if not count:
        return "There is no API key, so nobody else may do anything"
    return f"{'One API key opens' if count == 1 else f'{count} API keys open'} the same"


def _networks(texts: list[str]) -> list[str]:
    if len(texts) > NETWORK_LIMIT:
        raise Invalid(f"At most {NETWORK_LIMIT} networks can be allowed")
    try:
        return list(dict.fromkeys(check_network(text, "allow_networks") for text in texts))
    except ConfigError as error:
        raise Invalid(error.message) from error


def _listenable(host: str) -> str:
    """An address of this machine; tried, since only that tells."""
    host = host.strip()
    if not host:
        raise Invalid("The address to listen on may not be empty")
    try:
        bind(host, 0, "host").close()
    except ConfigError as error:
        raise Invalid(f"{host!r} is not an address of this machine") from error
    return host


def addresses(host: str) -> list[str]:
    """The addresses under which other machines, or only this one, reach a listener on ``host``."""
    if host not in ("0.0.0.0", "::", ""):  # noqa: S104
        return [host]
    families = (socket.AF_INET,) if host == "0.0.0.0" else (socket.AF_INET, socket.AF_INET6)  # noqa: S104
    found = [
        entry.address
        for entries in psutil.net_if_addrs().values()
        for entry in entries
        if entry.family in families and not is_loopback(entry.address) and "%" not in entry.address
    ]
    return found or ["127.0.0.1"]


def place(host: str) -> str:
    """A host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host
