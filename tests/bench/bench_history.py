"""History filtered by publisher: 1,000,000 rows against an empty table, p50 of the same query over HTTP.

The rows are put straight into the database file while no broker has it; the tables are the broker's own.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import create_engine, insert

from app.server.storage.tables import stream_sessions
from tests.bench.harness import Broker, OtherLoad, Result, at_most, broker, load, median_of, request

ROWS = 1_000_000
PUBLISHERS = 500
DAY = 86_400.0
BATCH = 10_000
DATABASE = "callboard.sqlite"


def run(quick: bool) -> list[Result]:
    """One ratio; the two brokers are asked in alternation."""
    with tempfile.TemporaryDirectory(prefix="callboard-bench-") as folder:
        full, empty = Path(folder) / "full", Path(folder) / "empty"
        with broker(full):
            pass  # makes the tables
        fill(full / DATABASE, ROWS // 10 if quick else ROWS)
        with broker(full) as large, broker(empty) as small, OtherLoad() as others:
            found = ask(large, 1, keep=True)
            if len(json.loads(found)) != 50:
                raise RuntimeError("the rows were not found")
            times: dict[str, list[float]] = {"full": [], "empty": []}
            for _ in range(1 if quick else 5):
                times["full"].append(float(ask(large, 300)))
                times["empty"].append(float(ask(small, 300)))
    mine, floor = median_of(times["full"]), median_of(times["empty"])
    note = f"{mine:.2f} ms against {floor:.2f} ms; others {others.cores:.2f} core"
    return [at_most("history, 1,000,000 rows", mine / floor, "x", 10, note=note)]


def ask(asked: Broker, count: int, *, keep: bool = False) -> str:
    """p50 of the query in ms; with ``keep`` the body of an answer instead."""
    paths = [f"/streams/sessions/history?publisher_id=td-{number:04}" for number in range(PUBLISHERS)]
    answered = load(asked.port, [request("GET", path) for path in paths], count=count, connections=1, keep=keep)
    answered.all_were(200)
    return answered.bodies[0] if keep else str(answered.p50)


def fill(path: Path, count: int) -> None:
    """Put ``count`` ended sessions of the last 80 days into the table, in the order in which they happened."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA synchronous = OFF")
        for rows in batches(count):
            connection.execute(insert(stream_sessions), rows)
            connection.commit()
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()


def batches(count: int) -> Iterator[list[dict[str, object]]]:
    """Rows as a busy house would leave them."""
    dice = random.Random(2)
    started = time.time() - 80 * DAY
    for first in range(0, count, BATCH):
        yield [session(dice, started + number / count * 79 * DAY) for number in range(first, min(first + BATCH, count))]


def session(dice: random.Random, at: float) -> dict[str, object]:
    """One session that began at ``at``."""
    publisher = dice.randrange(PUBLISHERS)
    lasted = dice.uniform(10, 7200)
    return {
        "id": str(uuid.UUID(int=dice.getrandbits(128), version=4)),
        "time": at,
        "stream_id": str(uuid.UUID(int=publisher * 7919 + dice.randrange(20))),
        "stream_name": f"Camera {publisher}",
        "stream_type": "ndi",
        "publisher_id": f"td-{publisher:04}",
        "publisher_address": f"10.0.{publisher % 250}.5",
        "consumer_id": f"max-{dice.randrange(300):03}",
        "consumer_address": "10.0.0.9",
        "protocol": "ndi",
        "status": "stopped",
        "ended_at": at + lasted,
        "duration_seconds": lasted,
        "bytes_transferred": 0,
        "error_message": None,
    }
