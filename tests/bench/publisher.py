"""A publisher on NATS in a process of its own: says yes to every request. ``python -m tests.bench.publisher URL``.

Each line on standard input is a JSON list of stream ids to answer for; each is answered with a line when the
server knows the subscriptions.
"""

from __future__ import annotations

import asyncio
import json
import sys

from nats.aio.msg import Msg

from app.demo.nats_client import connect as connect_nats

YES = b'{"accepted":true,"address":"127.0.0.1","port":5960,"protocol":"srt","transport_config":{"latency_ms":120}}'


async def main(url: str) -> None:
    """Answer until standard input closes."""
    client = await connect_nats(url, max_reconnect_attempts=-1)

    async def answer(message: Msg) -> None:
        await message.respond(YES)

    print(json.dumps({"connected": url}), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        ids = json.loads(line)
        for stream_id in ids:
            await client.subscribe(f"maestra.stream.request.{stream_id}", cb=answer)
        await client.flush()
        print(json.dumps({"subscribed": len(ids)}), flush=True)
    await client.close()


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(main(sys.argv[1]))
    else:
        uvloop.run(main(sys.argv[1]))
