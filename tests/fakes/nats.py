"""What tests need of nats-py beyond nats-py."""

from __future__ import annotations

from nats.aio.client import Client


async def settled(client: Client) -> None:
    """Return when the server knows every subscription made so far.

    One ``flush`` is not enough: nats-py writes its PING at once, ahead of a SUB that waits for the flusher task.
    """
    await client.flush()
    await client.flush()
