"""A big night: 10,000 live streams beating every 10 s and one console on the feed, for a minute."""

from __future__ import annotations

import json
import threading
import time

from tests.bench.harness import OtherLoad, Result, at_most, broker, child, load, median_of, request
from tests.bench.venue import advertise, beats

STREAMS = 10_000
EVERY = 10.0
WINDOWS = 5


def run(quick: bool) -> list[Result]:
    """Share of a core and memory: medians of five windows of 12 s; and that no stream was lost."""
    window = 4.0 if quick else 12.0
    with broker() as measured:
        ids = advertise(measured.port, STREAMS)
        token = (measured.data / "console.token").read_text().strip()
        feed = f"ws://127.0.0.1:{measured.port}/console/v1/feed?token={token}"
        failure: list[BaseException] = []

        def beat() -> None:
            count = int((window * WINDOWS + 4) * STREAMS / EVERY)
            try:
                load(measured.port, beats(ids), count=count, connections=64, rate=STREAMS / EVERY).all_were(200)
            except BaseException as wrong:
                failure.append(wrong)

        with child("watcher", feed) as watcher, OtherLoad() as others:
            beating = threading.Thread(target=beat)
            beating.start()
            time.sleep(2)
            shares, memory = [], []
            for _ in range(WINDOWS):
                cpu, at = measured.cpu(), time.monotonic()
                time.sleep(window)
                shares.append((measured.cpu() - cpu) / (time.monotonic() - at) * 100)
                memory.append(measured.rss())
            beating.join()
            left = json.loads(
                load(measured.port, [request("GET", "/streams")], count=1, connections=1, keep=True).bodies[0]
            )
            seen = json.loads(watcher.popen.communicate(timeout=30)[0])
        if failure:
            raise failure[0]
        lost = STREAMS - len(left) + seen["kinds"].get("stream.expired", 0)
        note = f"{seen['kinds'].get('stream.beat', 0):,} beats on the feed, {seen['snapshots']} snapshot"
        return [
            at_most("10,000 streams: CPU", median_of(shares), "%", 25, other_load=others.cores, note=note),
            at_most("10,000 streams: memory", max(memory), "MiB", 250),
            at_most("10,000 streams: lost", lost, "rows", 0),
        ]
