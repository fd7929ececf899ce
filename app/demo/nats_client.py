"""A NATS connection by nats-py that leaves no socket and no task behind, and whose ``flush`` keeps its word.

nats-py forgets the socket of an attempt that reached a server and got no further (one that is just starting, or
ending) when it makes the next attempt, or when connecting is cancelled; what is forgotten stays open. And an attempt
that ends in the very moment in which closing cancels it hides the cancellation: the client tries again for ever, or
is connected once more and its tasks stay.
Its ``flush`` writes a PING at once, ahead of a SUB or a PUB that waits for its flusher: the answer says nothing of them.
Used by the publishers of the demo, of the benchmarks and of the tests, which see many servers come and go.
"""

from __future__ import annotations

import asyncio
from typing import Any

from nats.aio.client import DEFAULT_FLUSH_TIMEOUT, Client, Srv

CANCEL_AGAIN = 0.1
"""Seconds after which a task that was cancelled in vain is cancelled once more."""


class TidyClient(Client):
    """nats-py's client, mended as the module says."""

    async def flush(self, timeout: int = DEFAULT_FLUSH_TIMEOUT) -> None:
        """Return when the server knows every subscription and message so far; ``timeout`` is for each of two turns."""
        await super().flush(timeout)
        await super().flush(timeout)

    async def _connect_to_server(self, s: Srv) -> None:
        self.abandon()
        await super()._connect_to_server(s)

    async def _close(self, status: int, do_cbs: bool = True) -> None:
        await super()._close(status, do_cbs)
        await _end(self._reconnection_task)
        for task in (self._reading_task, self._flusher_task, self._ping_interval_task):
            await _end(task)
        self.abandon()
        self._status = status

    def abandon(self) -> None:
        """Close the socket, if there is one; the client itself may connect again."""
        if self._transport:
            self._transport.close()  # type: ignore[no-untyped-call]


async def _end(task: asyncio.Task[Any] | None) -> None:
    """Cancel a task of a client until it has ended; who closes a client may be that task itself."""
    while task is not None and not task.done() and task is not asyncio.current_task():
        task.cancel()
        await asyncio.wait([task], timeout=CANCEL_AGAIN)


async def connect(url: str, **options: Any) -> Client:
    """A connected client; ``options`` are those of nats-py. A connection that does not come about leaves nothing."""
    client = TidyClient()
    try:
        await client.connect(url, **options)
    except BaseException:
        client.abandon()
        raise
    return client
