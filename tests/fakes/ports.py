"""Ports for servers that have to come back where they were."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now.

    They are none of those that systems give to whoever asks for any port: while their server is away nobody gets them
    by chance. Workers of a parallel run choose from different ones.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    found: list[int] = []
    while len(found) < count:
        port = 20_000 + workers * secrets.randbelow(12_000 // workers) + worker
        with socket.socket() as one, contextlib.suppress(OSError):
            one.bind(("127.0.0.1", port))
            found += [port] if port not in found else []
    return found


def held_port(port: int = 0) -> socket.socket:
    """A socket that keeps a port, any one for 0, from all but those who name it: a server may listen there.

    Linux gives a port to nobody's connection while somebody is bound to it; who is bound without listening does not
    stand in a server's way, and connecting is refused.
    """
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    place.bind(("127.0.0.1", port))
    return place
