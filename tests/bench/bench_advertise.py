"""An advertise, durable before its answer: CPU of the broker per request, 32 in flight."""

from __future__ import annotations

from tests.bench.harness import Result, broker, units
from tests.bench.venue import ADVERTISED, advertisements


def run(quick: bool) -> list[Result]:
    """One result, in units; no stream of it expires while it runs."""
    with broker() as measured:
        return [
            units(
                "advertise", measured, measured.port, advertisements(3_000),
                count=3_000, connections=32, status=ADVERTISED, target=8, quick=quick,
            )
        ]  # fmt: skip
