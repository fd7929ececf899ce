"""The demo is tried on real broker processes."""

from __future__ import annotations

from tests.fakes.broker import broker_process, brokers, module_broker, shared_broker

__all__ = ["broker_process", "brokers", "module_broker", "shared_broker"]
