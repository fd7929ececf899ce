"""Fixtures of the contract tests."""

from tests.fakes.broker import brokers
from tests.fakes.maestra import fresh_maestra, maestra

__all__ = ["brokers", "fresh_maestra", "maestra"]
