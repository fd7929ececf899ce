"""Brokers for the tests of the broker."""

from tests.fakes.broker import broker, broker_process, brokers

__all__ = ["broker", "broker_process", "brokers"]
