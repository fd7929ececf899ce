"""How to reach an offered stream: a connection string to copy, and "open with" commands as argument lists.

Called by ``app/ui`` (offer panel, open-with settings) and ``verbs.py``. What a publisher says about itself is text
from the network: a command is a list of arguments and never passes a shell, a value that could become an option or
carries control characters is refused, an address has to look like one. No Qt, no I/O but ``launch``.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from app.client.shapes import Offer
from app.contract import SessionRow, StreamRow
from app.errors import Invalid, NotFound
from app.packaged import foreign_environment

PLACEHOLDER = re.compile(r"\{([a-z_]*)\}")
HOST_NAME = re.compile(r"(?=.{1,253}\Z)(?!-)[A-Za-z0-9_-]{1,63}(?:\.(?!-)[A-Za-z0-9_-]{1,63})*\.?\Z")
NAME_KEYS: dict[str, tuple[str, ...]] = {
    "ndi": ("ndi_name", "source_name", "source"),
    "spout": ("sender_name", "spout_name", "sender"),
    "syphon": ("server_name", "syphon_name", "app_name"),
    "shared_memory": ("segment", "shm_name", "path", "key"),
}
"""Under which keys of ``transport_config`` a publisher gives the name that its protocol is found by."""
URL_KEYS = ("whep_url", "url")
URL_SCHEMES = ("http://", "https://", "ws://", "wss://")
"""What a publisher's own WebRTC address may begin with; anything else could make a program open something local."""
NAMES = ("name", "ndi_name", "sender_name")
PATH_LIKE = re.compile(r"[/\\~@+]|\.\.?(?:[/\\]|\Z)|[A-Za-z]:[/\\]|[A-Za-z][A-Za-z0-9+.-]*:/")
"""How a name does not begin: as a path, a list of options in a file, or a URL."""
CLIMBS = re.compile(r"(?:\A|[/\\])\.\.(?:[/\\]|\Z)")
"""A shared memory segment is a path by nature; it stays below where it says it is."""
PLACEHOLDERS: dict[str, tuple[str, ...]] = {
    "tcp": ("url", "address", "port", "name"),
    "udp": ("url", "address", "port", "name"),
    "srt": ("url", "address", "port", "name"),
    "webrtc": ("url", "address", "port", "name"),
    "ndi": ("ndi_name", "address", "port", "name"),
    "spout": ("sender_name", "name"),
    "syphon": ("sender_name", "name"),
    "shared_memory": ("segment", "name"),
}
"""What may stand in a command, per protocol."""


@dataclass(frozen=True)
class Endpoint:
    """Where one stream's data plane is, whether it was only advertised or already offered."""

    protocol: str
    address: str
    port: int
    name: str
    config: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, source: Offer | SessionRow | StreamRow) -> Endpoint:
        """The end point that a row or an offer speaks of."""
        if isinstance(source, StreamRow):
            return cls(source.protocol, source.address, source.port, source.name, source.config)
        return cls(
            source.protocol,
            source.publisher_address,
            source.publisher_port,
            source.stream_name,
            source.transport_config,
        )


@dataclass(frozen=True)
class OpenCommand:
    """A program that opens streams of one protocol; ``arguments`` may hold ``{placeholders}``."""

    title: str
    protocol: str
    arguments: tuple[str, ...]


DEFAULT_COMMANDS: tuple[OpenCommand, ...] = (
    OpenCommand("ffplay", "srt", ("ffplay", "-hide_banner", "-fflags", "nobuffer", "-i", "{url}")),
    OpenCommand("VLC", "srt", ("vlc", "{url}")),
    OpenCommand("ffplay", "udp", ("ffplay", "-hide_banner", "-fflags", "nobuffer", "-i", "{url}")),
    OpenCommand("VLC", "udp", ("vlc", "udp://@:{port}")),
    OpenCommand("ffplay", "tcp", ("ffplay", "-hide_banner", "-fflags", "nobuffer", "-i", "{url}")),
)
"""What "open with" offers before anybody has set anything up."""


def connection_string(endpoint: Endpoint) -> str:
    """What an operator pastes into a receiver: a URL, or the name by which the protocol finds its source."""
    if endpoint.protocol in NAME_KEYS:
        return _one_line(_source_name(endpoint))
    given = _given_url(endpoint)
    if given:
        return _one_line(given)
    scheme = endpoint.protocol if re.fullmatch(r"[a-z][a-z0-9+.-]*", endpoint.protocol) else "stream"
    url = f"{scheme}://{_bracketed(_one_line(endpoint.address))}:{endpoint.port}"
    stream_key = endpoint.config.get("streamid")
    if endpoint.protocol == "srt" and isinstance(stream_key, str) and stream_key:
        url += f"?streamid={quote(stream_key, safe='')}"
    return url


