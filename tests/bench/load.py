"""A load from a process of its own: raw HTTP/1.1 over keep-alive sockets. The job comes as JSON on standard input.

Closed loop: each connection sends its next request when the answer is there. With a rate, an open loop:
requests start when they are due, and latency counts from then.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections import Counter, deque
from time import perf_counter
from typing import Any, cast


class Run:
    """All connections of one job and what they saw."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.port: int = job["port"]
        self.count: int = job["count"]
        self.connections: int = job["connections"]
        self.rate: float = job["rate"]
        self.keep: bool = job["keep"]
        self.requests = [base64.b64decode(one) for one in job["requests"]]
        self.sent = 0
        self.latencies: list[float] = []
        self.statuses: Counter[str] = Counter()
        self.bodies: list[str] = []
        self.idle: deque[Connection] = deque()
        self.due: deque[float] = deque()
        self.loop = asyncio.get_running_loop()
        self.finished: asyncio.Future[None] = self.loop.create_future()

    def next(self, connection: Connection) -> None:
        """Give a free connection its next request, if one is due."""
        if self.rate and not self.due:
            self.idle.append(connection)
        elif self.sent < self.count:
            due = self.due.popleft() if self.rate else perf_counter()
            connection.send(self.requests[self.sent % len(self.requests)], due)
            self.sent += 1

    def seen(self, status: str, seconds: float, body: bytes) -> None:
        """Note one answer; the last one ends the run."""
        self.statuses[status] += 1
        self.latencies.append(seconds)
        if self.keep:
            self.bodies.append(body.decode())
        if len(self.latencies) == self.count and not self.finished.done():
            self.finished.set_result(None)

    def fail(self, reason: str) -> None:
        """End the run: a load with holes in it measures nothing."""
        if not self.finished.done():
            self.finished.set_exception(RuntimeError(reason))

    async def pace(self) -> None:
        """Make requests due at the asked rate, in steps of 5 ms."""
        started, made = perf_counter(), 0
        while made < self.count:
            wanted = min(self.count, int((perf_counter() - started) * self.rate))
            self.due.extend(started + index / self.rate for index in range(made, wanted))
            made = wanted
            while self.idle and self.due:
                self.next(self.idle.popleft())
            await asyncio.sleep(0.005)

    async def go(self) -> dict[str, Any]:
        """Open every connection, then start the clock."""
        pairs = [
            await self.loop.create_connection(lambda: Connection(self), "127.0.0.1", self.port)
            for _ in range(self.connections)
        ]
        started = perf_counter()
        pacing = asyncio.ensure_future(self.pace()) if self.rate else None
        for _, connection in pairs:
            self.next(connection)
        await self.finished
        seconds = perf_counter() - started
        if pacing:
            await pacing
        for transport, _ in pairs:
            transport.close()
        ordered = sorted(self.latencies)
        return {
            "done": len(ordered),
            "seconds": seconds,
            "statuses": self.statuses,
            "p50": ordered[len(ordered) // 2] * 1e3,
            "p99": ordered[len(ordered) * 99 // 100] * 1e3,
            "worst": ordered[-1] * 1e3,
            "bodies": self.bodies,
        }


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request on its way."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.buffer = b""
        self.since = 0.0
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name

    def send(self, data: bytes, due: float) -> None:
        """Send one request; its latency counts from ``due``."""
        self.since = due
        self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, found, body = self.buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lower = head.lower()
        at = lower.find(b"content-length:")
        length = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if at < 0 and b"transfer-encoding" in lower:
            self.run.fail("chunked answers are not measured here")
        elif len(body) >= length:
            self.buffer = body[length:]
            self.run.seen(head[9:12].decode(), perf_counter() - self.since, body)
            self.run.next(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.run.fail(f"the server closed a connection: {exc}")


async def main() -> None:
    """Read the job, run it, print what was seen."""
    print(json.dumps(await Run(json.load(sys.stdin)).go()))


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        uvloop.run(main())
