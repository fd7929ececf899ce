"""A NATS connection by nats-py that leaves no socket and no task behind, and whose ``flush`` keeps its word.

nats-py forgets the socket of an attempt that reached a server and got no further (one that is just starting, or
ending) when it makes the next attempt, or when connecting is cancelled; what is forgotten stays open. And an attempt
that fails in the very moment in which closing cancels it hides the cancellation: the client tries again for ever.
Its ``flush`` writes a PING at once, ahead of a SUB or a PUB that waits for its flusher: the answer says nothing of them.
Used by the demo's publishers and, through ``tests/fakes``, by the tests', which see many servers come and go.
"""

from __future__ import annotations

import asyncio
from typing import Any

from nats.aio.client import Client, Srv

FLUSH_TIMEOUT = 10
"""Seconds, as nats-py has it."""
ENDS_WITHIN = 0.1
"""Seconds after which a task that was cancelled in vain is cancelled once more."""


class TidyClient(Client):
    """nats-py's client, mended as the module says."""

    async def flush(self, timeout: int = FLUSH_TIMEOUT) -> None:
        """Return when the server knows every subscription and message so far; ``timeout`` is for each of two turns."""
        await super().flush(timeout)
        await super().flush(timeout)

    async def _connect_to_server(self, s: Srv) -> None:
        self.abandon()
        await super()._connect_to_server(s)

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        await super()._close(status, do_cbs)
        task = self._reconnection_task
        if task is None or task.done() or task is asyncio.current_task():
            return
        while not task.done():
            task.cancel()
            await asyncio.wait([task], timeout=ENDS_WITHIN)
        self.abandon()
        self._status = status

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
