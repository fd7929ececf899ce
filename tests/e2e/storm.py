"""Many consoles at once, as a process of their own: ``python -m tests.e2e.storm URL TOKEN COUNT ROUNDS``.

Each round opens ``COUNT`` feeds at the same moment and waits until every one of them has its hello and a whole snapshot;
then all of them break off without a word, and the next round begins. After each round one JSON line goes to standard
output and a line is read from standard input before the connections are dropped.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection, connect

from app.client.transport import feed_url_of

WITHIN = 60.0


class Head(msgspec.Struct):
    """What a message is, without looking at its rows."""

    t: str
    part: int = 0
    parts: int = 0


async def arrive(url: str, token: str) -> tuple[ClientConnection, float]:
    """One console: connected, greeted and up to date; how long that took."""
    began = time.monotonic()
    connection = await connect(
        f"{feed_url_of(url)}?token={token}", open_timeout=WITHIN, compression=None, ping_interval=None, max_size=None
    )
    greeted = False
    async for frame in connection:
        head = msgspec.json.decode(frame, type=Head)
        greeted = greeted or head.t == "hello"
        if head.t == "snapshot" and head.part == head.parts:
            break
    if not greeted:
        raise RuntimeError("a snapshot came without a hello")
    return connection, time.monotonic() - began


async def main(url: str, token: str, count: int, rounds: int) -> None:
    """All rounds."""
    for _ in range(rounds):
        async with asyncio.timeout(WITHIN):
            arrived = await asyncio.gather(*(arrive(url, token) for _ in range(count)), return_exceptions=True)
        good = [one for one in arrived if not isinstance(one, BaseException)]
        failed = [repr(one) for one in arrived if isinstance(one, BaseException)]
        took = sorted(seconds for _, seconds in good)
        report: dict[str, Any] = {"arrived": len(good), "failed": failed[:3], "slowest": took[-1] if took else None}
        print(json.dumps(report), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        for connection, _ in good:
            connection.transport.abort()


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
