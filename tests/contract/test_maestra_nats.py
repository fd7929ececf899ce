"""What the broker says and hears on NATS: what the original says, plus one event for each expiry."""

from __future__ import annotations

import asyncio
import re
from uuid import uuid4

from app.contract import NEGOTIATION_TIMEOUT
from app.demo.nats_client import connect as connect_nats
from app.server.bus.embedded import VENUE_SUBSCRIBES
from tests.fakes.maestra import CAMERA, MaestraVenue
from tests.fakes.ports import held_port

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z")


async def test_advertise_says_it_three_times(fresh_maestra: MaestraVenue) -> None:
    plain = await fresh_maestra.listen("maestra.stream.advertise")
    typed = await fresh_maestra.listen("maestra.stream.advertise.ndi")
    bridge = await fresh_maestra.listen("maestra.to_mqtt.maestra.stream.advertise.ndi")
    stream = await fresh_maestra.advertise()
    said = await plain.next()
    assert said == await typed.next()
    assert said == {
        "type": "stream_advertised",
        "stream_id": stream["id"],
        "stream_type": "ndi",
        "publisher_id": "td-workstation-01",
        "name": "Main Stage Camera A",
        "timestamp": stream["advertised_at"],
    }
    for_mqtt = {
        "id": stream["id"],
        "name": "Main Stage Camera A",
        "stream_type": "ndi",
        "address": "192.168.1.50",
        "port": 5960,
        "config": {"resolution": "1920x1080", "fps": 30},
    }
    assert await bridge.next() == for_mqtt | {"delivery_mode": "unicast"}
    for _ in range(2):
        await fresh_maestra.http.post(f"/streams/{stream['id']}/heartbeat")
        assert await bridge.next() == for_mqtt


async def test_sessions_begin_and_end_aloud(fresh_maestra: MaestraVenue) -> None:
    started = await fresh_maestra.listen("maestra.stream.session.started")
    stopped = await fresh_maestra.listen("maestra.stream.session.stopped")
    stream, offer = await fresh_maestra.take()
    said = await started.next()
    assert TIME.fullmatch(said.pop("started_at"))
    assert said == {
        "type": "session_started",
        "session_id": offer["session_id"],
        "stream_id": stream["id"],
        "stream_name": "Main Stage Camera A",
        "stream_type": "ndi",
        "publisher_id": "td-workstation-01",
        "publisher_address": "192.168.1.50",
        "publisher_port": "5960",
        "consumer_id": "max-workstation-02",
        "consumer_address": "192.168.1.60",
        "protocol": "ndi",
        "transport_config": {},
        "status": "active",
    }
    await fresh_maestra.http.delete(f"/streams/sessions/{offer['session_id']}")
    said = await stopped.next()
    assert TIME.fullmatch(said.pop("timestamp"))
    assert said == {"type": "session_stopped", "session_id": offer["session_id"], "stream_id": stream["id"]}


async def test_withdraw_announces_its_sessions_too(fresh_maestra: MaestraVenue) -> None:
    """D5."""
    withdrawn = await fresh_maestra.listen("maestra.stream.withdraw.*")
    stopped = await fresh_maestra.listen("maestra.stream.session.stopped")
    stream, offer = await fresh_maestra.take()
    second = (await fresh_maestra.request(stream["id"])).json()
    await fresh_maestra.http.delete(f"/streams/{stream['id']}")
    said = await withdrawn.next()
    assert TIME.fullmatch(said.pop("timestamp"))
    assert said == {"type": "stream_withdrawn", "stream_id": stream["id"]}
    ended = [await stopped.next(), await stopped.next()]
    assert [one["session_id"] for one in ended] == [offer["session_id"], second["session_id"]]
    assert {one["stream_id"] for one in ended} == {stream["id"]}


