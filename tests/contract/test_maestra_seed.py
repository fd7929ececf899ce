"""The seed's own examples, word for word: its curl commands as raw requests, its responses field by field."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.fakes.maestra import MaestraVenue

pytestmark = pytest.mark.asyncio(loop_scope="module")

CURL_ADVERTISE = """
curl -X POST http://localhost:8080/streams/advertise \\
  -H "Content-Type: application/json" \\
  -d '{
    "name": "Main Stage Camera A",
    "stream_type": "ndi",
    "publisher_id": "td-workstation-01",
    "protocol": "ndi",
    "address": "192.168.1.50",
    "port": 5960,
    "config": {"resolution": "1920x1080", "fps": 30},
    "metadata": {"location": "stage-left"}
  }'
"""
CURL_REQUEST = """
curl -X POST http://localhost:8080/streams/{stream_id}/request \\
  -H "Content-Type: application/json" \\
  -d '{
    "consumer_id": "max-workstation-02",
    "consumer_address": "192.168.1.60",
    "consumer_port": 5961,
    "config": {"preferred_codec": "h264"}
  }'
"""
CURL_TYPE = """
curl -X POST http://localhost:8080/streams/types \\
  -H "Content-Type: application/json" \\
  -d '{
    "name": "lidar",
    "display_name": "LiDAR Point Cloud",
    "description": "3D point cloud data from LiDAR sensors",
    "icon": "scan",
    "default_config": {"format": "ply", "rate_hz": 10}
  }'
