"""The lists that dashboards poll: 1,000 streams, and the whole state with 1,000 sessions."""

from __future__ import annotations

import json

from tests.bench.harness import Result, broker, child, load, request, units
from tests.bench.venue import KEEP_CONNECTIONS, advertise, answer_for, beats, keep_alive, negotiations

COUNT = 1_000


def run(quick: bool) -> list[Result]:
    """Two results, in units; 8 in flight."""
    with broker() as measured, child("publisher", measured.nats) as publisher:
        port = measured.port
        ids = advertise(port, COUNT)
        answer_for(publisher, ids)
        alive = beats(ids)

        def fresh() -> None:
            keep_alive(port, alive)

        listed = units(
            "list 1,000 streams", measured, port, [request("GET", "/streams")],
            count=600, connections=8, status=200, target=30, quick=quick, between=fresh,
        )  # fmt: skip
        fresh()
        asked = load(port, negotiations(ids), count=COUNT, connections=KEEP_CONNECTIONS, keep=True)
        asked.all_were(201)
        alive += beats([json.loads(body)["session_id"] for body in asked.bodies], "streams/sessions")
        state = units(
            "state 1,000 streams + 1,000 sessions", measured, port, [request("GET", "/streams/state")],
            count=400, connections=8, status=200, target=60, quick=quick, between=fresh,
        )  # fmt: skip
        whole = json.loads(load(port, [request("GET", "/streams/state")], count=1, connections=1, keep=True).bodies[0])
        if (len(whole["streams"]), len(whole["sessions"])) != (COUNT, COUNT):
            raise RuntimeError("the state measured was not the state meant")
        return [listed, state]