def check_command(command: OpenCommand) -> None:
    """Whether a command may be kept at all; ``Invalid`` says what is wrong with it."""
    allowed = PLACEHOLDERS.get(command.protocol)
    if allowed is None:
        raise Invalid(f"{command.protocol!r} is not a protocol of streams.")
    if not command.arguments or not command.arguments[0].strip():
        raise Invalid("The command has no program.")
    if PLACEHOLDER.search(command.arguments[0]):
        raise Invalid("The program itself cannot come from a stream: the first argument takes no placeholder.")
    for argument in command.arguments:
        _refuse_control(argument, "An argument")
        for name in PLACEHOLDER.findall(argument):
            if name not in allowed:
                known = ", ".join(f"{{{word}}}" for word in allowed)
                raise Invalid(f"{{{name}}} is not known for {command.protocol}; there are {known}.")


def build(command: OpenCommand, endpoint: Endpoint) -> tuple[str, ...]:
    """The argument list for one stream. ``Invalid`` when a value of the stream is not safe to hand on."""
    check_command(command)
    if endpoint.protocol != command.protocol:
        raise Invalid(f"{command.title} is set up for {command.protocol}, and this stream is {endpoint.protocol}.")
    used = {name for argument in command.arguments for name in PLACEHOLDER.findall(argument)}
    values = {name: _checked(name, endpoint) for name in used}
    return tuple(PLACEHOLDER.sub(lambda found: values[found[1]], argument) for argument in command.arguments)


def display(arguments: Sequence[str]) -> str:
    """An argument list as one readable line, quoted so that each argument is seen as one."""
    if sys.platform == "win32":
        return subprocess.list2cmdline(arguments)
    return shlex.join(arguments)


def launch(arguments: Sequence[str]) -> int:
    """Start the program apart from the console; its pid. ``NotFound`` when it is not installed. Blocks shortly."""
    program = shutil.which(arguments[0])
    if program is None:
        raise NotFound(f"{arguments[0]} is not installed on this machine.")
    flags: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        flags = {"creationflags": subprocess.DETACHED_PROCESS | subprocess.CREATE_NEW_PROCESS_GROUP}
    try:
        process = subprocess.Popen(
            [program, *arguments[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=foreign_environment(),
            **flags,
        )
    except OSError as error:
        raise NotFound(f"{arguments[0]} could not be started: {error.strerror or error}.") from error
    threading.Thread(target=process.wait, name=f"open-with-{process.pid}", daemon=True).start()  # leaves no zombie
    return process.pid


def _checked(name: str, endpoint: Endpoint) -> str:
    """One placeholder's value, refused where it could be anything else than a value."""
    if name == "name":
        value = endpoint.name
    elif name == "url" and _given_url(endpoint):
        value = _given_url(endpoint)
    elif name in ("url", "address", "port"):
        _check_place(endpoint)
        value = {"address": endpoint.address, "port": str(endpoint.port)}.get(name) or connection_string(endpoint)
    else:
        value = _source_name(endpoint)
    _refuse_control(value, f"{{{name}}}")
    if not value or value[0] == "-":
        raise Invalid(f"{{{name}}} would be {value!r}, which a program could take for an option.")
    if (name in NAMES and PATH_LIKE.match(value)) or (name == "segment" and CLIMBS.search(value)):
        raise Invalid(f"{{{name}}} would be {value!r}, which a program could take for a file.")
    return value


def _check_place(endpoint: Endpoint) -> None:
    """An address that is one, and a port that can be connected to."""
    if not _is_host(endpoint.address):
        raise Invalid(f"The stream's address {endpoint.address!r} is not the name or number of a machine.")
    if not 1 <= endpoint.port <= 65535:
        raise Invalid(f"The stream's port {endpoint.port} cannot be connected to.")


def _given_url(endpoint: Endpoint) -> str:
    """The URL that a WebRTC publisher gives itself; empty where it gives none that a player should open."""
    if endpoint.protocol != "webrtc":
        return ""
    urls = (endpoint.config.get(key) for key in URL_KEYS)
    return next((url for url in urls if isinstance(url, str) and url.startswith(URL_SCHEMES)), "")


def _source_name(endpoint: Endpoint) -> str:
    for key in NAME_KEYS[endpoint.protocol]:
        name = endpoint.config.get(key)
        if isinstance(name, str) and name:
            return name
    return endpoint.name


def _one_line(text: str) -> str:
    """A text as it may be shown and copied: control characters spelt out."""
    return "".join(character if character.isprintable() else f"\\x{ord(character):02x}" for character in text)


def _refuse_control(text: str, what: str) -> None:
    if any(not character.isprintable() for character in text):
        raise Invalid(f"{what} has control characters: {_one_line(text)!r}.")


def _is_host(address: str) -> bool:
    """Whether an address is a host name or an IP address, and nothing that a URL could be bent with."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return HOST_NAME.match(address) is not None
    return True


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address and not address.startswith("[") else address
