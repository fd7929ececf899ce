"""A NATS connection by nats-py that leaves no socket behind.

nats-py forgets the socket of an attempt that reached a server and got no further (one that is just starting, or
ending) when it makes the next attempt, or when connecting is cancelled; what is forgotten stays open. Used by the
demo's publishers and, through ``tests/fakes``, by the tests', which see many servers come and go.
"""

from __future__ import annotations

from typing import Any

from nats.aio.client import Client, Srv


class TidyClient(Client):
    """nats-py's client, which closes the socket of the attempt before."""

    async def _connect_to_server(self, s: Srv) -> None:
        self.abandon()
        await super()._connect_to_server(s)

    def abandon(self) -> None:
        """Close the socket, if there is one; the client itself may connect again."""
        if self._transport:
            self._transport.close()  # type: ignore[no-untyped-call]


async def connect(url: str, **options: Any) -> Client:
    """A connected client; ``options`` are those of nats-py. A connection that does not come about leaves nothing."""
    client = TidyClient()
    try:
        await client.connect(url, **options)
    except BaseException:
        client.abandon()
        raise
    return client
