"""Callboard: the console of show operators and the broker inside it."""

__version__ = "0.1.0"