async def test_each_expiry_is_announced(fresh_maestra: MaestraVenue) -> None:
    """An expired stream leaves its sessions alone; they run out on their own."""
    streams = await fresh_maestra.listen("maestra.stream.expired.*")
    sessions = await fresh_maestra.listen("maestra.stream.session.expired.*")
    stream, offer = await fresh_maestra.take()
    fresh_maestra.let_pass(20)
    beat = await fresh_maestra.http.post(f"/streams/sessions/{offer['session_id']}/heartbeat")
    assert beat.status_code == 200
    fresh_maestra.let_pass(15)
    said = await streams.next()
    assert TIME.fullmatch(said.pop("timestamp"))
    assert said == {"type": "stream_expired", "stream_id": stream["id"]}
    for method, tail in (("GET", ""), ("POST", "/heartbeat"), ("DELETE", "")):
        assert (await fresh_maestra.http.request(method, f"/streams/{stream['id']}{tail}")).status_code == 404
    assert (await fresh_maestra.request(stream["id"])).status_code == 404
    assert list(await fresh_maestra.listed("/streams/sessions")) == [offer["session_id"]]
    fresh_maestra.let_pass(20)
    said = await sessions.next()
    assert TIME.fullmatch(said.pop("timestamp"))
    assert said == {"type": "session_expired", "session_id": offer["session_id"], "stream_id": stream["id"]}
    assert await fresh_maestra.listed("/streams/sessions") == {}
    status = "active"
    async with asyncio.timeout(15):
        while status == "active":  # what runs out is told without the journal when that takes its time
            [row] = (await fresh_maestra.http.get("/streams/sessions/history")).json()
            status = row["status"]
    assert status == "expired"


async def test_heartbeats_over_nats(fresh_maestra: MaestraVenue) -> None:
    """No reply; unknown ids, other forms of an id and rubbish are ignored."""
    stream, offer = await fresh_maestra.take()
    bridge = await fresh_maestra.listen("maestra.to_mqtt.maestra.stream.advertise.ndi")
    for ignored in (str(uuid4()), "nonsense", stream["id"].upper()):
        await fresh_maestra.nats.publish(f"maestra.stream.heartbeat.{ignored}", b"\xff")
        await fresh_maestra.nats.publish(f"maestra.stream.session.heartbeat.{ignored}", b"")
    await fresh_maestra.nats.publish(f"maestra.stream.session.heartbeat.{offer['session_id']}", b"anything")
    await fresh_maestra.nats.publish(f"maestra.stream.heartbeat.{stream['id']}", b"")
    beat = await fresh_maestra.event("stream.beat", stream["id"])
    await fresh_maestra.event("session.beat", offer["session_id"])
    assert (await bridge.next())["id"] == stream["id"]
    assert {event.id for event in fresh_maestra.events if event.kind == "stream.beat"} == {stream["id"]}
    assert (await fresh_maestra.listed())[stream["id"]]["last_heartbeat"] > stream["last_heartbeat"]
    assert beat.seq > 0


async def test_a_created_type_is_one_safe_token_of_a_subject(fresh_maestra: MaestraVenue) -> None:
    for name, token in (
        ("lidar", "lidar"),
        ("a.b > *", "a_b____"),
        ("spot\r\nPUB x 1", "spot__PUB_x_1"),
        ("Größe", "Gr__e"),
    ):
        created = await fresh_maestra.http.post("/streams/types", json={"name": name, "display_name": "x"})
        assert created.status_code == 201
        heard = await fresh_maestra.listen(f"maestra.stream.advertise.{token}")
        await fresh_maestra.advertise(stream_type=name)
        assert (await heard.next())["stream_type"] == name
        assert (await fresh_maestra.advertise(stream_type=name))["stream_type"] == name


async def test_every_subject_of_ours_may_be_heard_by_the_venue(fresh_maestra: MaestraVenue) -> None:
    """The access list of the NATS server and what the broker publishes are the same list."""
    heard = [await fresh_maestra.listen(subject) for subject in VENUE_SUBSCRIBES if "request" not in subject]
    stream, offer = await fresh_maestra.take()
    await fresh_maestra.http.post(f"/streams/{stream['id']}/heartbeat")
    await fresh_maestra.http.delete(f"/streams/{stream['id']}")
    spoken = [inbox for inbox in heard if not inbox.messages.empty()]
    async with asyncio.timeout(15):
        while len(spoken) < 6:  # all but the expiries
            await asyncio.sleep(0.01)
            spoken = [inbox for inbox in heard if not inbox.messages.empty()]
    assert offer["session_id"]


