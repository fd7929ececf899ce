"""Where a request may come from and how it may call us: networks, Host names, Origins. Rules without I/O.

Used by the guard on every request, so each verdict is remembered, within a bound, until the rules change.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

VERDICTS = 4096
VIEWER_ORIGIN = b"callboard://viewer"


class Networks:
    """Which addresses reach the dialects that have no login: this machine, and the networks allowed."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._verdicts: dict[str, bool] = {}
        self.replace(allowed)

    def replace(self, allowed: Iterable[str]) -> None:
        """Change the networks, at once."""
        self.allowed = tuple(allowed)
        self._networks = [ipaddress.ip_network(text) for text in self.allowed]
        self._verdicts.clear()

    def allow(self, client: str, server: str) -> bool:
        """Whether an address may call; a client whose address is the server's own is this machine."""
        verdict = self._verdicts.get(client)
        if verdict is None:
            if len(self._verdicts) >= VERDICTS:
                self._verdicts.clear()
            verdict = self._verdicts[client] = self._judge(client)
        return verdict or client == server

    def _judge(self, client: str) -> bool:
        try:
            address = ipaddress.ip_address(client.partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return address.is_loopback or any(address in network for network in self._networks)


class Hosts:
    """Names this broker may be called by: IP literals, localhost, the machine's name and configured ones.

    A name of somebody else that resolves to us (DNS rebinding) is not among them.
    """

    def __init__(self, configured: Iterable[str] = ()) -> None:
        machine = socket.gethostname().lower()
        short = machine.partition(".")[0]
        self._names = {"localhost", machine, short, f"{short}.local", *(name.lower() for name in configured)}
        self._verdicts: dict[bytes, bool] = {}

    def allow(self, host: bytes) -> bool:
        """Whether a Host header is one of ours; a port in it does not matter."""
        verdict = self._verdicts.get(host)
        if verdict is None:
            if len(self._verdicts) >= VERDICTS:
                self._verdicts.clear()
            verdict = self._verdicts[host] = self._judge(host)
        return verdict

    def _judge(self, host: bytes) -> bool:
        try:
            text = host.decode("ascii").lower()
        except UnicodeDecodeError:
            return False
        name, colon, port = text.rpartition(":")
        if not colon or text.endswith("]"):
            name, port = text, ""
        if port and not port.isdigit():
            return False
        name = name.removesuffix(".")
        if name in self._names:
            return True
        try:
            ipaddress.ip_address(name[1:-1] if name.startswith("[") and name.endswith("]") else name)
        except ValueError:
            return False
        return True


class Origins:
    """Web pages that may change something: our own, the viewer's and configured ones."""

    def __init__(self, configured: Iterable[str] = ()) -> None:
        self._allowed = {VIEWER_ORIGIN, *(origin.rstrip("/").encode() for origin in configured)}

    def allow(self, origin: bytes, host: bytes) -> bool:
        """``host`` has been found to be ours, so a page of that host is ours too."""
        return origin in (b"http://" + host, b"https://" + host) or origin in self._allowed
