"""Streams and sessions for the benches to measure on: advertised and negotiated like anybody's."""

from __future__ import annotations

import json
from typing import Any

from tests.bench.harness import Child, load, request

KEEP_CONNECTIONS = 16


def advertisement(number: int) -> dict[str, Any]:
    """A stream as the seed's example has it."""
    return {
        "name": f"Main Stage Camera {number}",
        "stream_type": "ndi",
        "publisher_id": f"td-workstation-{number % 200:03}",
        "protocol": "ndi",
        "address": "192.168.1.50",
        "port": 5960,
        "config": {"resolution": "1920x1080", "fps": 30},
        "metadata": {"location": "stage-left"},
    }


def consumer(number: int) -> dict[str, Any]:
    """A request for a stream as the seed's example has it."""
    return {
        "consumer_id": f"max-workstation-{number % 200:03}",
        "consumer_address": "192.168.1.60",
        "consumer_port": 5961,
        "config": {"preferred_codec": "h264"},
    }


def advertisements(count: int) -> list[bytes]:
    """Requests that advertise ``count`` different streams."""
    return [request("POST", "/streams/advertise", advertisement(number)) for number in range(count)]


def advertise(port: int, count: int) -> list[str]:
    """Advertise ``count`` streams and return their ids."""
    answered = load(port, advertisements(count), count=count, connections=KEEP_CONNECTIONS, keep=True)
    answered.all_were(ADVERTISED)
    return [json.loads(body)["id"] for body in answered.bodies]


def negotiations(ids: list[str]) -> list[bytes]:
    """One request for each stream."""
    return [request("POST", f"/streams/{one}/request", consumer(number)) for number, one in enumerate(ids)]


def beats(ids: list[str], kind: str = "streams") -> list[bytes]:
    """One heartbeat for each id; ``kind`` is ``streams`` or ``streams/sessions``."""
    return [request("POST", f"/{kind}/{one}/heartbeat") for one in ids]


def keep_alive(port: int, requests: list[bytes]) -> None:
    """Beat once for everybody, between samples and outside what is measured."""
    load(port, requests, count=len(requests), connections=KEEP_CONNECTIONS).all_were(200)


def answer_for(publisher: Child, ids: list[str]) -> None:
    """Have the publisher process answer requests for these streams."""
    assert publisher.popen.stdin
    assert publisher.popen.stdout
    publisher.popen.stdin.write(json.dumps(ids).encode() + b"\n")
    publisher.popen.stdin.flush()
    if json.loads(publisher.popen.stdout.readline()) != {"subscribed": len(ids)}:
        raise RuntimeError("the publisher did not subscribe")


ADVERTISED = 201
"""Status of an advertise."""
