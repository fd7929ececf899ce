"""Fixtures of the contract tests."""

from tests.fakes.broker import broker, brokers
from tests.fakes.maestra import fresh_maestra, maestra

__all__ = ["broker", "brokers", "fresh_maestra", "maestra"]
