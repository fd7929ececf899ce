"""Prometheus figures: counted as things happen, read when somebody asks.

``main.py`` builds one; the guard counts answers, the event log moves the rest. Served at ``/metrics``. Counting is
adding to a list or a dict, because it is done on every heartbeat; prometheus-client sees the sums alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from app.contract import KINDS, NegotiationRow
from app.server.events import EventLog, Published

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LATENCIES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

Gauges = Callable[[], dict[str, float]]
"""Names and values; ``name:part`` carries a label."""


class Metrics(Collector):
    """The figures of one broker."""

    def __init__(self, events: EventLog) -> None:
        self._answers = [0] * 10
        self._changes = dict.fromkeys(KINDS, 0)
        self._outcomes: dict[str, int] = {}
        self._latency = [0] * (len(LATENCIES) + 1)
        self._latency_sum = 0.0
        self._gauges: list[Gauges] = []
        self._registry = CollectorRegistry()
        self._registry.register(self)
        events.subscribe(self._heard)

    def count_answer(self, status: int) -> None:
        """One answer left a listener."""
        self._answers[status // 100] += 1

    def watch(self, gauges: Gauges) -> None:
        """Read these whenever somebody asks."""
        self._gauges.append(gauges)

    def render(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """What prometheus-client asks for."""
        answers = CounterMetricFamily("callboard_http_answers", "Answers by class of status", labels=["status"])
        for digit in range(1, 6):
            answers.add_metric([f"{digit}xx"], self._answers[digit])
        yield answers
        changes = CounterMetricFamily("callboard_events", "Changes of state by kind", labels=["kind"])
        for kind, count in self._changes.items():
            changes.add_metric([kind], count)
        yield changes
        outcomes = CounterMetricFamily("callboard_negotiations", "Negotiations that ended", labels=["outcome"])
        for outcome, count in self._outcomes.items():
            outcomes.add_metric([outcome], count)
        yield outcomes
        yield self._histogram()
        for gauges in self._gauges:
            yield from _families(gauges())

    def _histogram(self) -> HistogramMetricFamily:
        family = HistogramMetricFamily("callboard_negotiation_seconds", "From request to outcome")
        total, buckets = 0, []
        for bound, count in zip((*map(str, LATENCIES), "+Inf"), self._latency, strict=True):
            total += count
            buckets.append((bound, total))
        family.add_metric([], buckets, self._latency_sum)
        return family

    def _heard(self, event: Published) -> None:
        self._changes[event.kind] += 1
        change = event.change
        if event.kind == "negotiation.ended" and isinstance(change, NegotiationRow):
            outcome = change.outcome or "failed"
            self._outcomes[outcome] = self._outcomes.get(outcome, 0) + 1
            if change.milliseconds is not None:
                seconds = change.milliseconds / 1000
                self._latency[bisect_left(LATENCIES, seconds)] += 1
                self._latency_sum += seconds


def _families(values: dict[str, float]) -> Iterator[Metric]:
    families: dict[str, GaugeMetricFamily] = {}
    for label, value in values.items():
        name, _, part = label.partition(":")
        family = families.get(name)
        if family is None:
            text = name.removeprefix("callboard_").replace("_", " ")
            family = families[name] = GaugeMetricFamily(name, text, labels=["part"] if part else [])
        family.add_metric([part] if part else [], value)
    yield from families.values()
