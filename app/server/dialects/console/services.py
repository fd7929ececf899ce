"""What the console's API calls, handed over by ``main.py`` in one piece."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from app.server.access import Access
from app.server.access.callers import Callers
from app.server.access.exposure import Exposure
from app.server.access.keys import ApiKeys
from app.server.access.tokens import Tokens
from app.server.audit import Audit
from app.server.feed import FeedHub
from app.server.fleet.registry import Fleet
from app.server.fleet.viewers import Viewers
from app.server.health import Health
from app.server.metrics import Metrics
from app.server.presets import Presets
from app.server.streams.registry import Streams


@dataclass(frozen=True)
class Services:
    """The floor and the domain behind the routes. ``broker`` and ``ports`` tell what is known once ports are bound."""

    streams: Streams
    access: Access
    audit: Audit
    presets: Presets
    exposure: Exposure
    keys: ApiKeys
    feed: FeedHub
    health: Health
    metrics: Metrics
    broker: Callable[[], dict[str, Any]]
    ports: Callable[[], tuple[int, int | None]]
    """Main port, and the embedded NATS port where there is one."""
    fleet: Fleet
    viewers: Viewers
    tokens: Tokens
    callers: Callers
    stop: Callable[[], None]
    """Ask the broker for a clean stop; returns at once."""