async def test_nobody_can_listen_to_everything(fresh_maestra: MaestraVenue) -> None:
    """A wildcard would count as a responder to every negotiation and hide the instant 502."""
    refused: list[Exception] = []
    told = asyncio.Event()

    async def on_error(error: Exception) -> None:
        refused.append(error)
        told.set()

    curious = await connect_nats(fresh_maestra.running.nats_url, error_cb=on_error)
    await curious.subscribe("maestra.>")
    await curious.flush()
    async with asyncio.timeout(15):
        await told.wait()
    assert "permissions violation" in str(refused[0]).lower()
    stream = await fresh_maestra.advertise()
    assert (await fresh_maestra.request(stream["id"])).status_code == 502
    await curious.close()


async def test_advertising_over_nats_changes_nothing(fresh_maestra: MaestraVenue) -> None:
    """As in the original: there is no NATS way to advertise or withdraw."""
    client = await connect_nats(fresh_maestra.running.broker.nats.url)
    stream = await fresh_maestra.advertise()
    await client.publish("maestra.stream.advertise", b'{"name": "x"}')
    await client.publish(f"maestra.stream.withdraw.{stream['id']}", b"{}")
    await client.publish(f"maestra.stream.heartbeat.{stream['id']}", b"")
    await client.flush()
    await fresh_maestra.event("stream.beat", stream["id"])
    assert list(await fresh_maestra.listed()) == [stream["id"]]
    await client.close()


async def test_nats_gone_and_back(fresh_maestra: MaestraVenue) -> None:
    """Requests fail at once and the strip says TAKE DOWN since when; all else works; then all is well again."""
    health = fresh_maestra.running.broker.health
    server = fresh_maestra.running.broker.nats
    assert server is not None
    stream = await fresh_maestra.advertise()
    await server.stop()
    with held_port(server.port):
        down = await fresh_maestra.event("health.changed", "nats")
        row = next(row for row in health.rows() if row.id == "nats")
        assert (row.ok, row.take_down) == (False, True)
        assert row.since <= down.at
        answer = await fresh_maestra.request(stream["id"])
        assert answer.status_code == 502
        assert answer.json()["detail"].startswith("NATS request failed: ")
        assert answer.elapsed.total_seconds() < NEGOTIATION_TIMEOUT - 0.5
        meanwhile = await fresh_maestra.advertise(name="while NATS was away")
        assert (await fresh_maestra.http.post(f"/streams/{stream['id']}/heartbeat")).status_code == 200
        assert set(await fresh_maestra.listed()) == {stream["id"], meanwhile["id"]}
        await server.start()
    back = down.seq
    while not next(row for row in health.rows() if row.id == "nats").ok:
        back = (await fresh_maestra.event("health.changed", "nats", after=back)).seq
    publisher = await fresh_maestra.another_publisher()
    await fresh_maestra.answer(stream["id"], {"accepted": True}, client=publisher)
    assert (await fresh_maestra.request(stream["id"])).status_code == 201
    assert next(row for row in health.rows() if row.id == "nats").ok
    await publisher.publish(f"maestra.stream.heartbeat.{meanwhile['id']}", b"")
    await fresh_maestra.event("stream.beat", meanwhile["id"], after=back)


async def test_nats_goes_while_a_publisher_is_asked(fresh_maestra: MaestraVenue) -> None:
    stream = await fresh_maestra.advertise()
    asked = await fresh_maestra.answer(stream["id"], None)
    waiting = asyncio.ensure_future(fresh_maestra.request(stream["id"]))
    await asked.next()
    server = fresh_maestra.running.broker.nats
    assert server is not None
    await server.stop()
    answer = await waiting
    assert answer.status_code == 502
    assert answer.elapsed.total_seconds() < NEGOTIATION_TIMEOUT - 0.5
    assert CAMERA["name"] == stream["name"]
