from __future__ import annotations

from app.contract import Gone, NegotiationRow
from app.server.events import EventLog
from app.server.metrics import Metrics


def test_figures_move_and_gauges_are_read_when_asked() -> None:
    events = EventLog()
    metrics = Metrics(events)
    level = [3.0]
    metrics.watch(lambda: {"callboard_streams": level[0], "callboard_part_ok:nats": 1.0, "callboard_part_ok:disk": 0.0})
    for status in (200, 201, 404, 500, 101):
        metrics.count_answer(status)
    events.publish("preset.deleted", "a", Gone("deleted"))
    row = NegotiationRow(id="n", stream_id="s", stream_name="s", consumer_id="c", started_at=0, deadline=5)
    events.publish("negotiation.started", "n", row)
    row = NegotiationRow(
        id="n", stream_id="s", stream_name="s", consumer_id="c", started_at=0, deadline=5,
        outcome="rejected", milliseconds=12.0,
    )  # fmt: skip
    events.publish("negotiation.ended", "n", row)
    level[0] = 4.0
    text = metrics.render().decode()
    for line in (
        'callboard_http_answers_total{status="2xx"} 2.0',
        'callboard_http_answers_total{status="4xx"} 1.0',
        'callboard_http_answers_total{status="5xx"} 1.0',
        'callboard_events_total{kind="preset.deleted"} 1.0',
        'callboard_negotiations_total{outcome="rejected"} 1.0',
        'callboard_negotiation_seconds_bucket{le="0.02"} 1.0',
        'callboard_negotiation_seconds_bucket{le="0.01"} 0.0',
        "callboard_streams 4.0",
        'callboard_part_ok{part="nats"} 1.0',
        'callboard_part_ok{part="disk"} 0.0',
    ):
        assert line in text


def test_two_brokers_in_one_process_do_not_share_figures() -> None:
    first, second = Metrics(EventLog()), Metrics(EventLog())
    first.count_answer(200)
    assert 'status="2xx"} 0.0' in second.render().decode()