"""
NDI = {
    "id": "550e8400-e29b-41d4-a716-446655440000",
    "name": "ndi",
    "display_name": "NDI Video",
    "description": "NDI video stream",
    "icon": "cast",
    "default_config": {"codec": "h264", "resolution": "1920x1080", "fps": 30},
    "metadata": {},
    "created_at": "2025-01-01T00:00:00Z",
    "updated_at": "2025-01-01T00:00:00Z",
}
STREAM = {
    "id": "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
    "name": "Main Stage Camera A",
    "stream_type": "ndi",
    "publisher_id": "td-workstation-01",
    "protocol": "ndi",
    "address": "192.168.1.50",
    "port": 5960,
    "entity_id": None,
    "device_id": None,
    "config": {"resolution": "1920x1080", "fps": 30},
    "metadata": {"location": "stage-left"},
    "advertised_at": "2025-01-15T10:30:00Z",
    "last_heartbeat": "2025-01-15T10:30:25Z",
    "active_sessions": 2,
}
OFFER = {
    "session_id": "b2c3d4e5-f6a7-8901-bcde-f12345678901",
    "stream_id": "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
    "stream_name": "Main Stage Camera A",
    "stream_type": "ndi",
    "protocol": "ndi",
    "publisher_address": "192.168.1.50",
    "publisher_port": 5960,
    "transport_config": {"ndi_name": "TD-01 (Camera A)"},
}
SESSION = {
    "session_id": "b2c3d4e5-f6a7-8901-bcde-f12345678901",
    "stream_id": "a1b2c3d4-e5f6-7890-abcd-ef1234567890",
    "stream_name": "Main Stage Camera A",
    "stream_type": "ndi",
    "publisher_id": "td-workstation-01",
    "publisher_address": "192.168.1.50",
    "consumer_id": "max-workstation-02",
    "consumer_address": "192.168.1.60",
    "protocol": "ndi",
    "transport_config": {},
    "started_at": "2025-01-15T10:31:00Z",
    "status": "active",
}
BUILT_IN = "ndi, audio, video, texture, sensor, osc, midi, data, srt, spout, syphon"
PROTOCOLS = "tcp, udp, ndi, srt, webrtc, spout, syphon, shared_memory"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z")
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


async def curl(venue: MaestraVenue, command: str, **ids: str) -> tuple[int, Any, dict[str, str]]:
    """Send what curl would send for a command line; status, body and headers."""
    for name, value in ids.items():
        command = command.replace("{" + name + "}", value)
    words = shlex.split(command.replace("\\\n", " "))[1:]
    method, headers, body, url = "", {}, "", ""
    while words:
        word = words.pop(0)
        if word == "-X":
            method = words.pop(0)
        elif word == "-H":
            name, _, value = words.pop(0).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = words.pop(0)
        else:
            url = word
    parts = urlsplit(url)
    target = parts.path + (f"?{parts.query}" if parts.query else "")
    head = {"Host": parts.netloc, "User-Agent": "curl/7.88.1", "Accept": "*/*", **headers}
    if body:
        head["Content-Length"] = str(len(body.encode()))
    lines = [f"{method or 'GET'} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", ""]
    return await raw(venue, "\r\n".join(lines).encode() + body.encode())


async def raw(venue: MaestraVenue, request: bytes) -> tuple[int, Any, dict[str, str]]:
    """Send bytes, read one answer."""
    where = urlsplit(venue.running.url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    async with asyncio.timeout(10):
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        content = await reader.readexactly(int(headers.get("content-length", "0")))
        writer.close()
        await writer.wait_closed()
    return int(status.split()[1]), json.loads(content) if content else None, headers


async def test_list_stream_types(maestra: MaestraVenue) -> None:
    status, types, headers = await curl(maestra, "curl http://localhost:8080/streams/types")
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert [row for row in types if row["name"] == "ndi"] == [NDI]
    names = [row["name"] for row in types]
    assert set(BUILT_IN.split(", ")) <= set(names)
    assert names == sorted(names)
    assert all(list(row) == list(NDI) and ID.fullmatch(row["id"]) for row in types)


async def test_create_stream_type_and_advertise_it(maestra: MaestraVenue) -> None:
    status, row, _ = await curl(maestra, CURL_TYPE)
    assert status == 201
    assert list(row) == list(NDI)
    assert ID.fullmatch(row.pop("id"))
    created, updated = row.pop("created_at"), row.pop("updated_at")
    assert TIME.fullmatch(created)
    assert created == updated
    assert row == {
        "name": "lidar",
        "display_name": "LiDAR Point Cloud",
        "description": "3D point cloud data from LiDAR sensors",
        "icon": "scan",
        "default_config": {"format": "ply", "rate_hz": 10},
        "metadata": {},
    }
    again = await curl(maestra, CURL_TYPE)
    assert again[:2] == (409, {"detail": "Stream type 'lidar' already exists"})
    assert "lidar" in [row["name"] for row in (await maestra.http.get("/streams/types")).json()]
    stream = await maestra.advertise(stream_type="lidar")
    listed = await maestra.listed("/streams?stream_type=lidar")
    assert list(listed) == [stream["id"]]


async def test_advertise(maestra: MaestraVenue) -> None:
    status, stream, headers = await curl(maestra, CURL_ADVERTISE)
    assert status == 201
    assert headers["content-type"] == "application/json"
    assert list(stream) == list(STREAM)
    assert ID.fullmatch(stream["id"])
    assert TIME.fullmatch(stream["advertised_at"])
    assert stream["last_heartbeat"] == stream["advertised_at"]
    same = {key: value for key, value in stream.items() if key not in ("id", "advertised_at", "last_heartbeat")}
    assert same == {key: STREAM[key] for key in same} | {"active_sessions": 0}


async def test_list_and_get(maestra: MaestraVenue) -> None:
    _, stream, _ = await curl(maestra, CURL_ADVERTISE)
    status, streams, _ = await curl(maestra, "curl http://localhost:8080/streams")
    assert status == 200
    assert stream in streams
    status, streams, _ = await curl(maestra, "curl http://localhost:8080/streams?stream_type=ndi")
    assert status == 200
    assert stream in streams
    status, streams, _ = await curl(maestra, "curl http://localhost:8080/streams?stream_type=osc")
    assert (status, streams) == (200, [])
    got = await curl(maestra, "curl http://localhost:8080/streams/{stream_id}", stream_id=stream["id"])
    assert got[:2] == (200, stream)


async def test_heartbeat_and_withdraw(maestra: MaestraVenue) -> None:
    _, stream, _ = await curl(maestra, CURL_ADVERTISE)
    stream_id = stream["id"]
    beat = "curl -X POST http://localhost:8080/streams/{stream_id}/heartbeat"
    status, body, _ = await curl(maestra, beat, stream_id=stream_id)
    assert (status, body) == (200, {"status": "ok", "stream_id": stream_id})
    later = (await maestra.http.get(f"/streams/{stream_id}")).json()
    assert later["last_heartbeat"] > stream["last_heartbeat"]
    assert later["advertised_at"] == stream["advertised_at"]
    withdraw = "curl -X DELETE http://localhost:8080/streams/{stream_id}"
    status, body, _ = await curl(maestra, withdraw, stream_id=stream_id)
    assert (status, body) == (200, {"status": "withdrawn", "stream_id": stream_id})
    gone = {"detail": "Stream not found or expired"}
    for command in (withdraw, beat, "curl http://localhost:8080/streams/{stream_id}", CURL_REQUEST):
        status, body, _ = await curl(maestra, command, stream_id=stream_id)
        assert (status, body) == (404, gone), command


async def test_request_session_and_its_life(maestra: MaestraVenue) -> None:
    _, stream, _ = await curl(maestra, CURL_ADVERTISE)
    reply = {"accepted": True, "transport_config": {"ndi_name": "TD-01 (Camera A)"}}
    requests = await maestra.answer(stream["id"], reply)
    status, offer, _ = await curl(maestra, CURL_REQUEST, stream_id=stream["id"])
    assert status == 201
    assert list(offer) == list(OFFER)
    assert offer == OFFER | {"session_id": offer["session_id"], "stream_id": stream["id"]}
    assert ID.fullmatch(offer["session_id"])
    asked = await requests.next()
    assert TIME.fullmatch(asked.pop("timestamp"))
    assert asked == {
        "stream_id": stream["id"],
        "consumer_id": "max-workstation-02",
        "consumer_address": "192.168.1.60",
        "consumer_port": 5961,
        "config": {"preferred_codec": "h264"},
    }
    sessions = "curl http://localhost:8080/streams/sessions?stream_id={stream_id}"
    status, listed, _ = await curl(maestra, sessions, stream_id=stream["id"])
    assert status == 200
    [session] = listed
    assert list(session) == list(SESSION)
    assert TIME.fullmatch(session["started_at"])
    assert session == SESSION | {
        "session_id": offer["session_id"],
        "stream_id": stream["id"],
        "transport_config": {"ndi_name": "TD-01 (Camera A)"},
        "started_at": session["started_at"],
    }
    assert session in (await curl(maestra, "curl http://localhost:8080/streams/sessions"))[1]
    assert (await maestra.http.get(f"/streams/{stream['id']}")).json()["active_sessions"] == 1
    ids = {"session_id": offer["session_id"]}
    beat = "curl -X POST http://localhost:8080/streams/sessions/{session_id}/heartbeat"
    assert (await curl(maestra, beat, **ids))[:2] == (200, {"status": "ok", **ids})
    stop = "curl -X DELETE http://localhost:8080/streams/sessions/{session_id}"
    assert (await curl(maestra, stop, **ids))[:2] == (200, {"status": "stopped", **ids})
    for command in (stop, beat):
        assert (await curl(maestra, command, **ids))[:2] == (404, {"detail": "Session not found or expired"})
    assert (await maestra.http.get(f"/streams/{stream['id']}")).json()["active_sessions"] == 0


async def test_session_history(maestra: MaestraVenue) -> None:
    stream = await maestra.advertise(publisher_id="td-01")
    await maestra.answer(stream["id"], {"accepted": True})
    offers = [(await maestra.request(stream["id"])).json()["session_id"] for _ in range(3)]
    await maestra.http.delete(f"/streams/sessions/{offers[1]}")
    command = 'curl "http://localhost:8080/streams/sessions/history?publisher_id=td-01&limit=20"'
    status, rows, _ = await curl(maestra, command)
    assert status == 200
    assert [row["session_id"] for row in rows] == list(reversed(offers))
    assert [row["status"] for row in rows] == ["active", "stopped", "active"]
    assert rows[1]["duration_seconds"] >= 0
    assert all(TIME.fullmatch(row["time"]) for row in rows)
    assert {key: rows[0][key] for key in list(rows[0])[2:]} == {
        "stream_id": stream["id"],
        "stream_name": "Main Stage Camera A",
        "stream_type": "ndi",
        "publisher_id": "td-01",
        "consumer_id": "max-workstation-02",
        "protocol": "ndi",
        "status": "active",
        "duration_seconds": None,
        "bytes_transferred": 0,
        "error_message": None,
    }


async def test_full_registry_state(maestra: MaestraVenue) -> None:
    stream, offer = await maestra.take()
    status, state, _ = await curl(maestra, "curl http://localhost:8080/streams/state")
    assert status == 200
    assert list(state) == ["streams", "sessions", "stream_types"]
    assert {row["id"]: row["active_sessions"] for row in state["streams"]}[stream["id"]] == 1
    assert offer["session_id"] in [row["session_id"] for row in state["sessions"]]
    assert NDI in state["stream_types"]
    for key, path in (("streams", "/streams"), ("sessions", "/streams/sessions"), ("stream_types", "/streams/types")):
        assert state[key] == (await maestra.http.get(path)).json()


async def test_every_type_and_protocol_of_the_seed(maestra: MaestraVenue) -> None:
    for stream_type in BUILT_IN.split(", "):
        assert (await maestra.advertise(stream_type=stream_type))["stream_type"] == stream_type
    for protocol in PROTOCOLS.split(", "):
        assert (await maestra.advertise(protocol=protocol))["protocol"] == protocol


async def test_offers_error_responses(maestra: MaestraVenue) -> None:
    """404 unknown, 502 rejected; 504 takes its five seconds in test_maestra_negotiation."""
    unknown = "c2c3d4e5-f6a7-4901-bcde-f12345678901"
    assert (await maestra.request(unknown)).status_code == 404
    stream = await maestra.advertise()
    await maestra.answer(stream["id"], {"accepted": False, "reason": "all encoders busy"})
    rejected = await maestra.request(stream["id"])
    assert (rejected.status_code, rejected.json()) == (502, {"detail": "all encoders busy"})
