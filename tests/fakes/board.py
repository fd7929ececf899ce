"""A store with a clock that stands still until a test moves it, fed by a script instead of a broker."""

from __future__ import annotations

from app.contract import FeedMessage, Row
from app.models.changes import Changes
from app.models.store import Store
from tests.fakes.feed_script import START, FeedScript


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Board:
    """Store, script and clock, moved together; ``heard`` is what listeners were told."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.feed = FeedScript()
        self.store = Store(monotonic=self.clock)
        self.heard: list[Changes] = []
        self.store.set_link("live", START)
        self.store.listen(self.heard.append)

    def show(self, *rows: Row) -> None:
        """Take a whole snapshot of ``rows``."""
        self.send(*self.feed.snapshot(rows))

    def send(self, *messages: FeedMessage) -> None:
        """Take messages that must be in step."""
        for message in messages:
            assert self.store.receive(message)

    def wait(self, seconds: float) -> None:
        """Let time pass on both clocks, with a pulse at the end."""
        self.pass_silently(seconds)
        self.send(self.feed.pulse())

    def pass_silently(self, seconds: float) -> None:
        """Let time pass without a word from the broker."""
        self.clock.now += seconds
        self.feed.at += seconds

    def last(self) -> Changes:
        """What listeners were told last."""
        return self.heard[-1]
