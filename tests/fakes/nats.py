"""What tests need of nats-py beyond nats-py."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from nats.aio.client import Client


async def settled(client: Client) -> None:
    """Return when the server knows every subscription made so far.

    One ``flush`` is not enough: nats-py writes its PING at once, ahead of a SUB that waits for the flusher task.
    """
    await client.flush()
    await client.flush()


@contextmanager
def kept(port: int) -> Iterator[None]:
    """Keep a port for the server that has left it: Linux gives it to nobody's connection while somebody is bound to it.

    Free ports of servers and those of outgoing connections come out of one range, and whatever else runs on the
    machine may get it meanwhile. Who is bound without listening does not stand in the server's way.
    """
    with socket.socket() as place:
        if sys.platform == "linux":
            place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            place.bind(("127.0.0.1", port))
        yield
