"""The numbered log of every change of state: what the feed, the announcer, the audit and the metrics hear.

Owned by ``main.py``; published to by domains, storage and the shared floor, always on the broker's loop.
Contract: ``app/contract/`` (kinds and their change). A number is given once and only grows.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import msgspec

from app.contract import KINDS
from app.logs import get_logger

log = get_logger("events")


class Published(msgspec.Struct, frozen=True, gc=False):
    """One change as listeners get it; encoded, it is the contract's ``Event``."""

    seq: int
    at: float
    kind: str
    id: str
    change: msgspec.Struct


Listener = Callable[[Published], None]


class EventLog:
    """Gives every change its number and tells the listeners, in order, on the loop."""

    def __init__(self, *, first: int = 0, clock: Callable[[], float] = time.time) -> None:
        self.seq = first
        self._clock = clock
        self._listeners: dict[str, tuple[Listener, ...]] = dict.fromkeys(KINDS, ())
        self._waiting: deque[Published] = deque()
        self._telling = False

    def publish(self, kind: str, id: str, change: msgspec.Struct) -> int:
        """Number a change and tell everybody; the number is the answer. Unknown kinds are a programming error."""
        if kind not in self._listeners:
            raise ValueError(f"unknown kind of event: {kind!r}")
        self.seq = seq = self.seq + 1
        event = Published(seq, self._clock(), kind, id, change)
        if self._telling:  # a listener published: everybody hears this one after the one being told
            self._waiting.append(event)
            return seq
        self._telling = True
        try:
            self._tell(event)
            while self._waiting:
                self._tell(self._waiting.popleft())
        finally:
            self._telling = False
        return seq

    def subscribe(self, listener: Listener, *kinds: str) -> Callable[[], None]:
        """Call ``listener`` for each event from now on, of these kinds or of all; the answer ends that. It must not block.

        Heartbeats are most of what happens here, so whoever has no use for them says what it wants.
        """
        wanted = kinds or tuple(KINDS)
        for kind in wanted:
            if kind not in KINDS:
                raise ValueError(f"unknown kind of event: {kind!r}")
            self._listeners[kind] = (*self._listeners[kind], listener)

        def unsubscribe() -> None:
            for kind in wanted:
                self._listeners[kind] = tuple(known for known in self._listeners[kind] if known is not listener)

        return unsubscribe

    def _tell(self, event: Published) -> None:
        for listener in self._listeners[event.kind]:
            try:
                listener(event)
            except Exception:
                log.exception("listener failed", kind=event.kind, id=event.id, seq=event.seq)
