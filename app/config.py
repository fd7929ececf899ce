"""Settings of ``callboard serve``: options, then ``CALLBOARD_<NAME>``, then the TOML file, then the default.

Called by ``app/cli.py``. Everything wrong with a setting is one ``ConfigError`` with one readable line that
names the setting, where it was set and, for a near miss, what was probably meant. No pydantic here, since the
console reads the same settings before its window stands.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
import socket
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin
from urllib.parse import urlsplit

import msgspec

from app import paths
from app.errors import ConfigError, Invalid
from app.quantities import duration_seconds

PREFIX = "CALLBOARD_"
OTHER_VARIABLES = ("CONFIG", "TOKEN", "TOKEN_STDIN", "ADMIN_PASSWORD", "AGENT_KEY", "CA")
"""Variables with our prefix that are not settings of ``serve``."""

LATER = {
    "redis_url": "live state in Redis",
    "database_url": "PostgreSQL instead of SQLite",
}
"""Settings whose subject this version does not have yet; giving one is an error rather than a silent nothing."""

LOG_LEVELS = ("debug", "info", "warning", "error")


class ServeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one broker. ``given`` says for each setting that is no default where it comes from."""

    host: str = "127.0.0.1"
    port: int = 8080
    monibuca_port: int = 8180
    streamkit_port: int = 4545
    instinct_port: int = 42069
    nats_port: int = 4222
    nats_url: str | None = None
    data_dir: Path = msgspec.field(default_factory=paths.data_dir)
    redis_url: str | None = None
    database_url: str | None = None
    allow_networks: tuple[str, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    log_level: str = "info"
    durability: Literal["normal", "power"] = "normal"
    name: str = msgspec.field(default_factory=socket.gethostname)
    allow_plain: bool = False
    allow_origins: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    local_agent: Literal["auto", "off"] = "auto"
    """Whether the broker starts an agent for this machine where it has what one needs."""
    open_agents: bool = False
    """Whether agents on this machine may register without a key, as the StreamSpace document has it."""
    novnc_folder: Path | None = None
    """An unpacked noVNC for the viewer's page, in place of the installed one."""
    limit_login: int = 5
    limit_create: int = 10
    limit_other: int = 100
    """Requests a minute to the StreamSpace API: logins by address, new sessions and everything else by user."""
    purge_after: str = "24h"
    """How long an ended desktop session can be read, with its log."""
    given: dict[str, str] = {}


NAMES = tuple(field.name for field in msgspec.structs.fields(ServeConfig) if field.name != "given")
_TYPES = {field.name: field.type for field in msgspec.structs.fields(ServeConfig)}
_LISTS = ("allow_networks", "allow_origins", "allow_hosts")
_LIMITS = ("limit_login", "limit_create", "limit_other")
_PATHS = ("data_dir", "tls_cert", "tls_key", "novnc_folder")
SHORTEST_PURGE = 60
"""Seconds: the broker looks once a minute for what to purge."""
_PORTS = ("port", "monibuca_port", "streamkit_port", "instinct_port", "nats_port")


def load_serve_config(
    options: Mapping[str, object], environ: Mapping[str, str], config_file: Path | None
) -> ServeConfig:
    """The settings that hold; ``options`` whose value is None were not given. Raises ``ConfigError``."""
    values: dict[str, Any] = {}
    given: dict[str, str] = {}
    for source, found in (
        ("file", _from_file(config_file)),
        ("environment", _from_environment(environ)),
        ("option", _from_options(options)),
    ):
        for name, value in found.items():
            values[name] = value
            given[name] = _place(name, source, config_file)
    for name, subject in LATER.items():
        if values.get(name):
            raise ConfigError(f"{given[name]}: {subject} is not part of this version yet; leave this setting out.")
    checked = {name: _convert(name, value, given[name]) for name, value in values.items() if name not in LATER}
    for name, other in (("tls_cert", "tls_key"), ("tls_key", "tls_cert")):
        if name in checked and other not in checked:
            raise ConfigError(f"{given[name]}: TLS needs {other} as well.")
    return ServeConfig(**checked, given=given)


def option(name: str) -> str:
    """How a setting is called on the command line."""
    return "--" + name.replace("_", "-")


def variable_of(name: str) -> str:
    """How a setting is called in the environment."""
    return PREFIX + name.upper()


def _place(name: str, source: str, config_file: Path | None) -> str:
    if source == "option":
        return f"option {option(name)}"
    if source == "environment":
        return f"environment variable {variable_of(name)}"
    return f"{name} in {config_file or paths.config_file()}"


def _from_options(options: Mapping[str, object]) -> dict[str, Any]:
    found = {name.replace("-", "_"): value for name, value in options.items()}
    for name in found:
        if name not in NAMES:
            raise ConfigError(f"There is no option {option(name)}{_meant(option(name), map(option, NAMES))}")
    return {name: value for name, value in found.items() if value is not None and value != ()}


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Our variables; an unknown one is an error only when it looks like a misspelt setting."""
    found: dict[str, Any] = {}
    known = (*NAMES, *(name.lower() for name in OTHER_VARIABLES))
    for variable, value in environ.items():
        if not variable.startswith(PREFIX):
            continue
        name = variable.removeprefix(PREFIX).lower()
        if name in NAMES:
            if value:
                found[name] = value
        elif name not in known and difflib.get_close_matches(name, NAMES, 1, 0.75):
            raise ConfigError(f"There is no setting {variable}{_meant(variable, map(variable_of, NAMES))}")
    return found


def _from_file(config_file: Path | None) -> dict[str, Any]:
    path = config_file or paths.config_file()
    try:
        table = tomllib.loads(path.read_bytes().decode("utf-8"))
    except FileNotFoundError:
        if config_file is None:
            return {}
        raise ConfigError(f"The configuration file {path} does not exist.") from None
    except OSError as error:
        raise ConfigError(f"The configuration file {path} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"The configuration file {path} is not valid TOML: {error}.") from error
    found = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in NAMES:
            raise ConfigError(f"{path}: there is no setting {key!r}{_meant(name, NAMES)}")
        found[name] = value
    return found


def _meant(typed: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the near miss as a question, or a full stop."""
    close = difflib.get_close_matches(typed, list(known), 1, 0.6)
    return f"; did you mean {close[0]}?" if close else "."


def _convert(name: str, value: Any, place: str) -> Any:
    """One value in its type, checked for what the type alone does not say."""
    if name in _LISTS:
        value = _as_list(value, place)
    try:
        converted = msgspec.convert(value, _TYPES[name], strict=False, dec_hook=_hook)
    except (msgspec.ValidationError, ValueError) as error:
        raise ConfigError(f"{place}: {_reason(name, value, error)}.") from error
    if name in ("host", "name", *_PATHS) and not str(value).strip():
        raise ConfigError(f"{place}: may not be empty.")
    _check_number(name, converted, place)
    if name == "purge_after":
        _check_purge(converted, place)
    if name == "log_level":
        converted = converted.lower()
        if converted not in LOG_LEVELS:
            raise ConfigError(f"{place}: {value!r} is not one of {', '.join(LOG_LEVELS)}.")
    if name in _PATHS:
        return converted.expanduser().absolute()
    if name == "allow_networks":
        return tuple(check_network(text, place) for text in converted)
    if name == "allow_hosts":
        return tuple(_check_name(text, place) for text in converted)
    if name == "allow_origins":
        return tuple(_check_origin(text, place) for text in converted)
    if name == "nats_url":
        check_nats_url(converted, place)
    return converted


def _check_number(name: str, number: Any, place: str) -> None:
    if name in _PORTS and not 0 <= number <= 65535:
        raise ConfigError(f"{place}: {number} is not a port; ports are 0 (any free one) to 65535.")
    if name in _LIMITS and not 1 <= number <= 1_000_000:
        raise ConfigError(f"{place}: {number} is not a number of requests; write 1 to 1000000.")


def _check_purge(text: str, place: str) -> None:
    try:
        seconds = duration_seconds(text)
    except Invalid as error:
        raise ConfigError(f"{place}: {text!r} is not a time; write it like 30m, 24h or 1h30m, up to a year.") from error
    if seconds < SHORTEST_PURGE:
        raise ConfigError(f"{place}: {text!r} is too short; ended sessions can be read for a minute at least.")


def _as_list(value: Any, place: str) -> list[str]:
    """A list, or a text with commas between the entries."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
        return [text for part in value for text in _as_list(part, place)]
    raise ConfigError(f"{place}: {value!r} is not a list of texts.")


def _hook(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    raise ValueError(f"{value!r} is not a path")


def _reason(name: str, value: Any, error: Exception) -> str:
    if name in _PORTS:
        return f"{value!r} is not a port number"
    if name in _LIMITS:
        return f"{value!r} is not a number"
    if _TYPES[name] is bool:
        return f"{value!r} is neither true nor false"
    if get_origin(_TYPES[name]) is Literal:
        return f"{value!r} is not one of {', '.join(get_args(_TYPES[name]))}"
    return f"{value!r} does not fit: {error}"


def check_network(text: str, place: str) -> str:
    """A network in canonical CIDR form; a bare address is a network of one."""
    try:
        return str(ipaddress.ip_network(text.strip(), strict=False))
    except ValueError:
        raise ConfigError(
            f"{place}: {text!r} is not a network; write it like 192.168.1.0/24, or one address like 192.168.1.20."
        ) from None


def _check_name(text: str, place: str) -> str:
    """A host's name alone: a Host header is compared without its port."""
    if not re.fullmatch(r"[\w.\-]+", text, re.ASCII):
        raise ConfigError(f"{place}: {text!r} is not the name of a host; write it like show.local, without a port.")
    return text


def _check_origin(text: str, place: str) -> str:
    """An origin as browsers send it, which knows no path and no wildcard."""
    if not re.fullmatch(r"[a-z][a-z0-9+.\-]*://[^/\s*?#@]+/?", text, re.ASCII):
        raise ConfigError(f"{place}: {text!r} is not an origin; write it like https://show.local:8443.")
    return text


def check_nats_url(text: str, place: str) -> None:
    """The URL of one NATS server, without the secret that it may carry in the message."""
    try:
        parts = urlsplit(text)
        fits = parts.scheme == "nats" and bool(parts.hostname) and parts.port != 0 and "," not in parts.netloc
    except ValueError:
        fits = False
    if text.startswith("tls://"):
        raise ConfigError(f"{place}: TLS is not part of this version yet; use nats://.")
    if not fits:
        raise ConfigError(f"{place}: this is not the URL of a NATS server; write it like nats://10.0.0.5:4222.")


def is_loopback(host: str) -> bool:
    """Whether a listener on ``host`` is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
