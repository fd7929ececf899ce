"""Clocks that move when a test says so."""

from __future__ import annotations


class Clock:
    """A wall clock and a monotonic one; ``step`` moves the first alone, as an operator or NTP does."""

    def __init__(self, wall: float = 1_750_000_000.0) -> None:
        self.wall = wall
        self.elapsed = 1000.0

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.elapsed

    def advance(self, seconds: float) -> None:
        self.wall += seconds
        self.elapsed += seconds

    def step(self, seconds: float) -> None:
        self.wall += seconds
