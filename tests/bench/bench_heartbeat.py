"""A stream heartbeat: CPU of the broker per request, 200 streams, 32 in flight."""

from __future__ import annotations

from tests.bench.harness import Result, broker, units
from tests.bench.venue import advertise, beats


def run(quick: bool) -> list[Result]:
    """One result, in units."""
    with broker() as measured:
        requests = beats(advertise(measured.port, 200))
        return [
            units(
                "heartbeat", measured, measured.port, requests,
                count=20_000, connections=32, status=200, target=3, quick=quick,
            )
        ]  # fmt: skip
