"""Simulated agents in a process of their own. ``python -m tests.bench.agents URL KEY COUNT PLACES``.

Says it is ready when all of them are registered; then answers each line on standard input with its tally.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import sys

from app.demo.agents import AgentCrowd


async def main(url: str, key: str, count: int, places: int) -> None:
    """Be all of them until standard input closes."""
    crowd = AgentCrowd(url, key, count, places=places, prefix="bench", slow=0.1)
    living = asyncio.ensure_future(crowd.run(during=2.0))
    while crowd.tally.registered < count:
        await asyncio.sleep(0.05)
    print(json.dumps({"registered": count}), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(dataclasses.asdict(crowd.tally)), flush=True)
    living.cancel()
    await asyncio.wait([living])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
