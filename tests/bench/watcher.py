"""A console as far as the broker can tell: reads the feed and counts. ``python -m tests.bench.watcher URL``.

Says it is ready when the first snapshot is whole; when standard input closes, says what it saw.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter

import msgspec
from websockets.asyncio.client import connect

from app.contract import Diff, FeedMessage, Snapshot


async def main(url: str) -> None:
    """Read the feed until standard input closes."""
    kinds: Counter[str] = Counter()
    decoder: msgspec.json.Decoder[FeedMessage] = msgspec.json.Decoder(FeedMessage)
    snapshots = 0

    async with connect(url, max_size=None, compression=None) as feed:
        closing = asyncio.ensure_future(asyncio.to_thread(sys.stdin.read))
        closing.add_done_callback(lambda _: asyncio.ensure_future(feed.close()))
        async for text in feed:
            message = decoder.decode(text)
            if isinstance(message, Diff):
                kinds.update(event.kind for event in message.events)
            elif isinstance(message, Snapshot) and message.part == message.parts:
                snapshots += 1
                if snapshots == 1:
                    print(json.dumps({"snapshot": message.seq}), flush=True)
    print(json.dumps({"kinds": kinds, "snapshots": snapshots}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
