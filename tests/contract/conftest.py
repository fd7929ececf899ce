"""Fixtures of the contract tests."""

from tests.fakes.maestra import fresh_maestra, maestra

__all__ = ["fresh_maestra", "maestra"]
