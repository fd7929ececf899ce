"""Prometheus figures: counters that are moved as things happen, gauges that are read when somebody asks.

``main.py`` builds one; the guard counts answers, the event log moves the rest. Served at ``/metrics``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from app.contract import KINDS, NegotiationRow
from app.server.events import EventLog, Published

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LATENCIES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

Gauges = Callable[[], dict[str, float]]


class Metrics:
    """The registry of one broker; children are looked up once, since ``labels()`` costs more than counting."""

    def __init__(self, events: EventLog) -> None:
        self._registry = CollectorRegistry()
        answers = Counter("callboard_http_answers", "Answers by class of status", ["status"], registry=self._registry)
        self._answers = [answers.labels(f"{digit}xx") for digit in range(1, 6)]
        changes = Counter("callboard_events", "Changes of state by kind", ["kind"], registry=self._registry)
        self._changes = {kind: changes.labels(kind) for kind in KINDS}
        self._outcomes = Counter(
            "callboard_negotiations", "Negotiations that ended, by outcome", ["outcome"], registry=self._registry
        )
        self._latency = Histogram(
            "callboard_negotiation_seconds", "From request to outcome", buckets=LATENCIES, registry=self._registry
        )
        events.subscribe(self._heard)

    def count_answer(self, status: int) -> None:
        """One answer left a listener."""
        self._answers[min(max(status // 100, 1), 5) - 1].inc()

    def watch(self, gauges: Gauges) -> None:
        """Read these names and values whenever somebody asks."""
        self._registry.register(_Gauges(gauges))

    def render(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self._registry)

    def _heard(self, event: Published) -> None:
        self._changes[event.kind].inc()
        change = event.change
        if event.kind == "negotiation.ended" and isinstance(change, NegotiationRow):
            self._outcomes.labels(change.outcome or "failed").inc()
            if change.milliseconds is not None:
                self._latency.observe(change.milliseconds / 1000)


class _Gauges(Collector):
    def __init__(self, read: Gauges) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """One gauge per name; ``name:part`` carries a label."""
        families: dict[str, GaugeMetricFamily] = {}
        for label, value in self._read().items():
            name, _, part = label.partition(":")
            family = families.get(name)
            if family is None:
                text = name.removeprefix("callboard_").replace("_", " ")
                family = families[name] = GaugeMetricFamily(name, text, labels=["part"] if part else [])
            family.add_metric([part] if part else [], value)
        yield from families.values()
